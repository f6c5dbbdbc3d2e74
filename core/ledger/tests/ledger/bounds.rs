//! What messages weigh, and how long bytes from outside may be: tight enough to bound an attacker, wide enough for the
//! longest that is honest.

use crate::{attacks::cell, auctions::Market, town::*};
use ohmesh_ledger::{
    tree::{Siblings, Tree, TreeRoot},
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
            let body = &signed.transaction.body;
            found.insert(name, (body.weight(), body.is_duty()));
        }
    }
    let expected = [
        ("accept", (2, false)),
        ("bid", (60, false)),
        ("blinding", (80, true)),
        ("deal", (54, true)),
        ("handout", (56, true)),
        ("intent", (95, false)),
        ("outcome", (304, false)),
        ("release", (32, true)),
    ];
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn other_messages_weigh_what_checking_them_costs() {
    let mut market = Market::with_key();
    let terms = market.contracted();
    let opened = Block::decode(market.town.blocks.last().unwrap()).unwrap().transactions.remove(0);
    let (contract, at) = (terms.id(), terms.not_before);
    let record = Box::new(market.record(&terms, 0, 1));
    let complaint = [&[1][..], &[7; 32], &[0, 1], &[9; 32]].concat();
    let vote = |block| {
        let (kind, height, round, block, validator) =
            (VoteKind::Prevote, 1, 0, Some(BlockId([block; 32])), 0);
        let vote = Vote { kind, height, round, block, validator };
        (vote, vote.sign(&terms.zone, 0, &vote_key(1)))
    };
    let evidence = Box::new(Evidence::Votes([vote(1), vote(2)]));
    let leg =
        Leg::Cross { asset: Asset::Currency, account: account(BUYER), from: Journal::Energy, amount: 1 };
    let waiver = ohmesh_contract::Release { contract, at };
    let key_of_epoch = market.town.state.epoch_key(0).unwrap().clone();
    let validators = Box::new(market.town.state.validators().clone());
    let (epoch, start) = (0, None);
    for (body, weight, is_duty) in [
        (opened.transaction.body, 6, false),
        (Body::ContractStart(Box::new(market.start(&terms))), 4, false),
        (Body::ContractSettle { record, start, checkpoint: None }, 6, false),
        (Body::ContractWaive(Box::new(ohmesh_contract::Signed::new(waiver, &key(81)))), 4, false),
        (Body::ContractDispute { contract }, 2, false),
        (Body::KeyComplaint(Box::new(Canonical::decode(&complaint).unwrap())), 80, true),
        (Body::KeySolo(Box::new(key_of_epoch)), 80, true),
        (Body::Convict { epoch, evidence }, 4, true),
        (Body::VoteKey { epoch: 1, key: key(98).public() }, 2, true),
        (Body::SetValidators { epoch, validators }, 20, false),
        (market.town.outlet(SELLER, 1, 1, METER), 3, false),
        (Body::Transfer { legs: vec![leg.clone()] }, 1, false),
        (Body::Transfer { legs: vec![leg; 16] }, 16, false),
        (Body::OpenAccount { owner: key(99).public() }, 2, false),
    ] {
        assert_eq!((body.weight(), body.is_duty()), (weight, is_duty), "{body:?}");
    }
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

    // As many leaves as a chunk may have, and as many bytes.
    let (from, leaves) = (0, vec![vec![7; 256]; Chunk::LEAVES_MAX]);
    let full = Chunk { from, leaves, ..chunk };
    assert_eq!(full.leaves.concat().len(), Chunk::CONTENT_MAX);
    assert_eq!(Chunk::decode(&full.encode()), Ok(full.clone()));
    assert!(Chunk::MAX_BYTES - full.encode().len() < Chunk::LEAVES_MAX + 128);

    let answer = Answer::Blocks(vec![(vec![7; Block::MAX_BYTES], certificate_of_all())]);
    assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
}

/// By 32 validators, every number as long as can be; its signatures are of nothing.
fn certificate_of_all() -> Certificate {
    let signatures = (0..32).map(|index| (index, Signature::from_bytes([7; 64]))).collect();
    let (height, round, epoch) = (u64::MAX, u32::MAX, u64::MAX);
    Certificate { height, round, epoch, block: BlockId([7; 32]), signatures }
}

