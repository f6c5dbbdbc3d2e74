//! An agent's block log executed again, from genesis, or from a snapshot if the first blocks are gone; and every snapshot
//! compared with the state at its height.

use super::folder::{self, BLOCKS, Frozen, HAND_OVERS, Segment, Tail};
use crate::record_log::{LogError, RecordLog};
use eyre::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ohmesh_ledger::{Applied, Block, Certificate, Header, State, Zone, open_block};
use ohmesh_units::{BlockId, Canonical, Hash, Reader};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// A good block, shown just before what it changes is made.
pub(in crate::command) struct Seen<'a> {
    /// The block.
    pub(in crate::command) block: &'a Block,
    /// The state that it was executed on.
    pub(in crate::command) before: &'a State,
    /// What it changes.
    pub(in crate::command) applied: &'a Applied,
}

/// A block log that was executed as far as it is good.
pub(in crate::command) struct Replay {
    /// The state after the last good block.
    pub(in crate::command) state: State,
    /// The height of the snapshot from which it was executed; none: from genesis.
    pub(in crate::command) from: Option<u64>,
    /// Blocks before that snapshot, which no state is there to execute on: only their frames were checked.
    pub(super) skipped: u64,
    /// The header of the last good block, with its certificate; none if there is no block.
    pub(super) head: Option<(Header, Certificate)>,
    /// The last block of each epoch that ended in a good one.
    ends: BTreeMap<u64, BlockId>,
    is_audited: bool,
    /// Good blocks.
    pub(super) blocks: u64,
    /// Their transactions.
    pub(super) transactions: u64,
    /// Their postings in both journals.
    pub(super) postings: u64,
    /// How often every invariant was checked over the whole state.
    pub(super) audits: u64,
    /// Hand-overs from genesis on that were checked.
    pub(super) hand_overs: u64,
    /// Snapshots whose height has not been reached.
    due: BTreeSet<u64>,
    /// The heights of good snapshots: each makes the state that the blocks up to it make.
    pub(super) snapshots: Vec<u64>,
    /// The heights of snapshots that are good by themselves, and that no executed block leads to.
    pub(super) snapshots_alone: Vec<u64>,
    /// The first bad snapshot.
    pub(super) bad_snapshot: Option<Bad>,
    /// What is wrong with the blocks or the hand-overs, if anything is.
    pub(in crate::command) bad: Option<Bad>,
    /// What is behind the last whole block, if anything is.
    pub(super) tail: Option<Tail>,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub(in crate::command) struct Bad {
    /// The height at which it is.
    pub(in crate::command) height: u64,
    /// What it is.
    pub(in crate::command) reason: String,
}

/// Executes the log in the folder `path` of an agent of `zone`. `seen` is shown every good block. An error means that there
/// is nothing to execute: no such folder, or another zone's.
pub(in crate::command) fn replay(
    path: &Path,
    zone: Zone,
    is_silent: bool,
    mut seen: impl FnMut(&Seen<'_>),
) -> eyre::Result<Replay> {
    let segments = folder::segments(path)?;
    let progress = progress(segments.iter().map(|segment| segment.bytes).sum(), is_silent)?;
    let mut replay = Replay::genesis(zone);
    replay.due = folder::snapshots(path)?.into_iter().map(|kept| kept.height).collect();
    for segment in &segments {
        if segment.first > replay.state.head().height + 1 && !replay.restore(path, segment)? {
            break;
        }
        replay.run(path, segment, &mut |good, bytes| {
            seen(good);
            progress.inc(bytes);
        })?;
        if replay.bad.is_some() {
            break;
        }
    }
    progress.finish_and_clear();
    if replay.bad.is_none() && !replay.is_audited {
        replay.audit();
    }
    if replay.bad.is_none() {
        replay.check_hand_overs(path)?;
    }
    if replay.bad.is_none() {
        replay.check_snapshots_left(path)?;
    }
    Ok(replay)
}

/// Whether a frame is of a block that the state has behind it already. One that does not read is not.
fn before_snapshot(payload: &[u8], height: u64) -> bool {
    let mut reader = Reader::new(payload);
    let certificate = reader.record().and_then(|_| reader.record()).map(Certificate::decode);
    matches!(certificate, Some(Ok(certificate)) if certificate.height <= height)
}

/// Why a segment is not read to its end.
enum Stop {
    Log(LogError),
    Block(String),
    Audit,
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl Replay {
    fn genesis(zone: Zone) -> Self {
        Self {
            state: State::genesis(zone),
            from: None,
            skipped: 0,
            head: None,
            ends: BTreeMap::new(),
            is_audited: false,
            blocks: 0,
            transactions: 0,
            postings: 0,
            audits: 0,
            hand_overs: 0,
            due: BTreeSet::new(),
            snapshots: Vec::new(),
            snapshots_alone: Vec::new(),
            bad_snapshot: None,
            bad: None,
            tail: None,
        }
    }

    /// Goes on from the oldest snapshot that the segment leads up to or beyond, since the blocks before it are gone.
    fn restore(&mut self, path: &Path, segment: &Segment) -> eyre::Result<bool> {
        let missing = self.state.head().height + 1;
        let kept = folder::snapshots(path)?.into_iter().find(|one| one.height + 1 >= segment.first);
        let restored = match kept {
            Some(kept) => folder::restore(path, self.state.zone(), kept.height)
                .map_err(|error| format!("the snapshot of height {} is bad: {error:#}", kept.height)),
            None => Err("there is no snapshot in its place".to_owned()),
        };
        match restored {
            Ok(restored) => {
                let height = restored.header.height;
                self.from = Some(height);
                self.due.remove(&height);
                self.snapshots.push(height);
                self.head = Some((restored.header, restored.certificate));
                self.state = restored.state;
                (self.is_audited, self.skipped) = (false, 0);
            }
            Err(reason) => {
                let gap = format!("the next block in the folder is in {}, and {reason}", segment.name);
                self.bad = Some(Bad { height: missing, reason: gap });
            }
        }
        Ok(self.bad.is_none())
    }

    /// Executes the blocks of a segment, as far as they are good.
    fn run(
        &mut self,
        folder: &Path,
        segment: &Segment,
        seen: &mut impl FnMut(&Seen<'_>, u64),
    ) -> eyre::Result<()> {
        let mut disk = Frozen::new(folder);
        let seed = Hash::from(*self.state.zone_id());
        let context = || format!("data folder {}", folder.display());
        let read = RecordLog::open_each(&mut disk, BLOCKS, &segment.name, seed, |_, _, payload| {
            if before_snapshot(payload, self.state.head().height) {
                self.skipped += 1;
                return Ok(());
            }
            let (block, applied) = self.block(payload).map_err(Stop::Block)?;
            let good = Seen { block: &block, before: &self.state, applied: &applied };
            seen(&good, payload.len() as u64);
            self.state.apply(applied);
            self.check_snapshot(folder);
            self.is_audited = self.state.head().height.is_multiple_of(AUDIT_BLOCKS);
            if self.is_audited && !self.audit() { Err(Stop::Audit) } else { Ok(()) }
        });
        let reason = match read {
            Ok(_) => {
                let (tail, damage) = disk.tail(&segment.name).with_context(context)?;
                self.tail = tail;
                damage
            }
            Err(Stop::Audit) => return Ok(()),
            Err(Stop::Block(reason)) => Some(reason),
            Err(Stop::Log(LogError::Damaged { offset, .. })) => {
                Some(format!("{} is damaged at byte {offset}", segment.name))
            }
            Err(Stop::Log(error)) => return Err(error).with_context(context),
        };
        let height = self.state.head().height + 1;
        self.bad = reason.map(|reason| Bad { height, reason });
        Ok(())
    }

    /// Opens, executes and checks one block with its certificate, and counts it; the error is for people.
    fn block(&mut self, payload: &[u8]) -> Result<(Block, Applied), String> {
        let state = &self.state;
        let mut reader = Reader::new(payload);
        let (Some(bytes), Some(certificate)) = (reader.record(), reader.record()) else {
            return Err("its frame is not a block and a certificate".into());
        };
        if !reader.rest().is_empty() {
            return Err("there is something behind its certificate".into());
        }
        let certificate = Certificate::decode(certificate).map_err(|error| error.to_string())?;
        let (block, transactions) = open_block(state, bytes).map_err(|error| error.to_string())?;
        let applied = state.execute(&block, &transactions).map_err(|error| error.to_string())?;
        let voters = state.validators().voters();
        let certified = certificate.verify_header(&block.header, state.zone_id(), voters);
        certified.map_err(|error| error.to_string())?;
        self.blocks += 1;
        self.transactions += block.transactions.len() as u64;
        self.postings += applied.postings.iter().map(|book| book.len() as u64).sum::<u64>();
        if block.header.next_voters.is_some() {
            self.ends.insert(block.header.epoch, block.header.id());
        }
        self.head = Some((block.header.clone(), certificate));
        Ok((block, applied))
    }

    /// Compares the snapshot of the height that has been reached, if there is one, with the state.
    fn check_snapshot(&mut self, path: &Path) {
        let height = self.state.head().height;
        if !self.due.remove(&height) {
            return;
        }
        match self.read_snapshot(path, height) {
            Some(restored) if restored.is_of(&self.state) => self.snapshots.push(height),
            Some(_) => self.found_bad(height, "it makes another state than the blocks up to it"),
            None => {}
        }
    }

    /// Reads the snapshots that no executed block leads to: those before the one it was executed from, and one that was
    /// fetched from peers just before the agent was stopped. One that the index names must be there.
    fn check_snapshots_left(&mut self, path: &Path) -> eyre::Result<()> {
        for height in std::mem::take(&mut self.due) {
            if self.read_snapshot(path, height).is_some() {
                self.snapshots_alone.push(height);
            }
        }
        for height in folder::counted(path)?.0 {
            if !path.join(folder::snapshot_name(height)).exists()
                && folder::counted(path)?.0.contains(&height)
            {
                self.found_bad(height, "it is not there, and the index names it");
            }
        }
        Ok(())
    }

    /// A snapshot, if it reads; one that its agent has removed meanwhile is not looked for.
    fn read_snapshot(&mut self, path: &Path, height: u64) -> Option<folder::Restored> {
        match folder::restore(path, self.state.zone(), height) {
            Ok(restored) => Some(restored),
            Err(_) if !path.join(folder::snapshot_name(height)).exists() => None,
            Err(error) => {
                self.found_bad(height, &format!("{error:#}"));
                None
            }
        }
    }

    fn found_bad(&mut self, height: u64, reason: &str) {
        let reason = format!("{}: {reason}", folder::snapshot_name(height));
        let is_first = self.bad_snapshot.as_ref().is_none_or(|bad| height < bad.height);
        if is_first {
            self.bad_snapshot = Some(Bad { height, reason });
        }
    }

    /// Checks every invariant over the whole state.
    fn audit(&mut self) -> bool {
        self.audits += 1;
        let audited = catch_unwind(AssertUnwindSafe(|| self.state.audit()));
        if let Err(panic) = audited {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("an invariant");
            self.bad =
                Some(Bad { height: self.state.head().height, reason: format!("does not hold: {words}") });
        }
        self.bad.is_none()
    }

    /// Walks the log of hand-overs from the genesis, as a phone would, and compares it with the blocks.
    fn check_hand_overs(&mut self, path: &Path) -> eyre::Result<()> {
        let zone = *self.state.zone_id();
        let mut voters = self.state.zone().validators.voters().clone();
        let hand_overs = match folder::hand_overs(path, self.state.zone()) {
            Ok(hand_overs) => hand_overs,
            Err(error) => {
                self.bad = Some(Bad { height: 0, reason: format!("{error:#}") });
                return Ok(());
            }
        };
        for (epoch, hand_over) in (0u64..).zip(hand_overs) {
            let height = hand_over.header.height;
            let own = self.ends.get(&epoch).is_none_or(|own| *own == hand_over.header.id());
            let verified = match hand_over.verify(&zone, epoch, &voters) {
                Ok(_) if !own => Err(format!("it ends epoch {epoch} with another block than the block log")),
                Ok(next) => Ok(next.clone()),
                Err(error) => Err(error.to_string()),
            };
            match verified {
                Ok(next) => voters = next,
                Err(reason) => {
                    self.bad = Some(Bad { height, reason: format!("{HAND_OVERS}: {reason}") });
                    return Ok(());
                }
            }
            self.hand_overs += 1;
        }
        Ok(())
    }
}

/// On the terminal, or nowhere.
fn progress(bytes: u64, is_silent: bool) -> eyre::Result<ProgressBar> {
    let target = if is_silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = ProgressBar::with_draw_target(Some(bytes), target);
    progress.set_style(ProgressStyle::with_template("{bar:32} {bytes} of {total_bytes}  {eta} left")?);
    Ok(progress)
}

/// After how many blocks the whole state is checked: its cost grows with the state, a block's does not.
const AUDIT_BLOCKS: u64 = 1_000;
