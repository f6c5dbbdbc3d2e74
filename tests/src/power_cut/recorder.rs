//! A disk in memory that records what is asked of it, and fails when it is told to.

use super::{Image, Step, Trace};
use station_agent::disk::{Disk, Memory};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a failing disk does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// From then on there is no room: half of what is written fits, and the error says so.
    DiskFull,
    /// A sync fails once. What it was to make durable is forgotten by the system, so that no later sync can.
    SyncFails,
}

/// Records, for one agent or for several: each has a folder of its own on the one disk. Clones are the same disk.
#[derive(Clone, Default)]
pub struct Recorder {
    recording: Arc<Mutex<Recording>>,
    folder: String,
}

#[derive(Default)]
struct Recording {
    memory: Memory,
    trace: Trace,
    acknowledged: u64,
    fails: Option<(usize, Fault)>,
    operations: usize,
    forgotten: BTreeSet<String>,
}

impl Recorder {
    /// A disk with these files on it.
    pub fn over(image: &Image) -> Self {
        let recording =
            Recording { memory: image.to_memory(), trace: Trace::over(image), ..Recording::default() };
        Self { recording: Arc::new(Mutex::new(recording)), folder: String::new() }
    }

    /// The run begins here: the power does not fail before.
    pub fn begin(&self) {
        self.recording().trace.begin();
    }

    /// From here on the disk fails at the operation of this number, counted from 0 over all that the fault concerns.
    pub fn fail(&self, at: usize, fault: Fault) {
        let mut recording = self.recording();
        recording.fails = Some((at, fault));
        recording.operations = 0;
    }

    /// Folders on this disk for so many agents, by number from 0.
    pub fn folders(&self, agents: usize) -> Vec<Self> {
        let folder = |agent| Self { recording: self.recording.clone(), folder: format!("{agent}/") };
        (0..agents).map(folder).collect()
    }

    /// Says that `count` things, those said before included, have been told to others by now.
    pub fn acknowledge(&self, count: usize) {
        let mut recording = self.recording();
        let count = u64::try_from(count).expect("a usize has at most 64 bits");
        if count > recording.acknowledged {
            recording.acknowledged = count;
            recording.trace.push(Step::Acknowledged(count));
        }
    }

    /// What was asked so far.
    pub fn trace(&self) -> Trace {
        self.recording().trace.clone()
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Recorder {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.recording().memory.read(&self.name(name))
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.recording().memory.read_at(&self.name(name), offset, length)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = &self.name(name);
        let mut recording = self.recording();
        let is_full = recording.fails_now(Fault::DiskFull);
        recording.write(name, if is_full { &bytes[..bytes.len() / 2] } else { bytes })?;
        if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let name = &self.name(name);
        self.recording().sync(name)
    }

    /// Durable when it returns: before, the file has its old length or the new one.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let name = &self.name(name);
        let mut recording = self.recording();
        let file = recording.trace.open(name);
        recording.trace.push(Step::Truncate(file, length));
        recording.memory.truncate(name, length)?;
        recording.sync(name)
    }

    /// A file of its own that takes the name once it is durable, as the interface promises.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let name = &self.name(name);
        let beside = format!("{name}.new");
        let mut recording = self.recording();
        recording.trace.push(Step::Remove(beside.clone()));
        let file = recording.trace.open(&beside);
        let is_full = recording.fails_now(Fault::DiskFull);
        let written = if is_full { bytes[..bytes.len() / 2].to_vec() } else { bytes.to_vec() };
        recording.trace.push(Step::Write(file, 0, written));
        if is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if recording.fails_now(Fault::SyncFails) {
            return Err(io::Error::other("input/output error"));
        }
        recording.trace.push(Step::Sync(file));
        recording.trace.push(Step::Rename(beside, name.to_owned()));
        recording.trace.push(Step::SyncNames);
        recording.memory.replace(name, bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.recording().memory.length(&self.name(name))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let name = &self.name(name);
        let mut recording = self.recording();
        recording.trace.push(Step::Remove(name.clone()));
        recording.trace.push(Step::SyncNames);
        recording.memory.remove(name)
    }
}

impl Recording {
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let end = u64::try_from(self.memory.read(name)?.len()).expect("files in memory are small");
        let file = self.trace.open(name);
        self.trace.push(Step::Write(file, end, bytes.to_vec()));
        self.memory.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        if self.fails_now(Fault::SyncFails) {
            self.forgotten.insert(name.to_owned());
            return Err(io::Error::other("input/output error"));
        }
        self.memory.sync(name)?;
        if !self.forgotten.contains(name) {
            let file = self.trace.open(name);
            self.trace.push(Step::Sync(file));
            self.trace.push(Step::SyncNames);
        }
        Ok(())
    }

    fn fails_now(&mut self, kind: Fault) -> bool {
        let Some((at, fault)) = self.fails.filter(|(_, fault)| *fault == kind) else { return false };
        let operation = self.operations;
        self.operations += 1;
        match fault {
            Fault::DiskFull => operation >= at,
            Fault::SyncFails => operation == at,
        }
    }
}
