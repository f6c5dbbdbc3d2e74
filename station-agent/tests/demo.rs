//! `station-agent demo` as a user starts it: the process, its exit code, its one line of JSON.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn demo(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_station-agent"))
        .arg("demo")
        .args(args)
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{args:?} leaves nothing behind: {left:?}");
    output
}

fn json(args: &[&str]) -> Value {
    let output = demo(&[args, &["--json"]].concat());
    let error = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {error}\n{text}");
    assert!(error.is_empty(), "{args:?}: nothing else is said: {error}");
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// Every check holds, and the figures fit one another.
fn is_right(value: &Value, drivers: u64, validators: u64, seed: u64) {
    for field in ["drivers", "auctions_settled", "winners_verified", "replicas_verified"] {
        assert_eq!(number(value, field), drivers, "{field}: {value}");
    }
    assert_eq!((number(value, "validators"), number(value, "seed")), (validators, seed));
    for check in ["blocks_verified", "money_conserved", "roots_equal", "price_list_is_assumed"] {
        assert_eq!(value[check], Value::Bool(true), "{check}: {value}");
    }
    assert_eq!(value["failures"], Value::Array(Vec::new()));
    let trades = value["trades"].as_array().unwrap();
    let energy_wh: u64 = trades.iter().map(|trade| number(trade, "energy_wh")).sum();
    assert_eq!((trades.len() as u64, energy_wh), (drivers, number(value, "energy_wh")));
    assert!(trades.iter().all(|trade| number(trade, "energy_wh") == number(trade, "need_wh")), "{value}");
    let due: u64 = trades
        .iter()
        .map(|trade| (number(trade, "energy_wh") * number(trade, "price_micro_per_kwh") + 500) / 1_000)
        .sum();
    assert_eq!(number(value, "paid_micro"), due, "each sale is price x energy, rounded once");
    let price = number(value, "price_paid_micro_per_kwh_mean");
    assert!(number(value, "grid_fee_micro_per_kwh") < price, "{value}");
    assert!(number(value, "intents") >= drivers && number(value, "bids") >= drivers, "{value}");
    let p50 = number(value, "ms_intent_to_contract_p50");
    assert!(0 < p50 && p50 <= number(value, "ms_intent_to_contract_p99"));
    // Drivers' accounts and money, stations, outlets; of each sale at least the intent, a bid, the outcome, the
    // acceptance, the contract and its settlement.
    let setup = 2 * drivers + number(value, "stations") + number(value, "outlets");
    assert!(number(value, "transactions") >= setup + 6 * drivers);
    assert!(number(value, "blocks") > 6 && number(value, "block_log_bytes") > 0);
    assert!(number(value, "replica_bytes_mean") > 0);
}

#[test]
fn four_agents_and_one_agent_serve_the_same_needs() {
    let four = json(&["--drivers", "6", "--validators", "4", "--seed", "3"]);
    is_right(&four, 6, 4, 3);
    let one = json(&["--drivers", "6", "--validators", "1", "--seed", "3"]);
    is_right(&one, 6, 1, 3);
    let needs = |value: &Value| -> Vec<u64> {
        value["trades"].as_array().unwrap().iter().map(|trade| number(trade, "need_wh")).collect()
    };
    assert_eq!(needs(&four), needs(&one), "the seed alone decides the needs");
    assert_eq!(four["energy_wh"], one["energy_wh"]);
}

#[test]
fn people_get_a_table_with_every_verdict() {
    let output = demo(&["--drivers", "2", "--validators", "1", "--seed", "9"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  ok      ")).count(), 6, "{text}");
    assert!(text.contains("6 of 6 checks hold") && text.contains("(assumed)"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
}

#[test]
fn wrong_arguments_are_refused_with_a_reason() {
    for (args, named) in [
        (["--drivers", "0"], "0 is not in 1..=200"),
        (["--drivers", "201"], "201 is not in 1..=200"),
        (["--drivers", "many"], "invalid digit"),
        (["--validators", "3"], "1 or 4 agents"),
        (["--validators", "0"], "1 or 4 agents"),
        (["--seed", "-1"], "-1"),
    ] {
        let output = demo(&args);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(error.contains(named), "{args:?}: {error}");
    }
}
