//! Kills attache with SIGKILL, again and again, and holds its trail to what it had told: every decision that was answered in
//! `audit.mode: strict` stands in the trail with the same result, the chain is unbroken, and each start names what the
//! run before left undone. The rules it holds to are those of docs/audit.md; it shares no code with attache but the
//! reading of a database.
//!
//! `make kill ROUNDS=n`. The last line is `rounds=… answers=… lost=… other=… wrong_gaps=… verified=…`; exit code 1 if
//! anything was wrong.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a test program fails by panicking, and is there to print"
)]

mod flat;
mod load;
mod process;
mod runs;
mod trail;

use std::collections::BTreeMap;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use self::load::{Answer, Load};
use self::process::{House, Running, Step};
use self::trail::Found;

/// Kills attache under load and looks for what it had answered.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Where records go.
    #[arg(long, value_enum, default_value_t = Kept::Sqlite)]
    sink: Kept,
    /// The attache to run; the one that was built beside this program unless given.
    #[arg(long)]
    attache: Option<PathBuf>,
    /// Let attache answer before its records are durable, and end with exit code 0 only where the run finds it out.
    #[arg(long)]
    lie: bool,
    /// An strace, which lets attache die at a given call of the kernel as well: at a write, a sync, a rename.
    #[arg(long)]
    strace: Option<PathBuf>,
    /// Kill nothing: ask for so many seconds, and look whether file handles and memory stay where they are.
    #[arg(long, value_name = "SECONDS")]
    flat: Option<u64>,
    /// What questions and moments are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The first sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kept {
    Sqlite,
    Jsonl,
}

/// When the kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// While questions are asked.
    Load,
    /// Right after a checkpoint was signed.
    Checkpoint,
    /// Right after the file was renamed. A database stays where it is.
    Rotation,
    /// After the start, before anything was asked.
    Start,
    /// After SIGTERM.
    Close,
    /// At one of its calls of the kernel.
    Step,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let attache = arguments.attache.clone().unwrap_or_else(beside);
    let folder = tempfile::tempdir().unwrap();
    let house = House::lay_out(&arguments, &attache, folder.path());
    if let Some(seconds) = arguments.flat {
        return flat::run(&house, seconds).await;
    }
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let mut answers = Vec::new();
    let mut kills = BTreeMap::<Moment, u32>::new();
    for round in 0..arguments.rounds {
        let moment = moment(round, &arguments, &mut rng);
        *kills.entry(moment).or_default() += 1;
        answers.extend(kill(&house, round, moment, &mut rng).await);
    }
    answers.extend(stop(&house, arguments.rounds, &mut rng).await);

    let lines = trail::read(folder.path(), arguments.sink);
    let verified = match arguments.sink {
        Kept::Sqlite => trail::database_is_whole(&folder.path().join(DATABASE)),
        Kept::Jsonl => process::verify(&attache, &trail::files(folder.path())).await,
    };
    let found = trail::compare(&answers, &lines);
    let wrong = runs::judge(&lines);
    // What a lie costs is what was asked for.
    let shown = if arguments.lie { 0 } else { SHOWN };
    for story in wrong.iter().chain(&found.stories).take(shown) {
        println!("wrong: {story}");
    }
    println!(
        "seed={} sink={:?} kills: {kills:?}",
        arguments.seed, arguments.sink
    );
    println!(
        "rounds={} answers={} records={} lost={} other={} wrong_gaps={} verified={verified}",
        arguments.rounds,
        answers.len(),
        lines.len(),
        found.lost,
        found.other,
        wrong.len(),
    );
    if is_fine(&arguments, &answers, &found, wrong.is_empty() && verified) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A run that told nothing, or all the same, would prove nothing; nor would one that can't find a loss.
