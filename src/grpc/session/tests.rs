use super::super::proto::attache::v1::DevPassword;
use super::super::proto::attache::v1::create_session_request::Credential;
use super::super::refusal::reason;
use super::*;

fn metadata(values: &[&str]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for value in values {
        metadata.append("authorization", value.parse().unwrap());
    }
    metadata
}

#[test]
fn the_caller_s_credential_is_one_bearer_token() {
    let handle = Handle::from_random([7; 32]);
    let text = handle.reveal();
    let bearer = format!("Bearer {text}");
    for good in [
        bearer.clone(),
        format!("bearer {text}"),
        format!("BEARER  {text}"),
    ] {
        let read = credential(&metadata(&[&good])).unwrap();
        assert_eq!(read.digest(), handle.digest());
    }
    for bad in [
        vec![],
        vec![&*bearer, &*bearer],
        vec![&*text],
        vec!["Bearer"],
        vec!["Bearer "],
        vec!["Bearer ath_AAAA"],
        vec!["Basic dXNyOnB3"],
    ] {
        assert!(credential(&metadata(&bad)).is_none(), "{bad:?}");
    }
    let longer = format!("{bearer} more");
    assert!(credential(&metadata(&[&longer])).is_none());
}

fn asked(email: &str, password: &str) -> CreateSessionRequest {
    CreateSessionRequest {
        credential: Some(Credential::DevPassword(DevPassword {
            email: email.to_owned(),
            password: password.to_owned(),
        })),
        request_id: String::new(),
    }
}

#[test]
fn a_message_that_can_not_be_read_is_refused_by_field_and_not_repeated() {
    let sound = asked("alice@example.com", "correct horse");
    assert!(wire::login(sound.clone()).is_ok());
    for (bad, field) in [
        (CreateSessionRequest::default(), "credential"),
        (
            asked("hunter2-alice", "correct horse"),
            "dev_password.email",
        ),
        (
            asked("alice@example.com", "hunter2"),
            "dev_password.password",
        ),
        (
            CreateSessionRequest {
                request_id: "hunter2".repeat(10),
                ..sound
            },
            "request_id",
        ),
    ] {
        let status = wire::login(bad).unwrap_err();
        assert_eq!(reason(&status).as_deref(), Some("BAD_REQUEST"));
        assert!(status.message().starts_with(field), "{status:?}");
        assert!(!format!("{status:?}").contains("hunter2"));
    }
    for bad in [
        "sessions/",
        "ses_1 2",
        "sessions/-",
        "ses_00000000000000000000000007",
    ] {
        assert!(wire::name(bad).is_err(), "{bad}");
    }
    assert!(wire::name("sessions/ses_00000000000000000000000007").is_ok());
}

#[test]
fn no_message_shows_what_is_secret() {
    // T23
    let shown = format!("{:?}", asked("alice@example.com", "correct horse"));
    assert!(!shown.contains("horse"), "{shown}");
    let answer = CreateSessionResponse {
        session: None,
        session_token: "ath_secret".to_owned(),
    };
    assert!(!format!("{answer:?}").contains("secret"));
}
