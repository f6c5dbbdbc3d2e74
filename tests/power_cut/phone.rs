//! A phone's file: SQLite as it really writes and syncs, recorded below the C library.

#![cfg(target_os = "linux")]

use crate::{IMAGES, IMAGES_ALL, sample, scratch};
use ohmesh_ledger::ZoneFile;
use ohmesh_node::Place;
use ohmesh_tests::power_cut::{Image, Op, Phone, Seen, Table, Trace, Verdict, script, syscalls::Shim};
use rusqlite::Connection;
use std::path::Path;

/// A phone's day: what its SQLite asked of the system, and what it showed after each thing it did.
struct Day {
    zone: ZoneFile,
    script: Vec<Op>,
    trace: Trace,
    /// After none, one, two, .. things.
    seen: Vec<Seen>,
}

/// Things done in a day: enough that SQLite moves its journal into the file by itself too.
const OPS: usize = 600;
const RECORDED: &str = env!("CARGO_BIN_EXE_recorded");

impl Day {
    fn record(seed: u64) -> Self {
        let (tools, folder) = (scratch(), scratch());
        let shim = Shim::compile(tools.path());
        let arguments = ["phone", &seed.to_string(), &OPS.to_string()];
        let trace = shim.record(RECORDED.as_ref(), &arguments, folder.path());
        let (zone, script) = script(seed, OPS);
        assert_eq!(trace.acknowledged(trace.steps().len()), script.len() as u64);
        let mut phone = Phone::open(Place::Memory, &zone).unwrap();
        let mut seen = vec![phone.seen().unwrap()];
        for op in &script {
            phone.perform(op).unwrap();
            seen.push(phone.seen().unwrap());
        }
        Self { zone, script, trace, seen }
    }

    /// Opens what is left: all that was acknowledged is there, and of the thing under way all or nothing.
    fn examine(&self, image: &Image, cut: usize) -> Verdict {
        let folder = scratch();
        image.write_to(folder.path()).unwrap();
        let path = folder.path().join("node.db");
        let done = usize::try_from(self.trace.acknowledged(cut)).unwrap();
        let mut phone = match Phone::open(Place::File(path.clone()), &self.zone) {
            Ok(phone) => phone,
            Err(error) => return Verdict::Unreadable(error.to_string()),
        };
        let seen = match phone.seen() {
            Ok(seen) => seen,
            Err(error) => return Verdict::Unreadable(error.to_string()),
        };
        let expected = &self.seen[done..self.seen.len().min(done + 2)];
        let Some(further) = expected.iter().rposition(|expected| *expected == seen) else {
            return Verdict::Lost(format!(
                "it shows neither what it did after {done} things nor after the next"
            ));
        };
        // The day goes on where the power failed.
        for op in self.script.iter().skip(done + further).take(3) {
            if let Err(error) = phone.perform(op) {
                return Verdict::Unreadable(format!("it does not go on: {error}"));
            }
        }
        drop(phone);
        integrity(&path)
    }
}

/// What SQLite itself finds when it looks at every page, row and index.
fn integrity(path: &Path) -> Verdict {
    let found = Connection::open(path)
        .and_then(|sql| sql.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)));
    match found {
        Ok(found) if found == "ok" => Verdict::Whole,
        Ok(found) => Verdict::Unreadable(found),
        Err(error) => Verdict::Unreadable(error.to_string()),
    }
}

fn cut_a_phone(images: usize) -> Table {
    let day = Day::record(1);
    let mut table = Table::default();
    for store in day.trace.stores() {
        let cuts = day.trace.cuts_of(&store);
        sample(&mut table, &store, (1, &day.trace), (images, &cuts), |image, cut, _| day.examine(image, cut));
    }
    println!("{table}");
    table
}

#[test]
fn whatever_a_power_cut_leaves_a_phone_has_all_or_nothing() {
    cut_a_phone(IMAGES).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_leaves_a_phone_has_all_or_nothing_1000_images_each() {
    cut_a_phone(IMAGES_ALL).assert_whole();
}

/// The same checks see a disk that says "synced" and is not: things are gone, and files do not open.
#[test]
fn a_phones_disk_that_does_not_sync_is_found_out() {
    let mut day = Day::record(1);
    day.trace = day.trace.without_syncs();
    let mut table = Table::default();
    let cuts = day.trace.cuts();
    sample(&mut table, "no syncs", (1, &day.trace), (IMAGES, &cuts), |image, cut, _| day.examine(image, cut));
    println!("{table}");
    assert!(table.lost() > 0 && table.unreadable() > 0, "{table}");
}
