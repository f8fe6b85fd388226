use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use http_body_util::BodyExt as _;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tonic::{Code, Status};
use tower::service_fn;

use super::*;
use crate::audit::{Auditor, EventType, Memory, WriterHandle};
use crate::authority::Metrics;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::identity::{Peer, PepRules, TrustLocal};

const LIMIT: Duration = Duration::from_millis(200);

/// A rescue around nothing yet, and the witness of what it does.
struct Bench {
    layer: RescueLayer,
    memory: Memory,
    auditor: Auditor,
    registry: Registry,
    _writer: WriterHandle,
}

impl Bench {
    /// Around our own service.
    fn for_programs() -> Self {
        let mut bench = Self::new();
        bench.layer.door = Door::Program;
        bench
    }

    fn new() -> Self {
        let text = include_str!("../../../deploy/dev.yaml");
        let Config { fixed, rules, .. } = Config::parse(text, "dev.yaml".as_ref()).unwrap();
        let engine = fixed.policy.embedded_engine(fixed.base).unwrap();
        let (memory, auditor, writer) = Memory::auditor(Arc::new(SystemClock)).unwrap();
        let mut registry = Registry::default();
        let authority = Authority::new(
            Arc::new(rules),
            Arc::new(engine),
            auditor.clone(),
            Arc::new(SystemClock),
            Metrics::new(&mut registry),
        );
        Self {
            layer: RescueLayer {
                authority: Arc::new(authority),
                door: Door::Proxy,
                in_flight: Arc::new(Semaphore::new(1)),
                time_limit: LIMIT,
            },
            memory,
            auditor,
            registry,
            _writer: writer,
        }
    }

    /// The reasons and messages of the refusals on record.
    async fn refusals(&self) -> Vec<(String, Option<String>)> {
        self.auditor.flush().await.unwrap();
        let records = self.memory.records(EventType::PermissionDenied);
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        records
            .iter()
            .map(|it| (text(&it["reason_code"]).unwrap(), text(&it["message"])))
            .collect()
    }
}

fn request(path: &str) -> http::Request<Body> {
    let mut request = http::Request::post(path).body(Body::empty()).unwrap();
    let proxy = Proxy::Plain(Peer::Unix { uid: None });
    request.extensions_mut().insert(proxy);
    request
}

/// HTTP status and reason of a denial.
async fn denial(response: http::Response<Body>) -> (i32, String) {
    assert_eq!(response.status(), 200);
    let frame = response.into_body().collect().await.unwrap();
    assert_eq!(frame.trailers().unwrap()["grpc-status"], "0");
    let bytes = frame.to_bytes();
    let answer = CheckResponse::decode(&bytes[5..]).unwrap();
    assert_ne!(answer.status.unwrap().code, 0);
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else {
        panic!("not denied");
    };
    let reason = denied.headers.into_iter().filter_map(|it| it.header);
    let reason = reason
        .filter(|it| it.key == "x-attache-reason")
        .map(|it| it.value);
    (denied.status.unwrap().code, reason.collect())
}

type Answered = Result<http::Response<Body>, std::convert::Infallible>;

#[tokio::test]
async fn every_failed_call_becomes_a_denial() {
    // E03
    let bench = Bench::new();
    for (code, status, reason) in [
        (Code::Internal, 403, "bad_request"),
        (Code::InvalidArgument, 403, "bad_request"),
        (Code::Unimplemented, 403, "bad_request"),
        (Code::OutOfRange, 503, "request_too_large"),
        (Code::ResourceExhausted, 503, "request_too_large"),
        (Code::DeadlineExceeded, 503, "deadline_exceeded"),
        (Code::Cancelled, 503, "deadline_exceeded"),
        (Code::Unknown, 503, "deadline_exceeded"),
        (Code::NotFound, 503, "internal_error"),
        (Code::AlreadyExists, 503, "internal_error"),
        (Code::PermissionDenied, 503, "internal_error"),
        (Code::FailedPrecondition, 503, "internal_error"),
        (Code::Aborted, 503, "internal_error"),
        (Code::Unavailable, 503, "internal_error"),
        (Code::DataLoss, 503, "internal_error"),
        (Code::Unauthenticated, 503, "internal_error"),
    ] {
        let inner = service_fn(move |_: http::Request<Body>| async move {
            Answered::Ok(Status::new(code, "what the stack says").into_http())
        });
        let response = bench.layer.layer(inner).call(request(CHECK)).await.unwrap();
        assert_eq!(
            denial(response).await,
            (status, reason.to_owned()),
            "{code:?}"
        );
        let last = bench.refusals().await.pop().unwrap();
        assert_eq!(
            last,
            (reason.to_owned(), Some("what the stack says".to_owned()))
        );
    }
}