#[test]
fn what_the_most_validators_sign_can_be_read_and_little_more() {
    let certificate = certificate_of_all();
    assert_eq!(Certificate::decode(&certificate.encode()), Ok(certificate.clone()));
    assert!(Certificate::MAX_BYTES - certificate.encode().len() < 128);

    let stake = (1 << 55) - 1;
    let all = (1u8..=32).map(|n| Voter { key: vote_key(n).public(), stake }).collect();
    let voters = Voters::new(all).unwrap();
    assert_eq!(Voters::decode(&voters.encode()), Ok(voters.clone()));
    assert!(Voters::MAX_BYTES - voters.encode().len() < 192);

    let (zone, height, epoch, time) = (ZoneId([7; 32]), u64::MAX, u64::MAX, Timestamp::from_millis(u64::MAX));
    let anchor = Anchor { zone, epoch, voters: voters.clone(), height, time };
    assert_eq!(Anchor::decode(&anchor.encode()), Ok(anchor.clone()));
    assert!(Anchor::MAX_BYTES - anchor.encode().len() < 192);

    let (hash, count) = (Hash([7; 32]), u32::MAX);
    let root = TreeRoot { hash, count };
    let journal = JournalRoots { postings: root, balances: root };
    let state = StateRoots {
        energy: journal,
        grid: journal,
        objects: root,
        ids: root,
        ids_from: count,
        totals: hash,
    };
    let header = Header {
        zone,
        height,
        epoch,
        time,
        parent: hash,
        proposer: u16::MAX,
        transactions: hash,
        transaction_count: count,
        state,
        voters: hash,
        rules: count,
        next_voters: Some(hash),
    };
    assert_eq!(Header::decode(&header.encode()), Ok(header.clone()));
    assert!(Header::MAX_BYTES - header.encode().len() < 192);
    let hand_over = HandOver { header, certificate, voters };
    assert_eq!(HandOver::decode(&hand_over.encode()), Ok(hand_over.clone()));
    assert!(HandOver::MAX_BYTES - hand_over.encode().len() < 512);
}

/// Corners, areas, keys and validators as many and as long as there may be.
#[test]
fn the_longest_zone_can_be_read_with_the_signatures_of_all() {
    let corner = Position::from_e7(-900_000_000, -1_800_000_000).unwrap();
    let frame = Frame { origin: corner, step_e7: u32::MAX, cos_q16: 65_536 };
    let areas = (0..4_096).map(|n| ZoneArea { area: cell(n).try_into().unwrap(), frame }).collect();
    let group =
        |first: u8| KeyGroup { threshold: 15, keys: (0..15).map(|n| key(first + n).public()).collect() };
    let validators = (1u8..=32).map(|n| {
        let (name, address) = (format!("{n:064}"), "a".repeat(128));
        Validator { name, address, ..validator(n, (1 << 55) - 1) }
    });
    let zone = Zone {
        name: "n".repeat(64),
        polygon: vec![corner; 256],
        treasury: group(100),
        areas,
        regulators: Some(group(150)),
        validators: ValidatorSet::new(validators.collect()).unwrap(),
        ..zone()
    };
    assert_eq!(Zone::decode(&zone.encode()), Ok(zone.clone()));
    let mut file = ZoneFile::new(zone).unwrap();
    (1..=32).for_each(|n| file.sign(&key(n)).unwrap());
    assert_eq!(ZoneFile::decode(&file.encode()), Ok(file.clone()));
    // A zone file has room for every signature beside the longest zone.
    let signatures = file.encode().len() - file.zone.encode().len();
    let room = ZoneFile::MAX_BYTES.saturating_sub(Zone::MAX_BYTES);
    assert!((signatures..signatures + 128).contains(&room), "{room} bytes for {signatures}");
}

/// 32 shares of 256 bids: more than any validator has to release.
#[test]
fn the_longest_release_can_be_sent() {
    let mut market = Market::with_key();
    market.awarded();
    let signed = market.town.blocks.iter().flat_map(|bytes| Block::decode(bytes).unwrap().transactions);
    let is_release = |signed: SignedTransaction| match signed.transaction.body {
        Body::AuctionRelease(release) => Some(release.encode()),
        _ => None,
    };
    // The auction, the validator, one share of three bids: their points, and a proof.
    let short = signed.into_iter().find_map(is_release).unwrap();
    assert_eq!(short.len(), 1 + 32 + 1 + 1 + (1 + 3 * 32 + 64));
    let share = [&[0x80, 0x02][..], &short[36..68].repeat(256), &short[132..]].concat();
    let long = [&short[..34], &[32], &share.repeat(32)].concat();
    let release = ohmesh_auction::release::Release::decode(&long).unwrap();
    assert!(ohmesh_auction::release::Release::MAX_BYTES - long.len() < 16);
    let transaction = Transaction {
        number: u128::MAX,
        valid_until: Timestamp::from_millis(u64::MAX),
        ..market.town.transaction(1, Body::AuctionRelease(Box::new(release)))
    };
    let bytes = transaction.encode();
    assert_eq!(Transaction::decode(&bytes), Ok(transaction.clone()));
    assert!(Transaction::MAX_BYTES - bytes.len() < 256);
    let signed = transaction.sign(&[&key(1)]);
    assert_eq!(SignedTransaction::decode(&signed.encode()), Ok(signed));
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
    let signatures = signed(33).encode().len() - transaction.encode().len();
    assert!((signatures..signatures + 1_024).contains(&room));
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
    // Nor is there anything that would lead from them to the root, or from leaves that are forgotten.
    for (first, length) in [(0, 0), (4, 0), (4, 2), (5, 1), (0, 6), (u32::MAX, 1)] {
        assert_eq!(tree.siblings(first, length), None, "{length} at {first}");
    }
    let left = tree.siblings(2, 3).unwrap().left;
    let newer = Tree::from_run(2, leaves[2..].to_vec(), &left);
    assert_eq!(newer.root(), root);
    assert_eq!(newer.siblings(2, 3), tree.siblings(2, 3));
    assert_eq!((newer.siblings(0, 2), newer.siblings(1, 4)), (None, None));
}
