//! What a validator does after it was killed.
#![allow(clippy::unwrap_used)]

#[path = "fixture/four.rs"]
mod four;

use four::*;
use ohmesh_committee::*;
use ohmesh_ledger::{Validator, ValidatorSet};
use ohmesh_units::BlockId;

/// A follower that has judged the block of round 0 valid and prevoted for it; its log, its votes, the block.
fn prevoted() -> (u16, Vec<WalRecord>, Vec<Action>, BlockId, BlockBytes) {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    let (id, bytes) = block("one");
    let mut actions = committee.handle(from_peer(proposal_body((1, 0), "one")));
    assert!(actions.contains(&Action::Judge {
        height: 1,
        round: 0,
        proposer,
        block: id,
        bytes: bytes.clone()
    }));
    assert!(published_votes(&actions).is_empty(), "no vote before the host has judged");
    actions.extend(committee.handle(Input::Judged { block: id, valid: true }));
    (me, appended(&actions), actions, id, bytes)
}

fn replay(
    me: u16,
    records: &[WalRecord],
    blocks: &[BlockBytes],
) -> Result<(Committee, Vec<Action>), CommitteeError> {
    Committee::replay(config(me), 1, records.to_vec(), blocks.to_vec())
}

#[test]
fn a_vote_is_logged_and_synced_before_it_leaves() {
    let (me, records, actions, id, _) = prevoted();
    let (vote, signature) = vote(Prevote, (1, 0), Some(id), me);
    let at = |wanted: &Action| actions.iter().position(|action| action == wanted).unwrap();
    let verdict =
        WalRecord::Block { height: 1, round: 0, proposer: set().proposer(1, 0), block: id, valid: true };
    let logged = at(&Action::Append(WalRecord::Vote(vote, signature)));
    let left = at(&Action::Publish(message(Body::Vote(vote, signature))));
    assert!(at(&Action::Append(verdict.clone())) < logged);
    assert!(actions[logged..left].contains(&Action::Sync));
    assert!(records.contains(&verdict));
}

#[test]
fn the_same_votes_leave_again_and_nothing_is_logged_twice() {
    let (me, records, before, _, bytes) = prevoted();
    let (_, after) = replay(me, &records, &[bytes]).unwrap();
    assert_eq!(published_votes(&after), published_votes(&before));
    assert_eq!(appended(&after), []);
    assert!(!after.contains(&Action::Sync));
}

/// Everything that is said at `height`, from its start to its decision.
fn decide(committee: &mut Committee, height: u64) -> Vec<Action> {
    let mut actions = committee.handle(Input::Start { height });
    let me = committee.validator().unwrap();
    let (id, bytes) = block("one");
    actions.extend(match set().proposer(height, 0) == me {
        true => committee.handle(Input::Built { height, round: 0, block: id, bytes }),
        false => {
            let mut judged = committee.handle(from_peer(proposal_body((height, 0), "one")));
            judged.extend(committee.handle(Input::Judged { block: id, valid: true }));
            judged
        }
    });
    for kind in [Prevote, Precommit] {
        for other in (0..4).filter(|other| *other != me) {
            actions.extend(committee.handle(from_peer(vote_body(kind, (height, 0), Some(id), other))));
        }
    }
    assert_eq!(committee.height(), height + 1);
    actions
}

/// A sync costs milliseconds: there is one only for what was logged at the height that runs, and the precommits of others
/// that came last before a decision are not brought to disk afterwards.
#[test]
fn a_decided_height_leaves_nothing_to_sync() {
    for me in 0..4 {
        let mut committee = Committee::new(config(me), 1);
        for height in 1..=4 {
            let (mut logged, mut syncs) = (false, 0);
            for action in decide(&mut committee, height) {
                match action {
                    Action::Append(_) => logged = true,
                    Action::Sync => {
                        assert!(logged, "validator {me}, height {height}: nothing was logged");
                        (logged, syncs) = (false, syncs + 1);
                    }
                    _ => {}
                }
            }
            assert_eq!(syncs, 2, "a prevote, with which its own proposal goes, and a precommit");
        }
    }
}

#[test]
fn a_torn_log_replays_as_far_as_it_goes() {
    let (me, records, before, _, bytes) = prevoted();
    let cast = published_votes(&before);
    for kept in 0..records.len() {
        let (_, actions) = replay(me, &records[..kept], std::slice::from_ref(&bytes)).unwrap();
        for vote in published_votes(&actions) {
            assert!(cast.contains(&vote), "{kept} records: {vote:?}");
            let logged = WalRecord::Vote(vote.0, vote.1);
            let durable = records[..kept].contains(&logged) || appended(&actions).contains(&logged);
            assert!(durable, "{kept} records: a vote that the log lost is logged again");
        }
    }
}

#[test]
fn a_round_entered_by_certificate_is_entered_again() {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    let others: Vec<u16> = (0..4).filter(|n| *n != me).collect();
    let votes: Vec<_> = others.iter().map(|n| (*n, Precommit, None)).collect();
    // Round 25 is further ahead than votes are accepted from: only a certificate leads there.
    let certificate = round_certificate(RoundKind::Skip, (1, 25), &votes[..2]);
    let actions = committee.handle(from_peer(Body::Round(certificate)));
    assert_eq!(committee.round(), Some(25));
    let (again, _) = replay(me, &appended(&actions), &[]).unwrap();
    assert_eq!(again.round(), Some(25));
}

