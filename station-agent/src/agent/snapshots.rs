//! Snapshots: written every so many blocks, read at a restart, served to peers, and fetched from them by an agent that has
//! nothing or is far behind.
//!
//! ```text
//!  commit --every Keep::snapshot_blocks--> snapshot-<height>.log: manifest, chunks; then chain.index names it
//!  open: newest snapshot that reads, else the one before, else genesis --> blocks after it
//!
//!  Answered(Head: far ahead) -> HandOvers .. -> Snapshot -> SnapshotChunk .. -> the state -> blocks after it
//! ```
//!
//! What is fetched is written as it comes to the file that becomes the snapshot, so a restart asks for what is missing and
//! nothing else. Hand-overs are followed from the genesis; the manifest is checked against the voters they lead to, each
//! chunk against the manifest. Who answers something false is not asked again, nor is who does not answer in
//! [`PATIENCE`] before everybody else has been asked.
//!
//! Cost: writing walks the whole state once, a chunk at a time, and nothing else happens meanwhile: 166 MB and about two and
//! a half times a plain write of as many bytes for a million accounts (three leaves each), which is seconds, and so more
//! than one block's time (`cargo bench --bench ledger` measures it). Fetching holds one chunk beside the state that it makes.

use super::{
    Agent, AgentError, AgentTimer, Asked, Effect, Warning,
    block_log::{BlockLog, Certified},
    hand_overs::HandOvers,
    kept::{Kept, SNAPSHOTS_MAX},
};
use crate::{
    disk::Disk,
    record_log::{Extent, LogError, RecordLog},
    vote_keys::VoteKeys,
};
use ohmesh_ledger::{
    Answer, Chunk, HandOver, Manifest, Part, Query, Restore, SnapshotError, State, Voters, Zone,
};
use ohmesh_units::{Canonical, Hash, PublicKey, Reader, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// A snapshot on disk, ready to be served.
pub(super) struct Served {
    manifest: Manifest,
    log: RecordLog,
    chunks: BTreeMap<(Part, u32), Extent>,
}

/// Why a snapshot on disk does not make a state.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the epoch of its header is not known")]
    Epoch,
    #[error("it is empty")]
    Empty,
}

/// Where an agent starts from.
pub(super) struct Past {
    pub(super) state: State,
    /// The newest header and its certificate.
    pub(super) head: Option<Certified>,
    pub(super) served: BTreeMap<u64, Served>,
    pub(super) blocks: BlockLog,
    /// Nothing is missing of what the agent once had on this disk.
    pub(super) is_whole: bool,
}

/// Opens the newest snapshot that reads and the blocks after it; from the genesis if there is none. A snapshot that does not
/// read is removed, with a warning.
pub(super) fn open(
    disk: &mut dyn Disk,
    kept: &mut Kept,
    (zone, me): (Zone, &PublicKey),
    hand_overs: &mut HandOvers,
    effects: &mut Vec<Effect>,
) -> Result<Past, AgentError> {
    let (mut state, mut served) = (None, BTreeMap::new());
    while let Some(height) = kept.snapshots.last().copied() {
        let read = read(disk, &zone, hand_overs, height).and_then(|(restore, served)| {
            let restore = restore.ok_or(Unreadable::Empty)?;
            Ok((restore.finish()?, served.ok_or(Unreadable::Empty)?))
        });
        match read {
            Ok((restored, snapshot)) => {
                state = Some(restored);
                served.insert(height, snapshot);
                break;
            }
            Err(error) => {
                let reason = error.to_string();
                effects.push(Effect::Warning(Warning::Snapshot { height, reason }));
            }
        }
        kept.snapshots.pop();
        kept.write(disk)?;
        remove(disk, height)?;
    }
    let mut state = state.unwrap_or_else(|| State::genesis(zone));
    let first = kept.closed.first().map_or(kept.open, |segment| segment.first);
    let is_cut = first > state.head().height + 1;
    if is_cut && has_nobody_to_ask(disk, &state, me, hand_overs)? {
        return Err(AgentError::Lost { first });
    }
    let (blocks, newest, is_anew) = BlockLog::open(disk, kept, &mut state, hand_overs)?;
    if is_anew {
        effects.push(Effect::Warning(Warning::Blocks { height: state.head().height }));
    }
    let head = newest.or_else(|| served.values().next_back().map(Served::head));
    Ok(Past { state, head, served, blocks, is_whole: !is_cut })
}

