//! The file itself: whose it is, what version, and what the disk does to it.

use crate::town::*;
use ohmesh_node::{OnDamage, Place, Replica, ReplicaError, Store, StoreError, Wallet};
use ohmesh_units::Timestamp;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use std::{fs, path::Path};
use tempfile::TempDir;

fn folder() -> (TempDir, Place) {
    let folder = TempDir::new().unwrap();
    let place = at(folder.path());
    (folder, place)
}

fn at(folder: &Path) -> Place {
    Place::File(folder.join("node.db"))
}

fn path(place: &Place) -> &Path {
    let Place::File(path) = place else { unreachable!("tests use files") };
    path
}

#[test]
fn a_file_of_another_zone_is_refused() {
    let (_folder, place) = folder();
    let (ours, theirs) = (zone_file(), zone_named("othertown"));
    drop(Store::open(&place, &ours).unwrap());
    let error = Store::open(&place, &theirs).unwrap_err();
    assert_eq!(error, StoreError::OtherZone { store: ours.zone.id(), asked: theirs.zone.id() });
}

#[test]
fn a_zone_file_that_is_not_sealed_is_refused() {
    let mut file = zone_file();
    file.signatures.pop();
    assert!(matches!(Store::open(&Place::Memory, &file), Err(StoreError::Zone(_))));
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let (_folder, place) = folder();
    drop(Store::open(&place, &zone_file()).unwrap());
    Connection::open(path(&place)).unwrap().pragma_update(None, "user_version", 4).unwrap();
    let error = Store::open(&place, &zone_file()).unwrap_err();
    assert_eq!(error, StoreError::NewerSchema { found: 4, known: 3 });
}

#[test]
fn what_is_not_our_database_is_refused_and_left_alone() {
    let (_folder, place) = folder();
    let text = b"dear diary, this is not a database at all; it is long enough to have a header".repeat(20);
    fs::write(path(&place), &text).unwrap();
    assert_eq!(Store::open(&place, &zone_file()).unwrap_err(), StoreError::NotADatabase);
    assert_eq!(fs::read(path(&place)).unwrap(), text);

    let (_folder, place) = folder();
    Connection::open(path(&place)).unwrap().execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    assert_eq!(Store::open(&place, &zone_file()).unwrap_err(), StoreError::NotOurs);
    let tables = "SELECT count(*) FROM sqlite_schema";
    let count: i64 = Connection::open(path(&place)).unwrap().query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn a_missing_folder_is_an_error() {
    let (folder, _) = folder();
    let place = at(&folder.path().join("missing"));
    assert!(matches!(Store::open(&place, &zone_file()), Err(StoreError::CannotOpen { .. })));
}

#[test]
fn a_second_node_on_the_file_is_refused() {
    let (_folder, place) = folder();
    let first = Store::open(&place, &zone_file()).unwrap();
    assert_eq!(Store::open(&place, &zone_file()).unwrap_err(), StoreError::Locked);
    drop(first);
    Store::open(&place, &zone_file()).unwrap();
}

#[test]
fn a_file_cut_off_in_the_middle_is_corrupt() {
    let (_folder, place) = folder();
    let store = Store::open(&place, &zone_file()).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let bytes = fs::read(path(&place)).unwrap();
    fs::write(path(&place), &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(Store::open(&place, &zone_file()), Err(StoreError::Corrupt { .. })));
}

/// The files as a power cut leaves them: copied while the node still runs, nothing closed, nothing checkpointed.
#[test]
fn what_was_stored_survives_a_kill() {
    let (first, place) = folder();
    let mut town = Town::new();
    let store = Store::open(&place, &zone_file()).unwrap();
    let (replica, _) = Replica::open(store.clone(), OnDamage::Refuse).unwrap();
    let (wallet, _) = Wallet::open(store, key(BUYER), OnDamage::Refuse).unwrap();
    let mut random = ChaCha20Rng::from_seed([1; 32]);
    for _ in 0..20 {
        town.pay(BUYER, SELLER, 1_000_000);
        replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
        let signed = wallet.sign(pay(BUYER, SELLER, 1), town.now, &mut random).unwrap();

        let second = TempDir::new().unwrap();
        for entry in fs::read_dir(first.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), second.path().join(entry.file_name())).unwrap();
        }
        let store = Store::open(&at(second.path()), &zone_file()).unwrap();
        let (after, _) = Replica::open(store.clone(), OnDamage::Refuse).unwrap();
        assert_eq!(after.account(&account(BUYER)), replica.account(&account(BUYER)));
        assert_eq!(after.certified_head().unwrap(), Some(town.head()));
        let (after, _) = Wallet::open(store, key(BUYER), OnDamage::Refuse).unwrap();
        assert_eq!(after.history(1).unwrap()[0].signed, signed);
    }
}

#[test]
fn dropped_without_a_close_it_opens_again() {
    let (_folder, place) = folder();
    let town = Town::new();
    let open = || Replica::open(Store::open(&place, &zone_file()).unwrap(), OnDamage::Refuse).unwrap().0;
    open().store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    let proven = open().account(&account(BUYER)).unwrap().unwrap();
    assert_eq!(proven.header, town.head().0);
}

#[test]
fn a_write_that_fails_changes_nothing() {
    let mut town = Town::new();
    let replica = crate::replica::replica();
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    let before = replica.account(&account(BUYER)).unwrap();
    let mut header = town.head().0;
    header.height = u64::MAX;
    header.time = Timestamp::from_millis(u64::MAX);
    let error = replica.store_head(&certified(&header, &VALIDATORS)).unwrap_err();
    assert_eq!(error, ReplicaError::Height(u64::MAX));
    assert_eq!(replica.account(&account(BUYER)).unwrap(), before);
    town.block(vec![]);
    replica.store_head(&town.head()).unwrap();
}
