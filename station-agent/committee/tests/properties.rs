//! Whatever comes from outside: no panic, no second signature, and the log always replays to the same votes.
#![allow(clippy::unwrap_used)]

#[path = "fixture/four.rs"]
mod four;

use four::*;
use ohmesh_committee::*;
use ohmesh_ledger::{Proposal, Vote, VoteKind};
use ohmesh_units::{BlockId, Canonical, Signature};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What three peers in league, who sign anything, and a hasty host can do.
#[derive(Clone, Debug)]
enum Move {
    Vote(VoteKind, u64, u32, Option<u8>, u16),
    Proposal(u64, u32, Option<u32>, u8),
    Polka(u32, u8, Vec<u16>),
    Round(RoundKind, u32, Vec<(u16, VoteKind, Option<u8>)>),
    Judge(u8, bool),
    Build(u32),
    Timer(u32, TimerKind),
}

/// Mostly what makes progress, so that histories lead to locks and decisions, with all that cheats mixed in.
fn moves() -> impl Strategy<Value = Vec<Move>> {
    let kind = || prop_oneof![Just(Prevote), Just(Precommit)];
    let id = || prop_oneof![6 => Just(0u8), 1 => Just(1), 1 => Just(2)];
    let block = move || prop_oneof![1 => Just(None), 5 => id().prop_map(Some)];
    let height = || prop_oneof![20 => Just(1u64), 1 => 0u64..4];
    let round = || prop_oneof![8 => Just(0u32), 3 => Just(1), 1 => Just(2), 1 => Just(3)];
    let others = || proptest::sample::subsequence(vec![0u16, 1, 2, 3], 0..=4);
    let timer = prop_oneof![
        1 => Just(TimerKind::Propose),
        1 => Just(TimerKind::Prevote),
        2 => Just(TimerKind::Precommit),
        1 => Just(TimerKind::Rebroadcast)
    ];
    let round_votes = others().prop_flat_map(move |validators| {
        let votes = validators.into_iter().map(move |v| (Just(v), kind(), block()));
        votes.collect::<Vec<_>>()
    });
    let round_kind = prop_oneof![Just(RoundKind::Skip), Just(RoundKind::Precommit)];
    let pol = prop_oneof![4 => Just(None), 1 => (0u32..4).prop_map(Some)];
    let one = prop_oneof![
        40 => (kind(), height(), round(), block(), 0u16..4)
            .prop_map(|(k, h, r, b, v)| Move::Vote(k, h, r, b, v)),
        12 => (height(), round(), pol, id()).prop_map(|(h, r, p, b)| Move::Proposal(h, r, p, b)),
        2 => (round(), id(), others()).prop_map(|(r, b, v)| Move::Polka(r, b, v)),
        1 => (round_kind, round(), round_votes).prop_map(|(k, r, v)| Move::Round(k, r, v)),
        12 => (id(), prop::bool::weighted(0.9)).prop_map(|(b, v)| Move::Judge(b, v)),
        4 => round().prop_map(Move::Build),
        4 => (round(), timer).prop_map(|(r, k)| Move::Timer(r, k)),
    ];
    proptest::collection::vec(one, 1..100)
}

fn name(block: u8) -> String {
    format!("b{block}")
}

/// The input of a move; `None` where it would need the key of the validator under test.
fn input(me: u16, step: Move) -> Option<Input> {
    let id = |b: u8| block(&name(b)).0;
    Some(match step {
        Move::Vote(kind, height, round, block, validator) if validator != me => {
            from_peer(vote_body(kind, (height, round), block.map(id), validator))
        }
        Move::Proposal(height, round, pol_round, b) if set().proposer(height, round) != me => {
            let validator = set().proposer(height, round);
            let (block, bytes) = block(&name(b));
            let proposal = Proposal { height, round, pol_round, block, validator };
            let signature = proposal.sign(&ZONE, EPOCH, &key(validator));
            from_peer(Body::Proposal(proposal, signature, bytes))
        }
        Move::Polka(round, b, signers) if !signers.contains(&me) => {
            from_peer(Body::Polka(polka((1, round), id(b), &signers)))
        }
        Move::Round(kind, round, votes) if votes.iter().all(|(validator, _, _)| *validator != me) => {
            let votes: Vec<_> = votes.into_iter().map(|(v, k, b)| (v, k, b.map(id))).collect();
            from_peer(Body::Round(round_certificate(kind, (1, round), &votes)))
        }
        Move::Judge(b, valid) => Input::Judged { block: id(b), valid },
        Move::Build(round) => {
            let (block, bytes) = block(&format!("mine {round}"));
            Input::Built { height: 1, round, block, bytes }
        }
        Move::Timer(round, kind) => Input::Elapsed(Timer { height: 1, round, kind }),
        Move::Vote(..) | Move::Proposal(..) | Move::Polka(..) | Move::Round(..) => return None,
    })
}

