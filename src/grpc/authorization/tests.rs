use tonic::server::NamedService as _;

use super::*;

#[test]
fn the_methods_are_those_of_the_service() {
    let proto = include_str!("../../../proto/attache/v1/authorization.proto");
    let methods = proto.lines().filter_map(|line| {
        let rest = line.trim().strip_prefix("rpc ")?;
        let (name, _) = rest.split_once('(')?;
        Some(format!("/{NAME}/{name}"))
    });
    assert_eq!(methods.collect::<Vec<_>>(), METHODS);
    assert_eq!(AuthorizationServiceServer::<Decisions>::NAME, NAME);
}