fn is_fine(arguments: &Arguments, answers: &[Answer], found: &Found, whole: bool) -> bool {
    let allowed = answers.iter().filter(|it| it.reason.is_none()).count();
    let all = answers.len();
    let enough = all > 10 * arguments.rounds as usize && allowed > 0 && allowed < all;
    whole && enough && found.other == 0 && arguments.lie == (found.lost > 0)
}

/// Each moment in turn, then any of them.
fn moment(round: u32, arguments: &Arguments, rng: &mut StdRng) -> Moment {
    let mut all = vec![
        Moment::Load,
        Moment::Checkpoint,
        Moment::Start,
        Moment::Close,
    ];
    all.extend((arguments.sink == Kept::Jsonl).then_some(Moment::Rotation));
    // Where the strace is, more often: no other kill is as exact.
    let exact = usize::from(arguments.strace.is_some()) * all.len();
    all.extend(iter::repeat_n(Moment::Step, exact));
    let turn = all.get(round as usize).copied();
    turn.unwrap_or_else(|| *all.choose(rng).unwrap())
}

/// What a trail is written with.
fn step(sink: Kept, rng: &mut StdRng) -> Step {
    let calls: &[(&str, u32)] = match sink {
        Kept::Sqlite => &[("fsync,fdatasync", 60), ("pwrite64", 400), ("rename", 2)],
        Kept::Jsonl => &[("fdatasync", 60), ("write", 120), ("rename", 2)],
    };
    let (call, most) = *calls.choose(rng).unwrap();
    let when = rng.random_range(1..=most);
    Step { call, when }
}

/// One life and its end. Gives what was answered.
async fn kill(house: &House, round: u32, moment: Moment, rng: &mut StdRng) -> Vec<Answer> {
    let step = (moment == Moment::Step).then(|| step(house.kept(), rng));
    let mut running = house.spawn(round, step);
    if moment == Moment::Start {
        sleep(up_to(rng, Duration::from_millis(400))).await;
        running.kill().await;
        return Vec::new();
    }
    if !running.is_up().await {
        assert_eq!(moment, Moment::Step, "killed by somebody else");
        return Vec::new();
    }
    let mut load = Load::start(running.socket(), rng.random()).await;
    // At least as long as it takes until something was answered.
    load.answered(20).await;
    if let Some(step) = step {
        assert!(running.dies().await, "{step:?} never came");
    } else {
        sleep(up_to(rng, Duration::from_millis(300))).await;
        aim(house, &running, moment, rng).await;
    }
    running.kill().await;
    load.finish().await
}

/// Waits for, or brings about, what the kill is to come in the middle of.
async fn aim(house: &House, running: &Running, moment: Moment, rng: &mut StdRng) {
    match moment {
        Moment::Load | Moment::Start | Moment::Step => {}
        Moment::Checkpoint => running.checkpoint().await,
        Moment::Rotation => house.rotate(),
        Moment::Close => running.terminate().await,
    }
    if moment != Moment::Load {
        sleep(up_to(rng, Duration::from_millis(8))).await;
    }
}

/// The last life, which ends in order.
async fn stop(house: &House, round: u32, rng: &mut StdRng) -> Vec<Answer> {
    let mut running = house.spawn(round, None);
    assert!(running.is_up().await, "killed by somebody else");
    let mut load = Load::start(running.socket(), rng.random()).await;
    load.answered(20).await;
    let answers = load.finish().await;
    running.stop().await;
    answers
}

fn up_to(rng: &mut StdRng, most: Duration) -> Duration {
    most.mul_f64(rng.random())
}

fn beside() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let examples = program.parent().unwrap();
    examples.with_file_name("attache")
}

/// The file that `kept` names.
pub(crate) const fn file_of(kept: Kept) -> &'static str {
    match kept {
        Kept::Sqlite => DATABASE,
        Kept::Jsonl => LINES,
    }
}

/// The path of `name` in `folder`, as the configuration writes it.
pub(crate) fn named(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

const DATABASE: &str = "audit.db";
const LINES: &str = "audit.jsonl";
const SHOWN: usize = 20;
