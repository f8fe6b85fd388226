//! One Check, from question to decision, in a fixed order: may this proxy ask, who is the caller, which operation is it,
//! on whose behalf, what does the caller hold, which tier applies, what does policy say. The last three (`weigh`, then `rule`) are the law
//! for inquiries too.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::{Instant, timeout_at};

use super::attempt::Attempt;
use super::decision::{Decision, Denial, Permit};
use super::envoy;
use super::findings::{Findings, Unjudged};
use super::metrics::Metrics;
use super::question::{HttpRequest, Question};
use super::rules::Rules;
use super::tokens::{self, Shown, Tokens};
use crate::audit::Auditor;
use crate::clock::{Clock, Timestamp};
use crate::identity::{Asker, Caller, CallerError, Claims, Peer, Pep, SpiffeId, Svid};
use crate::operation::{self, Body, Host, NormalPath, Operation, PathProblem, Target, Unresolved};
use crate::permission::{
    Action, Approval, PolicyAnswer, Reason, Resource, Ruling, Standing, Structural, Tier,
    agents_tier, decide,
};
use crate::policy::{
    Answer, Context, Deadline, ERROR_FALLBACK, Input, InputForm, PolicyEngine, PolicyError,
    Protocol, Query, RequestInput, Terms,
};
use crate::text::sentence;

/// The one place where requests are decided.
#[derive(Debug)]
pub struct Authority {
    rules: ArcSwap<Rules>,
    pub(super) policy: Arc<dyn PolicyEngine>,
    pub(super) audit: Auditor,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    tokens: Option<Tokens>,
}

impl Authority {
    /// Puts the parts together.
    pub fn new(
        rules: Arc<Rules>,
        policy: Arc<dyn PolicyEngine>,
        audit: Auditor,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        metrics.shadowed_routes(rules.routes.in_shadow_mode().count());
        Self {
            rules: ArcSwap::new(rules),
            policy,
            audit,
            clock,
            metrics,
            tokens: None,
        }
    }

