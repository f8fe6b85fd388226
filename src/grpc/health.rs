//! The standard gRPC health service, following readiness, and the client that probes use.
//!
//! Liveness depends on the process alone; everything else serves only while the process is ready.

use std::time::Duration;

use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;

use crate::lifecycle::{Readiness, Shutdown};

use super::{AUDIT, AUTHORIZATION, DELEGATION, EXT_AUTHZ, SESSIONS};

/// The services that health checks may ask for.
pub const HEALTH_SERVICES: [&str; 9] = [
    "",
    "liveness",
    "readiness",
    "startup",
    EXT_AUTHZ,
    AUTHORIZATION,
    AUDIT,
    SESSIONS,
    DELEGATION,
];

/// What a health check learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServingStatus {
    /// Serving.
    Serving,
    /// Known, and not serving at the moment.
    NotServing,
}

/// Why a health check got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HealthClientError {
    /// The address is not `HOST:PORT`.
    #[error("`{0}` is not an address: write HOST:PORT")]
    Address(String),
    /// Nothing answers there.
    #[error(
        "cannot reach {address}; check that `attache serve` runs and that its listen.health.tcp is there"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the transport said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server knows no service of that name.
    #[error(
        "{address} knows no service `{service}`; ask about one of: {}",
        known_services()
    )]
    UnknownService {
        /// Where.
        address: String,
        /// Which service was asked for.
        service: String,
    },
    /// The call failed otherwise.
    #[error("health check failed; check that the address is the listen.health.tcp of attache")]
    Call(#[source] Box<tonic::Status>),
}

fn known_services() -> String {
    let named = HEALTH_SERVICES.into_iter().filter(|name| !name.is_empty());
    named.collect::<Vec<_>>().join(", ")
}

/// The health service as routes to be merged into a server, and the task that keeps it truthful.
///
/// The task ends with the process's stop, after everything was reported as not serving.
pub async fn health_routes(
    readiness: Readiness,
    shutdown: Shutdown,
) -> (axum::Router, impl Future<Output = ()> + Send + 'static) {
    let (reporter, service) = tonic_health::server::health_reporter();
    // Subscribe before the first report, so that no change in between is missed.
    let mut watch = readiness.watch();
    let report = move |name: &'static str, serving: bool| {
        let reporter = reporter.clone();
        async move {
            let status = if serving {
                tonic_health::ServingStatus::Serving
            } else {
                tonic_health::ServingStatus::NotServing
            };
            reporter.set_service_status(name, status).await;
        }
    };
    for name in HEALTH_SERVICES {
        report(name, name == "liveness").await;
    }
    let follow = async move {
        let mut started = false;
        loop {
            let ready = *watch.borrow_and_update() && !shutdown.is_draining();
            started |= ready;
            for name in HEALTH_SERVICES {
                let serving = match name {
                    "liveness" => true,
                    "startup" => started,
                    _ => ready,
                };
                report(name, serving).await;
            }
            if shutdown.is_draining() {
                return;
            }
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { return },
                () = shutdown.draining() => {}
            }
        }
    };
    let service = service.max_decoding_message_size(MAX_MESSAGE);
    let routes = tonic::service::Routes::new(service).into_axum_router();
    (routes, follow)
}

/// Asks the health service at `address` (`HOST:PORT`) about `service`; empty means the server as a whole.
pub async fn query_health(
    address: &str,
    service: &str,
    time_limit: Duration,
) -> Result<ServingStatus, HealthClientError> {
    let uri: Uri = format!("http://{address}")
        .parse()
        .map_err(|_malformed| HealthClientError::Address(address.to_owned()))?;
    if uri.port().is_none() {
        return Err(HealthClientError::Address(address.to_owned()));
    }
    let channel: Channel = Endpoint::from(uri)
        .connect_timeout(time_limit)
        .timeout(time_limit)
        .connect()
        .await
        .map_err(|source| HealthClientError::Unreachable {
            address: address.to_owned(),
            source,
        })?;
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    match HealthClient::new(channel).check(request).await {
        Ok(response) if response.get_ref().status() == Wire::Serving => Ok(ServingStatus::Serving),
        Ok(_) => Ok(ServingStatus::NotServing),
        Err(status) if status.code() == tonic::Code::NotFound => {
            Err(HealthClientError::UnknownService {
                address: address.to_owned(),
                service: service.to_owned(),
            })
        }
        Err(status) => Err(HealthClientError::Call(Box::new(status))),
    }
}

/// Bytes of a request: the name of a service.
const MAX_MESSAGE: usize = 4 * 1024;
