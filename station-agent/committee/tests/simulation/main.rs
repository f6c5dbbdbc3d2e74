//! Whole committees in virtual time, by seed: safety in all kinds of trouble, progress after it.
#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_possible_truncation)] // The numbers of a simulation are small.

mod world;

use world::{Outcome, Scenario, run};

/// Heights that every honest agent gains at least in the calm after the trouble.
const PROGRESS: u64 = 8;

fn base(seed: u64) -> Scenario {
    Scenario {
        seed,
        stakes: vec![10; 4],
        liars: vec![],
        observers: 0,
        crashes: true,
        loss: 50,
        partitions: true,
        shared_work: false,
        trouble_ms: 8_000,
        calm_ms: 12_000,
    }
}

fn run_seeds(
    name: &str,
    seeds: std::ops::RangeInclusive<u64>,
    scenario: impl Fn(u64) -> Scenario,
) -> Outcome {
    let (mut sum, mut worlds, mut gained_min) = (Outcome::default(), 0, u64::MAX);
    for seed in seeds {
        let outcome = run(scenario(seed));
        let gained = outcome.height - outcome.height_after_trouble;
        assert!(gained >= PROGRESS, "{name}, seed {seed}: no progress after the trouble: {outcome:?}");
        worlds += 1;
        gained_min = gained_min.min(gained);
        sum.height += outcome.height;
        sum.height_after_trouble += outcome.height_after_trouble;
        sum.crashes += outcome.crashes;
        sum.equivocations += outcome.equivocations;
        sum.synced += outcome.synced;
        sum.rounds_max = sum.rounds_max.max(outcome.rounds_max);
    }
    println!(
        "{name}: {worlds} worlds, {} heights ({} in trouble, at least {gained_min} after it), {} crashes, \
         {} blocks by sync, {} equivocations, rounds up to {}",
        sum.height, sum.height_after_trouble, sum.crashes, sum.synced, sum.equivocations, sum.rounds_max
    );
    sum
}

#[test]
fn four_equal_validators_with_crashes_loss_and_partitions() {
    let sum = run_seeds("4 equal", 1..=24, base);
    assert!(sum.crashes > 100 && sum.synced > 20, "the trouble was real: {sum:?}");
}

#[test]
fn four_validators_one_of_which_lies() {
    let scenario = |seed| Scenario { liars: vec![3], crashes: seed % 2 == 0, ..base(seed) };
    let sum = run_seeds("4 equal, one lies", 101..=116, scenario);
    assert!(sum.equivocations > 20, "liars are convicted: {sum:?}");
}

#[test]
fn seven_unequal_stakes_the_second_of_which_lies() {
    let stakes = vec![30, 20, 15, 10, 10, 10, 5];
    let scenario = |seed| Scenario { stakes: stakes.clone(), liars: vec![1], ..base(seed) };
    let sum = run_seeds("30/20/15/10/10/10/5, the 20 lies", 201..=212, scenario);
    assert!(sum.equivocations > 20, "liars are convicted: {sum:?}");
}

#[test]
fn validators_and_observers_without_trouble_decide_at_their_pace() {
    let scenario = |seed| Scenario {
        observers: 1,
        crashes: false,
        loss: 0,
        partitions: false,
        shared_work: true,
        trouble_ms: 0,
        calm_ms: 10_000,
        ..base(seed)
    };
    let sum = run_seeds("4 equal, calm, one observer", 301..=304, scenario);
    assert_eq!(sum.rounds_max, 0, "nothing fails");
    assert!(sum.height > 4 * 12, "{sum:?}");
}

#[test]
fn one_and_two_validators() {
    run_seeds("alone", 401..=404, |seed| Scenario { stakes: vec![1], ..base(seed) });
    run_seeds("2 of 3 to 1", 405..=410, |seed| Scenario { stakes: vec![3, 1], ..base(seed) });
}

#[test]
fn one_seed_is_one_history() {
    let scenario = Scenario { liars: vec![2], ..base(7) };
    let (first, second) = (run(scenario.clone()), run(scenario));
    assert_eq!(first, second);
    assert_ne!(first.trace, run(base(8)).trace);
}

/// The long run, for `cargo test -- --ignored`.
#[test]
#[ignore = "2,000 seeds take minutes"]
fn two_thousand_seeds() {
    let stakes = vec![30, 20, 15, 10, 10, 10, 5];

    run_seeds("4 equal", 1_001..=1_800, base);
    run_seeds("4 equal, one lies", 2_001..=2_700, |seed| Scenario {
        liars: vec![seed as usize % 4],

        crashes: seed % 2 == 0,
        ..base(seed)
    });
    run_seeds("7 unequal, the 20 lies", 3_001..=3_500, |seed| Scenario {
        stakes: stakes.clone(),
        liars: vec![1],

        ..base(seed)
    });
}
