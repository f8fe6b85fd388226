//! Decides which operation a request is where no route matches. Without configuration: none, so the request is refused.
//!
//! Two ways, in this order. A proxy that configuration trusts for it may name the operation in its own per-route
//! settings (`context_extensions`, keys [`RESOURCE_KEY`] and [`ACTION_KEY`]); every other key is ignored here (E44, E45).
//! And with `rest_mapping`, the first segment of the path is the resource and the method the action. The mapping knows
//! nothing of gRPC, where every call is a POST and therefore `create`: gRPC services want routes.

use std::sync::Arc;

use super::path::NormalPath;
use super::template::is_plain;
use super::{BodyRule, Mode, Operation, Unresolved};
use crate::permission::{Action, NameError, Resource};

/// What may name an operation where no route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fallback {
    /// Whether the first segment of the path and the method name the operation.
    pub rest_mapping: bool,
}

/// Why a proxy's extensions name no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionProblem {
    /// One key without the other.
    #[error("extension `{0}` is missing")]
    Missing(&'static str),
    /// A value that is not a name.
    #[error("extension `{key}` is not a name")]
    Name {
        /// Which extension.
        key: &'static str,
        /// What is wrong with its value.
        #[source]
        source: NameError,
    },
}

/// The extension that names the resource, as segments (`documents/shared`), never as a pattern or a SPIFFE ID.
pub const RESOURCE_KEY: &str = "resource";
/// The extension that names the action, as `read`.
pub const ACTION_KEY: &str = "action";

impl Fallback {
    /// The operation of a request that no route matches. Call it for no other request.
    ///
    /// `trusted` says whether the proxy that asks is configured to name operations; where it is not, `extension` is never
    /// called. `extension` gives the value of a context extension by its key.
    pub fn resolve<'e>(
        self,
        method: &str,
        path: &NormalPath<'_>,
        trusted: bool,
        extension: impl Fn(&'static str) -> Option<&'e str>,
    ) -> Result<Operation<'static>, Unresolved> {
        if trusted
            && let Some((resource, action)) = named(extension).map_err(Unresolved::Extension)?
        {
            return Ok(operation(resource, action, "context_extensions"));
        }
        if !self.rest_mapping {
            return Err(Unresolved::NoRoute);
        }
        let (resource, action) = mapped(method, path)?;
        Ok(operation(resource, action, "rest_mapping"))
    }
}

/// The operation that the proxy names; `None` where it names neither part.
fn named<'e>(
    extension: impl Fn(&'static str) -> Option<&'e str>,
) -> Result<Option<(Resource, Action)>, ExtensionProblem> {
    let wrong = |key| move |source| ExtensionProblem::Name { key, source };
    match (extension(RESOURCE_KEY), extension(ACTION_KEY)) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(ExtensionProblem::Missing(RESOURCE_KEY)),
        (Some(_), None) => Err(ExtensionProblem::Missing(ACTION_KEY)),
        (Some(resource), Some(action)) => Ok(Some((
            resource.parse().map_err(wrong(RESOURCE_KEY))?,
            action.parse().map_err(wrong(ACTION_KEY))?,
        ))),
    }
}

fn mapped(method: &str, path: &NormalPath<'_>) -> Result<(Resource, Action), Unresolved> {
    let action = match method {
        "GET" | "HEAD" => "read",
        "POST" => "create",
        "PUT" | "PATCH" => "update",
        "DELETE" => "delete",
        _ => return Err(Unresolved::NoRoute),
    };
    let segment = path.segments().next().ok_or(Unresolved::NoRoute)?;
    let resource = is_plain(segment)
        .then(|| segment.parse().ok())
        .flatten()
        .ok_or_else(|| Unresolved::InvalidCapture {
            name: RESOURCE_KEY.to_owned(),
            mode: Mode::Enforce,
        })?;
    Ok((resource, action.parse().or(Err(Unresolved::NoRoute))?))
}

