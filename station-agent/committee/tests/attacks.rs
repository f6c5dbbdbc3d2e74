//! What cheats try, each with the answer it gets.
#![allow(clippy::unwrap_used)]

#[path = "fixture/four.rs"]
mod four;

use four::*;
use ohmesh_committee::*;
use ohmesh_ledger::{LedgerError, Proposal, Vote};
use ohmesh_units::{BlockId, Canonical, DecodeError, ZoneId};

/// Gives a follower one message: it is refused for exactly this reason, and nothing else happens.
fn refused(body: Body, reason: Rejected) {
    let (mut committee, _) = follower();
    let actions = committee.handle(from_peer(body));
    assert_eq!(actions, [Action::Reject { from: peer(), reason }]);
}

fn other_than_proposer_and_me() -> u16 {
    let proposer = set().proposer(1, 0);
    (proposer + 2) % 4
}

#[test]
fn a_vote_of_another_zone_or_epoch() {
    let (mut committee, _) = follower();
    let body = vote_body(Prevote, (1, 0), None, other_than_proposer_and_me());
    let zone = Message { zone: ZoneId([1; 32]), ..message(body.clone()) };
    let actions = committee.handle(Input::Message { from: peer(), message: zone });
    assert_eq!(rejected(&actions), [Rejected::Zone { found: ZoneId([1; 32]) }]);
    let epoch = Message { epoch: EPOCH + 1, ..message(body) };
    let actions = committee.handle(Input::Message { from: peer(), message: epoch });
    assert_eq!(rejected(&actions), [Rejected::Epoch { found: EPOCH + 1, expected: EPOCH }]);
}

#[test]
fn a_vote_of_another_zone_or_epoch_with_the_label_of_this_one() {
    let validator = other_than_proposer_and_me();
    let vote = Vote { kind: Prevote, height: 1, round: 0, block: None, validator };
    for (zone, epoch) in [(ZoneId([1; 32]), EPOCH), (ZONE, EPOCH + 1)] {
        let signature = vote.sign(&zone, epoch, &key(validator));
        refused(Body::Vote(vote, signature), Rejected::WrongSignature { validator });
    }
}

#[test]
fn a_vote_in_somebody_elses_name() {
    let validator = other_than_proposer_and_me();
    let vote = Vote { kind: Precommit, height: 1, round: 0, block: None, validator };
    let forged = vote.sign(&ZONE, EPOCH, &key(set().proposer(1, 0)));
    refused(Body::Vote(vote, forged), Rejected::WrongSignature { validator });
    // For the next height and for one far ahead, too, before anything is kept or asked.
    for height in [2, 50] {
        let vote = Vote { height, ..vote };
        let forged = vote.sign(&ZONE, EPOCH, &key(set().proposer(1, 0)));
        refused(Body::Vote(vote, forged), Rejected::WrongSignature { validator });
    }
}

#[test]
fn a_vote_of_nobody() {
    let vote = Vote { kind: Prevote, height: 1, round: 0, block: None, validator: 4 };
    let signature = vote.sign(&ZONE, EPOCH, &key(4));
    refused(Body::Vote(vote, signature), Rejected::UnknownValidator { validator: 4 });
}

#[test]
fn votes_and_proposals_of_rounds_far_ahead() {
    let round = ROUNDS_AHEAD + 1;
    let reason = Rejected::FarRound { found: round, round: 0 };
    assert!(!reason.is_fault());
    refused(vote_body(Prevote, (1, round), None, other_than_proposer_and_me()), reason.clone());
    let me = (set().proposer(1, 0) + 1) % 4;
    let round = (round..).find(|round| set().proposer(1, *round) != me).unwrap();
    refused(proposal_body((1, round), "far"), Rejected::FarRound { found: round, round: 0 });
}

#[test]
fn a_proposal_out_of_turn() {
    let validator = other_than_proposer_and_me();
    let (block, bytes) = block("mine");
    let proposal = Proposal { height: 1, round: 0, pol_round: None, block, validator };
    let signature = proposal.sign(&ZONE, EPOCH, &key(validator));
    refused(
        Body::Proposal(proposal, signature, bytes),
        Rejected::NotProposer { validator, height: 1, round: 0 },
    );
}

