//! `station-agent ledger snapshot`.

use super::{
    folder::{self, Kept},
    replay::replay,
};
use crate::{agent::Written, command::print, disk::Folder, zone_file};
use clap::Args;
use eyre::{Context, bail, eyre};
use ohmesh_ledger::Zone;
use ohmesh_units::{BlockId, Hash, Timestamp};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(in crate::command) struct Snapshot {
    /// The agent's data folder; the agent may run, unless a snapshot is to be written.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
    /// Write a snapshot of the newest block, and let go of the oldest of three. Every block in the folder is executed first,
    /// and what was written is read back before it counts.
    #[arg(long)]
    write: bool,
}

#[derive(Serialize)]
struct Shown {
    /// The height of the one that was written just now.
    written: Option<u64>,
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
    let written = if args.write { write(&args.data, zone, json)? } else { None };
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
    let shown = Shown { written, snapshots };
    print(json, &shown, || text(&shown))?;
    match shown.snapshots.first() {
        None => bail!(
            "{} has no snapshot: an agent writes one every so many blocks, `--write` writes one now",
            args.data.display()
        ),
        Some(One { bad: Some(_), height, .. }) => {
            bail!("the newest snapshot, of height {height}, does not verify")
        }
        Some(_) => Ok(()),
    }
}

/// Writes a snapshot of the newest block; none if there is one already. An error leaves the folder as it was.
fn write(data: &Path, zone: &Zone, is_silent: bool) -> eyre::Result<Option<u64>> {
    folder::segments(data)?; // Opening would make the folder.
    let mut disk = Folder::open(data).with_context(|| format!("data folder {}", data.display()))?;
    let replayed = replay(data, zone.clone(), is_silent, |_| ())?;
    if let Some(bad) = &replayed.bad {
        bail!("{} does not verify at height {}: {}", data.display(), bad.height, bad.reason);
    }
    let head = replayed.head.ok_or_else(|| eyre!("{} has no block yet", data.display()))?;
    let Some(written) = Written::write(&mut disk, &replayed.state, &head)? else { return Ok(None) };
    let height = head.0.height;
    let reason = match folder::restore(data, zone, height) {
        Ok(restored) if restored.is_of(&replayed.state) => {
            written.keep(&mut disk)?;
            return Ok(Some(height));
        }
        Ok(_) => "another state is read back".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    written.discard(&mut disk)?;
    bail!("the snapshot of height {height} does not read as it was written, and is removed: {reason}")
}

fn text(shown: &Shown) -> String {
    let written = shown.written.map(|height| format!("written    height {height}"));
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
    written.into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}
