//! Who has given wrong passwords, and has to wait.
//!
//! Counted for an address and a charger's name, so that a thief elsewhere does not lock a charger out, and for an address
//! alone, so that nobody walks through names. After the last allowed mistake each further one doubles the wait. Names that
//! are not registered count as well: the door tells nobody which exist.

use ohmesh_ocpp::ChargerName;
use ohmesh_units::Timestamp;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Wrong passwords, counted.
#[derive(Default)]
pub(super) struct Lockout {
    wrong: BTreeMap<Who, Wrong>,
}

/// An address, for one name or for all.
type Who = (IpAddr, Option<ChargerName>);

struct Wrong {
    count: u32,
    last: Timestamp,
}

impl Lockout {
    /// How long this one still has to wait, if it has to.
    pub(super) fn wait(&self, now: Timestamp, address: IpAddr, name: &ChargerName) -> Option<Duration> {
        keys(address, name)
            .iter()
            .filter_map(|key| {
                let wrong = self.wrong.get(key)?;
                let lock = lock(wrong.count, allowed(key));
                lock.checked_sub(now.since(wrong.last).unwrap_or_default()).filter(|rest| !rest.is_zero())
            })
            .max()
    }

    /// A wrong password was given.
    pub(super) fn wrong(&mut self, now: Timestamp, address: IpAddr, name: &ChargerName) {
        for key in keys(address, name) {
            if self.wrong.len() >= ENTRIES_MAX && !self.wrong.contains_key(&key) {
                let oldest =
                    self.wrong.iter().min_by_key(|(_, wrong)| wrong.last).map(|(key, _)| key.clone());
                oldest.and_then(|key| self.wrong.remove(&key));
            }
            let allowed = allowed(&key);
            let wrong = self.wrong.entry(key).or_insert(Wrong { count: 0, last: now });
            let quiet = now.since(wrong.last).unwrap_or_default();
            if quiet > lock(wrong.count, allowed).max(FORGOTTEN_AFTER) {
                wrong.count = 0;
            }
            wrong.count = wrong.count.saturating_add(1);
            wrong.last = now;
        }
    }

    /// The right password was given: this charger's own mistakes there are forgotten.
    pub(super) fn right(&mut self, address: IpAddr, name: &ChargerName) {
        let [own, _] = keys(address, name);
        self.wrong.remove(&own);
    }
}

fn keys(address: IpAddr, name: &ChargerName) -> [Who; 2] {
    let address = network(address);
    [(address, Some(name.clone())), (address, None)]
}

fn allowed((_, name): &Who) -> u32 {
    if name.is_some() { WRONG_MAX } else { WRONG_MAX_ADDRESS }
}

/// How long one waits after so many mistakes.
fn lock(count: u32, allowed: u32) -> Duration {
    match count.checked_sub(allowed) {
        None => Duration::ZERO,
        Some(beyond) => (LOCK_FIRST * 2_u32.pow(beyond.min(16))).min(LOCK_MAX),
    }
}

/// One household or firm: an IPv4 address, or the 64 bits of an IPv6 address that its owner does not choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Mistakes of one charger's name at one address before it has to wait.
pub(super) const WRONG_MAX: u32 = 5;
/// Mistakes of one address, whatever the names, before it has to wait: a yard of chargers may share it.
pub(super) const WRONG_MAX_ADDRESS: u32 = 50;
/// The first wait; it doubles with each further mistake.
pub(super) const LOCK_FIRST: Duration = Duration::from_secs(60);
/// The longest wait.
pub(super) const LOCK_MAX: Duration = Duration::from_secs(3600);
/// Mistakes are forgotten after this long without another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// The most entries; the one that was quiet longest makes room.
const ENTRIES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000_000 + seconds * 1000)
    }

    fn name(n: u32) -> ChargerName {
        ChargerName::new(&format!("CP{n}")).unwrap()
    }

    const THIEF: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn guessing_waits_longer_and_longer_and_only_the_guesser_waits() {
        let mut lockout = Lockout::default();
        for n in 0..WRONG_MAX {
            assert_eq!(lockout.wait(at(0), THIEF, &name(1)), None, "after {n}");
            lockout.wrong(at(0), THIEF, &name(1));
        }
        assert_eq!(lockout.wait(at(10), THIEF, &name(1)), Some(LOCK_FIRST - Duration::from_secs(10)));
        assert_eq!(lockout.wait(at(0), THIEF, &name(2)), None, "another charger there");
        let elsewhere = "192.0.2.2".parse().unwrap();
        assert_eq!(lockout.wait(at(0), elsewhere, &name(1)), None, "the charger itself, elsewhere");
        assert_eq!(lockout.wait(at(60), THIEF, &name(1)), None);
        lockout.wrong(at(60), THIEF, &name(1));
        assert_eq!(lockout.wait(at(60), THIEF, &name(1)), Some(LOCK_FIRST * 2));
        for _ in 0..40 {
            lockout.wrong(at(60), THIEF, &name(1));
        }
        assert_eq!(lockout.wait(at(60), THIEF, &name(1)), Some(LOCK_MAX));
        assert_eq!(lockout.wait(at(3660), THIEF, &name(1)), None);
    }

    #[test]
    fn walking_through_names_waits_too() {
        let mut lockout = Lockout::default();
        (0..WRONG_MAX_ADDRESS).for_each(|n| lockout.wrong(at(0), THIEF, &name(n)));
        assert_eq!(lockout.wait(at(0), THIEF, &name(999)), Some(LOCK_FIRST));
        // A right password elsewhere on the list does not open the address again.
        lockout.right(THIEF, &name(3));
        assert_eq!(lockout.wait(at(0), THIEF, &name(999)), Some(LOCK_FIRST));
    }

    #[test]
    fn mistakes_are_forgotten_by_the_right_password_and_by_time() {
        let mut lockout = Lockout::default();
        (1..WRONG_MAX).for_each(|_| lockout.wrong(at(0), THIEF, &name(1)));
        lockout.right(THIEF, &name(1));
        (1..WRONG_MAX).for_each(|_| lockout.wrong(at(0), THIEF, &name(1)));
        assert_eq!(lockout.wait(at(0), THIEF, &name(1)), None);
        lockout.wrong(at(601), THIEF, &name(1));
        assert_eq!(lockout.wait(at(601), THIEF, &name(1)), None);
        assert_eq!(lockout.wait(at(0), THIEF, &name(1)), None, "a clock that went back does not panic");
    }

    #[test]
    fn an_ipv6_household_is_one_and_the_table_is_bounded() {
        let mut lockout = Lockout::default();
        for n in 0..WRONG_MAX {
            lockout.wrong(at(0), format!("2001:db8:0:1::{n}").parse().unwrap(), &name(1));
        }
        assert!(lockout.wait(at(0), "2001:db8:0:1:ffff::".parse().unwrap(), &name(1)).is_some());
        assert!(lockout.wait(at(0), "2001:db8:0:2::".parse().unwrap(), &name(1)).is_none());
        for n in 0..5000 {
            lockout.wrong(at(1), IpAddr::V4(n.into()), &name(n));
        }
        assert!(lockout.wrong.len() <= ENTRIES_MAX);
    }
}
