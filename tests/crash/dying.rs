//! Dying at one crash point, and the figures over all of them.

use std::collections::BTreeMap;
use std::fmt;

use nix::sys::signal::Signal;

use crate::common::{Home, Ran, ended_by, temp_dir};

/// Where the program dies: `name`, or `name:3` for the third passing.
const CRASH_AT: &str = "DOCKERCOMMS_CRASH_AT";

/// A file to which the name of each passed point is written.
const CRASH_LOG: &str = "DOCKERCOMMS_CRASH_LOG";

/// Set for every passing of every point; otherwise the first and the last.
const EVERY: &str = "DOCKERCOMMS_CRASH_EVERY";

/// One passing of one point, as `DOCKERCOMMS_CRASH_AT` takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Point {
    pub(super) name: String,
    pub(super) passing: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.passing)
    }
}

/// Runs `act` and notes the points that `home`'s program passes; returns them with their counts.
pub(super) fn passed(home: &Home, act: impl FnOnce()) -> BTreeMap<String, usize> {
    let dir = temp_dir();
    let log = dir.path().join("passed");
    home.set_variable(CRASH_LOG, Some(log.as_os_str()));
    act();
    home.set_variable(CRASH_LOG, None);
    let mut counts = BTreeMap::new();
    for name in std::fs::read_to_string(&log).unwrap_or_default().lines() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

/// Returns where to die, given what was passed.
pub(super) fn points(passed: &BTreeMap<String, usize>) -> Vec<Point> {
    let every = std::env::var_os(EVERY).is_some();
    let mut points: Vec<Point> = Vec::new();
    for (name, &count) in passed {
        let passings = (1..=count).filter(|passing| every || [1, count].contains(passing));
        points.extend(passings.map(|passing| Point { name: name.clone(), passing }));
    }
    points
}

/// Makes every later run of `home`'s program die at `point`; `None` lets it live.
pub(super) fn die_at(home: &Home, point: Option<&Point>) {
    let text = point.map(ToString::to_string);
    home.set_variable(CRASH_AT, text.as_deref().map(AsRef::as_ref));
}

/// Runs a verb of `home` that dies at `point`; returns whether it died there, unless timing led the
/// run past the point.
#[track_caller]
pub(super) fn dies(home: &Home, point: &Point, arguments: &[&str]) -> Ran {
    die_at(home, Some(point));
    let ran = home.run(arguments);
    die_at(home, None);
    let died = ended_by(&ran) == Some(Signal::SIGKILL);
    assert!(died || ran.status.success(), "neither died at {point} nor succeeded: {ran:?}");
    ran
}

/// What became of the crashes of one scenario.
#[derive(Debug, Default)]
pub(super) struct Tally {
    crashes: usize,
    complaints: Vec<String>,
    lost: usize,
    doubled: usize,
    partial: usize,
    litter: usize,
}

impl Tally {
    /// Counts a crash, and whether it happened at all.
    pub(super) fn crash(&mut self, ran: &Ran) {
        self.crashes += usize::from(ended_by(ran) == Some(Signal::SIGKILL));
    }

    /// Counts a crash of something that is not a verb.
    pub(super) fn crash_elsewhere(&mut self) {
        self.crashes += 1;
    }

    /// Compares what arrived with what was acknowledged or promised: each name once, whole.
    pub(super) fn compare(
        &mut self,
        point: &Point,
        wanted: &[(String, Vec<u8>)],
        arrived: &[(String, Vec<u8>)],
    ) {
        for (name, bytes) in wanted {
            let same: Vec<_> = arrived.iter().filter(|(arrived, _)| arrived == name).collect();
            match same.as_slice() {
                [] => self.lose(point, name),
                [(_, arrived)] if arrived != bytes => {
                    self.partial += 1;
                    self.complaints.push(format!("{point}: {name} is not what was sent"));
                }
                _ => {}
            }
        }
        for (name, _) in arrived {
            if !wanted.iter().any(|(wanted, _)| wanted == name) {
                self.double(point, &format!("{name} came from nowhere"));
            }
        }
    }

    pub(super) fn lose(&mut self, point: &Point, what: &str) {
        self.lost += 1;
        self.complaints.push(format!("{point}: lost {what}"));
    }

    pub(super) fn double(&mut self, point: &Point, what: &str) {
        self.doubled += 1;
        self.complaints.push(format!("{point}: doubled: {what}"));
    }

    /// Counts files that should have gone.
    pub(super) fn expect_clean(&mut self, point: &Point, left: &[String]) {
        self.litter += left.len();
        self.complaints.extend(left.iter().map(|left| format!("{point}: left behind: {left}")));
    }

    /// Prints the figures and fails unless everything survived.
    #[track_caller]
    #[expect(clippy::print_stdout, reason = "the figures are for scripts/crash to add up")]
    pub(super) fn finish(self, scenario: &str) {
        let Self { crashes, complaints, lost, doubled, partial, litter } = self;
        let survived = crashes.saturating_sub(lost + doubled + partial + litter);
        println!(
            "crash points survived while {scenario}: {survived} of {crashes}, lost {lost}, \
             doubled {doubled}, partial {partial}, left behind {litter}"
        );
        assert!(crashes > 0, "nothing died");
        assert!(complaints.is_empty(), "{scenario}:\n{}", complaints.join("\n"));
    }
}
