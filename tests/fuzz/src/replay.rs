//! The replay on stable: every file of the corpus, then mutations of them.

use crate::{Target, Verdict, check, memory::most_bytes, mutate::Mutator};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Memory that an input may take for each of its bytes, beside the target's bound: decoded values are wider than their
/// bytes, and are held as bytes, as values and encoded again.
pub const MEMORY_PER_BYTE: usize = 256;

/// What a replay saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Files of the corpus.
    pub files: usize,
    /// Mutations.
    pub mutations: u64,
    /// Mutations that were taken.
    pub taken: u64,
    /// The most memory that an input took, in bytes.
    pub memory: usize,
    /// How long it took; only ever printed.
    pub time: Duration,
}

/// An input that breaks a promise.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{target}: {what}: {why}")]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// Which input: a file, or a mutation's number.
    pub what: String,
    /// What it broke.
    pub why: String,
    /// The input.
    pub bytes: Vec<u8>,
}

/// The corpus of a target, by file name.
pub fn corpus(target: &Target) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder(target))? {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    files.sort();
    Ok(files)
}

/// Where a target's corpus lies.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// Replays a target: its corpus, which it must take, and `mutations` of it, which must break no promise.
pub fn replay(
    target: &'static Target,
    files: &[(String, Vec<u8>)],
    mutations: std::ops::Range<u64>,
    seed: u64,
) -> Result<Report, Failure> {
    let began = Instant::now();
    let mut report = Report { files: files.len(), ..Report::default() };
    for (name, bytes) in files {
        // The first run makes the world that the target works with; that is not the input's memory.
        let _ = catch_unwind(|| (target.run)(bytes));
        let verdict = one(target, name, bytes, &mut report)?;
        if let Verdict::Refused(why) = verdict {
            let (what, why) = (format!("file {name}"), format!("refused: {why}"));
            return Err(Failure { target: target.name, what, why, bytes: bytes.clone() });
        }
    }
    let corpus: Vec<Vec<u8>> = files.iter().map(|(_, bytes)| bytes.clone()).collect();
    let mutator = Mutator::new(&corpus, seed);
    for n in mutations {
        let bytes = mutator.mutation(n);
        let what = format!("mutation {n} of seed {seed}");
        report.taken += u64::from(one(target, &what, &bytes, &mut report)? == Verdict::Taken);
        report.mutations += 1;
    }
    report.time = began.elapsed();
    Ok(report)
}

fn one(target: &'static Target, what: &str, bytes: &[u8], report: &mut Report) -> Result<Verdict, Failure> {
    let fail = |why| Failure { target: target.name, what: what.to_owned(), why, bytes: bytes.to_vec() };
    let (result, memory) = most_bytes(|| catch_unwind(AssertUnwindSafe(|| check(target, bytes))));
    let verdict = result.map_err(|panic| fail(message_of(&*panic)))?;
    report.memory = report.memory.max(memory);
    let allowed = target.memory_max + MEMORY_PER_BYTE * bytes.len();
    if memory > allowed {
        return Err(fail(format!("took {memory} bytes of memory, {allowed} are allowed")));
    }
    Ok(verdict)
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
