//! Golden hashes of one of everything: what has been signed and stored once is read for ever. A change here needs a new
//! version byte, not a new hash.

use crate::{journals::certify, town::*};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

const GOLDEN: Domain = Domain::new("ohmesh/1 golden");

fn digest(bytes: &[u8]) -> String {
    to_hex(&GOLDEN.hash(&[bytes]).0[..8])
}

#[test]
fn everything_keeps_its_bytes() {
    let mut town = Town::new();
    let timeout = town.now.checked_add(Duration::from_secs(600)).unwrap();
    let (price, energy) = (Price::from_micro_per_kwh(390_000), Energy::from_wh(10_000));
    let hold = town.signed(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
    let pending = hold.transaction.pending_id();
    town.block(vec![hold.clone()]);
    let object = town.state.prove_object(&pending).unwrap();
    let post = town.signed(SELLER, Body::PostSale { pending, energy }, &[METER]);
    town.block(vec![post.clone()]);
    let bytes = town.blocks.last().unwrap().clone();
    let block = Block::decode(&bytes).unwrap();
    let certificate = certify(&town.state, &block.header, &[1, 2, 3]);
    let mut file = ZoneFile::new(zone()).unwrap();
    file.sign(&key(1)).unwrap();
    let proof = town.state.prove_balance(Journal::Energy, &account(BUYER)).unwrap();
    let found = [
        ("zone", town.state.zone_id().to_string()[..16].to_owned()),
        ("zone file", digest(&file.encode())),
        ("hold", digest(&hold.encode())),
        ("post", digest(&post.encode())),
        ("pending", digest(&object.content)),
        ("finished", digest(&town.state.prove_object(&pending).unwrap().content)),
        ("balance", digest(&proof.content)),
        ("header", digest(&block.header.encode())),
        ("block id", block.id().to_string()[..16].to_owned()),
        ("block", digest(&bytes)),
        ("certificate", digest(&certificate.encode())),
        ("query", digest(&Query::Account(account(BUYER)).encode())),
    ];
    let golden = [
        "zone 6dd4b0c9967cc67d",
        "zone file 03e6ca946ded7e73",
        "hold 0f3cb0469b58d8b4",
        "post 11def5a26e7db806",
        "pending eb1ba37590e36828",
        "finished abfda73a81b05b45",
        "balance a035c2c97022664e",
        "header fc02fdeb0a5527f1",
        "block id 0a084d498914a57e",
        "block 7e039caea7dd5893",
        "certificate 6c6500638eaf682e",
        "query 704deb7461f164bf",
    ];
    assert_eq!(found.map(|(name, hash)| format!("{name} {hash}")), golden);
    assert!(
        block.header.encode().len() <= 512 && certificate.encode().len() <= 300,
        "small enough for a phone"
    );
}
