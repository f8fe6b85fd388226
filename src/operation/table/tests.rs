use proptest::prelude::*;

use super::*;
use crate::operation::{BodyRule, Mode};

fn table(yaml: &str) -> RouteTable {
    let routes: Vec<RouteConfig> = serde_saphyr::from_str(yaml).unwrap();
    RouteTable::compile(&routes).unwrap()
}

/// What `METHOD host/path` is: `action resource`.
fn ask(table: &RouteTable, request: &str) -> Result<String, Unresolved> {
    let (method, rest) = request.split_once(' ').unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let host = Host::try_from(if host.is_empty() { "h" } else { host }).unwrap();
    let path = NormalPath::try_from(path).unwrap();
    let operation = table.resolve(method, &host, &path)?;
    Ok(format!("{} {}", operation.action, operation.resource))
}

#[track_caller]
fn is(table: &RouteTable, request: &str, operation: &str) {
    assert_eq!(ask(table, request).as_deref(), Ok(operation), "{request}");
}

#[track_caller]
fn is_none(table: &RouteTable, request: &str) {
    assert_eq!(ask(table, request), Err(Unresolved::NoRoute), "{request}");
}

#[track_caller]
fn is_invalid(table: &RouteTable, request: &str, capture: &str) {
    let wanted = Unresolved::InvalidCapture {
        name: capture.to_owned(),
        mode: Mode::Enforce,
    };
    assert_eq!(ask(table, request), Err(wanted), "{request}");
}

#[test]
fn an_empty_table_matches_nothing() {
    is_none(&RouteTable::compile(&[]).unwrap(), "GET /");
}

#[test]
fn a_route_names_everything_about_the_operation() {
    let table = table(
        r#"[{method: POST, path: "/{tenant}/docs/{id}", host: api.example.org, resource: "docs/{id}", action: update,
             target: "spiffe://example.org/svc/docs", attributes: {class: internal}, body: json, mode: shadow}]"#,
    );
    let host = Host::try_from("API.example.org:443").unwrap();
    let path = NormalPath::try_from("/t1/docs/42").unwrap();
    let operation = table.resolve("POST", &host, &path).unwrap();
    assert_eq!(operation.resource.as_str(), "docs/42");
    assert_eq!(operation.action.as_str(), "update");
    assert_eq!(
        operation.target.unwrap().as_str(),
        "spiffe://example.org/svc/docs"
    );
    assert_eq!(operation.params, [("tenant", "t1"), ("id", "42")]);
    assert_eq!(operation.attributes["class"], "internal");
    assert_eq!(
        (operation.body, operation.mode),
        (BodyRule::Json, Mode::Shadow)
    );
    assert_eq!(&*operation.route, "POST api.example.org/{tenant}/docs/{id}");
}