#[tokio::test]
async fn a_panic_becomes_a_denial() {
    // E03, X31: in the handler, and before there is one.
    let bench = Bench::new();
    let late = service_fn(|_: http::Request<Body>| async { panic!("on purpose") });
    let late: Answered = bench.layer.layer(late).call(request(CHECK)).await;
    let early = service_fn(|_: http::Request<Body>| -> std::future::Ready<Answered> {
        panic!("on purpose")
    });
    let early = bench.layer.layer(early).call(request(CHECK)).await;
    for response in [late, early] {
        let denied = denial(response.unwrap()).await;
        assert_eq!(denied, (503, "internal_error".to_owned()));
    }
    let refusals = bench.refusals().await;
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &bench.registry).unwrap();
    let counted = "{outcome=\"deny\",reason=\"internal_error\",mode=\"enforce\"} 2";
    assert!(text.contains(counted), "{text}");
    // Their places are free again, and the next one is served.
    assert_eq!(bench.layer.in_flight.available_permits(), 1);
    let well = service_fn(|_: http::Request<Body>| async {
        Answered::Ok(http::Response::new(Body::empty()))
    });
    let next = bench.layer.layer(well).call(request(CHECK)).await.unwrap();
    assert_eq!(next.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_denied_at_the_limit() {
    // E52
    let bench = Bench::new();
    let inner = service_fn(|_: http::Request<Body>| std::future::pending::<Answered>());
    let begun = Instant::now();
    let response = bench.layer.layer(inner).call(request(CHECK)).await.unwrap();
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(
        denial(response).await,
        (503, "deadline_exceeded".to_owned())
    );
    let refusals = bench.refusals().await;
    assert_eq!(refusals.len(), 1, "{refusals:?}");
}

#[tokio::test]
async fn a_call_without_a_place_is_denied_unheard() {
    let bench = Bench::new();
    let _place = bench.layer.in_flight.try_acquire().unwrap();
    let inner = service_fn(|_: http::Request<Body>| -> std::future::Ready<Answered> {
        unreachable!("it must not be asked")
    });
    let response = bench.layer.layer(inner).call(request(CHECK)).await.unwrap();
    assert_eq!(denial(response).await, (503, "overloaded".to_owned()));
    assert_eq!(bench.refusals().await, [("overloaded".to_owned(), None)]);
}

/// The status of an error of our own service, and the reason and record it tells of.
fn error(response: &http::Response<Body>) -> (Code, String, String) {
    use crate::grpc::proto::google::rpc::{ErrorInfo, Status as Details};
    let status = Status::from_header_map(response.headers()).unwrap();
    let details = Details::decode(status.details()).unwrap();
    assert_eq!(details.code, i32::from(status.code()));
    let info = ErrorInfo::decode(&*details.details[0].value).unwrap();
    (
        status.code(),
        info.reason,
        info.metadata["decision_id"].clone(),
    )
}

#[tokio::test]
async fn a_failed_call_of_our_own_service_is_an_error_on_record_and_no_check_response() {
    let bench = Bench::for_programs();
    for (failed, code, reason) in [
        (Code::Internal, Code::InvalidArgument, "bad_request"),
        (Code::InvalidArgument, Code::InvalidArgument, "bad_request"),
        (
            Code::OutOfRange,
            Code::ResourceExhausted,
            "request_too_large",
        ),
        (Code::Unknown, Code::DeadlineExceeded, "deadline_exceeded"),
        (Code::Unavailable, Code::Internal, "internal_error"),
        (Code::PermissionDenied, Code::Internal, "internal_error"),
    ] {
        for path in authorization::METHODS {
            let inner = service_fn(move |_: http::Request<Body>| async move {
                Answered::Ok(Status::new(failed, "what the stack says").into_http())
            });
            let response = bench.layer.layer(inner).call(request(path)).await.unwrap();
            let (told, upper, _) = error(&response);
            assert_eq!((told, &*upper.to_lowercase()), (code, reason), "{failed:?}");
            let last = bench.refusals().await.pop().unwrap();
            assert_eq!(
                last,
                (reason.to_owned(), Some("what the stack says".to_owned()))
            );
        }
    }
}

#[tokio::test]
async fn a_panic_in_our_own_service_is_an_internal_error_on_record() {
    let bench = Bench::for_programs();
    let late = service_fn(|_: http::Request<Body>| async { panic!("on purpose") });
    for path in authorization::METHODS {
        let answered: Answered = bench.layer.layer(late).call(request(path)).await;
        let (code, reason, id) = error(&answered.unwrap());
        assert_eq!((code, &*reason), (Code::Internal, "INTERNAL_ERROR"));
        bench.auditor.flush().await.unwrap();
        let records = bench.memory.records(EventType::PermissionDenied);
        assert_eq!(records.last().unwrap()["decision_id"], id);
    }
    assert_eq!(bench.layer.in_flight.available_permits(), 1);
}

#[tokio::test]
async fn a_call_of_our_own_service_without_a_place_is_an_error_unheard() {
    let bench = Bench::for_programs();
    let _place = bench.layer.in_flight.try_acquire().unwrap();
    let inner = service_fn(|_: http::Request<Body>| -> std::future::Ready<Answered> {
        unreachable!("it must not be asked")
    });
    let path = authorization::METHODS[0];
    let response = bench.layer.layer(inner).call(request(path)).await.unwrap();
    let (code, reason, _) = error(&response);
    assert_eq!((code, &*reason), (Code::Unavailable, "OVERLOADED"));
    assert_eq!(bench.refusals().await, [("overloaded".to_owned(), None)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_our_own_service_that_hangs_is_an_error_at_the_limit() {
    let bench = Bench::for_programs();
    let inner = service_fn(|_: http::Request<Body>| std::future::pending::<Answered>());
    let begun = Instant::now();
    let path = authorization::METHODS[0];
    let response = bench.layer.layer(inner).call(request(path)).await.unwrap();
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(error(&response).0, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_peer_that_may_ask_nothing_is_turned_away_before_it_takes_a_place() {
    let bench = Bench::for_programs();
    let inner = service_fn(|_: http::Request<Body>| -> std::future::Ready<Answered> {
        unreachable!("it must not be asked")
    });
    let mut call = request(authorization::METHODS[0]);
    call.extensions_mut().remove::<Proxy>();
    let response = bench.layer.layer(inner).call(call).await.unwrap();
    let (code, reason, _) = error(&response);
    assert_eq!((code, &*reason), (Code::PermissionDenied, "UNTRUSTED_PEER"));
    assert_eq!(bench.refusals().await.len(), 1);
}

#[tokio::test]
async fn what_succeeds_or_is_not_a_check_passes_untouched() {
    let bench = Bench::new();
    let inner = service_fn(|it: http::Request<Body>| async move {
        let mut response = match it.uri().path() {
            CHECK => http::Response::new(Body::empty()),
            _ => Status::unimplemented("").into_http(),
        };
        response
            .headers_mut()
            .insert("x-mark", http::HeaderValue::from_static("1"));
        Answered::Ok(response)
    });
    for path in [
        CHECK,
        "/envoy.service.auth.v3.Authorization/Other",
        authorization::METHODS[0],
    ] {
        let response = bench.layer.layer(inner).call(request(path)).await.unwrap();
        assert_eq!(response.headers()["x-mark"], "1");
    }
    assert!(bench.refusals().await.is_empty());
}

#[tokio::test]
async fn a_request_given_up_on_its_way_in_is_recorded_and_one_that_was_handled_is_not() {
    let bench = Bench::new();
    let inner = service_fn(|_: http::Request<Body>| std::future::pending::<Answered>());
    drop(bench.layer.layer(inner).call(request(CHECK)));
    let refusals = bench.refusals().await;
    let gone = "the asker went away before the decision".to_owned();
    assert_eq!(refusals, [("deadline_exceeded".to_owned(), Some(gone))]);

    let inner = service_fn(|it: http::Request<Body>| {
        let _at = it.extensions().get::<Arrived>().unwrap().handle();
        std::future::pending::<Answered>()
    });
    drop(bench.layer.layer(inner).call(request(CHECK)));
    assert_eq!(bench.refusals().await.len(), 1);
}

#[test]
fn a_connection_without_a_peer_is_trusted_with_nothing() {
    let nobody = Proxy::of(&http::Extensions::new()).peer();
    for trust_local in [TrustLocal::None, TrustLocal::Unix, TrustLocal::Loopback] {
        let rules = PepRules {
            trust_local,
            trust_uids: Vec::new(),
            peps: Vec::new(),
            trust_domains: Vec::new(),
            context_extensions: Vec::new(),
        };
        assert!(
            rules.judge(&nobody, SystemClock.now()).is_err(),
            "{trust_local:?}"
        );
    }
}
