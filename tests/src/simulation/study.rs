//! Many histories: all faults together by seed, and each fault alone beside a calm world.

use super::{Fault, Outcome, Scenario, run};
use std::{
    fmt,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Histories of many seeds.
#[derive(Debug)]
pub struct Study {
    /// One outcome a seed.
    pub outcomes: Vec<Outcome>,
    /// Seeds that were run a second time.
    pub repeated: Vec<u64>,
    /// Those of them whose second history was another.
    pub unequal: Vec<u64>,
}

impl Study {
    /// Runs the scenario of each seed, every tenth one twice, on this many threads.
    pub fn of_seeds(seeds: Range<u64>, threads: usize) -> Self {
        let repeated: Vec<u64> = seeds.clone().filter(|seed| seed.is_multiple_of(REPEAT_EVERY)).collect();
        let jobs: Vec<u64> = seeds.clone().chain(repeated.iter().copied()).collect();
        let mut outcomes = in_parallel(&jobs, threads, |seed| run(&Scenario::of_seed(*seed), false));
        let again = outcomes.split_off(jobs.len() - repeated.len());
        let first = |seed: u64| outcomes.iter().find(|outcome| outcome.seed == seed);
        let unequal = again
            .iter()
            .filter(|again| first(again.seed).is_none_or(|first| first.trace != again.trace))
            .map(|again| again.seed)
            .collect();
        Self { outcomes, repeated, unequal }
    }

    /// Histories in which a rule did not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.violation.is_some())
    }

    /// Faults that never happened in any history: the study says nothing about them.
    pub fn missing(&self) -> Vec<Fault> {
        let happened = |fault: &Fault| self.outcomes.iter().any(|outcome| outcome.times(*fault) > 0);
        Fault::ALL.into_iter().filter(|fault| !happened(fault)).collect()
    }

    /// What many histories together must have seen, and these have not: rebuilds, sales to their end, and so on.
    pub fn unseen(&self) -> Vec<&'static str> {
        type Seen = (&'static str, fn(&Outcome) -> u64);
        let seen: [Seen; 12] = [
            ("an epoch that ended", |o| o.epochs),
            ("a state that was fetched from others", |o| o.rebuilt),
            ("a state that was fetched where somebody serves poison", |o| o.rebuilt_among_liars),
            ("an agent that joined and became a validator", |o| o.seated),
            ("a night", |o| o.nights),
            ("an auction with a winner", |o| o.books.won),
            ("an auction without a contract", |o| o.books.unsold),
            ("a winner that did not come", |o| o.books.no_shows),
            ("a contract that was paid", |o| o.books.paid),
            ("a claim that was disputed", |o| o.books.disputed),
            ("a dispute that was decided", |o| o.books.resolved),
            ("a contract that was given up or ran out", |o| o.books.lapsed),
        ];
        seen.into_iter().filter(|(_, of)| self.sum(of) == 0).map(|(what, _)| what).collect()
    }

    /// The sum of something over all histories.
    pub fn sum(&self, of: impl Fn(&Outcome) -> u64) -> u64 {
        self.outcomes.iter().map(of).sum()
    }
}

/// What each fault alone does to the pace of blocks.
#[derive(Debug)]
pub struct Comparison {
    /// One row for the calm world and one for each fault.
    pub rows: Vec<Row>,
    /// Seeds of each row.
    pub seeds: u64,
}

/// One fault, or none, over the same seeds.
#[derive(Debug)]
pub struct Row {
    /// The fault; none for the calm world.
    pub fault: Option<Fault>,
    /// How often it happened.
    pub times: u64,
    /// Heights per 1,000 virtual seconds while it lasted.
    pub heights_per_1000_s: u64,
    /// The same of the slowest seed.
    pub slowest_per_1000_s: u64,
    /// Thousandths of the calm world's heights.
    pub per_mille_of_calm: u64,
    /// Thousandths of the heights that were decided in a later round than the first.
    pub late_per_mille: u64,
    /// The latest round of all.
    pub round_max: u32,
    /// The longest time between two blocks, in virtual milliseconds.
    pub gap_ms_max: u64,
    /// Mean time after the fault until all had gained their heights, in virtual milliseconds.
    pub healed_ms: u64,
    /// The longest such time.
    pub healed_ms_max: u64,
    /// Histories in which a rule did not hold.
    pub failed: Vec<u64>,
}

