//! What a cheat tries, each refused by its own error, with nothing lost.

use crate::{journals::certify, town::*};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

fn header(town: &Town) -> Header {
    Block::decode(town.blocks.last().unwrap()).unwrap().header
}

#[test]
fn spending_somebody_elses_money() {
    let mut town = Town::new();
    assert_eq!(
        town.try_one(SELLER, pay(BUYER, SELLER, 1), &[]),
        Err(TransactionError::NotThePayer(account(BUYER)))
    );
    let forged = town.transaction(BUYER, pay(BUYER, SELLER, 1)).sign(&[&key(SELLER)]);
    assert_eq!(town.block(vec![forged]), [TransactionError::NotSigned(key(BUYER).public())]);
    let mut edited = town.signed(BUYER, pay(BUYER, SELLER, 1), &[]);
    edited.transaction.body = pay(BUYER, SELLER, 100);
    let id = edited.transaction.id();
    let reason = TransactionError::WrongSignature(key(BUYER).public());
    assert_eq!(Verified::one(town.state.zone_id(), edited), Err(LedgerError::Transaction { id, reason }));
}

#[test]
fn minting() {
    let mut town = Town::new();
    for signers in [&[][..], &TREASURERS[..1], &[BUYER]] {
        let refused = town.try_one(BUYER, issue(BUYER, 1_000_000), signers);
        assert!(matches!(refused, Err(TransactionError::Treasurers { needed: 2, .. })), "{refused:?}");
    }
    // One treasurer signing twice is one treasurer.
    let twice = town.transaction(BUYER, issue(BUYER, 1)).sign(&[&key(BUYER), &key(50), &key(50)]);
    assert_eq!(town.block(vec![twice]), [TransactionError::Treasurers { found: 1, needed: 2 }]);
    for amount in [0, -5, i64::MIN] {
        assert_eq!(
            town.try_one(TREASURERS[0], issue(BUYER, amount), &TREASURERS),
            Err(TransactionError::NotPositive(amount))
        );
        assert_eq!(
            town.try_one(BUYER, pay(BUYER, SELLER, amount), &[]),
            Err(TransactionError::NotPositive(amount))
        );
    }
    assert_eq!(
        town.try_one(TREASURERS[0], issue(BUYER, i64::MAX), &TREASURERS),
        Err(TransactionError::Overflow(account(BUYER)))
    );
}

#[test]
fn overdrawing_and_spending_what_is_held() {
    let mut town = Town::new();
    let timeout = town.now.checked_add(Duration::from_secs(60)).unwrap();
    let hold = |amount| Body::Pend { to: account(SELLER), asset: Asset::Currency, amount, timeout };
    town.ok(BUYER, hold(99_999_999), &[]);
    for body in [pay(BUYER, SELLER, 2), hold(2)] {
        let refused = town.try_one(BUYER, body, &[]);
        assert!(matches!(refused, Err(TransactionError::Insufficient { available: 1, needed: 2, .. })));
    }
}

#[test]
fn replaying() {
    let mut town = Town::new();
    let signed = town.signed(BUYER, pay(BUYER, SELLER, 5), &[]);
    assert_eq!(town.block(vec![signed.clone(), signed.clone()]), [TransactionError::AlreadyApplied]);
    let mut other = town.transaction(BUYER, pay(BUYER, SELLER, 6));
    other.number = signed.transaction.number;
    let content = signed.transaction.content();
    assert_eq!(town.block(vec![other.sign(&[&key(BUYER)])]), [TransactionError::OtherContent(content)]);
    let mut elsewhere = town.transaction(BUYER, pay(BUYER, SELLER, 5));
    elsewhere.zone = ZoneId([1; 32]);
    let id = elsewhere.id();
    let reason = TransactionError::OtherZone(ZoneId([1; 32]));
    assert_eq!(
        Verified::one(town.state.zone_id(), elsewhere.sign(&[&key(BUYER)])),
        Err(LedgerError::Transaction { id, reason })
    );
    let mut endless = town.transaction(BUYER, pay(BUYER, SELLER, 5));
    endless.valid_until = Timestamp::from_millis(u64::MAX);
    let refused = town.block(vec![endless.sign(&[&key(BUYER)])]);
    assert!(matches!(refused[..], [TransactionError::ValidTooLong { .. }]));
}

