//! `station-agent auction`: what the ledger holds of an auction, and whether its outcome follows from it.

mod export;
mod prefix;
mod recount;
mod trail;
mod verify;

use super::ledger::{Replay, replay};
use crate::zone_file;
use clap::{Args, Subcommand};
use eyre::{Context, bail, eyre};
use ohmesh_ledger::{Object, Zone};
use prefix::Prefix;
use std::path::PathBuf;
use trail::{Search, Trail};

#[derive(Subcommand)]
pub(super) enum AuctionCommand {
    /// Recompute who won an auction, and at what price, from the blocks in an agent's data folder alone: every block
    /// is executed and its certificate checked as by `ledger verify`, then every proof of the auction is checked once
    /// more over its bids in ledger order, and compared with what the ledger says. The folder is only read, and its
    /// agent may run meanwhile.
    Verify(verify::Verify),
    /// Write everything that a second verifier needs to recompute an auction, as JSON: the key of its epoch, the
    /// bytes of intent, bids, releases and outcome, and where the stations stand.
    Export(export::Export),
}

pub(super) fn run(command: AuctionCommand, json: bool) -> eyre::Result<()> {
    match command {
        AuctionCommand::Verify(args) => verify::run(&args, json),
        AuctionCommand::Export(args) => export::run(&args, json),
    }
}

/// Which auction, in which folder.
#[derive(Args)]
struct Source {
    /// The auction's id in hex, or as many of its first digits as no other auction has.
    id: Prefix,
    /// The agent's data folder; the agent may run.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file: the genesis.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
}

/// An auction, and the executed blocks that it was found in.
struct Found {
    zone: Zone,
    trail: Trail,
    replay: Replay,
}

impl Source {
    /// Executes the folder's blocks and finds the auction in them.
    fn find(&self, is_silent: bool) -> eyre::Result<Found> {
        let file = zone_file::read(&self.zone)?;
        let zone = file.sealed().with_context(|| format!("zone file {}", self.zone.display()))?.clone();
        let mut search = Search::new(self.id.clone());
        let replay = replay(&self.data, zone.clone(), is_silent, |seen| search.see(seen))?;
        search.look(&replay.state);
        let Search { found, others, .. } = search;
        match (found, &others[..]) {
            (Some(trail), []) => Ok(Found { zone, trail, replay }),
            (Some(trail), _) => {
                let ids = [vec![trail.id], others].concat();
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                bail!("several auctions' ids begin with {}: {}", self.id, ids.join(", "))
            }
            (None, _) => Err(self.absent(&replay)),
        }
    }

    /// Why no block that was executed opens the auction.
    fn absent(&self, replay: &Replay) -> eyre::Report {
        let (id, data) = (&self.id, self.data.display());
        if let Some(bad) = &replay.bad {
            return eyre!(
                "no auction {id} up to height {}, and {data} does not verify at height {}: {}",
                replay.state.head().height,
                bad.height,
                bad.reason
            );
        }
        let earlier = replay.state.objects().any(|object| match object {
            Object::Auction(auction) => id.matches(auction.intent.id()),
            Object::Finished(finished) => id.matches(finished.id.into()),
            _ => false,
        });
        match replay.from {
            Some(height) if earlier => eyre!(
                "auction {id} was opened before the blocks in {data}, which begin behind the snapshot of height \
                 {height}: ask an agent that keeps them"
            ),
            Some(height) => eyre!(
                "no auction {id} in the blocks from height {} to {} in {data}; the earlier ones are gone",
                height + 1,
                replay.state.head().height
            ),
            None => eyre!("no auction {id} in {data}, up to height {}", replay.state.head().height),
        }
    }
}
