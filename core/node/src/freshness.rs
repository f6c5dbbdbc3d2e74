//! How old what a node knows is.

use ohmesh_units::Timestamp;
use std::time::Duration;

/// Whether what a header backs may be shown as the present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// At most [`STALE_AFTER`] old.
    Fresh,
    /// Older.
    Stale {
        /// How old.
        age: Duration,
    },
    /// The header is more than [`STALE_AFTER`] ahead of this clock, so this clock is wrong and says nothing about age.
    ClockBehind {
        /// How far.
        by: Duration,
    },
}

impl Freshness {
    /// How a header of time `time` looks at `now`.
    pub fn of(time: Timestamp, now: Timestamp) -> Self {
        match (now.since(time), time.since(now)) {
            (Some(age), _) if age > STALE_AFTER => Self::Stale { age },
            (None, Some(by)) if by > STALE_AFTER => Self::ClockBehind { by },
            _ => Self::Fresh,
        }
    }

    /// Whether it is [`Freshness::Fresh`].
    pub fn is_fresh(self) -> bool {
        self == Self::Fresh
    }
}

/// The age past which a header is shown as stale: six of the empty blocks that a quiet zone makes every 10 s.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_is_older_than_sixty_seconds() {
        let header = Timestamp::from_millis(1_000_000);
        let at = |millis| Freshness::of(header, Timestamp::from_millis(millis));
        assert_eq!(at(1_060_000), Freshness::Fresh);
        assert_eq!(at(1_060_001), Freshness::Stale { age: Duration::from_millis(60_001) });
        assert_eq!(at(940_000), Freshness::Fresh);
        assert_eq!(at(939_999), Freshness::ClockBehind { by: Duration::from_millis(60_001) });
    }
}
