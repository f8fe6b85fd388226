//! The claims as JSON members, in the order in which they are written.
//!
//! Decides what stands for what; a contradiction between two members refuses the token. What a single value may be is
//! decided by its own type, and what claims may be together by [`Claims`].

use serde::{Deserialize, Serialize};

use super::claims::{Claims, ClaimsError, Confirmation, Lease};
use super::details::{self, Detail};
use super::json::{Date, Object, present};
use super::thumbprint::Thumbprint;
use crate::delegation::{
    Agent, AgentId, AgentType, Audience, Authentication, Chain, GrantId, PersonId, SessionId,
    TaskId, TokenId,
};
use crate::identity::SpiffeId;

/// One member for each claim. Sources: RFC 9068 section 2.2, RFC 8693 section 4.1, RFC 9396 section 9.1, RFC 7800, and our
/// own `agent_type`, `task` and `grant`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    iss: Audience,
    sub: PersonId,
    sub_profile: String,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    act: Option<Box<Object<Act>>>,
    client_id: SpiffeId,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    agent_type: Option<AgentType>,
    aud: Vec<Audience>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    scope: Option<String>,
    authorization_details: Vec<Object<Detail>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    task: Option<Object<Task>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    grant: Option<Object<Grant>>,
    sid: SessionId,
    jti: TokenId,
    iat: Date,
    exp: Date,
    auth_time: Date,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    amr: Option<Vec<String>>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    acr: Option<String>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    cnf: Option<Object<Cnf>>,
}

/// One actor; the one who acted before it stands inside (RFC 8693 section 4.1).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Act {
    iss: Audience,
    sub: SpiffeId,
    sub_profile: String,
    agent_id: AgentId,
    agent_type: AgentType,
    #[serde(
        rename = "act",
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    before: Option<Box<Object<Act>>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    id: TaskId,
    path: Vec<TaskId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    path: Vec<GrantId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    parent_jti: Option<TokenId>,
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    root_jti: Option<TokenId>,
    depth: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cnf {
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    jkt: Option<Thumbprint>,
    #[serde(
        rename = "x5t#S256",
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    certificate: Option<Thumbprint>,
}

const PERSON: &str = "user";
const AGENT: &str = "ai_agent";

impl Wire {
    pub(super) fn write(claims: &Claims) -> Result<Self, ClaimsError> {
        let issuer = || claims.issuer.clone();
        let mut act = None;
        for agent in &claims.chain.agents {
            act = Some(Box::new(Object(Act {
                iss: issuer(),
                sub: agent.spiffe_id.clone(),
                sub_profile: AGENT.to_owned(),
                agent_id: agent.agent_id.clone(),
                agent_type: agent.agent_type.clone(),
                before: act,
            })));
        }
        let mut aud = vec![claims.audience.clone()];
        if claims.redelegable {
            aud.push(issuer());
        }
        let lease = claims.lease.as_ref();
        let depth = claims.chain.depth();
        let Authentication {
            time,
            methods,
            class,
        } = &claims.authentication;
        let Confirmation { key, certificate } = claims.confirmation;
        Ok(Self {
            iss: issuer(),
            sub: claims.chain.person.clone(),
            sub_profile: PERSON.to_owned(),
            act,
            client_id: claims.client.clone(),
            agent_type: claims.chain.actor().map(|it| it.agent_type.clone()),
            aud,
            scope: details::scope(&claims.permissions),
            authorization_details: details::write(&claims.permissions)?,
            task: lease.and_then(Task::write).map(Object),
            grant: lease.map(|lease| Object(Grant::write(lease, depth))),
            sid: claims.session.clone(),
            jti: claims.id.clone(),
            iat: Date(claims.issued),
            exp: Date(claims.expires),
            auth_time: Date(*time),
            amr: (!methods.is_empty()).then(|| methods.clone()),
            acr: class.clone(),
            cnf: (key.is_some() || certificate.is_some()).then_some(Object(Cnf {
                jkt: key,
                certificate,
            })),
        })
    }

