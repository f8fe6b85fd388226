//! The soak: the real attache under mixed load, with a real OPA behind a line that fails in every way we know, and a policy
//! that changes all the while. Every answer is compared with an oracle that is written from the docs and shares no code with
//! attache; at the end every answer is looked up in the audit trail.
//!
//! `make soak MINUTES=n`. The last line is `answers=… wrong_allows=… lost_audit=…`; exit code 1 if anything was wrong, also
//! what the lines above it count.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test program fails by panicking, and is there to print"
)]

mod faults;
mod line;
mod load;
mod oracle;
mod processes;
mod timeline;
mod trail;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use self::line::Line;
use self::load::Tally;
use self::processes::{Attache, Opa};
use self::timeline::Timeline;

/// Runs attache and OPA under load and faults, and judges every answer.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// The OPA to run.
    #[arg(long, env = "OPA_BIN")]
    opa: PathBuf,
    /// The attache to run; the one that was built beside this program unless given.
    #[arg(long)]
    attache: Option<PathBuf>,
    /// Let the line say yes in OPA's place, and end with exit code 0 only where the run finds it out.
    #[arg(long)]
    lie: bool,
    /// What load and faults are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let attache = arguments.attache.unwrap_or_else(beside);
    let folder = tempfile::tempdir().unwrap();
    let timeline = Arc::new(Timeline::default());
    let opa = Opa::start(&arguments.opa, folder.path(), Arc::clone(&timeline)).await;
    let line = Line::start(opa.address()).await;
    let sidecar = Attache::start(&attache, folder.path(), line.address()).await;

    let end = CancellationToken::new();
    let load = load::start(&sidecar, &timeline, arguments.seed, &end).await;
    let faults = faults::run(opa, line, arguments.lie, arguments.seed, end.clone());
    let faults = tokio::spawn(faults);
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    end.cancel();
    let done = faults.await.unwrap();
    let tally = load::finish(load).await;

    let audit = sidecar.stop().await;
    let verified = processes::verify(&attache, &audit).await;
    let found = trail::compare(&tally.answers, &audit);
    println!("seed={} faults: {done}", arguments.seed);
    println!("answered: {}", tally.words());
    println!(
        "wrong_denials={} given_up={} unanswered={} other_record={} declared_gaps={} repeated={} verified={verified}",
        tally.wrong_denials.len(),
        tally.given_up,
        tally.unanswered,
        found.other,
        found.gaps,
        found.repeated,
    );
    for story in tally
        .wrong_allows
        .iter()
        .chain(&tally.wrong_denials)
        .take(SHOWN)
    {
        println!("wrong: {story}");
    }
    println!(
        "answers={} wrong_allows={} lost_audit={}",
        tally.answers.len(),
        tally.wrong_allows.len(),
        found.lost
    );
    let fine = if arguments.lie {
        !tally.wrong_allows.is_empty()
    } else {
        is_fine(&tally, &found, verified)
    };
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A run that allowed nothing, or denied nothing, would prove nothing.
fn is_fine(tally: &Tally, found: &trail::Found, verified: bool) -> bool {
    let wrong = tally.wrong_allows.len() + tally.wrong_denials.len() + tally.unanswered;
    let lost = found.lost + found.other;
    wrong + lost == 0 && verified && tally.allowed() > 0 && tally.allowed() < tally.answers.len()
}

fn beside() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let examples = program.parent().unwrap();
    examples.with_file_name("attache")
}

const SHOWN: usize = 20;
