//! `station-agent ledger forget-votes` and `ledger adopt`: what a data folder that was put back from a copy needs.
//!
//! An agent sees by itself that its folder was copied file by file. It cannot see that a whole file system was set back, nor
//! that its operator moved the folder to another machine and knows that nothing is newer.

use super::folder;
use crate::{agent::WAL, command::print, disk::Folder, vote_keys::VoteKeys, zone_file};
use clap::Args;
use eyre::{Context, bail};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(in crate::command) struct Forget {
    /// The agent's data folder; the agent must not run.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
    /// Even if no other validator is left: nobody can decide anything any more then.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(in crate::command) struct Adopt {
    /// The agent's data folder; the agent must not run.
    #[arg(long, default_value = "data")]
    data: PathBuf,
}

#[derive(Serialize)]
struct Done {
    vote_keys: usize,
    forgotten: bool,
}

pub(super) fn forget(args: &Forget, json: bool) -> eyre::Result<()> {
    let (mut disk, mut keys) = open(&args.data)?;
    let file = zone_file::read(&args.zone)?;
    let zone = file.sealed().with_context(|| format!("zone file {}", args.zone.display()))?;
    let hand_overs = folder::hand_overs(&args.data, zone)?;
    let newest = hand_overs.last().map_or(zone.validators.voters(), |hand_over| &hand_over.voters);
    if let [only] = newest.all()
        && keys.has(&only.key)
        && !args.force
    {
        bail!(
            "{} is of the only validator: without its vote key zone {} ends. If nothing is newer than this folder, \
             `station-agent ledger adopt`; else --force",
            args.data.display(),
            zone.name
        );
    }
    let done = Done { vote_keys: keys.count(), forgotten: true };
    keys.forget(&mut disk)?;
    print(json, &done, || {
        format!(
            "erased     {} vote keys\nnext       start the agent: it follows, makes a new key known by itself, and votes in \
             the epoch after",
            done.vote_keys
        )
    })
}

pub(super) fn adopt(args: &Adopt, json: bool) -> eyre::Result<()> {
    let (mut disk, mut keys) = open(&args.data)?;
    keys.adopt(&mut disk, WAL)?;
    let done = Done { vote_keys: keys.count(), forgotten: false };
    print(json, &done, || {
        format!(
            "adopted    {} vote keys: this folder is taken for the only one, and for the newest that there ever was",
            done.vote_keys
        )
    })
}

/// The folder, locked, and the vote keys in it.
fn open(data: &Path) -> eyre::Result<(Folder, VoteKeys)> {
    let context = || format!("data folder {}", data.display());
    if !data.join(VoteKeys::FILE).exists() {
        bail!("{} has no {}: it is not the data folder of an agent that votes", context(), VoteKeys::FILE);
    }
    let disk = Folder::open(data).with_context(context)?;
    let keys = VoteKeys::open(&disk).with_context(context)?;
    Ok((disk, keys))
}
