//! `station-agent auction` by the real binary, and the second verifier in Python, on auctions that run through the
//! ledger.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the commands of the ledger need more of it")]
#[path = "ledger_commands/chain.rs"]
mod chain;
#[path = "auction_commands/export.rs"]
mod export;
#[path = "auction_commands/market.rs"]
mod market;
#[path = "auction_commands/peer.rs"]
mod peer;
#[path = "auction_commands/verify.rs"]
mod verify;

use std::{
    path::Path,
    process::{Command, Output},
};

fn output(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_station-agent")).args(args).current_dir(folder).output().unwrap()
}

/// What the command prints when all goes well.
fn ok(args: &[&str], folder: &Path) -> String {
    let output = output(args, folder);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the command prints as JSON when all goes well.
fn json(args: &[&str], folder: &Path) -> serde_json::Value {
    serde_json::from_str(&ok(&[args, &["--json"]].concat(), folder)).unwrap()
}

/// What a command that fails with `code` says, on both outputs.
fn refused(args: &[&str], folder: &Path, code: i32) -> String {
    let output = output(args, folder);
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    said
}
