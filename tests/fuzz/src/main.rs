//! `replay`: the fuzz targets on a stable compiler.
//!
//! ```text
//! replay                          every target: its corpus and its share of 3,000,000 units of mutations
//! replay --units N --seed S       more, or others
//! replay --target T               one target
//! replay --target T --mutation N  one mutation, to look at
//! replay --write                  makes the corpus anew with the real code, after a change of format
//! ```

use ohmesh_fuzz::{
    TARGETS, Target,
    memory::Counting,
    replay::{Failure, corpus, folder, replay},
    target,
};
use std::{process::ExitCode, str::FromStr};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Units of the bounded replay: a mutation of a target costs so many of them.
const UNITS: u64 = 3_000_000;
/// The fewest mutations of each target.
const MUTATIONS_MIN: u64 = 200;

fn main() -> ExitCode {
    match Wanted::parse(std::env::args().skip(1)).and_then(|wanted| wanted.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("replay: {why}");
            ExitCode::FAILURE
        }
    }
}

struct Wanted {
    targets: Vec<&'static Target>,
    units: u64,
    seed: u64,
    mutation: Option<u64>,
    is_writing: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self {
            targets: TARGETS.iter().collect(),
            units: UNITS,
            seed: 1,
            mutation: None,
            is_writing: false,
        };
        while let Some(name) = arguments.next() {
            let value = |arguments: &mut dyn Iterator<Item = String>| {
                arguments.next().ok_or(format!("{name} wants a value"))
            };
            match name.as_str() {
                "--units" => wanted.units = number(&value(&mut arguments)?)?,
                "--seed" => wanted.seed = number(&value(&mut arguments)?)?,
                "--mutation" => wanted.mutation = Some(number(&value(&mut arguments)?)?),
                "--target" => {
                    let name = value(&mut arguments)?;
                    wanted.targets = vec![target(&name).ok_or(format!("there is no target {name}"))?];
                }
                "--write" => wanted.is_writing = true,
                other => return Err(format!("unknown argument {other}")),
            }
        }
        Ok(wanted)
    }

    fn run(&self) -> Result<(), String> {
        if !self.is_writing {
            // What a target's panic says is in its failure; the trace of each would drown it.
            std::panic::set_hook(Box::new(|_| {}));
        }
        let mut failed = Vec::new();
        for target in &self.targets {
            let done = match self.is_writing {
                true => write(target).map_err(|error| format!("{}: {error}", target.name)),
                false => self.one(target),
            };
            failed.extend(done.err());
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
    }

    fn one(&self, target: &'static Target) -> Result<(), String> {
        let files = corpus(target).map_err(|error| format!("{}: no corpus: {error}", target.name))?;
        if files.is_empty() {
            return Err(format!("{}: an empty corpus", target.name));
        }
        let mutations = match self.mutation {
            Some(one) => one..one + 1,
            None => 0..(self.units / TARGETS.len() as u64 / target.cost as u64).max(MUTATIONS_MIN),
        };
        match replay(target, &files, mutations, self.seed) {
            Ok(report) => {
                println!(
                    "{:18} {:3} files, {:6} mutations, {:5.1} % taken, {:6} KiB at most, {:5.2} s",
                    target.name,
                    report.files,
                    report.mutations,
                    100.0 * report.taken as f64 / report.mutations as f64,
                    report.memory >> 10,
                    report.time.as_secs_f64(),
                );
                Ok(())
            }
            Err(failure) => Err(keep(&failure)),
        }
    }
}

fn number<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

/// Writes the input of a failure where a corpus file could be made of it.
fn keep(failure: &Failure) -> String {
    let path = std::env::temp_dir().join(format!("fuzz-{}", failure.target));
    match std::fs::write(&path, &failure.bytes) {
        Ok(()) => format!("{failure}\n  the input is in {}", path.display()),
        Err(error) => format!("{failure}\n  the input cannot be written: {error}"),
    }
}

/// Makes a target's corpus anew. What is there under other names stays: inputs that once broke something.
fn write(target: &Target) -> std::io::Result<()> {
    let folder = folder(target);
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in (target.seeds)() {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
