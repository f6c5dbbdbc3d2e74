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
        "zone 10d1595af9791a60",
        "zone file 26f0a588a3490525",
        "hold 1fe37dcf4b4c8dc3",
        "post 99b34be9ce1fdae8",
        "pending eb1ba37590e36828",
        "finished abfda73a81b05b45",
        "balance a035c2c97022664e",
        "header bdb5310d6a2fd269",
        "block id 56b8fd600535c7f6",
        "block fb5ba72888e8eccc",
        "certificate 716eee2fbfd53792",
        "query 704deb7461f164bf",
    ];
    assert_eq!(found.map(|(name, hash)| format!("{name} {hash}")), golden);
    assert!(
        block.header.encode().len() <= 512 && certificate.encode().len() <= 300,
        "small enough for a phone"
    );
}