#[test]
fn a_proposal_that_leans_on_its_own_round() {
    let validator = set().proposer(1, 0);
    let (block, bytes) = block("lean");
    let proposal = Proposal { height: 1, round: 0, pol_round: Some(0), block, validator };
    let signature = proposal.sign(&ZONE, EPOCH, &key(validator));
    refused(Body::Proposal(proposal, signature, bytes), Rejected::PolRound { round: 0, pol_round: 0 });
}

#[test]
fn a_proposal_with_another_block_or_a_forged_signature() {
    let Body::Proposal(proposal, signature, _) = proposal_body((1, 0), "one") else { unreachable!() };
    let swapped = Body::Proposal(proposal, signature, block("two").1);
    refused(swapped, Rejected::OtherBlock { block: proposal.block });
    let garbage = Body::Proposal(proposal, signature, b"garbage".to_vec().into());
    refused(garbage, Rejected::OtherBlock { block: proposal.block });
    let forged = proposal.sign(&ZONE, EPOCH, &key(other_than_proposer_and_me()));
    let validator = proposal.validator;
    refused(Body::Proposal(proposal, forged, block("one").1), Rejected::WrongSignature { validator });
}

#[test]
fn a_message_and_a_block_that_are_too_long() {
    let (max, found) = (Message::MAX_BYTES, Message::MAX_BYTES + 1);
    assert_eq!(
        Message::decode(&vec![1; found]),
        Err(DecodeError::TooLong { what: "committee message", max, found })
    );
    let mut bytes = b"block".to_vec();
    bytes.resize(BlockBytes::MAX + 1, b'x');
    let (block, bytes) = (identify(&bytes).unwrap(), BlockBytes::from(bytes));
    let validator = set().proposer(1, 0);
    let proposal = Proposal { height: 1, round: 0, pol_round: None, block, validator };
    let body = Body::Proposal(proposal, proposal.sign(&ZONE, EPOCH, &key(validator)), bytes);
    let encoded = message(body.clone()).encode();
    assert!(matches!(Message::decode(&encoded), Err(DecodeError::Malformed { .. })), "not even decoded");
    refused(body, Rejected::BlockTooLong { bytes: BlockBytes::MAX + 1 });
}

#[test]
fn polka_certificates_that_prove_nothing() {
    let (block, _) = block("polka");
    let good = polka((1, 0), block, &[0, 1, 2]);
    let refuse = |change: &dyn Fn(&mut PolkaCertificate), reason: Rejected| {
        let mut certificate = good.clone();
        change(&mut certificate);
        refused(Body::Polka(certificate), reason);
    };
    refuse(&|c| c.signatures.truncate(2), Rejected::NoQuorum { stake: 20, total: 40 });
    refuse(&|c| c.signatures[1] = c.signatures[0], Rejected::Unordered);
    refuse(&|c| c.signatures.swap(0, 1), Rejected::Unordered);
    refuse(&|c| c.signatures[2].0 = 3, Rejected::WrongSignature { validator: 3 });
    refuse(&|c| c.signatures[2].0 = 4, Rejected::UnknownValidator { validator: 4 });
    refuse(&|c| c.round = 1, Rejected::WrongSignature { validator: 0 });
    refuse(&|c| c.block = BlockId([0; 32]), Rejected::WrongSignature { validator: 0 });
    refuse(&|c| c.signatures.clear(), Rejected::NoQuorum { stake: 0, total: 40 });
    let crowd = (0..100).map(|n| (n, good.signatures[0].1)).collect::<Vec<_>>();
    refuse(&|c| c.signatures = crowd.clone(), Rejected::Unordered);
    let (mut committee, _) = follower();
    let actions = committee.handle(from_peer(Body::Polka(good.clone())));
    assert_eq!(appended(&actions), [WalRecord::Polka(good)], "the same, unchanged, is accepted");
}

