//! Recovery: snapshots and what follows from them. Agents lose their disks, get old copies of them, or find them damaged;
//! they come back to the same state, and nobody ever signs two things that exclude each other.

#![allow(clippy::unwrap_used)]

#[path = "recovery/world.rs"]
mod world;

use ohmesh_ledger::{Answer, Certificate, Query, Vote};
use station_agent::{
    agent::{AgentError, Effect, Keep, Warning},
    disk::{Disk, Memory},
    record_log::RecordLog,
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::time::Duration;
use world::World;

/// A snapshot every five blocks, and blocks only as far back as the older one.
const SHORT: Keep = Keep { snapshot_blocks: 5, blocks_for: Duration::ZERO };
/// A snapshot every five blocks, and every block.
const LONG: Keep = Keep { snapshot_blocks: 5, blocks_for: Duration::from_secs(1 << 30) };

/// Lets the others go on until agent `n` has voted in an epoch after `epoch`.
fn votes_again(world: &mut World, n: usize, epoch: u64) {
    let from = world.height((n + 1) % world.agents.len());
    let limit = world.now_ms + 60_000;
    world.run(|world| {
        let is_later = world.epoch(n) > epoch;
        is_later && world.voted[n].last().is_some_and(|voted| *voted > from) || world.now_ms > limit
    });
    let voted = world.voted[n].last().copied().unwrap_or(0);
    assert!(voted > from, "agent {n} voted at {voted} last, the zone was at {from}");
}

#[test]
fn snapshots_are_written_and_old_blocks_go() {
    let mut world = World::new(4, SHORT);
    world.reach(0, 27);
    let names = world.disks[0].memory.names();
    let of = |what: &str| names.iter().filter(|name| name.starts_with(what)).cloned().collect::<Vec<_>>();
    assert_eq!(of("snapshot-"), ["snapshot-20.log", "snapshot-25.log"]);
    assert_eq!(of("blocks"), ["blocks-21.log", "blocks-26.log"]);
    world.kill(0);
    world.start(0);
    assert!(world.height(0) >= 27, "from the snapshot and the blocks after it");
    world.reach(0, 32);
    world.check_roots();
    world.check_votes();
    assert_eq!(world.warnings, [], "nothing to complain of");
}

#[test]
fn an_agent_that_lost_its_disk_rebuilds_from_peers_and_votes_in_the_next_epoch() {
    for lost_at in [2, 7, 16, 23] {
        let mut world = World::new(4, SHORT);
        world.open_account(50);
        world.reach(3, lost_at);
        world.replace_disk(3, Memory::default());
        world.reach(0, lost_at + 17);
        let epoch = world.epoch(0);
        world.start(3);
        world.reach(3, lost_at + 18);
        assert_eq!(world.warned(3, |warning| matches!(warning, Warning::Rebuilt { .. })), 1, "{lost_at}");
        assert!(world.voted[3].last().is_none_or(|voted| *voted <= lost_at + 1), "it has no key");
        votes_again(&mut world, 3, epoch);
        world.check_roots();
        world.check_votes();
    }
}

#[test]
fn an_agent_that_is_a_few_blocks_behind_fetches_them_and_no_state() {
    let mut world = World::new(4, SHORT);
    world.reach(3, 12);
    world.kill(3);
    world.reach(0, 16);
    world.start(3);
    world.reach(3, 18);
    assert_eq!(world.warnings, []);
    assert_eq!(world.chunks_asked[3], 0);
    votes_again(&mut world, 3, 0);
    world.check_votes();
}

#[test]
fn rebuilding_goes_on_where_a_power_cut_ended_it() {
    let mut whole = None;
    for cut_after in 0.. {
        let mut world = World::new(4, SHORT);
        (50..56).for_each(|n| world.open_account(n));
        world.reach(3, 4);
        world.replace_disk(3, Memory::default());
        world.reach(0, 21);
        world.start(3);
        // Nobody gets ahead of the rebuild: one event at a time until so many chunks have been asked for.
        world.run(|world| world.chunks_asked[3] > cut_after || world.height(3) > 0);
        if world.height(3) > 0 {
            whole = Some((cut_after, world.chunks_asked[3]));
            break;
        }
        world.kill(3);
        world.start(3);
        world.reach(3, 22);
        // The chunk under way was asked for twice, the others once.
        let chunks = world.chunks_asked[3];
        assert_eq!(world.warned(3, |warning| matches!(warning, Warning::Rebuilt { .. })), 1);
        assert!(chunks <= 4 + 1, "{chunks} chunks asked for, cut after {cut_after}");
        let epoch = world.epoch(0);
        votes_again(&mut world, 3, epoch);
        world.check_roots();
        world.check_votes();
    }
    let (cuts, chunks) = whole.unwrap();
    assert!(cuts >= 2 && chunks == cuts, "cut after each of {chunks} chunks");
}

#[test]
fn a_peer_that_lies_is_not_asked_again_and_another_is() {
    for what in ["hand-over", "manifest", "chunk", "other", "silence", "gone"] {
        let mut world = World::new(4, SHORT);
        world.reach(3, 12);
        world.replace_disk(3, Memory::default());
        world.reach(0, 31);
        world.lie = Some(Box::new(move |from, query, answer| {
            if from == 1 && matches!(query, Query::SnapshotChunk { .. }) && what == "silence" {
                return None;
            }
            if from > 1 {
                return Some(answer);
            }
            Some(match (what, answer) {
                ("hand-over", Answer::HandOvers(mut some)) if !some.is_empty() => {
                    some[0].certificate.signatures.truncate(1);
                    Answer::HandOvers(some)
                }
                ("manifest", Answer::Snapshot(Some(mut manifest))) => {
                    manifest.totals.pendings_opened += 1;
                    Answer::Snapshot(Some(manifest))
                }
                ("chunk", Answer::SnapshotChunk(Some(mut bytes))) => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    Answer::SnapshotChunk(Some(bytes))
                }
                ("other", Answer::SnapshotChunk(_)) => Answer::Unknown,
                ("gone", Answer::SnapshotChunk(_)) => Answer::SnapshotChunk(None),
                (_, answer) => answer,
            })
        }));
        let epoch = world.epoch(0);
        world.start(3);
        world.reach(3, 32);
        assert_eq!(world.warned(3, |warning| matches!(warning, Warning::Rebuilt { .. })), 1, "{what}");
        let named = world.warned(3, |warning| matches!(warning, Warning::Peer { .. }));
        let is_lie = !matches!(what, "silence" | "gone");
        assert!(if is_lie { (1..=2).contains(&named) } else { named == 0 }, "{what}: {named} named");
        votes_again(&mut world, 3, epoch);
        world.check_roots();
        world.check_votes();
    }
}

