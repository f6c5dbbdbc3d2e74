//! Records what a whole program asks of the files in a folder, below the C library: for SQLite, and for real folders.
//!
//! A small shared library (`recorder.c`) is compiled with `cc` and loaded into a child process before all others. A VFS of our
//! own would see less: it would replace the part of SQLite that decides when a folder is synced, and see nothing of our
//! own files. That nothing escapes is checked: the trace, replayed to its end, must give the folder byte for byte.
//!
//! The child counts what it has acknowledged by appending eight bytes, big-endian, to the file [`ACKNOWLEDGED`] in the
//! folder, which no image holds. A zero says that it begins now: the power does not fail before.

use super::{FileId, Image, Step, Style, Trace};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// The file into which a recorded program counts what it has acknowledged.
pub const ACKNOWLEDGED: &str = "acknowledged";

/// Counts what a recorded program has acknowledged.
pub struct Acknowledging(File);

impl Acknowledging {
    /// Counts into the folder that is recorded.
    ///
    /// Errors: the system's.
    pub fn into(folder: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(folder.join(ACKNOWLEDGED)).map(Self)
    }

    /// Says that there are `count` by now, those before included; 0: that the run begins.
    ///
    /// Errors: the system's.
    pub fn say(&mut self, count: usize) -> io::Result<()> {
        self.0.write_all(&u64::try_from(count).map_err(io::Error::other)?.to_be_bytes())
    }
}

/// The compiled recorder.
pub struct Shim(PathBuf);

impl Shim {
    /// Compiles the recorder into `folder`. Panics if there is no C compiler: nothing would be tested.
    pub fn compile(folder: &Path) -> Self {
        let (source, library) = (folder.join("recorder.c"), folder.join("recorder.so"));
        fs::write(&source, include_str!("recorder.c")).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]);
        let built = cc.args([&library, &source]).args(["-ldl", "-lpthread"]).output();
        let built = built.expect("a C compiler is needed: install cc (Debian: build-essential)");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Self(library)
    }

    /// Runs a program with `arguments` and `folder` at their end, and gives what it asked of the files in the folder, which
    /// must be empty. Panics if it fails, or if the trace does not account for every byte in the folder.
    pub fn record(&self, program: &OsStr, arguments: &[&str], folder: &Path) -> Trace {
        self.record_full(program, arguments, folder, None).0
    }

    /// As [`Shim::record`], on a disk that is full in between, if wanted; gives what the program printed too.
    pub fn record_full(
        &self,
        program: &OsStr,
        arguments: &[&str],
        folder: &Path,
        full: Option<Full>,
    ) -> (Trace, String) {
        let folder = folder.canonicalize().unwrap();
        let record = self.0.with_extension("trace");
        let mut command = Command::new(program);
        command.args(arguments).arg(&folder).env("LD_PRELOAD", &self.0);
        command.env("POWER_CUT_FOLDER", &folder).env("POWER_CUT_TRACE", &record);
        if let Some(Full { at, writes }) = full {
            command.env("POWER_CUT_FULL_AT", at.to_string()).env("POWER_CUT_FULL_FOR", writes.to_string());
        }
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}: {}", ran.status, String::from_utf8_lossy(&ran.stderr));
        let trace = Parser::default().trace(&fs::read(record).unwrap());
        fs::remove_file(folder.join(ACKNOWLEDGED)).unwrap();
        let end = trace.steps().len();
        let all = Image::build(&trace, end, Style::Kept, &mut ChaCha20Rng::seed_from_u64(0));
        let (found, on_disk) = (all.files().collect::<Vec<_>>(), Image::of_folder(&folder).unwrap());
        let expected: Vec<_> = on_disk.files().collect();
        assert!(found == expected, "something was written past the recorder");
        (trace, String::from_utf8(ran.stdout).unwrap())
    }
}

/// A disk that is full for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// From this write into the folder on, the first being 1; half of it still finds room.
    pub at: usize,
    /// After so many writes there is room again.
    pub writes: usize,
}

#[derive(Clone, Copy)]
enum Descriptor {
    File(FileId),
    Folder,
    Acknowledged,
}

#[derive(Default)]
struct Parser {
    trace: Trace,
    open: BTreeMap<i64, Descriptor>,
}

impl Parser {
    fn trace(mut self, mut record: &[u8]) -> Trace {
        while let Some((head, rest)) = record.split_first_chunk::<HEAD>() {
            let mut numbers = head.chunks_exact(8).map(|n| i64::from_ne_bytes(n.try_into().unwrap()));
            let [kind, fd, first, _, length] = std::array::from_fn(|_| numbers.next().unwrap());
            let (payload, rest) = rest.split_at(usize::try_from(length).unwrap());
            self.take(kind, fd, first, payload);
            record = rest;
        }
        assert!(record.is_empty(), "the record ends in the middle");
        self.trace
    }

    fn take(&mut self, kind: i64, fd: i64, first: i64, payload: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match kind {
            OPENED => self.opened(fd, &text(payload), first != 0),
            CLOSED => drop(self.open.remove(&fd)),
            WRITTEN => match self.open[&fd] {
                Descriptor::File(file) => {
                    self.trace.push(Step::Write(file, u64::try_from(first).unwrap(), payload.to_vec()));
                }
                Descriptor::Acknowledged => match u64::from_be_bytes(payload.try_into().unwrap()) {
                    0 => self.trace.begin(),
                    count => self.trace.push(Step::Acknowledged(count)),
                },
                Descriptor::Folder => unreachable!("a folder cannot be written"),
            },
            CUT => {
                if let Descriptor::File(file) = self.open[&fd] {
                    self.trace.push(Step::Truncate(file, u64::try_from(first).unwrap()));
                }
            }
            SYNCED => self.trace.push(match self.open[&fd] {
                Descriptor::File(file) => Step::Sync(file),
                Descriptor::Folder => Step::SyncNames,
                Descriptor::Acknowledged => return,
            }),
            RENAMED => {
                let (from, to) = payload.split_at(usize::try_from(first).unwrap());
                self.trace.push(Step::Rename(text(from), text(to)));
            }
            REMOVED => self.trace.push(Step::Remove(text(payload))),
            other => panic!("the recorder writes no records of kind {other}"),
        }
    }

    fn opened(&mut self, fd: i64, name: &str, is_cut: bool) {
        let descriptor = match name {
            "" => Descriptor::Folder,
            ACKNOWLEDGED => Descriptor::Acknowledged,
            _ => {
                let file = self.trace.open(name);
                if is_cut {
                    self.trace.push(Step::Truncate(file, 0));
                }
                Descriptor::File(file)
            }
        };
        self.open.insert(fd, descriptor);
    }
}

// Kinds of records, as in `recorder.c`.
const OPENED: i64 = 1;
const CLOSED: i64 = 2;
const WRITTEN: i64 = 3;
const CUT: i64 = 4;
const SYNCED: i64 = 5;
const RENAMED: i64 = 6;
const REMOVED: i64 = 7;
/// Five 64-bit numbers before each record's bytes.
const HEAD: usize = 5 * 8;
