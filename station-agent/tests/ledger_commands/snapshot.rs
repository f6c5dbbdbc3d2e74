//! `ledger snapshot --write`, and snapshots that `ledger verify` compares with the blocks.

use crate::{
    chain::{Chain, key},
    json, ok, refused,
    verify::files,
};
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_units::{Hash, Timestamp};
use station_agent::{
    agent::{Agent, Keep, Settings},
    disk::Folder,
    vote_keys::VoteKeys,
    zone_file,
};
use std::path::Path;

const VERIFY: [&str; 2] = ["ledger", "verify"];
const SNAPSHOT: [&str; 2] = ["ledger", "snapshot"];
const WRITE: [&str; 3] = ["ledger", "snapshot", "--write"];

/// A chain of two epochs, in a folder.
fn written() -> (Chain, tempfile::TempDir) {
    let chain = Chain::of_two_epochs();
    let folder = tempfile::tempdir().unwrap();
    chain.write(folder.path());
    (chain, folder)
}

/// The height and the root with which an agent starts in the folder.
fn started(path: &Path, at_ms: u64) -> (u64, String) {
    let zone = zone_file::read(&path.join("zone.toml")).unwrap().zone;
    let disk = Folder::open(&path.join("data")).unwrap();
    let settings = Settings {
        key: key(1),
        pace: Pace::default(),
        timeouts: Timeouts::default(),
        seed: [1; 32],
        seller: None,
        keep: Keep::default(),
    };
    let now = Timestamp::from_millis(crate::chain::CREATED_MS + at_ms);
    let (agent, _) = Agent::open(zone, settings, disk, now).unwrap();
    (agent.state().head().height, agent.state().roots().objects.hash.to_string())
}

