//! How often there is a block.

use ohmesh_units::Timestamp;
use std::time::Duration;

/// When the next height may start: soon while there is work, seldom while there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// From block to block while transactions wait, in milliseconds.
    pub busy_ms: u64,
    /// From block to block while none wait, in milliseconds.
    pub idle_ms: u64,
}

impl Pace {
    /// The same pace for a clock that runs `factor` times as fast; no interval becomes zero.
    pub fn divided_by(self, factor: u64) -> Self {
        let part = |ms: u64| (ms / factor.max(1)).max(1);
        Self { busy_ms: part(self.busy_ms), idle_ms: part(self.idle_ms) }
    }

    /// How long to wait from `now` until the height after the block of time `last_block` may start; zero: now.
    ///
    /// Ask again when work arrives. [`Action::Wake`](crate::Action::Wake) counts as work. Agents pass transactions on to
    /// each other: a validator that waits in vain for a proposer that knows of no work loses a round. Block time may be ahead of this clock; the wait is at most twice the interval, so
    /// that a clock that was set back does not stop the ledger.
    pub fn wait(&self, now: Timestamp, last_block: Timestamp, work_pending: bool) -> Duration {
        let interval_ms = if work_pending { self.busy_ms } else { self.idle_ms };
        let due_ms = last_block.as_millis().saturating_add(interval_ms);
        let wait_ms = due_ms.saturating_sub(now.as_millis());
        Duration::from_millis(wait_ms.min(interval_ms.saturating_mul(2)))
    }
}

impl Default for Pace {
    /// A block every second while there is work, an empty one every 10 s.
    fn default() -> Self {
        Self { busy_ms: 1_000, idle_ms: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_makes_blocks_come_sooner() {
        let pace = Pace::default();
        let at = Timestamp::from_millis;
        let wait = |now, work| pace.wait(at(now), at(50_000), work).as_millis();
        assert_eq!([wait(50_000, true), wait(50_000, false)], [1_000, 10_000]);
        assert_eq!([wait(50_400, true), wait(51_000, true), wait(90_000, true)], [600, 0, 0]);
        assert_eq!([wait(59_999, false), wait(60_000, false)], [1, 0]);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_the_ledger() {
        let pace = Pace::default();
        let wait = pace.wait(Timestamp::EPOCH, Timestamp::from_millis(u64::MAX), true);
        assert_eq!(wait, Duration::from_secs(2));
    }

    #[test]
    fn a_faster_clock_makes_faster_blocks() {
        assert_eq!(Pace::default().divided_by(100), Pace { busy_ms: 10, idle_ms: 100 });
    }
}
