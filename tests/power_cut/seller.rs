//! The seller's file: open bids with their prices, offers, records, checkpoints, what was submitted. Whatever is left of it,
//! with the blocks beside it, sells what was begun to the last watt-hour.

use crate::{IMAGES, IMAGES_ALL, sample};
use ohmesh_ledger::ZoneFile;
use ohmesh_tests::power_cut::{Image, Outside, Recorder, Sales, Style, Table, Town, Trace, Verdict, below};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use station_agent::disk::Disk;
use std::sync::{Arc, Mutex};

/// One uninterrupted day: what the agent asked of its disk, and the world at each moment at which something may have left it.
struct Day {
    zone: ZoneFile,
    seed: u64,
    trace: Trace,
    worlds: Vec<Outside>,
}

/// The seller's store, and the one that its snapshot has to agree with.
const STORES: [&str; 2] = ["seller.snapshot", "blocks-#.log"];

impl Day {
    fn record(seed: u64) -> Self {
        let recorder = Recorder::default();
        let mut disks = recorder.folders(1);
        let zone = Town::found(&mut disks);
        let (worlds, telling) = telling(&recorder);
        let disk = disks.remove(0);
        let mut sales = Sales::open(&zone, disk, Outside::new(&zone), (seed, 0), telling).unwrap();
        sales.furnish().unwrap();
        recorder.begin();
        assert_eq!(sales.until_over().unwrap(), Ok(()), "without a power cut");
        drop(sales);
        let worlds = std::mem::take(&mut *worlds.lock().unwrap());
        Self { zone, seed, trace: recorder.trace(), worlds }
    }

    /// The world when `cut` steps were done.
    fn world(&self, cut: usize) -> &Outside {
        &self.worlds[usize::try_from(self.trace.acknowledged(cut)).unwrap() - 1]
    }

    /// The agent is opened on what is left, and everybody goes on.
    fn examine(&self, image: &Image, cut: usize) -> Verdict {
        let disk = image.to_memories(1).remove(0);
        go_on(&self.zone, disk, self.world(cut).clone(), (self.seed, 1), |_| ())
    }

    /// The same, and sometimes the power fails once more before all is over: what came of that, with its style.
    fn examine_twice(
        &self,
        image: &Image,
        cut: usize,
        rng: &mut ChaCha20Rng,
    ) -> (Verdict, Option<(Style, Verdict)>) {
        let recorder = Recorder::over(image);
        let (worlds, telling) = telling(&recorder);
        let disk = recorder.folders(1).remove(0);
        let first = go_on(&self.zone, disk, self.world(cut).clone(), (self.seed, 1), telling);
        if first != Verdict::Whole || below(rng, 8) != 0 {
            return (first, None);
        }
        let trace = recorder.trace();
        let cuts = trace.cuts();
        let again = cuts[below(rng, cuts.len())];
        let style = Style::of(below(rng, 10));
        let told = usize::try_from(trace.acknowledged(again)).unwrap();
        let worlds = worlds.lock().unwrap();
        // Before anything was told in this life the world is as the first cut left it.
        let world = told.checked_sub(1).map_or(self.world(cut), |told| &worlds[told]).clone();
        let disk = Image::build(&trace, again, style, rng).to_memories(1).remove(0);
        (first, Some((style, go_on(&self.zone, disk, world, (self.seed, 2), |_| ()))))
    }
}

type Worlds = Arc<Mutex<Vec<Outside>>>;

/// Keeps the world whenever something may have left the agent, and says so on its disk.
fn telling(recorder: &Recorder) -> (Worlds, impl FnMut(&Outside) + 'static) {
    let worlds = Worlds::default();
    let (kept, recorder) = (worlds.clone(), recorder.clone());
    let telling = move |outside: &Outside| {
        let mut kept = kept.lock().unwrap();
        kept.push(outside.clone());
        recorder.acknowledge(kept.len());
    };
    (worlds, telling)
}

fn go_on<D: Disk>(
    zone: &ZoneFile,
    disk: D,
    world: Outside,
    life: (u64, u64),
    telling: impl FnMut(&Outside) + 'static,
) -> Verdict {
    let sales = Sales::open(zone, disk, world.after_a_cut(), life, telling);
    match sales.and_then(|mut sales| sales.until_over()) {
        Ok(Ok(())) => Verdict::Whole,
        Ok(Err(what)) => Verdict::Lost(what),
        Err(error) => Verdict::Unreadable(error.to_string()),
    }
}

fn cut_a_seller(images: usize) -> Table {
    let day = Day::record(1);
    let stores = day.trace.stores();
    let mut table = Table::default();
    for store in STORES {
        assert!(stores.contains(store), "{stores:?}");
        let cuts = day.trace.cuts_of(store);
        let name = if store.starts_with("seller") { store.to_owned() } else { format!("seller: {store}") };
        let mut again = Table::default();
        sample(&mut table, &name, (day.seed, &day.trace), (images, &cuts), |image, cut, rng| {
            let (verdict, second) = day.examine_twice(image, cut, rng);
            if let Some((style, verdict)) = second {
                again.count("seller: any, cut again", style, format_args!("{store}, cut {cut}"), verdict);
            }
            verdict
        });
        table.merge(again);
    }
    println!("{table}");
    table
}

#[test]
fn whatever_a_power_cut_leaves_a_seller_sells_what_it_has_begun() {
    cut_a_seller(IMAGES).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_leaves_a_seller_sells_what_it_has_begun_1000_images_each() {
    cut_a_seller(IMAGES_ALL).assert_whole();
}

/// The recorded day is worth cutting: all have come, words were credited, and the seller wrote at each step.
#[test]
fn a_recorded_day_holds_sales_that_can_be_lost() {
    let day = Day::record(1);
    let last = day.world(day.trace.steps().len());
    assert_eq!((last.customers(), last.credited()), (3, 3));
    let cuts = day.trace.cuts_of(STORES[0]).len();
    assert!(cuts > 300, "{cuts}");
}

/// A seller whose file is older than what it has said loses what it has said since, and the checks see it.
#[test]
fn a_sellers_older_file_is_found_out() {
    let day = Day::record(1);
    let cuts = day.trace.cuts_of(STORES[0]);
    let mut lost = 0;
    for cut in cuts.iter().step_by(cuts.len() / 50) {
        let mut image = Image::build(&day.trace, *cut, Style::Kept, &mut ChaCha20Rng::seed_from_u64(0));
        image.edit("0/seller.snapshot", Vec::clear);
        lost += usize::from(matches!(day.examine(&image, *cut), Verdict::Lost(_)));
    }
    assert!(lost > 25, "{lost}");
}

/// The same checks see a disk that says "synced" and is not: sales are gone, and the file does not read.
#[test]
fn a_sellers_disk_that_does_not_sync_is_found_out() {
    let mut day = Day::record(1);
    day.trace = day.trace.without_syncs();
    let mut table = Table::default();
    let cuts = day.trace.cuts_of(STORES[0]);
    sample(&mut table, "no syncs", (1, &day.trace), (IMAGES, &cuts), |image, cut, _| day.examine(image, cut));
    println!("{table}");
    assert!(table.lost() > 0 && table.unreadable() > 0, "{table}");
}