    /// The same, with what tokens are looked at with. Without, every request that carries one is denied.
    #[must_use]
    pub fn with_tokens(self, tokens: Option<Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// The tables in force.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Puts other tables in force; requests under decision finish by the ones they started with.
    pub fn replace_rules(&self, rules: Arc<Rules>) {
        self.metrics
            .shadowed_routes(rules.routes.in_shadow_mode().count());
        self.rules.store(rules);
    }

    /// The numbers of this process's decisions.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Decides a request before `deadline` and records the decision.
    pub async fn check(&self, question: &Question<'_>, deadline: Deadline) -> Decision {
        self.explain(question, deadline).await.0
    }

    /// Decides like [`check`](Self::check) and tells what was found on the way.
    pub async fn explain(
        &self,
        question: &Question<'_>,
        deadline: Deadline,
    ) -> (Decision, Findings) {
        let mut attempt = Attempt::new(self, Some(&question.peer), Some(question));
        let rules = self.rules.load_full();
        let now = attempt.now();
        let outcome = self
            .judge(
                &rules,
                question,
                now,
                self.judging(deadline),
                &mut attempt.findings,
            )
            .await;
        attempt.finish(outcome, deadline.at).await
    }

    /// Whether `peer` may ask at all, before anything it sends is looked at.
    pub fn admit(&self, peer: &Peer) -> Result<(), Denial> {
        trusted(&self.rules.load(), peer, self.clock.now()).map(|_pep| ())
    }

    /// Refuses and records what could not be read as a [`Question`] or an inquiry, before `deadline`.
    pub async fn refuse(&self, peer: &Peer, denial: Denial, deadline: Deadline) -> Decision {
        let attempt = Attempt::new(self, Some(peer), None);
        attempt.finish(Err(denial), deadline.at).await.0
    }

    /// Until when policy may take: where a decision waits for its record, some time is kept for that.
    pub(super) fn judging(&self, deadline: Deadline) -> Deadline {
        if self.audit.is_strict() {
            deadline.sparing_a_quarter()
        } else {
            deadline
        }
    }

    /// Records a request whose asker went away before it could be read.
    pub fn abandoned(&self, peer: &Peer) {
        drop(Attempt::new(self, Some(peer), None));
    }

    /// The decision itself. `Err` is the early way out; it is as much an answer as `Ok`.
    async fn judge(
        &self,
        rules: &Rules,
        question: &Question<'_>,
        now: Timestamp,
        deadline: Deadline,
        found: &mut Findings,
    ) -> Result<Permit, Denial> {
        let pep = trusted(rules, &question.peer, now)?;
        found.asker = Some(Asker::Pep(pep));
        let http = question
            .http
            .as_ref()
            .ok_or(Denial::bare(Reason::NotHttp))?;
        found.ignored_extensions = ignored_extensions(rules, pep, question);
        let host = Host::try_from(http.host)
            .map_err(|error| Denial::because(Reason::BadRequest, sentence(&error)))?;
        let Target { path, query } = operation::split(http.target).map_err(unreadable_path)?;
        found.host = Some(host.as_str().to_owned());
        found.path = Some(path.as_str().to_owned());

        // Both are looked up before either may refuse: a route in shadow mode shadows a missing identity too.
        let caller = identify(rules, question, http, now);
        let operation = resolve(rules, pep, question, http, &host, &path);
        found.resolved(&operation);
        let operation = operation.map_err(|error| unresolved(&error));
        let Caller {
            id: caller,
            hop,
            svid,
        } = caller?;
        found.hop = hop;
        found.caller = Some(caller.clone());
        let shown = Shown {
            http,
            caller: &caller,
            now,
            deadline,
        };
        let mandate = tokens::mandate(self.tokens.as_ref(), rules, &shown, found).await?;
        let operation = operation?;

        let structural = weigh(
            rules,
            &caller,
            &operation.resource,
            &operation.action,
            found,
        );
        let query = if structural.refusal().is_some() {
            None
        } else {
            let known = Known {
                caller: &caller,
                destination: found.destination.as_ref(),
                host: &host,
                path: &path,
                query,
                tier: structural.tier(),
                delegated: mandate.is_some(),
                now,
            };
            // C14: no verdict outlives what it rests on.
            let ends = [
                svid.and_then(|svid| end_of(&svid, now)),
                mandate
                    .as_ref()
                    .and_then(|it| moment(it.claims.expires, now)),
            ];
            let terms = Terms {
                ttl: operation.cache_ttl,
                not_after: ends.into_iter().flatten().min(),
            };
            let input = Input {
                mandate,
                ..input(rules, question, http, operation, &known)?
            };
            Some(Query {
                input: Arc::new(input),
                deadline,
                terms,
            })
        };
        let permit = self.rule(structural, caller, query, found).await?;
        // D22: what was taken back while the session was looked up or policy was asked.
        if let (Some(tokens), Some(mandate)) = (&self.tokens, &found.mandate) {
            tokens.living(&mandate.claims)?;
        }
        Ok(permit)
    }

    /// Rules on an operation that `weigh` has weighed; policy is asked where there is a query for it.
    pub(super) async fn rule(
        &self,
        structural: Structural,
        caller: SpiffeId,
        query: Option<Query>,
        found: &mut Findings,
    ) -> Result<Permit, Denial> {
        let answer = match query {
            Some(query) => self.ask_policy(query, found).await,
            None => PolicyAnswer::NotAsked,
        };
        match decide(structural, answer, Approval::None) {
            Ruling::Allow { tier } => Ok(Permit { caller, tier }),
            Ruling::Supervise => Err(Denial::bare(Reason::ApprovalRequired)),
            Ruling::Deny(reason) => Err(Denial {
                reason,
                detail: found.words(),
            }),
        }
    }

    async fn ask_policy(&self, query: Query, found: &mut Findings) -> PolicyAnswer {
        let deadline = query.deadline;
        // A question whose time is up is not put at all.
        if deadline.is_over() {
            let error = "the time was up before policy could be asked".to_owned();
            found.unjudged = Some(self.unjudged(error, ERROR_FALLBACK));
            return PolicyAnswer::Failed(Reason::DeadlineExceeded);
        }
        let verdict = match timeout_at(deadline.at, self.policy.evaluate(query)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                found.unjudged = Some(self.unjudged(sentence(&error), error.policy_id()));
                return PolicyAnswer::Failed(error.reason());
            }
            Err(_elapsed) => {
                let error = "policy did not answer by the deadline".to_owned();
                found.unjudged = Some(self.unjudged(error, ERROR_FALLBACK));
                // As an engine says it that has the time to.
                let cut_short = deadline.cut_short;
                return PolicyAnswer::Failed(PolicyError::TimedOut { cut_short }.reason());
            }
        };
        let answer = match verdict.answer {
            Answer::Allow => PolicyAnswer::Allow { tier: verdict.tier },
            Answer::Deny => PolicyAnswer::Deny,
            Answer::Undefined => PolicyAnswer::Undefined,
        };
        found.tier = found.tier.max(verdict.tier);
        found.verdict = Some(verdict);
        answer
    }

