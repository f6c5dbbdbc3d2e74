//! What the zone's people decide, and who may: validators, vote keys, bonds, convictions, rules, fees, tariffs, caps.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_units::*;
use proptest::prelude::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Three of the four validators: more than two thirds of the stake.
const QUORUM: [u8; 3] = [1, 2, 3];
/// Somebody who becomes a validator.
const NEWCOMER: u8 = 5;
/// Seeds of vote keys for later epochs.
const NEXT_VOTE: u8 = 150;

/// A town by other rules, in which everybody who decides something has 100 EUR.
fn town_by(rules: Rules) -> Town {
    let mut town = Town::in_zone(Zone { rules: Rules { fee: Money::ZERO, ..rules }, ..zone() });
    town.ok(NEWCOMER, Body::OpenAccount { owner: key(NEWCOMER).public() }, &[]);
    for who in [1, 2, 3, 4, NEWCOMER, DISTRIBUTOR, TREASURERS[0]] {
        town.ok(TREASURERS[0], issue(who, 100_000_000), &TREASURERS[..2]);
    }
    town
}

fn town() -> Town {
    town_by(Rules::default())
}

fn later(town: &Town, by: Duration) -> Timestamp {
    town.now.checked_add(by).unwrap()
}

/// The running epoch's validators, changed.
fn changed(town: &Town, change: impl FnOnce(&mut Vec<Validator>)) -> Body {
    let mut validators = town.state.validators().all().to_vec();
    change(&mut validators);
    let validators = Box::new(ValidatorSet::new(validators).unwrap());
    Body::SetValidators { epoch: town.state.epoch().number, validators }
}

fn with_newcomer(town: &Town) -> Body {
    changed(town, |all| all.push(validator(NEWCOMER, 10)))
}

fn accounts(set: &ValidatorSet) -> Vec<AccountId> {
    set.all().iter().map(Validator::account).collect()
}

fn bond_of(town: &Town, who: u8) -> Bond {
    match town.state.object(&Bond::id(&account(who))) {
        Some((_, Object::Bond(bond))) => (**bond).clone(),
        other => panic!("{other:?}"),
    }
}

fn ended(town: &Town, id: &Hash) -> End {
    match town.state.object(id) {
        Some((_, Object::Finished(finished))) => finished.end,
        other => panic!("{other:?}"),
    }
}

fn burned(town: &Town) -> i64 {
    town.state.totals().flows[0][0].burned
}

/// A vote of validator `index` in `epoch` for some block, signed with `by`.
fn vote(town: &Town, epoch: u64, index: u16, block: u8, by: &SigningKey) -> (Vote, Signature) {
    let (kind, block) = (VoteKind::Precommit, Some(BlockId([block; 32])));
    let vote = Vote { kind, height: 3, round: 0, block, validator: index };
    (vote, vote.sign(town.state.zone_id(), epoch, by))
}

/// Two votes that exclude each other.
fn equivocation(town: &Town, epoch: u64, index: u16, by: &SigningKey) -> Body {
    let evidence = Evidence::Votes([1, 2].map(|block| vote(town, epoch, index, block, by)));
    Body::Convict { epoch, evidence: Box::new(evidence) }
}

fn header(town: &Town) -> Header {
    Block::decode(town.blocks.last().unwrap()).unwrap().header
}

#[test]
fn validators_change_with_the_block_that_decides_it() {
    let mut town = town();
    let generation = epoch_key_id(0);
    let body = changed(&town, |all| {
        all.remove(3);
        all.push(validator(NEWCOMER, 7));
    });
    let Body::SetValidators { validators, .. } = &body else { panic!("{body:?}") };
    let next = validators.voters().hash();
    town.ok(BUYER, body, &QUORUM);
    let last = header(&town);
    assert_eq!((last.epoch, last.next_voters), (0, Some(next)));
    let epoch = town.state.epoch().clone();
    assert_eq!((epoch.number, epoch.first_height, epoch.began), (1, last.height + 1, last.time));
    assert_eq!(accounts(&epoch.validators), [1, 2, 3, NEWCOMER].map(account));
    // Other hands: a new auction key is made, and the one in the making is given up.
    assert_eq!(ended(&town, &generation), End::Past);
    assert!(matches!(town.state.object(&epoch_key_id(1)), Some((_, Object::Generation(_)))));
    let keys = &town.state.governance().keys;
    assert_eq!(keys.iter().map(|holders| holders.epoch).collect::<Vec<_>>(), [0, 1]);
    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let first = header(&town);
    assert_eq!((first.epoch, first.voters, first.next_voters), (1, next, None));
}

#[test]
fn validators_are_set_by_more_than_two_thirds_of_this_epochs_stake() {
    let thirds = ValidatorSet::new((1..=3).map(|n| validator(n, 10)).collect()).unwrap();
    let mut town = Town::in_zone(Zone { validators: thirds, ..zone() });
    let fewer = |town: &Town| changed(town, |all| all.truncate(2));
    let body = fewer(&town);
    let exactly = Err(TransactionError::Stake { found: 20, whole: 30 });
    assert_eq!(town.try_one(BUYER, body.clone(), &[1, 2]), exactly, "exactly two thirds");
    let twice = town.transaction(1, body.clone()).sign(&[&key(1), &key(2), &key(2), &key(1)]);
    assert_eq!(town.block(vec![twice]), [TransactionError::Stake { found: 20, whole: 30 }]);
    let with_votes = town.transaction(1, body.clone()).sign(&[&key(1), &vote_key(2), &vote_key(3)]);
    assert_eq!(town.block(vec![with_votes]), [TransactionError::Stake { found: 10, whole: 30 }]);
    town.ok(BUYER, body.clone(), &[1, 2, 3]);

    // The decision of an epoch that is over, and the word of those who were validators then.
    let named = TransactionError::OtherEpoch { named: 0, running: 1 };
    assert_eq!(town.try_one(BUYER, body, &[1, 2, 3]), Err(named));
    let ahead = Body::SetValidators { epoch: 2, validators: Box::new(town.state.validators().clone()) };
    let named = TransactionError::OtherEpoch { named: 2, running: 1 };
    assert_eq!(town.try_one(BUYER, ahead, &[1, 2, 3]), Err(named));
    let body = changed(&town, |all| all.truncate(1));
    let refused = Err(TransactionError::Stake { found: 10, whole: 20 });
    assert_eq!(town.try_one(BUYER, body, &[1, 3]), refused, "3 has no stake any more");
    let body = changed(&town, |all| all.push(validator(9, 10)));
    assert_eq!(town.try_one(BUYER, body, &[1, 2]), Err(TransactionError::NoAccount(account(9))));
}

