//! The programs whose files are recorded: `recorded phone SEED OPS FOLDER`, `recorded agent SEED BLOCKS FOLDER`,
//! `recorded shop SEED ROUNDS FOLDER`, which prints what its phone was told.

#![allow(clippy::unwrap_used, reason = "a workload that cannot run has failed, and its parent sees it")]

use ohmesh_node::Place;
use ohmesh_tests::power_cut::{Op, Phone, Town, script, shop, syscalls::Acknowledging};
use station_agent::disk::Folder;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, seed, count, folder] = &arguments[..] else { panic!("{arguments:?}") };
    let (seed, count, folder) = (seed.parse().unwrap(), count.parse().unwrap(), Path::new(folder));
    match what.as_str() {
        "phone" => phone(seed, count, folder),
        "agent" => agent(seed, count, folder),
        "shop" => buy(count, folder),
        other => panic!("there is no {other}"),
    }
}

/// Every thing that returned is acknowledged. What fails is printed with its number, and done again until it does not;
/// in between, the phone shows what it showed before.
fn phone(seed: u64, ops: usize, folder: &Path) {
    let mut acknowledging = Acknowledging::into(folder).unwrap();
    let (zone, script) = script(seed, ops);
    let place = Place::File(folder.join("node.db"));
    let mut phone = until_there_is_room(0, || Phone::open(place.clone(), &zone));
    for (at, op) in script.iter().enumerate() {
        let before = phone.seen().unwrap();
        until_there_is_room(at + 1, || {
            let done = phone.perform(op);
            if done.is_err() && !matches!(op, Op::Reopen) {
                assert!(phone.seen().unwrap() == before, "{}: half of it is there", at + 1);
            }
            done
        });
        acknowledging.say(at + 1).unwrap();
    }
}

/// A disk is not full for ever.
fn until_there_is_room<T, E: std::fmt::Display>(at: usize, mut act: impl FnMut() -> Result<T, E>) -> T {
    for _ in 0..TRIES {
        match act() {
            Ok(done) => return done,
            Err(error) => println!("{at}: {error}"),
        }
    }
    panic!("{at}: not after {TRIES} tries");
}

/// What the phone was told is printed, a line each, before it is acknowledged.
fn buy(rounds: usize, folder: &Path) {
    let mut acknowledging = Acknowledging::into(folder).unwrap();
    let mut said = 0;
    shop(&Place::File(folder.join("node.db")), rounds, |told| {
        println!("{told}");
        said += 1;
        acknowledging.say(said).unwrap();
    });
}

/// More than the tests' full disks have writes that fail.
const TRIES: usize = 10;

/// Everything that was told to others is acknowledged.
fn agent(seed: u64, blocks: usize, folder: &Path) {
    let mut acknowledging = Acknowledging::into(folder).unwrap();
    let mut disks = vec![Folder::open(folder).unwrap()];
    let zone = Town::found(&mut disks);
    acknowledging.say(0).unwrap();
    let telling = move |count| acknowledging.say(count).unwrap();
    let mut town = Town::open(&zone, disks, (seed, 0, zone.zone.created), telling).unwrap();
    town.work(blocks as u64).unwrap();
}
