//! Decides whether two questions are the same: they are when policy could tell their inputs apart by nothing but
//! `timestamp`.
//!
//! Inputs are compared whole, member by member; a hash only finds the candidates. Types count as values do: `1`, `1.0`
//! and `"1"` differ, and so do `0.0` and `-0.0`. The order of the members of an object does not, since policy can't see it.
//! A new field of [`Input`] does not compile here until somebody decided what it means for equality.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Number, Value as Json};

use crate::delegation::token::Claims;
use crate::delegation::{Authentication, Chain, Mandate, RoleName, TaskId};
use crate::permission::PermissionSet;
use crate::policy::{Context, EnvoyInput, Input, RequestInput};

/// An input as the name of a cache entry. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Key {
    input: Arc<Input>,
    /// About the bytes that the input takes in memory, never less than its canonical JSON has.
    size: usize,
}

impl Key {
    /// Largest input that is remembered, in bytes (C31).
    pub(super) const MAX_SIZE: usize = 8 * 1024;

    /// The key of `input`; none where it is too large to be remembered.
    pub(super) fn bounded(input: &Arc<Input>) -> Option<Self> {
        let key = Self::new(Arc::clone(input));
        (key.size <= Self::MAX_SIZE).then_some(key)
    }

    fn new(input: Arc<Input>) -> Self {
        let size = size(&input);
        Self { input, size }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let Input {
            caller,
            target,
            mandate,
            action,
            resource,
            tier,
            timestamp: _,
            context,
            request,
            envoy,
        } = &*self.input;
        let its = &*other.input;
        both(request.as_ref(), its.request.as_ref(), same_request)
            && *caller == its.caller
            && *target == its.target
            && both(mandate.as_ref(), its.mandate.as_ref(), same_mandate)
            && *action == its.action
            && *resource == its.resource
            && *tier == its.tier
            && same_context(context, &its.context)
            && both(envoy.as_deref(), its.envoy.as_deref(), same_envoy)
    }
}

impl Eq for Key {}

fn both<T>(one: Option<&T>, other: Option<&T>, same: fn(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => same(one, other),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// What policy sees of it, in full (C03). Chains that read alike and run elsewhere are apart as well: their workloads are
/// compared, which policy does not see.
fn same_mandate(one: &Mandate, other: &Mandate) -> bool {
    let Seen {
        chain,
        tasks,
        permissions,
        authentication,
        role,
    } = seen(one);
    let its = seen(other);
    *role == *its.role
        && *chain == *its.chain
        && *tasks == *its.tasks
        && *permissions == *its.permissions
        && *authentication == *its.authentication
}

struct Seen<'a> {
    chain: &'a Chain,
    tasks: &'a [TaskId],
    permissions: &'a PermissionSet,
    authentication: &'a Authentication,
    role: &'a RoleName,
}

/// A new claim does not compile here until somebody decided what it means for equality.
fn seen(mandate: &Mandate) -> Seen<'_> {
    let Mandate { claims, role } = mandate;
    let Claims {
        chain,
        permissions,
        authentication,
        lease: _,
        // The whole house has one.
        issuer: _,
        // Proven at each use, and not told to policy.
        client: _,
        audience: _,
        redelegable: _,
        session: _,
        id: _,
        issued: _,
        expires: _,
        confirmation: _,
    } = &**claims;
    Seen {
        chain,
        tasks: mandate.tasks(),
        permissions,
        authentication,
        role,
    }
}

fn same_request(one: &RequestInput, other: &RequestInput) -> bool {
    let RequestInput {
        protocol,
        method,
        host,
        path,
        params,
        body,
    } = one;
    *path == other.path
        && *protocol == other.protocol
        && *method == other.method
        && *host == other.host
        && *params == other.params
        && both(body.as_ref(), other.body.as_ref(), same)
}

fn same_context(one: &Context, other: &Context) -> bool {
    let Context {
        headers,
        extensions,
        attributes,
        given,
    } = one;
    *headers == other.headers
        && *extensions == other.extensions
        && *attributes == other.attributes
        && same_members(given, &other.given)
}