#[test]
fn an_epoch_ends_by_time_with_the_vote_keys_that_were_made_known() {
    let mut town = town();
    let next = key(NEXT_VOTE + 2);
    town.ok(2, Body::VoteKey { epoch: 1, key: next.public() }, &[NEXT_VOTE + 2]);
    assert_eq!(town.state.epoch().number, 0, "a key alone ends no epoch");
    assert_eq!(town.block_at(DAY, Vec::new()), []);
    let voters = town.state.epoch().validators.voters();
    assert_eq!(town.state.epoch().number, 1);
    assert_eq!(header(&town).next_voters, Some(voters.hash()));
    let expected = [vote_key(1), next.clone(), vote_key(3), vote_key(4)].map(|key| key.public());
    assert_eq!(voters.all().iter().map(|voter| voter.key).collect::<Vec<_>>(), expected);
    assert_eq!(town.state.governance().keys.len(), 1, "the same hands keep the auction key");

    // 28 days after its end nothing that was signed in it is punished any more.
    let id = Epoch::id(0);
    town.block_at(Duration::from_millis(28 * 24 * 3_600_000 - 1), Vec::new());
    assert!(matches!(town.state.object(&id), Some((_, Object::Epoch(_)))));
    let body = equivocation(&town, 0, 1, &vote_key(2));
    assert_eq!(town.block_at(Duration::from_millis(1), Vec::new()), []);
    assert_eq!(ended(&town, &id), End::Past);
    assert_eq!(town.try_one(BUYER, body, &[]), Err(TransactionError::NoEpoch(0)));
}

#[test]
fn vote_keys_that_are_refused() {
    let mut town = town();
    let body = |epoch, key: &SigningKey| Body::VoteKey { epoch, key: key.public() };
    let (mine, other) = (key(NEXT_VOTE), key(NEXT_VOTE + 1));
    for named in [0, 2] {
        let refused = town.try_one(1, body(named, &mine), &[NEXT_VOTE]);
        assert_eq!(refused, Err(TransactionError::OtherEpoch { named, running: 1 }));
    }
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let refused = town.try_one(1, Body::VoteKey { epoch: 1, key: weak }, &[]);
    assert_eq!(refused, Err(TransactionError::Key(KeyError::SmallOrder(weak))));
    let refused = town.try_one(1, body(1, &mine), &[]);
    assert_eq!(refused, Err(TransactionError::NotSigned(mine.public())), "somebody else's key");
    let refused = town.try_one(BUYER, body(1, &mine), &[NEXT_VOTE]);
    assert_eq!(refused, Err(TransactionError::NoValidator(account(BUYER))));

    // Keys that vote now, one's own included, and keys that somebody will vote with.
    let used = |key: &SigningKey| TransactionError::VoteKeyUsed(key.public());
    let signed =
        |town: &mut Town, n: u8, vote: &SigningKey| town.transaction(n, body(1, vote)).sign(&[&key(n), vote]);
    for n in [1, 2] {
        let with_current = signed(&mut town, 1, &vote_key(n));
        assert_eq!(town.block(vec![with_current]), [used(&vote_key(n))]);
    }
    town.ok(2, body(1, &other), &[NEXT_VOTE + 1]);
    let taken = signed(&mut town, 1, &other);
    assert_eq!(town.block(vec![taken]), [used(&other)]);
    town.ok(1, body(1, &mine), &[NEXT_VOTE]);
    town.ok(1, body(1, &key(NEXT_VOTE + 9)), &[NEXT_VOTE + 9]);
    let again = signed(&mut town, 1, &key(NEXT_VOTE + 9));
    assert_eq!(town.block(vec![again]), [used(&key(NEXT_VOTE + 9))], "one's own again");

    // A decision on the validators cannot give them to somebody else either.
    for stolen in [&vote_key(1), &other, &key(NEXT_VOTE + 9)] {
        let body = changed(&town, |all| {
            all.remove(0);
            all.push(Validator { vote: stolen.public(), ..validator(NEWCOMER, 10) });
        });
        assert_eq!(town.try_one(BUYER, body, &QUORUM), Err(used(stolen)));
    }
    // Nor later, to the one who voted with it two epochs ago.
    town.block_at(DAY, Vec::new());
    let old = town.transaction(1, body(2, &vote_key(1))).sign(&[&key(1), &vote_key(1)]);
    assert_eq!(town.block(vec![old]), [used(&vote_key(1))]);
    assert_eq!(town.state.validators().at(0).unwrap().vote, key(NEXT_VOTE + 9).public());
    // Nor is a key of a later epoch ever used again. One that was made known, but never voted with, still may be.
    town.ok(1, body(2, &mine), &[NEXT_VOTE]);
    town.block_at(DAY, Vec::new());
    assert_eq!(town.state.validators().at(0).unwrap().vote, mine.public());
    let past = key(NEXT_VOTE + 9);
    let again = town.transaction(1, body(3, &past)).sign(&[&key(1), &past]);
    assert_eq!(town.block(vec![again]), [used(&past)]);
    let newcomers =
        changed(&town, |all| all.push(Validator { vote: past.public(), ..validator(NEWCOMER, 10) }));
    assert_eq!(town.try_one(BUYER, newcomers, &QUORUM), Err(used(&past)));
}

/// Whoever is left out votes with nothing, so the key that it made known is free for another.
#[test]
fn a_decision_forgets_the_next_vote_keys_of_those_it_leaves_out() {
    let mut town = town();
    let next = key(NEXT_VOTE);
    let make_known = |town: &mut Town, n: u8| {
        town.transaction(n, Body::VoteKey { epoch: 1, key: next.public() }).sign(&[&key(n), &next])
    };
    let body = changed(&town, |all| all.truncate(3));
    let leave_out = town.signed(BUYER, body, &QUORUM);
    let block = vec![make_known(&mut town, 4), leave_out, make_known(&mut town, 2)];
    assert_eq!(town.block(block), []);
    let votes = town.state.validators().all().iter().map(|one| one.vote);
    assert_eq!(votes.collect::<Vec<_>>(), [&vote_key(1), &next, &vote_key(3)].map(SigningKey::public));
}

/// Making a key known is free, so it is not endless.
#[test]
fn a_validator_makes_few_vote_keys_known_in_an_epoch() {
    let mut town = town();
    let seed = |at: u8| NEXT_VOTE + at;
    let body = |epoch, at: u8| Body::VoteKey { epoch, key: key(seed(at)).public() };
    for at in 0..Governance::VOTE_KEYS_MAX {
        town.ok(1, body(1, at), &[seed(at)]);
    }
    let (account, most, over) = (account(1), Governance::VOTE_KEYS_MAX, 9);
    let refused = Err(TransactionError::VoteKeys { account, most });
    assert_eq!(town.try_one(1, body(1, over), &[seed(over)]), refused);
    assert_eq!(town.try_one(1, body(1, 0), &[seed(0)]), refused, "one of before");
    let next = &town.state.governance().next_votes;
    assert_eq!(next[..], [NextVote { account, key: key(seed(most - 1)).public(), count: most }]);
    town.ok(2, body(1, over), &[seed(over)]);
    // The next epoch counts anew.
    town.block_at(DAY, Vec::new());
    assert_eq!(town.state.validators().at(0).unwrap().vote, key(seed(most - 1)).public());
    town.ok(1, body(2, over + 1), &[seed(over + 1)]);
}