#[test]
fn round_certificates_that_prove_nothing() {
    let nil = |kind| [(0, kind, None), (1, kind, None), (2, kind, None)];
    let mut mixed = nil(Precommit);
    mixed[1].1 = Prevote;
    let body = |kind, votes: &[_]| Body::Round(round_certificate(kind, (1, 2), votes));
    refused(body(RoundKind::Precommit, &mixed), Rejected::NotPrecommit { validator: 1 });
    let few = Rejected::NoQuorum { stake: 20, total: 40 };
    refused(body(RoundKind::Precommit, &nil(Precommit)[..2]), few);
    refused(body(RoundKind::Skip, &nil(Prevote)[..1]), Rejected::NoQuorum { stake: 10, total: 40 });
    let twice = [(0, Prevote, None), (0, Precommit, None)];
    refused(body(RoundKind::Skip, &twice), Rejected::Unordered);
    let mut forged = round_certificate(RoundKind::Skip, (1, 2), &nil(Prevote));
    forged.votes[0].block = Some(BlockId([1; 32]));
    refused(Body::Round(forged), Rejected::WrongSignature { validator: 0 });
    let (mut committee, _) = follower();
    committee.handle(from_peer(body(RoundKind::Skip, &nil(Prevote)[..2])));
    assert_eq!(committee.round(), Some(2), "more than a third of the stake moves the round");
}

#[test]
fn certified_blocks_that_are_not() {
    let ((id, bytes), (other, other_bytes)) = (block("final"), block("other"));
    let good = certificate((1, 0), id, &[0, 1, 3]);
    let offer = |bytes: &BlockBytes, certificate| {
        let (mut committee, _) = follower();
        let actions = committee.handle(Input::Certified { from: peer(), bytes: bytes.clone(), certificate });
        assert_eq!(committee.height(), 1);
        let [reason] = &rejected(&actions)[..] else { panic!("{actions:?}") };
        reason.clone()
    };
    let is_certificate = |reason| match reason {
        Rejected::Certificate(error) => matches!(*error, LedgerError::Certificate { height: 1, .. }),
        _ => false,
    };
    assert!(is_certificate(offer(&bytes, certificate((1, 0), id, &[0, 1]))), "too little stake");
    assert!(is_certificate(offer(&bytes, certificate((1, 0), id, &[0, 0, 1]))), "one twice");
    let mut forged = good.clone();
    forged.block = other;
    assert!(is_certificate(offer(&other_bytes, forged)), "for another block");
    let mut prevotes = good.clone();
    prevotes.signatures = polka((1, 0), id, &[0, 1, 3]).signatures;
    assert!(is_certificate(offer(&bytes, prevotes)), "prevotes decide nothing");
    let mut epoch = good.clone();
    epoch.epoch += 1;
    assert!(is_certificate(offer(&bytes, epoch)), "of another epoch");
    assert_eq!(offer(&other_bytes, good.clone()), Rejected::OtherBlock { block: id });
    let far = certificate((3, 0), id, &[0, 1, 2]);
    assert_eq!(offer(&bytes, far), Rejected::FarHeight { found: 3, height: 1 });

    let (mut committee, _) = follower();
    let input = Input::Certified { from: peer(), bytes: bytes.clone(), certificate: good.clone() };
    let actions = committee.handle(input);
    let commit = Action::Commit { height: 1, block: id, bytes, certificate: good };
    assert_eq!(actions, [Action::CancelAllTimers, commit], "the same, unchanged, is accepted");
    assert_eq!((committee.height(), committee.round()), (2, None));
}

#[test]
fn a_proposer_that_signs_many_blocks_for_one_round() {
    let (mut committee, _) = follower();
    let mut judged = 0;
    for n in 0..50 {
        let actions = committee.handle(from_peer(proposal_body((1, 0), &n.to_string())));
        judged += actions.iter().filter(|action| matches!(action, Action::Judge { .. })).count();
    }
    assert_eq!(judged, 2, "each costs an execution");
    // The proof comes out when the height is over.
    let (id, bytes) = block("final");
    let certificate = certificate((1, 0), id, &[0, 1, 3]);
    let actions = committee.handle(Input::Certified { from: peer(), bytes, certificate });
    let evidence = actions.iter().find_map(|action| match action {
        Action::Equivocation(evidence) => Some(evidence),
        _ => None,
    });
    let evidence = evidence.unwrap();
    assert!(evidence.proves(&ZONE, EPOCH, set().voters()));
    assert_eq!(evidence.validator(), set().proposer(1, 0));
}

