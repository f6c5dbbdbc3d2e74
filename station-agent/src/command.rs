//! The command line. Each command is one file; what it prints for people it also prints as JSON.

mod auction;
mod charger;
mod check_config;
mod instant;
mod key;
mod ledger;
mod reach;
mod run;
mod station;
mod zone;

pub(crate) use zone::position;

use clap::{Parser, Subcommand};
use eyre::Context as _;
use serde::Serialize;
use std::{
    io::{ErrorKind, Write as _},
    path::Path,
    process::ExitCode,
};

/// An agent of a charging zone: one of those who keep the ledger together.
#[derive(Parser)]
#[command(name = "station-agent", version, arg_required_else_help = true)]
struct Cli {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole thing on this machine: agents over QUIC, drivers with replicas, every check.
    Demo(crate::demo::DemoArgs),
    /// Make, join or show a zone file; propose, sign and submit what the zone's people decide.
    #[command(subcommand)]
    Zone(Box<zone::ZoneCommand>),
    /// Make or show a key file.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Run the agent.
    Run(run::RunArgs),
    /// Check a configuration and everything it names, without running.
    CheckConfig(run::RunArgs),
    /// Make a charger's password, show the chargers, tell them something.
    #[command(subcommand)]
    Charger(charger::ChargerCommand),
    /// Put the operator's stations on the ledger.
    #[command(subcommand)]
    Station(station::StationCommand),
    /// Ask about the ledger, verify it, export from it.
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Recompute an auction from the ledger's bytes, or export it for a second verifier.
    #[command(subcommand)]
    Auction(auction::AuctionCommand),
}

/// Runs the command line of this process: 0 when all went well, 1 when something failed or a check did not hold, 2 for
/// wrong arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(args) => crate::demo::run(args, cli.json),
        Command::Zone(command) => zone::run(*command, cli.json),
        Command::Key(command) => key::run(command, cli.json),
        Command::Run(args) => run::run(args, cli.json),
        Command::CheckConfig(args) => check_config::run(args, cli.json),
        Command::Charger(command) => charger::run(command, cli.json),
        Command::Station(command) => station::run(command, cli.json),
        Command::Ledger(command) => ledger::run(command, cli.json),
        Command::Auction(command) => auction::run(command, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("station-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a result: as JSON, or in its own words.
fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> eyre::Result<()> {
    say(&if json { serde_json::to_string(value)? } else { text() })
}

/// Writes a line to standard output. Who reads it may have seen enough and gone; anything else in the way is an error.
pub(crate) fn say(line: &str) -> eyre::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("standard output"),
    }
}

/// A path that a command writes to; refuses to overwrite unless told so.
fn fresh(path: &Path, force: bool) -> eyre::Result<()> {
    if path.exists() && !force {
        eyre::bail!("{} exists already; --force overwrites it", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_command_has_two_arguments_of_one_name() {
        Cli::command().debug_assert();
    }
}
