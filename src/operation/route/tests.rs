use super::*;
use crate::operation::RouteTable;

fn routes(yaml: &str) -> Vec<RouteConfig> {
    serde_saphyr::from_str(yaml).unwrap()
}

/// All problems of the one route with these members, as `key: message`.
fn problems(members: &str) -> Vec<String> {
    let configs = routes(&format!("[{{{members}}}]"));
    match RouteTable::compile(&configs) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .into_iter()
            .map(|(path, message)| format!("{path}: {message}"))
            .collect(),
    }
}

/// The one problem of the route with this part and an otherwise fitting rest.
#[track_caller]
fn problem(part: &str) -> String {
    let mut members = vec![part];
    for (key, rest) in [
        ("path:", "path: /x"),
        ("resource:", "resource: x"),
        ("action:", "action: read"),
    ] {
        let elsewhere = key == "path:" && part.contains("grpc:");
        if !part.contains(key) && !elsewhere {
            members.push(rest);
        }
    }
    let found = problems(&members.join(", "));
    assert_eq!(found.len(), 1, "{part}: {found:#?}");
    found.into_iter().next().unwrap()
}

#[test]
fn the_examples_of_the_documentation_are_routes() {
    let configs = routes(
        r#"
        - {method: GET,    path: "/documents/{id}", resource: "documents/{id}", action: read}
        - {method: DELETE, path: "/documents/{id}", resource: "documents/{id}", action: delete, target: "spiffe://example.org/svc/documents"}
        - {method: POST,   path: "/payments",       resource: payments, action: create, body: json, mode: shadow}
        - {method: [GET, HEAD], host: "*.example.org", path: "/**", resource: public, action: read, attributes: {class: public}}
        - {grpc: "documents.v1.Documents/Update",   resource: "documents", action: update}
        - {grpc: "documents.v1.Documents/*", host: grpc.example.org, resource: "spiffe://example.org/svc/documents", action: call}
        - {path: /, resource: root, action: read}
        "#,
    );
    let names: Vec<_> = configs
        .iter()
        .map(|config| config.compile().unwrap().name)
        .collect();
    assert_eq!(
        names.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        [
            "GET /documents/{id}",
            "DELETE /documents/{id}",
            "POST /payments",
            "GET,HEAD *.example.org/**",
            "grpc documents.v1.Documents/Update",
            "grpc grpc.example.org/documents.v1.Documents/*",
            "* /",
        ]
    );
}

#[test]
fn body_and_mode_are_none_and_enforce_unless_written() {
    let plain = &routes("[{path: /x, resource: x, action: read}]")[0];
    assert_eq!((plain.body, plain.mode), (BodyRule::None, Mode::Enforce));
    let written = &routes("[{path: /x, resource: x, action: read, body: json, mode: shadow}]")[0];
    assert_eq!((written.body, written.mode), (BodyRule::Json, Mode::Shadow));
}

#[test]
fn a_shape_that_is_not_known_is_refused() {
    for members in [
        "path: /x, resource: x, action: read, methods: GET",
        "path: /x, resource: x, action: read, mode: off",
        "path: /x, resource: x, action: read, body: xml",
        "path: /x, resource: x, action: read, method: {GET: true}",
        "path: /x, resource: x, action: read, attributes: {a: {b: c}}",
        "path: /x, action: read",
        "path: /x, resource: x",
    ] {
        let read = serde_saphyr::from_str::<Vec<RouteConfig>>(&format!("[{{{members}}}]"));
        assert!(read.is_err(), "{members}");
    }
}

#[test]
fn a_route_names_requests_in_exactly_one_way() {
    let neither = problems("resource: x, action: read");
    assert_eq!(
        neither,
        ["routes[0]: names no requests; write `path` or `grpc`"]
    );
    let both = problems("path: /x, grpc: a.B/C, resource: x, action: read");
    assert_eq!(both, ["routes[0]: has both `path` and `grpc`; write one"]);
}

#[test]
fn every_problem_of_every_route_is_reported_with_its_place() {
    let configs = routes(
        r#"
        - {path: /ok, resource: ok, action: read}
        - {method: get, path: "a//b", host: "h:80", resource: "a b", action: "read:all", target: "example.org"}
        - {grpc: "Update", method: POST, body: json, resource: x, action: ""}
        "#,
    );
    let problems = RouteTable::compile(&configs).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "routes[1].method",
            "routes[1].path",
            "routes[1].host",
            "routes[1].action",
            "routes[1].target",
            "routes[2].method",
            "routes[2].body",
            "routes[2].grpc",
            "routes[2].action",
        ]
    );
}