#[test]
fn stake_beyond_the_genesis_needs_a_bond() {
    let mut town = town_by(Rules { bond: Money::from_micro(100), ..Rules::default() });
    let body = with_newcomer(&town);
    let too_small = |bonded, needed| TransactionError::BondTooSmall { account: account(5), bonded, needed };
    assert_eq!(town.try_one(BUYER, body.clone(), &QUORUM), Err(too_small(0, 1_000)));
    assert_eq!(town.try_one(5, Body::Bond { amount: 0 }, &[]), Err(TransactionError::NotPositive(0)));
    let refused = town.try_one(5, Body::Bond { amount: i64::MAX }, &[]);
    assert!(matches!(refused, Err(TransactionError::Insufficient { needed: i64::MAX, .. })), "{refused:?}");
    town.ok(5, Body::Bond { amount: 999 }, &[]);
    assert_eq!(town.try_one(BUYER, body.clone(), &QUORUM), Err(too_small(999, 1_000)));
    town.ok(5, Body::Bond { amount: 3 }, &[]);
    assert_eq!(town.holding(Journal::Energy, 5), Holding { posted: 100_000_000, held: 1_002 });
    assert_eq!(town.state.totals().pendings_opened, 1, "I4 counts a bond once");
    let absurd = changed(&town, |all| all.push(validator(5, (1 << 60) - 41)));
    assert_eq!(town.try_one(BUYER, absurd, &QUORUM), Err(TransactionError::Overflow(account(5))));
    town.ok(BUYER, body, &QUORUM);

    // What its stake needs stays, also while it only leaves with the next epoch.
    town.ok(5, Body::Unbond { amount: 2 }, &[]);
    assert_eq!(town.try_one(5, Body::Unbond { amount: 1 }, &[]), Err(too_small(999, 1_000)));
    let none = |asked| Err(TransactionError::NoBond { account: account(5), bonded: 1_000, asked });
    assert_eq!(town.try_one(5, Body::Unbond { amount: 1_001 }, &[]), none(1_001));
    assert_eq!(town.try_one(5, Body::Unbond { amount: -1 }, &[]), Err(TransactionError::NotPositive(-1)));
    let missing = TransactionError::NoBond { account: account(BUYER), bonded: 0, asked: 1 };
    assert_eq!(town.try_one(BUYER, Body::Unbond { amount: 1 }, &[]), Err(missing));
    let without = changed(&town, |all| all.truncate(4));
    let leave = town.signed(BUYER, without, &[1, 2, 3, 4]);
    let unbond = town.signed(5, Body::Unbond { amount: 1_000 }, &[]);
    assert_eq!(town.block(vec![leave, unbond]), [too_small(0, 1_000)], "it made this block's epoch");
    town.ok(5, Body::Unbond { amount: 1_000 }, &[]);
    assert_eq!(bond_of(&town, 5).leaving[1], (later(&town, 28 * DAY), 1_000));
    // 28 days later, to the millisecond.
    town.block_at(28 * DAY - Duration::from_millis(1), Vec::new());
    assert_eq!(town.holding(Journal::Energy, 5).held, 1_000, "the first part is free");
    town.block_at(Duration::from_millis(1), Vec::new());
    assert_eq!(town.holding(Journal::Energy, 5), Holding { posted: 100_000_000, held: 0 });
    assert_eq!(town.state.totals().pendings_ended, [0, 1, 0]);
    assert_eq!(bond_of(&town, 5), Bond { owner: account(5), bonded: 0, leaving: vec![], convicted: None });
    town.ok(5, Body::Bond { amount: 5 }, &[]);
    assert_eq!(town.state.totals().pendings_opened, 2);
}

#[test]
fn a_bond_leaves_in_at_most_sixteen_parts_and_by_the_stricter_rules() {
    let mut town = town_by(Rules { bond: Money::from_micro(100), ..Rules::default() });
    town.ok(5, Body::Bond { amount: 2_500 }, &[]);
    let body = with_newcomer(&town);
    town.ok(BUYER, body, &QUORUM);
    let rules = Rules { bond: Money::from_micro(200), ..town.state.governance().rules };
    let upgrade = Body::Upgrade { epoch: 1, rules };
    town.ok(BUYER, upgrade, &[1, 2, 3, 4]);
    let refused = town.try_one(5, Body::Unbond { amount: 501 }, &[]);
    let (account, bonded) = (account(5), 1_999);
    assert_eq!(refused, Err(TransactionError::BondTooSmall { account, bonded, needed: 2_000 }));
    for _ in 0..Bond::LEAVING_MAX {
        town.ok(5, Body::Unbond { amount: 1 }, &[]);
    }
    assert_eq!(town.try_one(5, Body::Unbond { amount: 1 }, &[]), Err(TransactionError::Full));
}

#[test]
fn evidence_that_convicts_nobody() {
    let mut town = town();
    town.ok(4, Body::Bond { amount: 1_000 }, &[]);
    let four = vote_key(4);
    let convict = |epoch, pair| Body::Convict { epoch, evidence: Box::new(Evidence::Votes(pair)) };
    let good = [1, 2].map(|block| vote(&town, 0, 3, block, &four));
    let edit = |change: fn(&mut Vote)| {
        let mut other = good[1].0;
        change(&mut other);
        let signature = other.sign(town.state.zone_id(), 0, &four);
        convict(0, [good[0], (other, signature)])
    };
    let forged = [vote(&town, 0, 3, 1, &four), vote(&town, 0, 3, 2, &vote_key(1))];
    let by_identity = [1, 2].map(|block| vote(&town, 0, 3, block, &key(4)));
    let elsewhere = {
        let mut pair = good;
        for (vote, signature) in &mut pair {
            *signature = vote.sign(&ZoneId([7; 32]), 0, &four);
        }
        pair
    };
    let evidence = |pair| Evidence::Votes(pair);
    assert_eq!((evidence(good).validator(), evidence(good).height()), (3, 3));
    assert!(evidence(good).excludes_itself() && !evidence([good[0], good[0]]).excludes_itself());
    let cases = [
        ("forged", convict(0, forged), 3),
        ("signed with the key of its account", convict(0, by_identity), 3),
        ("the same vote twice", convict(0, [good[0], good[0]]), 3),
        ("another round", edit(|vote| vote.round = 1), 3),
        ("another height", edit(|vote| vote.height = 4), 3),
        ("another kind", edit(|vote| vote.kind = VoteKind::Prevote), 3),
        ("of another epoch", convict(0, [1, 2].map(|block| vote(&town, 1, 3, block, &four))), 3),
        ("of another zone", convict(0, elsewhere), 3),
        ("of another validator", convict(0, [1, 2].map(|block| vote(&town, 0, 2, block, &four))), 2),
        ("of nobody", convict(0, [1, 2].map(|block| vote(&town, 0, 9, block, &four))), 9),
        ("swapped signatures", convict(0, [(good[0].0, good[1].1), (good[1].0, good[0].1)]), 3),
    ];
    for (what, body, validator) in cases {
        let refused = town.try_one(BUYER, body, &[]);
        assert_eq!(refused, Err(TransactionError::NoContradiction { validator, epoch: 0 }), "{what}");
    }
    let ahead = equivocation(&town, 1, 3, &four);
    assert_eq!(town.try_one(BUYER, ahead, &[]), Err(TransactionError::NoEpoch(1)));
    assert_eq!((town.state.epoch().number, bond_of(&town, 4).bonded), (0, 1_000));
}