#[test]
fn a_snapshot_is_written_checked_and_started_from() {
    let (mut chain, folder) = written();
    let path = folder.path();
    let blocks = files(path)["blocks.log"].clone();
    let shown = json(&WRITE, path);
    assert_eq!(shown["written"], chain.height());
    assert_eq!(shown["snapshots"][0]["height"], chain.height());
    assert_eq!(shown["snapshots"][0]["objects_root"], chain.root());
    let verified = json(&VERIFY, path);
    assert_eq!((&verified["ok"], &verified["from_snapshot"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!(verified["snapshots"], serde_json::json!([chain.height()]));
    assert_eq!(files(path)["blocks.log"], blocks, "the block log is as it was");

    // The same again writes nothing.
    let before = files(path);
    let again = json(&WRITE, path);
    assert!(again["written"].is_null());
    assert_eq!(again["snapshots"][0]["height"], chain.height());
    assert_eq!(files(path), before);

    // Of three the oldest goes.
    let first = chain.height();
    for at_ms in [3_800_000, 3_900_000] {
        chain.sell(at_ms, 1);
        chain.write_log(path, &chain.blocks);
        let said = ok(&WRITE, path);
        assert!(said.starts_with(&format!("written    height {}\nOK ", chain.height())), "{said}");
    }
    let heights: Vec<u64> = json(&SNAPSHOT, path)["snapshots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["height"].as_u64().unwrap())
        .collect();
    assert_eq!(heights, [first + 4, first + 2]);
    assert_eq!(json(&VERIFY, path)["snapshots"], serde_json::json!([first + 2, first + 4]));

    // Where the first blocks are gone, the older one stands in their place and the newer one is compared.
    chain.write_from(path, usize::try_from(first).unwrap() + 3);
    let verified = json(&VERIFY, path);
    assert_eq!(verified["from_snapshot"], first + 2);
    assert_eq!(verified["snapshots"], serde_json::json!([first + 2, first + 4]));

    // An agent starts from it: there is nothing else left to start from.
    chain.write_log(path, &[]);
    assert_eq!(started(path, 4_000_000), (chain.height(), chain.root()));
}

#[test]
fn no_snapshot_is_written_where_it_could_not_be_trusted() {
    let (chain, folder) = written();
    let path = folder.path();
    let before = files(path);
    {
        let _agent = Folder::open(&path.join("data")).unwrap();
        let said = refused(&WRITE, path, 1);
        assert!(said.contains("another station-agent is using this folder"), "{said}");
        ok(&VERIFY, path);
    }
    let mut lying = chain.blocks.clone();
    lying[4].0.header.state.objects.hash = Hash([7; 32]);
    lying[4].1 = chain.certify(&lying[4].0.header, &[0, 1, 2, 3]);
    chain.write_log(path, &lying);
    let said = refused(&WRITE, path, 1);
    assert!(said.contains("data does not verify at height 5"), "{said}");
    chain.write_log(path, &chain.blocks);
    assert_eq!(files(path), before, "nothing was written");

    chain.write_log(path, &[]);
    assert!(refused(&WRITE, path, 1).contains("has no block yet"));
    let nowhere = [&WRITE[..], &["--data", "nowhere"]].concat();
    assert!(refused(&nowhere, path, 1).contains("nowhere"));
    assert!(!path.join("nowhere").exists(), "and no folder is made");
}

#[test]
fn the_first_snapshot_that_the_blocks_do_not_make_is_named() {
    let (mut chain, folder) = written();
    let path = folder.path();
    ok(&WRITE, path);
    let first = chain.height();
    chain.sell(3_800_000, 1);
    chain.write_log(path, &chain.blocks);
    ok(&WRITE, path);
    let name = |height: u64| path.join(format!("data/snapshot-{height}.log"));
    let good = std::fs::read(name(first)).unwrap();

    // A chain of the same voters that certified something else at that height: its snapshot is whole by itself.
    let mut other = Chain::new("Berlin");
    other.found(true);
    other.sell(2_000, 2);
    other.block(3_600_000, Vec::new());
    other.sell(3_700_000, 1);
    assert_eq!(other.height(), first);
    let elsewhere = tempfile::tempdir().unwrap();
    other.write(elsewhere.path());
    other.write_snapshot(elsewhere.path());
    std::fs::copy(elsewhere.path().join(format!("data/snapshot-{first}.log")), name(first)).unwrap();
    let said = refused(&VERIFY, path, 1);
    assert!(said.starts_with(&format!("BAD at height {first}: snapshot-{first}.log: ")), "{said}");
    assert!(said.contains("makes another state than the blocks"), "{said}");
    assert!(said.contains(&format!("good to    height {}", chain.height())), "the blocks are: {said}");

    // Both bad: the first is named. One bad byte is enough.
    for height in [first, first + 2] {
        let mut bytes = std::fs::read(name(height)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(name(height), bytes).unwrap();
    }
    assert!(refused(&VERIFY, path, 1).starts_with(&format!("BAD at height {first}: ")));
    std::fs::write(name(first), good).unwrap();
    let said = refused(&VERIFY, path, 1);
    assert!(said.starts_with(&format!("BAD at height {}: ", first + 2)), "{said}");
    std::fs::remove_file(name(first + 2)).unwrap();
    let said = refused(&VERIFY, path, 1);
    assert!(said.contains("is not there, and the index names it"), "{said}");
    std::fs::remove_file(path.join("data/chain.index")).unwrap();
    ok(&VERIFY, path);
    std::fs::write(path.join("data/chain.index"), [1; 40]).unwrap();
    for command in [&VERIFY[..], &SNAPSHOT, &WRITE] {
        assert!(refused(command, path, 1).contains("chain.index is damaged"), "{command:?}");
    }
}

/// What an operator does with a folder that was put back.
#[test]
fn vote_keys_of_a_folder_are_forgotten_or_adopted_by_word() {
    let (_, folder) = written();
    let path = folder.path();
    let forget = ["ledger", "forget-votes"];
    let said = refused(&forget, path, 1);
    assert!(said.contains("has no vote.keys"), "{said}");
    {
        let mut disk = Folder::open(&path.join("data")).unwrap();
        VoteKeys::first(&mut disk, [5; 32]).unwrap();
        assert!(refused(&forget, path, 1).contains("another station-agent is using this folder"));
    }
    let adopted = json(&["ledger", "adopt"], path);
    assert_eq!((&adopted["vote_keys"], &adopted["forgotten"]), (&1.into(), &false.into()));
    let said = ok(&forget, path);
    assert!(said.contains("erased     1 vote keys"), "{said}");
    assert_eq!(json(&forget, path)["vote_keys"], 0);
}

/// Without its key the zone would end: that takes a second word.
#[test]
fn who_decides_alone_does_not_forget_its_key_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let public = |name: &str| {
        json(&["key", "new", &format!("{name}.key")], path)["public_key"].as_str().unwrap().to_owned()
    };
    let [_, treasurer, distributor] = ["agent", "treasurer", "distributor"].map(public);
    let mut new = vec!["zone", "new", "zone.toml", "--name", "Alone", "--address", "127.0.0.1:1"];
    new.extend(["--treasurer", &treasurer, "--distributor", &distributor]);
    new.extend(["--corner", "52.3,13.0", "--corner", "52.7,13.0", "--corner", "52.5,13.8"]);
    ok(&new, path);
    let before = files(path);
    let said = refused(&["ledger", "forget-votes"], path, 1);
    assert!(said.contains("only validator") && said.contains("ledger adopt"), "{said}");
    assert_eq!(files(path), before);
    assert_eq!(json(&["ledger", "forget-votes", "--force"], path)["vote_keys"], 1);
    assert_eq!(VoteKeys::open(&Folder::open(&path.join("data")).unwrap()).unwrap().count(), 0);
}
