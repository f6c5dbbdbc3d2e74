//! What messages weigh, and how long bytes from outside may be: tight enough to bound an attacker, wide enough for the
//! longest that is honest.

use crate::{auctions::Market, town::*};
use ohmesh_ledger::{
    tree::{Siblings, Tree},
    *,
};
use ohmesh_units::*;
use std::collections::BTreeMap;

#[test]
fn messages_of_an_auction_weigh_what_checking_them_costs() {
    let mut market = Market::with_key();
    market.awarded();
    let mut found = BTreeMap::new();
    for bytes in &market.town.blocks {
        for signed in Block::decode(bytes).unwrap().transactions {
            let name = match &signed.transaction.body {
                Body::KeyDeal(_) => "deal",
                Body::KeyHandout(_) => "handout",
                Body::KeyBlinding(_) => "blinding",
                Body::AuctionOpen(_) => "intent",
                Body::AuctionBid { .. } => "bid",
                Body::AuctionRelease(_) => "release",
                Body::AuctionOutcome(_) => "outcome",
                Body::AuctionAccept(_) => "accept",
                _ => continue,
            };
            found.insert(name, signed.transaction.body.weight());
        }
    }
    let expected = [
        ("accept", 2),
        ("bid", 60),
        ("blinding", 80),
        ("deal", 54),
        ("handout", 56),
        ("intent", 95),
        ("outcome", 304),
        ("release", 32),
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_longest_that_is_honest_can_be_read_and_little_more() {
    let path = vec![Hash([7; 32]); 32];
    let content = vec![7; Object::MAX_BYTES];
    let longest = Proof { tree: TreeName::GridBalances, slot: u32::MAX, content, path };
    assert_eq!(Proof::decode(&longest.encode()), Ok(longest.clone()));
    assert!(Proof::MAX_BYTES - longest.encode().len() < 64);
    assert!((1..64).contains(&(Query::MAX_BYTES - SignedTransaction::MAX_BYTES)));
    let (leaves, from) = (vec![vec![7; Object::MAX_BYTES]; 2], u32::MAX);
    let side = vec![Hash([7; 32]); 32];
    let siblings = Siblings { left: side.clone(), right: side };
    let chunk = Chunk { part: Part::Objects, from, leaves, siblings };
    assert_eq!(Chunk::decode(&chunk.encode()), Ok(chunk.clone()));
    assert!(Chunk::MAX_BYTES - chunk.encode().len() < 3 * Chunk::LEAVES_MAX + 128);
    let manifest =
        Header::MAX_BYTES + Certificate::MAX_BYTES..Header::MAX_BYTES + Certificate::MAX_BYTES + 1024;
    assert!(manifest.contains(&Manifest::MAX_BYTES));
}

#[test]
fn a_sender_and_every_validator_can_sign() {
    let mut town = Town::new();
    let transaction = town.transaction(BUYER, pay(BUYER, SELLER, 1));
    let keys: Vec<SigningKey> = (1u8..=34).map(key).collect();
    let signed = |many: usize| transaction.clone().sign(&keys[..many].iter().collect::<Vec<_>>());
    let zone = town.state.zone_id();
    assert!(Verified::one(zone, signed(ValidatorSet::MAX + 1)).is_ok());
    let reason = TransactionError::TooManySignatures(34);
    let id = transaction.id();
    assert_eq!(Verified::one(zone, signed(34)), Err(LedgerError::Transaction { id, reason }));
    let room = SignedTransaction::MAX_BYTES - Transaction::MAX_BYTES;
    assert!(signed(33).encode().len() - transaction.encode().len() < room);
}

#[test]
fn a_run_of_no_leaves_or_beyond_the_last_proves_nothing() {
    let leaves: Vec<Hash> = (0..5).map(|n| Hash([n; 32])).collect();
    let tree = Tree::from_run(0, leaves.clone(), &[]);
    let root = tree.root();
    let proves = |first: u32, run: &[Hash]| {
        let siblings = tree.siblings(first, u32::try_from(run.len()).unwrap()).unwrap_or_default();
        root.proves_run(first, run, &siblings)
    };
    assert!(proves(3, &leaves[3..]) && proves(0, &leaves));
    for first in 0..=6 {
        assert!(!proves(first, &[]), "no leaves at {first}");
    }
    assert!(!proves(4, &leaves[3..]) && !proves(5, &leaves[4..]), "beyond the last");
}