#[test]
fn an_old_copy_of_a_folder_never_signs_twice() {
    for (n, later) in (0..4).flat_map(|n| [1, 2, 5, 8, 14].map(|later| (n, later))) {
        let mut world = World::new(4, LONG);
        world.reach(n, 13);
        let copy = world.disks[n].memory.copy();
        world.reach(n, 13 + later);
        world.replace_disk(n, copy);
        world.reach((n + 1) % 4, 13 + later + 3);
        let epoch = world.epoch((n + 1) % 4);
        world.start(n);
        votes_again(&mut world, n, epoch);
        world.check_roots();
        world.check_votes();
    }
}

#[test]
fn an_old_copy_of_a_folder_forgets_a_key_that_has_signed_since() {
    let mut forgot = 0;
    for n in 0..4 {
        let mut world = World::new(4, LONG);
        world.reach(n, 13);
        // An image of the disk, which nothing tells from the disk itself.
        let copy = world.disks[n].memory.image();
        world.reach(n, 18);
        world.replace_disk(n, copy);
        world.start(n);
        let epoch = world.epoch((n + 1) % 4);
        votes_again(&mut world, n, epoch);
        forgot += world.forgetful.iter().filter(|who| **who == n).count();
        world.check_votes();
    }
    assert!(forgot >= 3, "a certificate names three of four; {forgot} found themselves in one");
}

