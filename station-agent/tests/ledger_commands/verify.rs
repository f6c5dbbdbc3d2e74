//! `ledger verify` on good folders and on tampered ones.

use crate::{agent, chain::Chain, json, ok, refused};
use ohmesh_ledger::{Block, Certificate};
use std::{collections::BTreeMap, path::Path, process::Stdio};

const VERIFY: [&str; 2] = ["ledger", "verify"];

/// A chain with money, sales and three epochs, in a folder.
fn written() -> (Chain, tempfile::TempDir) {
    let mut chain = Chain::of_two_epochs();
    chain.block(7_300_000, Vec::new()); // Ends epoch 1.
    chain.block(7_400_000, Vec::new());
    let folder = tempfile::tempdir().unwrap();
    chain.write(folder.path());
    (chain, folder)
}

/// The name, length and content of every file.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("data")).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

#[test]
fn a_good_folder_verifies_is_not_changed_and_may_be_in_use() {
    let (chain, folder) = written();
    let path = folder.path();
    let before = files(path);
    // As an agent that runs holds it.
    let lock = std::fs::OpenOptions::new().write(true).open(path.join("data/lock")).unwrap();
    lock.lock().unwrap();
    let found = json(&VERIFY, path);
    assert_eq!(found["ok"], true);
    assert_eq!(found["height"], chain.height());
    assert_eq!(found["epoch"], chain.epoch());
    assert_eq!(chain.epoch(), 2);
    assert_eq!(found["hand_overs"], 2);
    assert_eq!(found["roots"]["objects"]["hash"], chain.root());
    assert_eq!(found["blocks"], chain.height());
    let transactions: usize = chain.blocks.iter().map(|(block, _)| block.transactions.len()).sum();
    assert_eq!(found["transactions"], transactions);
    assert!(found["unfinished"].is_null() && found["first_bad"].is_null());
    let text = ok(&VERIFY, path);
    assert!(text.starts_with("OK: every block from genesis to height 8"), "{text}");
    assert_eq!(files(path), before, "nothing was written");
}

/// `| head` is no error, a full disk is one that is named; neither is a crash.
#[test]
fn an_output_that_nobody_reads_and_one_that_is_full() {
    let (_, folder) = written();
    let run = |out: Stdio| {
        let mut command = agent();
        command.args(VERIFY).current_dir(folder.path()).stdout(out).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(Stdio::piped()), (Some(0), String::new()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, said) = run(full.into());
    assert_eq!(code, Some(1));
    assert!(said.starts_with("station-agent: standard output: No space left"), "{said}");
}

#[test]
fn every_flipped_byte_is_found() {
    let (chain, folder) = written();
    let path = folder.path();
    let log = path.join("data/blocks.log");
    let good = std::fs::read(&log).unwrap();
    let last = good.len() - frame(&chain.blocks[chain.blocks.len() - 1]);
    // Every byte of the header and of the first and last frames' heads, and a spread of all others.
    let step = good.len() / 60;
    let spread = (0..good.len()).step_by(step);
    let heads = (0..80).step_by(7).chain((last..last + 40).step_by(3));
    for at in heads.chain(spread) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&log, bytes).unwrap();
        let output = crate::output(&[&VERIFY[..], &["--json"]].concat(), path);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            // Only the length of the last frame can look as if its block were still being written.
            let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!((last..last + 4).contains(&at), "byte {at} was changed and nobody saw");
            assert_eq!(found["unfinished"]["offset"], last);
            assert_eq!(found["height"], chain.height() - 1);
            continue;
        }
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains("height") || said.contains("blocks.log"), "byte {at}: {said}");
        if at >= 40 {
            let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let first_bad = found["first_bad"]["height"].as_u64().unwrap();
            assert_eq!(first_bad, height_at(&chain, at), "byte {at}: {said}");
        }
    }
}

/// Bytes of a block's frame.
fn frame((block, certificate): &(Block, Certificate)) -> usize {
    use ohmesh_units::Canonical;
    36 + 8 + block.encode().len() + certificate.encode().len()
}

