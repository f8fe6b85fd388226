//! Why a request was refused: one stable code per cause, and the class that decides how the refusal looks outside.
//!
//! Codes are public: they stand in responses, audit records, metrics and `docs/reason-codes.md`. A code is never
//! renamed or reused.

use std::fmt;

/// The cause of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    // Who are you?
    /// The request carries neither a certificate nor a principal.
    NoIdentity,
    /// The certificate or principal is not a valid X509-SVID or SPIFFE ID.
    InvalidIdentity,
    /// Certificate and principal name different identities.
    IdentityMismatch,
    /// The caller's trust domain is neither ours nor federated.
    ForeignTrustDomain,
    /// The token is not one of ours, not readable, not the only one, or of a kind that is not accepted here.
    TokenInvalid,
    /// The token's time is over.
    TokenExpired,
    /// The token, or something that it rests on, was taken back.
    TokenRevoked,
    /// The token was made for somebody other than the caller.
    PresenterMismatch,
    /// The token was made for another service.
    AudienceMismatch,
    // No.
    /// The peer of this connection may not assert who the caller is.
    UntrustedPeer,
    /// The question itself is malformed or contradicts itself.
    BadRequest,
    /// The question has no HTTP part, as the network filter sends it.
    NotHttp,
    /// The path could be read differently by policy and by the service.
    AmbiguousPath,
    /// The body that this route needs is missing, cut off, not well formed or of another type.
    UnusableBody,
    /// No route names this request.
    RouteUnmatched,
    /// A value taken from the request is not one plain segment.
    InvalidCapture,
    /// The caller is an agent and acts for nobody.
    OrphanAgent,
    /// The caller holds no permission for this operation.
    OutOfScope,
    /// The operation is FORBIDDEN for automation.
    TierForbidden,
    /// The operation is SUPERVISED and no human has said yes.
    ApprovalRequired,
    /// Policy said no.
    PolicyDenied,
    /// Policy has no answer for this request.
    PolicyUndefined,
    // Could not decide.
    /// Policy evaluation failed, or its result has the wrong shape.
    PolicyError,
    /// Policy evaluation took longer than its limit.
    PolicyTimeout,
    /// The policy engine can't be reached or can't answer now.
    PolicyUnavailable,
    /// The policy engine sent no usable answer.
    PolicyMalformed,
    /// The policy engine failed again and again and is not asked at the moment.
    CircuitOpen,
    /// No decision within the deadline.
    DeadlineExceeded,
    /// More requests than the configured limits admit.
    Overloaded,
    /// The question is larger than the configured limit.
    RequestTooLarge,
    /// The record of the decision was not durable in time.
    AuditUnavailable,
    /// What a token rests on can't be looked up.
    StateUnavailable,
    /// A fault inside attache.
    InternalError,
}

