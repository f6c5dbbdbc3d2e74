//! What an agent does for those who ask it, for its disk and for its zone, and what they can make it do.

#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "the tests of recovery share it, and use more of it")]
#[path = "recovery/world.rs"]
mod world;

use ohmesh_committee::{Body as Said, Message};
use ohmesh_ledger::{Answer, Block, Body, Object, Query, SignedTransaction, Transaction, Vote, VoteKind};
use ohmesh_units::{AccountId, Canonical, PublicKey, SigningKey, Timestamp};
use station_agent::{
    agent::{Asker, Effect, Event, Keep, Mempool},
    disk::Disk,
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::{sync::atomic::Ordering, time::Duration};
use world::{World, key};

/// A snapshot, and a new part of the block log, every five blocks; every block is kept.
const LONG: Keep = Keep { snapshot_blocks: 5, blocks_for: Duration::from_secs(1 << 30) };
/// No snapshots.
const WHOLE: Keep = Keep { snapshot_blocks: 0, ..LONG };

fn now(world: &World) -> Timestamp {
    Timestamp::from_millis(world.now_ms)
}

fn asker() -> Asker {
    Asker { key: key(99).public(), exporter: [0; 32] }
}

fn ask(world: &mut World, n: usize, query: Query) -> (Answer, Vec<Effect>) {
    let now = now(world);
    world.agents[n].as_mut().unwrap().answer(now, asker(), query).unwrap()
}

fn sign(world: &World, number: u128, body: Body, keys: &[&SigningKey]) -> SignedTransaction {
    let transaction = Transaction {
        zone: world.zone.id(),
        sender: AccountId::of(&keys[0].public()),
        number,
        valid_until: now(world).checked_add(Duration::from_secs(3600)).unwrap(),
        body,
    };
    transaction.sign(keys)
}

fn open_account(world: &World, number: u128, n: usize) -> SignedTransaction {
    sign(world, number, Body::OpenAccount { owner: key(n).public() }, &[&key(n)])
}

/// How often agent 0 makes something durable for each of three blocks in the first half of an epoch, in which nothing but
/// blocks is made.
fn syncs_of_three_blocks(size: usize) -> u64 {
    let mut world = World::new(size, WHOLE);
    world.run(|world| world.epoch(0) == 1);
    let height = world.height(0) + 1;
    world.reach(0, height);
    (50..60).for_each(|n| world.open_account(n));
    let before = world.disks[0].syncs.load(Ordering::Relaxed);
    world.reach(0, height + 3);
    world.check_roots();
    world.disks[0].syncs.load(Ordering::Relaxed) - before
}

#[test]
fn an_only_validator_syncs_once_a_block() {
    assert_eq!(syncs_of_three_blocks(1), 3);
}

#[test]
fn one_of_four_syncs_each_vote_and_the_decision() {
    let syncs = syncs_of_three_blocks(4);
    assert!(syncs <= 3 * 3, "{syncs} for three blocks");
}

#[test]
fn whoever_asks_for_an_old_block_makes_the_agent_read_that_block_and_no_more() {
    let mut world = World::new(1, LONG);
    (50..70).for_each(|n| world.open_account(n));
    world.reach(0, 23);
    world.kill(0);
    world.start(0);
    for from in [1, 3, 7, 20, 22] {
        world.disks[0].read.store(0, Ordering::Relaxed);
        let (Answer::Blocks(blocks), _) = ask(&mut world, 0, Query::Blocks { from }) else { panic!() };
        let heights: Vec<u64> = blocks.iter().map(|(_, certificate)| certificate.height).collect();
        assert_eq!(heights, (from..=world.height(0)).collect::<Vec<_>>());
        // A frame's length and check, two records' lengths, and a line of the index.
        let each = |(bytes, certificate): &(Vec<u8>, ohmesh_ledger::Certificate)| {
            bytes.len() + certificate.encode().len() + 36 + 8 + 12
        };
        let most: usize = blocks.iter().map(each).sum();
        let read = world.disks[0].read.load(Ordering::Relaxed);
        assert!(read <= most as u64, "{read} bytes for {most} from {from} on");
    }
    let read = |world: &World| world.disks[0].read.load(Ordering::Relaxed);
    let before = read(&world);
    let (Answer::Blocks(none), _) = ask(&mut world, 0, Query::Blocks { from: 1_000 }) else { panic!() };
    assert!(none.is_empty() && read(&world) == before, "nothing is read for what is not there");
}

#[test]
fn an_index_that_is_gone_is_made_again_and_one_that_lies_leads_nowhere() {
    let mut world = World::new(1, LONG);
    world.reach(0, 13);
    let memory = world.disks[0].memory.clone();
    let index = memory.read("heights-6.index").unwrap();
    assert_eq!(index.len(), 5 * 12);
    let heights = |world: &mut World, from| {
        let (Answer::Blocks(blocks), _) = ask(world, 0, Query::Blocks { from }) else { panic!() };
        blocks.iter().map(|(_, certificate)| certificate.height).collect::<Vec<_>>()
    };
    for bit in 0..index.len() * 8 {
        memory.edit("heights-6.index", |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
        let bad = 6 + bit as u64 / 8 / 12;
        assert_eq!(heights(&mut world, 6), (6..bad).collect::<Vec<_>>(), "bit {bit}");
        memory.edit("heights-6.index", |bytes| bytes.clone_from(&index));
    }
    // Two lines change places: each leads to a block, but of another height.
    memory.edit("heights-6.index", |bytes| bytes[..24].rotate_left(12));
    assert_eq!(heights(&mut world, 6), [] as [u64; 0]);
    for left in [0, 12, 59] {
        memory.edit("heights-6.index", |bytes| bytes.truncate(left));
        world.kill(0);
        world.start(0);
        assert_eq!(memory.read("heights-6.index").unwrap(), index);
    }
    let newest = world.height(0);
    assert_eq!(heights(&mut world, 6), (6..=newest).collect::<Vec<_>>());
    memory.edit("blocks-6.log", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    assert_eq!(heights(&mut world, 6), [6, 7], "the damaged block is not here, and the agent goes on");
}

/// Phones that ask at the same time get the answers that they would have got one after the other.
#[test]
fn together_is_as_one_by_one() {
    let mut world = World::new(4, WHOLE);
    world.open_account(50);
    world.reach(0, 3);
    let applied = open_account(&world, 1, 50);
    let good = [open_account(&world, 1, 51), open_account(&world, 1, 52)];
    let mut forged = open_account(&world, 1, 53);
    forged.signatures[0].signature = good[0].signatures[0].signature;
    let other_zone = open_account(&World::new(1, WHOLE), 1, 51);
    let mut several = open_account(&world, 2, 54);
    several.signatures.extend(forged.signatures.clone());
    let submits = [&good[0], &forged, &applied, &other_zone, &good[0], &several, &good[1]];
    let mut queries: Vec<Query> =
        submits.iter().map(|signed| Query::Submit(Box::new((*signed).clone()))).collect();
    queries.insert(3, Query::Transaction(good[0].transaction.id()));
    queries.insert(2, Query::Head);
    let (mut one, mut many) = (world.branch(), world.branch());
    let (mut singly, mut told) = (Vec::new(), Vec::new());
    for query in queries.clone() {
        let (answer, effects) = ask(&mut one, 0, query);
        singly.push(answer);
        told.extend(effects);
    }
    let questions = queries.into_iter().map(|query| (asker(), query)).collect();
    let at = now(&many);
    let (together, effects) = many.agents[0].as_mut().unwrap().answer_all(at, questions).unwrap();
    assert_eq!(together, singly);
    let passed_on = |effects: &[Effect]| {
        let wires = effects.iter().filter_map(|effect| match effect {
            Effect::Publish(Wire::Transactions(some)) => Some(some.clone()),
            _ => None,
        });
        wires.collect::<Vec<_>>()
    };
    assert_eq!(passed_on(&effects).concat(), good, "and no other");
    assert_eq!(passed_on(&told).concat(), good);
    assert_eq!((passed_on(&effects).len(), passed_on(&told).len()), (1, 2), "in one message");
    assert_eq!(many.agents[0].as_ref().unwrap().waiting(), one.agents[0].as_ref().unwrap().waiting());
}

/// Strangers may fill the room for transactions; a validator's duties still find some.
#[test]
fn a_full_mempool_has_room_for_duties() {
    let mut world = World::new(1, WHOLE);
    world.reach(0, 2);
    let me = key(0).public();
    let all: Vec<SignedTransaction> =
        (0..Mempool::MAX as u128).map(|number| open_account(&world, number, 60)).collect();
    let at = now(&world);
    let agent = world.agents[0].as_mut().unwrap();
    let before = agent.waiting();
    for some in all.chunks(Wire::TRANSACTIONS_MAX) {
        agent.handle(at, Event::Wire { from: me, wire: Wire::Transactions(some.to_vec()) }).unwrap();
    }
    assert!(agent.waiting() >= Mempool::MAX);
    let stranger = open_account(&world, 1, 61);
    let next = SigningKey::from_seed([77; 32]);
    let body = Body::VoteKey { epoch: 1, key: next.public() };
    let duty = sign(&world, 1, body, &[&key(0), &next]);
    // A validator's ordinary business is as anybody's.
    let body = Body::OpenAccountFor { owner: key(62).public() };
    let business = sign(&world, 2, body, &[&key(0), &key(62)]);
    for refused in [stranger, business] {
        let (answer, _) = ask(&mut world, 0, Query::Submit(Box::new(refused)));
        assert!(matches!(&answer, Answer::Refused(reason) if reason.contains("too many")), "{answer:?}");
    }
    let (answer, _) = ask(&mut world, 0, Query::Submit(Box::new(duty.clone())));
    assert_eq!(answer, Answer::Waiting);
    // And they come first: into the next block, whatever else waits.
    let height = world.height(0);
    world.reach(0, height + 1);
    let (answer, _) = ask(&mut world, 0, Query::Transaction(duty.transaction.id()));
    assert!(matches!(answer, Answer::Applied(_)), "{answer:?}, {before} waited before");
}

/// Lets things happen until `is_done`, at most for so long.
fn for_seconds(world: &mut World, seconds: u64, is_done: impl Fn(&World) -> bool) {
    let limit = world.now_ms + seconds * 1_000;
    world.run(|world| world.now_ms > limit || is_done(world));
}

/// Two votes of validator `n` that exclude each other, with its key.
fn contradiction(world: &World, n: usize) -> [Message; 2] {
    let state = world.agents[0].as_ref().unwrap().state();
    let validator = state.validators().index_of(&key(n).public()).unwrap();
    let keys = VoteKeys::open(&world.disks[n].memory).unwrap();
    let vote_key = keys.signer(state.validators(), &key(n).public()).unwrap();
    let (zone, epoch, height) = (world.zone.id(), state.epoch().number, state.head().height + 1);
    [1, 2].map(|block| {
        let block = Some(ohmesh_units::Hash([block; 32]).into());
        let vote = Vote { kind: VoteKind::Prevote, height, round: 0, block, validator };
        Message { zone, epoch, body: Said::Vote(vote, vote.sign(&zone, epoch, &vote_key)) }
    })
}

fn convicted(world: &World, n: usize, epoch: u64) -> bool {
    let state = world.agents[n].as_ref().unwrap().state();
    match state.object(&ohmesh_ledger::Epoch::id(epoch)) {
        Some((_, Object::Epoch(epoch))) => !epoch.convicted.is_empty(),
        _ => false,
    }
}

/// Only agent 0 has seen it, nobody hears agent 0 say so, and its process ends: it says so again when it is back.
#[test]
fn evidence_is_kept_until_the_ledger_has_it() {
    let mut world = World::new(4, WHOLE);
    world.reach(0, 3);
    // Two of four decide nothing: the height runs as long as it takes to hear both votes.
    (1..3).for_each(|n| world.kill(n));
    for_seconds(&mut world, 5, |_| false);
    let epoch = world.epoch(0);
    for message in contradiction(&world, 3) {
        world.deliver(0, 3, Wire::Committee(message));
    }
    for_seconds(&mut world, 2, |_| false);
    world.mute = Some(0);
    (1..3).for_each(|n| world.start(n));
    for_seconds(&mut world, 120, |world| world.evidence > 0);
    assert!(world.evidence > 0);
    assert!(world.disks[0].memory.read("evidence.log").unwrap().len() > 100, "it is on disk");
    assert!(!convicted(&world, 1, epoch));
    world.kill(0);
    world.mute = None;
    world.start(0);
    let is_done = |world: &World| (0..2).all(|n| convicted(world, n, epoch));
    for_seconds(&mut world, 120, is_done);
    assert!(is_done(&world));
    assert_eq!(world.disks[0].memory.read("evidence.log").unwrap().len(), 40, "and it is let go of");
    world.check_roots();
}

/// A validator that still works on a height of the epoch before is sent the block of that height, once.
#[test]
fn who_is_left_behind_in_an_epoch_that_is_over_is_offered_its_block() {
    let mut world = World::new(4, WHOLE);
    world.run(|world| world.epoch(0) == 1);
    let (zone, last) = (world.zone.id(), world.height(0));
    let at = now(&world);
    let agent = world.agents[0].as_mut().unwrap();
    let decided = agent.head().unwrap().1.round;
    let mut tell = |from: usize, height: u64, round: u32| {
        let vote = Vote { kind: VoteKind::Prevote, height, round, block: None, validator: 3 };
        let signature = vote.sign(&zone, 0, &key(200));
        let message = Message { zone, epoch: 0, body: Said::Vote(vote, signature) };
        let wire = Wire::Committee(message);
        let effects = agent.handle(at, Event::Wire { from: key(from).public(), wire }).unwrap();
        let offers: Vec<(PublicKey, u64)> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send(to, Wire::Certified(bytes, certificate)) => {
                    assert_eq!(Block::decode(bytes).unwrap().header.height, certificate.height);
                    Some((*to, certificate.height))
                }
                _ => None,
            })
            .collect();
        offers
    };
    assert_eq!(tell(3, last, decided), [], "a straggler's vote");
    assert_eq!(tell(3, last + 1, decided + 1), [], "that height is of no epoch that is over");
    assert_eq!(tell(99, last, decided + 1), [], "no validator's message");
    assert_eq!(tell(3, last, decided + 1), [(key(3).public(), last)]);
    assert_eq!(tell(3, last, decided + 2), [], "once");
    assert_eq!(tell(3, last - 1, decided), []);
    assert_eq!(tell(2, last - 1, 0), [(key(2).public(), last - 1)]);
}
