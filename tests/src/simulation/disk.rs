//! A disk that fails as disks do: a cache that the process sees, a medium that a power cut leaves, and between them writes
//! that are lost, torn, misdirected or refused.
//!
//! A write goes to the cache. A sync brings it to the medium. A power cut throws the cache away; of what was not synced, any
//! sector of 512 bytes may have reached the medium or not, in any order, and the file may be longer than what was written
//! into it. A misdirected write is synced without complaint, to a wrong place; the process sees it only after a restart.

use super::Dice;
use ohmesh_units::{Domain, Hash, Hasher};
use station_agent::disk::Disk;
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Device>>);

/// How a process ends, and so what is left of writes that were not synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// It is killed: all of them are there, and a later power cut may still take them.
    Killed,
    /// The power fails: nothing.
    Clean,
    /// The power fails: any of their sectors.
    Torn,
}

/// What has happened to a disk.
#[derive(Clone, Copy, Default, Debug)]
pub struct DiskCounts {
    /// Writes and syncs asked for.
    pub operations: u64,
    /// Power cuts that left some of the unsynced sectors and not others.
    pub torn: u64,
    /// Writes that were synced to a wrong place.
    pub misdirected: u64,
    /// Disks that were lost.
    pub lost: u64,
    /// Disks that were put back from a copy.
    pub put_back: u64,
    /// Writes that were refused because the disk was full.
    pub full: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
}

/// What was on a disk.
#[derive(Clone)]
pub struct Backup(BTreeMap<String, Vec<u8>>);

struct Device {
    files: BTreeMap<String, File>,
    /// How many files have been made on it.
    made: u128,
    dice: Dice,
    trace: Hasher,
    counts: DiskCounts,
    /// Operations until the power fails, if it is about to.
    power: Option<u64>,
    is_off: bool,
    is_full: bool,
    fails_syncs: bool,
    lies: bool,
    misdirects: bool,
}

#[derive(Clone, Default)]
struct File {
    cache: Vec<u8>,
    medium: Vec<u8>,
    /// Where the cache's end was when it was last brought to the medium.
    synced: usize,
    /// As far as the disk has said "synced".
    promised: usize,
    /// When it was made, by the files made before it.
    made: u128,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(dice: Dice) -> Self {
        const TRACE: Domain = Domain::new("ohmesh/1 simulated disk");
        Self(Arc::new(Mutex::new(Device {
            files: BTreeMap::new(),
            made: 0,
            dice,
            trace: TRACE.hasher(),
            counts: DiskCounts::default(),
            power: None,
            is_off: false,
            is_full: false,
            fails_syncs: false,
            lies: false,
            misdirects: false,
        })))
    }

    /// The power fails at the operation after this many.
    pub fn cut_power_after(&self, operations: u64) {
        self.device().power = Some(operations);
    }

    /// Whether it refuses what it is asked, being full or failing.
    pub fn is_failing(&self) -> bool {
        let device = self.device();
        device.is_full || device.fails_syncs
    }

    /// Nothing more goes wrong with it.
    pub fn heal(&self) {
        let mut device = self.device();
        (device.is_full, device.fails_syncs, device.misdirects) = (false, false, false);
        if !device.is_off {
            device.power = None;
        }
    }

    /// Whether the power has failed since the disk was last started.
    pub fn is_off(&self) -> bool {
        self.device().is_off
    }

    /// Ends whatever the process did and starts the disk again with what a power cut leaves.
    pub fn restart(&self, cut: Cut) {
        self.device().restart(cut);
    }

    /// Everything on it is gone.
    pub fn lose(&self) {
        let mut device = self.device();
        device.files.clear();
        device.counts.lost += 1;
        (device.power, device.is_off) = (None, false);
    }

    /// A copy of what the process sees.
    pub fn backup(&self) -> Backup {
        let device = self.device();
        Backup(device.files.iter().map(|(name, file)| (name.clone(), file.cache.clone())).collect())
    }

    /// It holds what it held when the copy was made, and nothing else.
    pub fn put_back(&self, backup: &Backup) {
        let mut device = self.device();
        device.files.clear();
        for (name, bytes) in &backup.0 {
            let file = device.file(name);
            (file.cache, file.medium) = (bytes.clone(), bytes.clone());
            (file.synced, file.promised) = (bytes.len(), bytes.len());
        }
        device.counts.put_back += 1;
        (device.power, device.is_off) = (None, false);
    }

    /// From now on there is no room, or there is again.
    pub fn set_full(&self, is_full: bool) {
        self.device().is_full = is_full;
    }

    /// From now on every sync fails and its writes are lost, or none does.
    pub fn set_failing_syncs(&self, fails: bool) {
        self.device().fails_syncs = fails;
    }