#[test]
fn a_conviction_burns_the_whole_bond_and_takes_the_seat() {
    let mut town = town();
    town.ok(4, Body::Bond { amount: 1_000 }, &[]);
    town.ok(4, Body::Unbond { amount: 400 }, &[]);
    let evidence = equivocation(&town, 0, 3, &vote_key(4));
    town.ok(BUYER, evidence.clone(), &[]);
    assert_eq!(town.holding(Journal::Energy, 4), Holding { posted: 99_999_000, held: 0 }, "what leaves too");
    assert_eq!(burned(&town), 1_000);
    assert_eq!(town.state.totals().pendings_ended, [1, 0, 0]);
    assert_eq!(town.state.epoch().number, 1);
    assert_eq!(accounts(town.state.validators()), [1, 2, 3].map(account));
    let Some((_, Object::Epoch(past))) = town.state.object(&Epoch::id(0)) else { panic!("it is remembered") };
    assert_eq!(past.convicted, [3]);

    // The same again, in whatever form, and with a new bond in place.
    town.ok(4, Body::Bond { amount: 50 }, &[]);
    let swapped = Evidence::Votes([2, 1].map(|block| vote(&town, 0, 3, block, &vote_key(4))));
    let proposals = Evidence::Proposals([1, 2].map(|block| {
        let (pol_round, block) = (None, BlockId([block; 32]));
        let proposal = Proposal { height: 3, round: 0, pol_round, block, validator: 3 };
        (proposal, proposal.sign(town.state.zone_id(), 0, &vote_key(4)))
    }));
    let again = [swapped, proposals].map(|other| Body::Convict { epoch: 0, evidence: Box::new(other) });
    for body in [evidence].into_iter().chain(again) {
        let refused = town.try_one(BUYER, body, &[]);
        assert_eq!(refused, Err(TransactionError::ConvictedAlready { validator: 3, epoch: 0 }));
    }
    assert_eq!(bond_of(&town, 4).bonded, 50);
    assert_eq!(town.block_at(28 * DAY, Vec::new()), [], "no part of the old bond comes back");
    assert_eq!(town.holding(Journal::Energy, 4).held, 50);
}

/// Whoever has its whole bond back still has its seat to lose.
#[test]
fn a_conviction_takes_the_seat_of_one_whose_bond_is_empty() {
    let mut town = town();
    town.ok(4, Body::Bond { amount: 1_000 }, &[]);
    town.ok(4, Body::Unbond { amount: 1_000 }, &[]);
    town.block_at(28 * DAY, Vec::new());
    assert_eq!((bond_of(&town, 4).held(), town.state.epoch().number), (0, 1));
    let body = equivocation(&town, 1, 3, &vote_key(4));
    town.ok(BUYER, body, &[]);
    assert_eq!(accounts(town.state.validators()), [1, 2, 3].map(account));
    assert_eq!((bond_of(&town, 4).convicted, burned(&town)), (Some(1), 0));
    assert_eq!(town.state.totals().pendings_ended, [0, 1, 0], "I4 it had ended before");
}

#[test]
fn two_proposals_for_one_round_convict_too_and_late() {
    let mut town = town();
    let proposals = |town: &Town, blocks: [u8; 2]| {
        let pair = blocks.map(|block| {
            let (pol_round, block) = (None, BlockId([block; 32]));
            let proposal = Proposal { height: 2, round: 1, pol_round, block, validator: 0 };
            (proposal, proposal.sign(town.state.zone_id(), 0, &vote_key(1)))
        });
        Body::Convict { epoch: 0, evidence: Box::new(Evidence::Proposals(pair)) }
    };
    let same = proposals(&town, [1, 1]);
    let Body::Convict { evidence, .. } = &same else { panic!("{same:?}") };
    assert_eq!((evidence.validator(), evidence.height()), (0, 2));
    let none = TransactionError::NoContradiction { validator: 0, epoch: 0 };
    assert_eq!(town.try_one(BUYER, same, &[]), Err(none));
    let body = proposals(&town, [1, 2]);
    town.block_at(DAY, Vec::new());
    town.block_at(27 * DAY, Vec::new());
    assert_eq!(town.state.epoch().number, 2);
    town.ok(BUYER, body, &[]);
    assert_eq!(accounts(town.state.validators()), [2, 3, 4].map(account), "it sits no more, epochs later");
    assert_eq!(town.state.epoch().number, 3);
}

#[test]
fn who_was_convicted_comes_back_with_a_bond_for_all_its_stake_and_a_new_vote_key() {
    let mut town = town_by(Rules { bond: Money::from_micro(100), ..Rules::default() });
    let evidence = equivocation(&town, 0, 3, &vote_key(4));
    // In one block: the conviction, and the word of a quorum that had not heard of it.
    let stays = changed(&town, |all| all[0].stake = 9);
    let convict = town.signed(BUYER, evidence, &[]);
    let stays = town.signed(BUYER, stays, &[1, 2, 3]);
    let too_small = TransactionError::BondTooSmall { account: account(4), bonded: 0, needed: 1_000 };
    assert_eq!(town.block(vec![convict, stays]), vec![too_small.clone()]);
    assert_eq!(accounts(town.state.validators()), [1, 2, 3].map(account));

    let back =
        |town: &Town, vote: PublicKey| changed(town, |all| all.push(Validator { vote, ..validator(4, 10) }));
    let body = back(&town, key(NEXT_VOTE).public());
    assert_eq!(town.try_one(BUYER, body, &QUORUM), Err(too_small), "the gift of the genesis is forfeit");
    town.ok(4, Body::Bond { amount: 1_000 }, &[]);
    let body = back(&town, vote_key(4).public());
    assert_eq!(
        town.try_one(BUYER, body, &QUORUM),
        Err(TransactionError::VoteKeyUsed(vote_key(4).public())),
        "never again with the key that contradicted itself"
    );
    let body = back(&town, key(NEXT_VOTE).public());
    town.ok(BUYER, body, &QUORUM);
    assert_eq!(accounts(town.state.validators()), [1, 2, 3, 4].map(account));
    let refused = town.try_one(4, Body::Unbond { amount: 1 }, &[]);
    assert!(matches!(refused, Err(TransactionError::BondTooSmall { needed: 1_000, .. })), "{refused:?}");
}

#[test]
fn without_bonds_a_conviction_still_spoils_the_vote_key_at_once() {
    let mut town = town();
    let stays = changed(&town, |all| all[0].stake = 9);
    let new_key = changed(&town, |all| all[3].vote = key(NEXT_VOTE).public());
    let convict = town.signed(BUYER, equivocation(&town, 0, 3, &vote_key(4)), &[]);
    let stays = town.signed(BUYER, stays, &QUORUM);
    let new_key = town.signed(BUYER, new_key, &QUORUM);
    let used = TransactionError::VoteKeyUsed(vote_key(4).public());
    assert_eq!(town.block(vec![convict, stays, new_key]), [used]);
    assert_eq!(town.state.validators().at(3).unwrap().vote, key(NEXT_VOTE).public());
}

#[test]
fn the_only_validator_keeps_its_seat() {
    let alone = ValidatorSet::new(vec![validator(1, 10)]).unwrap();
    let mut town = Town::in_zone(Zone { validators: alone, ..zone() });
    town.ok(TREASURERS[0], issue(1, 1_000), &TREASURERS);
    town.ok(1, Body::Bond { amount: 1_000 }, &[]);
    let body = equivocation(&town, 0, 0, &vote_key(1));
    town.ok(BUYER, body, &[]);
    assert_eq!((burned(&town), town.state.epoch().number), (1_000, 0));
    assert_eq!(accounts(town.state.validators()), [account(1)]);
    assert_eq!(bond_of(&town, 1).convicted, Some(0));
}

