//! Somebody edits the file by hand. Every edit is named, nothing edited is ever shown, and a replica can be told to drop it.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_node::{Damage, OnDamage, Part, Place, Replica, ReplicaError, Status, Store, Wallet, WalletError};
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use rusqlite::Connection;
use std::time::Duration;
use tempfile::TempDir;

/// A file with an account, an object, an older and a newer header, a fork and a transaction.
fn filled() -> (TempDir, Place, Town) {
    let mut town = Town::new();
    let folder = TempDir::new().unwrap();
    let place = Place::File(folder.path().join("node.db"));
    let store = Store::open(&place, &zone_file()).unwrap();
    let (replica, _) = Replica::open(store.clone(), OnDamage::Refuse).unwrap();
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    let seller: Hash = account(SELLER).into();
    let proof = town.state.prove_object(&seller).unwrap();
    replica.store_object(&seller, &town.head(), &proof).unwrap();
    let twin = town.other_next(Duration::from_secs(2), &[2, 3, 4]);
    town.block(vec![]);
    replica.store_head(&town.head()).unwrap();
    replica.store_head(&twin).unwrap_err();
    let (wallet, _) = Wallet::open(store, key(BUYER), OnDamage::Refuse).unwrap();
    wallet.sign(pay(BUYER, SELLER, 5), town.now, &mut ChaCha20Rng::from_seed([3; 32])).unwrap();
    (folder, place, town)
}

fn edit(place: &Place, statement: &str, parameters: impl rusqlite::Params) {
    let Place::File(path) = place else { unreachable!("tests edit files") };
    let changed = Connection::open(path).unwrap().execute(statement, parameters).unwrap();
    assert_eq!(changed, 1, "{statement}");
}

fn read(place: &Place, select: &str) -> Vec<u8> {
    let Place::File(path) = place else { unreachable!("tests edit files") };
    Connection::open(path).unwrap().query_row(select, [], |row| row.get(0)).unwrap()
}

fn open(place: &Place, on_damage: OnDamage) -> Result<(Replica, Vec<Damage>), ReplicaError> {
    Replica::open(Store::open(place, &zone_file()).unwrap(), on_damage)
}

/// Opening names `part` and nothing else; dropping leaves a replica that holds together.
fn is_named_and_dropped(place: &Place, part: Part, says: &str) -> Replica {
    match open(place, OnDamage::Refuse) {
        Err(ReplicaError::Damaged(damage)) => {
            assert_eq!(damage.part, part);
            assert!(damage.reason.contains(says), "{damage}");
        }
        other => panic!("expected damage of {part}, found {other:?}"),
    }
    let (replica, dropped) = open(place, OnDamage::Drop).unwrap();
    assert_eq!(dropped[0].part, part);
    assert_eq!(replica.audit(), Ok(vec![]));
    replica
}

#[test]
fn an_untouched_file_opens() {
    let (_folder, place, town) = filled();
    let (replica, dropped) = open(&place, OnDamage::Refuse).unwrap();
    assert_eq!(dropped, vec![]);
    assert_eq!(replica.certified_head().unwrap(), Some(town.head()));
    assert_eq!(replica.forks().unwrap().len(), 1);
    assert!(replica.account(&account(BUYER)).unwrap().is_some());
    assert!(replica.object(&account(SELLER).into()).unwrap().is_some());
}

#[test]
fn an_edited_balance_is_named() {
    let (_folder, place, town) = filled();
    let select = "SELECT content FROM proofs WHERE view = 1 AND tree = 1";
    let mut balance = Balance::decode(&read(&place, select)).unwrap();
    balance.holdings[0].posted = 1_000_000_000;
    edit(&place, "UPDATE proofs SET content = ?1 WHERE view = 1 AND tree = 1", [balance.encode()]);
    let part = Part::Proof { tree: TreeName::EnergyBalances, id: account(BUYER).into() };
    let replica = is_named_and_dropped(&place, part, "does not lead to the root");
    assert_eq!(replica.account(&account(BUYER)).unwrap(), None, "the whole account goes");
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    assert!(replica.account(&account(BUYER)).unwrap().is_some(), "and comes back by proof");
}

#[test]
fn an_edited_path_is_named() {
    let (_folder, place, _) = filled();
    let mut path = read(&place, "SELECT path FROM proofs WHERE view = 1 AND tree = 0");
    path[3] ^= 1;
    edit(&place, "UPDATE proofs SET path = ?1 WHERE view = 1 AND tree = 0", [path.clone()]);
    let part = Part::Proof { tree: TreeName::Objects, id: account(BUYER).into() };
    is_named_and_dropped(&place, part, "does not lead to the root");

    let (_folder, place, _) = filled();
    path.pop();
    edit(&place, "UPDATE proofs SET path = ?1 WHERE view = 1 AND tree = 0", [path]);
    is_named_and_dropped(&place, part, "cut off");
}

#[test]
fn an_edited_header_is_named() {
    let (_folder, place, town) = filled();
    let (mut header, _) = town.head();
    header.time = header.time.checked_add(Duration::from_secs(3600)).unwrap();
    let height = header.height;
    edit(&place, "UPDATE headers SET header = ?1 WHERE height = ?2", (header.encode(), height.cast_signed()));
    let replica = is_named_and_dropped(&place, Part::Header { height }, "not for this header");
    assert_eq!(replica.head().unwrap().unwrap().height, height - 1, "what the account hangs on stays");
}

