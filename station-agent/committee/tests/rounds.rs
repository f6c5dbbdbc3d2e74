//! What keeps a committee moving when a round or a height takes long.
#![allow(clippy::unwrap_used)]

#[path = "fixture/four.rs"]
mod four;

use four::*;
use ohmesh_committee::*;
use ohmesh_ledger::Vote;

/// A follower in round 0 that has precommitted, one other that has too, and how the third precommits.
fn polkas_shown(third: bool) -> usize {
    let (mut committee, proposer) = follower();
    let others: Vec<u16> = (0..4).filter(|n| *n != (proposer + 1) % 4).collect();
    let (id, _) = block("one");
    let mut actions = committee.handle(from_peer(proposal_body((1, 0), "one")));
    actions.extend(committee.handle(Input::Judged { block: id, valid: true }));
    for validator in &others[..2] {
        actions.extend(committee.handle(from_peer(vote_body(Prevote, (1, 0), Some(id), *validator))));
    }
    assert!(
        published_votes(&actions).iter().any(|(vote, _)| vote.kind == Precommit && vote.block == Some(id))
    );
    let third = if third { Some(id) } else { None };
    actions.extend(committee.handle(from_peer(vote_body(Precommit, (1, 0), Some(id), others[0]))));
    actions.extend(committee.handle(from_peer(vote_body(Precommit, (1, 0), third, others[1]))));
    assert_eq!(committee.height(), if third.is_some() { 2 } else { 1 });
    let is_polka = |a: &&Action| match a {
        Action::Publish(Message { body: Body::Polka(polka), .. }) => {
            assert_eq!(polka.verify(&ZONE, EPOCH, &set()), Ok(()));
            true
        }
        _ => false,
    };
    actions.iter().filter(is_polka).count()
}

#[test]
fn a_lock_that_others_do_not_share_is_shown_to_them() {
    assert_eq!(polkas_shown(false), 1, "one precommitted nil: it may not know of the polka");
    assert_eq!(polkas_shown(true), 0, "all agree: nothing to show");
}

#[test]
fn who_is_behind_asks_and_who_is_ahead_offers() {
    let (mut committee, proposer) = follower();
    let other = (proposer + 2) % 4;
    // One height ahead is about to be decided here too; it asks when that takes too long.
    let rebroadcast = Input::Elapsed(Timer { height: 1, round: 0, kind: TimerKind::Rebroadcast });
    assert_eq!(committee.handle(from_peer(vote_body(Prevote, (2, 0), None, other))), []);
    let ask = Action::RequestSync { from: peer(), height: 1 };
    assert!(committee.handle(rebroadcast).contains(&ask));
    // Two ahead is behind; it asks once.
    let (mut committee, _) = follower();
    assert_eq!(committee.handle(from_peer(vote_body(Prevote, (3, 0), None, other))), [ask]);
    assert_eq!(committee.handle(from_peer(vote_body(Precommit, (3, 0), None, other))), []);

    for height in 1..=2 {
        let (id, bytes) = block("final");
        let certificate = certificate((height, 0), id, &[0, 1, 3]);
        committee.handle(Input::Certified { from: peer(), bytes, certificate });
    }
    let late = vote_body(Precommit, (2, 0), None, other);
    assert_eq!(committee.handle(from_peer(late)), [], "stragglers are no news");
    let behind = vote_body(Prevote, (1, 0), None, other);
    let offer = Action::Offer { validator: other, height: 1 };
    assert_eq!(committee.handle(from_peer(behind.clone())), [offer]);
    assert_eq!(committee.handle(from_peer(behind)), [], "once");
    let still = vote_body(Prevote, (2, 1), None, other);
    assert_eq!(committee.handle(from_peer(still)), [Action::Offer { validator: other, height: 2 }]);
    let forged = Vote { kind: Prevote, height: 1, round: 3, block: None, validator: proposer };
    let signature = forged.sign(&ZONE, EPOCH, &key(other));
    let actions = committee.handle(from_peer(Body::Vote(forged, signature)));
    assert_eq!(rejected(&actions), [Rejected::WrongSignature { validator: proposer }]);
}

#[test]
fn a_liar_about_its_height_is_not_the_only_one_asked() {
    let (mut committee, proposer) = follower();
    let (liar, honest) = ((proposer + 2) % 4, proposer);
    let says = |validator: u16, height| Input::Message {
        from: key(validator).public(),
        message: message(vote_body(Prevote, (height, 0), None, validator)),
    };
    let ask = |validator: u16| Action::RequestSync { from: key(validator).public(), height: 1 };
    assert_eq!(committee.handle(says(liar, u64::MAX)), [ask(liar)]);
    assert_eq!(committee.handle(says(honest, 2)), [], "about to be decided here, too");
    let mut asked = Vec::new();
    for _ in 0..4 {
        let timer = Timer { height: 1, round: 0, kind: TimerKind::Rebroadcast };
        asked.extend(committee.handle(Input::Elapsed(timer)));
    }
    assert!(asked.contains(&ask(liar)) && asked.contains(&ask(honest)));
}

#[test]
fn a_round_that_takes_long_hears_its_proposal_once_more() {
    let me = set().proposer(1, 0);
    let mut committee = Committee::new(config(me), 1);
    committee.handle(Input::Start { height: 1 });
    let (block, bytes) = block("mine");
    committee.handle(Input::Built { height: 1, round: 0, block, bytes });
    let proposals = |actions: Vec<Action>| {
        let is_proposal =
            |a: &&Action| matches!(a, Action::Publish(Message { body: Body::Proposal(..), .. }));
        actions.iter().filter(is_proposal).count()
    };
    let timer = Timer { height: 1, round: 0, kind: TimerKind::Rebroadcast };
    assert_eq!(proposals(committee.handle(Input::Elapsed(timer))), 1);
    assert_eq!(proposals(committee.handle(Input::Elapsed(timer))), 0, "votes go on, the block does not");
}
