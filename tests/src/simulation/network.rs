//! The way of a message: when it arrives, how often, and whether at all.

use super::{Dice, Fault, Scenario};
use std::collections::BTreeMap;

/// The network between the agents.
pub struct Network {
    dice: Dice,
    loses: bool,
    doubles: bool,
    reorders: bool,
    cuts: Vec<Cut>,
    slow: Vec<Slow>,
    /// When the newest message from one to another arrives, so that the next comes later unless it may overtake.
    newest: BTreeMap<(usize, usize), u64>,
    /// What has happened to messages.
    pub counts: NetworkCounts,
}

/// What has happened to messages.
#[derive(Clone, Copy, Default, Debug)]
pub struct NetworkCounts {
    /// Sent.
    pub sent: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because one could not hear the other.
    pub cut: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Late enough to be overtaken.
    pub reordered: u64,
    /// Sent by an agent whose messages took longer.
    pub delayed: u64,
}

/// Nobody in `to` hears anybody in `from`; both are bit sets of agents.
struct Cut {
    since_us: u64,
    until_us: u64,
    from: u64,
    to: u64,
}

struct Slow {
    since_us: u64,
    until_us: u64,
    agents: u64,
    by_us: u64,
}

impl Network {
    /// The network of a scenario of `agents` agents.
    pub fn new(scenario: &Scenario, agents: usize) -> Self {
        let end_us = scenario.trouble_ms * 1_000;
        let mut cuts = cuts(scenario, agents, end_us);
        if scenario.is_split {
            let a = (1 << (agents / 2)) - 1;
            let b = ((1 << agents) - 1) & !a;
            cuts.extend([(a, b), (b, a)].map(|(from, to)| Cut { since_us: 0, until_us: end_us, from, to }));
        }
        Self {
            dice: Dice::new(scenario.seed, "network", 0),
            loses: scenario.has(Fault::Loss),
            doubles: scenario.has(Fault::Duplication),
            reorders: scenario.has(Fault::Reordering),
            cuts,
            slow: slow(scenario, agents, end_us),
            newest: BTreeMap::new(),
            counts: NetworkCounts::default(),
        }
    }

    /// No message is lost, doubled or held up any more.
    pub fn heal(&mut self) {
        (self.loses, self.doubles, self.reorders) = (false, false, false);
        self.cuts.clear();
        self.slow.clear();
    }

    /// Whether `to` can hear `from`.
    pub fn is_open(&self, now_us: u64, from: usize, to: usize) -> bool {
        !self.cuts.iter().any(|cut| {
            (cut.since_us..cut.until_us).contains(&now_us)
                && cut.from >> from & 1 == 1
                && cut.to >> to & 1 == 1
        })
    }

    /// When a message that is sent now arrives: never, once or twice.
    pub fn arrivals(&mut self, now_us: u64, from: usize, to: usize) -> Vec<u64> {
        self.counts.sent += 1;
        if !self.is_open(now_us, from, to) {
            self.counts.cut += 1;
            return Vec::new();
        }
        // Drawn in any case, so that faults do not shift each other's choices.
        let (is_lost, is_double, is_late) =
            (self.dice.chance(100), self.dice.chance(100), self.dice.chance(200));
        let (latency_us, again_us, late_us) =
            (self.dice.between(5_000, 40_000), self.dice.below(2_000_000), self.dice.below(500_000));
        if self.loses && is_lost {
            self.counts.lost += 1;
            return Vec::new();
        }
        let mut at_us = now_us + latency_us + self.slowed_us(now_us, from);
        let newest = self.newest.entry((from, to)).or_default();
        if self.reorders && is_late {
            self.counts.reordered += 1;
            at_us += late_us;
        } else {
            at_us = at_us.max(*newest + 1);
            *newest = at_us;
        }
        let mut arrivals = vec![at_us];
        if self.doubles && is_double {
            self.counts.doubled += 1;
            arrivals.push(at_us + again_us);
        }
        arrivals
    }

    fn slowed_us(&mut self, now_us: u64, from: usize) -> u64 {
        let is_slow =
            |slow: &&Slow| (slow.since_us..slow.until_us).contains(&now_us) && slow.agents >> from & 1 == 1;
        let by_us = self.slow.iter().filter(is_slow).map(|slow| slow.by_us).max().unwrap_or(0);
        self.counts.delayed += u64::from(by_us > 0);
        by_us
    }
}

fn cuts(scenario: &Scenario, agents: usize, end_us: u64) -> Vec<Cut> {
    let mut dice = Dice::new(scenario.seed, "partitions", 0);
    let mut cuts = Vec::new();
    let mut at_us = dice.between(1_000_000, 3_000_000);
    while scenario.has(Fault::Partition) && at_us < end_us {
        let until_us = at_us + dice.between(500_000, 4_000_000);
        let all = (1 << agents) - 1;
        let from = dice.below(1 << agents);
        let to = if dice.chance(500) { all & !from } else { dice.below(1 << agents) & !from };
        let until_us = until_us.min(end_us);
        cuts.push(Cut { since_us: at_us, until_us, from, to });
        if dice.chance(300) {
            cuts.push(Cut { since_us: at_us, until_us, from: to, to: from });
        }
        at_us = until_us + dice.below(2_500_000);
    }
    cuts
}

fn slow(scenario: &Scenario, agents: usize, end_us: u64) -> Vec<Slow> {
    let mut dice = Dice::new(scenario.seed, "slow agents", 0);
    let mut slow = Vec::new();
    let mut at_us = dice.below(2_000_000);
    while scenario.has(Fault::Delay) && at_us < end_us {
        let until_us = (at_us + dice.between(1_000_000, 5_000_000)).min(end_us);
        let (set, by_us) = (dice.below(1 << agents), dice.between(300_000, 900_000));
        slow.push(Slow { since_us: at_us, until_us, agents: set, by_us });
        at_us = until_us + dice.below(2_000_000);
    }
    slow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_network_delivers_each_message_once_and_in_order() {
        let mut network = Network::new(&Scenario::only(1, None), 4);
        let mut last = 0;
        for sent in 0..200 {
            let arrivals = network.arrivals(sent * 1_000, 0, 1);
            assert_eq!(arrivals.len(), 1);
            assert!(arrivals[0] > last && arrivals[0] > sent * 1_000);
            last = arrivals[0];
        }
    }

    #[test]
    fn a_cut_may_have_one_direction() {
        let asymmetric = (0..50).any(|seed| {
            let network = Network::new(&Scenario::only(seed, Some(Fault::Partition)), 4);
            let mut times = (0..20_000_000).step_by(100_000);
            times.any(|now| network.is_open(now, 0, 1) && !network.is_open(now, 1, 0))
        });
        assert!(asymmetric);
        let mut network = Network::new(&Scenario::only(3, Some(Fault::Partition)), 4);
        network.heal();
        assert!((0..4).all(|to| network.is_open(5_000_000, 0, to)));
    }
}
