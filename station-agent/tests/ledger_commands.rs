//! `station-agent ledger` and the decisions of a zone's people, by the real binary: on chains that are made here block by
//! block, and on agents that run.

#![allow(clippy::unwrap_used)]

#[path = "ledger_commands/chain.rs"]
mod chain;
#[path = "ledger_commands/export.rs"]
mod export;
#[path = "ledger_commands/govern.rs"]
mod govern;
#[path = "ledger_commands/join.rs"]
mod join;
#[path = "ledger_commands/resolve.rs"]
mod resolve;
#[path = "ledger_commands/snapshot.rs"]
mod snapshot;
#[path = "ledger_commands/verify.rs"]
mod verify;

use std::{
    path::Path,
    process::{Command, Output},
};

fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_station-agent"))
}

fn output(args: &[&str], folder: &Path) -> Output {
    agent().args(args).current_dir(folder).output().unwrap()
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
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    said
}