#[test]
fn a_resource_that_is_a_spiffe_id_stays_one() {
    let table = table(r#"[{path: /x, resource: "spiffe://example.org/svc/x", action: call}]"#);
    let host = Host::try_from("h").unwrap();
    let path = NormalPath::try_from("/x").unwrap();
    let resource = table.resolve("GET", &host, &path).unwrap().resource;
    assert_eq!(resource.as_str(), "spiffe://example.org/svc/x");
    assert!(resource.segments().eq(["example.org", "svc", "x"]));
}

#[test]
fn the_first_match_in_the_file_wins_however_specific_a_later_one_is() {
    let table = table(
        r#"
        - {path: /a/b, resource: exact, action: read}
        - {path: "/a/{x}", resource: captured, action: read}
        - {path: "/*/c", resource: any, action: read}
        - {path: "/**", resource: rest, action: read}
        - {path: /z, resource: too-late, action: read}
        "#,
    );
    is(&table, "GET /a/b", "read exact");
    is(&table, "GET /a/c", "read captured");
    is(&table, "GET /b/c", "read any");
    is(&table, "GET /a/c/d", "read rest");
    is(&table, "GET /z", "read rest");
    is(&table, "GET /", "read rest");
}

#[test]
fn another_method_or_host_lets_the_next_route_have_its_turn() {
    let table = table(
        r#"
        - {method: POST, path: "/a/{x}", resource: posted, action: create}
        - {path: "/a/b", host: other.example, resource: other, action: read}
        - {path: "/{x}/b", resource: "{x}", action: read}
        "#,
    );
    is(&table, "POST /a/b", "create posted");
    is(&table, "GET other.example/a/b", "read other");
    is(&table, "GET /a/b", "read a");
}

#[test]
fn wildcards_stand_for_whole_segments() {
    let one = table(r#"[{path: "/a/*/b", resource: x, action: read}]"#);
    is(&one, "GET /a/1/b", "read x");
    is(&one, "GET /a/x%20y/b", "read x");
    for request in [
        "GET /a/b",
        "GET /a/1/2/b",
        "GET /a/1/b/",
        "GET /a/1/b/c",
        "GET /A/1/b",
    ] {
        is_none(&one, request);
    }
    let rest = table(r#"[{path: "/a/**", resource: x, action: read}]"#);
    for request in [
        "GET /a",
        "GET /a/",
        "GET /a/1",
        "GET /a/1/2/",
        "GET /a/x%20y",
    ] {
        is(&rest, request, "read x");
    }
    for request in ["GET /", "GET /b/a", "GET /aa"] {
        is_none(&rest, request);
    }
}

#[test]
fn the_slash_at_the_end_counts() {
    let table = table(
        r#"
        - {path: "/a", resource: bare, action: read}
        - {path: "/b/", resource: slash, action: read}
        - {path: "/c/{id}", resource: "{id}", action: read}
        - {path: "/", resource: root, action: read}
        "#,
    );
    is(&table, "GET /a", "read bare");
    is(&table, "GET /b/", "read slash");
    is(&table, "GET /", "read root");
    for request in ["GET /a/", "GET /b", "GET /c/", "GET /c/1/", "GET /c"] {
        is_none(&table, request);
    }
}

#[test]
fn a_slash_at_the_end_does_not_lead_past_an_earlier_route() {
    let table = table(
        r#"
        - {path: "/admin", resource: admin, action: read}
        - {path: "/shop/", resource: shop, action: read}
        - {method: POST, path: "/posted", resource: posted, action: create}
        - {path: "/**", resource: rest, action: read}
        - {path: "/late", resource: late, action: read}
        "#,
    );
    for request in ["GET /admin/", "GET /shop", "POST /posted/"] {
        assert_eq!(
            ask(&table, request),
            Err(Unresolved::SlashAside),
            "{request}"
        );
    }
    is(&table, "GET /admin", "read admin");
    is(&table, "GET /shop/", "read shop");
    is(&table, "GET /posted/", "read rest");
    is(&table, "GET /late/", "read rest");
    is(&table, "GET /other/", "read rest");
}

#[test]
fn an_escape_that_services_decode_does_not_lead_past_an_earlier_route() {
    let table = table(
        r#"
        - {path: "/v1/docs:purge", resource: purge, action: delete}
        - {path: "/v1/*", resource: docs, action: read}
        - {path: "/admin/**", resource: admin, action: read}
        - {path: "/**", resource: rest, action: read}
        "#,
    );
    is(&table, "GET /v1/docs:purge", "delete purge");
    is_invalid(&table, "GET /v1/docs%3Apurge", "*");
    is_invalid(&table, "GET /v1/docs%253Apurge", "*");
    for path in [
        "/admin%3Bx/users",
        "/admin%3Fx",
        "/admin%23x",
        "/admin;x/users",
        "/a/%40",
        "/%7Bx%7D",
    ] {
        is_invalid(&table, &format!("GET {path}"), "**");
    }
    for path in ["/a%20b", "/caf%C3%A9", "/a@b,c=d"] {
        is(&table, &format!("GET {path}"), "read rest");
    }
}

#[test]
fn methods_are_compared_letter_by_letter_and_a_star_means_the_usual_ones() {
    // E26
    let table = table(
        r"
        - {path: /any, resource: x, action: read}
        - {method: [GET, PURGE, CONNECT], path: /listed, resource: x, action: read}
        ",
    );
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        is(&table, &format!("{method} /any"), "read x");
    }
    for method in ["get", "FOO", "CONNECT", "TRACE", "PROPFIND", "PRI", "*", ""] {
        is_none(&table, &format!("{method} /any"));
    }
    for method in ["GET", "PURGE", "CONNECT"] {
        is(&table, &format!("{method} /listed"), "read x");
    }
    for method in ["HEAD", "purge", "POST"] {
        is_none(&table, &format!("{method} /listed"));
    }
}

#[test]
fn hosts_match_whole_or_below_a_star() {
    // E25
    let table = table(
        r#"
        - {path: /, host: api.example.org, resource: exact, action: read}
        - {path: /, host: "*.example.org", resource: below, action: read}
        - {path: /, host: "[2001:db8::1]", resource: address, action: read}
        "#,
    );
    is(&table, "GET api.example.org/", "read exact");
    is(&table, "GET API.EXAMPLE.ORG.:80/", "read exact");
    is(&table, "GET www.example.org/", "read below");
    is(&table, "GET a.b.api.example.org/", "read below");
    is(&table, "GET [2001:DB8::0:1]:443/", "read address");
    for host in [
        "example.org",
        "evilexample.org",
        "example.org.evil.com",
        "h",
        "api.example.com",
    ] {
        is_none(&table, &format!("GET {host}/"));
    }
}

#[test]
fn the_first_route_wins_across_kinds_of_host() {
    let table = table(
        r#"
        - {path: "/a", host: "*.org", resource: first, action: read}
        - {path: "/a", host: "*.example.org", resource: second, action: read}
        - {path: "/a", host: www.example.org, resource: third, action: read}
        - {path: "/{x}", resource: fourth, action: read}
        "#,
    );
    is(&table, "GET www.example.org/a", "read first");
    is(&table, "GET www.example.org/b", "read fourth");
}

#[test]
fn a_grpc_route_is_a_post_to_service_and_method() {
    let table = table(
        r#"
        - {grpc: "documents.v1.Documents/Update", resource: documents, action: update}
        - {grpc: "documents.v1.Documents/*", resource: documents, action: read}
        "#,
    );
    is(
        &table,
        "POST /documents.v1.Documents/Update",
        "update documents",
    );
    is(&table, "POST /documents.v1.Documents/Get", "read documents");
    for request in [
        "GET /documents.v1.Documents/Update",
        "POST /documents.v1.Documents",
        "POST /documents.v1.Documents/",
        "POST /documents.v1.Documents/Get/x",
        "POST /documents.v1.documents/Get",
    ] {
        is_none(&table, request);
    }
}

#[test]
fn a_captured_value_is_one_plain_segment_or_the_request_is_refused() {
    let table = table(r#"[{path: "/documents/{id}", resource: "documents/{id}", action: read}]"#);
    for plain in ["42", "a,b", "a=b", "...", "~x", "a+b", "{id}", "ID"] {
        is(
            &table,
            &format!("GET /documents/{plain}"),
            &format!("read documents/{plain}"),
        );
    }
    for hostile in [
        "*",
        "**",
        "a*",
        "a:b",
        "a@b",
        ":",
        "@free",
        "a;b",
        "a;",
        "a%3Bb",
        "a%3Aread",
        "%2A",
        "%2A%2A",
        "a%20b",
        "%C3%A9",
        "%252e%252e",
        "%25",
    ] {
        is_invalid(&table, &format!("GET /documents/{hostile}"), "id");
    }
}

#[test]
fn values_that_no_canonical_path_holds_are_not_plain_either() {
    for hostile in ["", ".", "..", "a/b", "a\\b", "a b", "a\nb", "a\0"] {
        assert!(!is_plain(hostile), "{hostile:?}");
    }
}

#[test]
fn an_unused_capture_is_checked_too() {
    let table = table(r#"[{path: "/{tenant}/x", resource: x, action: read}]"#);
    is(&table, "GET /t1/x", "read x");
    is_invalid(&table, "GET /t:1/x", "tenant");
}

#[test]
fn an_invalid_capture_never_falls_through_to_a_later_route() {
    let table = table(
        r#"
        - {path: "/documents/{id}", resource: "documents/{id}", action: read}
        - {path: "/documents/*", resource: public, action: read}
        - {path: "/documents/a:b", resource: public, action: read}
        - {path: "/**", resource: public, action: read}
        "#,
    );
    is_invalid(&table, "GET /documents/a:b", "id");
    is_invalid(&table, "GET /documents/a;b", "id");
    is(&table, "GET /other", "read public");
}

#[test]
fn parameters_are_refused_under_a_wildcard_and_taken_literally_in_a_literal() {
    let table = table(
        r#"
        - {path: "/admin/**", resource: admin, action: admin}
        - {path: "/matrix;v=1", resource: matrix, action: read}
        - {path: "/x/*", resource: x, action: read}
        - {path: "/**", resource: public, action: read}
        "#,
    );
    // Services that cut parameters off would serve `/admin/secret`.
    is_invalid(&table, "GET /admin;x/secret", "**");
    is_invalid(&table, "GET /admin/secret;x", "**");
    is_invalid(&table, "GET /x/a;b", "*");
    is(&table, "GET /matrix;v=1", "read matrix");
    is_invalid(&table, "GET /x/a%3Bb", "*");
}

#[test]
fn a_route_that_can_never_match_is_named() {
    let table = table(
        r#"
        - {method: [GET, POST], path: "/a/**", resource: x, action: read}
        - {method: GET, path: "/a/b", resource: x, action: read}
        - {path: "/a/b", resource: x, action: read}
        - {path: "/{x}/c", resource: x, action: read}
        - {path: "/*/c", host: h.example, resource: x, action: read}
        - {path: "/q", host: "*.example", resource: x, action: read}
        - {path: "/q", host: "a.b.example", resource: x, action: read}
        - {path: "/q", host: "*.b.example", resource: x, action: read}
        - {path: "/q", host: "example", resource: x, action: read}
        - {path: "/q", resource: x, action: read}
        - {path: "/a/b/", method: PURGE, resource: x, action: read}
        - {path: "/z/", resource: x, action: read}
        - {path: "/z", resource: x, action: read}
        - {path: "/z/**", resource: x, action: read}
        - {grpc: "a/*", resource: x, action: read}
        - {grpc: "a/B", resource: x, action: read}
        - {grpc: "z.Z/B", resource: x, action: read}
        - {path: "/*/B", resource: x, action: read}
        "#,
    );
    let dead: Vec<_> = table
        .unreachable()
        .iter()
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(
        dead,
        [
            "routes[1]",
            "routes[4]",
            "routes[6]",
            "routes[7]",
            "routes[14]",
            "routes[15]"
        ]
    );
    let (_, message) = &table.unreachable()[0];
    assert_eq!(
        message,
        "`GET /a/b` never matches: routes[0] `GET,POST /a/**` comes first and matches all of it; \
         put the narrower route first or remove it"
    );
}

#[test]
fn among_wildcards_at_every_level_the_first_match_is_found() {
    // Every combination of a literal and a wildcard over ten levels, the route with most literals first.
    let path = |bits: u32, zero: &str, one: &str| -> String {
        (0..10)
            .map(|level| if bits >> level & 1 == 0 { zero } else { one })
            .collect()
    };
    let routes: Vec<RouteConfig> = (0..1024_u32)
        .map(|bits| {
            let path = path(bits, "/a", "/*");
            let json =
                serde_json::json!({"path": path, "resource": bits.to_string(), "action": "read"});
            serde_json::from_value(json).unwrap()
        })
        .collect();
    let table = RouteTable::compile(&routes).unwrap();
    for bits in 0..1024 {
        let request = format!("GET {}", path(bits, "/a", "/b"));
        is(&table, &request, &format!("read {bits}"));
    }
    is_none(&table, &format!("GET {}", "/a".repeat(64)));
}

/// Matching as the documentation tells it, one route after the other.
fn naive(routes: &[RouteConfig], method: &str, host: &str, path: &str) -> Option<usize> {
    routes.iter().position(|route| {
        let method_fits = route
            .method
            .as_ref()
            .is_none_or(|methods| methods.0.iter().any(|listed| listed == method))
            && (route.method.is_some()
                || ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method));
        let host_fits = route
            .host
            .as_ref()
            .is_none_or(|wanted| match wanted.strip_prefix('*') {
                Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
                None => host == wanted,
            });
        method_fits && host_fits && path_fits(route.path.as_deref().unwrap(), path)
    })
}

fn path_fits(template: &str, path: &str) -> bool {
    let (template, open) = match template.strip_suffix("/**") {
        Some(start) => (start, true),
        None => (template, false),
    };
    let wanted: Vec<_> = template.split('/').collect();
    let given: Vec<_> = path.split('/').collect();
    if given.len() < wanted.len() || (!open && given.len() > wanted.len()) {
        return false;
    }
    wanted
        .iter()
        .zip(&given)
        .all(|(wanted, given)| match *wanted {
            "*" => !given.is_empty(),
            _ if wanted.starts_with('{') => !given.is_empty(),
            literal => literal == *given,
        })
}

fn any_route() -> impl Strategy<Value = RouteConfig> {
    let segment = prop::sample::select(vec!["a", "b", "c", "*", "{}"]);
    let path = (
        prop::collection::vec(segment, 0..5),
        prop::sample::select(vec!["", "", "/", "/**"]),
    )
        .prop_map(|(segments, end)| {
            let mut path = String::new();
            for (at, segment) in segments.iter().enumerate() {
                path.push('/');
                path.push_str(&segment.replace("{}", &format!("{{c{at}}}")));
            }
            path.push_str(if path.is_empty() && end.is_empty() {
                "/"
            } else {
                end
            });
            path
        });
    let method = prop::sample::select(vec![
        None,
        None,
        Some(vec!["GET"]),
        Some(vec!["POST", "PURGE"]),
    ]);
    let host = prop::sample::select(vec![
        None,
        None,
        Some("x.org"),
        Some("a.x.org"),
        Some("*.x.org"),
        Some("*.org"),
    ]);
    (path, method, host).prop_map(|(path, method, host)| {
        let mut route = serde_json::json!({"path": path, "resource": "r", "action": "read"});
        if let Some(method) = method {
            route["method"] = method.into();
        }
        if let Some(host) = host {
            route["host"] = host.into();
        }
        serde_json::from_value(route).unwrap()
    })
}

/// The first route that matches and does not end in `**`.
fn naive_end(routes: &[RouteConfig], method: &str, host: &str, path: &str) -> Option<usize> {
    let ended: Vec<_> = routes
        .iter()
        .cloned()
        .map(|mut route| {
            if route.path.as_deref().is_some_and(|it| it.ends_with("**")) {
                route.path = Some("/never/asked/for".to_owned());
            }
            route
        })
        .collect();
    naive(&ended, method, host, path)
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "c", "d"]);
    (prop::collection::vec(segment, 0..6), any::<bool>()).prop_map(|(segments, slash)| {
        let end = if slash || segments.is_empty() {
            "/"
        } else {
            ""
        };
        format!(
            "{}{end}",
            ["", &segments.join("/")].join("/").trim_end_matches('/')
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_index_finds_what_asking_every_route_in_turn_finds(
        mut routes in prop::collection::vec(any_route(), 0..24),
        paths in prop::collection::vec(any_path(), 1..12),
        method in prop::sample::select(vec!["GET", "POST", "PURGE", "DELETE", "get"]),
        host in prop::sample::select(vec!["x.org", "a.x.org", "b.a.x.org", "org", "y"]),
    ) {
        for (number, route) in routes.iter_mut().enumerate() {
            route.resource = number.to_string();
        }
        let table = RouteTable::compile(&routes).unwrap();
        for path in &paths {
            let found = ask(&table, &format!("{method} {host}{path}"));
            let twin = match path.strip_suffix('/') {
                Some("") => None,
                Some(bare) => naive_end(&routes, method, host, bare),
                None => naive_end(&routes, method, host, &format!("{path}/")),
            };
            let wanted = match (naive(&routes, method, host, path), twin) {
                (None, _) => Err(Unresolved::NoRoute),
                (Some(number), Some(twin)) if twin < number => Err(Unresolved::SlashAside),
                (Some(number), _) => Ok(format!("read {number}")),
            };
            prop_assert_eq!(found, wanted, "{} {}{}", method, host, path);
        }
    }

    #[test]
    fn a_route_named_as_dead_is_never_found(
        mut routes in prop::collection::vec(any_route(), 2..24),
        paths in prop::collection::vec(any_path(), 1..24),
        host in prop::sample::select(vec!["x.org", "a.x.org", "b.a.x.org", "org", "y"]),
    ) {
        for (number, route) in routes.iter_mut().enumerate() {
            route.resource = number.to_string();
        }
        let table = RouteTable::compile(&routes).unwrap();
        for path in &paths {
            for method in ["GET", "POST", "PURGE"] {
                if let Some(number) = naive(&routes, method, host, path) {
                    let place = format!("routes[{number}]");
                    prop_assert!(table.unreachable().iter().all(|(dead, _)| *dead != place));
                }
            }
        }
    }
}