fn operation(resource: Resource, action: Action, name: &str) -> Operation<'static> {
    Operation {
        resource,
        action,
        target: None,
        params: Vec::new(),
        attributes: Arc::default(),
        body: BodyRule::None,
        cache_ttl: None,
        mode: Mode::Enforce,
        route: name.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Fallback = Fallback {
        rest_mapping: false,
    };
    const REST: Fallback = Fallback { rest_mapping: true };

    /// Resource, action and name of what `fallback` makes of the request.
    fn resolve(
        fallback: Fallback,
        request: (&str, &str),
        trusted: bool,
        extensions: &[(&str, &str)],
    ) -> Result<(String, String, String), Unresolved> {
        let path = NormalPath::try_from(request.1).unwrap();
        let extension = |key| {
            let found = extensions.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| *value)
        };
        let operation = fallback.resolve(request.0, &path, trusted, extension)?;
        assert_eq!(operation.mode, Mode::Enforce);
        assert_eq!(operation.body, BodyRule::None);
        assert!(operation.target.is_none() && operation.params.is_empty());
        Ok((
            operation.resource.to_string(),
            operation.action.to_string(),
            operation.route.to_string(),
        ))
    }

    fn names(resource: &str, action: &str, route: &str) -> (String, String, String) {
        (resource.into(), action.into(), route.into())
    }

    const BOTH: [(&str, &str); 2] = [("resource", "documents/shared"), ("action", "publish")];

    #[test]
    fn without_configuration_there_is_no_operation() {
        let answer = resolve(OFF, ("GET", "/documents"), false, &[]);
        assert_eq!(answer, Err(Unresolved::NoRoute));
        let answer = resolve(OFF, ("GET", "/documents"), true, &[]);
        assert_eq!(answer, Err(Unresolved::NoRoute));
    }

    #[test]
    fn a_trusted_proxy_names_the_operation() {
        let wanted = names("documents/shared", "publish", "context_extensions");
        for fallback in [OFF, REST] {
            let answer = resolve(fallback, ("GET", "/x"), true, &BOTH);
            assert_eq!(answer, Ok(wanted.clone()));
        }
    }

    #[test]
    fn any_other_proxy_names_nothing() {
        // E44
        let answer = resolve(OFF, ("GET", "/x"), false, &BOTH);
        assert_eq!(answer, Err(Unresolved::NoRoute));
        let answer = resolve(REST, ("GET", "/x"), false, &BOTH);
        assert_eq!(answer, Ok(names("x", "read", "rest_mapping")));
    }

    #[test]
    fn other_extensions_have_no_say() {
        // E44, E45
        let other = [
            ("host", "evil.example"),
            ("Resource", "a"),
            ("attache.action", "read"),
        ];
        let answer = resolve(OFF, ("GET", "/x"), true, &other);
        assert_eq!(answer, Err(Unresolved::NoRoute));
    }

    #[test]
    fn half_an_operation_is_a_bad_request_even_with_a_mapping() {
        for (given, missing) in [(BOTH[0], ACTION_KEY), (BOTH[1], RESOURCE_KEY)] {
            let answer = resolve(REST, ("GET", "/x"), true, &[given]);
            let wanted = Unresolved::Extension(ExtensionProblem::Missing(missing));
            assert_eq!(answer, Err(wanted));
        }
    }

    #[test]
    fn extensions_are_names_and_never_patterns() {
        for (resource, action, wrong) in [
            ("", "read", RESOURCE_KEY),
            ("documents/**", "read", RESOURCE_KEY),
            ("documents/../x", "read", RESOURCE_KEY),
            ("/documents", "read", RESOURCE_KEY),
            ("documents@free", "read", RESOURCE_KEY),
            ("spiffe://example.org/a", "read", RESOURCE_KEY),
            ("documents", "", ACTION_KEY),
            ("documents", "*", ACTION_KEY),
            ("documents", "read write", ACTION_KEY),
        ] {
            let given = [("resource", resource), ("action", action)];
            let answer = resolve(OFF, ("GET", "/x"), true, &given);
            assert!(
                matches!(answer, Err(Unresolved::Extension(ExtensionProblem::Name { key, .. })) if key == wrong),
                "{given:?}: {answer:?}"
            );
        }
    }

    #[test]
    fn the_mapping_knows_the_methods_of_rest_and_no_other() {
        for (method, action) in [
            ("GET", "read"),
            ("HEAD", "read"),
            ("POST", "create"),
            ("PUT", "update"),
            ("PATCH", "update"),
            ("DELETE", "delete"),
        ] {
            let answer = resolve(REST, (method, "/documents/42/x"), false, &[]);
            assert_eq!(answer, Ok(names("documents", action, "rest_mapping")));
        }
        // E26
        for method in ["OPTIONS", "CONNECT", "TRACE", "get", "FOO", ""] {
            let answer = resolve(REST, (method, "/documents"), false, &[]);
            assert_eq!(answer, Err(Unresolved::NoRoute), "{method}");
        }
    }

    #[test]
    fn the_mapped_segment_is_one_plain_segment() {
        for path in ["/a:b", "/a@b", "/*", "/**", "/a;x/b", "/a%20b", "/%C3%A9"] {
            let answer = resolve(REST, ("GET", path), false, &[]);
            assert!(
                matches!(answer, Err(Unresolved::InvalidCapture { .. })),
                "{path}: {answer:?}"
            );
        }
        let answer = resolve(REST, ("GET", "/"), false, &[]);
        assert_eq!(answer, Err(Unresolved::NoRoute));
        let answer = resolve(REST, ("GET", "/documents/"), false, &[]);
        assert_eq!(answer, Ok(names("documents", "read", "rest_mapping")));
    }
}
