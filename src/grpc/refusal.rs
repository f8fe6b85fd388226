//! How refusals of our own services look to who asked: one table from the stable reason to the status of gRPC, and the
//! details of `google.rpc` that a program can act on.
//!
//! Every status has an `ErrorInfo` with reason and domain `attache.dev`; [`Refused`] adds what else there is to say. The
//! message is for people and promises nothing.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use super::proto::google::rpc::{
    self, BadRequest, ErrorInfo, PreconditionFailure, RetryInfo, bad_request, precondition_failure,
};

/// The reasons of refusals, and the status each of them is: those of sessions, and those of delegation.
const TABLE: [(&str, Code); 28] = [
    ("LOGIN_NOT_LOCAL", Code::PermissionDenied),
    ("LOGIN_UNAVAILABLE", Code::FailedPrecondition),
    ("LOGIN_FAILED", Code::Unauthenticated),
    ("SESSION_INVALID", Code::Unauthenticated),
    ("RATE", Code::ResourceExhausted),
    ("REQUEST_ID_REUSED", Code::AlreadyExists),
    ("NOT_FOUND", Code::NotFound),
    ("STORE_UNAVAILABLE", Code::Unavailable),
    ("BAD_REQUEST", Code::InvalidArgument),
    ("TOO_LARGE", Code::InvalidArgument),
    ("INVALID_LIFETIME", Code::InvalidArgument),
    ("SCOPE_EXCEEDED", Code::InvalidArgument),
    ("SCOPE_EMPTY", Code::InvalidArgument),
    ("DELEGATION_NOT_ALLOWED", Code::PermissionDenied),
    ("AUDIENCE_NOT_ALLOWED", Code::PermissionDenied),
    ("PARENT_INACTIVE", Code::FailedPrecondition),
    ("MAX_DEPTH", Code::FailedPrecondition),
    ("CYCLE", Code::FailedPrecondition),
    ("MAX_FANOUT", Code::FailedPrecondition),
    ("TASK_UNAVAILABLE", Code::FailedPrecondition),
    ("AGENT_ID_TAKEN", Code::FailedPrecondition),
    ("CALLER_UNTRUSTED", Code::Unauthenticated),
    ("TOKEN_INVALID", Code::Unauthenticated),
    ("TOKEN_EXPIRED", Code::Unauthenticated),
    ("TOKEN_REVOKED", Code::Unauthenticated),
    ("PRESENTER_MISMATCH", Code::Unauthenticated),
    ("MAX_TOKENS", Code::ResourceExhausted),
    ("OVERLOADED", Code::Unavailable),
];

/// A refusal on its way out.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    code: Code,
    message: String,
    details: Vec<Any>,
}

impl Refused {
    /// For a reason of the table; one that is not there is a fault of ours.
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        let row = TABLE.iter().find(|(name, _)| *name == reason);
        let info = ErrorInfo {
            reason: reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: [].into(),
        };
        Self {
            code: row.map_or(Code::Internal, |(_, code)| *code),
            message: message.into(),
            details: vec![any(&info)],
        }
    }

    /// For a field that can't be read; says what to write instead, and never what was written.
    pub(super) fn field(field: &str, description: impl Into<String>) -> Self {
        let description = description.into();
        let violation = bad_request::FieldViolation {
            field: field.to_owned(),
            description: description.clone(),
        };
        Self::new("BAD_REQUEST", format!("{field}: {description}")).with(&BadRequest {
            field_violations: vec![violation],
        })
    }

    /// And when to ask again: in whole seconds, rounded up.
    pub(super) fn retry_in(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let delay = prost_types::Duration {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: 0,
        };
        self.with(&RetryInfo {
            retry_delay: Some(delay),
        })
    }

    /// And what must be otherwise: a thing of the configuration, for instance.
    pub(super) fn until(self, kind: &str, subject: &str) -> Self {
        let violation = precondition_failure::Violation {
            r#type: kind.to_owned(),
            subject: subject.to_owned(),
            description: self.message.clone(),
        };
        self.with(&PreconditionFailure {
            violations: vec![violation],
        })
    }

    fn with(mut self, detail: &impl Detail) -> Self {
        self.details.push(any(detail));
        self
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let Refused {
            code,
            message,
            details,
        } = refused;
        let status = rpc::Status {
            code: code.into(),
            message: message.clone(),
            details,
        };
        Self::with_details(code, message, status.encode_to_vec().into())
    }
}

/// A message of `google.rpc` that stands among the details of a status.
trait Detail: Message {
    const NAME: &'static str;
}

impl Detail for ErrorInfo {
    const NAME: &'static str = "ErrorInfo";
}

impl Detail for RetryInfo {
    const NAME: &'static str = "RetryInfo";
}

impl Detail for BadRequest {
    const NAME: &'static str = "BadRequest";
}

impl Detail for PreconditionFailure {
    const NAME: &'static str = "PreconditionFailure";
}

fn any<T: Detail>(detail: &T) -> Any {
    Any {
        type_url: format!("type.googleapis.com/google.rpc.{}", T::NAME),
        value: detail.encode_to_vec(),
    }
}

/// The reason that a status of ours carries; `None` for one of somebody else.
pub(super) fn reason(status: &Status) -> Option<String> {
    let told = rpc::Status::decode(status.details()).ok()?;
    let info = ErrorInfo::decode(&*told.details.first()?.value).ok()?;
    (info.domain == DOMAIN).then_some(info.reason)
}

const DOMAIN: &str = "attache.dev";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{MandateRefusal, SessionRefusal};
    use crate::delegation::Refusal;

    #[test]
    fn every_reason_has_a_status_of_its_own_row() {
        let codes = SessionRefusal::CODES.into_iter().chain(Refusal::CODES);
        let codes = codes.chain(MandateRefusal::CODES);
        for code in codes {
            let rows = TABLE.iter().filter(|(name, _)| *name == code).count();
            assert_eq!(rows, 1, "{code}");
        }
    }

    #[test]
    fn details_say_what_a_program_can_do() {
        let status: Status = Refused::new("RATE", "too many tries")
            .retry_in(Duration::from_millis(1_001))
            .into();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(&status).as_deref(), Some("RATE"));
        let told = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(told.code, i32::from(Code::ResourceExhausted));
        let retry = RetryInfo::decode(&*told.details[1].value).unwrap();
        assert_eq!(retry.retry_delay.unwrap().seconds, 2);

        let status: Status = Refused::field("name", "write sessions/ID").into();
        assert_eq!(status.code(), Code::InvalidArgument);
        let told = rpc::Status::decode(status.details()).unwrap();
        let names: Vec<_> = told.details.iter().map(|it| &*it.type_url).collect();
        assert_eq!(
            names,
            [
                "type.googleapis.com/google.rpc.ErrorInfo",
                "type.googleapis.com/google.rpc.BadRequest"
            ]
        );
    }
}
