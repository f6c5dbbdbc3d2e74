//! What a simulated committee is put through.

use super::Dice;
use std::{collections::BTreeSet, fmt, str::FromStr};

/// One way in which the world is worse than one would wish.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Messages are lost: one in ten.
    Loss,
    /// Messages arrive twice: one in ten, the second time up to two seconds later.
    Duplication,
    /// Messages overtake each other: one in five takes up to half a second longer.
    Reordering,
    /// Some agents' messages take 0.3 to 0.9 s longer, for seconds.
    Delay,
    /// Groups of agents are not heard by others, in one direction or in both, for seconds.
    Partition,
    /// Agents are killed or lose power in the middle of whatever they do, at times all at once; unsynced writes are lost.
    Crash,
    /// Agents lose power, and any sectors of their unsynced writes are on disk.
    TornWrites,
    /// One agent's synced writes land in wrong places.
    MisdirectedWrites,
    /// One agent's disk is lost, its vote key with it: it follows, and votes again with the next epoch's key.
    LostDisk,
    /// Disks are full for seconds.
    FullDisk,
    /// Syncs fail, and what was to be synced is lost.
    SyncError,
    /// Clocks are up to 90 s wrong for seconds, one at a time.
    ClockJumps,
    /// Validators sign two things that exclude each other: each message another way, or as two agents with one key.
    Equivocation,
    /// Validators keep their proposals, votes and blocks from some or from all.
    Withholding,
    /// Validators propose blocks that break the rules.
    WrongBlock,
    /// Validators answer whoever fetches blocks or a snapshot with others, or with forged certificates.
    PoisonedSnapshot,
    /// Validators send bytes that mean nothing, and messages that mean what they must not.
    Garbage,
    /// Machines are off for long, one at a time: so long that others keep no blocks for them.
    Absence,
    /// One agent's disk is put back from a copy made earlier.
    OldBackup,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::Delay,
        Self::Partition,
        Self::Crash,
        Self::TornWrites,
        Self::MisdirectedWrites,
        Self::LostDisk,
        Self::FullDisk,
        Self::SyncError,
        Self::ClockJumps,
        Self::Equivocation,
        Self::Withholding,
        Self::WrongBlock,
        Self::PoisonedSnapshot,
        Self::Garbage,
        Self::Absence,
        Self::OldBackup,
    ];

    /// Those that a validator does on purpose.
    pub const LIES: [Self; 5] =
        [Self::Equivocation, Self::Withholding, Self::WrongBlock, Self::PoisonedSnapshot, Self::Garbage];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Reordering => "reordering",
            Self::Delay => "delay",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::TornWrites => "torn-writes",
            Self::MisdirectedWrites => "misdirected-writes",
            Self::LostDisk => "lost-disk",
            Self::FullDisk => "full-disk",
            Self::SyncError => "sync-error",
            Self::ClockJumps => "clock-jumps",
            Self::Equivocation => "equivocation",
            Self::Withholding => "withholding",
            Self::WrongBlock => "wrong-block",
            Self::PoisonedSnapshot => "poisoned-snapshot",
            Self::Garbage => "garbage",
            Self::Absence => "absence",
            Self::OldBackup => "old-backup",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|fault| fault.name() == text)
            .ok_or_else(|| format!("no fault is called {text}: {}", known()))
    }
}

/// One simulated history: a committee, and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything random follows from it.
    pub seed: u64,
    /// The validators' stakes.
    pub stakes: Vec<u64>,
    /// What happens.
    pub faults: BTreeSet<Fault>,
    /// Validators that do what [`Fault::LIES`] of `faults` says, all the time.
    pub liars: BTreeSet<usize>,
    /// The validator whose disk misdirects writes; it counts as faulty, as it may forget what it signed.
    pub damaged: Option<usize>,
    /// The validator that loses its disk; it counts as faulty, as it cannot vote for a while.
    pub robbed: Option<usize>,
    /// The validator whose disk is put back from a copy; it counts as faulty, as it has to wait for another vote key.
    pub restored: Option<usize>,
    /// Agents that join later with an empty disk; the zone makes validators of them.
    pub newcomers: usize,
    /// Whether people hold auctions, and sell by contract.
    pub has_market: bool,
    /// How long everything is off at once when all have gained their heights, in milliseconds: what has a time runs out.
    pub night_ms: Option<u64>,
    /// Whether there is such a night in the middle of everything too.
    pub is_restless: bool,
    /// When machines begin to fail, in virtual milliseconds.
    pub calm_ms: u64,
    /// Disks that never keep what they say they keep, for tests of the checker.
    pub disks_lie: bool,
    /// Both agents of each equivocator talk to their own half only, and the halves do not hear each other, for tests of
    /// the checker.
    pub is_split: bool,
    /// Liars that withhold say nothing at all, for tests of the checker.
    pub mute: bool,
    /// After how many blocks agents write a snapshot and cut off what is before the last two; 0: never.
    pub snapshot_blocks: u64,
    /// How long the faults last, in virtual milliseconds. Liars go on afterwards.
    pub trouble_ms: u64,
    /// How long the committee may take, after the faults, until every honest agent has gained [`Scenario::gain`] heights.
    pub healing_ms: u64,
    /// Heights to gain after the faults, beyond the highest that any agent had then.
    pub gain: u64,
}