#[test]
fn rules_change_with_the_next_epoch() {
    let mut town = town();
    let rules = Rules { fee: Money::from_micro(10), epoch_ms: 60_000, ..Rules::default() };
    let upgrade = |rules, epoch| Body::Upgrade { epoch, rules };
    let few = Err(TransactionError::Stake { found: 20, whole: 40 });
    assert_eq!(town.try_one(BUYER, upgrade(rules, 0), &[1, 2]), few);
    let named = Err(TransactionError::OtherEpoch { named: 1, running: 0 });
    assert_eq!(town.try_one(BUYER, upgrade(rules, 1), &QUORUM), named);
    for bad in [
        Rules { fee: Money::from_micro(-1), ..rules },
        Rules { fee: Money::from_micro(1_000_001), ..rules },
        Rules { epoch_ms: 9_999, ..rules },
        Rules { epoch_ms: 604_800_001, ..rules },
        Rules { bond: Money::from_micro(-1), ..rules },
        Rules { version: 0, ..rules },
    ] {
        let refused = town.try_one(BUYER, upgrade(bad, 0), &QUORUM);
        assert!(matches!(refused, Err(TransactionError::Rules(_))), "{bad:?}: {refused:?}");
    }
    for epoch_ms in [10_000, 604_800_000] {
        let rules = Rules { epoch_ms, ..rules };
        town.ok(BUYER, upgrade(rules, 0), &QUORUM);
        assert_eq!(town.state.governance().next_rules, Some(rules), "ten seconds, a week");
    }
    town.ok(BUYER, upgrade(rules, 0), &QUORUM);
    town.ok(BUYER, pay(BUYER, SELLER, 5), &[]);
    assert_eq!((burned(&town), town.state.governance().rules), (0, Rules::default()), "not yet");
    town.block_at(DAY, Vec::new());
    assert_eq!(town.state.governance().rules, rules);
    town.ok(BUYER, pay(BUYER, SELLER, 5), &[]);
    assert_eq!(burned(&town), 20, "one leg, one signature");
    town.block_at(Duration::from_secs(60), Vec::new());
    assert_eq!(town.state.epoch().number, 2);
}

#[test]
fn a_program_that_does_not_know_the_rules_stops() {
    let mut town = town();
    let rules = Rules { version: Rules::VERSION + 1, ..Rules::default() };
    town.ok(BUYER, Body::Upgrade { epoch: 0, rules }, &QUORUM);
    assert_eq!(town.state.known_rules(), Ok(()));
    town.block_at(DAY, Vec::new());
    let unknown = town.state.known_rules();
    assert!(matches!(unknown, Err(LedgerError::Rules { .. })), "{unknown:?}");
    let block = town.state.propose(later(&town, DAY), 0, []).block;
    assert_eq!(town.follower.execute(&block, &[]).map(|_| ()), unknown);
}

#[test]
fn tariffs_hold_from_their_time_on_and_holds_keep_theirs() {
    let mut town = town();
    let tariff = |micro, from| Body::SetTariff { price: Price::from_micro_per_kwh(micro), from };
    let from = later(&town, DAY + Duration::from_secs(60));
    let stranger = Err(TransactionError::NotTheDistributor(account(SELLER)));
    assert_eq!(town.try_one(SELLER, tariff(90_000, from), &[DISTRIBUTOR]), stranger);
    let negative = Err(TransactionError::NotPositive(-1));
    assert_eq!(town.try_one(DISTRIBUTOR, tariff(-1, from), &[]), negative);
    let soon = later(&town, DAY);
    let refused = town.try_one(DISTRIBUTOR, tariff(90_000, soon), &[]);
    let earliest = later(&town, DAY);
    assert_eq!(refused, Err(TransactionError::Notice { from: soon, earliest }), "a second too early");
    town.ok(DISTRIBUTOR, tariff(90_000, from), &[]);
    let refused = town.try_one(DISTRIBUTOR, tariff(70_000, later(&town, 3 * DAY)), &[]);
    assert!(matches!(refused, Err(TransactionError::Notice { .. })), "one to come is enough: {refused:?}");

    let hold = |town: &Town| {
        let (price, energy) = (Price::from_micro_per_kwh(89_999), Energy::from_wh(10_000));
        Body::PendSale { evse: evse(), price, energy, timeout: later(town, 3 * DAY) }
    };
    let before = from.since(town.now).unwrap();
    town.block_at(before - Duration::from_secs(1) - Duration::from_millis(1), Vec::new());
    let body = hold(&town);
    let signed = town.signed(BUYER, body, &[]);
    let pending = signed.transaction.pending_id();
    assert_eq!(town.block(vec![signed]), []);
    assert_eq!(town.state.governance().tariff(town.now).version, 0, "a millisecond before");
    let body = hold(&town);
    let below = TransactionError::BelowTariff { price: 89_999, tariff: 90_000 };
    let signed = town.signed(BUYER, body, &[]);
    // In the very block with whose time it begins, the next may be decided. A tariff may be nothing at all.
    let free = tariff(0, later(&town, 3 * DAY));
    let next = town.signed(DISTRIBUTOR, free, &[]);
    assert_eq!(town.block_at(Duration::from_millis(1), vec![signed, next]), [below]);
    assert_eq!(town.state.governance().tariff(town.now).version, 1);
    let body = town.post_sale(pending, 10_000);
    town.ok(SELLER, body, &[METER]);
    assert_eq!(town.holding(Journal::Grid, DISTRIBUTOR).posted, 800_000, "by the tariff of the hold");
    let tariffs = town.state.governance().tariffs.iter();
    let decided = tariffs.map(|tariff| (tariff.version, tariff.price.as_micro_per_kwh()));
    assert_eq!(decided.collect::<Vec<_>>(), [(1, 90_000), (2, 0)]);
}

