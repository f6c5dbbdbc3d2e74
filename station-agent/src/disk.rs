//! Where an agent keeps its files: a folder, or memory in simulations.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::UNIX_EPOCH,
};

/// Files that grow at their end. What was appended is durable after `sync`; what was not may be lost, whole or in part.
pub trait Disk: Send + 'static {
    /// All of a file; nothing if it is not there.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Part of a file that is known to be there.
    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Writes at the end of a file, which is made if it is not there.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything appended to the file is durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Cuts a file to a length, durably.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Puts these bytes in place of a file's, durably: after a crash it has the old ones or the new ones, whole.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Bytes of a file; 0 if it is not there.
    fn length(&self, name: &str) -> io::Result<u64> {
        self.read(name).map(|bytes| bytes.len() as u64)
    }
    /// When the file was made, if it is there and the disk tells: a copy of a file was not made when the file was. In
    /// nanoseconds since the Unix epoch, and good for nothing but comparing.
    fn made(&self, _name: &str) -> io::Result<Option<u128>> {
        Ok(None)
    }
    /// Removes a file, durably, if it is there. A disk that cannot empties it, which reads the same.
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.truncate(name, 0)
    }
}

/// A folder on disk that one process at a time may use.
pub struct Folder {
    path: PathBuf,
    files: BTreeMap<String, File>,
    /// Held open: the lock goes with it.
    _lock: File,
}

impl Folder {
    /// Opens the folder, making it if needed, and locks it against other processes.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Keys are kept here: only their owner may read.
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another station-agent is using this folder")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path: path.to_owned(), files: BTreeMap::new(), _lock: lock })
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.files.contains_key(name) {
            let path = self.path.join(name);
            let file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
            // The name itself must survive a power cut, not only what is in the file.
            File::open(&self.path)?.sync_all()?;
            self.files.insert(name.to_owned(), file);
        }
        Ok(self.files.get_mut(name).expect("it is there or was just put there"))
    }
}

impl Disk for Folder {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        match std::fs::read(self.path.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = self.path.join(format!("{name}.new"));
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.files.remove(name);
        std::fs::rename(&beside, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        match std::fs::metadata(self.path.join(name)) {
            Ok(about) => Ok(about.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn made(&self, name: &str) -> io::Result<Option<u128>> {
        let made = std::fs::metadata(self.path.join(name)).and_then(|about| about.created());
        match made {
            Ok(made) => Ok(made.duration_since(UNIX_EPOCH).ok().map(|since| since.as_nanos())),
            Err(error) if is_untold(error.kind()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files.remove(name);
        match std::fs::remove_file(self.path.join(name)) {
            Ok(()) => File::open(&self.path)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether there is no such file, or the file system keeps no times at which files were made.
fn is_untold(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
}

/// Files in memory. Clones are the same disk, so that a simulated agent can be stopped and started again on it.
#[derive(Clone, Default)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<String, MemoryFile>>>,
    /// How many copies it is away from the disk that it was first: when its files were made.
    copies: u128,
}

#[derive(Clone, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    durable: usize,
}

impl Memory {
    /// What a power cut does: everything that was not synced is gone.
    pub fn lose_unsynced(&self) {
        for file in self.files().values_mut() {
            file.bytes.truncate(file.durable);
        }
    }

    /// Changes a file behind the agent's back, as bit rot or a careless hand would.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut files = self.files();
        let file = files.entry(name.to_owned()).or_default();
        change(&mut file.bytes);
        file.durable = file.bytes.len();
    }

    /// Another disk that holds copies of this one's files, as a backup does.
    pub fn copy(&self) -> Self {
        Self { copies: self.copies + 1, ..self.image() }
    }

    /// Another disk that is as this one is now, as an image of a whole file system is: nothing tells them apart.
    pub fn image(&self) -> Self {
        Self { files: Arc::new(Mutex::new(self.files().clone())), copies: self.copies }
    }

    /// The names of its files.
    pub fn names(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }

    /// Every byte of every file, for tests that look for what must not be there.
    pub fn everything(&self) -> Vec<u8> {
        self.files().values().flat_map(|file| file.bytes.iter().copied()).collect()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, MemoryFile>> {
        self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Disk for Memory {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.files().get(name).map(|file| file.bytes.clone()).unwrap_or_default())
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let files = self.files();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = files.get(name).and_then(|file| file.bytes.get(start..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.files().entry(name.to_owned()).or_default().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.entry(name.to_owned()).or_default();
        file.durable = file.bytes.len();
        Ok(())
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut files = self.files();
        let file = files.entry(name.to_owned()).or_default();
        file.bytes.truncate(usize::try_from(length).map_err(io::Error::other)?);
        file.durable = file.bytes.len();
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = MemoryFile { bytes: bytes.to_vec(), durable: bytes.len() };
        self.files().insert(name.to_owned(), file);
        Ok(())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.files().get(name).map_or(0, |file| file.bytes.len() as u64))
    }

    fn made(&self, name: &str) -> io::Result<Option<u128>> {
        Ok(self.files().contains_key(name).then_some(self.copies))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.files().remove(name);
        Ok(())
    }
}