fn same_envoy(one: &EnvoyInput, other: &EnvoyInput) -> bool {
    let EnvoyInput {
        attributes,
        parsed_path,
        parsed_query,
        parsed_body,
        truncated_body,
        // No policy sees it.
        lasting: _,
    } = one;
    *parsed_path == other.parsed_path
        && *parsed_query == other.parsed_query
        && *truncated_body == other.truncated_body
        && same_members(attributes, &other.attributes)
        && same(parsed_body, &other.parsed_body)
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Input {
            caller,
            target,
            mandate,
            action,
            resource,
            tier,
            timestamp: _,
            context,
            request,
            envoy,
        } = &*self.input;
        let Context {
            headers,
            extensions,
            attributes,
            given,
        } = context;
        (caller, target, action, resource, tier).hash(state);
        (headers, extensions, attributes).hash(state);
        hash_members(given, state);
        mandate.is_some().hash(state);
        if let Some(mandate) = mandate {
            let Seen {
                chain,
                tasks,
                permissions,
                authentication,
                role,
            } = seen(mandate);
            (chain, tasks, permissions, authentication, role).hash(state);
        }
        request.is_some().hash(state);
        if let Some(request) = request {
            hash_request(request, state);
        }
        envoy.is_some().hash(state);
        if let Some(envoy) = envoy {
            hash_envoy(envoy, state);
        }
    }
}

fn hash_request<H: Hasher>(request: &RequestInput, state: &mut H) {
    let RequestInput {
        protocol,
        method,
        host,
        path,
        params,
        body,
    } = request;
    (protocol, method, host, path, params).hash(state);
    body.is_some().hash(state);
    if let Some(body) = body {
        hash(body, state);
    }
}

fn hash_envoy<H: Hasher>(envoy: &EnvoyInput, state: &mut H) {
    let EnvoyInput {
        attributes,
        parsed_path,
        parsed_query,
        parsed_body,
        truncated_body,
        lasting: _,
    } = envoy;
    (parsed_path, parsed_query, truncated_body).hash(state);
    hash_members(attributes, state);
    hash(parsed_body, state);
}

/// Whether no policy could tell the two apart. Bodies are nested 128 deep at most.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Null, Json::Null) => true,
        (Json::Bool(one), Json::Bool(other)) => one == other,
        (Json::Number(one), Json::Number(other)) => exact(one) == exact(other),
        (Json::String(one), Json::String(other)) => one == other,
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => same_members(one, other),
        _ => false,
    }
}

fn same_members(one: &Members, other: &Members) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, value)| other.get(name).is_some_and(|it| same(value, it)))
}

fn hash<H: Hasher>(json: &Json, state: &mut H) {
    std::mem::discriminant(json).hash(state);
    match json {
        Json::Null => {}
        Json::Bool(flag) => flag.hash(state),
        Json::Number(number) => exact(number).hash(state),
        Json::String(text) => text.hash(state),
        Json::Array(items) => {
            items.len().hash(state);
            for item in items {
                hash(item, state);
            }
        }
        Json::Object(members) => hash_members(members, state),
    }
}

fn hash_members<H: Hasher>(members: &Members, state: &mut H) {
    members.len().hash(state);
    // In the order of their names: a map keeps them sorted.
    for (name, value) in members {
        name.hash(state);
        hash(value, state);
    }
}

/// How a number is written, and its bits.
fn exact(number: &Number) -> (u8, u64) {
    if let Some(unsigned) = number.as_u64() {
        return (0, unsigned);
    }
    if let Some(signed) = number.as_i64() {
        return (1, signed.cast_unsigned());
    }
    (2, number.as_f64().unwrap_or(f64::NAN).to_bits())
}

fn size(input: &Input) -> usize {
    let Input {
        caller,
        target,
        mandate,
        action,
        resource,
        tier: _,
        timestamp: _,
        context,
        request,
        envoy,
    } = input;
    let Context {
        headers,
        extensions,
        attributes,
        given,
    } = context;
    let texts = caller.as_str().len()
        + target.as_ref().map_or(0, |target| target.as_str().len())
        + action.as_str().len()
        + resource.as_str().len();
    let maps = [headers, extensions, &**attributes];
    let maps: usize = maps.into_iter().map(size_of_texts).sum();
    let request = request.as_ref().map_or(0, size_of_request);
    let envoy = envoy.as_deref().map_or(0, size_of_envoy);
    let mandate = mandate.as_ref().map_or(0, size_of_mandate);
    FRAME + texts + maps + size_of_members(given) + request + envoy + mandate
}

