//! Runs simulated committees by seed and says what came of them. Exits with 1 if a rule did not hold, and then says how to run
//! that history again.

use clap::Parser;
use ohmesh_tests::simulation::{Comparison, Fault, Outcome, Scenario, Study, run};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Instant};

/// Whole committees of agents by seed, on virtual time, with every fault the design has to survive.
#[derive(Parser)]
struct Arguments {
    /// Runs the scenarios of this many seeds, every tenth one twice.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Runs one seed and tells its story.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: four validators with this fault alone; `calm` for none.
    #[arg(long, requires = "seed")]
    only: Option<String>,
    /// Seeds with each fault alone and in a calm world; 0 leaves the comparison out.
    #[arg(long, default_value_t = 8)]
    compare: u64,
    /// Threads; as many as there are cores if it is not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Writes JSON to standard output.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let passed = match arguments.seed {
        Some(seed) => one(seed, arguments.only.as_deref(), arguments.json),
        None => many(&arguments),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs one seed and tells its story.
fn one(seed: u64, only: Option<&str>, as_json: bool) -> Result<bool, String> {
    let scenario = match only {
        None => Scenario::of_seed(seed),
        Some("calm") => Scenario::only(seed, None),
        Some(fault) => Scenario::only(seed, Some(fault.parse()?)),
    };
    let outcome = run(&scenario, true);
    if as_json {
        println!("{}", outcome_json(&outcome));
    } else {
        outcome.story.iter().for_each(|line| println!("{line}"));
        println!("{scenario:?}");
        println!("{}", line(&outcome));
    }
    Ok(outcome.violation.is_none())
}

/// Runs many seeds, and each fault alone beside a calm world.
fn many(arguments: &Arguments) -> Result<bool, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores);
    let last = arguments.first.checked_add(arguments.seeds).ok_or("too many seeds")?;
    let last_compared = arguments.first.checked_add(arguments.compare).ok_or("too many seeds")?;
    let began = Instant::now();
    let study = Study::of_seeds(arguments.first..last, threads);
    let comparison = Comparison::of_seeds(arguments.first..last_compared, threads);
    let seconds = began.elapsed().as_secs();
    if arguments.json {
        println!("{}", study_json(&study, &comparison));
    } else {
        print_study(&study, seconds);
        if arguments.compare > 0 {
            print!("{comparison}");
        }
    }
    let missing = if arguments.seeds >= ENOUGH { study.missing() } else { Vec::new() };
    for fault in &missing {
        eprintln!("{fault} never happened: these seeds say nothing about it");
    }
    let unseen = if arguments.seeds >= ENOUGH_FOR_ALL { study.unseen() } else { Vec::new() };
    for what in &unseen {
        eprintln!("{what}: in no history");
    }
    let mut passed = missing.is_empty() && unseen.is_empty();
    for outcome in study.failed() {
        passed = false;
        eprintln!("{}\n  again: {COMMAND} --seed {}", line(outcome), outcome.seed);
    }
    for row in &comparison.rows {
        let name = row.fault.map_or("calm", Fault::name);
        for seed in &row.failed {
            passed = false;
            eprintln!("{name}, seed {seed}: failed\n  again: {COMMAND} --seed {seed} --only {name}");
        }
    }
    for seed in &study.unequal {
        passed = false;
        eprintln!("seed {seed} gives two histories\n  again: {COMMAND} --seed {seed}");
    }
    Ok(passed)
}

fn print_study(study: &Study, seconds: u64) {
    let sum = |of: fn(&Outcome) -> u64| study.sum(of);
    println!(
        "{} seeds in {seconds} s: {} heights, {} of them while faults lasted; {} run twice, {} unequal",
        study.outcomes.len(),
        sum(|o| o.height),
        sum(|o| o.height_in_trouble),
        study.repeated.len(),
        study.unequal.len(),
    );
    println!(
        "{} messages, {} writes and syncs, {} crashes, {} transactions acknowledged, none lost unless said below",
        sum(|o| o.network.sent),
        sum(|o| o.disks.operations),
        sum(|o| o.crashes),
        sum(|o| o.acknowledged),
    );
    let worst = study.outcomes.iter().map(|outcome| outcome.healed_ms).max().unwrap_or(0);
    let slow = study.outcomes.iter().max_by_key(|outcome| outcome.healed_ms).map_or(0, |o| o.seed);
    println!(
        "after the faults all honest agents gained their heights within {} ms at worst (seed {slow}), {} ms on average",
        worst,
        sum(|o| o.healed_ms) / (study.outcomes.len() as u64).max(1),
    );
    print_recovery(study);
    print_books(study);
    let happened = Fault::ALL.map(|fault| format!("{fault} {}", study.sum(|o| o.times(fault))));
    println!("happened: {}", happened.join(", "));
    let mut stops = std::collections::BTreeMap::<&str, u64>::new();
    for (name, times) in study.outcomes.iter().flat_map(|outcome| &outcome.stops) {
        *stops.entry(name).or_default() += times;
    }
    println!(
        "agents that stopped by themselves, by error: {stops:?}; came back from a damaged disk with less than they told: {}",
        sum(|o| o.forgot)
    );
    println!(
        "{} proofs of equivocation, {} messages refused as faults",
        sum(|o| o.equivocations),
        sum(|o| o.refusals)
    );
}

