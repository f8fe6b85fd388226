//! The same certificates and SPIFFE IDs before our gate and before other judges. Every disagreement is a row of a table
//! here, the same table stands in `docs/identity.md`, and a row nobody needs fails as an unexplained disagreement does.
//!
//! No judge looks at everything, so a certificate that breaks several rules may be refused for different ones. A row is
//! therefore tied to the first rule our gate names, and holds in full for certificates that depart in one way only.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod certificates;
mod documented;
mod ids;
mod judges;
mod made;
mod openssl;

use std::fmt::Debug;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
}

/// One way in which `JUDGES` judges disagree; ours is the first of them.
struct Row<const JUDGES: usize> {
    title: &'static str,
    /// What our gate says: one of these rules is broken.
    rules: &'static [&'static str],
    /// The departures this is about: one of them is in the input. None named: any input.
    departures: &'static [&'static str],
    verdicts: [Verdict; JUDGES],
    /// The line of the standard, and why we do what we do.
    decides: &'static str,
}

/// An input and what was made of it. A judge who was not asked has no verdict.
struct Case<const JUDGES: usize> {
    input: String,
    departures: Vec<&'static str>,
    rule: &'static str,
    verdicts: [Option<Verdict>; JUDGES],
}

impl Verdict {
    fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Accepted,
            Err(_) => Self::Refused,
        }
    }

    const fn shown(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

impl<const JUDGES: usize> Row<JUDGES> {
    fn is_about(&self, case: &Case<JUDGES>) -> bool {
        let mut departures = self.departures.iter();
        self.rules.contains(&case.rule)
            && (self.departures.is_empty() || departures.any(|it| case.departures.contains(it)))
    }

    fn explains(&self, case: &Case<JUDGES>, judge: usize) -> bool {
        self.is_about(case)
            && Some(self.verdicts[0]) == case.verdicts[0]
            && Some(self.verdicts[judge]) == case.verdicts[judge]
    }

    /// Whether every judge that was asked says what the row says.
    fn is_shown_by(&self, case: &Case<JUDGES>) -> bool {
        let mut verdicts = self.verdicts.iter().zip(&case.verdicts);
        self.is_about(case) && verdicts.all(|(said, heard)| heard.is_none_or(|it| it == *said))
    }
}

impl<const JUDGES: usize> Case<JUDGES> {
    /// The judges who disagree with ours.
    fn dissenters(&self) -> impl Iterator<Item = usize> {
        (1..JUDGES).filter(|judge| {
            self.verdicts[*judge].is_some_and(|verdict| Some(verdict) != self.verdicts[0])
        })
    }
}

/// What is wrong with the table, given these cases.
fn faults<const JUDGES: usize>(table: &[Row<JUDGES>], cases: &[Case<JUDGES>]) -> Vec<String> {
    let mut faults = Vec::new();
    for case in cases {
        let said = (case.rule, case.verdicts.map(|it| it.map(Verdict::shown)));
        for judge in case.dissenters() {
            let rows = table.iter().filter(|row| row.explains(case, judge));
            let titles: Vec<_> = rows.map(|row| row.title).collect();
            if titles.len() != 1 {
                let input = &case.input;
                faults.push(format!("{input}: judge {judge}, {said:?}: rows {titles:?}"));
            }
        }
        for row in table.iter().filter(|row| row.is_about(case)) {
            if case.departures.len() == 1 && !row.is_shown_by(case) {
                faults.push(format!("{}: {said:?} is not `{}`", case.input, row.title));
            }
        }
    }
    let asked = |judge: usize| cases.iter().any(|case| case.verdicts[judge].is_some());
    for row in table {
        let splits = |judge: usize| asked(judge) && row.verdicts[judge] != row.verdicts[0];
        let needed = cases.iter().any(|case| row.is_shown_by(case));
        if (1..JUDGES).any(splits) && !needed {
            faults.push(format!("no input shows `{}`", row.title));
        }
        if row
            .verdicts
            .iter()
            .all(|verdict| *verdict == row.verdicts[0])
        {
            faults.push(format!("`{}` is no disagreement", row.title));
        }
    }
    faults
}

/// Whatever we accept, every other judge accepts: no row of a table may say otherwise.
fn assert_nothing_is_accepted_alone<const JUDGES: usize>(cases: &[Case<JUDGES>]) {
    let ours = |case: &&Case<JUDGES>| case.verdicts[0] == Some(Verdict::Accepted);
    let accepted: Vec<_> = cases.iter().filter(ours).collect();
    assert!(!accepted.is_empty(), "our gate accepts something");
    for case in accepted {
        let refused = case.dissenters().next();
        assert_eq!(refused, None, "a judge refuses {}", case.input);
    }
}

fn assert_empty(faults: &[impl Debug + AsRef<str>]) {
    let lines: Vec<&str> = faults.iter().map(AsRef::as_ref).collect();
    assert!(
        lines.is_empty(),
        "{} faults:\n{}",
        lines.len(),
        lines.join("\n")
    );
}