/// The height of the block whose frame has byte `at` of the log.
fn height_at(chain: &Chain, at: usize) -> u64 {
    let mut end = 40;
    let mut height = 0;
    for block in &chain.blocks {
        if end > at {
            break;
        }
        end += frame(block);
        height += 1;
    }
    height
}

#[test]
fn swapped_missing_and_uncertified_blocks_are_found_by_height_though_the_checks_fit() {
    let (chain, folder) = written();
    let path = folder.path();
    let bad = |blocks: &[(Block, Certificate)]| {
        chain.write_log(path, blocks);
        refused(&VERIFY, path, 1)
    };
    let mut swapped = chain.blocks.clone();
    swapped.swap(2, 3);
    assert!(bad(&swapped).starts_with("BAD at height 3: "), "swapped");
    let mut missing = chain.blocks.clone();
    missing.remove(4);
    assert!(bad(&missing).starts_with("BAD at height 5: "), "one is missing");
    let mut beheaded = chain.blocks.clone();
    beheaded.remove(0);
    assert!(bad(&beheaded).starts_with("BAD at height 1: "), "the first is missing");

    let mut stripped = chain.blocks.clone();
    stripped[5].1.signatures.truncate(2);
    let said = bad(&stripped);
    assert!(said.starts_with("BAD at height 6: ") && said.contains("not more than two thirds"), "{said}");
    let mut foreign = chain.blocks.clone();
    foreign[5].1 = chain.certify(&foreign[4].0.header, &[0, 1, 2]);
    assert!(bad(&foreign).starts_with("BAD at height 6: "), "the certificate of another block");
    let mut of_epoch = chain.blocks.clone();
    of_epoch[7].1.epoch = 0;
    assert!(bad(&of_epoch).starts_with("BAD at height 8: "), "a certificate of another epoch");

    // A block that its voters certified, but that does not do what it says.
    let mut lying = chain.blocks.clone();
    lying[6].0.header.state.objects.hash = lying[5].0.header.state.objects.hash;
    lying[6].1 = chain.certify(&lying[6].0.header, &[0, 1, 2, 3]);
    let said = bad(&lying);
    assert!(said.starts_with("BAD at height 7: ") && said.contains("another state"), "{said}");

    chain.write_log(path, &chain.blocks);
    ok(&VERIFY, path);
}

#[test]
fn a_cut_end_is_named_and_not_cut_off() {
    let (chain, folder) = written();
    let path = folder.path();
    let log = path.join("data/blocks.log");
    let good = std::fs::read(&log).unwrap();
    let last = good.len() - frame(&chain.blocks[chain.blocks.len() - 1]);
    for kept in [last + 1, last + 36, last + 100, good.len() - 1] {
        std::fs::write(&log, &good[..kept]).unwrap();
        let found = json(&VERIFY, path);
        assert_eq!((&found["ok"], &found["height"]), (&true.into(), &(chain.height() - 1).into()));
        assert_eq!(found["unfinished"]["offset"], last);
        assert_eq!(found["unfinished"]["bytes"], kept - last);
        assert_eq!(std::fs::read(&log).unwrap().len(), kept, "the folder is only read");
    }
    let text = ok(&VERIFY, path);
    assert!(text.contains("unfinished ") && text.contains("being written"), "{text}");
    // Cut between blocks: that cannot be seen here, but the height says so, and the hand-overs may.
    std::fs::write(&log, &good[..last]).unwrap();
    assert_eq!(json(&VERIFY, path)["height"], chain.height() - 1);
}

