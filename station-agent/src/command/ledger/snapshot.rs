//! `station-agent ledger snapshot`.

use super::folder::{self, Kept};
use crate::{command::print, zone_file};
use clap::Args;
use eyre::{Context, bail};
use ohmesh_units::{BlockId, Hash, Timestamp};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::command) struct Snapshot {
    /// The agent's data folder; the agent may run.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
}

#[derive(Serialize)]
struct Shown {
    snapshots: Vec<One>,
}

/// A snapshot in the folder; the numbers are none if it is bad.
#[derive(Serialize)]
struct One {
    height: u64,
    bytes: u64,
    chunks: Option<u64>,
    leaves: Option<u64>,
    epoch: Option<u64>,
    block: Option<BlockId>,
    time: Option<Timestamp>,
    objects_root: Option<Hash>,
    bad: Option<String>,
}

pub(super) fn run(args: &Snapshot, json: bool) -> eyre::Result<()> {
    let file = zone_file::read(&args.zone)?;
    let zone = file.sealed().with_context(|| format!("zone file {}", args.zone.display()))?;
    let mut snapshots = Vec::new();
    for kept in folder::snapshots(&args.data)?.into_iter().rev() {
        let Kept { height, bytes } = kept;
        let one = One {
            height,
            bytes,
            chunks: None,
            leaves: None,
            epoch: None,
            block: None,
            time: None,
            objects_root: None,
            bad: None,
        };
        snapshots.push(match folder::restore(&args.data, zone, height) {
            Ok(restored) => One {
                chunks: Some(restored.chunks),
                leaves: Some(restored.leaves),
                epoch: Some(restored.header.epoch),
                block: Some(restored.header.id()),
                time: Some(restored.header.time),
                objects_root: Some(restored.state.roots().objects.hash),
                ..one
            },
            Err(error) => One { bad: Some(format!("{error:#}")), ..one },
        });
    }
    let shown = Shown { snapshots };
    print(json, &shown, || text(&shown))?;
    match shown.snapshots.first() {
        None => bail!("{} has no snapshot: an agent writes one every so many blocks", args.data.display()),
        Some(One { bad: Some(_), height, .. }) => {
            bail!("the newest snapshot, of height {height}, does not verify")
        }
        Some(_) => Ok(()),
    }
}

fn text(shown: &Shown) -> String {
    let lines = shown.snapshots.iter().map(|one| match (&one.bad, &one.block, &one.time, &one.objects_root) {
        (None, Some(block), Some(time), Some(root)) => format!(
            "OK         height {}, {} bytes in {} chunks, {} leaves\nblock      {block}\ntime       {time}, epoch {}\n\
             objects    root {root}",
            one.height,
            one.bytes,
            one.chunks.unwrap_or(0),
            one.leaves.unwrap_or(0),
            one.epoch.unwrap_or(0)
        ),
        (bad, ..) => {
            format!("BAD        height {}, {} bytes: {}", one.height, one.bytes, bad.as_deref().unwrap_or("unknown"))
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}
