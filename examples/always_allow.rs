//! The yardstick for attache's speed: a tonic server that decodes every CheckRequest and allows it.
//!
//! `cargo run --release --example always_allow -- 127.0.0.1:9292`

use std::net::SocketAddr;

use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse,
};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use tonic::{Request, Response, Status};

struct AlwaysAllow;

#[tonic::async_trait]
impl Authorization for AlwaysAllow {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(CheckResponse {
            status: Some(RpcStatus::default()),
            ..CheckResponse::default()
        }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9292".to_owned())
        .parse()?;
    tonic::transport::Server::builder()
        .add_service(AuthorizationServer::new(AlwaysAllow))
        .serve(address)
        .await?;
    Ok(())
}