fn size_of_mandate(mandate: &Mandate) -> usize {
    let Seen {
        chain,
        tasks,
        permissions,
        authentication,
        role,
    } = seen(mandate);
    let names = chain.names().map(str::len);
    let ids = chain.agents.iter().map(|it| {
        it.spiffe_id.as_str().len() + it.agent_id.as_str().len() + it.agent_type.as_str().len()
    });
    // The last task stands there twice.
    let tasks = tasks.iter().chain(tasks.last()).map(|it| it.as_str().len());
    let words = authentication.methods.iter().chain(&authentication.class);
    let words = words.map(String::len);
    let permissions = permissions.entries().iter().map(length_of);
    let texts = names
        .chain(ids)
        .chain(tasks)
        .chain(words)
        .chain(permissions);
    MANDATE_FRAME + role.as_str().len() + texts.map(|length| VALUE + length).sum::<usize>()
}

/// The length of a text that nobody makes.
fn length_of(shown: &impl fmt::Display) -> usize {
    struct Length(usize);
    impl fmt::Write for Length {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let mut length = Length(0);
    // Counting does not fail.
    let _counted = fmt::Write::write_fmt(&mut length, format_args!("{shown}")).is_ok();
    length.0
}

fn size_of_request(request: &RequestInput) -> usize {
    let RequestInput {
        protocol: _,
        method,
        host,
        path,
        params,
        body,
    } = request;
    let texts = method.len() + host.len() + path.len();
    texts + size_of_texts(params) + body.as_ref().map_or(0, size_of_json)
}

fn size_of_envoy(envoy: &EnvoyInput) -> usize {
    let EnvoyInput {
        attributes,
        parsed_path,
        parsed_query,
        parsed_body,
        truncated_body: _,
        lasting: _,
    } = envoy;
    let list = |texts: &[String]| texts.iter().map(|text| VALUE + text.len()).sum::<usize>();
    let query = parsed_query
        .iter()
        .map(|(name, values)| MEMBER + name.len() + list(values));
    ENVOY_FRAME
        + size_of_members(attributes)
        + list(parsed_path)
        + query.sum::<usize>()
        + size_of_json(parsed_body)
}

fn size_of_texts(texts: &BTreeMap<String, String>) -> usize {
    let member = |(name, value): (&String, &String)| name.len() + value.len() + MEMBER;
    texts.iter().map(member).sum()
}

fn size_of_json(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => VALUE,
        Json::String(text) => VALUE + text.len(),
        Json::Array(items) => VALUE + items.iter().map(size_of_json).sum::<usize>(),
        Json::Object(members) => VALUE + size_of_members(members),
    }
}

fn size_of_members(members: &Members) -> usize {
    let member = |(name, value): (&String, &Json)| MEMBER + name.len() + size_of_json(value);
    members.iter().map(member).sum()
}

type Members = serde_json::Map<String, Json>;