#[test]
fn the_regulators_cap_prices_and_name_the_audit_key() {
    let mut town = town();
    let cap_of =
        |micro: Option<i64>, from| Body::SetPriceCap { cap: micro.map(Price::from_micro_per_kwh), from };
    let from = later(&town, DAY + Duration::from_secs(60));
    let few = Err(TransactionError::Regulators { found: 1, needed: 2 });
    assert_eq!(town.try_one(BUYER, cap_of(Some(400_000), from), &REGULATORS[..1]), few);
    let twice = town.transaction(BUYER, cap_of(Some(400_000), from));
    let twice = twice.sign(&[&key(BUYER), &key(REGULATORS[0]), &key(REGULATORS[0])]);
    assert_eq!(town.block(vec![twice]), [TransactionError::Regulators { found: 1, needed: 2 }]);
    let zero = Err(TransactionError::NotPositive(0));
    assert_eq!(town.try_one(BUYER, cap_of(Some(0), from), &REGULATORS), zero);
    let soon = later(&town, DAY);
    let refused = town.try_one(BUYER, cap_of(Some(400_000), soon), &REGULATORS);
    assert!(matches!(refused, Err(TransactionError::Notice { .. })), "{refused:?}");
    town.ok(BUYER, cap_of(Some(400_000), from), &REGULATORS[1..]);
    let refused = town.try_one(BUYER, cap_of(None, later(&town, 2 * DAY)), &REGULATORS);
    assert!(matches!(refused, Err(TransactionError::Notice { .. })), "{refused:?}");

    let sale = |town: &Town, micro| {
        let (price, energy) = (Price::from_micro_per_kwh(micro), Energy::from_wh(1_000));
        Body::PendSale { evse: evse(), price, energy, timeout: later(town, DAY) }
    };
    let body = sale(&town, 400_001);
    town.ok(BUYER, body, &[]);
    town.block_at(DAY + Duration::from_secs(60), Vec::new());
    let above = Err(TransactionError::AboveCap { price: 400_001, cap: 400_000 });
    let body = sale(&town, 400_001);
    assert_eq!(town.try_one(BUYER, body, &[]), above);
    let body = sale(&town, 400_000);
    town.ok(BUYER, body, &[]);
    town.ok(BUYER, cap_of(None, later(&town, 2 * DAY)), &REGULATORS);
    town.block_at(2 * DAY, Vec::new());
    let body = sale(&town, 400_001);
    town.ok(BUYER, body, &[]);

    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let audit = |key| Body::SetAuditKey { key };
    assert_eq!(town.try_one(BUYER, audit(None), &REGULATORS[..1]), few);
    let refused = town.try_one(BUYER, audit(Some(weak)), &REGULATORS);
    assert_eq!(refused, Err(TransactionError::Key(KeyError::SmallOrder(weak))));
    town.ok(BUYER, audit(Some(key(43).public())), &REGULATORS);
    assert_eq!(town.state.governance().audit_key, Some(key(43).public()));
    town.ok(BUYER, audit(None), &REGULATORS);
    assert_eq!(town.state.governance().audit_key, None);

    let mut free = Town::in_zone(Zone { regulators: None, ..zone() });
    let nobody = Err(TransactionError::Regulators { found: 0, needed: 0 });
    assert_eq!(free.try_one(BUYER, audit(None), &REGULATORS), nobody, "a zone without regulators");
}

#[test]
fn the_distributor_names_circuits_and_sales_carry_them() {
    let mut town = town();
    let circuit = |number| Body::SetCircuit { station: station(), circuit: number };
    let stranger = Err(TransactionError::NotTheDistributor(account(SELLER)));
    assert_eq!(town.try_one(SELLER, circuit(Some(7)), &[]), stranger);
    let nowhere = StationId::of(&account(SELLER), 2);
    let body = Body::SetCircuit { station: nowhere, circuit: None };
    assert_eq!(town.try_one(DISTRIBUTOR, body, &[]), Err(TransactionError::NoStation(nowhere)));
    town.ok(DISTRIBUTOR, circuit(Some(7)), &[]);
    let register = |name: &str, lat| {
        let position = Position::from_e7(lat, 134_050_000).unwrap();
        Body::RegisterStation { number: 1, name: name.into(), position, award_key: Hash([9; 32]) }
    };
    town.ok(SELLER, register("Renamed", 525_200_000), &[]);

    let sell = |town: &mut Town, wh| {
        let (price, energy) = (Price::from_micro_per_kwh(390_000), Energy::from_wh(10_000));
        let body = Body::PendSale { evse: evse(), price, energy, timeout: later(town, DAY) };
        let signed = town.signed(BUYER, body, &[]);
        let pending = signed.transaction.pending_id();
        assert_eq!(town.block(vec![signed]), []);
        let body = town.post_sale(pending, wh);
        town.ok(SELLER, body, &[METER]);
        pending
    };
    let id = sell(&mut town, 10_000);
    let record = SaleRecord {
        id,
        evse: evse(),
        station: station(),
        circuit: Some(7),
        seller: account(SELLER),
        energy: Energy::from_wh(10_000),
        price: Money::from_micro(3_900_000),
        grid: Money::from_micro(800_000),
        started: None,
        at: town.now,
    };
    assert_eq!(town.sales, [record]);
    sell(&mut town, 0);
    assert_eq!(town.sales.len(), 1, "nothing was sold");
    town.ok(SELLER, register("Moved", 525_300_000), &[]);
    sell(&mut town, 1);
    assert_eq!(town.sales[1].circuit, None, "another place may hang on another circuit");
}

/// A town in which a unit of weight costs this many micro-units from now on.
fn town_with_fee(micro: i64) -> Town {
    let mut town = town();
    let rules = Rules { fee: Money::from_micro(micro), ..Rules::default() };
    town.ok(BUYER, Body::Upgrade { epoch: 0, rules }, &QUORUM);
    town.block_at(DAY, Vec::new());
    town
}

#[test]
fn every_transaction_is_paid_for_or_named_as_free() {
    let mut town = town_with_fee(1_000);
    let posted = |town: &Town, who| town.holding(Journal::Energy, who).posted;
    town.ok(BUYER, pay(BUYER, SELLER, 5), &[]);
    assert_eq!((posted(&town, BUYER), burned(&town)), (100_000_000 - 5 - 2_000, 2_000));
    // One that fails costs nothing: it is in no block.
    let before = posted(&town, BUYER);
    let refused = town.try_one(BUYER, pay(BUYER, SELLER, before), &[]);
    assert!(matches!(refused, Err(TransactionError::Insufficient { .. })), "{refused:?}");
    assert_eq!((posted(&town, BUYER), burned(&town)), (before, 2_000));
    // More signatures cost more.
    let idle = town.signed(BUYER, pay(BUYER, SELLER, 1), &[1, 2, 3]);
    assert_eq!(town.block(vec![idle]), []);
    assert_eq!(burned(&town), 7_000);

    // Nobody pays with what is held, or with nothing; a hold pays for its own end.
    let timeout = later(&town, DAY);
    let all = posted(&town, BUYER) - 7_000;
    let (to, asset) = (account(SELLER), Asset::Currency);
    town.ok(BUYER, Body::Pend { to, asset, amount: all, timeout }, &[]);
    let refused = town.try_one(BUYER, pay(BUYER, SELLER, 1), &[]);
    assert_eq!(refused, Err(TransactionError::Fee { account: account(BUYER), available: 0, fee: 2_000 }));
    // An account is opened for nothing, the first money is issued for nothing, and then it pays.
    town.ok(99, Body::OpenAccount { owner: key(99).public() }, &[]);
    let refused = town.try_one(99, pay(99, SELLER, 1), &[]);
    assert_eq!(refused, Err(TransactionError::Fee { account: account(99), available: 0, fee: 2_000 }));
    town.ok(99, issue(99, 2_001), &TREASURERS);
    town.ok(99, pay(99, SELLER, 1), &[]);
    assert_eq!(posted(&town, 99), 0);
}

