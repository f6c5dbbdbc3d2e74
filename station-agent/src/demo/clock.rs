//! The one clock of the demo: chargers, contracts and blocks all read it, and it runs [`FACTOR`] times as fast as the
//! machine's.

use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_units::Timestamp;
use std::time::{Duration, Instant};

/// Starts at the machine's time and goes on in ticks: within a tick time stands, so that agents, who sleep in the machine's
/// time, make about one block a tick.
#[derive(Debug)]
pub(super) struct FastClock {
    start: Instant,
    from: Timestamp,
}

impl FastClock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), from: SystemClock.now() }
    }

    /// How long by the machine's clock until this one shows `at`; nothing if it does.
    pub(super) fn until(&self, at: Timestamp) -> Duration {
        let after_ms = at.since(self.from).unwrap_or_default().as_millis();
        let ticks = u64::try_from(after_ms).unwrap_or(u64::MAX).div_ceil(TICK_MS * FACTOR);
        Duration::from_millis(ticks.saturating_mul(TICK_MS)).saturating_sub(self.start.elapsed())
    }
}

impl Clock for FastClock {
    fn now(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shown_ms = (elapsed_ms / TICK_MS).saturating_mul(TICK_MS * FACTOR);
        self.from.checked_add(Duration::from_millis(shown_ms)).unwrap_or(self.from)
    }
}

/// How many times as fast as the machine's clock.
pub(super) const FACTOR: u64 = 60;
/// A tick, in the machine's milliseconds.
pub(super) const TICK_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_for_a_time_ends_when_the_clock_shows_it() {
        let clock = FastClock::new();
        assert_eq!(clock.until(clock.now()), Duration::ZERO);
        let tick = Duration::from_millis(TICK_MS * FACTOR);
        let next = clock.from.checked_add(tick).unwrap();
        assert!(clock.until(next) <= Duration::from_millis(TICK_MS));
        // A moment within a tick is shown at its end.
        let far = clock.from.checked_add(tick * 999 + Duration::from_millis(1)).unwrap();
        let wait = clock.until(far);
        let most = Duration::from_millis(1_000 * TICK_MS);
        assert!(wait <= most && wait > most - Duration::from_secs(60), "{wait:?}");
    }
}