/// What an input takes besides its texts: the struct, and the names of its members in JSON.
const FRAME: usize = 400;
/// The same for the words of opa-envoy-plugin, with the `version` that policy sees in them.
const ENVOY_FRAME: usize = 320;
/// The same for the members that say on whose behalf, with the time at which a person showed who they are.
const MANDATE_FRAME: usize = 240;
/// A member of a map besides its texts.
const MEMBER: usize = 48;
/// A JSON value besides its text.
const VALUE: usize = 32;

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;
    use std::hash::RandomState;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::any::{any_input, any_json, mandate};

    fn key(input: &Input) -> Key {
        Key::new(Arc::new(input.clone()))
    }

    fn with_body(body: Json) -> Key {
        let mut input = Input::made_up();
        input.request.as_mut().unwrap().body = Some(body);
        key(&input)
    }

    /// What policy sees of `input` that may tell it from another one, as text.
    fn seen(input: &Input) -> String {
        let mut document = serde_json::to_value(input).unwrap();
        document.as_object_mut().unwrap().remove("timestamp");
        serde_json::to_string(&document).unwrap()
    }

    fn requests(into: &mut Input, from: &Input, change: fn(&mut RequestInput, RequestInput)) {
        if let (Some(into), Some(from)) = (&mut into.request, from.request.clone()) {
            change(into, from);
        }
    }

    fn mandates(into: &mut Input, from: &Input, change: fn(&mut Mandate, Mandate)) {
        if let (Some(into), Some(from)) = (&mut into.mandate, from.mandate.clone()) {
            change(into, from);
        }
    }

    fn envoys(into: &mut Input, from: &Input, change: fn(&mut EnvoyInput, EnvoyInput)) {
        if let (Some(into), Some(from)) = (&mut into.envoy, from.envoy.clone()) {
            change(into, *from);
        }
    }

    fn hashes_equal(one: &Key, other: &Key) -> bool {
        let state = RandomState::new();
        state.hash_one(one) == state.hash_one(other)
    }

    proptest! {
        /// C03, C05, C07: whatever the hash says.
        #[test]
        fn inputs_are_equal_exactly_where_policy_sees_the_same(
            one in any_input(), other in any_input()
        ) {
            prop_assert_eq!(key(&one) == key(&other), seen(&one) == seen(&other));
        }

        /// C03: one member at a time, everything else alike.
        #[test]
        fn a_difference_in_any_one_member_is_a_difference(one in any_input(), other in any_input()) {
            let changes: [fn(&mut Input, &Input); 27] = [
                |into, from| into.caller = from.caller.clone(),
                |into, from| into.target = from.target.clone(),
                |into, from| into.mandate = from.mandate.clone(),
                |into, from| mandates(into, from, |into, from| into.role = from.role),
                |into, from| {
                    mandates(into, from, |into, from| {
                        let claims = Arc::make_mut(&mut into.claims);
                        claims.chain = from.claims.chain.clone();
                    });
                },
                |into, from| {
                    mandates(into, from, |into, from| {
                        let claims = Arc::make_mut(&mut into.claims);
                        claims.permissions = from.claims.permissions.clone();
                    });
                },
                |into, from| {
                    mandates(into, from, |into, from| {
                        let claims = Arc::make_mut(&mut into.claims);
                        claims.lease = from.claims.lease.clone();
                    });
                },
                |into, from| into.action = from.action.clone(),
                |into, from| into.resource = from.resource.clone(),
                |into, from| into.tier = from.tier,
                |into, from| into.context.headers = from.context.headers.clone(),
                |into, from| into.context.extensions = from.context.extensions.clone(),
                |into, from| into.context.attributes = Arc::clone(&from.context.attributes),
                |into, from| into.context.given = from.context.given.clone(),
                |into, from| into.request = from.request.clone(),
                |into, from| requests(into, from, |into, from| into.protocol = from.protocol),
                |into, from| requests(into, from, |into, from| into.method = from.method),
                |into, from| requests(into, from, |into, from| into.host = from.host),
                |into, from| requests(into, from, |into, from| into.path = from.path),
                |into, from| requests(into, from, |into, from| into.params = from.params),
                |into, from| requests(into, from, |into, from| into.body = from.body),
                |into, from| into.envoy = from.envoy.clone(),
                |into, from| envoys(into, from, |into, from| into.attributes = from.attributes),
                |into, from| envoys(into, from, |into, from| into.parsed_path = from.parsed_path),
                |into, from| envoys(into, from, |into, from| into.parsed_query = from.parsed_query),
                |into, from| envoys(into, from, |into, from| into.parsed_body = from.parsed_body),
                |into, from| {
                    envoys(into, from, |into, from| into.truncated_body = from.truncated_body);
                },
            ];
            for change in changes {
                let mut changed = one.clone();
                change(&mut changed, &other);
                prop_assert_eq!(key(&one) == key(&changed), seen(&one) == seen(&changed));
            }
        }

        /// C04, C08.
        #[test]
        fn the_time_of_asking_makes_no_difference(input in any_input(), seconds in 0_u64..4_000_000_000) {
            let mut later = input.clone();
            later.timestamp = Timestamp::from_unix_seconds(seconds);
            prop_assert!(key(&input) == key(&later));
            prop_assert!(hashes_equal(&key(&input), &key(&later)));
        }

        #[test]
        fn an_input_is_never_smaller_than_its_canonical_text(input in any_input()) {
            let canonical = serde_json_canonicalizer::to_string(&input).unwrap();
            // Escapes make a control character up to six times as long as in memory.
            let escaped = canonical.matches('\\').count() * 6;
            prop_assert!(key(&input).size() + escaped >= canonical.len());
        }

        #[test]
        fn equal_bodies_hash_alike(body in any_json()) {
            let text = serde_json::to_string(&body).unwrap();
            let again = serde_json::from_str(&text).unwrap();
            let (one, other) = (with_body(body), with_body(again));
            prop_assert!(one != other || hashes_equal(&one, &other));
        }
    }

    /// C04.
    #[test]
    fn the_order_of_members_makes_no_difference() {
        let read = |text| with_body(serde_json::from_str(text).unwrap());
        let (one, other) = (
            read(r#"{"a": 1, "b": {"c": 2, "d": 3}}"#),
            read(r#"{ "b":{"d":3,"c":2},"a":1 }"#),
        );
        assert_eq!(one, other);
        assert!(hashes_equal(&one, &other));
    }

    /// C04: every two of these differ.
    #[test]
    fn types_and_values_make_a_difference() {
        let bodies = [
            json!(null),
            json!(false),
            json!(0),
            json!(0.0),
            json!(-0.0),
            json!(1),
            json!(1.0),
            json!("1"),
            json!(-1),
            json!(u64::MAX),
            json!(""),
            json!([]),
            json!({}),
            json!([1, 2]),
            json!([2, 1]),
            json!([[1], 2]),
            json!([1, [2]]),
            json!({"a": null}),
            json!({"a": "b"}),
            json!({"ab": ""}),
            json!(["a", "b"]),
            json!(["ab", ""]),
        ];
        for (at, one) in bodies.iter().enumerate() {
            for (other_at, other) in bodies.iter().enumerate() {
                let (one, other) = (with_body(one.clone()), with_body(other.clone()));
                assert_eq!(one == other, at == other_at, "{one:?} {other:?}");
            }
        }
        let without = key(&Input::made_up());
        assert_ne!(without, with_body(json!(null)));
    }

    /// C03: what a token is called and when it ends is none of policy's business, and hits.
    #[test]
    fn two_tokens_of_one_grant_are_one_question() {
        let with = |mandate: Mandate| {
            let mut input = Input::made_up();
            input.mandate = Some(mandate);
            key(&input)
        };
        let one = mandate(2, &["a:read"], "admin");
        let mut other = one.clone();
        let claims = Arc::make_mut(&mut other.claims);
        claims.id = "tok_01M2N3P4Q5R6S7T8V9W0X1Y2Z4".parse().unwrap();
        claims.expires = Timestamp::from_unix_seconds(4_000_000_000);
        assert_eq!(with(one.clone()), with(other.clone()));
        assert!(hashes_equal(&with(one.clone()), &with(other)));
        for other in [
            mandate(1, &["a:read"], "admin"),
            mandate(2, &["a:read@supervised"], "admin"),
            mandate(2, &["a:read"], "viewer"),
        ] {
            assert_ne!(with(one.clone()), with(other));
        }
        // The workload behind a name.
        let mut moved = one.clone();
        let elsewhere = "spiffe://prod.example.org/ns/agents/sa/other"
            .parse()
            .unwrap();
        Arc::make_mut(&mut moved.claims).chain.agents[0].spiffe_id = elsewhere;
        assert_ne!(with(one), with(moved));
    }

    /// C05: texts that run together are still apart.
    #[test]
    fn a_text_can_not_reach_into_its_neighbour() {
        let with = |host: &str, path: &str| {
            let mut input = Input::made_up();
            let request = input.request.as_mut().unwrap();
            request.host = host.to_owned();
            request.path = path.to_owned();
            key(&input)
        };
        assert_ne!(with("a", "/b/c"), with("a/b", "/c"));
        assert_ne!(with("", "/a"), with("/a", ""));
    }

    /// C31: eight kilobytes of nested brackets take a hundred in memory.
    #[test]
    fn what_takes_much_memory_has_no_key() {
        let keyed = |body: Json| {
            let mut input = Input::made_up();
            input.request.as_mut().unwrap().body = Some(body);
            Key::bounded(&Arc::new(input)).is_some()
        };
        assert!(keyed(json!("x".repeat(7 * 1024))));
        assert!(!keyed(json!("x".repeat(8 * 1024))));
        assert!(keyed(Json::Array(vec![json!(1); 200])));
        assert!(!keyed(Json::Array(vec![json!([]); 2_000])));
    }
}