#[test]
fn an_account_is_opened_at_somebody_elses_cost_with_its_owners_word() {
    let mut town = town_with_fee(1_000);
    let open = |n| Body::OpenAccountFor { owner: key(n).public() };
    assert_eq!(town.try_one(SELLER, open(99), &[]), Err(TransactionError::NotSigned(key(99).public())));
    let exists = Err(TransactionError::AccountExists(account(BUYER)));
    assert_eq!(town.try_one(SELLER, open(BUYER), &[BUYER]), exists);
    let nobody = Err(TransactionError::NoAccount(account(98)));
    assert_eq!(town.try_one(98, open(98), &[]), nobody, "not a way around the quota");
    let mut identity = [0; 32];
    identity[0] = 1;
    let weak = PublicKey::from_bytes(identity);
    let mut signed = town.signed(SELLER, Body::OpenAccountFor { owner: weak }, &[]);
    identity[0] = 1;
    let signature = [&identity[..], &[0; 32]].concat().try_into().unwrap();
    signed.signatures.push(KeySignature { key: weak, signature: Signature::from_bytes(signature) });
    assert_eq!(town.block(vec![signed]), [TransactionError::Key(KeyError::SmallOrder(weak))]);
    town.ok(SELLER, open(99), &[99]);
    assert!(town.state.account(&account(99)).is_some());
    assert_eq!(town.holding(Journal::Energy, SELLER).posted, 100_000_000 - 4_000);
}

/// A block that a proposer has built without asking what it may hold.
fn byzantine(town: &Town, transactions: Vec<SignedTransaction>) -> Result<(), LedgerError> {
    let mut block = town.state.propose(later(town, Duration::from_secs(1)), 0, []).block;
    block.transactions = transactions;
    block.header.transactions = transactions_root(&block.transactions);
    block.header.transaction_count = u32::try_from(block.transactions.len()).unwrap();
    let (block, verified) = open_block(&town.follower, &block.encode())?;
    town.follower.execute(&block, &verified).map(|_| ())
}

#[test]
fn a_block_opens_so_many_accounts_for_nothing_and_the_others_wait() {
    let mut town = town_with_fee(1);
    let opens: Vec<SignedTransaction> = (100..=165)
        .map(|n| {
            let mut open = town.transaction(n, Body::OpenAccount { owner: key(n).public() });
            open.sender = account(n);
            open.sign(&[&key(n)])
        })
        .collect();
    let (id, reason) = (opens[64].transaction.id(), TransactionError::FreeAccounts);
    assert_eq!(byzantine(&town, opens.clone()), Err(LedgerError::Transaction { id, reason }));
    assert_eq!(town.block(opens.clone()), [], "those that have no room are not refused");
    let open = |town: &Town| (100..=165).filter(|n| town.state.account(&account(*n)).is_some()).count();
    assert_eq!(open(&town), 64);
    assert_eq!(town.block(opens[64..].to_vec()), []);
    assert_eq!(open(&town), 66);
}

#[test]
fn a_block_weighs_so_much_and_the_rest_waits() {
    let mut town = town();
    let (journal, asset, from, to) = (Journal::Energy, Asset::Currency, account(BUYER), account(SELLER));
    let legs = vec![Leg::Move { journal, asset, from, to, amount: 1 }; 16];
    let heavy: Vec<SignedTransaction> =
        (0..1_180).map(|_| town.signed(BUYER, Body::Transfer { legs: legs.clone() }, &[])).collect();
    assert_eq!(heavy[0].weight(), 17);
    let fit = usize::try_from(Block::WEIGHT_MAX / 17).unwrap();
    let refused = byzantine(&town, heavy.clone());
    assert!(matches!(refused, Err(LedgerError::Block { .. })), "before a signature is checked: {refused:?}");
    assert_eq!(town.block(heavy.clone()), []);
    let moved = |town: &Town| 100_000_000 - town.holding(Journal::Energy, BUYER).posted;
    assert_eq!(moved(&town), 16 * i64::try_from(fit).unwrap());
    assert_eq!(town.block(heavy[fit..].to_vec()), []);
    assert_eq!(moved(&town), 16 * 1_180);
    // To the last unit.
    let last = town.signed(BUYER, Body::Transfer { legs: legs[..7].to_vec() }, &[]);
    let mut exact: Vec<SignedTransaction> =
        (0..1_176).map(|_| town.signed(BUYER, Body::Transfer { legs: legs.clone() }, &[])).collect();
    exact.push(last);
    assert_eq!(exact.iter().map(SignedTransaction::weight).sum::<u32>(), 20_000);
    assert_eq!(town.block(exact), []);
    assert_eq!(moved(&town), 16 * 1_180 + 16 * 1_176 + 7, "all of it in one block");
    // No transfer that is short enough to be a transaction is too heavy for an empty block.
    let shortest_leg = Leg::Cross { asset, account: from, from: journal, amount: 1 };
    let most_legs = Transaction::MAX_BYTES / to_postcard(&shortest_leg).len();
    assert!(most_legs + 33 < usize::try_from(Block::WEIGHT_MAX).unwrap());
}

/// An outcome that nobody honest makes: it can be read and is rightly signed, but goes on as long as it likes.
fn outcome(town: &mut Town, differences: usize, signers: &[u8]) -> SignedTransaction {
    // The generator (RFC 9496, A.1); the body and the decision "nobody is eligible" by their tags; no proof.
    let point = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76".parse::<Hash>().unwrap();
    let (tag, auction, nobody, proof) = (19u32, Hash([7; 32]), 2u32, [Hash::ZERO; 3]);
    let body = (tag, auction, nobody, vec![point; differences], proof, Vec::<u8>::new());
    let head = town.transaction(BUYER, pay(BUYER, SELLER, 1));
    let head = (head.zone, head.sender, head.number, head.valid_until);
    let bytes = append_postcard(vec![Transaction::VERSION], &(head, body));
    let transaction = Transaction::decode(&bytes).unwrap();
    assert!(matches!(transaction.body, Body::AuctionOutcome(_)));
    let keys: Vec<SigningKey> = signers.iter().map(|n| key(*n)).collect();
    transaction.sign(&keys.iter().collect::<Vec<_>>())
}

#[test]
fn what_is_too_heavy_for_any_block_is_refused_and_holds_up_nobody() {
    let mut town = town();
    let heavy = outcome(&mut town, 5_000, &[BUYER]);
    let weighs = |left| TransactionError::Weight { weight: 30_125, left };
    assert_eq!(heavy.weight(), 30_125);
    let verified = Verified::one(town.state.zone_id(), heavy.clone()).unwrap();
    let tried = town.state.try_transaction(later(&town, Duration::from_secs(1)), &verified);
    assert_eq!(tried, Err(weighs(20_000)), "before it comes to wait for a block");
    let refused = byzantine(&town, vec![heavy.clone()]);
    let reason = "its transactions weigh 30125, at most 20000 are allowed".to_owned();
    let height = town.state.head().height + 1;
    assert_eq!(refused, Err(LedgerError::Block { height, reason }));
    let moved = |town: &Town| 100_000_000 - town.holding(Journal::Energy, BUYER).posted;
    let [before, after] = [1, 2].map(|amount| town.signed(BUYER, pay(BUYER, SELLER, amount), &[]));
    assert_eq!(town.block(vec![before, heavy.clone(), after]), [weighs(19_998)]);
    assert_eq!(moved(&town), 3);
    assert_eq!(town.block(vec![heavy]), [weighs(20_000)]);

    // One that has room in a block of its own waits for it, and is told there what is wrong with it.
    let whole = outcome(&mut town, 3_312, &[BUYER, 1, 2, 3]);
    assert_eq!(whole.weight(), 20_000);
    let [before, after] = [10, 20].map(|amount| town.signed(BUYER, pay(BUYER, SELLER, amount), &[]));
    assert_eq!(town.block(vec![before, whole.clone(), after.clone()]), []);
    assert_eq!(moved(&town), 13, "what comes after it waits too");
    assert_eq!(town.block(vec![whole, after]), [TransactionError::NoAuction(AuctionId([7; 32]))]);
    assert_eq!(moved(&town), 33);
}

