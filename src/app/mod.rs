//! The only wiring: builds every room from the configuration, opens the doors, and closes them in order.
//!
//! Start: configuration → certificate files read → policy proven → witness ready → sockets bound → serving. A certificate
//! from a Workload API comes when it comes: readiness and the handshakes that need it wait for it. Stop: not ready → no
//! new connections → what is under way finishes, at most for the grace → witness drained. A second signal skips the
//! waiting.

mod certificates;
mod circuit;
mod doors;
mod judge;
mod keys;
mod reload;
mod sessions;
mod witness;
mod worker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{self, AuditError, Origin, Trail, TrailError, WriterHandle};
use crate::authority::{Authority, Mandates, Metrics, Rules, Sessions, Tokens};
use crate::clock::Clock;
use crate::config::{Config, Fixed, Mode};
use crate::grpc::{Reading, Services, health_routes};
use crate::http::{Health, serve_health};
use crate::keys::{Keyring, KeysError, Verifier};
use crate::lifecycle::{Notices, Readiness, Shutdown};
use crate::policy::{EngineKind, Judge, LoadError, Proof, Source};
use crate::socket::{Address, BindError, Bound, SocketFile};
use crate::state::{self, StateStore};
use crate::telemetry;
use crate::tls::{Credentials, Renewal};

pub use circuit::circuit_witness;

use doors::{Behind, Doors};
use reload::{Reloader, Rooms};

/// A process that is bound to its sockets and serves nobody yet.
#[derive(Debug)]
pub struct App {
    fixed: Fixed,
    authority: Arc<Authority>,
    sessions: Option<Arc<Sessions>>,
    mandates: Option<Arc<Mandates>>,
    keyring: Option<Arc<Keyring>>,
    clock: Arc<dyn Clock>,
    doors: Doors,
    health: TcpListener,
    reloader: Reloader,
    judge: Judge,
    credentials: Arc<Credentials>,
    renewals: Vec<Renewal>,
    witness: WriterHandle,
    trail: Option<Arc<dyn Trail>>,
    registry: Arc<Mutex<Registry>>,
    readiness: Readiness,
    notices: Notices,
}

