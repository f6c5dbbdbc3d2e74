//! A real folder, as an operator's machine has it: files, names and their syncs, recorded below the C library.

#![cfg(target_os = "linux")]

use crate::{
    IMAGES, IMAGES_ALL,
    agent::{BLOCKS, Life, STORES, examine},
    sample, scratch,
};
use ohmesh_tests::power_cut::{Table, Town, Verdict, syscalls::Shim};
use station_agent::{
    disk::{Folder, Memory},
    vote_keys::VoteKeys,
};

const RECORDED: &str = env!("CARGO_BIN_EXE_recorded");

impl Life {
    /// The same life on a real folder. What it said is what an agent says on a disk in memory.
    fn record_folder(seed: u64) -> Self {
        let (tools, folder) = (scratch(), scratch());
        let shim = Shim::compile(tools.path());
        let arguments = ["agent", &seed.to_string(), &BLOCKS.to_string()];
        let trace = shim.record(RECORDED.as_ref(), &arguments, folder.path());
        let mut disks = vec![Memory::default()];
        let zone = Town::found(&mut disks);
        let mut town = Town::open(&zone, disks, (seed, 0, zone.zone.created), |_| ()).unwrap();
        town.work(BLOCKS).unwrap();
        let told = town.told().to_vec();
        assert_eq!(trace.acknowledged(trace.steps().len()), told.len() as u64);
        Self { zone, size: 1, seed, trace, told }
    }
}

fn cut_a_folder(images: usize) -> Table {
    let life = Life::record_folder(1);
    let mut table = Table::default();
    let stores = life.trace.stores();
    assert!(STORES.iter().all(|store| stores.contains(*store)), "{stores:?}");
    for store in stores {
        let cuts = life.trace.cuts_of(&store);
        let name = format!("folder: {store}");
        sample(&mut table, &name, (1, &life.trace), (images, &cuts), |image, cut, _| {
            let folder = scratch();
            image.write_to(folder.path()).unwrap();
            let adopted = Folder::open(folder.path()).and_then(|mut disk| {
                // The image was written here just now, and no power cut does that: it is no copy.
                let mut keys = VoteKeys::open(&disk).map_err(std::io::Error::other)?;
                keys.adopt(&mut disk, "wal.log").map_err(std::io::Error::other)?;
                Ok(disk)
            });
            match adopted {
                Ok(disk) => examine(&life.zone, vec![disk], (1, 1), &life.promises(cut), |_| ()).0,
                Err(error) => Verdict::Unreadable(error.to_string()),
            }
        });
    }
    println!("{table}");
    table
}

#[test]
fn whatever_a_power_cut_leaves_in_a_folder_an_agent_keeps_its_word() {
    cut_a_folder(IMAGES).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_leaves_in_a_folder_an_agent_keeps_its_word_1000_images_each() {
    cut_a_folder(IMAGES_ALL).assert_whole();
}
