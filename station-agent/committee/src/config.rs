//! What a committee is told once.

use crate::{Timer, TimerKind};
use ohmesh_ledger::{Block, ValidatorSet};
use ohmesh_units::{BlockId, Canonical, SigningKey, ZoneId};
use std::time::Duration;

/// What a committee is told when it is made. Another epoch, another set or another key is another committee.
#[derive(Clone, Debug)]
pub struct Config {
    /// The zone whose ledger this is; signed with every vote.
    pub zone: ZoneId,
    /// The epoch of the validators; signed with every vote.
    pub epoch: u64,
    /// Who votes in this epoch.
    pub validators: ValidatorSet,
    /// The key to vote with in this epoch. Without one, or with one that nobody in the set votes with, this is an observer: it follows, judges
    /// and decides like the others, and never signs, publishes or logs.
    pub key: Option<SigningKey>,
    /// How long to wait for others.
    pub timeouts: Timeouts,
    /// The id of a block, from its bytes; `None` if they are not a block whose id binds every byte of them. Pure:
    /// the same bytes always get the same answer. [`identify_block`] for the ledger's blocks.
    pub identify: fn(&[u8]) -> Option<BlockId>,
}

/// The id of the ledger block in `bytes`, if its header binds exactly its transactions. For [`Config::identify`].
pub fn identify_block(bytes: &[u8]) -> Option<BlockId> {
    let block = Block::decode(bytes).ok()?;
    block.verify_transactions().ok()?;
    Some(block.id())
}

/// How long each step of a round waits, in milliseconds; each wait grows by a fixed step with every failed round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// For the proposal in round 0.
    pub propose_ms: u64,
    /// More for each further round.
    pub propose_step_ms: u64,
    /// For the remaining prevotes in round 0, once more than two thirds are there but disagree; and likewise for the
    /// remaining precommits.
    pub vote_ms: u64,
    /// More for each further round.
    pub vote_step_ms: u64,
    /// Until votes and round certificates are sent again. Peers may have been away when they were sent first.
    pub rebroadcast_ms: u64,
    /// No wait is longer.
    pub longest_ms: u64,
}

impl Timeouts {
    /// The same waits for a clock that runs `factor` times as fast; none becomes zero.
    pub fn divided_by(self, factor: u64) -> Self {
        let part = |ms: u64| (ms / factor.max(1)).max(1);
        Self {
            propose_ms: part(self.propose_ms),
            propose_step_ms: part(self.propose_step_ms),
            vote_ms: part(self.vote_ms),
            vote_step_ms: part(self.vote_step_ms),
            rebroadcast_ms: part(self.rebroadcast_ms),
            longest_ms: part(self.longest_ms),
        }
    }

    /// How long `timer` waits.
    pub fn duration(&self, timer: Timer) -> Duration {
        let (first, step) = match timer.kind {
            TimerKind::Propose => (self.propose_ms, self.propose_step_ms),
            TimerKind::Prevote | TimerKind::Precommit => (self.vote_ms, self.vote_step_ms),
            TimerKind::Rebroadcast => (self.rebroadcast_ms, 0),
        };
        let ms = first.saturating_add(step.saturating_mul(u64::from(timer.round)));
        Duration::from_millis(ms.min(self.longest_ms))
    }
}

impl Default for Timeouts {
    /// For agents some tens of milliseconds apart.
    fn default() -> Self {
        Self {
            propose_ms: 1_000,
            propose_step_ms: 500,
            vote_ms: 500,
            vote_step_ms: 500,
            rebroadcast_ms: 1_500,
            longest_ms: 30_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_round_up_to_the_longest() {
        let timeouts = Timeouts::default();
        let wait = |kind, round| timeouts.duration(Timer { height: 1, round, kind }).as_millis();
        assert_eq!([wait(TimerKind::Propose, 0), wait(TimerKind::Propose, 3)], [1_000, 2_500]);
        assert_eq!([wait(TimerKind::Prevote, 0), wait(TimerKind::Precommit, 2)], [500, 1_500]);
        assert_eq!(wait(TimerKind::Rebroadcast, 9), 1_500);
        assert_eq!(wait(TimerKind::Propose, u32::MAX), 30_000);
    }

    #[test]
    fn a_faster_clock_waits_less_and_never_zero() {
        let fast = Timeouts::default().divided_by(1_000);
        assert_eq!((fast.propose_ms, fast.vote_ms), (1, 1));
        assert_eq!(Timeouts::default().divided_by(0), Timeouts::default());
    }
}
