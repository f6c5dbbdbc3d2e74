//! Committees by seed with every fault, and proof that the checker sees what it is there to see.

use ohmesh_tests::simulation::{Comparison, Fault, Scenario, Study, run};
use std::collections::BTreeSet;

/// Four validators whose scenario is as given otherwise.
fn with(seed: u64, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut scenario = Scenario::only(seed, None);
    change(&mut scenario);
    scenario
}

#[test]
fn committees_survive_every_fault_and_go_on() {
    let study = Study::of_seeds(1..41, 2);
    let failed: Vec<_> = study.failed().map(|outcome| (outcome.seed, &outcome.violation)).collect();
    assert!(failed.is_empty(), "again: simulate --seed {failed:?}");
    assert_eq!(study.repeated, [10, 20, 30, 40]);
    assert!(study.unequal.is_empty(), "one seed, two histories: {:?}", study.unequal);
    assert_eq!(study.missing(), [], "each fault really happened");
    assert!(study.sum(|outcome| outcome.acknowledged) > 1_000, "and people did things meanwhile");
}

#[test]
fn each_fault_alone_slows_and_does_not_stop() {
    let comparison = Comparison::of_seeds(1..4, 2);
    for row in &comparison.rows {
        assert!(row.failed.is_empty(), "{:?} {:?}", row.fault, row.failed);
        assert!(row.fault.is_none() || row.times > 0, "{:?} never happened", row.fault);
        // With one fault at a time a committee of four decides at half its pace or better, most often much better.
        assert!(row.per_mille_of_calm >= 400, "{row:?}");
    }
    let calm = &comparison.rows[0];
    assert_eq!((calm.late_per_mille, calm.round_max), (0, 0), "nothing fails in the calm");
}

#[test]
fn two_seeds_are_two_histories() {
    let [first, again, other] = [7, 7, 8].map(|seed| run(&Scenario::of_seed(seed), false));
    assert_eq!(first.trace, again.trace);
    assert_ne!(first.trace, other.trace);
}

/// Control: a disk that says "synced" and is not loses what was acknowledged, and the checker says so.
#[test]
fn the_checker_sees_a_disk_that_lies() {
    for seed in 1..=4 {
        let outcome = run(&with(seed, |scenario| scenario.disks_lie = true), false);
        let violation = outcome.violation.expect("a lying disk loses acknowledged blocks");
        // What it lost it may notice first by its own other files, by votes of its own that others show it, or by
        // signing a second time what it forgot.
        let rules = ["I12", "stopped", "double sign", "forgetful"];
        assert!(rules.contains(&violation.rule.as_str()), "{violation}");
    }
    let rules = (1..=12).map(|seed| run(&with(seed, |s| s.disks_lie = true), false).violation.unwrap().rule);
    assert!(rules.collect::<BTreeSet<_>>().contains("I12"), "most often by its height");
}

/// Control: two of four with one key each in two places, and a network that keeps the halves apart: a fork, which the
/// checker sees. It is also what the assumption "less than a third" is worth.
#[test]
fn the_checker_sees_a_fork_when_two_of_four_run_twice() {
    for seed in 1..=3 {
        let scenario = with(seed, |scenario| {
            scenario.faults.insert(Fault::Equivocation);
            scenario.liars = BTreeSet::from([0, 1]);
            scenario.is_split = true;
        });
        let violation = run(&scenario, false).violation.expect("two committees of three");
        assert_eq!(violation.rule, "I9", "{violation}");
        assert!(violation.seen.contains("fork") || violation.seen.contains("does not follow"), "{violation}");
    }
}

/// Control: two of four that say nothing stop the committee, and the checker does not take a standstill for health.
#[test]
fn the_checker_sees_a_standstill_when_two_of_four_withhold() {
    let scenario = with(5, |scenario| {
        scenario.faults.insert(Fault::Withholding);
        scenario.liars = BTreeSet::from([0, 1]);
        scenario.mute = true;
    });
    let outcome = run(&scenario, false);
    let violation = outcome.violation.expect("two of four are no quorum");
    assert_eq!((violation.rule.as_str(), outcome.height), ("liveness", 0), "{violation}");
}