/// The copy is of the height that all others still decide: no certificate and no height of theirs can tell that it is old.
#[test]
fn a_copy_from_within_the_running_height_signs_nothing() {
    let (mut proposed, mut voted) = (0, 0);
    for n in 0..4 {
        let mut world = World::new(4, LONG);
        world.reach(0, 13);
        world.reach(n, 13);
        let height = world.height(n);
        for (said, count) in [("proposal", &mut proposed), ("vote", &mut voted)] {
            let mut world = world.branch();
            let copy = world.disks[n].memory.copy();
            // It says something of the next height, which nobody hears, and its folder is put back.
            world.mute = Some(n);
            let limit = world.now_ms + 3_000;
            world.run(|world| world.has_said(n, height + 1, said) || world.now_ms > limit);
            *count += usize::from(world.has_said(n, height + 1, said));
            let epoch = world.epoch(n);
            world.replace_disk(n, copy);
            world.mute = None;
            world.start(n);
            votes_again(&mut world, n, epoch);
            world.check_votes();
            world.check_roots();
            assert_eq!(world.warned(n, |warning| *warning == Warning::Copied), 1);
        }
    }
    assert!(proposed >= 1 && voted >= 3, "{proposed} proposals and {voted} votes were made before");
}

#[test]
fn a_copy_of_the_folder_of_who_decides_alone_goes_on_only_if_it_is_adopted() {
    let mut world = World::new(1, SHORT);
    world.reach(0, 13);
    let mut copy = world.disks[0].memory.copy();
    world.replace_disk(0, copy.clone());
    let Err(error) = world.open(0) else { panic!("it started") };
    assert!(matches!(error, AgentError::Copied), "{error}");
    assert!(error.to_string().contains("ledger adopt"), "{error}");
    VoteKeys::open(&copy).unwrap().adopt(&mut copy, "wal.log").unwrap();
    world.start(0);
    world.reach(0, 16);
    world.check_votes();
}

#[test]
fn a_seller_whose_blocks_are_gone_goes_on_and_says_what_it_cannot_see() {
    let mut world = World::new(4, SHORT);
    world.reach(3, 3);
    world.kill(3);
    world.seller = Some(3);
    world.start(3);
    world.reach(3, 4);
    world.kill(3);
    world.reach(0, 24);
    world.start(3);
    world.reach(3, 26);
    let missed = |warning: &Warning| matches!(warning, Warning::SellerMissed { to: 20, .. });
    assert_eq!(world.warned(3, missed), 1, "{:?}", world.warnings);
    votes_again(&mut world, 3, 0);
    world.check_roots();
    world.check_votes();
}

/// With one validator that lies, all others are needed: a height that does not exist must not keep one of them asleep.
#[test]
fn a_false_height_keeps_nobody_from_voting() {
    let mut world = World::new(4, SHORT);
    world.reach(3, 12);
    world.kill(3);
    world.kill(0);
    world.lie = Some(Box::new(|from, _, answer| match answer {
        Answer::Head(Some(mut head)) if from == 0 => {
            head.0.height = 1 << 40;
            Some(Answer::Head(Some(head)))
        }
        answer => Some(answer),
    }));
    world.start(0);
    world.start(3);
    // The liar answers, and says nothing of use to the committee.
    world.mute = Some(0);
    world.reach(3, 20);
    assert!(world.voted[3].last() > Some(&18));
    world.check_votes();
}