/// Why the process does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy can't be used.
    #[error("{}", lines(.0))]
    Policy(Vec<LoadError>),
    /// The audit trail can't be written.
    #[error(
        "cannot begin the audit trail; name a sink under audit.sinks that this process may write"
    )]
    Audit(#[source] AuditError),
    /// The audit trail can be opened and takes no records.
    #[error("the audit trail took no record within {}; look at the first of audit.sinks", humantime::format_duration(*.0))]
    AuditTimeout(Duration),
    /// The memory of sessions can't be opened.
    #[error("cannot open the memory of sessions; name another file under state")]
    State(#[source] state::OpenError),
    /// The audit trail can't be read back.
    #[error("cannot read the audit trail back; look at audit.sinks")]
    Trail(#[source] TrailError),
    /// The keys of tokens can't be used.
    #[error("cannot use the keys of tokens; look at delegation.keys.directory")]
    Keys(#[source] KeysError),
    /// A socket can't be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener names no entry of `tls`.
    #[error("a listener names `{0}`, which is no entry of tls; add it there")]
    NoCredential(String),
    /// The health socket can't be bound.
    #[error("cannot listen for probes on {address}; choose another listen.health.tcp")]
    BindHealth {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a serving process ended in failure.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A deciding thread ended before it was asked to.
    #[error("a worker ended unexpectedly; the process must be started again")]
    Worker(#[source] std::io::Error),
    /// The audit trail could not be drained.
    #[error("audit records were lost at the stop; the log says which sink failed")]
    Audit(#[source] AuditError),
    /// The audit trail could not be drained in time.
    #[error(
        "audit records were lost at the stop: the first of audit.sinks did not take them in time"
    )]
    AuditTimeout,
}

impl StartError {
    /// 2 for what a person must correct in the configuration, 1 for what the host refuses.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Policy(_) | Self::NoCredential(_) => 2,
            Self::Audit(_)
            | Self::AuditTimeout(_)
            | Self::State(_)
            | Self::Trail(_)
            | Self::Keys(_)
            | Self::Bind(_)
            | Self::BindHealth { .. } => 1,
        }
    }
}

/// Proves what can be proven of a configuration's policy without asking anybody.
pub fn prove_policy(config: &Config) -> Result<Proof, StartError> {
    let Fixed { policy, base, .. } = &config.fixed;
    policy.prove(base).map_err(StartError::Policy)
}

/// An authority that decides as a server with this configuration would, and keeps its records to itself. An OPA is asked.
pub fn rehearsal_authority(config: Config, clock: Arc<dyn Clock>) -> Result<Authority, StartError> {
    let mut registry = Registry::default();
    // From files alone: nobody waits here for what a Workload API may send.
    let credentials = read_certificates(&config.fixed, &config.rules, &clock, &mut registry);
    let source = open_policy(&config.fixed, &credentials, &mut registry)?;
    let judge = judge(source, &config.fixed, &mut registry);
    let (_memory, auditor, _witness) =
        audit::Memory::auditor(Arc::clone(&clock)).map_err(StartError::Audit)?;
    Ok(Authority::new(
        Arc::new(config.rules),
        judge.engine(),
        auditor.with(config.fixed.audit.mode),
        clock,
        Metrics::new(&mut registry),
    ))
}

impl App {
    /// Proves the policy, opens the witness and binds every socket. `file` is what to watch for changes.
    pub async fn build(
        config: Config,
        file: Option<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let Config {
            fixed,
            rules,
            warnings,
        } = config;
        for warning in warnings {
            tracing::warn!(%warning, "questionable configuration");
        }
        let mut registry = Registry::default();
        register_build_info(&mut registry, fixed.mode);
        telemetry::register(&mut registry);
        let readiness = Readiness::new();
        let notices = Notices::default();

        let mut credentials = read_certificates(&fixed, &rules, &clock, &mut registry);
        let source = open_policy(&fixed, &credentials, &mut registry)?;
        let mut rng: StdRng = rand::make_rng();
        let origin = Origin {
            tenant: fixed.tenant.as_str().into(),
            writer: writer_id(&*clock, &mut rng).into(),
        };
        let (auditor, witness) = fixed
            .audit
            .clone()
            .build(&fixed.base, origin, Arc::clone(&clock), rng, &mut registry)
            .map_err(StartError::Audit)?;
        witness::prove(&auditor).await?;
        let trail = fixed.audit.trail(&fixed.base).transpose();
        let trail = trail.map_err(StartError::Trail)?.map(Arc::from);
        let judge = judge(source, &fixed, &mut registry);
        judge.report_to(circuit_witness(auditor.clone(), notices.clone()));
        let metrics = Metrics::new(&mut registry);
        let store = sessions::open(&fixed, &clock)?;
        // Whoever can't issue tokens looks at none either.
        let keyring = if store.is_some() && rules.delegation.limits.issuer.is_some() {
            Some(keys::open(&fixed, &*clock, &auditor).await?)
        } else {
            tracing::info!("nothing can be handed on: that needs delegation.issuer and state");
            None
        };
        let tokens = tokens(store.as_ref(), keyring.as_ref());
        let authority = Authority::new(
            Arc::new(rules),
            judge.engine(),
            auditor.clone(),
            Arc::clone(&clock),
            metrics,
        );
        let authority = Arc::new(authority.with_tokens(tokens));
        let sessions = store.as_ref().map(|store| {
            let rng = rand::make_rng();
            Arc::new(Sessions::new(
                Arc::clone(&authority),
                Arc::clone(store),
                rng,
            ))
        });
        let mandates = mandates(&authority, sessions.as_ref(), store, keyring.as_ref());
        let renewals = credentials.renewals();
        let credentials = Arc::new(credentials);
        let reloader = Reloader::new(
            file,
            fixed.clone(),
            Rooms {
                authority: Arc::clone(&authority),
                judge: judge.clone(),
                credentials: Arc::clone(&credentials),
            },
            auditor,
            notices.clone(),
            &mut registry,
        );
        announce(&fixed, &authority, &judge, &notices);

        let doors = Doors::bind(&fixed.listen, &credentials)?;
        let address = fixed.listen.health.tcp;
        let health = TcpListener::bind(address)
            .await
            .map_err(|source| StartError::BindHealth { address, source })?;
        Ok(Self {
            authority,
            sessions,
            mandates,
            keyring,
            clock,
            fixed,
            doors,
            health,
            reloader,
            judge,
            credentials,
            renewals,
            witness,
            trail,
            registry: Arc::new(Mutex::new(registry)),
            readiness,
            notices,
        })
    }

    /// What hands authority on and takes it back, for code in this process; `None` where nothing can be handed on.
    pub fn mandates(&self) -> Option<&Arc<Mandates>> {
        self.mandates.as_ref()
    }

    /// The sockets for proxies, with real port numbers.
    pub fn ext_authz_addresses(&self) -> impl Iterator<Item = &Address> {
        self.doors.ext_authz.iter().map(Bound::address)
    }

    /// The socket for workloads, with its real port number.
    pub fn mesh_address(&self) -> Option<&Address> {
        self.doors.mesh.as_ref().map(Bound::address)
    }

    /// The socket for people, with its real port number.
    pub fn http_address(&self) -> Option<&Address> {
        self.doors.http.as_ref().map(Bound::address)
    }

    /// The socket for probes, with its real port number.
    pub fn health_address(&self) -> std::io::Result<SocketAddr> {
        self.health.local_addr()
    }

    /// Serves until `shutdown`, then stops in order.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), RunError> {
        let Self {
            fixed,
            authority,
            sessions,
            mandates,
            keyring,
            clock,
            doors,
            health,
            reloader,
            judge,
            credentials,
            renewals,
            witness,
            trail,
            registry,
            readiness,
            notices,
        } = self;
        let listeners = readiness.hold("listeners");
        let tasks = TaskTracker::new();
        let stopped = CancellationToken::new();
        let (grpc_health, follow) = health_routes(readiness.clone(), shutdown.clone()).await;
        tasks.spawn(follow);
        let probes = Health {
            readiness: readiness.clone(),
            registry,
            shutdown: shutdown.clone(),
            notices: notices.clone(),
        };
        let probes_end = stopped.clone().cancelled_owned();
        let reading = Reading::new(
            Arc::clone(&authority),
            witness.auditor(),
            trail,
            &fixed.limits,
            shutdown.clone(),
        );
        let services = Services::new(
            Arc::clone(&authority),
            fixed.limits.clone(),
            reading.clone(),
            grpc_health.clone(),
        )
        .with_sessions(sessions.clone())
        .with_mandates(mandates.clone());
        tasks.spawn(serve_health(health, probes, grpc_health, probes_end));
        tasks.spawn(reloader.run(shutdown.clone()));
        for renewal in renewals {
            tasks.spawn(until_draining(renewal.run(), shutdown.clone()));
        }
        let certificates =
            certificates::Watch::new(credentials, readiness.clone(), notices.clone());
        tasks.spawn(certificates.run(shutdown.clone()));
        if let Source::Opa(breaker) = judge.source() {
            let watch = judge::Watch::new(
                Arc::clone(breaker),
                witness.auditor(),
                readiness.clone(),
                notices.clone(),
            );
            tasks.spawn(watch.run(shutdown.clone()));
        }
        tasks.spawn(witness::follow(
            witness.auditor(),
            readiness.clone(),
            notices.clone(),
            shutdown.clone(),
        ));

        if let Some(sessions) = sessions.clone() {
            tasks.spawn(sessions::sweep(sessions, notices.clone(), shutdown.clone()));
        }

        if let Some(keyring) = keyring {
            let rotating = keys::rotate(keyring, clock, witness.auditor(), notices.clone());
            tasks.spawn(until_draining(rotating, shutdown.clone()));
        }

        let behind = Behind {
            authority,
            sessions,
            mandates,
            services,
            reading,
            limits: fixed.limits,
            shutdown: shutdown.clone(),
        };
        let (workers, files) = doors.open(&behind).map_err(RunError::Worker)?;
        drop(listeners);

        let ended = ended(workers, &shutdown).await;
        let drained = witness::drain(witness, &shutdown).await;
        stopped.cancel();
        tasks.close();
        // Probes may hold connections open; nobody's decision depends on them.
        let _unfinished = tokio::time::timeout(PROBE_GRACE, tasks.wait()).await;
        let _unclosed = tokio::time::timeout(PROBE_GRACE, judge.close()).await;
        files.into_iter().for_each(SocketFile::remove);
        ended.map_err(RunError::Worker)?;
        drained?;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn until_draining(task: impl Future<Output = ()>, shutdown: Shutdown) {
    tokio::select! {
        () = task => {}
        () = shutdown.draining() => {}
    }
}

/// Waits for every thread; one that ends early takes the others with it.
async fn ended(workers: Vec<worker::End>, shutdown: &Shutdown) -> std::io::Result<()> {
    let mut first_failure = Ok(());
    let mut ends: futures::stream::FuturesUnordered<_> = workers.into_iter().collect();
    while let Some(end) = futures::StreamExt::next(&mut ends).await {
        let result = end.unwrap_or_else(|_panicked| Err(std::io::Error::other("it panicked")));
        if !shutdown.is_draining() {
            shutdown.drain();
            let early = result.and(Err(std::io::Error::other("it stopped serving")));
            first_failure = first_failure.and(early);
        } else if result.is_err() {
            first_failure = first_failure.and(result);
        }
    }
    first_failure
}

/// Says at start what an operator must not overlook.
fn announce(fixed: &Fixed, authority: &Authority, judge: &Judge, notices: &Notices) {
    if fixed.mode == Mode::Development {
        let text = "development mode: not for production";
        tracing::warn!("{text}");
        notices.set("mode", text);
    }
    if !fixed.policy.default_deny {
        let text = "policy.default_deny is false: what policy can't be asked about is allowed";
        tracing::warn!("{text}");
        notices.set("policy fallback", text);
    }
    reload::notice_rules(&authority.rules(), notices);
    match judge.source() {
        Source::Embedded(engine) => reload::notice_program(&engine.program(), notices),
        Source::Opa(breaker) => {
            let endpoint = breaker.engine().settings().endpoint;
            tracing::info!(%endpoint, "policy is asked of OPA");
        }
    }
}

/// This process among all that ever wrote audit records: host name and a number that sorts by start.
fn writer_id(clock: &dyn Clock, rng: &mut StdRng) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "unknown",
        host => host,
    };
    let start = ulid::Ulid::from_parts(clock.now().unix_millis(), rng.random());
    format!("{host}/{start}")
}

/// An engine with what stands around it.
fn judge(source: Source, fixed: &Fixed, registry: &mut Registry) -> Judge {
    Judge::new(source, &fixed.policy, rand::make_rng(), registry)
}

/// The engine, proven as far as that goes before anything else is opened.
fn open_policy(
    fixed: &Fixed,
    credentials: &Credentials,
    registry: &mut Registry,
) -> Result<Source, StartError> {
    let policy = fixed.policy.clone();
    let tls = match policy.engine {
        EngineKind::Embedded => None,
        EngineKind::Opa => certificates::secured(&policy.opa, credentials)
            .map_err(|error| StartError::Policy(vec![error]))?,
    };
    let source = policy.open(fixed.base.clone(), tls, registry);
    source.map_err(StartError::Policy)
}

/// Our certificates: those in files as they are, those of a Workload API once it is asked.
fn read_certificates(
    fixed: &Fixed,
    rules: &Rules,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Credentials {
    fixed.tls.clone().build(
        &fixed.base,
        &fixed.trust_domain,
        rules.peps.trust_domains.clone(),
        clock,
        registry,
    )
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    mode: &'static str,
}

fn register_build_info(registry: &mut Registry, mode: Mode) {
    let info = Family::<BuildLabels, Gauge>::default();
    let labels = BuildLabels {
        version: env!("CARGO_PKG_VERSION"),
        mode: mode.as_str(),
    };
    info.get_or_create(&labels).set(1);
    registry.register(
        "attache_build_info",
        "Version and mode of the running process, always 1",
        info,
    );
}

/// What hands authority on, where there is all that it takes.
fn mandates(
    authority: &Arc<Authority>,
    sessions: Option<&Arc<Sessions>>,
    store: Option<Arc<dyn StateStore>>,
    keyring: Option<&Arc<Keyring>>,
) -> Option<Arc<Mandates>> {
    let (sessions, store, keyring) = (sessions?, store?, keyring?);
    let (authority, sessions) = (Arc::clone(authority), Arc::clone(sessions));
    let (keyring, rng) = (Arc::clone(keyring), rand::make_rng());
    let mandates = Mandates::new(authority, sessions, store, keyring, rng);
    Some(Arc::new(mandates))
}

/// What tokens are looked at with, where there is all that it takes.
fn tokens(store: Option<&Arc<dyn StateStore>>, keyring: Option<&Arc<Keyring>>) -> Option<Tokens> {
    let (store, keyring) = store.zip(keyring)?;
    let verifier = Verifier::new(Arc::clone(keyring), REMEMBERED_TOKENS);
    Some(Tokens::new(verifier, Arc::clone(store)))
}

fn lines(errors: &[LoadError]) -> String {
    let lines: Vec<_> = errors
        .iter()
        .map(|error| crate::text::sentence(error))
        .collect();
    lines.join("\nerror: ")
}

/// Bytes of tokens whose signature is remembered: some 2000 of them.
const REMEMBERED_TOKENS: u64 = 4 * 1024 * 1024;
const PROBE_GRACE: Duration = Duration::from_secs(1);