/// Whether nobody else can have what is missing here: no other validator is known, or this agent was the only one when the
/// newest epoch began, whoever was one at genesis. Its vote key is not forgotten then: the zone could never go on.
fn has_nobody_to_ask(
    disk: &dyn Disk,
    state: &State,
    me: &PublicKey,
    hand_overs: &HandOvers,
) -> Result<bool, AgentError> {
    let newest = hand_overs.voters(state.zone(), hand_overs.next());
    let is_alone = match newest.map(Voters::all) {
        Some([only]) => VoteKeys::open(disk)?.has(&only.key),
        _ => false,
    };
    Ok(is_alone || state.validators().all().iter().all(|validator| validator.key == *me))
}

/// Reads what there is of a snapshot, and checks all of it.
fn read(
    disk: &mut dyn Disk,
    zone: &Zone,
    hand_overs: &HandOvers,
    height: u64,
) -> Result<(Option<Restore>, Option<Served>), Unreadable> {
    let seed = Hash::from(zone.id());
    let (mut restore, mut chunks) = (None, BTreeMap::new());
    let log = RecordLog::open_each(disk, FILE, &name(height), seed, |_, extent, payload| {
        let record = Reader::new(payload).record().ok_or(Unreadable::Empty)?;
        let Some(restore) = &mut restore else {
            let manifest = Manifest::decode(record).map_err(SnapshotError::from)?;
            let voters = hand_overs.voters(zone, manifest.header.epoch).ok_or(Unreadable::Epoch)?;
            restore = Some(Restore::begin(zone.clone(), voters, manifest)?);
            return Ok(());
        };
        let chunk = Chunk::decode(record).map_err(SnapshotError::from)?;
        let at = (chunk.part, chunk.from);
        restore.add(chunk)?;
        chunks.insert(at, extent);
        Ok::<(), Unreadable>(())
    })?;
    let manifest = restore.as_ref().map(|restore| restore.manifest().clone());
    let served = manifest.map(|manifest| Served { manifest, log, chunks });
    Ok((restore, served))
}

impl Served {
    /// Its header and certificate.
    fn head(&self) -> Certified {
        (self.manifest.header.clone(), self.manifest.certificate.clone())
    }

    /// Begins a snapshot file with its manifest.
    fn begin(disk: &mut dyn Disk, manifest: Manifest) -> Result<Self, AgentError> {
        let height = manifest.header.height;
        remove(disk, height)?;
        let seed = Hash::from(manifest.header.zone);
        let nothing = |_: &mut dyn Disk, _, _: &[u8]| Ok::<(), LogError>(());
        let mut log = RecordLog::open_each(disk, FILE, &name(height), seed, nothing)?;
        log.push(&manifest.encode());
        log.write(disk)?;
        Ok(Self { manifest, log, chunks: BTreeMap::new() })
    }

    /// Adds a chunk, which is not durable before the log is flushed.
    fn add(&mut self, disk: &mut dyn Disk, at: (Part, u32), chunk: &[u8]) -> Result<(), LogError> {
        self.log.push(chunk);
        let extent = self.log.write(disk)?.expect("a record was pushed");
        self.chunks.insert(at, extent);
        Ok(())
    }

    fn chunk(&self, disk: &dyn Disk, part: Part, from: u32) -> Result<Option<Vec<u8>>, LogError> {
        let Some(extent) = self.chunks.get(&(part, from)) else { return Ok(None) };
        let payload = self.log.read(disk, *extent)?;
        Ok(Reader::new(&payload).record().map(<[u8]>::to_vec))
    }
}

/// Writes the snapshot of a state, durably; it does not count before [`take`].
fn write(
    disk: &mut dyn Disk,
    kept: &mut Kept,
    state: &State,
    head: &Certified,
) -> Result<Served, AgentError> {
    kept.partial = Some(head.0.height);
    kept.write(disk)?;
    let mut served = Served::begin(disk, state.manifest(&head.0, &head.1))?;
    for part in Part::ALL {
        let mut from = part.first(state.roots());
        while let Some(chunk) = state.chunk(part, from, Chunk::LEAVES_MAX) {
            served.add(disk, (part, from), &chunk.encode())?;
            from += u32::try_from(chunk.leaves.len()).expect("at most LEAVES_MAX");
        }
    }
    served.log.flush(disk)?;
    Ok(served)
}

