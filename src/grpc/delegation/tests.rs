use super::super::proto::attache::v1::check_permission_request::Mandate;
use super::super::proto::attache::v1::{
    ActionList, DelegateRef, Narrowing, ResourceList, delegate_request, revoke_token_request,
};
use super::super::refusal::reason;
use super::*;

const SECRET: &str = "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJhIn0.c2VjcmV0";

fn asked() -> DelegateRequest {
    DelegateRequest {
        delegate: Some(DelegateRef {
            spiffe_id: "spiffe://example.org/agent/a".to_owned(),
            agent_id: "agent-a".to_owned(),
            agent_type: String::new(),
        }),
        ..DelegateRequest::default()
    }
}

#[test]
fn no_message_shows_a_token() {
    // T23, T50
    let token = || SECRET.to_owned();
    let shown = [
        format!(
            "{:?}",
            DelegateRequest {
                parent: Some(delegate_request::Parent::ParentToken(token())),
                ..asked()
            }
        ),
        format!(
            "{:?}",
            CheckPermissionRequest {
                mandate: Some(Mandate::Token(token())),
                ..CheckPermissionRequest::default()
            }
        ),
        format!(
            "{:?}",
            RevokeTokenRequest {
                which: Some(revoke_token_request::Which::Token(token())),
                ..RevokeTokenRequest::default()
            }
        ),
        format!(
            "{:?}",
            VerifyTokenRequest {
                token: token(),
                ..VerifyTokenRequest::default()
            }
        ),
        format!("{:?}", IntrospectTokenRequest { token: token() }),
        format!(
            "{:?}",
            DelegateResponse {
                token: Some(IssuedToken {
                    token: token(),
                    ..IssuedToken::default()
                }),
                ..DelegateResponse::default()
            }
        ),
    ];
    for shown in shown {
        assert!(!shown.contains("eyJ"), "{shown}");
    }
}

#[test]
fn a_list_that_is_not_there_and_an_empty_one_differ() {
    // A7
    let read = |narrowing| {
        let asked = DelegateRequest {
            narrowing: Some(narrowing),
            ..asked()
        };
        wire::delegation(asked).unwrap().narrowing
    };
    let absent = read(Narrowing::default());
    assert_eq!((absent.resources, absent.actions), (None, None));
    let empty = read(Narrowing {
        resources: Some(ResourceList::default()),
        actions: Some(ActionList::default()),
        ..Narrowing::default()
    });
    assert_eq!(
        (empty.resources, empty.actions),
        (Some(vec![]), Some(vec![]))
    );
}

#[test]
fn what_can_not_be_read_is_refused_by_field_and_not_repeated() {
    // D19, D37
    assert!(wire::delegation(asked()).is_ok());
    let cases: [(&str, DelegateRequest); 7] = [
        (
            "delegate",
            DelegateRequest {
                delegate: None,
                ..asked()
            },
        ),
        (
            "parent_grant",
            DelegateRequest {
                // A token in the place of a name.
                parent: Some(delegate_request::Parent::ParentGrant(SECRET.to_owned())),
                ..asked()
            },
        ),
        (
            "task_id",
            DelegateRequest {
                task_id: "a/b".to_owned(),
                ..asked()
            },
        ),
        (
            "audience[0]",
            DelegateRequest {
                audience: vec!["*".to_owned()],
                ..asked()
            },
        ),
        (
            "purpose",
            DelegateRequest {
                purpose: "x".repeat(1025),
                ..asked()
            },
        ),
        (
            "on_excess",
            DelegateRequest {
                on_excess: 77,
                ..asked()
            },
        ),
        (
            "delivery",
            DelegateRequest {
                delivery: -1,
                ..asked()
            },
        ),
    ];
    for (field, bad) in cases {
        let status = wire::delegation(bad).unwrap_err();
        assert_eq!(reason(&status).as_deref(), Some("BAD_REQUEST"), "{field}");
        assert!(status.message().starts_with(field), "{status:?}");
        assert!(!format!("{status:?}").contains("eyJ"));
    }
    for (seconds, nanos) in [(0, 0), (-1, 0), (1, -1), (i64::MIN, 0), (1, i32::MAX)] {
        let bad = DelegateRequest {
            ttl: Some(prost_types::Duration { seconds, nanos }),
            ..asked()
        };
        let status = wire::delegation(bad).unwrap_err();
        assert_eq!(reason(&status).as_deref(), Some("INVALID_LIFETIME"));
    }
    assert!(wire::request_id("x".repeat(65)).is_err());
    assert!(wire::questions(BatchCheckPermissionsRequest::default()).is_err());
}