    fn unjudged(&self, error: String, policy_id: &'static str) -> Unjudged {
        Unjudged {
            error,
            policy_id,
            revision: self.policy.revision(),
        }
    }
}

/// What attache's own rules say of an operation: the caller's standing, by the mandate that was found if there is one, and
/// the tier; noted as they are found.
pub(super) fn weigh(
    rules: &Rules,
    caller: &SpiffeId,
    resource: &Resource,
    action: &Action,
    found: &mut Findings,
) -> Structural {
    let standing = match &found.mandate {
        Some(mandate) => {
            let (held, agents) = (&rules.roles, &rules.delegation.registry);
            let standing = mandate.standing(resource, action, held, agents);
            if standing.tier() == Tier::Absent {
                found.withheld = mandate.withheld(resource, action, held, agents);
            }
            standing
        }
        None if rules.agents.contains(caller) => Standing::OrphanAgent,
        None => Standing::Holds(rules.workloads.effective(caller, resource, action)),
    };
    let mut table = rules.tiers.tier_of(resource, action);
    if matches!(standing, Standing::OrphanAgent | Standing::Delegated(_)) {
        table = table.max(agents_tier(resource, action));
    }
    let structural = Structural::new(standing, table);
    found.standing = Some(standing);
    found.table = Some(table);
    found.tier = Some(structural.tier());
    structural
}

/// When a certificate that is valid `now` ends, on the clock that nobody sets.
pub(super) fn end_of(svid: &Svid, now: Timestamp) -> Option<Instant> {
    moment(svid.not_after, now)
}

/// When it will be `then`, on that clock; at once where that is past `now`.
fn moment(then: Timestamp, now: Timestamp) -> Option<Instant> {
    Instant::now().checked_add(then.since(now))
}

/// As what a peer is trusted to name callers.
fn trusted(rules: &Rules, peer: &Peer, now: Timestamp) -> Result<Pep, Denial> {
    let judged = rules.peps.judge(peer, now);
    judged.map_err(|error| Denial::because(Reason::UntrustedPeer, error))
}

fn unreadable_path(error: PathProblem) -> Denial {
    Denial::because(Reason::AmbiguousPath, sentence(&error))
}

fn identify(
    rules: &Rules,
    question: &Question<'_>,
    http: &HttpRequest<'_>,
    now: Timestamp,
) -> Result<Caller, Denial> {
    let claims = Claims {
        certificate: question.certificate,
        principal: question.principal,
        // Sent twice, it is as if it were not there: where it must name the caller, that is a refusal.
        xfcc: http.headers.single(XFCC).ok().flatten(),
    };
    rules
        .identifier
        .identify(&claims, now)
        .map_err(|error| unidentified(&error))
}

/// The denial of a request whose caller can't be told.
pub(super) fn unidentified(error: &CallerError) -> Denial {
    let reason = match error {
        CallerError::NoIdentity | CallerError::NoXfcc => Reason::NoIdentity,
        CallerError::InvalidIdentity { .. } | CallerError::UntrustedHop(_) => {
            Reason::InvalidIdentity
        }
        CallerError::Mismatch(..) => Reason::IdentityMismatch,
        CallerError::ForeignTrustDomain(_) => Reason::ForeignTrustDomain,
    };
    Denial::because(reason, sentence(error))
}

fn resolve<'a>(
    rules: &'a Rules,
    pep: Pep,
    question: &Question<'_>,
    http: &HttpRequest<'_>,
    host: &Host<'_>,
    path: &'a NormalPath<'_>,
) -> Result<Operation<'a>, Unresolved> {
    match rules.routes.resolve(http.method, host, path) {
        Err(Unresolved::NoRoute) => {
            let trusted = rules.peps.may_name_operations(pep);
            rules.fallback.resolve(http.method, path, trusted, |key| {
                question.extensions.get(key).map(String::as_str)
            })
        }
        resolved => resolved,
    }
}