/// The partial snapshot of `height` counts from now on; which ones went in its place.
fn take(disk: &mut dyn Disk, kept: &mut Kept, height: u64) -> Result<Vec<u64>, AgentError> {
    kept.partial = None;
    kept.snapshots.push(height);
    let more = kept.snapshots.len().saturating_sub(SNAPSHOTS_MAX);
    let gone: Vec<u64> = kept.snapshots.drain(..more).collect();
    kept.write(disk)?;
    gone.iter().try_for_each(|height| remove(disk, *height))?;
    Ok(gone)
}

/// Why the folder of an agent that does not run takes no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// As for an agent that runs.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent was stopped while it fetched a newer state from its peers, and would have to begin anew.
    #[error("its agent is fetching the state of height {0} from peers: let it run until it has it")]
    Rebuilding(u64),
    /// A newer one is there.
    #[error("there is a snapshot of height {0}, which is newer")]
    Newer(u64),
}

/// A snapshot that an operator has written into the folder of an agent that does not run. It is durable, and does not count
/// yet.
#[must_use]
pub(crate) struct Written {
    kept: Kept,
    height: u64,
}

impl Written {
    /// Writes the snapshot of `state`, whose newest block has this header and certificate; none if there is one already.
    pub(crate) fn write(
        disk: &mut dyn Disk,
        state: &State,
        head: &Certified,
    ) -> Result<Option<Self>, Refused> {
        let height = head.0.height;
        let mut kept = Kept::open(disk).map_err(AgentError::from)?;
        if let Some(partial) = kept.partial.filter(|partial| *partial > height) {
            return Err(Refused::Rebuilding(partial));
        }
        match kept.snapshots.last() {
            Some(newest) if *newest == height => return Ok(None),
            Some(newest) if *newest > height => return Err(Refused::Newer(*newest)),
            _ => {}
        }
        if let Some(partial) = kept.partial {
            remove(disk, partial)?;
        }
        write(disk, &mut kept, state, head)?;
        Ok(Some(Self { kept, height }))
    }

    /// It counts from now on, and the oldest one goes. The block log stays as it is: a running agent cuts it.
    pub(crate) fn keep(mut self, disk: &mut dyn Disk) -> Result<(), AgentError> {
        take(disk, &mut self.kept, self.height).map(drop)
    }

    /// It did not read as it was written: everything is as it was before.
    pub(crate) fn discard(mut self, disk: &mut dyn Disk) -> Result<(), AgentError> {
        self.kept.partial = None;
        self.kept.write(disk)?;
        remove(disk, self.height)
    }
}

/// The heights of the snapshots that count in a folder, and of one that is being written or fetched.
pub(crate) fn counted(disk: &dyn Disk) -> Result<(Vec<u64>, Option<u64>), LogError> {
    Kept::open(disk).map(|kept| (kept.snapshots, kept.partial))
}

/// A state that is being fetched from peers.
pub(super) struct Rebuild {
    /// Whom the agent is asking.
    from: PublicKey,
    /// Numbers the questions, so that a late timer is known as one.
    asked: u64,
    /// Who did not answer since the last answer, and who answered something false.
    silent: BTreeSet<PublicKey>,
    liars: BTreeSet<PublicKey>,
    /// What there is of a snapshot.
    fetched: Option<(Restore, Served)>,
}

impl<D: Disk> Agent<D> {
    /// Writes a snapshot if the newest block is one after which there is to be one, and lets go of what is old.
    pub(super) fn keep_snapshot(&mut self) -> Result<(), AgentError> {
        let every = self.keep.snapshot_blocks;
        let Some((header, certificate)) = self.head.clone() else { return Ok(()) };
        if every == 0 || header.height % every != 0 || self.kept.snapshots.contains(&header.height) {
            return Ok(());
        }
        let (height, time) = (header.height, header.time);
        self.drop_partial()?;
        let served = write(&mut self.disk, &mut self.kept, &self.state, &(header, certificate))?;
        self.blocks.cut(&mut self.kept, height, time);
        self.take_snapshot(height, served)?;
        self.blocks.go_on(&mut self.disk, &self.kept)?;
        self.blocks.forget(&mut self.disk, &mut self.kept, time, &self.keep)
    }