#[test]
fn weak_and_foreign_keys() {
    let mut town = Town::new();
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let mut signature = [0; 64];
    signature[0] = 1;
    // Anybody can sign for the identity key under ZIP-215; registration is where it stops.
    let mut open = town.transaction(BUYER, Body::OpenAccount { owner: weak });
    open.sender = AccountId::of(&weak);
    let mut signed = open.sign(&[]);
    signed.signatures.push(KeySignature { key: weak, signature: Signature::from_bytes(signature) });
    assert_eq!(town.block(vec![signed]), [TransactionError::Key(KeyError::SmallOrder(weak))]);
    let mine = key(99).public();
    assert_eq!(
        town.try_one(BUYER, Body::OpenAccount { owner: mine }, &[99]),
        Err(TransactionError::NotOwnAccount(mine))
    );
    assert_eq!(
        town.try_one(BUYER, Body::OpenAccount { owner: key(BUYER).public() }, &[]),
        Err(TransactionError::AccountExists(account(BUYER)))
    );
}

/// Money that goes to and fro between the books for ever fills no counter that others' settlements need.
#[test]
fn filling_the_counters() {
    let mut town = Town::new();
    town.ok(TREASURERS[0], issue(BUYER, i64::MAX / 4), &TREASURERS);
    let asset = Asset::Currency;
    let leg = |from| Leg::Cross { asset, account: account(BUYER), from, amount: i64::MAX / 4 };
    for _ in 0..8 {
        town.ok(BUYER, Body::Transfer { legs: vec![leg(Journal::Energy), leg(Journal::Grid)] }, &[]);
    }
    let (timeout, price) =
        (town.now.checked_add(Duration::from_secs(60)).unwrap(), Price::from_micro_per_kwh(TARIFF));
    let energy = Energy::from_wh(16_383_001);
    let refused = town.try_one(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
    assert!(matches!(refused, Err(TransactionError::TooMuchEnergy { .. })), "{refused:?}");
}

#[test]
fn taking_anothers_outlet_or_hold() {
    let mut town = Town::new();
    let take = town.outlet(SELLER, 1, 1, BUYER);
    assert_eq!(town.try_one(BUYER, take, &[]), Err(TransactionError::NotTheOwner(station())));
    let timeout = town.now.checked_add(Duration::from_secs(60)).unwrap();
    let (energy, price) = (Energy::from_wh(1_000), Price::from_micro_per_kwh(TARIFF));
    let cheap = Price::from_micro_per_kwh(TARIFF - 1);
    assert_eq!(
        town.try_one(BUYER, Body::PendSale { evse: evse(), price: cheap, energy, timeout }, &[]),
        Err(TransactionError::BelowTariff { price: TARIFF - 1, tariff: TARIFF })
    );
    let signed = town.signed(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
    let pending = signed.transaction.pending_id();
    assert_eq!(town.block(vec![signed]), []);
    assert_eq!(
        town.try_one(BUYER, Body::Void { pending }, &[]),
        Err(TransactionError::NotThePayee(pending)),
        "a buyer does not take the money back while the car charges"
    );
    let more = town.post_sale(pending, 1_001);
    assert_eq!(
        town.try_one(SELLER, more, &[METER]),
        Err(TransactionError::MoreThanHeld { pending, asked: 1_001, held: 1_000 })
    );
    assert_eq!(
        town.try_one(SELLER, Body::Post { pending, amount: 1 }, &[]),
        Err(TransactionError::OtherKind(pending)),
        "no way around the meter"
    );
    // The same meter at a second outlet, or again after another one, would begin its register anew.
    let bound = Err(TransactionError::MeterBound(key(METER).public()));
    let [second, changed, back] =
        [(2, METER), (1, 91), (1, METER)].map(|(number, meter)| town.outlet(SELLER, number, 1, meter));
    assert_eq!(town.try_one(SELLER, second, &[]), bound);
    town.ok(SELLER, changed, &[]);
    assert_eq!(town.try_one(SELLER, back, &[]), bound);
}

/// Whoever registers somebody else's meter at his own outlet would shut its owner out for ever.
#[test]
fn registering_somebody_elses_meter() {
    let mut town = Town::new();
    let position = Position::from_e7(525_300_000, 134_050_000).unwrap();
    let (number, name, award_key) = (1, "Mallory's".to_owned(), Hash([8; 32]));
    town.ok(BUYER, Body::RegisterStation { number, name, position, award_key }, &[]);
    let zone = *town.state.zone_id();
    let [mine, his] = [BUYER, SELLER].map(|n| StationId::of(&account(n), 1));
    let (mallory, victim) = (account(BUYER), account(SELLER));
    let (meter, plugs) = (key(95), (1, Power::from_w(22_000)));
    let words = [
        ("one's own", Body::register_evse(&zone, &mallory, (mine, 1), plugs, &key(96))),
        ("for the victim's outlet", Body::register_evse(&zone, &victim, (his, 2), plugs, &meter)),
        ("for another outlet", Body::register_evse(&zone, &mallory, (mine, 2), plugs, &meter)),
        ("for another owner", Body::register_evse(&zone, &victim, (mine, 1), plugs, &meter)),
        ("of another zone", Body::register_evse(&ZoneId([1; 32]), &mallory, (mine, 1), plugs, &meter)),
    ];
    let outlet = EvseId::of(&mine, 1);
    for (what, word) in words {
        let Body::RegisterEvse { installed, .. } = word else { panic!("{word:?}") };
        let (connectors, power) = plugs;
        let (meter, station, number) = (meter.public(), mine, 1);
        let body = Body::RegisterEvse { station, number, connectors, power, meter, installed };
        let refused = TransactionError::MeterNotInstalled { evse: outlet, meter };
        assert_eq!(town.try_one(BUYER, body, &[95]), Err(refused), "{what}");
    }
    // Nor does a key that anybody can sign for.
    let mut identity = [0; 32];
    identity[0] = 1;
    let (weak, mut installed) = (PublicKey::from_bytes(identity), [0; 64]);
    installed[0] = 1;
    let installed = Signature::from_bytes(installed);
    let installation = Installation { zone, evse: outlet, owner: mallory, meter: weak };
    assert!(installation.is_signed(&installed), "so it would have signed");
    let (station, (connectors, power), meter) = (mine, plugs, weak);
    let body = Body::RegisterEvse { station, number: 1, connectors, power, meter, installed };
    assert_eq!(town.try_one(BUYER, body, &[]), Err(TransactionError::Key(KeyError::SmallOrder(weak))));

    // Its owner still can; and its word is good for other plugs at that outlet too.
    let body = town.outlet(SELLER, 2, 1, 95);
    town.ok(SELLER, body.clone(), &[]);
    let Body::RegisterEvse { station, number, power, meter, installed, .. } = body else {
        panic!("{body:?}")
    };
    let body = Body::RegisterEvse { station, number, connectors: 3, power, meter, installed };
    town.ok(SELLER, body, &[]);
}

#[test]
fn a_proposers_bad_block_is_not_executed() {
    let mut town = Town::new();
    let good = town.signed(BUYER, pay(BUYER, SELLER, 5), &[]);
    let candidates = Verified::all(town.state.zone_id(), vec![good]).unwrap();
    let later = town.now.checked_add(Duration::from_secs(1)).unwrap();
    let Proposed { block, .. } = town.state.propose(later, 0, &candidates);
    let (block, verified) = open_block(&town.state, &block.encode()).unwrap();

    let edit = |name: &str, change: &dyn Fn(&mut Header)| {
        let mut bad = block.clone();
        change(&mut bad.header);
        assert!(town.state.execute(&bad, &verified).is_err(), "{name}");
    };
    edit("another state", &|h| h.state.objects.hash.0[0] ^= 1);
    edit("another total", &|h| h.state.totals.0[0] ^= 1);
    edit("another journal", &|h| h.state.grid.postings.hash.0[0] ^= 1);
    edit("forgotten ids", &|h| h.state.ids_from += 1);
    edit("another zone", &|h| h.zone.0[0] ^= 1);
    edit("a gap", &|h| h.height += 1);
    edit("another parent", &|h| h.parent.0[0] ^= 1);
    edit("the past", &|h| h.time = town.now);
    edit("another epoch", &|h| h.epoch += 1);
    edit("no such proposer", &|h| h.proposer = 4);
    edit("other voters", &|h| h.voters.0[0] ^= 1);
    edit("other rules", &|h| h.rules += 1);
    edit("a hand-over", &|h| h.next_voters = Some(Hash::ZERO));
    edit("other transactions", &|h| h.transactions.0[0] ^= 1);
    edit("another count", &|h| h.transaction_count += 1);
    assert!(
        matches!(
            town.state.execute(&block, &[]),
            Err(LedgerError::Block { .. } | LedgerError::Transactions { .. })
        ),
        "unchecked transactions"
    );

    // Checked transactions that the header binds, beside others that it does not.
    let (height, reason) = (block.header.height, "the checked transactions are not the block's".to_owned());
    let others = Err(LedgerError::Block { height, reason });
    let other = town.signed(BUYER, pay(BUYER, SELLER, 6), &[]);
    for transactions in [vec![other.clone()], vec![block.transactions[0].clone(), other], Vec::new()] {
        let bad = Block { transactions, ..block.clone() };
        assert_eq!(town.state.execute(&bad, &verified).map(drop), others, "{}", bad.transactions.len());
    }

    // A transaction that cannot apply, under a header that binds it.
    let overdraft = town.signed(BUYER, pay(BUYER, SELLER, i64::MAX), &[]);
    let id = overdraft.transaction.id();
    let mut bad = block.clone();
    bad.transactions = vec![overdraft];
    bad.header.transactions = transactions_root(&bad.transactions);
    let (bad, transactions) = open_block(&town.state, &bad.encode()).unwrap();
    match town.state.execute(&bad, &transactions) {
        Err(LedgerError::Transaction { id: named, reason: TransactionError::Insufficient { .. } }) => {
            assert_eq!(named, id);
        }
        other => panic!("{other:?}"),
    }
    assert!(town.state.execute(&block, &verified).is_ok(), "and the good one still is");
}

#[test]
fn a_header_binds_its_transactions_all_of_them_in_their_order() {
    let mut town = Town::new();
    let two = [5, 6].map(|amount| town.signed(BUYER, pay(BUYER, SELLER, amount), &[]));
    assert_eq!(town.block(two.to_vec()), []);
    let block = Block::decode(town.blocks.last().unwrap()).unwrap();
    assert_eq!(block.verify_transactions(), Ok(()));
    let refused = Err(LedgerError::Transactions { height: block.header.height });
    let [one, other] = two;
    let mut edited = other.clone();
    edited.signatures.clear();
    for (what, transactions) in [
        ("none", vec![]),
        ("one dropped", vec![one.clone()]),
        ("one edited", vec![one.clone(), edited]),
        ("another order", vec![other.clone(), one.clone()]),
        ("one more", vec![one.clone(), other.clone(), other]),
    ] {
        let bad = Block { transactions, ..block.clone() };
        assert_eq!(bad.verify_transactions(), refused, "{what}");
    }

    // The most that a block may hold, and one more.
    for (count, expected) in [(5_000, Ok(())), (5_001, refused)] {
        let mut full = Block { transactions: vec![one.clone(); count], ..block.clone() };
        full.header.transactions = transactions_root(&full.transactions);
        full.header.transaction_count = u32::try_from(count).unwrap();
        assert_eq!(full.verify_transactions(), expected, "{count}");
    }
}

/// What an agent has checked before is believed only as it was: with another signature it is checked like any other.
#[test]
fn a_known_transaction_with_another_signature_is_not_known() {
    let mut town = Town::new();
    let good = town.signed(BUYER, pay(BUYER, SELLER, 5), &[]);
    let known = Verified::one(town.state.zone_id(), good.clone()).unwrap();
    let later = town.now.checked_add(Duration::from_secs(1)).unwrap();
    let Proposed { mut block, .. } = town.state.propose(later, 0, [&known]);
    let open = |block: &Block| open_block_knowing(&town.state, &block.encode(), |_| Some(&known));
    assert_eq!(open(&block).unwrap().1, std::slice::from_ref(&known));
    block.transactions[0].signatures[0].signature = key(SELLER).sign(Transaction::DOMAIN, b"anything");
    block.header.transactions = transactions_root(&block.transactions);
    let (id, reason) = (good.transaction.id(), TransactionError::WrongSignature(key(BUYER).public()));
    assert_eq!(open(&block).map(|_| ()), Err(LedgerError::Transaction { id, reason }));
}

#[test]
fn certificates_that_prove_nothing() {
    let town = Town::new();
    let (header, zone, set) = (header(&town), town.state.zone_id(), town.state.validators().voters());
    let good = certify(&town.state, &header, &[1, 2, 3]);
    assert_eq!(good.verify_header(&header, zone, set), Ok(()));
    assert_eq!(Certificate::decode(&good.encode()), Ok(good.clone()));

    let refused = |certificate: &Certificate, header: &Header| {
        let error = certificate.verify_header(header, zone, set);
        assert!(matches!(error, Err(LedgerError::Certificate { .. })), "{error:?}");
    };
    refused(&certify(&town.state, &header, &[1, 2]), &header);
    let mut twice = certify(&town.state, &header, &[1, 2]);
    twice.signatures.push(twice.signatures[1]);
    refused(&twice, &header);
    refused(&Certificate { round: 1, ..good.clone() }, &header);
    refused(&Certificate { epoch: 1, ..good.clone() }, &header);
    refused(&Certificate { block: BlockId([7; 32]), ..good.clone() }, &header);
    let mut swapped = good.clone();
    swapped.signatures[0].1 = swapped.signatures[1].1;
    refused(&swapped, &header);
    let mut stranger = good.clone();
    stranger.signatures[2].0 = 9;
    refused(&stranger, &header);
    let other = Header { height: header.height + 1, ..header.clone() };
    refused(&good, &other);
    let elsewhere = good.verify_header(&header, &ZoneId([0; 32]), set);
    assert!(matches!(elsewhere, Err(LedgerError::Certificate { .. })));
}

/// A quorum that signs for the right block under another height or in another zone proves nothing of its header.
#[test]
fn certificates_of_the_right_block_that_say_something_else() {
    let town = Town::new();
    let (header, set) = (header(&town), town.state.validators().voters());
    let (zone, elsewhere) = (*town.state.zone_id(), ZoneId([1; 32]));
    for (zone, height, is_right) in
        [(zone, header.height, true), (zone, header.height + 1, false), (elsewhere, header.height, false)]
    {
        let (epoch, round, block) = (header.epoch, 0, header.id());
        let signatures = (0..4u8).map(|n| {
            let (kind, validator) = (VoteKind::Precommit, u16::from(n));
            let vote = Vote { kind, height, round, block: Some(block), validator };
            (validator, vote.sign(&zone, epoch, &vote_key(n + 1)))
        });
        let certificate = Certificate { height, round, epoch, block, signatures: signatures.collect() };
        assert_eq!(certificate.verify(&zone, epoch, set), Ok(()), "all have signed it");
        let refused = certificate.verify_header(&header, &zone, set);
        if is_right {
            assert_eq!(refused, Ok(()));
        } else {
            let reason = format!("it is for block {block}, not for this header");
            assert_eq!(refused, Err(LedgerError::Certificate { height, reason }));
        }
    }
}

#[test]
fn proofs_of_something_else() {
    let mut town = Town::new();
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let header = header(&town);
    let certified = (header.clone(), certify(&town.state, &header, &[1, 2, 3]));
    let (zone, set) = (town.state.zone_id(), town.state.validators().voters());
    let verify =
        |id: u8, proofs: &[Proof]| ProvenAccount::verify(zone, set, &account(id), certified.clone(), proofs);
    let buyer = town.state.prove_account(&account(BUYER)).unwrap();
    let seller = town.state.prove_account(&account(SELLER)).unwrap();
    assert!(verify(BUYER, &buyer).is_ok());
    assert!(
        matches!(verify(BUYER, &seller), Err(LedgerError::OtherObject { .. })),
        "somebody else's account"
    );
    assert!(matches!(verify(BUYER, &[]), Err(LedgerError::OtherObject { .. })), "nothing");
    assert!(matches!(verify(BUYER, &buyer[..1]), Err(LedgerError::OtherObject { .. })), "a hidden balance");
    let mixed = [buyer[0].clone(), seller[1].clone()];
    assert!(matches!(verify(BUYER, &mixed), Err(LedgerError::Proof { .. })), "somebody else's balance");
    let mut richer = buyer.clone();
    let mut balance = Balance::decode(&richer[1].content).unwrap();
    balance.holdings[0].posted += 1;
    richer[1].content = balance.encode();
    assert!(matches!(verify(BUYER, &richer), Err(LedgerError::Proof { .. })), "an edited balance");
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let newer = town.state.prove_account(&account(BUYER)).unwrap();
    let verify = |proofs: &[Proof]| {
        ProvenAccount::verify(zone_of(&town), set_of(&town), &account(BUYER), certified.clone(), proofs)
    };
    assert!(matches!(verify(&newer), Err(LedgerError::Proof { .. })), "a proof for another height's root");
}

fn zone_of(town: &Town) -> &ZoneId {
    town.state.zone_id()
}

fn set_of(town: &Town) -> &Voters {
    town.state.validators().voters()
}

#[test]
fn a_zone_is_whole_or_refused() {
    let mut file = ZoneFile::new(zone()).unwrap();
    assert!(matches!(file.sealed(), Err(LedgerError::Zone { .. })), "nobody has signed");
    for n in 1..=4 {
        file.sign(&key(n)).unwrap();
    }
    assert!(file.sealed().is_ok());
    assert_eq!(ZoneFile::decode(&file.encode()), Ok(file.clone()));
    assert!(file.sign(&key(9)).is_err(), "a stranger");
    let mut edited = file.clone();
    edited.zone.distributor.tariff = Price::from_micro_per_kwh(1);
    assert!(matches!(edited.sealed(), Err(LedgerError::Zone { .. })), "edited after signing");
    type Edit = fn(&mut Zone);
    let edits: [Edit; 7] = [
        |z| z.name.clear(),
        |z| z.polygon.truncate(2),
        |z| z.treasury.threshold = 4,
        |z| z.treasury.threshold = 0,
        |z| z.treasury.keys[1] = z.treasury.keys[0],
        |z| z.distributor.tariff = Price::from_micro_per_kwh(-1),
        |z| z.distributor.key = PublicKey::from_bytes([0; 32]),
    ];
    for (at, edit) in edits.iter().enumerate() {
        let mut bad = zone();
        edit(&mut bad);
        assert!(matches!(ZoneFile::new(bad), Err(LedgerError::Zone { .. })), "edit {at}");
    }
}

/// A zone with areas of these cells, in their order.
fn with_areas(cells: impl IntoIterator<Item = u64>) -> Zone {
    let origin = Position::from_e7(525_000_000, 133_500_000).unwrap();
    let frame = Frame { origin, step_e7: 4_000, cos_q16: 40_000 };
    let areas = cells.into_iter().map(|cell| ZoneArea { area: Area::try_from(cell).unwrap(), frame });
    Zone { areas: areas.collect(), ..zone() }
}

/// The `n`-th cell of resolution 5 below one base cell, ascending; there are 16,807.
pub fn cell(n: u64) -> u64 {
    let digits = [n / 343, n / 49 % 7, n / 7 % 7, n % 7];
    let low = digits.into_iter().fold(0, |low, digit| (low << 3) | (digit % 7));
    0x0850_0000_3fff_ffff | ((n / 2_401) << 42) | (low << 30)
}

#[test]
fn a_zone_as_large_as_it_may_be_and_just_too_large() {
    type Edit<'e> = &'e dyn Fn(&mut Zone);
    let treasurers =
        |n: u8| KeyGroup { threshold: 1, keys: (100..100 + n).map(|n| key(n).public()).collect() };
    let allowed: [(&str, Edit); 6] = [
        ("a name of 64 bytes", &|z| z.name = "n".repeat(64)),
        ("15 treasurers", &|z| z.treasury = treasurers(15)),
        ("15 regulators", &|z| z.regulators = Some(treasurers(15))),
        ("a grid for nothing", &|z| z.distributor.tariff = Price::from_micro_per_kwh(0)),
        ("two areas", &|z| z.areas = with_areas([cell(1), cell(2)]).areas),
        ("4,096 areas", &|z| z.areas = with_areas((0..4_096).map(cell)).areas),
    ];
    for (what, edit) in allowed {
        let mut zone = zone();
        edit(&mut zone);
        assert_eq!(Zone::decode(&zone.encode()), Ok(zone.clone()), "{what}");
        let file = ZoneFile::new(zone).unwrap();
        assert_eq!(ZoneFile::decode(&file.encode()), Ok(file), "{what}");
    }
    let refused: [(&str, Edit); 9] = [
        ("a name of 65 bytes", &|z| z.name = "n".repeat(65)),
        ("16 treasurers", &|z| z.treasury = treasurers(16)),
        ("17 treasurers", &|z| z.treasury = treasurers(17)),
        ("16 regulators", &|z| z.regulators = Some(treasurers(16))),
        ("one area twice", &|z| z.areas = with_areas([cell(1), cell(1)]).areas),
        ("areas downwards", &|z| z.areas = with_areas([cell(2), cell(1)]).areas),
        ("4,097 areas", &|z| z.areas = with_areas((0..4_097).map(cell)).areas),
        ("a frame without steps", &|z| {
            z.areas = with_areas([cell(1)]).areas;
            z.areas[0].frame.step_e7 = 0;
        }),
        ("a second frame without steps", &|z| {
            z.areas = with_areas([cell(1), cell(2)]).areas;
            z.areas[1].frame.step_e7 = 0;
        }),
    ];
    for (what, edit) in refused {
        let mut bad = zone();
        edit(&mut bad);
        assert!(matches!(ZoneFile::new(bad), Err(LedgerError::Zone { .. })), "{what}");
    }
}

#[test]
fn a_zone_file_names_who_has_not_signed_and_takes_each_signature_once() {
    let mut file = ZoneFile::new(zone()).unwrap();
    assert_eq!(file.unsigned(), [0, 1, 2, 3]);
    file.sign(&key(2)).unwrap();
    assert_eq!(file.unsigned(), [0, 2, 3]);
    file.sign(&key(1)).unwrap();
    file.sign(&key(2)).unwrap();
    assert_eq!(file.unsigned(), [2, 3]);
    assert_eq!(file.check(), Ok(()), "some may be missing");
    let reason = "validators [2, 3] have not signed it yet".to_owned();
    assert_eq!(file.sealed(), Err(LedgerError::Zone { reason }));
    let reason = "its signatures are not in ascending order, each once".to_owned();
    let refused = Err(LedgerError::Zone { reason });
    let [first, second] = [file.signatures[0], file.signatures[1]];
    for signatures in [vec![first, first], vec![second, first], vec![first, second, second]] {
        assert_eq!(ZoneFile { signatures, ..file.clone() }.check(), refused);
    }
}

/// Bytes that no honest program of this version sends, each refused by its own error.
#[test]
fn bytes_of_another_version_or_beyond_the_bounds() {
    let mut town = Town::new();
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let bytes = town.blocks.last().unwrap().clone();
    let open = |bytes: &[u8]| open_block(&town.state, bytes).map(|_| ());
    let decode = |error| Err(LedgerError::Decode(error));
    let known = bytes[0];
    for found in [0, known + 1, u8::MAX] {
        let future = [&[found], &bytes[1..]].concat();
        assert_eq!(open(&future), decode(DecodeError::Version { what: "block", known, found }));
        let signed = Block::decode(&bytes).unwrap().transactions[0].encode();
        let future = [&[found], &signed[1..]].concat();
        let error = SignedTransaction::decode(&future).unwrap_err();
        assert_eq!(error, DecodeError::Version { what: "signed transaction", known, found });
    }
    assert_eq!(open(&[]), decode(DecodeError::Empty { what: "block" }));
    let (what, max, found) = ("block", Block::MAX_BYTES, Block::MAX_BYTES + 1);
    let long = [&bytes[..], &vec![0; found - bytes.len()]].concat();
    assert_eq!(open(&long), decode(DecodeError::TooLong { what, max, found }));
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(open(&trailing), decode(DecodeError::NotCanonical { what: "block" }));
    let cut = &bytes[..bytes.len() - 1];
    assert!(matches!(open(cut), Err(LedgerError::Decode(DecodeError::Malformed { .. }))));

    // More transactions than a block may hold, each of them small and well signed.
    let mut block = Block::decode(&bytes).unwrap();
    let height = block.header.height;
    block.transactions = vec![block.transactions[0].clone(); Block::TRANSACTIONS_MAX + 1];
    block.header.transactions = transactions_root(&block.transactions);
    block.header.transaction_count = u32::try_from(block.transactions.len()).unwrap();
    assert!(block.encode().len() <= Block::MAX_BYTES, "it is the count that is refused");
    assert_eq!(open(&block.encode()), Err(LedgerError::Transactions { height }));
}

/// A validator set with a key that anybody can sign for does not even decode.
#[test]
fn weak_keys_in_a_decision() {
    let town = Town::new();
    let mut identity = [0; 32];
    identity[0] = 1;
    let validators = Box::new(town.state.validators().clone());
    let body = Body::SetValidators { epoch: 0, validators };
    let transaction = Town::new().transaction(BUYER, body);
    let good = transaction.encode();
    assert_eq!(Transaction::decode(&good), Ok(transaction));
    for key in [key(1).public(), vote_key(1).public()] {
        let at = good.windows(32).position(|window| window == key.to_bytes()).unwrap();
        let mut weak = good.clone();
        weak[at..at + 32].copy_from_slice(&identity);
        let refused = Transaction::decode(&weak);
        assert!(matches!(refused, Err(DecodeError::Malformed { .. })), "{refused:?}");
    }
}