    pub(super) fn read(self) -> Result<Claims, ClaimsError> {
        let issuer = self.iss;
        word("sub_profile", &self.sub_profile, PERSON)?;
        let agents = agents(self.act, &issuer)?;
        if agents.last().map(|it| &it.agent_type) != self.agent_type.as_ref() {
            return Err(ClaimsError::Contradiction("agent_type and act"));
        }
        let (audience, redelegable) = audience(self.aud, &issuer)?;
        let permissions = details::read(self.authorization_details)?;
        if details::scope(&permissions) != self.scope {
            return Err(ClaimsError::Contradiction(
                "scope and authorization_details",
            ));
        }
        let lease = match (self.task, self.grant) {
            (None, None) => None,
            (Some(Object(task)), Some(Object(grant))) => {
                Some(Lease::read(task, grant, agents.len())?)
            }
            _ => return Err(ClaimsError::Contradiction("task and grant")),
        };
        let Date(time) = self.auth_time;
        let Object(Cnf { jkt, certificate }) = self.cnf.unwrap_or(Object(Cnf {
            jkt: None,
            certificate: None,
        }));
        Ok(Claims {
            issuer,
            chain: Chain {
                person: self.sub,
                agents,
            },
            client: self.client_id,
            audience,
            redelegable,
            permissions,
            lease,
            session: self.sid,
            id: self.jti,
            issued: self.iat.0,
            expires: self.exp.0,
            authentication: Authentication {
                time,
                methods: self.amr.unwrap_or_default(),
                class: self.acr,
            },
            confirmation: Confirmation {
                key: jkt,
                certificate,
            },
        })
    }

    /// The size in bytes of each part that can grow, by its name.
    pub(super) fn parts(&self) -> [(&'static str, usize); 4] {
        [
            ("act", size(&self.act)),
            (
                "authorization_details",
                size(&self.authorization_details) + self.scope.as_ref().map_or(0, String::len),
            ),
            ("task", size(&self.task)),
            ("grant", size(&self.grant)),
        ]
    }
}

impl Task {
    fn write(lease: &Lease) -> Option<Self> {
        Some(Self {
            id: lease.tasks.last()?.clone(),
            path: lease.tasks.clone(),
        })
    }
}

impl Grant {
    fn write(lease: &Lease, depth: usize) -> Self {
        Self {
            path: lease.grants.clone(),
            parent_jti: lease.parent.clone(),
            root_jti: lease.root.clone(),
            depth,
        }
    }
}

impl Lease {
    fn read(task: Task, grant: Grant, depth: usize) -> Result<Self, ClaimsError> {
        if task.path.last() != Some(&task.id) {
            return Err(ClaimsError::Contradiction("task.id and task.path"));
        }
        if grant.depth != depth {
            return Err(ClaimsError::Contradiction("grant.depth and act"));
        }
        Ok(Self {
            tasks: task.path,
            grants: grant.path,
            parent: grant.parent_jti,
            root: grant.root_jti,
        })
    }
}

/// From the first agent to the one who acts; `act` begins with the one who acts.
fn agents(act: Option<Box<Object<Act>>>, issuer: &Audience) -> Result<Vec<Agent>, ClaimsError> {
    let mut agents = Vec::new();
    let mut next = act;
    while let Some(actor) = next {
        let Object(act) = *actor;
        word("act.sub_profile", &act.sub_profile, AGENT)?;
        if act.iss != *issuer {
            return Err(ClaimsError::Contradiction("act.iss and iss"));
        }
        agents.push(Agent {
            spiffe_id: act.sub,
            agent_id: act.agent_id,
            agent_type: act.agent_type,
        });
        next = act.before;
    }
    agents.reverse();
    Ok(agents)
}

/// One service, and the issuer where the token may be handed to it for another one.
fn audience(aud: Vec<Audience>, issuer: &Audience) -> Result<(Audience, bool), ClaimsError> {
    let mut given = aud.into_iter();
    match (given.next(), given.next(), given.next()) {
        (Some(service), None, _) => Ok((service, false)),
        (Some(service), Some(second), None) if second == *issuer => Ok((service, true)),
        _ => Err(ClaimsError::Audiences),
    }
}

fn word(member: &'static str, given: &str, wanted: &str) -> Result<(), ClaimsError> {
    if given == wanted {
        Ok(())
    } else {
        Err(ClaimsError::Word(member))
    }
}

fn size(part: &impl Serialize) -> usize {
    serde_json::to_string(part).map_or(0, |text| text.len())
}
