//! `station-agent ledger`: what the ledger says, and whether it is right.

mod export;
mod folder;
mod order;
mod replay;
mod snapshot;
mod status;
mod verify;
mod votes;

pub(super) use replay::{Bad, Replay, Seen, replay};

use clap::Subcommand;

#[derive(Subcommand)]
pub(super) enum LedgerCommand {
    /// Ask an agent for its newest block and for what holds in the zone, and check the proofs.
    Status(status::Status),
    /// Execute an agent's block log again, from genesis to its end: every signature, certificate, root and invariant; and
    /// compare every snapshot with the state at its height. The folder is only read, and its agent may run meanwhile.
    Verify(verify::Verify),
    /// What was sold on each circuit in each quarter of an hour, by the word of the zone's audit key.
    Export(export::Export),
    /// Show the snapshots in an agent's data folder and check every chunk of them; write one.
    Snapshot(snapshot::Snapshot),
    /// Erase the vote keys in a data folder that was put back from an image of a disk or of a machine, or whose files were
    /// written over: what they have signed since is not in it, and signing twice costs the bond. The agent votes again in
    /// the epoch after its next key is on the ledger. (Files that were copied back the agent notices by itself.)
    ForgetVotes(votes::Forget),
    /// Let an agent vote with the keys of a data folder that was moved here: only where nothing is newer than this folder,
    /// and no other copy of it will ever run.
    Adopt(votes::Adopt),
    /// Make an order for an export, or sign it with the audit key.
    #[command(subcommand)]
    Order(order::OrderCommand),
}

pub(super) fn run(command: LedgerCommand, json: bool) -> eyre::Result<()> {
    match command {
        LedgerCommand::Status(args) => status::run(&args, json),
        LedgerCommand::Verify(args) => verify::run(&args, json),
        LedgerCommand::Export(args) => export::run(&args, json),
        LedgerCommand::Snapshot(args) => snapshot::run(&args, json),
        LedgerCommand::ForgetVotes(args) => votes::forget(&args, json),
        LedgerCommand::Adopt(args) => votes::adopt(&args, json),
        LedgerCommand::Order(command) => order::run(command, json),
    }
}