#[test]
fn a_path_template_is_in_normal_form_and_has_whole_wildcards() {
    for (path, hint) in [
        ("documents", "must begin with `/`"),
        ("", "must begin with `/`"),
        ("/a//b", "remove one slash"),
        ("//", "remove one slash"),
        ("/**/a", "`**` may only be the last segment"),
        ("/**/", "`**` may only be the last segment"),
        ("/doc*", "write `%2A`"),
        ("/doc{id}", "a capture is a whole segment"),
        ("/{id", "a capture is a whole segment"),
        ("/{}", "a capture is a whole segment"),
        ("/{a-b}", "a capture is a whole segment"),
        ("/{id...}", "a capture is a whole segment"),
        ("/{id}/{id}", "names `{id}` twice"),
        ("/%61dmin", "write `admin`"),
        ("/a%2cb", "write `a%2Cb`"),
        ("/a/../b", "dot segment"),
        ("/a/..;x", "dot segment"),
        ("/;x", "empty segment"),
        ("/a%2fb", "an escape stands for '/'"),
        ("/a b", "character ' '"),
        ("/é", "character 'é'"),
        ("/a?b=c", "character '?'"),
        ("/a#b", "character '#'"),
        ("/100%", "two hexadecimal digits"),
    ] {
        let message = problem(&format!("path: {path:?}"));
        assert!(message.starts_with("routes[0].path: "), "{message}");
        assert!(message.contains(hint), "{path}: {message}");
    }
    let long = problem(&format!("path: \"{}\"", "/a".repeat(65)));
    assert!(long.contains("64 segments"), "{long}");
    for path in [
        "/",
        "/**",
        "/a/",
        "/a/*/",
        "/{a}/{b_2}/**",
        "/a;x=1",
        "/a%20b",
        "/v1/docs:publish",
        "/%2A",
    ] {
        let found = problems(&format!("path: {path:?}, resource: x, action: read"));
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

#[test]
fn a_resource_is_segments_with_known_captures_or_a_spiffe_id() {
    for (resource, hint) in [
        ("documents/{other}", "the path captures no `{other}`"),
        ("documents/x{id}", "a capture is a whole segment"),
        ("documents/{id", "a capture is a whole segment"),
        ("documents//{id}", "empty"),
        ("documents/../{id}", "dot segment"),
        ("", "empty"),
        ("/documents", "empty segment"),
        ("documents/*", "character '*'"),
        ("documents/**", "character '*'"),
        ("a b/{id}", "character ' '"),
        ("documents:read", "character ':'"),
        ("spiffe://example.org", "write a SPIFFE ID"),
        ("spiffe://example.org/svc/{id}", "write a SPIFFE ID"),
    ] {
        let message = problem(&format!(
            "path: \"/documents/{{id}}\", resource: {resource:?}"
        ));
        assert!(message.starts_with("routes[0].resource: "), "{message}");
        assert!(message.contains(hint), "{resource}: {message}");
    }
    for resource in [
        "documents/{id}",
        "{id}",
        "{id}/{id}",
        "documents",
        "spiffe://example.org/svc/d",
    ] {
        let found = problems(&format!(
            "path: \"/documents/{{id}}\", resource: {resource:?}, action: read"
        ));
        assert!(found.is_empty(), "{resource}: {found:?}");
    }
}

#[test]
fn a_method_is_a_token_in_its_own_case() {
    for (method, hint) in [
        ("get", "write GET"),
        ("Delete", "write DELETE"),
        ("\"\"", "is not a method"),
        ("\"GET POST\"", "is not a method"),
        ("\"GET,POST\"", "is not a method"),
        ("[]", "the list is empty"),
        ("[GET, \"*\"]", "stands alone"),
        ("[GET, \"b d\"]", "is not a method"),
    ] {
        let message = problem(&format!("method: {method}"));
        assert!(message.starts_with("routes[0].method: "), "{message}");
        assert!(message.contains(hint), "{method}: {message}");
    }
    for method in [
        "GET",
        "\"*\"",
        "[\"*\"]",
        "[GET, HEAD]",
        "PROPFIND",
        "purge",
        "CONNECT",
        "M-SEARCH",
    ] {
        let found = problems(&format!(
            "method: {method}, path: /x, resource: x, action: read"
        ));
        assert!(found.is_empty(), "{method}: {found:?}");
    }
}

#[test]
fn a_host_is_written_in_normal_form() {
    for (host, hint) in [
        ("API.example.org", "write `api.example.org`"),
        ("api.example.org:443", "write `api.example.org`"),
        ("api.example.org.", "write `api.example.org`"),
        ("*.Example.org", "write `*.example.org`"),
        ("*", "character '*'"),
        ("*.", "empty"),
        ("a.*.org", "character '*'"),
        ("*api.example.org", "character '*'"),
        ("https://api.example.org", "port"),
        ("*.[::1]", "nothing is below an address"),
        ("", "empty"),
    ] {
        let message = problem(&format!("host: {host:?}"));
        assert!(message.starts_with("routes[0].host: "), "{message}");
        assert!(message.contains(hint), "{host}: {message}");
    }
}

#[test]
fn a_grpc_route_is_a_service_and_a_method() {
    for grpc in [
        "Update",
        "/documents.v1.Documents/Update",
        "documents.v1.Documents/",
        "documents..Documents/Update",
        "documents.v1.Documents/Up*",
        "documents.v1.*/Update",
        "*/*",
        "a/b/c",
        "a b/c",
    ] {
        let message = problem(&format!("grpc: {grpc:?}"));
        assert!(
            message.starts_with("routes[0].grpc: ") && message.contains("package.Service/Method"),
            "{message}"
        );
    }
    let message = problem("grpc: a.B/C, resource: \"x/{id}\"");
    assert!(message.contains("the path captures no `{id}`"), "{message}");
}

#[test]
fn a_route_may_say_how_long_verdicts_are_used_again() {
    let ttl = |part: &str| {
        let yaml = format!("[{{path: /x, resource: x, action: read{part}}}]");
        serde_saphyr::from_str::<Vec<RouteConfig>>(&yaml)
            .map(|routes| routes[0].compile().unwrap().cache_ttl)
            .map_err(|error| error.to_string())
    };
    assert_eq!(ttl(""), Ok(None));
    assert_eq!(ttl(", cache_ttl: 0s"), Ok(Some(Duration::ZERO)));
    assert_eq!(ttl(", cache_ttl: 2m"), Ok(Some(Duration::from_secs(120))));
    let error = ttl(", cache_ttl: 2h").unwrap_err();
    assert!(
        error.contains("2h is out of range: write 0s to 1h"),
        "{error}"
    );
    assert!(ttl(", cache_ttl: soon").is_err());
}
