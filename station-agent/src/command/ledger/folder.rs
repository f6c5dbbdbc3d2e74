//! An agent's data folder as it lies there, read and never written: no lock is taken, and the agent may run.

use crate::{agent, disk::Disk, record_log::RecordLog};
use eyre::{Context, bail, eyre};
use ohmesh_ledger::{Certificate, Chunk, HandOver, Header, Manifest, Restore, State, Voters, Zone};
use ohmesh_units::{Canonical, Hash, Reader};
use serde::Serialize;
use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// The beginning of a block at the end of the log: what an agent is writing, or what a crash has left of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Tail {
    /// Where it begins.
    pub(super) offset: u64,
    /// How long it is.
    pub(super) bytes: u64,
}

/// A file of the block log: the first is `blocks.log`, later ones carry the height at which they begin.
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// A snapshot that is there.
pub(super) struct Kept {
    pub(super) height: u64,
    pub(super) bytes: u64,
}

/// A snapshot that was checked chunk by chunk, and the state it makes.
pub(super) struct Restored {
    pub(super) state: State,
    pub(super) header: Header,
    pub(super) certificate: Certificate,
    pub(super) chunks: u64,
    pub(super) leaves: u64,
}

impl Restored {
    /// Whether it is the snapshot of this state: of the same block, with the same roots over every leaf, and the same totals
    /// and keys beside them.
    pub(super) fn is_of(&self, state: &State) -> bool {
        let (own, other) = (&self.state, state);
        own.head() == other.head()
            && own.roots() == other.roots()
            && own.manifest(&self.header, &self.certificate)
                == other.manifest(&self.header, &self.certificate)
    }
}

/// The block log's files, by height; an error if there are none.
pub(super) fn segments(folder: &Path) -> eyre::Result<Vec<Segment>> {
    let later = |name: &str| name.strip_prefix("blocks-")?.strip_suffix(".log")?.parse().ok();
    let first = |name: &str| if name == BLOCKS { Some(1) } else { later(name) };
    let found = list(folder, first)?;
    if found.is_empty() {
        bail!("{} has no {BLOCKS}: it is not the data folder of an agent that has run", folder.display());
    }
    Ok(found.into_iter().map(|(first, name, bytes)| Segment { first, name, bytes }).collect())
}

/// The snapshots, by height, without one that is being written or fetched.
pub(super) fn snapshots(folder: &Path) -> eyre::Result<Vec<Kept>> {
    let (_, partial) = counted(folder)?;
    let found = list(folder, |name| name.strip_prefix("snapshot-")?.strip_suffix(".log")?.parse().ok())?;
    let whole = found.into_iter().filter(|(height, ..)| Some(*height) != partial);
    Ok(whole.map(|(height, _, bytes)| Kept { height, bytes }).collect())
}

/// The heights of the snapshots that the index names, and of one that is being written or fetched.
pub(super) fn counted(folder: &Path) -> eyre::Result<(Vec<u64>, Option<u64>)> {
    agent::counted(&Frozen::new(folder)).with_context(|| format!("data folder {}", folder.display()))
}

/// The file of the snapshot of a height.
pub(super) fn snapshot_name(height: u64) -> String {
    format!("snapshot-{height}.log")
}

