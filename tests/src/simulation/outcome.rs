//! What came of a simulated history.

use super::{BookCounts, DiskCounts, Fault, NetworkCounts};
use ohmesh_units::Hash;
use std::{collections::BTreeMap, fmt};

/// A rule that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which: `I1` to `I12` of the design, `liveness`, `stopped`, `panic` and so on.
    pub rule: String,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:03} s: {}", self.rule, self.at_ms / 1_000, self.at_ms % 1_000, self.seen)
    }
}

/// What came of one scenario.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The scenario's seed.
    pub seed: u64,
    /// What happened in it.
    pub faults: Vec<Fault>,
    /// Validators.
    pub validators: usize,
    /// The highest height when the faults ended.
    pub height_in_trouble: u64,
    /// The highest height at the end.
    pub height: u64,
    /// How long the faults lasted, in virtual milliseconds.
    pub trouble_ms: u64,
    /// How long it took after the faults until every honest agent had gained its heights, in virtual milliseconds.
    pub healed_ms: u64,
    /// Heights decided in a round after the first.
    pub late_rounds: u64,
    /// The latest round in which a height was decided.
    pub round_max: u32,
    /// The longest time between two heights, in virtual milliseconds.
    pub gap_ms_max: u64,
    /// Transactions that honest agents said were applied.
    pub acknowledged: u64,
    /// Transactions that were refused or never applied.
    pub refused: u64,
    /// Processes that ended: killed, or by a power cut.
    pub crashes: u64,
    /// Agents that stopped by themselves, by the name of the error.
    pub stops: BTreeMap<String, u64>,
    /// Damaged disks on which an agent came back with less than it had acknowledged.
    pub forgot: u64,
    /// Clocks that were set wrong.
    pub clock_jumps: u64,
    /// Epochs that ended.
    pub epochs: u64,
    /// Agents that noticed that they do not know what they have signed.
    pub forgetful: u64,
    /// States that agents have fetched from others.
    pub rebuilt: u64,
    /// Agents that fetched a state while a validator answered with poison.
    pub rebuilt_among_liars: u64,
    /// Agents that joined and have become validators.
    pub seated: u64,
    /// Times that a machine was away for long.
    pub absences: u64,
    /// Nights in which everything was off.
    pub nights: u64,
    /// Heights whose blocks the books have read and compared, and those that they never got to see.
    pub read: u64,
    /// See [`Outcome::read`].
    pub unread: u64,
    /// What people brought to its end.
    pub books: BookCounts,
    /// Lies told, by kind.
    pub lies: BTreeMap<Fault, u64>,
    /// Proofs that a validator contradicted itself.
    pub equivocations: u64,
    /// Messages that were refused as a fault of who sent them.
    pub refusals: u64,
    /// What happened to messages.
    pub network: NetworkCounts,
    /// What happened to disks.
    pub disks: DiskCounts,
    /// Hash of everything that was sent and written.
    pub trace: Option<Hash>,
    /// The first rule that did not hold, if any.
    pub violation: Option<Violation>,
    /// What happened, line by line, if that was asked for.
    pub story: Vec<String>,
}

impl Outcome {
    /// Heights per 1,000 virtual seconds while the faults lasted.
    pub fn heights_per_1000_s(&self) -> u64 {
        self.height_in_trouble * 1_000_000 / self.trouble_ms.max(1)
    }

    /// How often a fault really happened.
    pub fn times(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Loss => self.network.lost,
            Fault::Duplication => self.network.doubled,
            Fault::Reordering => self.network.reordered,
            Fault::Delay => self.network.delayed,
            Fault::Partition => self.network.cut,
            Fault::Crash => self.crashes,
            Fault::TornWrites => self.disks.torn,
            Fault::MisdirectedWrites => self.disks.misdirected,
            Fault::LostDisk => self.disks.lost,
            Fault::FullDisk => self.disks.full,
            Fault::SyncError => self.disks.sync_errors,
            Fault::ClockJumps => self.clock_jumps,
            Fault::Absence => self.absences,
            Fault::OldBackup => self.disks.put_back,
            lie => self.lies.get(&lie).copied().unwrap_or(0),
        }
    }
}