fn unresolved(error: &Unresolved) -> Denial {
    let reason = match error {
        Unresolved::NoRoute => Reason::RouteUnmatched,
        Unresolved::InvalidCapture { .. } => Reason::InvalidCapture,
        Unresolved::SlashAside => Reason::AmbiguousPath,
        Unresolved::Extension(_) => Reason::BadRequest,
    };
    Denial::because(reason, sentence(error))
}

/// The context extensions that are neither declared as context nor may name the operation, in order.
///
/// Somebody set them for a reason; that they have no effect should be found in audit.
fn ignored_extensions(rules: &Rules, pep: Pep, question: &Question<'_>) -> Vec<String> {
    let names_operation = |name: &str| {
        rules.peps.may_name_operations(pep)
            && [operation::RESOURCE_KEY, operation::ACTION_KEY].contains(&name)
    };
    let mut ignored: Vec<_> = question
        .extensions
        .keys()
        .filter(|name| !rules.context.extensions.contains(name) && !names_operation(name))
        .cloned()
        .collect();
    ignored.sort_unstable();
    ignored
}

/// What was established before policy is asked.
struct Known<'a> {
    caller: &'a SpiffeId,
    destination: Option<&'a SpiffeId>,
    host: &'a Host<'a>,
    path: &'a NormalPath<'a>,
    query: Option<&'a str>,
    tier: Tier,
    /// Whether the request carries a token, which nobody else is shown.
    delegated: bool,
    now: Timestamp,
}

/// The document for policy; refused where something it must hold can't be read.
fn input(
    rules: &Rules,
    question: &Question<'_>,
    http: &HttpRequest<'_>,
    operation: Operation<'_>,
    known: &Known<'_>,
) -> Result<Input, Denial> {
    let names = &rules.context;
    let unreadable =
        |error: &dyn std::error::Error| Denial::because(Reason::BadRequest, sentence(error));
    let single = |name: &str| {
        http.headers
            .single(name)
            .map_err(|error| unreadable(&error))
    };
    // The text of a token is nobody's but the one who shows it: policy gets what it says.
    let token = rules.delegation.showing.header;
    let hidden = known.delegated.then(|| token.as_str());
    let mut headers = BTreeMap::new();
    for name in names.headers.iter().filter(|it| hidden != Some(it)) {
        // A header that policy reads must have one meaning: twice is refused, not joined.
        if let Some(value) = single(name)? {
            headers.insert(name.clone(), value.to_owned());
        }
    }
    let extensions = names
        .extensions
        .iter()
        .filter_map(|name| Some((name.clone(), question.extensions.get(name)?.clone())))
        .collect();
    let content_type = single("content-type")?;
    let body = Body {
        content_type,
        content_length: single("content-length")?,
        size: http.size,
        partial: single(PARTIAL_BODY)? == Some("true"),
        bytes: http.body,
    };
    let envoy = match rules.input {
        InputForm::Attache => None,
        InputForm::Envoy => {
            let asked = envoy::Asked {
                path: known.path,
                query: known.query,
                body: &body,
            };
            let envoy = envoy::input(names, question, http, &asked, hidden)?;
            Some(Box::new(envoy))
        }
    };
    let body = operation
        .body
        .read(&body)
        .map_err(|error| Denial::because(Reason::UnusableBody, sentence(&error)))?;
    let protocol = if http.is_grpc() {
        Protocol::Grpc
    } else {
        Protocol::Http
    };
    Ok(Input {
        caller: known.caller.clone(),
        target: operation
            .target
            .or_else(|| known.destination.cloned())
            .or_else(|| operation.resource.spiffe_id()),
        mandate: None,
        action: operation.action,
        resource: operation.resource,
        tier: known.tier,
        timestamp: known.now,
        context: Context {
            headers,
            extensions,
            attributes: operation.attributes,
            ..Context::default()
        },
        request: Some(RequestInput {
            protocol,
            method: http.method.to_owned(),
            host: known.host.as_str().to_owned(),
            path: known.path.as_str().to_owned(),
            params: operation
                .params
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body,
        }),
        envoy,
    })
}

const XFCC: &str = "x-forwarded-client-cert";
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";