impl Comparison {
    /// Runs each seed in a calm world and with each fault alone.
    pub fn of_seeds(seeds: Range<u64>, threads: usize) -> Self {
        let worlds: Vec<Option<Fault>> = std::iter::once(None).chain(Fault::ALL.map(Some)).collect();
        let jobs: Vec<(Option<Fault>, u64)> =
            worlds.iter().flat_map(|fault| seeds.clone().map(|seed| (*fault, seed))).collect();
        let outcomes =
            in_parallel(&jobs, threads, |(fault, seed)| run(&Scenario::only(*seed, *fault), false));
        let count = seeds.end - seeds.start;
        let mut rows: Vec<Row> = Vec::new();
        let size = usize::try_from(count).expect("as many were run").max(1);
        for (fault, outcomes) in worlds.iter().zip(outcomes.chunks(size)) {
            let calm = rows.first().map(|calm| calm.heights_per_1000_s);
            rows.push(Row::of(*fault, outcomes, calm));
        }
        Self { rows, seeds: count }
    }
}

impl Row {
    fn of(fault: Option<Fault>, outcomes: &[Outcome], calm: Option<u64>) -> Self {
        let sum = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
        let max = |of: &dyn Fn(&Outcome) -> u64| outcomes.iter().map(of).max().unwrap_or(0);
        let count = (outcomes.len() as u64).max(1);
        let heights_per_1000_s = sum(&Outcome::heights_per_1000_s) / count;
        Self {
            fault,
            times: fault.map_or(0, |fault| sum(&|outcome| outcome.times(fault))),
            heights_per_1000_s,
            slowest_per_1000_s: outcomes.iter().map(Outcome::heights_per_1000_s).min().unwrap_or(0),
            per_mille_of_calm: heights_per_1000_s * 1_000 / calm.unwrap_or(heights_per_1000_s).max(1),
            late_per_mille: sum(&|o| o.late_rounds) * 1_000 / sum(&|o| o.height).max(1),
            round_max: outcomes.iter().map(|outcome| outcome.round_max).max().unwrap_or(0),
            gap_ms_max: max(&|outcome| outcome.gap_ms_max),
            healed_ms: sum(&|outcome| outcome.healed_ms) / count,
            healed_ms_max: max(&|outcome| outcome.healed_ms),
            failed: outcomes.iter().filter(|o| o.violation.is_some()).map(|o| o.seed).collect(),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "each fault alone, four validators, {} seeds each:", self.seeds)?;
        writeln!(
            f,
            "  {:<19} {:>9} {:>9} {:>8} {:>8} {:>7} {:>6} {:>7} {:>8} {:>8}",
            "fault",
            "happened",
            "heights/s",
            "of calm",
            "slowest",
            "late",
            "round",
            "gap s",
            "healed s",
            "worst s"
        )?;
        for row in &self.rows {
            let name = row.fault.map_or("calm", Fault::name);
            let thousandths = |value: u64| format!("{}.{:02}", value / 1_000, value % 1_000 / 10);
            writeln!(
                f,
                "  {name:<19} {:>9} {:>9} {:>8} {:>8} {:>6}% {:>6} {:>7} {:>8} {:>8}",
                row.times,
                thousandths(row.heights_per_1000_s),
                thousandths(row.per_mille_of_calm),
                thousandths(row.slowest_per_1000_s),
                row.late_per_mille / 10,
                row.round_max,
                thousandths(row.gap_ms_max),
                thousandths(row.healed_ms),
                thousandths(row.healed_ms_max),
            )?;
        }
        Ok(())
    }
}

/// Does every job, in any order, and gives the results in the jobs' order.
fn in_parallel<J: Sync, T: Send>(jobs: &[J], threads: usize, work: impl Fn(&J) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    let result = work(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Every seed that this divides is run twice.
const REPEAT_EVERY: u64 = 10;