    /// The snapshot of `height` is whole and durable: from now on it counts, and the oldest one goes.
    fn take_snapshot(&mut self, height: u64, served: Served) -> Result<(), AgentError> {
        let gone = take(&mut self.disk, &mut self.kept, height)?;
        self.served.insert(height, served);
        self.served.retain(|height, _| !gone.contains(height));
        Ok(())
    }

    /// Removes a snapshot that is not whole and that nobody goes on with.
    fn drop_partial(&mut self) -> Result<(), AgentError> {
        self.rebuild = None;
        let Some(height) = self.kept.partial.take() else { return Ok(()) };
        self.kept.write(&mut self.disk)?;
        remove(&mut self.disk, height)
    }

    /// Goes on with a snapshot that was being fetched when the agent stopped; one that was being written is removed.
    pub(super) fn resume_rebuild(&mut self) -> Result<(), AgentError> {
        let Some(height) = self.kept.partial else { return Ok(()) };
        if height > self.state.head().height {
            let read = read(&mut self.disk, self.state.zone(), &self.hand_overs, height);
            let from = self.others().next();
            if let (Ok((Some(restore), Some(served))), Some(from)) = (read, from) {
                let nobody = BTreeSet::new();
                let (silent, liars) = (nobody.clone(), nobody);
                self.rebuild =
                    Some(Rebuild { from, asked: 0, silent, liars, fetched: Some((restore, served)) });
                return self.go_on_rebuilding();
            }
        }
        self.drop_partial()
    }

    /// What the newest snapshot is of.
    pub(super) fn snapshot_manifest(&self) -> Answer {
        let newest = self.served.values().next_back();
        Answer::Snapshot(newest.map(|served| Box::new(served.manifest.clone())))
    }

    /// A chunk of a snapshot; one that no longer reads is as one that is not there.
    pub(super) fn snapshot_chunk(&self, height: u64, part: Part, from: u32) -> Answer {
        let served = self.served.get(&height);
        let chunk = served.and_then(|served| served.chunk(&self.disk, part, from).ok().flatten());
        Answer::SnapshotChunk(chunk)
    }

