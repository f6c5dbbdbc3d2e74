//! One agent's machine: its process, disk, clock and timers.

use super::{Cut, Dice, SimDisk, disk::Backup};
use crate::zone::key;
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::Zone;
use ohmesh_units::{SigningKey, Timestamp};
use station_agent::{
    agent::{Agent, AgentError, AgentTimer, Effect, Keep, Settings},
    record_log::LogError,
    vote_keys::VoteKeys,
};
use std::collections::{BTreeMap, BTreeSet};

/// One machine.
pub struct Host {
    /// Whose agent runs on it, by index in the validator set. An equivocator has two machines.
    pub validator: usize,
    /// What people call it.
    pub name: String,
    /// The agent, while its process runs.
    pub agent: Option<Agent<SimDisk>>,
    /// What it keeps of its past.
    pub keep: Keep,
    /// Its disk.
    pub disk: SimDisk,
    /// Counts the starts and ends of the process: what belongs to an earlier life no longer counts.
    pub life: u64,
    /// Timers that run, each with the number of its setting.
    pub timers: BTreeMap<AgentTimer, u64>,
    /// How far its clock is wrong, in milliseconds.
    pub skew_ms: i64,
    /// The height of the newest block of which it has told anybody.
    pub told: u64,
    /// Machines it tries to reach.
    pub dialling: BTreeSet<usize>,
    /// Validators it talks to: one bit each.
    pub audience: u64,
    /// The epoch of the newest block of which it has told anybody, and whether that block ended it.
    pub epoch: (u64, bool),
    /// Whether it is down for good.
    pub is_retired: bool,
    /// Whether it is switched off until somebody comes.
    pub is_away: bool,
    /// A copy of its disk.
    pub copy: Option<Copied>,
}

/// A copy of a disk, and what its machine had told when it was made.
pub struct Copied {
    /// The files.
    pub files: Backup,
    /// The height.
    pub told: u64,
}

impl Host {
    /// A machine on which nothing has run yet.
    pub fn new(validator: usize, name: String, keep: Keep, disk: SimDisk) -> Self {
        Self {
            validator,
            name,
            agent: None,
            keep,
            disk,
            life: 0,
            timers: BTreeMap::new(),
            skew_ms: 0,
            told: 0,
            dialling: BTreeSet::new(),
            audience: u64::MAX,
            epoch: (0, false),
            is_retired: false,
            is_away: false,
            copy: None,
        }
    }

    /// Its height, or that of which it told last.
    pub fn height(&self) -> u64 {
        self.agent.as_ref().map_or(self.told, |agent| agent.state().head().height)
    }

    /// The key with which its agent votes, and the index as which it does.
    pub fn voter(&self) -> Option<(u16, SigningKey)> {
        let identity = key(participant(self.validator)).public();
        let validators = self.agent.as_ref()?.state().validators();
        let keys = VoteKeys::open(&self.disk).ok()?;
        Some((validators.index_of(&identity)?, keys.signer(validators, &identity)?))
    }

    /// Starts the process: the only place in which simulations make an agent.
    pub fn open(
        &self,
        zone: &Zone,
        seed: [u8; 32],
        now: Timestamp,
    ) -> Result<(Agent<SimDisk>, Vec<Effect>), AgentError> {
        let settings = Settings {
            key: key(participant(self.validator)),
            pace: Pace::default(),
            timeouts: Timeouts::default(),
            seed,
            seller: None,
            keep: self.keep,
        };
        Agent::open(zone.clone(), settings, self.disk.clone(), now)
    }

    /// The process ends.
    pub fn end(&mut self) {
        self.agent = None;
        self.life += 1;
        self.timers.clear();
        self.dialling.clear();
    }

    /// How the process ends when its power fails, given which ways there are.
    pub fn cut(dice: &mut Dice, loses: bool, tears: bool) -> Cut {
        match (loses, tears, dice.below(4)) {
            (_, true, 0 | 1) | (false, true, _) => Cut::Torn,
            (_, _, 2) => Cut::Killed,
            _ => Cut::Clean,
        }
    }
}

/// The participant number of a validator.
pub fn participant(validator: usize) -> u8 {
    u8::try_from(validator + 1).expect("a zone has at most 32 validators")
}

/// The name under which an agent's last error is counted.
pub fn error_name(error: &AgentError) -> String {
    match error {
        AgentError::Log(LogError::Disk { .. }) => "disk",
        AgentError::Log(LogError::Damaged { .. }) => "damaged",
        AgentError::Log(LogError::OtherZone { .. }) => "other zone",
        AgentError::Stored { .. } => "stored",
        AgentError::Diverged(_) => "diverged",
        AgentError::Rules(_) => "rules",
        AgentError::Committee(_) => "committee",
        AgentError::Lost { .. } => "lost",
        AgentError::Rolled { .. } => "rolled back",
        AgentError::Copied => "copied",
        AgentError::Seller(_) => "seller",
    }
    .to_owned()
}
