//! The replica alone: what it takes and what it refuses.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_node::{Freshness, OnDamage, Replica, ReplicaError};
use ohmesh_units::*;
use std::time::Duration;

pub fn replica() -> Replica {
    Replica::open(memory(), OnDamage::Refuse).unwrap().0
}

fn posted(replica: &Replica, who: u8) -> Option<i64> {
    let proven = replica.account(&account(who)).unwrap()?;
    Some(proven.balances[Journal::Energy as usize].map_or(0, |balance| balance.of(Asset::Currency).posted))
}

#[test]
fn what_was_proven_is_given_back() {
    let mut town = Town::new();
    let replica = replica();
    assert_eq!(replica.account(&account(BUYER)), Ok(None));
    let stored = replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    assert_eq!(replica.account(&account(BUYER)).unwrap(), Some(stored));
    assert_eq!(posted(&replica, BUYER), Some(100_000_000));
    town.pay(BUYER, SELLER, 1_000_000);
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    assert_eq!(posted(&replica, BUYER), Some(99_000_000));
    assert_eq!(replica.certified_head().unwrap(), Some(town.head()));
}

#[test]
fn an_account_keeps_the_header_it_was_proven_against() {
    let mut town = Town::new();
    let replica = replica();
    let (proven_at, buyer) = (town.height(), account(BUYER));
    replica.store_account(&buyer, &town.head(), &town.proofs(BUYER)).unwrap();
    for _ in 0..3 {
        town.pay(BUYER, SELLER, 1_000_000);
        replica.store_head(&town.head()).unwrap();
    }
    assert_eq!(replica.account(&buyer).unwrap().unwrap().header.height, proven_at);
    assert_eq!(replica.head().unwrap().unwrap().height, proven_at + 3);
    assert_eq!(replica.audit(), Ok(vec![]));
}

#[test]
fn heights_never_go_back() {
    let mut town = Town::new();
    let replica = replica();
    let (old, old_proofs) = (town.head(), town.proofs(BUYER));
    town.pay(BUYER, SELLER, 1_000_000);
    town.block(vec![]);
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    let older = Err(ReplicaError::Older { have: town.height(), offered: old.0.height });
    assert_eq!(replica.store_head(&old), older);
    let account_older = replica.store_account(&account(BUYER), &old, &old_proofs).map(drop);
    assert_eq!(account_older, older);
    let object_older = replica.store_object(&account(BUYER).into(), &old, &old_proofs[0]).map(drop);
    assert_eq!(object_older, older);
    assert_eq!(posted(&replica, BUYER), Some(99_000_000));
}

#[test]
fn a_fork_is_refused_and_kept_as_evidence() {
    let mut town = Town::new();
    let replica = replica();
    // The twin is made of the same parent, a moment later, and signed by another quorum.
    let twin = town.other_next(Duration::from_secs(2), &[2, 3, 4]);
    town.block(vec![]);
    replica.store_head(&town.head()).unwrap();
    let height = town.height();
    assert_eq!(replica.store_head(&twin), Err(ReplicaError::Fork { one: height, other: height }));
    let forks = replica.forks().unwrap();
    assert_eq!(forks.len(), 1);
    assert_eq!((&forks[0].one, &forks[0].other), (&town.head(), &twin));
    assert_eq!(replica.certified_head().unwrap(), Some(town.head()), "the first one stays");
    assert_eq!(replica.audit(), Ok(vec![]));
}

#[test]
fn a_child_of_another_block_is_a_fork() {
    let mut town = Town::new();
    let replica = replica();
    let twin = town.other_next(Duration::from_secs(2), &[2, 3, 4]);
    replica.store_head(&twin).unwrap();
    let height = twin.0.height;
    town.block(vec![]);
    town.block_at(Duration::from_secs(5), vec![]);
    assert_eq!(replica.store_head(&town.head()), Err(ReplicaError::Fork { one: height, other: height + 1 }));
    assert_eq!(replica.forks().unwrap().len(), 1);
}

#[test]
fn a_fork_of_an_older_height_is_seen_while_its_header_is_kept() {
    let mut town = Town::new();
    let replica = replica();
    let twin = town.other_next(Duration::from_secs(2), &[2, 3, 4]);
    town.block(vec![]);
    replica.store_account(&account(BUYER), &town.head(), &town.proofs(BUYER)).unwrap();
    for _ in 0..4 {
        town.block(vec![]);
        replica.store_head(&town.head()).unwrap();
    }
    let height = twin.0.height;
    assert_eq!(replica.store_head(&twin), Err(ReplicaError::Fork { one: height, other: height }));
}

#[test]
fn time_that_does_not_grow_with_height_is_a_fork() {
    let town = Town::new();
    let replica = replica();
    replica.store_head(&town.head()).unwrap();
    let mut ahead = town.head().0;
    ahead.height += 7;
    let ahead = certified(&ahead, &VALIDATORS);
    let fork = ReplicaError::Fork { one: town.height(), other: town.height() + 7 };
    assert_eq!(replica.store_head(&ahead), Err(fork));
}

