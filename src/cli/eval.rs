//! `attache eval`: decides one request here, by the same code as the server, and shows every step.

use std::io::Read as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::app::rehearsal_authority;
use crate::authority::{Decision, Findings, Outcome, Rules, Step};
use crate::clock::{SystemClock, Timestamp};
use crate::config::Listen;
use crate::grpc::{Rehearsal, RequestFlags};
use crate::identity::{MeshPeer, Peer, SpiffePattern, Svid};
use crate::permission::{Reason, Tier};
use crate::socket::Address;

use super::{BAD_CONFIG, ConfigSource, complain};

/// Decide one request here and show every step
#[derive(Debug, Args)]
#[command(after_help = "\
Describe the request with flags, or pass `-` to read a CheckRequest in protobuf JSON from standard input:

  attache eval --dev --caller spiffe://example.org/svc/reporting --path /documents/42
  attache eval --config attache.yaml --json - < check-request.json

The first of listen.ext_authz is taken for the listener that was asked. No server is asked, but OPA where it is the
judge, and no audit record is written.

Exit code: 0 allowed, 3 denied, 2 wrong use or configuration.")]
pub(super) struct Eval {
    #[command(flatten)]
    source: ConfigSource,
    /// `-` reads a CheckRequest in protobuf JSON from standard input
    #[arg(
        value_name = "-",
        value_parser = ["-"],
        conflicts_with_all = ["caller", "destination", "method", "host", "path", "headers", "extensions", "body"]
    )]
    stdin: Option<String>,
    /// The caller's SPIFFE ID, as the proxy's `source.principal`; without it nobody calls
    #[arg(long, value_name = "SPIFFE_ID")]
    caller: Option<String>,
    /// The SPIFFE ID of the service that the request is for
    #[arg(long, value_name = "SPIFFE_ID")]
    destination: Option<String>,
    /// HTTP method
    #[arg(long, default_value = "GET")]
    method: String,
    /// Host of the request
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Path and query
    #[arg(long, required_unless_present = "stdin")]
    path: Option<String>,
    /// Request header, may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Context extension as the proxy's route settings send it, may be repeated
    #[arg(long = "extension", value_name = "NAME=VALUE", value_parser = extension)]
    extensions: Vec<(String, String)>,
    /// Request body
    #[arg(long)]
    body: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn header(text: &str) -> Result<(String, String), String> {
    text.split_once(':')
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .ok_or_else(|| "write it as `name: value`".to_owned())
}

fn extension(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as name=value".to_owned())
}

impl Eval {
    pub(super) fn run(self) -> ExitCode {
        self.decide().unwrap_or_else(|code| code)
    }

    fn decide(self) -> Result<ExitCode, ExitCode> {
        let config = self.source.read_or_complain()?;
        let json = self.json;
        let peer = peer(&config.fixed.listen, &config.rules);
        let time_limit = config.fixed.limits.request_timeout;
        let rehearsal = self.rehearsal().map_err(|error| refuse(&*error))?;
        let runtime = super::small_runtime()?;
        let (decision, findings) = runtime.block_on(async {
            let authority = rehearsal_authority(config, Arc::new(SystemClock))
                .map_err(|error| refuse(&error))?;
            Ok::<_, ExitCode>(rehearsal.decide(&authority, peer, time_limit).await)
        })?;
        let report = Report::new(&decision, &findings);
        report.print(json);
        Ok(match decision.outcome {
            Outcome::Allow(_) => ExitCode::SUCCESS,
            Outcome::Deny(_) => ExitCode::from(DENIED),
        })
    }

    fn rehearsal(self) -> Result<Rehearsal, Box<dyn std::error::Error>> {
        if self.stdin.is_some() {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            return Ok(Rehearsal::from_json(&text)?);
        }
        Ok(RequestFlags {
            caller: self.caller,
            destination: self.destination,
            method: self.method,
            host: self.host,
            path: self.path.unwrap_or_default(),
            headers: self.headers,
            extensions: self.extensions,
            body: self.body,
        }
        .into())
    }
}

fn refuse(error: &dyn std::error::Error) -> ExitCode {
    complain(error);
    ExitCode::from(BAD_CONFIG)
}

/// The proxy that would ask over the first listener.
fn peer(listen: &Listen, rules: &Rules) -> Peer {
    let Some(listener) = listen.ext_authz.first() else {
        return Peer::Unix { uid: None };
    };
    match &listener.address {
        Address::Tcp(address) if listener.tls.is_some() => rules
            .peps
            .peps
            .first()
            .and_then(mesh_peer)
            .unwrap_or(Peer::Tcp(*address)),
        Address::Tcp(address) => Peer::Tcp(*address),
        Address::Unix { .. } => Peer::Unix {
            uid: rules.peps.trust_uids.first().copied(),
        },
    }
}

/// One of the proxies that a pattern stands for, with a certificate that is always valid.
fn mesh_peer(pattern: &SpiffePattern) -> Option<Peer> {
    let svid = Svid {
        id: pattern.to_string().replace('*', "x").parse().ok()?,
        not_before: Timestamp::from_unix_seconds(0),
        not_after: Timestamp::from_unix_seconds(u64::MAX),
        serial: String::new(),
        fingerprint: String::new(),
    };
    Some(Peer::Mesh(MeshPeer {
        svid: Arc::new(svid),
        vouched: true,
    }))
}

/// What the command shows.
#[derive(Debug, Serialize)]
struct Report {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<Tier>,
    mode: &'static str,
    steps: Vec<Step>,
}

impl Report {
    fn new(decision: &Decision, findings: &Findings) -> Self {
        let denial = match &decision.outcome {
            Outcome::Allow(_) => None,
            Outcome::Deny(denial) => Some(denial),
        };
        Self {
            decision: if denial.is_some() { "deny" } else { "allow" },
            reason: denial.map(|it| it.reason),
            detail: denial.and_then(|it| it.detail.clone()),
            tier: decision.tier,
            mode: decision.mode.as_str(),
            steps: findings.steps(),
        }
    }

    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    fn print(&self, json: bool) {
        if json {
            // Made of words only: it always has a JSON form.
            println!("{}", serde_json::to_string(self).unwrap_or_default());
            return;
        }
        for Step { step, found } in &self.steps {
            println!("{step:<11} {found}");
        }
        match self.reason {
            None => println!("{:<11} {}", "decision", self.decision),
            Some(reason) => println!("{:<11} {}: {reason}", "decision", self.decision),
        }
        if let Some(detail) = &self.detail {
            println!("{:<11} {detail}", "");
        }
        if self.mode == "shadow" {
            println!(
                "{:<11} the route is in shadow mode: the request would pass",
                ""
            );
        }
    }
}

/// The exit code for a denied request.
const DENIED: u8 = 3;
