//! An answer as Envoy reads it. Every answer that a test sees was first held against what no answer may ever be.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;

/// A decision, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// `None` for an allowance.
    pub(crate) denied: Option<Denied>,
    /// Headers for the service or, on a denial, for the client.
    pub(crate) headers: BTreeMap<String, String>,
    /// Headers that the service must not get.
    pub(crate) removed: Vec<String>,
    /// What stands under `attache` in the dynamic metadata.
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Denied {
    pub(crate) grpc_code: i32,
    pub(crate) http_status: i32,
    pub(crate) body: String,
}

impl Answer {
    /// Reads an answer, or fails where Envoy could take it for something else.
    pub(crate) fn read(response: CheckResponse) -> Self {
        let CheckResponse {
            status,
            dynamic_metadata,
            http_response,
        } = response;
        // E03: Envoy forwards a request whose answer has no status.
        let status = status.expect("every answer has a status");
        let metadata = dynamic_metadata.expect("every answer has metadata");
        // E34: one key, ours, and only texts below it.
        let mut metadata: Vec<_> = metadata.fields.into_iter().collect();
        assert_eq!(metadata.len(), 1, "{metadata:?}");
        let (key, value) = metadata.remove(0);
        assert_eq!(key, "attache");
        let Some(Kind::StructValue(ours)) = value.kind else {
            panic!("not an object: {value:?}");
        };
        let metadata = ours
            .fields
            .into_iter()
            .map(|(name, value)| match value.kind {
                Some(Kind::StringValue(text)) => (name, text),
                other => panic!("not a text: {other:?}"),
            })
            .collect();
        match http_response {
            Some(HttpResponse::OkResponse(ok)) => {
                // E01
                assert_eq!(status.code, 0);
                Self::allowed(ok, metadata)
            }
            Some(HttpResponse::DeniedResponse(denied)) => {
                // E02, E04
                assert_ne!(status.code, 0);
                Self::refused(status.code, denied, metadata)
            }
            other => panic!("neither allowed nor denied: {other:?}"),
        }
    }

    #[expect(deprecated, reason = "shows that a field of old proxies stays empty")]
    fn allowed(ok: OkHttpResponse, metadata: BTreeMap<String, String>) -> Self {
        assert_eq!(ok.dynamic_metadata, None);
        assert!(ok.response_headers_to_add.is_empty());
        assert!(ok.query_parameters_to_set.is_empty());
        assert!(ok.query_parameters_to_remove.is_empty());
        let headers = read_headers(ok.headers);
        for name in headers.keys().chain(&ok.headers_to_remove) {
            // E33
            let ours = name.starts_with("x-attache-") || name == "attache-token";
            assert!(ours, "{name}");
        }
        for name in &ok.headers_to_remove {
            assert!(!headers.contains_key(name), "{name} is set and removed");
        }
        Self {
            denied: None,
            headers,
            removed: ok.headers_to_remove,
            metadata,
        }
    }

    fn refused(code: i32, denied: DeniedHttpResponse, metadata: BTreeMap<String, String>) -> Self {
        let http_status = denied.status.expect("an explicit HTTP status").code;
        let expected = match http_status {
            401 => 16,
            403 => 7,
            503 => 14,
            other => panic!("HTTP status {other}"),
        };
        assert_eq!(code, expected);
        Self {
            denied: Some(Denied {
                grpc_code: code,
                http_status,
                body: denied.body,
            }),
            headers: read_headers(denied.headers),
            removed: Vec::new(),
            metadata,
        }
    }

    pub(crate) fn is_allowed(&self) -> bool {
        self.denied.is_none()
    }

    /// `allow`, or the reason of the denial.
    pub(crate) fn word(&self) -> &str {
        match &self.denied {
            None => "allow",
            Some(_) => &self.headers["x-attache-reason"],
        }
    }

    pub(crate) fn http_status(&self) -> Option<i32> {
        self.denied.as_ref().map(|denied| denied.http_status)
    }

    pub(crate) fn decision_id(&self) -> &str {
        &self.headers["x-attache-decision-id"]
    }
}

/// Every header once, replacing what was there, for old proxies and new ones.
#[expect(deprecated, reason = "the field that old proxies read")]
fn read_headers(options: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for option in options {
        assert_eq!(
            option.append_action(),
            HeaderAppendAction::OverwriteIfExistsOrAdd
        );
        assert!(!option.append.expect("append is written").value);
        assert!(!option.keep_empty_value);
        let header = option.header.expect("a header");
        assert!(header.raw_value.is_empty());
        assert!(!header.key.starts_with(':') && header.key != "host");
        // E31
        assert!(
            header
                .value
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte))
        );
        assert!(header.value.len() <= 8 * 1024);
        let twice = headers.insert(header.key.clone(), header.value);
        assert_eq!(twice, None, "{} is set twice", header.key);
    }
    headers
}
