//! Data that several tests read, and where it is looked for.
#![allow(dead_code, unreachable_pub)]

use std::io::Read as _;
use std::path::PathBuf;

pub const DE_EXTRACT: &str = include_str!("../data/de_bnetza_extract.csv");
pub const FR_EXTRACT: &str = include_str!("../data/fr_irve_extract.csv");

pub const DE_FILE: &str = "stations/de_bnetza_2019-07-19.csv.gz";
pub const FR_FILE: &str = "stations/fr_irve_stations_2022-12-05.csv.gz";

/// The unpacked bytes of a whole register under `OHMESH_DATA`, or under `../shared/data` beside the workspace; `None`,
/// and a line that says so past the test harness, if it is not there.
pub fn register(file: &str) -> Option<Vec<u8>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("OHMESH_DATA").map_or_else(beside, PathBuf::from).join(file);
    let Ok(packed) = std::fs::File::open(&path) else {
        // print! is captured when a test passes; this is not.
        use std::io::Write as _;
        let note = format!("NOT RUN: {} is missing (set OHMESH_DATA to the data folder)\n", path.display());
        let _ = std::io::stderr().write_all(note.as_bytes());
        return None;
    };
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).expect("a readable gzip file");
    Some(bytes)
}