fn print_recovery(study: &Study) {
    let sum = |of: fn(&Outcome) -> u64| study.sum(of);
    println!(
        "{} epochs ended, vote keys and all; {} states fetched from others, {} of them with poison about; \
         {} agents joined and became validators",
        sum(|o| o.epochs),
        sum(|o| o.rebuilt),
        sum(|o| o.rebuilt_among_liars),
        sum(|o| o.seated),
    );
    println!(
        "{} disks put back from old copies, {} agents that found votes they did not remember, {} nights of everybody",
        sum(|o| o.disks.put_back),
        sum(|o| o.forgetful),
        sum(|o| o.nights),
    );
}

fn print_books(study: &Study) {
    let sum = |of: fn(&Outcome) -> u64| study.sum(of);
    println!(
        "auctions: {} won, {} not, {} winners that did not come; contracts: {} paid, {} waived or expired; claims: {} disputed, {} resolved",
        sum(|o| o.books.won),
        sum(|o| o.books.unsold),
        sum(|o| o.books.no_shows),
        sum(|o| o.books.paid),
        sum(|o| o.books.lapsed),
        sum(|o| o.books.disputed),
        sum(|o| o.books.resolved),
    );
    println!("books kept over {} heights, {} heights not read", sum(|o| o.read), sum(|o| o.unread));
}

fn line(outcome: &Outcome) -> String {
    let faults: Vec<&str> = outcome.faults.iter().map(|fault| fault.name()).collect();
    let result = match &outcome.violation {
        Some(violation) => format!("BROKEN {violation}"),
        None => format!("healed after {} ms", outcome.healed_ms),
    };
    format!(
        "seed {}: {} validators, [{}], {} heights in trouble, {} in all, rounds up to {}: {result}",
        outcome.seed,
        outcome.validators,
        faults.join(" "),
        outcome.height_in_trouble,
        outcome.height,
        outcome.round_max,
    )
}

fn outcome_json(outcome: &Outcome) -> Value {
    let happened: serde_json::Map<String, Value> =
        Fault::ALL.iter().map(|fault| (fault.name().to_owned(), outcome.times(*fault).into())).collect();
    json!({
        "seed": outcome.seed,
        "faults": outcome.faults.iter().map(|fault| fault.name()).collect::<Vec<_>>(),
        "validators": outcome.validators,
        "heights_in_trouble": outcome.height_in_trouble,
        "heights": outcome.height,
        "heights_per_1000_s": outcome.heights_per_1000_s(),
        "healed_ms": outcome.healed_ms,
        "round_max": outcome.round_max,
        "late_rounds": outcome.late_rounds,
        "gap_ms_max": outcome.gap_ms_max,
        "epochs": outcome.epochs,
        "rebuilt": outcome.rebuilt,
        "seated": outcome.seated,
        "nights": outcome.nights,
        "auctions": [outcome.books.won, outcome.books.unsold, outcome.books.no_shows],
        "contracts": [outcome.books.paid, outcome.books.lapsed],
        "claims": [outcome.books.disputed, outcome.books.resolved],
        "heights_unread": outcome.unread,
        "acknowledged": outcome.acknowledged,
        "crashes": outcome.crashes,
        "stops": outcome.stops,
        "happened": happened,
        "trace": outcome.trace.map(|trace| trace.to_string()),
        "violation": outcome.violation.as_ref().map(ToString::to_string),
    })
}

fn study_json(study: &Study, comparison: &Comparison) -> Value {
    let rows: Vec<Value> = comparison
        .rows
        .iter()
        .map(|row| {
            json!({
                "fault": row.fault.map_or("calm", Fault::name),
                "happened": row.times,
                "heights_per_1000_s": row.heights_per_1000_s,
                "per_mille_of_calm": row.per_mille_of_calm,
                "slowest_per_1000_s": row.slowest_per_1000_s,
                "late_per_mille": row.late_per_mille,
                "round_max": row.round_max,
                "gap_ms_max": row.gap_ms_max,
                "healed_ms": row.healed_ms,
                "healed_ms_max": row.healed_ms_max,
                "failed": row.failed,
            })
        })
        .collect();
    json!({
        "seeds": study.outcomes.iter().map(outcome_json).collect::<Vec<_>>(),
        "repeated": study.repeated,
        "unequal": study.unequal,
        "alone": rows,
    })
}

/// How this program is started.
const COMMAND: &str = "cargo run --profile ci -p ohmesh-tests --bin simulate --";
/// With so many seeds every fault must have happened.
const ENOUGH: u64 = 50;
/// With so many seeds everything that people and agents may come to must have been seen.
const ENOUGH_FOR_ALL: u64 = 200;
