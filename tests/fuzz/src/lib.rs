//! Fuzz targets: one plain function for everything here that reads bytes from outside.
//!
//! What it is: a table of [`TARGETS`]. Each takes any bytes and says whether they were taken or why not; it panics when
//! the code under it breaks a promise. The fuzzer's binaries in `fuzz_targets/` call them under `cargo fuzz`, which needs
//! a nightly compiler and, for the feature `libfuzzer`, a C++ one. The binary `replay` calls them on stable: with every
//! file of `corpus/`, and with seeded mutations of those.
//!
//! What it never does: accept silence. Bytes that are refused are refused with words that name what was expected; bytes
//! that are taken encode to themselves; no input makes the code take more memory than the target's bound.
//!
//! How data moves:
//!
//! ```text
//!  world (the real code, fixed seeds) --seeds--> corpus/<target>/<name> --+-- as it is -----------------> must be taken
//!                                                                         +-- Mutator (seed, number) --+
//!                                                                                                      v
//!  cargo fuzz --> fuzz_targets/<target>.rs -----------------------------------> check(target, bytes) --> Verdict
//! ```
//!
//! Signatures would stop nearly every mutation at the door. So the targets of the ledger, the committee and the contract
//! sign a mutated message again with the keys that it names before they give it to the code behind the signature check;
//! they give it as it came, too.

#![deny(missing_docs)]
#![allow(clippy::expect_used, clippy::panic, reason = "a panic is how a target says what went wrong")]

mod agent;
mod auction;
mod contract;
mod geo;
mod ledger;
pub mod memory;
mod mesh;
pub mod mutate;
mod ocpp;
pub mod replay;
mod snapshot;
mod world;

use ohmesh_units::Canonical;

/// What became of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They are what they should be, all the way.
    Taken,
    /// They are not, in the words of the error.
    Refused(String),
}

impl Verdict {
    fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Taken,
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

/// One thing that reads bytes.
pub struct Target {
    /// Its name: that of its binary and of its folder in `corpus/`.
    pub name: &'static str,
    /// Gives it bytes.
    pub run: fn(&[u8]) -> Verdict,
    /// Bytes that it takes, made by the real code, with a name for each.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// A word of these is in every refusal: it names the thing that was refused. With none here, any words will do:
    /// the thing is one of many, and [`Canonical`] values are held to their names anyway.
    pub words: &'static [&'static str],
    /// The most memory that any input may take, beside what its own length takes.
    pub memory_max: usize,
    /// How many mutations cost as much as one of the cheapest target's: the bounded replay divides by it.
    pub cost: usize,
}

/// Everything that reads bytes from outside.
pub const TARGETS: &[Target] = &[
    ledger::TRANSACTION,
    ledger::BLOCK,
    ledger::CERTIFICATE,
    ledger::HAND_OVER,
    ledger::ANCHOR,
    ledger::PROOF,
    ledger::QUERY,
    ledger::ANSWER,
    ledger::OBJECT,
    ledger::ZONE_FILE,
    snapshot::SNAPSHOT_MANIFEST,
    snapshot::SNAPSHOT_CHUNK,
    agent::ZONE_TOML,
    agent::WIRE,
    agent::COMMITTEE_MESSAGE,
    agent::WAL_RECORD,
    agent::RECORD_LOG,
    agent::VOTE_KEYS,
    agent::AGENT_DISK,
    auction::INTENT,
    auction::BID,
    auction::RELEASE,
    auction::OUTCOME,
    auction::KEY_MESSAGE,
    contract::CONTRACT_MESSAGE,
    contract::CONTRACT_RECORD,
    mesh::GOSSIP,
    mesh::LINK_FRAME,
    mesh::ADVERT,
    ocpp::OCPP,
    ocpp::OCPP_UPGRADE,
    geo::GERMAN_REGISTER,
    geo::FRENCH_IRVE,
];

/// The target of that name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Gives `bytes` to the target and checks what every target promises; panics when it is broken.
pub fn check(target: &Target, bytes: &[u8]) -> Verdict {
    let verdict = (target.run)(bytes);
    if let Verdict::Refused(words) = &verdict {
        let is_named = if target.words.is_empty() {
            !words.trim().is_empty()
        } else {
            target.words.iter().any(|word| words.contains(word))
        };
        assert!(is_named, "{}: a refusal that names nothing: {words:?}", target.name);
    }
    verdict
}

/// Runs the target of that name, for the fuzzer's binaries.
pub fn fuzz(name: &str, bytes: &[u8]) {
    check(target(name).expect("a binary is named after its target"), bytes);
}

/// A value from bytes; what decodes encodes to the same bytes, and what does not is refused by the value's name.
fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, String> {
    match T::decode(bytes) {
        Ok(value) => {
            assert_eq!(value.encode(), bytes, "{} has two encodings", T::NAME);
            Ok(value)
        }
        Err(error) => {
            let words = error.to_string();
            assert!(words.contains(T::NAME), "{words:?} does not name {}", T::NAME);
            Err(words)
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
