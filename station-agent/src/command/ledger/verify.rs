//! `station-agent ledger verify`.

use super::{
    folder::Tail,
    replay::{Bad, Replay, replay},
};
use crate::{command::print, zone_file};
use clap::Args;
use eyre::{Context, bail};
use ohmesh_ledger::{Object, StateRoots};
use ohmesh_units::{BlockId, Timestamp, ZoneId};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::command) struct Verify {
    /// The agent's data folder.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file: the genesis.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
}

#[derive(Serialize)]
struct Verdict {
    ok: bool,
    zone: ZoneId,
    /// The snapshot it was executed from; none: genesis.
    from_snapshot: Option<u64>,
    /// Blocks before that snapshot that are still there.
    not_executed: u64,
    height: u64,
    block: Option<BlockId>,
    time: Option<Timestamp>,
    epoch: u64,
    roots: StateRoots,
    blocks: u64,
    transactions: u64,
    postings: u64,
    objects: usize,
    accounts: usize,
    hand_overs: u64,
    audits: u64,
    /// The heights of the snapshots that make the state which the blocks make.
    snapshots: Vec<u64>,
    /// Of those that are good by themselves, and that no executed block leads to.
    snapshots_not_compared: Vec<u64>,
    first_bad: Option<Bad>,
    unfinished: Option<Tail>,
}

pub(super) fn run(args: &Verify, json: bool) -> eyre::Result<()> {
    let file = zone_file::read(&args.zone)?;
    let zone = file.sealed().with_context(|| format!("zone file {}", args.zone.display()))?;
    let replayed = replay(&args.data, zone.clone(), json, |_| ())?;
    let verdict = verdict(replayed);
    print(json, &verdict, || text(&verdict))?;
    match &verdict.first_bad {
        None => Ok(()),
        Some(bad) => bail!("{} does not verify at height {}", args.data.display(), bad.height),
    }
}

fn verdict(replay: Replay) -> Verdict {
    let state = &replay.state;
    let bad = [replay.bad, replay.bad_snapshot].into_iter().flatten().min_by_key(|bad| bad.height);
    Verdict {
        ok: bad.is_none(),
        zone: *state.zone_id(),
        from_snapshot: replay.from,
        not_executed: replay.skipped,
        height: state.head().height,
        block: replay.head.as_ref().map(|(header, _)| header.id()),
        time: replay.head.as_ref().map(|(header, _)| header.time),
        epoch: state.epoch().number,
        roots: *state.roots(),
        blocks: replay.blocks,
        transactions: replay.transactions,
        postings: replay.postings,
        objects: state.objects().count(),
        accounts: state.objects().filter(|object| matches!(object, Object::Account(_))).count(),
        hand_overs: replay.hand_overs,
        audits: replay.audits,
        snapshots: replay.snapshots,
        snapshots_not_compared: replay.snapshots_alone,
        first_bad: bad,
        unfinished: replay.tail,
    }
}

fn from(verdict: &Verdict) -> String {
    match (verdict.from_snapshot, verdict.not_executed) {
        (None, _) => "genesis".to_owned(),
        (Some(height), 0) => format!("the snapshot of height {height}"),
        (Some(height), more) => format!("the snapshot of height {height} (not the {more} before it)"),
    }
}

fn text(verdict: &Verdict) -> String {
    let mut lines = vec![match &verdict.first_bad {
        None => format!("OK: every block from {} to height {}", from(verdict), verdict.height),
        Some(bad) => format!("BAD at height {}: {}", bad.height, bad.reason),
    }];
    if verdict.first_bad.is_some() {
        lines.push(format!("good to    height {}", verdict.height));
    }
    if let (Some(block), Some(time)) = (verdict.block, verdict.time) {
        lines.push(format!("block      {block}"));
        lines.push(format!("time       {time}"));
    }
    let roots = &verdict.roots;
    lines.push(format!("epoch      {}, {} hand-overs", verdict.epoch, verdict.hand_overs));
    lines.push(format!("objects    {}, root {}", verdict.objects, roots.objects.hash));
    lines.push(format!(
        "energy     {} balances, root {}",
        roots.energy.balances.count, roots.energy.balances.hash
    ));
    lines.push(format!(
        "grid       {} balances, root {}",
        roots.grid.balances.count, roots.grid.balances.hash
    ));
    lines.push(format!(
        "counted    {} blocks, {} transactions, {} postings, {} accounts",
        verdict.blocks, verdict.transactions, verdict.postings, verdict.accounts
    ));
    lines.push(format!("invariants checked over the whole state {} times", verdict.audits));
    let heights = |heights: &[u64]| heights.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    if !verdict.snapshots.is_empty() {
        let of = heights(&verdict.snapshots);
        lines.push(format!("snapshots  of height {of}: each makes the state that the blocks make"));
    }
    if !verdict.snapshots_not_compared.is_empty() {
        let of = heights(&verdict.snapshots_not_compared);
        lines.push(format!(
            "snapshots  of height {of}: certified, but no block that was executed leads there"
        ));
    }
    if let Some(tail) = &verdict.unfinished {
        lines.push(format!(
            "unfinished {} bytes at byte {}: a block that is being written, or what a crash left of one",
            tail.bytes, tail.offset
        ));
    }
    lines.join("\n")
}