impl Scenario {
    /// The scenario of a seed: most often four validators of equal stake, and any faults together.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "scenario", 0);
        let stakes = match dice.below(20) {
            0 => vec![1],
            1..=3 => vec![30, 20, 15, 10, 10, 10, 5],
            4 => vec![10; 5],
            _ => vec![10; 4],
        };
        // A few together, or many; each fault is in about two of five scenarios. Whoever sells needs a zone that works.
        let share = *dice.pick(&[150, 400, 650]);
        let purpose = dice.below(100);
        let share = if purpose < MARKETS { 120 } else { share };
        // Key shares and releases cost more than anything else here, so most markets are small.
        let is_small = purpose < MARKETS && Dice::new(seed, "small market", 0).chance(800);
        let stakes = if is_small && stakes.len() > 5 { vec![10; 4] } else { stakes };
        let mut faults: BTreeSet<Fault> = Fault::ALL.into_iter().filter(|_| dice.chance(share)).collect();
        if (MARKETS..JOINS).contains(&purpose) && dice.chance(400) {
            // The one that may be faulty lies to those who join, so its disk has to be well.
            faults.retain(|fault| {
                !matches!(fault, Fault::MisdirectedWrites | Fault::LostDisk | Fault::OldBackup)
            });
            faults.insert(Fault::PoisonedSnapshot);
        }
        let scenario = Self::new(seed, stakes, faults);
        match purpose {
            ..MARKETS => scenario.with_market(),
            MARKETS..JOINS if scenario.stakes.len() > 1 => scenario.with_newcomers(),
            _ => scenario,
        }
    }

    /// The same, with auctions, and time for them.
    fn with_market(self) -> Self {
        let mut dice = Dice::new(self.seed, "nights", 0);
        let night_ms = dice.chance(700).then(|| *dice.pick(&[25, 8 * 24, 29 * 24]) * 3_600_000);
        let is_restless = dice.chance(250);
        Self { has_market: true, night_ms, is_restless, calm_ms: 8_000, trouble_ms: 25_000, ..self }
    }

    /// The same, with agents that join, and little that others keep for them.
    fn with_newcomers(self) -> Self {
        let mut dice = Dice::new(self.seed, "newcomers", 0);
        let newcomers = 1 + dice.index(2);
        Self { newcomers, snapshot_blocks: *dice.pick(&[0, 2, 2, 2, 3]), ..self }
    }

    /// Four validators of equal stake with one fault or with none, for comparisons.
    pub fn only(seed: u64, fault: Option<Fault>) -> Self {
        Self::new(seed, vec![10; 4], fault.into_iter().collect())
    }

    fn new(seed: u64, stakes: Vec<u64>, mut faults: BTreeSet<Fault>) -> Self {
        let mut dice = Dice::new(seed, "faulty validators", 0);
        let mut faulty = faulty(&stakes, &mut dice);
        let mut damaged = None;
        if faults.contains(&Fault::MisdirectedWrites) {
            damaged = faulty.pop_first();
        }
        let robbed = if faults.contains(&Fault::LostDisk) { faulty.pop_first() } else { None };
        let restored = if faults.contains(&Fault::OldBackup) { faulty.pop_first() } else { None };
        let lies = Fault::LIES.iter().any(|lie| faults.contains(lie));
        let liars = if lies { faulty } else { BTreeSet::new() };
        // What nobody is left to do does not happen.
        faults.retain(|fault| match fault {
            Fault::MisdirectedWrites => damaged.is_some(),
            Fault::LostDisk => robbed.is_some(),
            Fault::OldBackup => restored.is_some(),
            fault => !Fault::LIES.contains(fault) || !liars.is_empty(),
        });
        let snapshots: &[u64] = if faults.contains(&Fault::LostDisk) || faults.contains(&Fault::Absence) {
            &[2, 2, 3]
        } else {
            &[0, 2, 4]
        };
        Self {
            seed,
            stakes,
            faults,
            liars,
            damaged,
            robbed,
            restored,
            newcomers: 0,
            has_market: false,
            night_ms: None,
            is_restless: false,
            calm_ms: 0,
            disks_lie: false,
            is_split: false,
            mute: false,
            snapshot_blocks: *Dice::new(seed, "snapshots", 0).pick(snapshots),
            trouble_ms: 20_000,
            healing_ms: 60_000,
            gain: 6,
        }
    }

    /// Whether a fault is part of it.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }
}

/// Some validators with less than a third of the stake together, and as many as fit.
fn faulty(stakes: &[u64], dice: &mut Dice) -> BTreeSet<usize> {
    let total: u64 = stakes.iter().sum();
    let mut left: Vec<usize> = (0..stakes.len()).collect();
    let (mut chosen, mut stake) = (BTreeSet::new(), 0);
    while !left.is_empty() {
        let one = left.swap_remove(dice.index(left.len()));
        if (stake + stakes[one]) * 3 < total {
            stake += stakes[one];
            chosen.insert(one);
        }
    }
    chosen
}

/// Of a hundred scenarios, those with auctions, and those up to which agents join.
const MARKETS: u64 = 20;
const JOINS: u64 = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faulty_have_less_than_a_third() {
        let mut with_liars = 0;
        for seed in 0..500 {
            let scenario = Scenario::of_seed(seed);
            let faulty = scenario.liars.iter().copied().chain(scenario.damaged).chain(scenario.robbed);
            let faulty = faulty.chain(scenario.restored);
            let stake: u64 = faulty.map(|at| scenario.stakes[at]).sum();
            assert!(stake * 3 < scenario.stakes.iter().sum(), "{scenario:?}");
            with_liars += usize::from(!scenario.liars.is_empty());
        }
        assert!(with_liars > 100);
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("gremlins".parse::<Fault>().is_err());
    }
}
