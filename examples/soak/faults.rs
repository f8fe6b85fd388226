//! What goes wrong, each in turn and then at random, with the policy changing in between.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::line::{Fault, INSTEAD, LIE, Line};
use crate::processes::Opa;

/// Something that goes wrong, or a time in which nothing does.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Calm,
    Changes,
    Line(&'static str, Fault),
    Killed,
    Emptied,
    Stopped,
}

/// Makes things go wrong until the end, and then OPA goes. Says how often it did what.
pub(crate) async fn run(
    mut opa: Opa,
    line: Line,
    forge: bool,
    seed: u64,
    end: CancellationToken,
) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let troubles = if forge {
        vec![Trouble::Line("lie", LIE)]
    } else {
        troubles()
    };
    let mut done = BTreeMap::<&str, usize>::new();
    let mut turn = 0;
    while !end.is_cancelled() {
        let at = if turn < troubles.len() {
            turn
        } else {
            rng.random_range(0..troubles.len())
        };
        turn += 1;
        let trouble = troubles[at];
        *done.entry(trouble.name()).or_default() += 1;
        let time = Duration::from_millis(rng.random_range(300..900));
        make(trouble, &mut opa, &line, time).await;
    }
    let words: Vec<_> = done
        .iter()
        .map(|(name, times)| format!("{name}={times}"))
        .collect();
    words.join(" ")
}

async fn make(trouble: Trouble, opa: &mut Opa, line: &Line, time: Duration) {
    match trouble {
        Trouble::Calm => sleep(time).await,
        Trouble::Changes => {
            for _ in 0..5 {
                opa.change().await;
                sleep(time / 5).await;
            }
        }
        Trouble::Line(_, fault) => {
            line.set(fault);
            sleep(time / 2).await;
            // What was asked before is answered by the version after, or not at all.
            opa.change().await;
            sleep(time / 2).await;
            line.set(Fault::None);
        }
        Trouble::Killed => opa.restart(false).await,
        Trouble::Emptied => {
            opa.restart(true).await;
            sleep(time).await;
            opa.change().await;
        }
        Trouble::Stopped => {
            opa.signal("STOP").await;
            sleep(time).await;
            opa.signal("CONT").await;
            opa.change().await;
        }
    }
}

/// Everything once, with calm between.
fn troubles() -> Vec<Trouble> {
    let mut all = vec![
        Trouble::Calm,
        Trouble::Changes,
        Trouble::Killed,
        Trouble::Calm,
        Trouble::Stopped,
        Trouble::Emptied,
        Trouble::Line("refused", Fault::Refuse),
        Trouble::Line("cut", Fault::Cut(0)),
        Trouble::Line("cut", Fault::Cut(60)),
        Trouble::Line("slow", Fault::Slow),
        Trouble::Calm,
        Trouble::Line("late", Fault::Late),
        Trouble::Line("silent", Fault::Silence),
    ];
    all.extend(INSTEAD.map(|fault| Trouble::Line("forged", fault)));
    all.push(Trouble::Calm);
    all
}

impl Trouble {
    const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Changes => "changes",
            Self::Line(name, _) => name,
            Self::Killed => "killed",
            Self::Emptied => "emptied",
            Self::Stopped => "stopped",
        }
    }
}
