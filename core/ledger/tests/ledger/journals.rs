//! Money and energy in the two journals, as honest people move them.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

fn after(town: &Town, seconds: u64) -> Timestamp {
    town.now.checked_add(Duration::from_secs(seconds)).unwrap()
}

#[test]
fn transfers_move_money_and_conserve_it() {
    let mut town = Town::new();
    town.ok(BUYER, pay(BUYER, SELLER, 30_000_000), &[]);
    assert_eq!(town.holding(Journal::Energy, BUYER).posted, 70_000_000);
    assert_eq!(town.holding(Journal::Energy, SELLER).posted, 130_000_000);
    let burn = Body::Burn { asset: Asset::Currency, amount: 70_000_000, reference: "payout".into() };
    town.ok(BUYER, burn, &TREASURERS[1..]);
    assert_eq!(town.holding(Journal::Energy, BUYER).posted, 0);
}

#[test]
fn a_group_posts_all_legs_or_none() {
    let mut town = Town::new();
    let asset = Asset::Currency;
    let (from, to) = (account(BUYER), account(SELLER));
    let good = Leg::Move { journal: Journal::Energy, asset, from, to, amount: 10 };
    let cross = Leg::Cross { asset, account: from, from: Journal::Energy, amount: 40 };
    let grid = Leg::Move { journal: Journal::Grid, asset, from, to: account(DISTRIBUTOR), amount: 40 };
    let too_much = Leg::Move { journal: Journal::Grid, asset, from, to: account(DISTRIBUTOR), amount: 41 };
    let roots = town.state.roots().objects;
    let refused =
        town.try_one(BUYER, Body::Transfer { legs: vec![good.clone(), cross.clone(), too_much] }, &[]);
    assert!(matches!(
        refused,
        Err(TransactionError::Insufficient { journal: Journal::Grid, available: 40, .. })
    ));
    assert_eq!(town.holding(Journal::Energy, BUYER).posted, 100_000_000, "nothing of it was kept");
    assert_eq!(town.state.roots().objects, roots, "not even the opened grid balances");
    town.ok(BUYER, Body::Transfer { legs: vec![good, cross, grid] }, &[]);
    assert_eq!(town.holding(Journal::Grid, DISTRIBUTOR).posted, 40);
    assert_eq!(town.holding(Journal::Grid, BUYER).posted, 0);
}

#[test]
fn a_sale_posts_energy_legs_and_grid_legs_as_one_group() {
    let mut town = Town::new();
    let price = Price::from_micro_per_kwh(390_000);
    let timeout = after(&town, 7200);
    let hold = Body::PendSale { evse: evse(), price, energy: Energy::from_wh(40_000), timeout };
    let signed = town.signed(BUYER, hold, &[]);
    let pending = signed.transaction.pending_id();
    assert_eq!(town.block(vec![signed]), []);
    assert_eq!(town.holding(Journal::Energy, BUYER), Holding { posted: 100_000_000, held: 15_600_000 });

    let energy = Energy::from_wh(12_345);
    let post = Body::PostSale { pending, energy, register_start: Energy::from_wh(5_000) };
    assert_eq!(
        town.try_one(SELLER, post.clone(), &[]),
        Err(TransactionError::NotSigned(key(METER).public())),
        "the seller's word alone is not enough"
    );
    town.ok(SELLER, post, &[METER]);
    // 12.345 kWh x 0.39 = 4.814550; x 0.08 = 0.987600.
    assert_eq!(town.holding(Journal::Energy, BUYER), Holding { posted: 95_185_450, held: 0 });
    assert_eq!(town.holding(Journal::Energy, SELLER).posted, 100_000_000 + 4_814_550 - 987_600);
    assert_eq!(town.holding(Journal::Grid, DISTRIBUTOR).posted, 987_600);
    assert_eq!(town.holding(Journal::Grid, SELLER).posted, 0);
    let (_, buyer) = town.state.balance(Journal::Energy, &account(BUYER)).unwrap();
    let (_, seller) = town.state.balance(Journal::Energy, &account(SELLER)).unwrap();
    assert_eq!((buyer.bought, seller.sold), (energy, energy));
    assert!(matches!(
        town.state.object(&pending),
        Some((_, Object::Finished(Finished { end: End::Posted, .. })))
    ));
}