/// How a refusal presents itself: the question that was left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Who are you? HTTP 401.
    Unauthenticated,
    /// No. HTTP 403.
    Refused,
    /// Could not decide. HTTP 503.
    Undecided,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 33] = [
        Self::NoIdentity,
        Self::InvalidIdentity,
        Self::IdentityMismatch,
        Self::ForeignTrustDomain,
        Self::TokenInvalid,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::PresenterMismatch,
        Self::AudienceMismatch,
        Self::UntrustedPeer,
        Self::BadRequest,
        Self::NotHttp,
        Self::AmbiguousPath,
        Self::UnusableBody,
        Self::RouteUnmatched,
        Self::InvalidCapture,
        Self::OrphanAgent,
        Self::OutOfScope,
        Self::TierForbidden,
        Self::ApprovalRequired,
        Self::PolicyDenied,
        Self::PolicyUndefined,
        Self::PolicyError,
        Self::PolicyTimeout,
        Self::PolicyUnavailable,
        Self::PolicyMalformed,
        Self::CircuitOpen,
        Self::DeadlineExceeded,
        Self::Overloaded,
        Self::RequestTooLarge,
        Self::AuditUnavailable,
        Self::StateUnavailable,
        Self::InternalError,
    ];

    /// The stable code, as `route_unmatched`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoIdentity => "no_identity",
            Self::InvalidIdentity => "invalid_identity",
            Self::IdentityMismatch => "identity_mismatch",
            Self::ForeignTrustDomain => "foreign_trust_domain",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::PresenterMismatch => "presenter_mismatch",
            Self::AudienceMismatch => "audience_mismatch",
            Self::UntrustedPeer => "untrusted_peer",
            Self::BadRequest => "bad_request",
            Self::NotHttp => "not_http",
            Self::AmbiguousPath => "ambiguous_path",
            Self::UnusableBody => "unusable_body",
            Self::RouteUnmatched => "route_unmatched",
            Self::InvalidCapture => "invalid_capture",
            Self::OrphanAgent => "orphan_agent",
            Self::OutOfScope => "out_of_scope",
            Self::TierForbidden => "tier_forbidden",
            Self::ApprovalRequired => "approval_required",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyUndefined => "policy_undefined",
            Self::PolicyError => "policy_error",
            Self::PolicyTimeout => "policy_timeout",
            Self::PolicyUnavailable => "policy_unavailable",
            Self::PolicyMalformed => "policy_malformed",
            Self::CircuitOpen => "circuit_open",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Overloaded => "overloaded",
            Self::RequestTooLarge => "request_too_large",
            Self::AuditUnavailable => "audit_unavailable",
            Self::StateUnavailable => "state_unavailable",
            Self::InternalError => "internal_error",
        }
    }

    /// How this refusal presents itself.
    pub const fn class(self) -> Class {
        match self {
            Self::NoIdentity
            | Self::InvalidIdentity
            | Self::IdentityMismatch
            | Self::ForeignTrustDomain
            | Self::TokenInvalid
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::PresenterMismatch
            | Self::AudienceMismatch => Class::Unauthenticated,
            Self::UntrustedPeer
            | Self::BadRequest
            | Self::NotHttp
            | Self::AmbiguousPath
            | Self::UnusableBody
            | Self::RouteUnmatched
            | Self::InvalidCapture
            | Self::OrphanAgent
            | Self::OutOfScope
            | Self::TierForbidden
            | Self::ApprovalRequired
            | Self::PolicyDenied
            | Self::PolicyUndefined => Class::Refused,
            Self::PolicyError
            | Self::PolicyTimeout
            | Self::PolicyUnavailable
            | Self::PolicyMalformed
            | Self::CircuitOpen
            | Self::DeadlineExceeded
            | Self::Overloaded
            | Self::RequestTooLarge
            | Self::AuditUnavailable
            | Self::StateUnavailable
            | Self::InternalError => Class::Undecided,
        }
    }

    /// Whether it is the token that was refused: a client is told so as RFC 6750 section 3 has it.
    pub const fn is_about_token(self) -> bool {
        matches!(
            self,
            Self::TokenInvalid
                | Self::TokenExpired
                | Self::TokenRevoked
                | Self::PresenterMismatch
                | Self::AudienceMismatch
        )
    }

    /// What the refused client is told: true, and nothing about policy, roles or other identities.
    pub const fn public_detail(self) -> &'static str {
        match self {
            Self::NoIdentity => "the request carries no caller identity",
            Self::InvalidIdentity => "the caller identity is not a valid SPIFFE identity",
            Self::IdentityMismatch => "the caller's certificate and principal disagree",
            Self::ForeignTrustDomain => "the caller's trust domain is not accepted here",
            Self::TokenInvalid => "the delegation token is not valid here",
            Self::TokenExpired => "the delegation token has expired",
            Self::TokenRevoked => "the delegation token was revoked",
            Self::PresenterMismatch => "the delegation token was made for another caller",
            Self::AudienceMismatch => "the delegation token was made for another service",
            Self::UntrustedPeer => "the asking proxy may not speak for callers",
            Self::BadRequest => "the request is malformed",
            Self::NotHttp => "only HTTP and gRPC requests can be authorized",
            Self::AmbiguousPath => "the request path can be read in more than one way",
            Self::UnusableBody => "the request body is missing, incomplete or not usable",
            Self::RouteUnmatched => "no route names this request",
            Self::InvalidCapture => "a part of the path is not a plain name",
            Self::OrphanAgent => "an agent must carry a delegation from a person",
            Self::OutOfScope => "the caller holds no permission for this operation",
            Self::TierForbidden => "this operation is forbidden for automation",
            Self::ApprovalRequired => "this operation needs a person's approval",
            Self::PolicyDenied => "policy denies this operation",
            Self::PolicyUndefined => "policy does not allow this operation",
            Self::PolicyError
            | Self::PolicyTimeout
            | Self::PolicyUnavailable
            | Self::PolicyMalformed
            | Self::CircuitOpen => "policy could not be evaluated",
            Self::DeadlineExceeded => "no decision was reached in time",
            Self::Overloaded => "too many requests are being decided",
            Self::RequestTooLarge => "the request is too large to be decided",
            Self::AuditUnavailable => "the decision could not be recorded",
            Self::StateUnavailable => "what the delegation rests on could not be looked up",
            Self::InternalError => "the decision failed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_words() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_'),
                "{code}"
            );
        }
    }
}