    /// From now on the disk says "synced" and does nothing: the fault that no software survives, for tests of the checker.
    pub fn set_lying(&self, lies: bool) {
        self.device().lies = lies;
    }

    /// The next synced write goes to a wrong place.
    pub fn misdirect_next(&self) {
        self.device().misdirects = true;
    }

    /// Bytes that were written and of which the disk has not said that they are durable.
    pub fn unsynced_bytes(&self) -> usize {
        self.device().files.values().map(|file| file.cache.len().saturating_sub(file.promised)).sum()
    }

    /// What has happened to it.
    pub fn counts(&self) -> DiskCounts {
        self.device().counts
    }

    /// Hash of everything that was written, and when in the order of operations.
    pub fn trace(&self) -> Hash {
        self.device().trace.finish()
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Device {
    /// Counts an operation; an error if the power is off or fails now.
    fn begin(&mut self, what: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.counts.operations += 1;
        self.trace.update(what.as_bytes()).update(name.as_bytes()).update(bytes);
        match self.power {
            Some(0) => self.is_off = true,
            Some(left) => self.power = Some(left - 1),
            None => {}
        }
        if self.is_off { Err(io::Error::other("the power has failed")) } else { Ok(()) }
    }

    fn refuse_if_full(&mut self) -> io::Result<()> {
        if self.is_full {
            self.counts.full += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> &mut File {
        if !self.files.contains_key(name) {
            self.made += 1;
        }
        let made = self.made;
        self.files.entry(name.to_owned()).or_insert_with(|| File { made, ..File::default() })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.begin("append", name, bytes) {
            // The write that the power cut meets may be under way.
            if self.power.take().is_some() {
                self.file(name).cache.extend_from_slice(bytes);
            }
            return Err(error);
        }
        if self.is_full {
            let fits = self.dice.index(bytes.len() + 1);
            self.file(name).cache.extend_from_slice(&bytes[..fits]);
        }
        self.refuse_if_full()?;
        self.file(name).cache.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.begin("sync", name, &[])?;
        if self.fails_syncs {
            self.counts.sync_errors += 1;
            return Err(io::Error::other("input/output error"));
        }
        let lies = self.lies;
        let file = self.file(name);
        file.promised = file.cache.len();
        if lies {
            return Ok(());
        }
        let written = file.cache[file.synced.min(file.cache.len())..].to_vec();
        let offset = std::mem::replace(&mut file.synced, file.cache.len());
        if self.misdirects && written.len() > 1 {
            self.misdirects = false;
            self.counts.misdirected += 1;
            self.misdirect(name, offset, &written);
        } else {
            put(&mut self.file(name).medium, offset, &written);
        }
        Ok(())
    }

    /// Puts a synced write somewhere else: over older bytes of its file, further on, or into another file. Where it
    /// belongs the medium has zeros, or ends before.
    fn misdirect(&mut self, name: &str, offset: usize, written: &[u8]) {
        let others: Vec<String> = self.files.keys().filter(|other| *other != name).cloned().collect();
        let is_longer = self.dice.chance(500);
        if is_longer {
            put(&mut self.file(name).medium, offset, &vec![0; written.len()]);
        }
        let (target, at) = match self.dice.below(3) {
            0 if !others.is_empty() => {
                let other = self.dice.pick(&others).clone();
                let length = self.files[&other].medium.len();
                (other, self.dice.index(length + 1) / SECTOR * SECTOR)
            }
            1 => (name.to_owned(), self.dice.index(offset + 1) / SECTOR * SECTOR),
            _ => (name.to_owned(), offset + SECTOR * (1 + self.dice.index(4))),
        };
        put(&mut self.file(&target).medium, at, written);
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.begin("truncate", name, &length.to_be_bytes())?;
        if self.fails_syncs {
            self.counts.sync_errors += 1;
            return Err(io::Error::other("input/output error"));
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let lies = self.lies;
        let file = self.file(name);
        file.cache.truncate(length);
        file.promised = file.cache.len();
        if !lies {
            let at = file.synced.min(length);
            let rest = file.cache[at.min(file.cache.len())..].to_vec();
            put(&mut file.medium, at, &rest);
            file.medium.truncate(length);
            file.synced = file.cache.len();
        }
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.begin("replace", name, bytes)?;
        self.refuse_if_full()?;
        if self.fails_syncs {
            self.counts.sync_errors += 1;
            return Err(io::Error::other("input/output error"));
        }
        let lies = self.lies;
        self.made += 1;
        let made = self.made;
        let file = self.file(name);
        file.made = made;
        file.cache = bytes.to_vec();
        file.promised = bytes.len();
        if !lies {
            file.medium = bytes.to_vec();
            file.synced = bytes.len();
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.begin("remove", name, &[])?;
        if !self.lies {
            self.files.remove(name);
        } else if let Some(file) = self.files.get_mut(name) {
            (file.cache, file.promised) = (Vec::new(), 0);
        }
        Ok(())
    }

    fn restart(&mut self, cut: Cut) {
        let mut files = std::mem::take(&mut self.files);
        for file in files.values_mut() {
            match cut {
                Cut::Killed => continue,
                Cut::Torn if file.cache.len() > file.synced => self.tear(file),
                Cut::Torn | Cut::Clean => {}
            }
            file.cache = file.medium.clone();
            (file.synced, file.promised) = (file.cache.len(), file.cache.len());
        }
        self.files = files;
        (self.power, self.is_off) = (None, false);
    }

    /// Brings some sectors of the unsynced end to the medium.
    fn tear(&mut self, file: &mut File) {
        let (from, to) = (file.synced, file.cache.len());
        self.counts.torn += 1;
        if self.dice.chance(300) {
            // The file grew before anything was written into it.
            put(&mut file.medium, from, &vec![0; to - from]);
        }
        let in_order = self.dice.chance(500);
        let mut at = from;
        while at < to {
            let end = ((at / SECTOR + 1) * SECTOR).min(to);
            let is_kept = self.dice.chance(600);
            if is_kept {
                put(&mut file.medium, at, &file.cache[at..end]);
            } else if in_order {
                return;
            }
            at = end;
        }
    }
}

impl Disk for SimDisk {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(self.device().files.get(name).map(|file| file.cache.clone()).unwrap_or_default())
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let device = self.device();
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start.checked_add(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let bytes = device.files.get(name).and_then(|file| file.cache.get(start..end));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(self.device().files.get(name).map_or(0, |file| file.cache.len() as u64))
    }

    fn made(&self, name: &str) -> io::Result<Option<u128>> {
        Ok(self.device().files.get(name).map(|file| file.made))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.device().remove(name)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.device().append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.device().sync(name)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.device().truncate(name, length)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.device().replace(name, bytes)
    }
}

/// Writes into a medium, which grows with zeros as far as it must.
fn put(medium: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if medium.len() < end {
        medium.resize(end, 0);
    }
    medium[at..end].copy_from_slice(bytes);
}

/// What a disk writes whole.
const SECTOR: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_cut_leaves_what_was_synced_and_any_sector_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = SimDisk::new(Dice::new(seed, "disk", 0));
            disk.append("f", &[1; 700]).unwrap();
            disk.sync("f").unwrap();
            disk.append("f", &[2; 900]).unwrap();
            assert_eq!(disk.unsynced_bytes(), 900);
            disk.restart(if seed == 0 { Cut::Clean } else { Cut::Torn });
            let left = disk.read("f").unwrap();
            assert!(left.len() >= 700 && left[..700].iter().all(|byte| *byte == 1), "what was synced stays");
            if seed == 0 {
                assert_eq!(left.len(), 700);
            }
            seen.insert(left[700..].chunks(4).map(|part| part[0]).collect::<Vec<u8>>());
        }
        assert!(seen.len() >= 8, "two whole sectors and a part, each there or not: {} ways", seen.len());
    }

    #[test]
    fn a_misdirected_write_shows_after_a_restart_only() {
        for seed in 0..50 {
            let mut disk = SimDisk::new(Dice::new(seed, "disk", 0));
            for name in ["f", "g"] {
                disk.append(name, &[1; 2_000]).unwrap();
                disk.sync(name).unwrap();
            }
            disk.misdirect_next();
            disk.append("f", &[2; 600]).unwrap();
            disk.sync("f").unwrap();
            let before = disk.read("f").unwrap();
            assert_eq!(before.len(), 2_600, "the process sees what it wrote");
            disk.restart(Cut::Clean);
            assert_ne!(disk.read("f").unwrap(), before, "seed {seed}");
            assert_eq!(disk.counts().misdirected, 1);
        }
    }

    #[test]
    fn errors_are_errors() {
        let mut disk = SimDisk::new(Dice::new(1, "disk", 0));
        disk.set_full(true);
        assert_eq!(disk.append("f", b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.set_full(false);
        disk.append("f", b"x").unwrap();
        disk.set_failing_syncs(true);
        assert!(disk.sync("f").is_err());
        disk.set_failing_syncs(false);
        disk.cut_power_after(1);
        disk.append("f", b"y").unwrap();
        assert!(disk.sync("f").is_err() && disk.append("f", b"z").is_err() && disk.is_off());
        disk.restart(Cut::Clean);
        assert!(disk.read("f").unwrap().is_empty(), "nothing was ever synced");
    }
}