/// The legs of a sale are one group in both books, and a sale that is refused leaves none in either. That no leg of a sale
/// fails by itself: what is issued in all is an amount, so no account can hold more, and the price covers the fee.
#[test]
fn the_legs_of_a_sale_are_one_group_in_both_books() {
    let mut town = Town::new();
    let (price, energy, timeout) =
        (Price::from_micro_per_kwh(390_000), Energy::from_wh(10_000), after(&town, 7200));
    let [first, second] = [(); 2].map(|()| {
        let hold = town.signed(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
        let pending = hold.transaction.pending_id();
        assert_eq!(town.block(vec![hold]), []);
        pending
    });
    let [first, second] = [first, second].map(|pending| town.post_sale(pending, 10_000));
    let sent =
        [(BUYER, pay(BUYER, SELLER, 1)), (SELLER, first), (SELLER, second), (BUYER, pay(BUYER, SELLER, 2))]
            .map(|(who, body)| town.signed(who, body, &[METER]));
    let candidates = Verified::all(town.state.zone_id(), sent.to_vec()).unwrap();
    let Proposed { applied, refused, .. } = town.state.propose(after(&town, 1), 0, &candidates);
    assert!(
        matches!(&refused[..], [(id, TransactionError::MeterRegister { .. })] if *id == sent[2].transaction.id()),
        "the second would sell the same Wh: {refused:?}"
    );
    let (buyer, seller, distributor) = (account(BUYER), account(SELLER), account(DISTRIBUTOR));
    let posting = |group, from, to, amount| Posting { group, asset: Asset::Currency, from, to, amount };
    let (due, fee) = (3_900_000, 10 * TARIFF);
    let energy = [
        posting(0, buyer, seller, 1),
        posting(1, buyer, seller, due),
        posting(1, seller, seller, fee),
        posting(2, buyer, seller, 2),
    ];
    let grid = [posting(1, seller, seller, fee), posting(1, seller, distributor, fee)];
    assert_eq!(applied.postings, [energy.to_vec(), grid.to_vec()]);
    let root = |journal, postings: &[Posting]| postings_root(journal, postings);
    assert_eq!(applied.roots().grid.postings, root(Journal::Grid, &grid));
    assert_ne!(applied.roots().grid.postings, root(Journal::Grid, &[]), "the header binds them");
}

/// What may be held for at most, and paid of it at most, is just allowed.
#[test]
fn the_most_that_one_sale_and_one_post_may_have() {
    let mut town = Town::new();
    let most = 16_383_000;
    town.ok(TREASURERS[0], issue(BUYER, 16_383 * TARIFF), &TREASURERS);
    let (price, energy, timeout) =
        (Price::from_micro_per_kwh(TARIFF), Energy::from_wh(most), after(&town, 7200));
    let sale = town.signed(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
    let pending = sale.transaction.pending_id();
    assert_eq!(town.block(vec![sale]), []);
    let post = town.post_sale(pending, most);
    town.ok(SELLER, post, &[METER]);
    let (to, asset, amount) = (account(SELLER), Asset::Currency, 1_000);
    let hold = town.signed(BUYER, Body::Pend { to, asset, amount, timeout }, &[]);
    let pending = hold.transaction.pending_id();
    assert_eq!(town.block(vec![hold]), []);
    let more = TransactionError::MoreThanHeld { pending, asked: 1_001, held: 1_000 };
    assert_eq!(town.try_one(SELLER, Body::Post { pending, amount: 1_001 }, &[]), Err(more));
    town.ok(SELLER, Body::Post { pending, amount }, &[]);
    assert_eq!(town.holding(Journal::Energy, SELLER).posted, 100_001_000, "the tariff was all of the price");
}

/// Valid until then, and not a millisecond of block time longer; and at most a day ahead.
#[test]
fn a_transaction_is_valid_before_its_time_and_for_a_day_at_most() {
    let mut town = Town::new();
    let at = |town: &Town, ms: u64| town.now.checked_add(Duration::from_millis(ms)).unwrap();
    let signed = |town: &mut Town, valid_until| {
        let mut transaction = town.transaction(BUYER, pay(BUYER, SELLER, 1));
        transaction.valid_until = valid_until;
        transaction.sign(&[&key(BUYER)])
    };
    let (block, day) = (Duration::from_secs(1), 24 * 3_600_000);
    for (ahead, is_late, is_early) in
        [(1_000, true, false), (1_001, false, false), (1_000 + day, false, false), (1_001 + day, false, true)]
    {
        let valid_until = at(&town, ahead);
        let one = signed(&mut town, valid_until);
        let refused = town.block_at(block, vec![one]);
        let now = town.now;
        let expected = match (is_late, is_early) {
            (true, _) => vec![TransactionError::Expired { valid_until, now }],
            (_, true) => vec![TransactionError::ValidTooLong { valid_until, now }],
            _ => vec![],
        };
        assert_eq!(refused, expected, "{ahead} ms ahead of the block before");
    }
    assert_eq!(town.holding(Journal::Energy, SELLER).posted, 100_000_002);
}

#[test]
fn a_hold_ends_once_by_post_void_or_timeout() {
    let mut town = Town::new();
    let pend = |town: &mut Town| {
        let timeout = after(town, 100);
        let body = Body::Pend { to: account(SELLER), asset: Asset::Currency, amount: 1_000, timeout };
        let signed = town.signed(BUYER, body, &[]);
        let id = signed.transaction.pending_id();
        assert_eq!(town.block(vec![signed]), []);
        id
    };
    let posted = pend(&mut town);
    town.ok(SELLER, Body::Post { pending: posted, amount: 400 }, &[]);
    let voided = pend(&mut town);
    town.ok(SELLER, Body::Void { pending: voided }, &[]);
    let expired = pend(&mut town);
    let last = town.signed(SELLER, Body::Post { pending: expired, amount: 1 }, &[]);
    assert_eq!(town.block_at(Duration::from_secs(100), vec![last]), [TransactionError::NoPending(expired)]);
    for id in [posted, voided, expired] {
        for body in [Body::Post { pending: id, amount: 1 }, Body::Void { pending: id }] {
            assert_eq!(town.try_one(SELLER, body, &[]), Err(TransactionError::NoPending(id)));
        }
    }
    assert_eq!(town.holding(Journal::Energy, BUYER), Holding { posted: 99_999_600, held: 0 });
    assert_eq!(town.state.totals().pendings_ended, [1, 1, 1]);

    // The account binds all of its holds in their order: none can be left out.
    for who in [BUYER, SELLER] {
        let children = town.state.account(&account(who)).unwrap().children;
        assert_eq!(children.count, 3);
        assert!(children.are(&[posted, voided, expired]));
        for others in [&[][..], &[posted, voided], &[posted, expired, voided], &[posted, voided, voided]] {
            assert!(!children.are(others), "{others:?}");
        }
    }
    let nobodys = town.state.account(&account(DISTRIBUTOR)).unwrap().children;
    assert!(nobodys.are(&[]) && !nobodys.are(&[posted]));
}

/// Each is told by itself whether the next block could have it, or why not; nothing changes.
#[test]
fn trying_changes_nothing() {
    let mut town = Town::new();
    let bodies =
        [pay(BUYER, SELLER, 100_000_000), pay(BUYER, SELLER, 100_000_000), pay(BUYER, SELLER, 100_000_001)];
    let signed = bodies.map(|body| town.signed(BUYER, body, &[]));
    let candidates = Verified::all(town.state.zone_id(), signed.to_vec()).unwrap();
    let insufficient = |available, needed| {
        let (journal, asset) = (Journal::Energy, Asset::Currency);
        TransactionError::Insufficient { account: account(BUYER), journal, asset, available, needed }
    };
    let overdrawn = insufficient(100_000_000, 100_000_001);
    let (roots, later) = (*town.state.roots(), after(&town, 1));
    let each = town.state.try_each(later, &candidates);
    assert_eq!(each, [Ok(()), Ok(()), Err(overdrawn.clone())], "all of it, twice: each by itself");
    assert_eq!(town.state.try_each(later, []), []);
    for (candidate, expected) in candidates.iter().zip(each) {
        assert_eq!(town.state.try_transaction(later, candidate), expected);
    }
    let past = after(&town, 3_600);
    let expired = TransactionError::Expired { valid_until: past, now: past };
    assert_eq!(town.state.try_transaction(past, &candidates[0]), Err(expired), "at that time");
    assert_eq!(*town.state.roots(), roots);
    // In one block the second finds nothing left.
    let [first, second, third] = signed;
    assert_eq!(
        town.block(vec![first, second, third]),
        [insufficient(0, 100_000_000), insufficient(0, 100_000_001)]
    );
}

#[test]
fn each_journal_has_its_roots() {
    let mut town = Town::new();
    let leg =
        Leg::Cross { asset: Asset::Currency, account: account(BUYER), from: Journal::Energy, amount: 5 };
    town.ok(BUYER, Body::Transfer { legs: vec![leg] }, &[]);
    let roots = town.state.roots();
    assert_eq!((roots.energy.balances.count, roots.grid.balances.count), (2, 1));
    assert_eq!(*roots.journal(Journal::Energy), roots.energy);
    assert_eq!(*roots.journal(Journal::Grid), roots.grid);
}

#[test]
fn a_phone_proves_its_account_against_a_certified_header() {
    let mut town = Town::new();
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let block = Block::decode(town.blocks.last().unwrap()).unwrap();
    let certificate = certify(&town.state, &block.header, &[1, 2, 4]);
    let proofs = town.state.prove_account(&account(BUYER)).unwrap();
    let set = town.state.validators().voters();
    let proven = ProvenAccount::verify(
        town.state.zone_id(),
        set,
        &account(BUYER),
        (block.header.clone(), certificate),
        &proofs,
    )
    .unwrap();
    assert_eq!(proven.balances[0].unwrap().of(Asset::Currency).posted, 99_999_999);
    assert_eq!(proven.balances[1], None);
    for proof in &proofs {
        assert_eq!(Proof::decode(&proof.encode()).unwrap(), *proof);
    }
}

#[test]
fn an_accounts_proof_is_sent_without_the_key_that_its_owner_has() {
    let mut town = Town::new();
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let proofs = town.state.prove_account(&account(BUYER)).unwrap();
    let sent: Vec<Proof> = proofs.iter().cloned().map(Proof::without_owner).collect();
    assert_eq!(sent[0].encode().len() + 32, proofs[0].encode().len(), "the account is shorter by its key");
    assert_eq!(sent[1..], proofs[1..], "a balance is sent whole");
    for object in [Hash::from(station()), evse().into(), Governance::id()] {
        let proof = town.state.prove_object(&object).unwrap();
        assert_eq!(proof.clone().without_owner(), proof, "no account: nothing is left out");
    }
    let received = |owner: u8| -> Vec<Proof> {
        sent.iter().cloned().map(|proof| proof.with_owner(&key(owner).public())).collect()
    };
    assert_eq!(received(BUYER), proofs);
    let whole = proofs[0].clone().with_owner(&key(BUYER).public());
    assert_eq!(whole, proofs[0], "nothing is put in twice");
    let header = Block::decode(town.blocks.last().unwrap()).unwrap().header;
    assert!(proofs[0].verify(&header).is_ok());
    assert!(received(SELLER)[0].verify(&header).is_err(), "it proves nothing of another owner's");
    let cut = Proof { content: vec![1], ..proofs[0].clone() };
    assert_eq!(cut.clone().with_owner(&key(BUYER).public()), cut, "bytes of nothing stay as they are");
}

#[test]
fn ids_are_forgotten_when_nothing_under_them_can_apply_any_more() {
    let mut town = Town::new();
    let signed = town.signed(BUYER, pay(BUYER, SELLER, 5), &[]);
    assert_eq!(town.block(vec![signed.clone()]), []);
    assert_eq!(town.block(vec![signed.clone()]), [TransactionError::AlreadyApplied]);
    assert_eq!(town.state.applied(&signed.transaction.id()), Some(signed.transaction.content()));
    let day = Duration::from_secs(24 * 3600);
    let refused = town.block_at(day, vec![signed.clone()]);
    assert!(matches!(refused[..], [TransactionError::AlreadyApplied]), "{refused:?}");
    assert_eq!(town.state.applied(&signed.transaction.id()), None, "forgotten after that block");
    assert!(
        matches!(town.block(vec![signed])[..], [TransactionError::Expired { .. }]),
        "and yet not applied again"
    );
}

/// A certificate by the validators with these keys.
pub fn certify(state: &State, header: &Header, signers: &[u8]) -> Certificate {
    let zone = state.zone_id();
    let mut signatures: Vec<(u16, Signature)> = signers
        .iter()
        .map(|n| {
            let validator = state.validators().voter_index(&vote_key(*n).public()).unwrap();
            let (height, block) = (header.height, Some(header.id()));
            let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block, validator };
            (validator, vote.sign(zone, header.epoch, &vote_key(*n)))
        })
        .collect();
    signatures.sort_unstable();
    Certificate { height: header.height, round: 0, epoch: header.epoch, block: header.id(), signatures }
}