/// Files whose name gives a number, by that number, with their lengths.
fn list(folder: &Path, number: impl Fn(&str) -> Option<u64>) -> eyre::Result<Vec<(u64, String, u64)>> {
    let context = || format!("data folder {}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = number(&name) {
            found.push((number, name, entry.metadata().with_context(context)?.len()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads the snapshot of a height: its header by the hand-overs from genesis on, each chunk by the header.
pub(super) fn restore(folder: &Path, zone: &Zone, height: u64) -> eyre::Result<Restored> {
    let mut disk = Frozen::new(folder);
    let seed = Hash::from(zone.id());
    let hand_overs = hand_overs(folder, zone)?;
    let (mut restore, mut chunks) = (None, 0);
    let each = |_: &mut dyn Disk, _, payload: &[u8]| -> Result<(), Unread> {
        let record = Reader::new(payload).record().ok_or_else(|| eyre!("an empty frame"))?;
        let Some(restore) = &mut restore else {
            let manifest = Manifest::decode(record)?;
            let voters = voters(zone, &hand_overs, manifest.header.epoch)?;
            restore = Some(Restore::begin(zone.clone(), &voters, manifest)?);
            return Ok(());
        };
        restore.add(Chunk::decode(record)?)?;
        chunks += 1;
        Ok(())
    };
    RecordLog::open_each(&mut disk, "snapshot", &snapshot_name(height), seed, each)
        .map_err(|Unread(error)| error)?;
    let restore = restore.ok_or_else(|| eyre!("there is nothing in it"))?;
    let (manifest, leaves) = (restore.manifest().clone(), restore.manifest().leaves());
    let Manifest { header, certificate, .. } = manifest;
    if header.height != height {
        bail!("it is of height {}", header.height);
    }
    Ok(Restored { state: restore.finish()?, header, certificate, chunks, leaves })
}

/// The hand-overs that are kept, by the epoch that ended; unchecked.
pub(super) fn hand_overs(folder: &Path, zone: &Zone) -> eyre::Result<Vec<HandOver>> {
    let mut disk = Frozen::new(folder);
    let (_, frames) = RecordLog::open(&mut disk, HAND_OVERS, zone.id().into())?;
    let mut all = Vec::with_capacity(frames.len());
    for (_, payload) in frames {
        let mut reader = Reader::new(&payload);
        while let Some(record) = reader.record() {
            all.push(HandOver::decode(record).with_context(|| HAND_OVERS)?);
        }
    }
    Ok(all)
}

/// The voters of an epoch, by the hand-overs from genesis on.
fn voters(zone: &Zone, hand_overs: &[HandOver], epoch: u64) -> eyre::Result<Voters> {
    let mut voters = zone.validators.voters().clone();
    for ended in 0..epoch {
        let hand_over = usize::try_from(ended).ok().and_then(|ended| hand_overs.get(ended));
        let hand_over =
            hand_over.ok_or_else(|| eyre!("{HAND_OVERS} does not show how epoch {ended} ended"))?;
        voters = hand_over.verify(&zone.id(), ended, &voters)?.clone();
    }
    Ok(voters)
}

/// Why a snapshot is not read to its end.
struct Unread(eyre::Report);

impl<E: Into<eyre::Report>> From<E> for Unread {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

/// A folder that is read and never written: a log that is opened on it believes that its unfinished end was cut off.
pub(super) struct Frozen {
    folder: PathBuf,
    /// Where the last file ended when the reader asked: it may have grown since.
    length: Cell<u64>,
    /// Where the reader wanted to cut.
    cut: Option<u64>,
}

impl Frozen {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), length: Cell::new(0), cut: None }
    }

    /// What is behind the cut. A frame that is whole by its length but not by its check was not left by a crash of a
    /// process: it is damage, though the log, which cannot know whether the power failed, would cut it off.
    pub(super) fn tail(&self, name: &str) -> io::Result<(Option<Tail>, Option<String>)> {
        let Some(offset) = self.cut.filter(|offset| *offset > 0) else { return Ok((None, None)) };
        let bytes = self.length.get().saturating_sub(offset);
        let mut length = [0; 4];
        let mut file = File::open(self.folder.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let claimed = (bytes >= 4).then(|| file.read_exact(&mut length)).transpose()?;
        let claimed = claimed.map(|()| u64::from(u32::from_be_bytes(length)));
        let is_whole = claimed.is_some_and(|claimed| FRAME_HEAD + claimed <= bytes);
        let damage = format!("{name} is damaged at byte {offset}: its last frame does not match its check");
        Ok((Some(Tail { offset, bytes }), is_whole.then_some(damage)))
    }
}

impl Disk for Frozen {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match std::fs::read(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.folder.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        let length = match std::fs::metadata(self.folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            other => other?.len(),
        };
        self.length.set(length);
        Ok(length)
    }

    /// Only the header of a log that has none yet: nothing is lost by not writing it.
    fn append(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _: &str, length: u64) -> io::Result<()> {
        self.cut = Some(length);
        Ok(())
    }

    fn replace(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

/// Length and check before a frame's payload, as `record_log` writes them.
const FRAME_HEAD: u64 = 4 + 32;
/// The first file of decided blocks.
pub(super) const BLOCKS: &str = "blocks.log";
/// The file of hand-overs.
pub(super) const HAND_OVERS: &str = "hand-overs.log";
