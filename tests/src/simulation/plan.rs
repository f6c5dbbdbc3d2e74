//! When which machine is in what trouble, by seed.

use super::{Dice, Fault, Scenario};

/// Something goes wrong with a machine, or is right again.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    /// The power fails, or the process is killed, at the write after this many.
    Cut {
        /// The machine.
        host: usize,
        /// Writes and syncs that still succeed.
        operations: u64,
    },
    /// The disk is full, or has room again.
    Full {
        /// The machine.
        host: usize,
        /// Which of the two.
        is_full: bool,
    },
    /// Syncs fail, or succeed again.
    Syncs {
        /// The machine.
        host: usize,
        /// Which of the two.
        fail: bool,
    },
    /// The next synced write goes to a wrong place.
    Misdirect {
        /// The machine.
        host: usize,
    },
    /// The disk is lost, and an empty one takes its place.
    Lose {
        /// The machine.
        host: usize,
    },
    /// The machine is switched off for good, or on again.
    Away {
        /// The machine.
        host: usize,
        /// Which of the two.
        is_away: bool,
    },
    /// Somebody copies the disk of a running machine.
    Copy {
        /// The machine.
        host: usize,
    },
    /// The disk is what it was when it was copied.
    PutBack {
        /// The machine.
        host: usize,
    },
    /// Everything is off at once, for long.
    Night {
        /// How long, in milliseconds.
        ms: u64,
    },
    /// The clock is wrong, or right again.
    Clock {
        /// The machine.
        host: usize,
        /// By how much, in milliseconds.
        skew_ms: i64,
    },
}

/// The troubles of a scenario with `hosts` machines, each with its time in microseconds.
pub fn troubles(scenario: &Scenario, hosts: usize) -> Vec<(u64, Trouble)> {
    let end_us = scenario.trouble_ms * 1_000;
    let mut troubles = Vec::new();
    if scenario.has(Fault::Crash) || scenario.has(Fault::TornWrites) || scenario.disks_lie {
        cuts(&mut Dice::new(scenario.seed, "power cuts", 0), hosts, end_us, &mut troubles);
    }
    if scenario.has(Fault::FullDisk) {
        let dice = &mut Dice::new(scenario.seed, "full disks", 0);
        spells(dice, hosts, end_us, |host, is_full| Trouble::Full { host, is_full }, &mut troubles);
    }
    if scenario.has(Fault::SyncError) {
        let dice = &mut Dice::new(scenario.seed, "failing syncs", 0);
        spells(dice, hosts, end_us, |host, fail| Trouble::Syncs { host, fail }, &mut troubles);
    }
    if scenario.has(Fault::ClockJumps) {
        clocks(&mut Dice::new(scenario.seed, "clocks", 0), hosts, end_us, &mut troubles);
    }
    if let Some(host) = scenario.damaged {
        misdirections(&mut Dice::new(scenario.seed, "misdirections", 0), host, end_us, &mut troubles);
    }
    if let Some(host) = scenario.robbed {
        let at_us = Dice::new(scenario.seed, "lost disk", 0).between(2_000_000, end_us * 3 / 4);
        troubles.push((at_us, Trouble::Lose { host }));
    }
    if let Some(host) = scenario.restored {
        let mut dice = Dice::new(scenario.seed, "old backup", 0);
        let copied_us = dice.between(1_000_000, end_us / 2);
        troubles.push((copied_us, Trouble::Copy { host }));
        let later_us = *dice.pick(&[200_000, 1_500_000, end_us / 4, end_us / 2]);
        troubles.push((copied_us + dice.between(100_000, later_us), Trouble::PutBack { host }));
    }
    if scenario.has(Fault::Absence) {
        absences(&mut Dice::new(scenario.seed, "absences", 0), hosts, end_us, &mut troubles);
    }
    troubles.iter_mut().for_each(|(at_us, _)| *at_us += scenario.calm_ms * 1_000);
    troubles.retain(|(at_us, _)| *at_us < end_us);
    let night = scenario.night_ms.filter(|_| scenario.is_restless);
    troubles.extend(night.map(|ms| (end_us * 3 / 4, Trouble::Night { ms })));
    troubles
}

/// One machine after the other is off for half of the time.
fn absences(dice: &mut Dice, hosts: usize, end_us: u64, troubles: &mut Vec<(u64, Trouble)>) {
    let mut at_us = dice.between(1_000_000, 4_000_000);
    while at_us < end_us {
        let host = dice.index(hosts);
        let until_us = at_us + dice.between(end_us / 3, end_us / 2);
        troubles.push((at_us, Trouble::Away { host, is_away: true }));
        troubles.push((until_us, Trouble::Away { host, is_away: false }));
        at_us = until_us + dice.below(4_000_000);
    }
}

/// Every one to four seconds one machine loses power in the middle of something, or all do.
fn cuts(dice: &mut Dice, hosts: usize, end_us: u64, troubles: &mut Vec<(u64, Trouble)>) {
    let mut at_us = dice.between(300_000, 2_000_000);
    while at_us < end_us {
        let everybody = dice.chance(150);
        let one = dice.index(hosts);
        for host in (0..hosts).filter(|host| everybody || *host == one) {
            troubles.push((at_us, Trouble::Cut { host, operations: dice.below(8) }));
        }
        at_us += dice.between(1_000_000, 4_000_000);
    }
}

/// Now and then a machine is in trouble for a while.
fn spells(
    dice: &mut Dice,
    hosts: usize,
    end_us: u64,
    trouble: impl Fn(usize, bool) -> Trouble,
    troubles: &mut Vec<(u64, Trouble)>,
) {
    let mut at_us = dice.between(500_000, 3_000_000);
    while at_us < end_us {
        let host = dice.index(hosts);
        troubles.push((at_us, trouble(host, true)));
        troubles.push((at_us + dice.between(100_000, 3_000_000), trouble(host, false)));
        at_us += dice.between(1_500_000, 4_500_000);
    }
}

/// One clock at a time is wrong: with more than a third of the stake's clocks wrong at once nobody could tell.
fn clocks(dice: &mut Dice, hosts: usize, end_us: u64, troubles: &mut Vec<(u64, Trouble)>) {
    let mut at_us = dice.between(500_000, 2_000_000);
    while at_us < end_us {
        let host = dice.index(hosts);
        let by: i64 = *dice.pick(&[50, 1_500, 5_000, 90_000]);
        let skew_ms = if dice.chance(500) { by } else { -by };
        let until_us = at_us + dice.between(500_000, 5_000_000);
        troubles.push((at_us, Trouble::Clock { host, skew_ms }));
        troubles.push((until_us, Trouble::Clock { host, skew_ms: 0 }));
        at_us = until_us + dice.below(2_000_000);
    }
}

/// A synced write goes astray, and sooner or later the machine is started again and sees it.
fn misdirections(dice: &mut Dice, host: usize, end_us: u64, troubles: &mut Vec<(u64, Trouble)>) {
    let mut at_us = dice.between(1_000_000, 6_000_000);
    while at_us < end_us {
        troubles.push((at_us, Trouble::Misdirect { host }));
        let seen_us = at_us + dice.between(100_000, 4_000_000);
        troubles.push((seen_us, Trouble::Cut { host, operations: dice.below(12) }));
        at_us = seen_us + dice.between(2_000_000, 5_000_000);
    }
}
