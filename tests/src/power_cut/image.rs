//! What is on a disk when the power comes back.

use super::{FileId, Step, Trace, below, trace::follow};
use rand_chacha::ChaCha20Rng;
use station_agent::disk::Memory;
use std::{collections::BTreeMap, fmt, fs, io, path::Path};

/// What becomes of what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Style {
    /// All of it is lost.
    Dropped,
    /// All of it had reached the disk.
    Kept,
    /// Some writes are there and some are not, or all up to one byte in the middle.
    InPart,
    /// Of each write some sectors are there and some are not.
    Torn,
}

impl Style {
    /// All styles.
    pub const ALL: [Self; 4] = [Self::Dropped, Self::Kept, Self::InPart, Self::Torn];

    /// The style of the `n`-th image. The two in which nothing is left to chance come once in ten each.
    pub fn of(n: usize) -> Self {
        match n % 10 {
            0 => Self::Dropped,
            1 => Self::Kept,
            2..6 => Self::InPart,
            _ => Self::Torn,
        }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Dropped => "dropped",
            Self::Kept => "kept",
            Self::InPart => "in part",
            Self::Torn => "torn",
        })
    }
}

/// Files by name, as a power cut left them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Image(BTreeMap<String, Vec<u8>>);

impl Image {
    /// What may be there if the power fails after `cut` steps of the trace.
    pub fn build(trace: &Trace, cut: usize, style: Style, rng: &mut ChaCha20Rng) -> Self {
        let mut disk = Platter::default();
        for step in &trace.steps()[..cut] {
            disk.take(step);
        }
        disk.lose_power(style, rng)
    }

    /// The files in a folder, for comparing.
    pub fn of_folder(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
        }
        Ok(Self(files))
    }

    /// The files, by name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Vec<u8>)> {
        self.0.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Changes a file, as bit rot would.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.entry(name.to_owned()).or_default());
    }

    /// A disk in memory with these files.
    pub fn to_memory(&self) -> Memory {
        let memory = Memory::default();
        for (name, bytes) in &self.0 {
            memory.edit(name, |file| file.clone_from(bytes));
        }
        memory
    }

    /// A disk in memory for each of so many agents, from their folders on this one.
    pub fn to_memories(&self, agents: usize) -> Vec<Memory> {
        let own = |agent| {
            let folder = format!("{agent}/");
            let files = self.0.iter().filter_map(|(name, bytes)| Some((name.strip_prefix(&folder)?, bytes)));
            Self(files.map(|(name, bytes)| (name.to_owned(), bytes.clone())).collect()).to_memory()
        };
        (0..agents).map(own).collect()
    }

    /// Writes the files into a folder.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.0.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    }
}

/// What is durable, and what was asked since.
#[derive(Default)]
struct Platter<'t> {
    contents: BTreeMap<FileId, Vec<u8>>,
    names: BTreeMap<String, FileId>,
    waiting: BTreeMap<FileId, Vec<&'t Step>>,
    waiting_names: Vec<&'t Step>,
}

impl<'t> Platter<'t> {
    fn take(&mut self, step: &'t Step) {
        match step {
            Step::Write(file, ..) | Step::Truncate(file, _) => {
                self.waiting.entry(*file).or_default().push(step)
            }
            Step::Sync(file) => {
                let content = self.contents.entry(*file).or_default();
                self.waiting
                    .remove(file)
                    .unwrap_or_default()
                    .into_iter()
                    .for_each(|step| apply(content, step));
            }
            Step::Create(..) | Step::Rename(..) | Step::Remove(_) => self.waiting_names.push(step),
            Step::SyncNames => {
                let names = &mut self.names;
                self.waiting_names.drain(..).for_each(|step| follow(names, step));
            }
            Step::Acknowledged(_) => {}
        }
    }

    fn lose_power(mut self, style: Style, rng: &mut ChaCha20Rng) -> Image {
        for (file, steps) in std::mem::take(&mut self.waiting) {
            survive(self.contents.entry(file).or_default(), &steps, style, rng);
        }
        let kept = match style {
            Style::Dropped => 0,
            Style::Kept => self.waiting_names.len(),
            Style::InPart | Style::Torn => below(rng, self.waiting_names.len() + 1),
        };
        self.waiting_names[..kept].iter().for_each(|step| follow(&mut self.names, step));
        let content = |file| self.contents.get(&file).cloned().unwrap_or_default();
        Image(self.names.iter().map(|(name, file)| (name.clone(), content(*file))).collect())
    }
}

/// Applies what survives of the steps that were not synced.
fn survive(content: &mut Vec<u8>, steps: &[&Step], style: Style, rng: &mut ChaCha20Rng) {
    match style {
        Style::Dropped => {}
        Style::Kept => steps.iter().for_each(|step| apply(content, step)),
        Style::InPart if below(rng, 2) == 0 => {
            let whole = below(rng, steps.len());
            steps[..whole].iter().for_each(|step| apply(content, step));
            if let Step::Write(_, offset, bytes) = steps[whole] {
                write(content, *offset, &bytes[..below(rng, bytes.len() + 1)]);
            }
        }
        Style::InPart => {
            steps.iter().filter(|_| below(rng, 2) == 0).for_each(|step| apply(content, step));
        }
        Style::Torn => steps.iter().for_each(|step| tear(content, step, rng)),
    }
}

/// Applies some sectors of a write; a truncation happens or does not.
fn tear(content: &mut Vec<u8>, step: &Step, rng: &mut ChaCha20Rng) {
    let Step::Write(_, offset, bytes) = step else {
        if below(rng, 2) == 0 {
            apply(content, step);
        }
        return;
    };
    // From one lost sector in eight to seven in eight, so that long writes too lose only one, or keep only one.
    let lost_in_8 = 1 + below(rng, 7);
    let start = index(*offset);
    let mut from = 0;
    while from < bytes.len() {
        let to = bytes.len().min(from + SECTOR - (start + from) % SECTOR);
        if below(rng, 8) >= lost_in_8 {
            write(content, *offset + from as u64, &bytes[from..to]);
        }
        from = to;
    }
    // The length is not data: it may be durable before what it covers, and zeros are read there.
    if below(rng, 2) == 0 && content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
}

fn apply(content: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(_, offset, bytes) => write(content, *offset, bytes),
        Step::Truncate(_, length) => content.resize(index(*length), 0),
        _ => unreachable!("only writes and truncations wait for the sync of their file"),
    }
}

fn write(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let start = index(offset);
    if content.len() < start + bytes.len() {
        content.resize(start + bytes.len(), 0);
    }
    content[start..start + bytes.len()].copy_from_slice(bytes);
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("recorded files are small")
}

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