    /// The other validators.
    pub(super) fn others(&self) -> impl Iterator<Item = PublicKey> + '_ {
        let all = self.state.validators().all().iter().map(|validator| validator.key);
        all.filter(|key| *key != self.identity)
    }

    /// A peer has what this agent cannot get as blocks: asks for a state, unless it is at that already.
    pub(super) fn begin_rebuild(&mut self, now: Timestamp, from: PublicKey) -> Result<(), AgentError> {
        let until = self.dismissed.get(&from).and_then(|at| at.checked_add(REST));
        if self.rebuild.is_some() || until.is_some_and(|until| now < until) {
            return Ok(());
        }
        let (silent, liars) = (BTreeSet::new(), BTreeSet::new());
        self.rebuild = Some(Rebuild { from, asked: 0, silent, liars, fetched: None });
        self.effects.push(Effect::Warning(Warning::Rebuilding { height: self.state.head().height }));
        self.ask_rebuild(Query::HandOvers { from: self.hand_overs.next() });
        Ok(())
    }

    /// A peer answered a question of [`Agent::begin_rebuild`], or could not be asked.
    pub(super) fn on_rebuild(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        asked: Asked,
    ) -> Result<(), AgentError> {
        if self.rebuild.as_ref().is_none_or(|rebuild| rebuild.from != from) {
            return Ok(());
        }
        match (asked.query, asked.answer) {
            (Query::HandOvers { .. }, Some(Answer::HandOvers(some))) => self.on_hand_overs(from, some),
            (Query::Snapshot, Some(Answer::Snapshot(manifest))) => self.on_manifest(now, from, manifest),
            (Query::SnapshotChunk { .. }, Some(Answer::SnapshotChunk(chunk))) => {
                self.on_chunk(now, from, chunk)
            }
            (_, None) => self.ask_another(false, "no answer"),
            _ => self.ask_another(true, "another answer than was asked for"),
        }
    }

    /// [`PATIENCE`] is over.
    pub(super) fn on_rebuild_late(&mut self, asked: u64) -> Result<(), AgentError> {
        match &self.rebuild {
            Some(rebuild) if rebuild.asked == asked => self.ask_another(false, "no answer in time"),
            _ => Ok(()),
        }
    }

    fn on_hand_overs(&mut self, from: PublicKey, some: Vec<HandOver>) -> Result<(), AgentError> {
        if some.is_empty() {
            self.answered();
            self.ask_rebuild(Query::Snapshot);
            return Ok(());
        }
        let before = self.hand_overs.next();
        for hand_over in some {
            if self.hand_overs.follow(&mut self.disk, self.state.zone(), hand_over)?.is_err() {
                return self.ask_another(true, "a hand-over that does not follow");
            }
        }
        if self.hand_overs.next() == before {
            return self.ask_another(true, "hand-overs that are here already");
        }
        self.answered();
        debug_assert!(self.rebuild.as_ref().is_some_and(|rebuild| rebuild.from == from));
        self.ask_rebuild(Query::HandOvers { from: self.hand_overs.next() });
        Ok(())
    }

    fn on_manifest(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        manifest: Option<Box<Manifest>>,
    ) -> Result<(), AgentError> {
        let own = self.state.head().height;
        let Some(manifest) = manifest.filter(|manifest| manifest.header.height > own) else {
            // Nothing to jump to: blocks are the way, from this peer or another.
            self.told.remove(&from);
            self.dismissed.insert(from, now);
            self.drop_partial()?;
            self.effects.push(Effect::Fetch { from, height: own + 1 });
            return Ok(());
        };
        let epoch = manifest.header.epoch;
        let begun = self
            .hand_overs
            .voters(self.state.zone(), epoch)
            .map(|voters| Restore::begin(self.state.zone().clone(), voters, (*manifest).clone()));
        let restore = match begun {
            Some(Ok(restore)) => restore,
            Some(Err(_)) => return self.ask_another(true, "a manifest that is not certified"),
            None => return self.ask_another(true, "a manifest of an epoch that it has no hand-over to"),
        };
        self.answered();
        let height = manifest.header.height;
        self.kept.partial = Some(height);
        self.kept.write(&mut self.disk)?;
        let mut served = Served::begin(&mut self.disk, *manifest)?;
        served.log.flush(&mut self.disk)?;
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.fetched = Some((restore, served));
        }
        self.go_on_rebuilding()
    }

    fn on_chunk(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        bytes: Option<Vec<u8>>,
    ) -> Result<(), AgentError> {
        let Some(bytes) = bytes else { return self.ask_another(false, "it no longer has that snapshot") };
        let Some(Rebuild { fetched: Some((restore, served)), .. }) = &mut self.rebuild else { return Ok(()) };
        let wanted = restore.wanted();
        let added = Chunk::decode(&bytes).map_err(SnapshotError::from).and_then(|chunk| restore.add(chunk));
        match (added, wanted) {
            (Ok(()), Some(at)) => {
                served.add(&mut self.disk, at, &bytes)?;
                served.log.flush(&mut self.disk)?;
            }
            (Err(error), _) => return self.ask_another(true, &error.to_string()),
            (Ok(()), None) => return Ok(()),
        }
        self.answered();
        let is_whole = restore_is_whole(&self.rebuild);
        if is_whole {
            return self.finish_rebuild(now);
        }
        // By turns, so that no peer carries all of it.
        let next = self.peer_after(from);
        if let (Some(rebuild), Some(next)) = (&mut self.rebuild, next) {
            rebuild.from = next;
        }
        self.go_on_rebuilding()
    }

    /// Asks for the chunk that is due.
    fn go_on_rebuilding(&mut self) -> Result<(), AgentError> {
        let Some(Rebuild { fetched: Some((restore, _)), .. }) = &self.rebuild else { return Ok(()) };
        let height = restore.manifest().header.height;
        match restore.wanted() {
            Some((part, from)) => self.ask_rebuild(Query::SnapshotChunk { height, part, from }),
            None => self.effects.push(Effect::SetTimer(AgentTimer::Rebuild(FINISH), Duration::ZERO)),
        }
        Ok(())
    }

    /// All chunks are there: this agent goes on from that state.
    pub(super) fn finish_rebuild(&mut self, now: Timestamp) -> Result<(), AgentError> {
        if !restore_is_whole(&self.rebuild) {
            return Ok(());
        }
        let Some(Rebuild { fetched: Some((restore, served)), from, .. }) = self.rebuild.take() else {
            return Ok(());
        };
        let head = served.head();
        let height = head.0.height;
        if height <= self.state.head().height {
            return self.drop_partial(); // Blocks were faster.
        }
        let state = match restore.finish() {
            Ok(state) => state,
            Err(error) => {
                self.effects.push(Effect::Warning(Warning::Snapshot { height, reason: error.to_string() }));
                return self.drop_partial();
            }
        };
        // Its header may be the last of its epoch, and the peer have kept the hand-over to itself.
        self.hand_overs.keep(&mut self.disk, &head.0, &head.1, state.validators().voters())?;
        // A crash in between finds a log that does not reach the snapshot, and begins it anew itself.
        self.take_snapshot(height, served)?;
        let seed = Hash::from(*state.zone_id());
        self.blocks = BlockLog::begin_anew(&mut self.disk, &mut self.kept, seed, height + 1)?;
        self.state = state;
        self.head = Some(head);
        self.drafts.clear();
        self.effects.push(Effect::CancelCommitteeTimers);
        self.begin_epoch()?;
        self.wal.reset(&mut self.disk)?;
        self.duties.note_all(self.state.objects());
        self.next = Some(height + 1);
        self.effects.push(Effect::Warning(Warning::Rebuilt { height, from }));
        self.do_duties(now)?;
        self.owe_vote_key(now)?;
        self.tell_what_the_seller_missed();
        self.effects.push(Effect::Fetch { from, height: height + 1 });
        self.wait_for_next(now);
        self.wake_if_heard(now)
    }

    fn answered(&mut self) {
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.silent.clear();
        }
    }

    /// The next question goes to somebody else.
    fn ask_another(&mut self, is_lie: bool, reason: &str) -> Result<(), AgentError> {
        let Some(rebuild) = &mut self.rebuild else { return Ok(()) };
        let from = rebuild.from;
        if is_lie {
            rebuild.liars.insert(from);
            let warning = Warning::Peer { peer: from, reason: reason.to_owned() };
            self.effects.push(Effect::Warning(warning));
        } else {
            rebuild.silent.insert(from);
        }
        let Some(next) = self.peer_after(from) else {
            // Nobody is left who could go on with it: from the beginning, when somebody says that it is far ahead.
            return self.drop_partial();
        };
        let Some(rebuild) = &mut self.rebuild else { return Ok(()) };
        rebuild.from = next;
        if rebuild.fetched.is_some() {
            return self.go_on_rebuilding();
        }
        self.ask_rebuild(Query::HandOvers { from: self.hand_overs.next() });
        Ok(())
    }

    /// Whom to ask after `from`: the next validator that has neither lied nor kept silent.
    fn peer_after(&self, from: PublicKey) -> Option<PublicKey> {
        let rebuild = self.rebuild.as_ref()?;
        let all: Vec<PublicKey> = self.others().collect();
        let at = all.iter().position(|key| *key == from).map_or(0, |at| at + 1);
        let mut turn = all[at.min(all.len())..].iter().chain(&all);
        turn.find(|key| !rebuild.liars.contains(key) && !rebuild.silent.contains(key)).copied()
    }

    fn ask_rebuild(&mut self, query: Query) {
        let Some(rebuild) = &mut self.rebuild else { return };
        rebuild.asked += 1;
        let (from, asked) = (rebuild.from, rebuild.asked);
        self.effects.push(Effect::Ask { from, query: Box::new(query) });
        self.effects.push(Effect::SetTimer(AgentTimer::Rebuild(asked), PATIENCE));
    }
}

fn restore_is_whole(rebuild: &Option<Rebuild>) -> bool {
    matches!(rebuild, Some(Rebuild { fetched: Some((restore, _)), .. }) if restore.wanted().is_none())
}

fn remove(disk: &mut dyn Disk, height: u64) -> Result<(), AgentError> {
    disk.remove(&name(height)).map_err(|error| LogError::Disk { file: FILE, error }.into())
}

/// The file of the snapshot of a height.
fn name(height: u64) -> String {
    format!("snapshot-{height}.log")
}

/// What errors call a snapshot's file.
const FILE: &str = "snapshot";
/// How long a peer may take for an answer: a chunk of 1 MiB over a line of 1 Mbit/s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer that had no newer state after all is not taken at its word: a liar costs a few questions a minute.
const REST: Duration = Duration::from_secs(60);
/// The timer of a rebuild that only has to be finished; questions are numbered from 1.
pub(super) const FINISH: u64 = 0;
/// How many blocks an agent rather fetches one by one than a whole state: some minutes of executing.
pub(super) const BLOCKS_RATHER: u64 = 1_000;
