//! What a program asked of the files in one folder, in order.

use super::Image;
use std::collections::{BTreeMap, BTreeSet};

/// A file, whatever it is called meanwhile. Never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileId(usize);

/// One thing asked of the files, or said to the world.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new, empty file under a name that was free.
    Create(String, FileId),
    /// Bytes at an offset.
    Write(FileId, u64, Vec<u8>),
    /// A new length.
    Truncate(FileId, u64),
    /// What was asked of the file until here is durable.
    Sync(FileId),
    /// A file takes another name, and the place of who had it.
    Rename(String, String),
    /// A name is free again.
    Remove(String),
    /// What was asked of the names until here is durable.
    SyncNames,
    /// So many things had been said to others, or returned to the caller, when this was reached.
    Acknowledged(u64),
}

/// The steps of one run, and the names as the program sees them.
#[derive(Clone, Default, Debug)]
pub struct Trace {
    steps: Vec<Step>,
    names: BTreeMap<String, FileId>,
    files: usize,
    /// Steps before the run began: the power does not fail among them.
    first: usize,
}

impl Trace {
    /// A trace of a run that begins with these files.
    pub fn over(image: &Image) -> Self {
        let mut trace = Self::default();
        for (name, bytes) in image.files() {
            let file = trace.open(name);
            trace.push(Step::Write(file, 0, bytes.clone()));
            trace.push(Step::Sync(file));
        }
        trace.push(Step::SyncNames);
        trace.begin();
        trace
    }

    /// The run begins here: the power does not fail before.
    pub fn begin(&mut self) {
        self.first = self.steps.len();
    }

    /// The file of this name, which is made if there is none.
    pub fn open(&mut self, name: &str) -> FileId {
        if let Some(file) = self.names.get(name) {
            return *file;
        }
        let file = self.unnamed();
        self.names.insert(name.to_owned(), file);
        self.steps.push(Step::Create(name.to_owned(), file));
        file
    }

    /// A file that no step has named yet.
    fn unnamed(&mut self) -> FileId {
        self.files += 1;
        FileId(self.files)
    }

    /// The next step; names follow it.
    pub fn push(&mut self, step: Step) {
        follow(&mut self.names, &step);
        self.steps.push(step);
    }

    /// All steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How many things had been acknowledged before the cut.
    pub fn acknowledged(&self, cut: usize) -> u64 {
        let told = self.steps[..cut].iter().rev().find_map(|step| match step {
            Step::Acknowledged(count) => Some(*count),
            _ => None,
        });
        told.unwrap_or(0)
    }

    /// Every instant at which the power may fail, as a number of steps done.
    pub fn cuts(&self) -> Vec<usize> {
        (self.first..=self.steps.len()).collect()
    }

    /// The instants that matter to one store: right after each step that touches one of its files, with whatever was
    /// acknowledged before the next.
    pub fn cuts_of(&self, store: &str) -> Vec<usize> {
        let mut names = BTreeMap::new();
        let mut ours = BTreeSet::new();
        let mut cuts = Vec::new();
        let mut named = false;
        for (at, step) in self.steps.iter().enumerate() {
            follow(&mut names, step);
            ours.extend(names.iter().filter(|(name, _)| store_of(name) == store).map(|(_, file)| *file));
            let is_touched = match step {
                Step::Write(file, ..) | Step::Truncate(file, _) | Step::Sync(file) => ours.contains(file),
                Step::Create(name, _) | Step::Remove(name) => store_of(name) == store,
                Step::Rename(from, to) => store_of(from) == store || store_of(to) == store,
                Step::SyncNames => named,
                Step::Acknowledged(_) => false,
            };
            match step {
                Step::Create(..) | Step::Remove(_) | Step::Rename(..) => named |= is_touched,
                Step::SyncNames => named = false,
                _ => {}
            }
            if at < self.first || !is_touched {
                continue;
            }
            let acknowledged =
                self.steps[at + 1..].iter().take_while(|step| is_acknowledgement(step)).count();
            cuts.push(at + 1);
            if acknowledged > 0 {
                cuts.push(at + 1 + acknowledged);
            }
        }
        cuts
    }

    /// The stores written to: names of files, numbers in them left out, so that a series of files is one store.
    pub fn stores(&self) -> BTreeSet<String> {
        let mut stores = BTreeSet::new();
        for step in &self.steps[self.first..] {
            match step {
                Step::Create(name, _) | Step::Rename(_, name) => drop(stores.insert(store_of(name))),
                _ => {}
            }
        }
        stores
    }

    /// The same run on a disk that acknowledges syncs and does not do them.
    pub fn without_syncs(&self) -> Self {
        let durable = self.steps[..self.first].iter();
        let run = self.steps[self.first..].iter();
        let kept = run.filter(|step| !matches!(step, Step::Sync(_) | Step::SyncNames));
        Self { steps: durable.chain(kept).cloned().collect(), ..self.clone() }
    }
}

/// What a step does to the names.
pub(super) fn follow(names: &mut BTreeMap<String, FileId>, step: &Step) {
    match step {
        Step::Create(name, file) => drop(names.insert(name.clone(), *file)),
        Step::Rename(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Step::Remove(name) => drop(names.remove(name)),
        _ => {}
    }
}

fn is_acknowledgement(step: &Step) -> bool {
    matches!(step, Step::Acknowledged(_))
}

/// The store that a file belongs to: `0/snapshot.12` and `1/snapshot.13.new` are both `snapshot.#`.
fn store_of(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".new").unwrap_or(name);
    let mut store = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '0'..='9' if store.ends_with('#') => {}
            '0'..='9' => store.push('#'),
            other => store.push(other),
        }
    }
    store
}
