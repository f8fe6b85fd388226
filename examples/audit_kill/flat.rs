//! Whether file handles and memory of attache stay where they are under load, while its file is renamed every second.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::Kept;
use crate::load::Load;
use crate::process::{House, Running};

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy)]
struct Sample {
    handles: u64,
    kib: u64,
}

/// Asks for `seconds` and compares the first third after a fifth for warming up with the last.
pub(crate) async fn run(house: &House, seconds: u64) -> ExitCode {
    let mut running = house.spawn(0, None);
    assert!(running.is_up().await, "killed by somebody else");
    let load = Load::start(running.socket(), 1).await;
    let mut samples = Vec::new();
    let begun = Instant::now();
    let mut second = interval(Duration::from_secs(1));
    while begun.elapsed() < Duration::from_secs(seconds) {
        second.tick().await;
        if house.kept() == Kept::Jsonl {
            house.rotate();
        }
        samples.push(sample(&running));
    }
    let answers = load.finish().await.len();
    running.stop().await;

    let warm = samples.split_off(samples.len() / 5);
    let third = warm.len() / 3;
    let (first, last) = (&warm[..third], &warm[warm.len() - third..]);
    let handles = [first, last].map(|part| median(part, |it| it.handles));
    let kib = [first, last].map(|part| median(part, |it| it.kib));
    println!(
        "seconds={seconds} answers={answers} handles_first={} handles_last={} kib_first={} kib_last={}",
        handles[0], handles[1], kib[0], kib[1]
    );
    let flat = handles[1] <= handles[0] + HANDLES && kib[1] <= kib[0] + KIB;
    if flat && answers > 100 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn sample(running: &Running) -> Sample {
    let folder = format!("/proc/{}", running.id());
    let handles = fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64;
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = resident.unwrap().split_whitespace().next();
    Sample {
        handles,
        kib: words.unwrap().parse().unwrap(),
    }
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<_> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Reading the file for the note, or a file that is just replaced.
const HANDLES: u64 = 2;
const KIB: u64 = 8 << 10;