#[test]
fn a_header_filed_under_another_height_is_named() {
    let (_folder, place, town) = filled();
    let height = town.height();
    edit(&place, "UPDATE headers SET height = height + 5 WHERE height = ?1", [height.cast_signed()]);
    is_named_and_dropped(&place, Part::Header { height: height + 5 }, "another height");
}

#[test]
fn an_edited_certificate_is_named() {
    let (_folder, place, town) = filled();
    let (header, mut certificate) = town.head();
    certificate.signatures.pop();
    let height = header.height;
    let update = "UPDATE headers SET certificate = ?1 WHERE height = ?2";
    edit(&place, update, (certificate.encode(), height.cast_signed()));
    is_named_and_dropped(&place, Part::Certificate { height }, "not more than two thirds");
    // It was dropped and comes back whole.
    open(&place, OnDamage::Refuse).unwrap().0.store_head(&town.head()).unwrap();
    edit(&place, update, (vec![1u8, 2, 3], height.cast_signed()));
    is_named_and_dropped(&place, Part::Certificate { height }, "malformed");
}

#[test]
fn a_missing_header_takes_what_hung_on_it_along() {
    let (_folder, place, town) = filled();
    edit(&place, "DELETE FROM headers WHERE height = ?1", [(town.height() - 1).cast_signed()]);
    let part = Part::Proof { tree: TreeName::Objects, id: account(SELLER).into() };
    let replica = is_named_and_dropped(&place, part, "there is no header");
    assert_eq!(replica.account(&account(BUYER)).unwrap(), None);
}

#[test]
fn an_object_filed_under_another_id_is_named() {
    let (_folder, place, _) = filled();
    edit(&place, "UPDATE proofs SET id = ?1 WHERE view = 0", [vec![8u8; 32]]);
    let part = Part::Proof { tree: TreeName::Objects, id: Hash([8; 32]) };
    is_named_and_dropped(&place, part, "asked for");
}

#[test]
fn an_account_without_its_balance_is_named() {
    let (_folder, place, _) = filled();
    edit(&place, "DELETE FROM proofs WHERE view = 1 AND tree = 1", []);
    is_named_and_dropped(&place, Part::Account { id: account(BUYER).into() }, "asked for");
}

#[test]
fn an_account_of_two_heights_is_named() {
    let (_folder, place, town) = filled();
    let update = "UPDATE proofs SET height = ?1 WHERE view = 1 AND tree = 1";
    edit(&place, update, [town.height().cast_signed()]);
    is_named_and_dropped(&place, Part::Account { id: account(BUYER).into() }, "different heights");
}

#[test]
fn a_row_of_no_known_kind_is_named() {
    let (_folder, place, _) = filled();
    edit(&place, "UPDATE proofs SET view = 7 WHERE view = 0", []);
    is_named_and_dropped(&place, Part::Row { table: "proofs" }, "unknown");
}

#[test]
fn false_evidence_of_a_fork_is_named() {
    let (_folder, place, _) = filled();
    edit(&place, "UPDATE forks SET other = one, other_certificate = one_certificate", []);
    let replica = is_named_and_dropped(&place, Part::Row { table: "forks" }, "do not contradict");
    assert_eq!(replica.forks().unwrap(), vec![]);
}

#[test]
fn an_edited_transaction_is_named() {
    let (_folder, place, _) = filled();
    let mut signed = SignedTransaction::decode(&read(&place, "SELECT signed FROM transactions")).unwrap();
    signed.transaction.body = pay(BUYER, SELLER, 5_000);
    edit(&place, "UPDATE transactions SET signed = ?1", [signed.encode()]);
    wallet_is_damaged(&place, "signature");
}

#[test]
fn a_transaction_signed_by_somebody_else_is_named() {
    let (_folder, place, _) = filled();
    let signed = SignedTransaction::decode(&read(&place, "SELECT signed FROM transactions")).unwrap();
    edit(&place, "UPDATE transactions SET signed = ?1", [signed.transaction.sign(&[&key(SELLER)]).encode()]);
    wallet_is_damaged(&place, "its sender has not signed it");
}

#[test]
fn a_status_that_nothing_could_prove_is_named() {
    let (_folder, place, _) = filled();
    let status = Status::Proven { height: 3 }.encode();
    edit(&place, "UPDATE transactions SET status = ?1, is_open = 0", [status]);
    wallet_is_damaged(&place, "nothing can prove it");
}

fn wallet_is_damaged(place: &Place, says: &str) {
    let open = |on_damage| Wallet::open(Store::open(place, &zone_file()).unwrap(), key(BUYER), on_damage);
    match open(OnDamage::Refuse) {
        Err(WalletError::Damaged(Damage { part: Part::Transaction { sequence: 1 }, reason })) => {
            assert!(reason.contains(says), "{reason}");
        }
        other => panic!("expected damage, found {other:?}"),
    }
    let (wallet, dropped) = open(OnDamage::Drop).unwrap();
    assert_eq!(dropped.len(), 1);
    assert_eq!(wallet.open_transactions().unwrap(), vec![]);
}
