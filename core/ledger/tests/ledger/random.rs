//! Random traffic: whatever people send, the books balance, followers agree, and a replay of the blocks gives the same.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_units::*;
use proptest::prelude::*;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Issue(u8, i64),
    Burn(u8, i64),
    Pay(u8, u8, i64),
    Cross(u8, bool, i64),
    Pend(u8, u8, i64, u64),
    Sell(u8, u64, u64),
    Post(usize, i64),
    PostSale(usize, u64),
    Void(usize),
    Wait(u64),
}

fn people() -> impl Strategy<Value = u8> {
    prop_oneof![Just(BUYER), Just(SELLER), Just(DISTRIBUTOR), Just(TREASURERS[0])]
}

fn step() -> impl Strategy<Value = Step> {
    let amount = || prop_oneof![-2i64..200, 0i64..60_000_000, Just(i64::MAX)];
    prop_oneof![
        (people(), amount()).prop_map(|(a, n)| Step::Issue(a, n)),
        (people(), amount()).prop_map(|(a, n)| Step::Burn(a, n)),
        (people(), people(), amount()).prop_map(|(a, b, n)| Step::Pay(a, b, n)),
        (people(), any::<bool>(), amount()).prop_map(|(a, up, n)| Step::Cross(a, up, n)),
        (people(), people(), amount(), 0u64..300).prop_map(|(a, b, n, t)| Step::Pend(a, b, n, t)),
        (people(), 0u64..50_000, 0u64..300).prop_map(|(a, e, t)| Step::Sell(a, e, t)),
        (0usize..12, amount()).prop_map(|(p, n)| Step::Post(p, n)),
        (0usize..12, 0u64..60_000).prop_map(|(p, e)| Step::PostSale(p, e)),
        (0usize..12).prop_map(Step::Void),
        (1u64..200).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_books_balance_and_replay(steps in proptest::collection::vec(step(), 1..60), per_block in 1usize..6) {
        let mut town = Town::new();
        let mut holds: Vec<(Hash, u8)> = Vec::new();
        let mut waiting = Vec::new();
        let mut counted = 0;
        for step in steps {
            let soon = |town: &Town, seconds| town.now.checked_add(Duration::from_secs(seconds)).unwrap();
            let asset = Asset::Currency;
            let pick = |at: usize| holds.get(at).copied().unwrap_or((Hash::ZERO, SELLER));
            let (sender, body, also): (u8, Body, &[u8]) = match step {
                Step::Issue(to, amount) => (TREASURERS[0], issue(to, amount), &TREASURERS[..]),
                Step::Burn(from, amount) =>
                    (from, Body::Burn { asset, amount, reference: "out".into() }, &TREASURERS[..]),
                Step::Pay(from, to, amount) => (from, pay(from, to, amount), &[]),
                Step::Cross(who, up, amount) => {
                    let from = if up { Journal::Energy } else { Journal::Grid };
                    let leg = Leg::Cross { asset, account: account(who), from, amount };
                    (who, Body::Transfer { legs: vec![leg] }, &[])
                }
                Step::Pend(from, to, amount, seconds) => {
                    let timeout = soon(&town, seconds);
                    (from, Body::Pend { to: account(to), asset, amount, timeout }, &[])
                }
                Step::Sell(buyer, wh, seconds) => {
                    let (price, energy) = (Price::from_micro_per_kwh(390_001), Energy::from_wh(wh));
                    (buyer, Body::PendSale { evse: evse(), price, energy, timeout: soon(&town, seconds) }, &[])
                }
                Step::Post(at, amount) => (pick(at).1, Body::Post { pending: pick(at).0, amount }, &[]),
                Step::PostSale(at, wh) => {
                    let (energy, register_start) = (Energy::from_wh(wh), Energy::from_wh(counted));
                    counted += wh;
                    (SELLER, Body::PostSale { pending: pick(at).0, energy, register_start }, &[METER])
                }
                Step::Void(at) => (pick(at).1, Body::Void { pending: pick(at).0 }, &[]),
                Step::Wait(seconds) => {
                    town.block_at(Duration::from_secs(seconds), std::mem::take(&mut waiting));
                    continue;
                }
            };
            let signed = town.signed(sender, body, also);
            match &signed.transaction.body {
                Body::Pend { to, .. } => {
                    let payee = [BUYER, SELLER, DISTRIBUTOR, TREASURERS[0]].into_iter().find(|n| account(*n) == *to);
                    holds.push((signed.transaction.pending_id(), payee.unwrap()));
                }
                Body::PendSale { .. } => holds.push((signed.transaction.pending_id(), SELLER)),
                _ => {}
            }
            waiting.push(signed);
            if waiting.len() >= per_block {
                town.block(std::mem::take(&mut waiting));
            }
        }
        town.block_at(Duration::from_secs(400), waiting);
        town.block(Vec::new());
        prop_assert_eq!(town.holding(Journal::Energy, BUYER).held, 0, "every hold has ended");

        let mut replayed = State::genesis(zone());
        for bytes in &town.blocks {
            let (block, transactions) = open_block(&replayed, bytes).unwrap();
            let applied = replayed.execute(&block, &transactions).unwrap();
            replayed.apply(applied);
        }
        prop_assert_eq!(replayed.roots(), town.state.roots());
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), version in 0u8..3) {
        let bytes = [&[version][..], &bytes].concat();
        let state = State::genesis(zone());
        let _ = open_block(&state, &bytes);
        let _ = SignedTransaction::decode(&bytes);
        let _ = Certificate::decode(&bytes);
        let _ = Proof::decode(&bytes);
        let _ = Query::decode(&bytes);
        let _ = Answer::decode(&bytes);
        let _ = ZoneFile::decode(&bytes);
        let _ = Object::decode(&bytes);
    }
}