#[test]
fn a_polka_that_came_as_a_certificate_is_known_again() {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    let (id, bytes) = block("one");
    let others: Vec<u16> = (0..4).filter(|n| *n != me).collect();
    let mut log = appended(&committee.handle(from_peer(Body::Polka(polka((1, 0), id, &others)))));
    log.extend(appended(&committee.handle(from_peer(proposal_body((1, 0), "one")))));
    let actions = committee.handle(Input::Judged { block: id, valid: true });
    let precommit = vote(Precommit, (1, 0), Some(id), me);
    assert!(published_votes(&actions).contains(&precommit), "{actions:?}");
    log.extend(appended(&actions));
    let (_, actions) = replay(me, &log, &[bytes]).unwrap();
    assert!(published_votes(&actions).contains(&precommit));
}

#[test]
fn a_decision_that_was_not_committed_comes_again() {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    let (id, bytes) = block("one");
    let mut log = appended(&committee.handle(from_peer(proposal_body((1, 0), "one"))));
    log.extend(appended(&committee.handle(Input::Judged { block: id, valid: true })));
    let mut commit = None;
    for kind in [Prevote, Precommit] {
        for validator in (0..4).filter(|n| *n != me) {
            let actions = committee.handle(from_peer(vote_body(kind, (1, 0), Some(id), validator)));
            log.extend(appended(&actions));
            commit = actions.into_iter().find(|a| matches!(a, Action::Commit { .. })).or(commit);
        }
    }
    let commit = commit.unwrap();
    let (again, actions) = replay(me, &log, &[bytes]).unwrap();
    assert!(actions.contains(&commit));
    assert_eq!((again.height(), again.round()), (2, None));
}

#[test]
fn a_proposer_proposes_the_same_block_again_and_builds_no_other() {
    let me = set().proposer(1, 0);
    let mut committee = Committee::new(config(me), 1);
    let actions = committee.handle(Input::Start { height: 1 });
    assert!(actions.iter().any(|a| matches!(a, Action::Build { height: 1, round: 0, .. })));
    let (id, bytes) = block("mine");
    let actions = committee.handle(Input::Built { height: 1, round: 0, block: id, bytes: bytes.clone() });
    let is_proposal = |a: &&Action| matches!(a, Action::Publish(Message { body: Body::Proposal(..), .. }));
    let proposal = actions.iter().find(is_proposal).unwrap();

    let (mut again, after) = replay(me, &appended(&actions), &[bytes]).unwrap();
    assert!(!after.iter().any(|a| matches!(a, Action::Build { .. })));
    assert!(after.contains(proposal), "perhaps nobody heard it");
    let (block, bytes) = block("another");
    assert_eq!(again.handle(Input::Built { height: 1, round: 0, block, bytes }), []);
}

#[test]
fn a_log_that_is_not_what_was_written_is_refused() {
    let (me, mut records, _, id, bytes) = prevoted();
    let missing = replay(me, &records, &[]).err().unwrap();
    assert_eq!(missing, CommitteeError::MissingBlock { block: id });
    // The verdict says invalid, the vote says yes: going on could sign the opposite.
    for record in &mut records {
        if let WalRecord::Block { valid, .. } = record {
            *valid = false;
        }
    }
    let error = replay(me, &records, &[bytes]).err().unwrap();
    assert!(matches!(error, CommitteeError::Replay { height: 1, .. }), "{error}");
}

#[test]
fn records_of_other_heights_are_skipped() {
    let (me, records, _, _, bytes) = prevoted();
    let (committee, actions) = Committee::replay(config(me), 2, records, vec![bytes]).unwrap();
    assert_eq!((committee.height(), committee.round()), (2, Some(0)));
    assert!(published_votes(&actions).is_empty());
}

#[test]
fn a_validator_alone_decides_and_comes_back() {
    let alone = Validator {
        name: "alone".into(),
        key: key(0).public(),
        vote: key(0).public(),
        stake: 1,
        address: String::new(),
    };
    let config = || Config { validators: ValidatorSet::new(vec![alone.clone()]).unwrap(), ..config(0) };
    let mut committee = Committee::new(config(), 1);
    for height in 1..=3 {
        committee.handle(Input::Start { height });
        let (id, bytes) = block(&height.to_string());
        let built = Input::Built { height, round: 0, block: id, bytes: bytes.clone() };
        let actions = committee.handle(built);
        let Some(Action::Commit { certificate, block, .. }) = actions.last() else { panic!("{actions:?}") };
        assert_eq!((certificate.block, *block), (id, id));
        assert_eq!(certificate.verify(&ZONE, EPOCH, config().validators.voters()), Ok(()));
        let (_, again) = Committee::replay(config(), height, appended(&actions), vec![bytes]).unwrap();
        assert_eq!(again.last(), actions.last(), "killed before the commit was durable");
    }
}

#[test]
fn an_observer_decides_and_neither_signs_nor_logs() {
    for key in [None, Some(key(9))] {
        let mut observer = Committee::new(Config { key, ..config(0) }, 1);
        assert_eq!(observer.validator(), None);
        let mut actions = observer.handle(Input::Start { height: 1 });
        let (id, _) = block("one");
        actions.extend(observer.handle(from_peer(proposal_body((1, 0), "one"))));
        actions.extend(observer.handle(Input::Judged { block: id, valid: true }));
        let timer = Timer { height: 1, round: 0, kind: TimerKind::Rebroadcast };
        actions.extend(observer.handle(Input::Elapsed(timer)));
        for validator in 0..3 {
            actions.extend(observer.handle(from_peer(vote_body(Precommit, (1, 0), Some(id), validator))));
        }
        let says = |a: &Action| {
            matches!(a, Action::Publish(_) | Action::Append(_) | Action::Sync | Action::Fault(_))
        };
        assert!(!actions.iter().any(says), "{actions:?}");
        assert!(matches!(actions.last(), Some(Action::Commit { height: 1, .. })));
    }
}