/// Decisions on 32 validators with the longest names and addresses are the longest transactions for their weight.
#[test]
fn a_block_has_so_many_bytes_and_the_rest_waits() {
    let mut town = town();
    let newcomers: Vec<u8> = (100..128).collect();
    for n in &newcomers {
        town.ok(*n, Body::OpenAccount { owner: key(*n).public() }, &[]);
    }
    let decision = |town: &Town, first_address: usize| {
        changed(town, |all| {
            all.extend(
                newcomers.iter().map(|n| Validator { vote: key(n - 50).public(), ..validator(1, 10) }),
            );
            for (validator, n) in all.iter_mut().zip([1, 2, 3, 4].iter().chain(&newcomers)) {
                validator.key = key(*n).public();
                (validator.name, validator.address) = (format!("{n:064}"), "a".repeat(128));
            }
            all[0].address.truncate(first_address);
        })
    };
    let body = decision(&town, 128);
    let decisions: Vec<SignedTransaction> =
        (0..600).map(|_| town.signed(BUYER, body.clone(), &QUORUM)).collect();
    let sizes: Vec<usize> = decisions.iter().map(|signed| signed.encode().len()).collect();
    assert!(decisions.iter().map(SignedTransaction::weight).sum::<u32>() < Block::WEIGHT_MAX);
    let candidates = Verified::all(town.state.zone_id(), decisions).unwrap();
    let Proposed { block, bytes, refused, .. } =
        town.state.propose(later(&town, Duration::from_secs(1)), 0, &candidates);
    let fit = block.transactions.len();
    assert_eq!(refused, []);
    assert!(bytes.len() <= Block::MAX_BYTES && fit < 600, "{fit} in {} bytes", bytes.len());
    let with_one_more = sizes[..=fit].iter().sum::<usize>() + Header::MAX_BYTES;
    assert!(with_one_more > Block::MAX_BYTES, "and no fewer than have room");

    // To the last byte of 4 MiB, of which 640 are the header's: decisions that need all of it together.
    let body = decision(&town, 0);
    let shortest = town.signed(BUYER, body, &QUORUM).encode().len();
    let (many, rest) = (4_193_664 / shortest, 4_193_664 % shortest);
    let exact: Vec<SignedTransaction> = (0..many)
        .map(|at| {
            let body = decision(&town, rest / many + usize::from(at < rest % many));
            town.signed(BUYER, body, &QUORUM)
        })
        .collect();
    assert_eq!(exact.iter().map(|signed| signed.encode().len()).sum::<usize>(), 4_193_664);
    let candidates = Verified::all(town.state.zone_id(), exact).unwrap();
    let Proposed { block, bytes, .. } =
        town.state.propose(later(&town, Duration::from_secs(1)), 0, &candidates);
    assert_eq!((block.transactions.len(), bytes.len() <= Block::MAX_BYTES), (many, true));
}

#[derive(Clone, Debug)]
enum Act {
    VoteKey(u8, u8),
    SetValidators(Vec<(u8, u64, Option<u8>)>),
    Convict(u8),
    Bond(u8, i64),
    Unbond(u8, i64),
    Next(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 1u8..=5;
    let listed = (who(), 1u64..20, proptest::option::weighted(0.5, 0u8..8));
    prop_oneof![
        3 => (who(), 0u8..8).prop_map(|(n, vote)| Act::VoteKey(n, vote)),
        2 => proptest::collection::vec(listed, 1..5).prop_map(Act::SetValidators),
        1 => who().prop_map(Act::Convict),
        1 => (who(), 1i64..3_000).prop_map(|(n, amount)| Act::Bond(n, amount)),
        1 => (who(), 1i64..3_000).prop_map(|(n, amount)| Act::Unbond(n, amount)),
        2 => prop_oneof![Just(1u64), Just(60_000), Just(28 * 24 * 3_600_000)].prop_map(Act::Next),
    ]
}

/// The keys with which anybody has ever voted.
fn vote_secrets() -> Vec<SigningKey> {
    (1..=5).map(vote_key).chain((0..8).map(|n| key(NEXT_VOTE + n))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is decided in whatever order, several times in one block: the next epoch has validators, nobody votes with
    /// another's key, and those with a seat have their bond.
    #[test]
    fn decisions_in_any_order(acts in proptest::collection::vec(act(), 1..40)) {
        let rules = Rules { epoch_ms: 60_000, bond: Money::from_micro(50), ..Rules::default() };
        let mut town = town_by(rules);
        let mut waiting = Vec::new();
        let mut voted: Vec<(PublicKey, AccountId)> = Vec::new();
        for act in acts {
            let epoch = town.state.epoch().number;
            let signed = match act {
                Act::VoteKey(n, vote) => {
                    let vote = NEXT_VOTE + vote;
                    town.signed(n, Body::VoteKey { epoch: epoch + 1, key: key(vote).public() }, &[vote])
                }
                Act::SetValidators(list) => {
                    let list = list.into_iter().map(|(n, stake, vote)| match vote {
                        Some(vote) => Validator { vote: key(NEXT_VOTE + vote).public(), ..validator(n, stake) },
                        None => validator(n, stake),
                    });
                    let Ok(set) = ValidatorSet::new(list.collect()) else { continue };
                    let body = Body::SetValidators { epoch, validators: Box::new(set) };
                    town.signed(BUYER, body, &[1, 2, 3, 4, 5])
                }
                Act::Convict(n) => {
                    let validators = town.state.validators();
                    let Some(index) = validators.index_of(&key(n).public()) else { continue };
                    let vote = validators.at(index).unwrap().vote;
                    let secret = vote_secrets().into_iter().find(|key| key.public() == vote).unwrap();
                    let body = equivocation(&town, epoch, index, &secret);
                    town.signed(BUYER, body, &[])
                }
                Act::Bond(n, amount) => town.signed(n, Body::Bond { amount }, &[]),
                Act::Unbond(n, amount) => town.signed(n, Body::Unbond { amount }, &[]),
                Act::Next(ms) => {
                    town.block_at(Duration::from_millis(ms), std::mem::take(&mut waiting));
                    for one in town.state.validators().all() {
                        let before = voted.iter().find(|(vote, _)| *vote == one.vote);
                        prop_assert!(before.is_none_or(|(_, who)| *who == one.account()), "another's vote key");
                        voted.push((one.vote, one.account()));
                        let bond = town.state.object(&Bond::id(&one.account()));
                        let (bonded, convicted) = match bond {
                            Some((_, Object::Bond(bond))) => (bond.bonded, bond.convicted.is_some()),
                            _ => (0, false),
                        };
                        let given = if one.account() == account(5) { 0 } else { 10 };
                        let owed = one.stake.saturating_sub(given);
                        let needed = i64::try_from(owed).unwrap() * 50;
                        prop_assert!(convicted || bonded >= needed, "{} has {bonded} of {needed}", one.name);
                    }
                    continue;
                }
            };
            waiting.push(signed);
        }
        town.block(waiting);
    }
}
