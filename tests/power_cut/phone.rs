//! A phone's file: SQLite as it really writes and syncs, recorded below the C library.

#![cfg(target_os = "linux")]

use crate::{IMAGES, IMAGES_ALL, sample, scratch};
use ohmesh_ledger::ZoneFile;
use ohmesh_node::Place;
use ohmesh_tests::power_cut::{
    Bought, Image, Op, Phone, Seen, Step, Style, Table, Trace, Verdict, below, open_purchases, script,
    syscalls::{Full, Shim},
};
use ohmesh_units::AuctionId;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use std::{collections::BTreeSet, path::Path};

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
        let (trace, said) = shim.record_full(RECORDED.as_ref(), &arguments, folder.path(), None);
        assert_eq!(said, "", "nothing fails");
        Self::of(seed, OPS, trace)
    }

    /// The day of which this is the trace.
    fn of(seed: u64, ops: usize, trace: Trace) -> Self {
        let (zone, script) = script(seed, ops);
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

/// A phone whose disk is full for a while: what it is doing then fails by that name and changes nothing, what it did before
/// is there, and it goes on when there is room. Nothing fails where SQLite only tidies up: that waits. Four images of each
/// such day are cut, half of them at its end.
fn fill_the_disk(images: usize) {
    const OPS: usize = 40;
    let (tools, first) = (scratch(), scratch());
    let shim = Shim::compile(tools.path());
    let arguments = ["phone", "1", &OPS.to_string()];
    let day = Day::of(1, OPS, shim.record(RECORDED.as_ref(), &arguments, first.path()));
    let steps = |trace: &Trace| trace.steps().iter().filter(|step| matches!(step, Step::Write(..))).count();
    let (days, writes) = (images / Style::ALL.len(), steps(&day.trace));
    let mut table = Table::default();
    let (mut failed, mut named) = (BTreeSet::new(), 0);
    for n in 0..days {
        let folder = scratch();
        let full = Full { at: 1 + n * writes / days, writes: 2 + n % 5 };
        let (trace, said) = shim.record_full(RECORDED.as_ref(), &arguments, folder.path(), Some(full));
        for line in said.lines() {
            assert!(line.contains("full"), "{full:?}: {line}");
            failed.insert(line.split_once(':').unwrap().0.to_owned());
        }
        named += usize::from(!said.is_empty());
        let day = Day { trace, zone: day.zone.clone(), script: day.script.clone(), seen: day.seen.clone() };
        let cuts = day.trace.cuts();
        let mut rng = ChaCha20Rng::seed_from_u64(n as u64);
        for style in Style::ALL {
            let cut = if below(&mut rng, 2) == 0 {
                *cuts.last().unwrap()
            } else {
                cuts[below(&mut rng, cuts.len())]
            };
            let image = Image::build(&day.trace, cut, style, &mut rng);
            table.count("full disk", style, format_args!("{full:?}, cut {cut}"), day.examine(&image, cut));
        }
    }
    println!("{writes} writes; {named} of {days} days had {} different things fail\n{table}", failed.len());
    assert!(named > days / 2 && failed.len() > days.min(OPS) / 4, "{named} of {days}: {failed:?}");
    table.assert_whole();
}

#[test]
fn a_full_disk_is_named_loses_nothing_and_is_gone_on_from() {
    fill_the_disk(IMAGES);
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn a_full_disk_is_named_loses_nothing_and_is_gone_on_from_1000_images() {
    fill_the_disk(IMAGES_ALL);
}

/// A day of purchases: what its phone was told, by number.
struct Shopping {
    trace: Trace,
    told: Vec<Bought>,
}

impl Shopping {
    fn record(rounds: usize) -> Self {
        let (tools, folder) = (scratch(), scratch());
        let shim = Shim::compile(tools.path());
        let arguments = ["shop", "0", &rounds.to_string()];
        let (trace, said) = shim.record_full(RECORDED.as_ref(), &arguments, folder.path(), None);
        let told: Vec<Bought> = said.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(trace.acknowledged(trace.steps().len()), told.len() as u64);
        Self { trace, told }
    }

    /// The purchases that are open when so much was told.
    fn open_after(&self, told: usize) -> BTreeSet<AuctionId> {
        let mut open = BTreeSet::new();
        for one in &self.told[..told] {
            match one {
                Bought::Open(id) => drop(open.insert(*id)),
                Bought::Ended(id) => drop(open.remove(id)),
            }
        }
        open
    }

    /// What is left opens, and its open purchases are those that the phone was told of, or one step further.
    fn examine(&self, image: &Image, cut: usize) -> Verdict {
        let folder = scratch();
        image.write_to(folder.path()).unwrap();
        let path = folder.path().join("node.db");
        let done = usize::try_from(self.trace.acknowledged(cut)).unwrap();
        let open = match open_purchases(&Place::File(path.clone())) {
            Ok(open) => open,
            Err(error) => return Verdict::Unreadable(error.to_string()),
        };
        if !(done..=self.told.len().min(done + 1)).any(|told| self.open_after(told) == open) {
            return Verdict::Lost(format!("open are {open:?} after {done} things were said"));
        }
        integrity(&path)
    }
}

fn cut_the_purchases(images: usize) -> Table {
    let day = Shopping::record(4);
    let opened = day.told.iter().filter(|one| matches!(one, Bought::Open(_))).count();
    assert_eq!((opened, day.told.len()), (8, 16), "all of them end");
    let mut table = Table::default();
    for store in day.trace.stores() {
        let cuts = day.trace.cuts_of(&store);
        let name = format!("purchases: {store}");
        sample(&mut table, &name, (1, &day.trace), (images, &cuts), |image, cut, _| day.examine(image, cut));
    }
    println!("{table}");
    table
}

#[test]
fn whatever_a_power_cut_leaves_no_purchase_is_lost() {
    cut_the_purchases(IMAGES).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_leaves_no_purchase_is_lost_1000_images_each() {
    cut_the_purchases(IMAGES_ALL).assert_whole();
}

#[test]
fn a_purchase_lost_by_a_disk_that_does_not_sync_is_found_out() {
    let mut day = Shopping::record(2);
    day.trace = day.trace.without_syncs();
    let mut table = Table::default();
    let cuts = day.trace.cuts();
    sample(&mut table, "no syncs", (1, &day.trace), (IMAGES, &cuts), |image, cut, _| day.examine(image, cut));
    assert!(table.lost() > 0, "{table}");
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