#[test]
fn hand_overs_that_are_not_those_of_the_blocks_are_found() {
    let (_, folder) = written();
    let path = folder.path();
    let log = path.join("data/hand-overs.log");
    let good = std::fs::read(&log).unwrap();
    let mut bytes = good.clone();
    bytes[100] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    assert!(refused(&VERIFY, path, 1).contains("hand-overs.log"));
    // The hand-overs of a chain that the same validators certified in the same epochs.
    let mut other = Chain::new("Berlin");
    other.found(false);
    other.block(3_600_000, Vec::new());
    let elsewhere = tempfile::tempdir().unwrap();
    other.write(elsewhere.path());
    std::fs::copy(elsewhere.path().join("data/hand-overs.log"), &log).unwrap();
    let said = refused(&VERIFY, path, 1);
    assert!(said.contains("hand-overs.log") && said.contains("another block"), "{said}");
}

#[test]
fn where_the_first_blocks_are_gone_a_checked_snapshot_stands_in_their_place() {
    let mut chain = Chain::new("Berlin");
    chain.found(true);
    chain.sell(2_000, 3);
    chain.block(3_600_000, Vec::new()); // Ends epoch 0.
    chain.sell(3_700_000, 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    chain.write(path);
    chain.write_snapshot(path);
    let (height, root) = (chain.height(), chain.root());
    chain.sell(3_800_000, 2);
    chain.write(path);
    chain.write_from(path, 6); // One block that the snapshot covers, and those after it.

    let snapshot = ["ledger", "snapshot"];
    let shown = json(&snapshot, path);
    assert_eq!(shown["snapshots"][0]["height"], height);
    assert_eq!(shown["snapshots"][0]["objects_root"], root);
    assert_eq!(shown["snapshots"][0]["epoch"], 1);
    assert!(ok(&snapshot, path).starts_with("OK         height 6"));
    let found = json(&VERIFY, path);
    assert_eq!((&found["ok"], &found["from_snapshot"]), (&true.into(), &height.into()));
    assert_eq!((&found["blocks"], &found["not_executed"]), (&2.into(), &1.into()));
    assert_eq!(found["roots"]["objects"]["hash"], chain.root());
    assert!(ok(&VERIFY, path).contains("from the snapshot of height 6 (not the 1 before it) to height 8"));

    // Any byte of it, and it is no snapshot.
    let file = path.join("data/snapshot-6.log");
    let good = std::fs::read(&file).unwrap();
    for at in (0..good.len()).step_by(good.len() / 20) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert!(refused(&snapshot, path, 1).contains("height 6"), "byte {at}");
        assert!(refused(&VERIFY, path, 1).starts_with("BAD at height 1: "), "byte {at}");
    }
    std::fs::write(&file, &good[..good.len() / 2]).unwrap();
    assert!(refused(&snapshot, path, 1).contains("BAD        height 6"), "half of it");
    std::fs::write(&file, &good).unwrap();
    std::fs::remove_file(path.join("data/hand-overs.log")).unwrap();
    assert!(refused(&snapshot, path, 1).contains("how epoch 0 ended"));
    std::fs::remove_file(&file).unwrap();
    assert!(refused(&VERIFY, path, 1).contains("there is no snapshot in its place"));
    assert!(refused(&snapshot, path, 1).contains("has no snapshot"));
}

#[test]
fn another_zones_file_and_no_folder_are_named() {
    let (_, folder) = written();
    let path = folder.path();
    let other = tempfile::tempdir().unwrap();
    Chain::new("Potsdam").write(other.path());
    let zone = other.path().join("zone.toml");
    let said = refused(&["ledger", "verify", "--zone", zone.to_str().unwrap()], path, 1);
    assert!(said.contains("blocks.log belongs to another zone"), "{said}");
    let said = refused(&["ledger", "verify", "--data", "nowhere"], path, 1);
    assert!(said.contains("nowhere"), "{said}");
    std::fs::create_dir(path.join("empty")).unwrap();
    let said = refused(&["ledger", "verify", "--data", "empty"], path, 1);
    assert!(said.contains("empty has no blocks.log"), "{said}");
    let said = refused(&["ledger", "verify", "--zone", "none.toml"], path, 1);
    assert!(said.contains("none.toml"), "{said}");
}