#[test]
fn a_false_certificate_silences_nobody() {
    let mut world = World::new(4, LONG);
    world.reach(0, 5);
    for victim in 0..4 {
        let agent = world.agents[victim].as_ref().unwrap();
        let (height, epoch) = (agent.state().head().height + 1, agent.state().epoch().number);
        let forged = world::key(9).sign(Vote::DOMAIN, b"no vote of theirs");
        let signatures = (0..4).map(|n| (n, forged)).collect();
        let block = ohmesh_units::Hash([9; 32]).into();
        let certificate = Certificate { height, round: 0, epoch, block, signatures };
        world.deliver(victim, (victim + 1) % 4, Wire::Certified(vec![1, 2, 3], certificate));
    }
    let height = world.height(0);
    world.reach(0, height + 4);
    assert_eq!(world.forgetful, Vec::<usize>::new());
    assert!(world.voted.iter().all(|voted| voted.last() > Some(&(height + 2))));
}

#[test]
fn the_whole_committee_comes_back_after_a_power_cut() {
    for (at, behind) in [(9, 0), (11, 3), (14, 8)] {
        let mut world = World::new(4, SHORT);
        world.reach(3, at);
        world.kill(3);
        world.reach(0, at + behind);
        (0..3).for_each(|n| world.kill(n));
        (0..4).for_each(|n| world.start(n));
        world.reach(3, at + behind + 6);
        world.check_roots();
        world.check_votes();
        assert_eq!(world.forgetful, Vec::<usize>::new(), "nobody has lost anything");
    }
}

#[test]
fn a_power_cut_at_any_disk_operation_loses_nothing_and_signs_nothing_twice() {
    // Long enough for a snapshot, a cut of the block log, a hand-over and an erased key.
    let mut before = World::new(4, SHORT);
    before.reach(1, 6);
    let mut finished = 0;
    for operations in 0..=220 {
        let mut world = before.branch();
        world.disks[1].fail_after(operations);
        world.leaves_torn_writes = operations % 2 == 1;
        world.run(|world| world.agents[1].is_none() || world.height(1) >= 22);
        if world.agents[1].is_some() {
            finished += 1;
            continue;
        }
        let told = world.height(0);
        world.start(1);
        world.reach(1, told + 4);
        let epoch = world.epoch(0).saturating_sub(1);
        votes_again(&mut world, 1, epoch);
        world.check_roots();
        world.check_votes();
        assert_eq!(world.warned(1, |_| true), 0, "after {operations}: {:?}", world.warnings);
    }
    assert!(finished < 60, "{finished} runs were over before the cut");
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before_and_then_to_the_blocks() {
    let mut world = World::new(4, LONG);
    world.reach(2, 23);
    let damage = |world: &mut World, height: u64| {
        let name = format!("snapshot-{height}.log");
        assert!(!world.disks[2].memory.read(&name).unwrap().is_empty());
        world.disks[2].memory.edit(&name, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        });
    };
    let removed = |world: &World, height| {
        world.warned(2, |warning| matches!(warning, Warning::Snapshot { height: at, .. } if *at == height))
    };
    world.kill(2);
    damage(&mut world, 20);
    world.start(2);
    assert!(world.height(2) >= 23);
    assert_eq!((removed(&world, 20), removed(&world, 15)), (1, 0));
    world.kill(2);
    damage(&mut world, 15);
    world.start(2);
    assert!(world.height(2) >= 23, "from the genesis");
    assert_eq!((removed(&world, 20), removed(&world, 15)), (1, 1));
    world.reach(2, 26);
    world.check_roots();
    world.check_votes();
    assert_eq!(world.forgetful, Vec::<usize>::new());
}

#[test]
fn without_snapshots_and_old_blocks_it_rebuilds_and_does_not_vote_with_its_old_key() {
    let mut world = World::new(4, SHORT);
    world.reach(2, 23);
    world.kill(2);
    world.damage_snapshots(2);
    let (epoch, last) = (world.epoch(0), world.voted[2].last().copied());
    world.start(2);
    assert_eq!(world.forgetful, [2]);
    world.reach(2, 24);
    assert_eq!(world.voted[2].last().copied(), last, "not with the old key");
    votes_again(&mut world, 2, epoch);
    world.check_roots();
    world.check_votes();
}

