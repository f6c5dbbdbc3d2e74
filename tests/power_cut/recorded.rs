//! The programs whose files are recorded: `recorded phone SEED OPS FOLDER`, `recorded agent SEED BLOCKS FOLDER`.

#![allow(clippy::unwrap_used, reason = "a workload that cannot run has failed, and its parent sees it")]

use ohmesh_node::Place;
use ohmesh_tests::power_cut::{Phone, Town, script, syscalls::Acknowledging};
use station_agent::disk::Folder;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, seed, count, folder] = &arguments[..] else { panic!("{arguments:?}") };
    let (seed, count, folder) = (seed.parse().unwrap(), count.parse().unwrap(), Path::new(folder));
    match what.as_str() {
        "phone" => phone(seed, count, folder),
        "agent" => agent(seed, count, folder),
        other => panic!("there is no {other}"),
    }
}

/// Every thing that returned is acknowledged.
fn phone(seed: u64, ops: usize, folder: &Path) {
    let mut acknowledging = Acknowledging::into(folder).unwrap();
    let (zone, script) = script(seed, ops);
    let mut phone = Phone::open(Place::File(folder.join("node.db")), &zone).unwrap();
    for (at, op) in script.iter().enumerate() {
        phone.perform(op).unwrap();
        acknowledging.say(at + 1).unwrap();
    }
}

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
