//! The wallet alone: numbers, durability, what may replace what.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_node::{OnDamage, Status, Wallet, WalletError};
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn wallet() -> (Wallet, ChaCha20Rng) {
    (Wallet::open(memory(), key(BUYER), OnDamage::Refuse).unwrap().0, ChaCha20Rng::from_seed([5; 32]))
}

#[test]
fn it_signs_for_its_zone_for_ten_minutes_under_fresh_numbers() {
    let (wallet, mut random) = wallet();
    let mut numbers = BTreeSet::new();
    for _ in 0..50 {
        let signed = wallet.sign(pay(BUYER, SELLER, 1), NOW, &mut random).unwrap();
        let verified = Verified::one(&zone_file().zone.id(), signed.clone()).unwrap();
        assert!(verified.is_signed_by(&key(BUYER).public()));
        assert_eq!(signed.transaction.valid_until, NOW.checked_add(Wallet::VALID_FOR).unwrap());
        assert_eq!(signed.transaction.sender, account(BUYER));
        assert!(numbers.insert(signed.transaction.number));
    }
    assert_eq!(wallet.open_transactions().unwrap().len(), 50, "each was durable before it was given out");
}

#[test]
fn its_key_is_never_printed() {
    let (wallet, _) = wallet();
    let printed = format!("{wallet:?}");
    let secret = to_hex(&key(BUYER).seed()[..]);
    assert!(!printed.contains(&secret) && printed.starts_with("Wallet"), "{printed}");
}

#[test]
fn hearsay_never_replaces_proof() {
    let (wallet, mut random) = wallet();
    let open = Body::OpenAccount { owner: key(BUYER).public() };
    let id = wallet.sign(open, NOW, &mut random).unwrap().transaction.id();
    let refused = Status::Refused { reason: "no".into() };
    let proven = Status::Proven { height: 9 };
    for (status, is_news) in [
        (&Status::Waiting, true),
        (&Status::Waiting, false),
        (&refused, true),
        (&Status::Reported, true),
        (&refused, false),
        (&Status::Expired { height: 3 }, false),
        (&proven, true),
        (&Status::Reported, false),
        (&Status::Proven { height: 10 }, false),
    ] {
        assert_eq!(wallet.note(&id, status), Ok(is_news), "{status:?}");
    }
    assert_eq!(wallet.transaction(&id).unwrap().unwrap().status, proven);
    assert_eq!(wallet.open_transactions().unwrap(), vec![]);
}

#[test]
fn what_may_still_be_proven_is_asked_for_until_it_is_over() {
    let (wallet, mut random) = wallet();
    let (to, asset, amount) = (account(SELLER), Asset::Currency, 1);
    let hold = Body::Pend { to, asset, amount, timeout: NOW.checked_add(Wallet::VALID_FOR).unwrap() };
    let [provable, hearsay, open] = [hold, pay(BUYER, SELLER, 1), pay(BUYER, SELLER, 2)]
        .map(|body| wallet.sign(body, NOW, &mut random).unwrap().transaction.id());
    wallet.note(&provable, &Status::Reported).unwrap();
    wallet.note(&hearsay, &Status::Reported).unwrap();
    let unsettled =
        |now| -> Vec<TransactionId> { wallet.unsettled(now).unwrap().iter().map(|sent| sent.id()).collect() };
    assert_eq!(unsettled(NOW), [open, provable]);
    let over = NOW.checked_add(Wallet::VALID_FOR + std::time::Duration::from_millis(1)).unwrap();
    assert_eq!(unsettled(over), [open]);
}

#[test]
fn bounds_have_names() {
    let (wallet, mut random) = wallet();
    let (asset, from) = (Asset::Currency, Journal::Energy);
    let leg = Leg::Cross { asset, account: account(BUYER), from, amount: 1 };
    let long = Body::Transfer { legs: vec![leg; Transaction::MAX_BYTES / 32] };
    let error = wallet.sign(long, NOW, &mut random).map(drop).unwrap_err();
    assert!(matches!(error, WalletError::TooLong { max: Transaction::MAX_BYTES, .. }), "{error}");
    let end = Timestamp::from_millis(u64::MAX);
    assert_eq!(wallet.sign(pay(BUYER, SELLER, 1), end, &mut random), Err(WalletError::Clock));
    for _ in 0..Wallet::OPEN_MAX {
        wallet.sign(pay(BUYER, SELLER, 1), NOW, &mut random).unwrap();
    }
    let error = wallet.sign(pay(BUYER, SELLER, 1), NOW, &mut random).unwrap_err();
    assert_eq!(error, WalletError::TooManyOpen(Wallet::OPEN_MAX));
    let unknown = TransactionId { sender: account(BUYER), number: 1 };
    assert_eq!(wallet.note(&unknown, &Status::Waiting), Err(WalletError::Unknown(unknown)));
}

#[test]
fn the_oldest_ended_transactions_are_forgotten() {
    let (wallet, mut random) = wallet();
    let mut sign = || wallet.sign(pay(BUYER, SELLER, 1), NOW, &mut random).unwrap().transaction.id();
    let still_open = sign();
    let ids: Vec<TransactionId> = (0..Wallet::ENDED_MAX + 2)
        .map(|_| {
            let id = sign();
            wallet.note(&id, &Status::Reported).unwrap();
            id
        })
        .collect();
    assert!(wallet.transaction(&still_open).unwrap().is_some());
    assert_eq!(wallet.transaction(&ids[1]).unwrap(), None);
    assert!(wallet.transaction(&ids[2]).unwrap().is_some());
}

#[test]
fn statuses_keep_their_bytes() {
    for (status, hex) in [
        (Status::Signed, "0100"),
        (Status::Waiting, "0101"),
        (Status::Refused { reason: "no".into() }, "0102026e6f"),
        (Status::Reported, "0103"),
        (Status::Proven { height: 300 }, "0104ac02"),
        (Status::Expired { height: 1 }, "010501"),
    ] {
        assert_eq!(to_hex(&status.encode()), hex);
        assert_eq!(Status::decode(&status.encode()), Ok(status));
    }
}
