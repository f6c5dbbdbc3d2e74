//! Targets of the catalogue: registers as they are downloaded.

use crate::{MIB, Target, Verdict};
use ohmesh_geo::{Catalogue, Import, ImportError, french_irve, german_register};

pub const GERMAN_REGISTER: Target = Target {
    name: "german_register",
    run: |bytes| import(german_register(bytes)),
    seeds: || {
        let extract = include_bytes!("../../../core/geo/tests/data/de_bnetza_extract.csv");
        vec![("extract".into(), first_lines(extract, 40))]
    },
    words: &["file", "line", "header", "CSV"],
    memory_max: 4 * MIB,
    cost: 20,
};

pub const FRENCH_IRVE: Target = Target {
    name: "french_irve",
    run: |bytes| import(french_irve(bytes)),
    seeds: || {
        let extract = include_bytes!("../../../core/geo/tests/data/fr_irve_extract.csv");
        vec![("extract".into(), first_lines(extract, 12))]
    },
    words: &["file", "line", "header", "CSV"],
    memory_max: 4 * MIB,
    cost: 20,
};

/// Every row is in, or out with a line and a reason.
fn import(import: Result<Import, ImportError>) -> Verdict {
    let import = match import {
        Ok(import) => import,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    assert!(import.rejected.len() <= import.rows, "more rows are out than were read");
    assert!(import.stations.len() <= import.rows_imported(), "a station out of nothing");
    assert!(import.rejected.iter().all(|row| row.to_string().contains("line ")), "a row without its line");
    let stations = import.stations.len();
    let catalogue = Catalogue::new(import.stations).expect("few stations");
    assert_eq!(catalogue.stations().len(), stations);
    Verdict::Taken
}

fn first_lines(text: &[u8], count: usize) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n').take(count).flatten().copied().collect()
}