/// Every signature of one validator at one height, by round and kind.
#[derive(Default)]
struct Signed(BTreeMap<(u32, VoteKind), Vote>);

impl Signed {
    fn check(&mut self, me: u16, actions: &[Action]) {
        for (vote, _) in published_votes(actions).into_iter().filter(|(vote, _)| vote.height == 1) {
            assert_eq!(vote.validator, me);
            assert_eq!(*self.0.entry((vote.round, vote.kind)).or_insert(vote), vote);
        }
        for action in actions {
            assert!(!matches!(action, Action::Fault(CommitteeError::DoubleSign { .. })), "{action:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_liars_make_nobody_panic_or_sign_twice(me in 0u16..4, moves in moves(), cut in any::<prop::sample::Index>()) {
        let mut committee = Committee::new(config(me), 1);
        let (mut signed, mut log, mut synced, mut blocks) = (Signed::default(), Vec::new(), 0, Vec::new());
        let mut durable = vec![0];
        let mut take = |actions: Vec<Action>, signed: &mut Signed, log: &mut Vec<WalRecord>| {
            signed.check(me, &actions);
            for action in actions {
                match action {
                    Action::Append(record) => log.push(record),
                    Action::Sync => synced = log.len(),
                    Action::Publish(_) => prop_assert!(synced == log.len(), "published before it was durable"),
                    _ => (),
                }
            }
            durable.push(synced);
            Ok(())
        };
        take(committee.handle(Input::Start { height: 1 }), &mut signed, &mut log)?;
        for step in moves {
            let Some(input) = input(me, step) else { continue };
            if let Input::Built { bytes, .. } = &input {
                blocks.push(bytes.clone());
            }
            take(committee.handle(input), &mut signed, &mut log)?;
        }
        blocks.extend((0..3).map(|b| block(&name(b)).1));
        // Killed at any time after any sync, it votes as it had voted.
        let kept = durable[cut.index(durable.len())];
        for kept in [kept, log.len()] {
            let (_, actions) = Committee::replay(config(me), 1, log[..kept].to_vec(), blocks.clone()).unwrap();
            let logged: Vec<Vote> = log[..kept].iter().filter_map(|record| match record {
                WalRecord::Vote(vote, _) if vote.validator == me => Some(*vote),
                _ => None,
            }).collect();
            for (vote, _) in published_votes(&actions) {
                prop_assert!(vote.height != 1 || logged.contains(&vote) || appended(&actions).iter().any(|r|
                    matches!(r, WalRecord::Vote(v, _) if *v == vote)));
            }
            signed.check(me, &actions);
        }
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(&bytes);
        let _ = WalRecord::decode(&bytes);
        let _ = Evidence::decode(&bytes);
    }

    #[test]
    fn a_damaged_message_is_refused_or_another_message(at in any::<prop::sample::Index>(), bit in 0u8..8, which in 0usize..4) {
        let (id, _) = block("one");
        let good = message(match which {
            0 => vote_body(Prevote, (1, 0), Some(id), 2),
            1 => proposal_body((1, 0), "one"),
            2 => Body::Polka(polka((1, 0), id, &[0, 1, 2])),
            _ => Body::Round(round_certificate(RoundKind::Skip, (1, 1), &[(0, Prevote, None), (2, Precommit, Some(id))])),
        });
        let mut bytes = good.encode();
        prop_assert_eq!(Message::decode(&bytes).unwrap(), good.clone());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(damaged) = Message::decode(&bytes) {
            prop_assert_ne!(&damaged, &good);
            let (mut committee, _) = follower();
            let actions = committee.handle(Input::Message { from: peer(), message: damaged });
            // Nothing that the damage could have changed is believed.
            prop_assert!(appended(&actions).is_empty(), "{:?}", actions);
        }
    }

    #[test]
    fn signatures_cannot_be_moved(kind_at in 0usize..2, round in 0u32..3, bytes in any::<[u8; 32]>()) {
        let kinds = [Prevote, Precommit];
        let (mut committee, proposer) = follower();
        let other = (proposer + 2) % 4;
        let (vote, signature) = vote(kinds[kind_at], (1, round), None, other);
        let moved = [
            Vote { kind: kinds[1 - kind_at], ..vote },
            Vote { round: round + 1, ..vote },
            Vote { block: Some(BlockId(bytes)), ..vote },
            Vote { validator: proposer, ..vote },
        ];
        for vote in moved {
            let actions = committee.handle(from_peer(Body::Vote(vote, signature)));
            prop_assert_eq!(rejected(&actions), vec![Rejected::WrongSignature { validator: vote.validator }]);
        }
        let random = Signature::from_bytes([bytes, bytes].concat().try_into().unwrap());
        let actions = committee.handle(from_peer(Body::Vote(vote, random)));
        prop_assert_eq!(rejected(&actions).len(), 1);
    }
}
