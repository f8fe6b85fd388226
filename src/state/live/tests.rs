use std::time::Duration;

use super::*;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

struct Token {
    id: TokenId,
    grants: Vec<GrantId>,
    tasks: Vec<TaskId>,
    session: SessionId,
    person: PersonId,
    agents: Vec<Agent>,
}

impl Token {
    fn new() -> Self {
        let agent = Agent {
            spiffe_id: "spiffe://example.org/agent/scheduling".parse().unwrap(),
            agent_id: "scheduling-agent-001".parse().unwrap(),
            agent_type: "scheduling".parse().unwrap(),
        };
        Self {
            id: TokenId::from_random(1),
            grants: vec![GrantId::from_random(1), GrantId::from_random(2)],
            tasks: vec![
                "task-abc".parse().unwrap(),
                "task-abc-sub1".parse().unwrap(),
            ],
            session: SessionId::from_random(1),
            person: "usr-alice-001".parse().unwrap(),
            agents: vec![agent],
        }
    }

    fn presented(&self) -> Presented<'_> {
        Presented {
            token: &self.id,
            grants: &self.grants,
            tasks: &self.tasks,
            session: &self.session,
            person: &self.person,
            agents: &self.agents,
            issued: NOW,
        }
    }
}

fn with(what: Revoked) -> Revocations {
    let until = NOW.plus(Duration::from_secs(330));
    Revocations::new(Position(1), [Entry { what, until }])
}

#[test]
fn a_token_dies_by_anything_that_it_rests_on() {
    let token = Token::new();
    let later = NOW.plus(Duration::from_nanos(1));
    let agent = &token.agents[0];
    for (what, cause) in [
        (Revoked::Token(token.id.clone()), Cause::Token),
        (Revoked::Grant(token.grants[0].clone()), Cause::Grant),
        (Revoked::Grant(token.grants[1].clone()), Cause::Grant),
        (
            Revoked::Task(token.person.clone(), token.tasks[0].clone()),
            Cause::Task,
        ),
        (Revoked::Session(token.session.clone()), Cause::Session),
        (Revoked::Subject(token.person.clone(), later), Cause::Epoch),
        (Revoked::Actor(agent.spiffe_id.clone(), later), Cause::Epoch),
        (
            Revoked::AgentType(agent.agent_type.clone(), later),
            Cause::Epoch,
        ),
        (Revoked::Tenant(later), Cause::Epoch),
    ] {
        let killed = with(what.clone()).kills(&token.presented());
        assert_eq!(killed, Some(cause), "{what:?}");
    }
}

#[test]
fn a_token_lives_where_others_are_taken_back() {
    let token = Token::new();
    let bob: PersonId = "usr-bob-002".parse().unwrap();
    for what in [
        Revoked::Token(TokenId::from_random(2)),
        Revoked::Grant(GrantId::from_random(3)),
        Revoked::Task(bob.clone(), token.tasks[0].clone()),
        Revoked::Task(token.person.clone(), "task".parse().unwrap()),
        Revoked::Session(SessionId::from_random(2)),
        Revoked::Subject(bob, NOW.plus(Duration::from_secs(1))),
        Revoked::Subject(token.person.clone(), NOW),
        Revoked::Actor(
            "spiffe://example.org/agent/other".parse().unwrap(),
            NOW.plus(Duration::from_secs(1)),
        ),
        Revoked::Tenant(NOW),
    ] {
        let killed = with(what.clone()).kills(&token.presented());
        assert_eq!(killed, None, "{what:?}");
    }
}

#[test]
fn an_entry_is_forgotten_when_no_token_can_need_it_and_an_epoch_never_goes_back() {
    let token = Token::new();
    let revocations = with(Revoked::Tenant(NOW.plus(Duration::from_secs(1))));
    revocations.add(Delta {
        position: Position(2),
        entries: vec![Entry {
            what: Revoked::Tenant(NOW),
            until: NOW,
        }],
    });
    revocations.drop_before(NOW.plus(Duration::from_secs(329)));
    assert_eq!(revocations.kills(&token.presented()), Some(Cause::Epoch));
    revocations.drop_before(NOW.plus(Duration::from_secs(330)));
    assert!(revocations.is_empty());
    assert_eq!(revocations.position(), Position(2));
}

#[tokio::test]
async fn a_subscription_has_everything_once() {
    let revocations = with(Revoked::Session(SessionId::from_random(1)));
    let mut subscription = revocations.subscribe();
    let entry = Entry {
        what: Revoked::Grant(GrantId::from_random(9)),
        until: NOW,
    };
    revocations.add(Delta {
        position: Position(2),
        entries: vec![entry.clone()],
    });
    assert_eq!(
        (subscription.snapshot.len(), subscription.position),
        (1, Position(1))
    );
    let delta = subscription.deltas.recv().await.unwrap();
    assert_eq!(
        (delta.position, &delta.entries),
        (Position(2), &vec![entry])
    );
    let next = revocations.subscribe();
    assert_eq!((next.snapshot.len(), next.position), (2, Position(2)));
}