#[test]
fn forgeries_are_refused_by_name() {
    let town = Town::new();
    let replica = replica();
    let (header, certificate) = town.head();
    let height = header.height;
    let proofs = town.proofs(BUYER);
    let store = |header: &Header, certificate: &Certificate, proofs: &[Proof]| {
        let certified = (header.clone(), certificate.clone());
        replica.store_account(&account(BUYER), &certified, proofs).unwrap_err()
    };
    let is_certificate = |error: &ReplicaError, says: &str| {
        matches!(error, ReplicaError::Ledger(LedgerError::Certificate { height: at, reason })
            if *at == height && reason.contains(says))
    };

    let mut forged = certificate.clone();
    forged.signatures[1].1 = key(9).sign(Vote::DOMAIN, b"anything");
    let error = store(&header, &forged, &proofs);
    assert!(is_certificate(&error, "the signature of validator 1 is wrong"), "{error}");

    let (_, weak) = certified(&header, &[1, 2]);
    let error = store(&header, &weak, &proofs);
    assert!(is_certificate(&error, "stake 20 of 40 is not more than two thirds"), "{error}");

    let mut twice = weak.clone();
    twice.signatures.push(twice.signatures[1]);
    let error = store(&header, &twice, &proofs);
    assert!(is_certificate(&error, "each once"), "{error}");

    let mut richer = header.clone();
    richer.state.energy.balances = richer.state.grid.balances;
    let error = store(&richer, &certificate, &proofs);
    assert!(is_certificate(&error, "not for this header"), "{error}");

    let mut edited = proofs.clone();
    let mut balance = Balance::decode(&edited[1].content).unwrap();
    balance.holdings[0].posted *= 10;
    edited[1].content = balance.encode();
    let wrong_balance = LedgerError::Proof { what: "an energy balance", slot: proofs[1].slot, height };
    assert_eq!(store(&header, &certificate, &edited), ReplicaError::Ledger(wrong_balance));

    let mut edited = proofs.clone();
    edited[0].path[0] = Hash([7; 32]);
    let wrong_path = LedgerError::Proof { what: "an object", slot: proofs[0].slot, height };
    assert_eq!(store(&header, &certificate, &edited), ReplicaError::Ledger(wrong_path));

    let sellers = town.proofs(SELLER);
    let other = LedgerError::OtherObject { asked: account(BUYER).into(), found: account(SELLER).into() };
    assert_eq!(store(&header, &certificate, &sellers), ReplicaError::Ledger(other));

    // The own account, but somebody else's (richer) balance.
    let mixed = [proofs[0].clone(), sellers[1].clone()];
    let error = store(&header, &certificate, &mixed);
    assert!(matches!(error, ReplicaError::Ledger(LedgerError::Proof { what: "a balance", .. })), "{error}");

    let hidden = LedgerError::OtherObject { asked: account(BUYER).into(), found: Hash::ZERO };
    assert_eq!(store(&header, &certificate, &proofs[..1]), ReplicaError::Ledger(hidden));

    let surplus = [proofs.clone(), sellers[1..].to_vec()].concat();
    let parts = ReplicaError::Parts { id: account(BUYER).into(), expected: 2, found: 3 };
    assert_eq!(store(&header, &certificate, &surplus), parts);

    assert_eq!(replica.head(), Ok(None), "nothing of all this was stored");
    assert_eq!(replica.account(&account(BUYER)), Ok(None));
}

#[test]
fn the_header_of_another_zone_is_refused() {
    let town = Town::new();
    let mut header = town.head().0;
    header.zone = zone_named("othertown").zone.id();
    let error = replica().store_head(&certified(&header, &VALIDATORS)).unwrap_err();
    assert!(matches!(error, ReplicaError::Ledger(LedgerError::Certificate { .. })), "{error}");
}

#[test]
fn an_object_is_the_one_asked_for() {
    let town = Town::new();
    let replica = replica();
    let proof = town.state.prove_object(&account(SELLER).into()).unwrap();
    let found = replica.store_object(&account(BUYER).into(), &town.head(), &proof).unwrap_err();
    let (asked, other) = (account(BUYER).into(), account(SELLER).into());
    assert_eq!(found, ReplicaError::Ledger(LedgerError::OtherObject { asked, found: other }));
    let object = replica.store_object(&other, &town.head(), &proof).unwrap();
    assert_eq!(replica.object(&other).unwrap(), Some((town.head().0, object)));
    replica.forget_object(&other).unwrap();
    assert_eq!(replica.object(&other).unwrap(), None);
}

#[test]
fn a_header_older_than_a_minute_is_stale() {
    let town = Town::new();
    let replica = replica();
    assert_eq!(replica.freshness(town.now), Ok(None));
    replica.store_head(&town.head()).unwrap();
    let at = |seconds| {
        let now = town.now.checked_add(Duration::from_secs(seconds)).unwrap();
        replica.freshness(now).unwrap().unwrap()
    };
    assert_eq!(at(60), Freshness::Fresh);
    assert_eq!(at(61), Freshness::Stale { age: Duration::from_secs(61) });
}
