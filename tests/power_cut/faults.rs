//! Disks that fail while they are used: full, or unable to sync. The agent stops with the disk's error, says nothing more,
//! and what it had said is there when it is opened on a disk that works.

use crate::agent::{BLOCKS, examine};
use ohmesh_ledger::ZoneFile;
use ohmesh_tests::power_cut::{Fault, Image, Promises, Recorder, Style, Table, Told, Town};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use station_agent::{agent::AgentError, record_log::LogError};
use std::io;

/// What an agent alone said before it stopped, and why it stopped; no error if the fault was never reached.
fn live(recorder: &Recorder, at: usize, fault: Fault) -> (ZoneFile, Vec<Told>, Option<AgentError>) {
    let mut disks = recorder.folders(1);
    let zone = Town::found(&mut disks);
    recorder.fail(at, fault);
    let kept = recorder.clone();
    let telling = move |count| kept.acknowledge(count);
    match Town::open(&zone, disks, (SEED, 0, zone.zone.created), telling) {
        Ok(mut town) => {
            let stopped = town.work(BLOCKS).err();
            (zone, town.told().to_vec(), stopped)
        }
        Err(error) => (zone, Vec::new(), Some(error)),
    }
}

/// One failure at each operation of a life, then four kinds of power cut.
fn fail_at_every_operation(fault: Fault, kind: io::ErrorKind) {
    let mut table = Table::default();
    let mut stops = 0;
    loop {
        let recorder = Recorder::default();
        let (zone, told, stopped) = live(&recorder, stops, fault);
        let Some(error) = stopped else { break };
        let AgentError::Log(LogError::Disk { file, error: from_disk }) = &error else { panic!("{error}") };
        assert_eq!(from_disk.kind(), kind);
        assert!(error.to_string().starts_with(file), "{error}");
        let trace = recorder.trace();
        let promises = Promises::of(&told);
        for style in Style::ALL {
            let mut rng = ChaCha20Rng::seed_from_u64(stops as u64);
            let image = Image::build(&trace, trace.steps().len(), style, &mut rng);
            let (verdict, _) = examine(&zone, image.to_memories(1), (SEED, 1), &promises, |_| ());
            table.count(file, style, format_args!("{fault:?} at {stops}"), verdict);
        }
        stops += 1;
    }
    println!("{fault:?}: {stops} stops\n{table}");
    assert!(stops as u64 > 3 * BLOCKS, "each block is written more than once: {stops}");
    table.assert_whole();
}

#[test]
fn an_agent_stops_at_a_full_disk_and_keeps_its_word() {
    fail_at_every_operation(Fault::DiskFull, io::ErrorKind::StorageFull);
}

#[test]
fn an_agent_stops_at_a_failing_sync_and_keeps_its_word() {
    fail_at_every_operation(Fault::SyncFails, io::ErrorKind::Other);
}

const SEED: u64 = 1;