#[test]
fn evidence_that_proves_nothing() {
    let (id, _) = block("x");
    let (nil, some) = (vote(Prevote, (1, 0), None, 2), vote(Prevote, (1, 0), Some(id), 2));
    let proves = |votes| Evidence::Votes(votes).proves(&ZONE, EPOCH, set().voters());
    assert!(proves([nil, some]));
    assert!(!proves([nil, nil]), "the same twice");
    assert!(!proves([nil, vote(Precommit, (1, 0), Some(id), 2)]), "of another kind");
    assert!(!proves([nil, vote(Prevote, (1, 1), Some(id), 2)]), "of another round");
    assert!(!proves([nil, vote(Prevote, (2, 0), Some(id), 2)]), "of another height");
    assert!(!proves([nil, vote(Prevote, (1, 0), Some(id), 3)]), "of another validator");
    assert!(!proves([nil, (some.0, nil.1)]), "with another vote's signature");
}

#[test]
fn a_vote_with_our_key_that_we_did_not_cast() {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    let (foreign, signature) = vote(Prevote, (1, 0), Some(BlockId([5; 32])), me);
    let actions = committee.handle(from_peer(Body::Vote(foreign, signature)));
    assert_eq!(actions, [Action::Fault(CommitteeError::ForeignVote(foreign))]);
    // A forged one says nothing about our key.
    let forged = vote(Prevote, (1, 0), None, proposer).1;
    let actions = committee.handle(from_peer(Body::Vote(foreign, forged)));
    assert_eq!(rejected(&actions), [Rejected::WrongSignature { validator: me }]);
}

#[test]
fn a_flood_of_messages_for_the_next_height_is_bounded() {
    let (mut committee, proposer) = follower();
    let me = (proposer + 1) % 4;
    for round in 0..40 {
        committee.handle(from_peer(proposal_body((2, round), "later")));
        for validator in (0..4).filter(|n| *n != me) {
            committee.handle(from_peer(vote_body(Prevote, (2, round), None, validator)));
        }
    }
    let (id, bytes) = block("final");
    let certificate = certificate((1, 0), id, &[0, 1, 3]);
    let actions = committee.handle(Input::Certified { from: peer(), bytes, certificate });
    assert!(actions.contains(&Action::Wake { height: 2 }), "others are there already");
    let actions = committee.handle(Input::Start { height: 2 });
    let votes =
        appended(&actions).iter().filter(|r| matches!(r, WalRecord::Vote(v, _) if v.validator != me)).count();
    let kept = usize::try_from(FUTURE_ROUNDS).unwrap() * 3;
    assert!(votes > 0 && votes <= kept, "{votes} of 120 were kept");
}

#[test]
fn timers_that_were_cancelled_or_never_set() {
    let (mut committee, _) = follower();
    for (height, round, kind) in
        [(1, 0, TimerKind::Precommit), (1, 5, TimerKind::Propose), (7, 0, TimerKind::Propose)]
    {
        assert_eq!(committee.handle(Input::Elapsed(Timer { height, round, kind })), []);
    }
    let propose = Timer { height: 1, round: 0, kind: TimerKind::Propose };
    let votes = published_votes(&committee.handle(Input::Elapsed(propose)));
    assert_eq!(votes.len(), 1, "the one that was set makes it vote nil");
    assert_eq!(committee.handle(Input::Elapsed(propose)), [], "once");
}

#[test]
fn a_host_that_answers_what_was_not_asked() {
    let (mut committee, _) = follower();
    assert_eq!(committee.handle(Input::Judged { block: BlockId([1; 32]), valid: true }), []);
    let (block, bytes) = block("uninvited");
    assert_eq!(committee.handle(Input::Built { height: 1, round: 0, block, bytes: bytes.clone() }).len(), 0);
    assert_eq!(committee.handle(Input::Built { height: 9, round: 0, block, bytes }), []);
    let started = |height| Action::Fault(CommitteeError::Started { height, current: 1 });
    assert_eq!(committee.handle(Input::Start { height: 1 }), [started(1)]);
    assert_eq!(committee.handle(Input::Start { height: 2 }), [started(2)]);

    let proposer = set().proposer(1, 0);
    let mut committee = Committee::new(config(proposer), 1);
    committee.handle(Input::Start { height: 1 });
    let bytes = BlockBytes::from(vec![0; BlockBytes::MAX + 1]);
    let actions = committee.handle(Input::Built { height: 1, round: 0, block, bytes });
    let bytes = BlockBytes::MAX + 1;
    assert_eq!(actions, [Action::Fault(CommitteeError::BuiltTooLong { height: 1, round: 0, bytes })]);
}