#[test]
fn an_only_validator_that_has_nothing_to_start_from_says_so() {
    let mut world = World::new(1, SHORT);
    world.reach(0, 23);
    world.kill(0);
    world.damage_snapshots(0);
    let Err(error) = world.open(0) else { panic!("it started") };
    assert!(matches!(error, AgentError::Lost { first: 16 }), "{error}");
}

#[test]
fn the_only_one_that_is_left_of_several_says_so_and_keeps_its_vote_key() {
    let mut world = World::new(4, SHORT);
    world.reach(0, 3);
    world.pass_to(|all| all.truncate(1));
    world.run(|world| world.epoch(0) > 0);
    (1..4).for_each(|n| world.kill(n));
    let height = world.height(0);
    world.reach(0, height + 20);
    world.kill(0);
    world.damage_snapshots(0);
    let Err(error) = world.open(0) else { panic!("it started") };
    assert!(matches!(error, AgentError::Lost { .. }), "{error}");
    assert!(VoteKeys::open(&world.disks[0].memory).unwrap().count() > 0, "the zone cannot go on without it");
}

#[test]
fn who_follows_an_only_validator_rebuilds_from_it() {
    let mut world = World::new(1, SHORT);
    world.reach(0, 3);
    let follower = world.add_follower();
    world.reach(follower, 23);
    world.kill(follower);
    world.damage_snapshots(follower);
    world.start(follower);
    world.reach(follower, 26);
    assert_eq!(world.warned(follower, |warning| matches!(warning, Warning::Rebuilt { .. })), 1);
    world.check_roots();
}

/// The secret of the last share in each record of the file of key shares.
fn stored_shares(world: &World) -> Vec<Vec<u8>> {
    let mut disk = world.disks[0].memory.image();
    let (_, frames) = RecordLog::open(&mut disk, "auction-keys.log", world.zone.id().into()).unwrap();
    frames.into_iter().map(|(_, payload)| payload[payload.len() - 32..].to_vec()).collect()
}

#[test]
fn key_shares_are_erased_from_the_disk_when_a_newer_key_has_outlived_theirs() {
    let mut world = World::new(1, SHORT);
    world.reach(0, 3);
    let first = stored_shares(&world);
    assert_eq!(first.len(), 1);
    world.pass_to(|all| all[0].stake = 2);
    world.run(|world| world.epoch(0) > 0);
    let height = world.height(0);
    world.reach(0, height + 3);
    let both = stored_shares(&world);
    assert_eq!(
        (both.len(), &both[0]),
        (2, &first[0]),
        "a phone may have an intent under the old key under way"
    );

    let is_on_disk = |world: &World, secret: &[u8]| {
        world.disks[0].memory.everything().windows(32).any(|window| window == secret)
    };
    // The ledger says until when the old key opens auctions, so that a restart changes nothing.
    world.kill(0);
    world.start(0);
    let until = world.agents[0].as_ref().unwrap().state().governance().key_serves_until(0).unwrap();
    world.run(|world| world.now_ms + 2_000 > until.as_millis());
    assert!(is_on_disk(&world, &first[0]));
    world.run(|world| world.now_ms > until.as_millis() + 15_000);
    assert!(!is_on_disk(&world, &first[0]), "its bytes are nowhere");
    assert_eq!(stored_shares(&world), both[1..]);
    world.kill(0);
    world.start(0);
    let height = world.height(0);
    world.reach(0, height + 3);
    assert_eq!(stored_shares(&world), both[1..]);
    assert!(is_on_disk(&world, &both[1]));
}

#[test]
fn an_only_validator_restarts_from_its_snapshot() {
    let mut world = World::new(1, SHORT);
    world.reach(0, 23);
    let roots = *world.agents[0].as_ref().unwrap().state().roots();
    world.kill(0);
    let (agent, effects) = world.open(0).unwrap();
    assert_eq!(*agent.state().roots(), roots);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Warning(_) | Effect::Forgetful { .. })));
}
