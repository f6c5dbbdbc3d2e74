//! A whole node among agents that lie: each lie is named, nothing of it is stored, and one honest agent is enough.

use crate::{agent::*, town::*};
use ohmesh_ledger::*;
use ohmesh_mesh::MeshError;
use ohmesh_node::{AgentFault, Certified, Event, NodeError, ReplicaError, Status};
use ohmesh_units::*;
use std::time::Duration;

/// All four agents in `mood`: each is named with a fault that `is_it`, and nothing is stored. Then one of them turns
/// honest, and the node has the truth.
fn is_refused(town: Town, mood: impl Fn(&Town) -> Mood, is_it: impl Fn(&AgentFault) -> bool) {
    simulate(async move {
        let world = World::new(town);
        let node = world.node();
        world.all(&world.town(|town| mood(town)));
        assert_eq!(node.sync().await, Err(NodeError::NoAgent { asked: 4 }));
        let mut names = Vec::new();
        for event in events(&node) {
            let Event::AgentFailed { name, reason } = event else { panic!("{event:?}") };
            assert!(is_it(&reason), "{reason:?}");
            names.push(name);
        }
        names.sort();
        assert_eq!(names, ["v1", "v2", "v3", "v4"]);
        assert_eq!(node.account(), Ok(None));
        assert_eq!(node.replica().head(), Ok(None));
        world.set(2, Mood::Honest);
        let synced = node.sync().await.unwrap();
        assert_eq!(synced.account.unwrap().proven.header, world.town(|town| town.head()).0);
        assert_eq!(node.replica().audit(), Ok(vec![]));
    });
}

fn is_certificate(fault: &AgentFault, says: &str) -> bool {
    matches!(fault, AgentFault::Answer(ReplicaError::Ledger(LedgerError::Certificate { reason, .. }))
        if reason.contains(says))
}

#[test]
fn a_forged_certificate() {
    let mood = |town: &Town| {
        let (header, mut certificate) = town.head();
        certificate.signatures[2].1 = key(99).sign(Vote::DOMAIN, b"trust me");
        Mood::Proves(Box::new((header, certificate)), town.proofs(BUYER))
    };
    is_refused(Town::new(), mood, |fault| is_certificate(fault, "the signature of validator 2 is wrong"));
}

#[test]
fn too_little_stake() {
    let mood = |town: &Town| Mood::Proves(Box::new(certified(&town.head().0, &[1, 2])), town.proofs(BUYER));
    is_refused(Town::new(), mood, |fault| is_certificate(fault, "not more than two thirds"));
}

#[test]
fn the_certificate_of_another_block() {
    let mood = |town: &Town| {
        let (header, _) = town.head();
        let (_, other) = town.other_next(Duration::from_secs(1), &VALIDATORS);
        Mood::Proves(Box::new((header, other)), town.proofs(BUYER))
    };
    is_refused(Town::new(), mood, |fault| is_certificate(fault, "not for this header"));
}

#[test]
fn proofs_for_another_root() {
    let mut town = Town::new();
    let old = town.proofs(BUYER);
    town.pay(BUYER, SELLER, 90_000_000);
    let mood = move |town: &Town| Mood::Proves(Box::new(town.head()), old.clone());
    is_refused(town, mood, |fault| {
        matches!(fault, AgentFault::Answer(ReplicaError::Ledger(LedgerError::Proof { .. })))
    });
}

#[test]
fn somebody_elses_account() {
    let mood = |town: &Town| Mood::Proves(Box::new(town.head()), town.proofs(SELLER));
    is_refused(Town::new(), mood, |fault| {
        let (asked, found) = (account(BUYER).into(), account(SELLER).into());
        *fault == AgentFault::Answer(ReplicaError::Ledger(LedgerError::OtherObject { asked, found }))
    });
}

#[test]
fn bytes_that_are_no_answer() {
    let mood = |_: &Town| Mood::Says(vec![1, 77, 1]);
    is_refused(Town::new(), mood, |fault| {
        matches!(fault, AgentFault::Malformed(DecodeError::Malformed { .. }))
    });
    let mood = |_: &Town| Mood::Says(vec![2, 0]);
    is_refused(Town::new(), mood, |fault| {
        matches!(fault, AgentFault::Malformed(DecodeError::Version { .. }))
    });
}

#[test]
fn an_answer_longer_than_a_phone_takes() {
    let mood = |_: &Town| Mood::Says(vec![0; 2 << 20]);
    is_refused(Town::new(), mood, |fault| matches!(fault, AgentFault::Mesh(MeshError::TooLarge { .. })));
}

#[test]
fn an_answer_to_another_question() {
    let mood = |_: &Town| Mood::Says(Answer::Applied(Hash::ZERO).encode());
    is_refused(Town::new(), mood, |fault| *fault == AgentFault::OtherAnswer);
}

#[test]
fn no_block_yet_and_a_refusal() {
    let mood = |_: &Town| Mood::Says(Answer::Head(None).encode());
    is_refused(Town::new(), mood, |fault| *fault == AgentFault::NoBlock);
    let rude = format!("\u{1b}[2Jno{}", "o".repeat(5_000));
    let mood = move |_: &Town| Mood::Says(Answer::Refused(rude.clone()).encode());
    is_refused(
        Town::new(),
        mood,
        |fault| matches!(fault, AgentFault::Refused(reason) if reason.starts_with("[2Jnoo") && reason.len() == 200),
    );
}

/// The node has synced; then all agents lie, and what it knows stays.
fn keeps_what_it_knows(mood: impl Fn(&mut Town) -> Mood, fault: impl Fn(&Town) -> AgentFault) {
    simulate(async move {
        let world = World::new(Town::new());
        let node = world.node();
        let lie = world.town(|town| mood(town));
        node.sync().await.unwrap();
        let (view, _) = (node.account().unwrap(), events(&node));
        world.all(&lie);
        assert_eq!(node.sync().await, Err(NodeError::NoAgent { asked: 4 }));
        let expected = world.town(|town| fault(town));
        let mut named = 0;
        for event in events(&node) {
            match event {
                Event::AgentFailed { reason, .. } => {
                    assert_eq!(reason, expected);
                    named += 1;
                }
                Event::Forked { .. } => {
                    assert!(matches!(expected, AgentFault::Answer(ReplicaError::Fork { .. })))
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(named, 4);
        assert_eq!(node.account().unwrap(), view);
        assert_eq!(node.replica().audit(), Ok(vec![]));
    });
}

#[test]
fn an_older_height_than_known() {
    let old = |town: &mut Town| {
        let mood = Mood::Proves(Box::new(town.head()), town.proofs(BUYER));
        town.pay(BUYER, SELLER, 90_000_000);
        mood
    };
    keeps_what_it_knows(old, |town| {
        AgentFault::Answer(ReplicaError::Older { have: town.height(), offered: town.height() - 1 })
    });
}

#[test]
fn an_account_that_is_hidden() {
    keeps_what_it_knows(|town| Mood::Proves(Box::new(town.head()), vec![]), |_| AgentFault::Withheld);
}

#[test]
fn a_fork() {
    let fork = |town: &mut Town| {
        let twin: Certified = town.other_next(Duration::from_secs(9), &[1, 2, 4]);
        let proofs = town.proofs(BUYER);
        town.block(vec![]);
        // An empty block changes no balance, so the proofs hold against both.
        Mood::Proves(Box::new(twin), proofs)
    };
    keeps_what_it_knows(fork, |town| {
        AgentFault::Answer(ReplicaError::Fork { one: town.height(), other: town.height() })
    });
}

#[test]
fn the_evidence_of_a_fork_is_kept() {
    simulate(async {
        let world = World::new(Town::new());
        let (twin, proofs) =
            world.town(|town| (town.other_next(Duration::from_secs(9), &[1, 2, 4]), town.proofs(BUYER)));
        world.town(|town| town.block(vec![]));
        let node = world.node();
        node.sync().await.unwrap();
        world.all(&Mood::Proves(Box::new(twin.clone()), proofs));
        node.sync().await.unwrap_err();
        let forks = node.replica().forks().unwrap();
        assert_eq!(forks.len(), 1, "four agents told the same one");
        assert_eq!(forks[0].other, twin);
    });
}

#[test]
fn a_transaction_said_to_be_applied_is_hearsay_and_pays_nobody() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        node.sync().await.unwrap();
        events(&node);

        world.all(&Mood::Claims(Answer::Applied(Hash([6; 32]))));
        let submitted = node.submit(pay(BUYER, SELLER, 1_000_000)).await.unwrap();
        assert_eq!(submitted.status, Status::Signed, "another content than was signed is no answer");
        let named = events(&node);
        assert_eq!(named.len(), 4);
        for event in named {
            let Event::AgentFailed { reason, .. } = event else { panic!("{event:?}") };
            assert_eq!(reason, AgentFault::OtherContent(Hash([6; 32])));
        }

        node.sync().await.unwrap();
        let other = AgentFault::OtherContent(Hash([6; 32]));
        let is_named = |event: Event| matches!(event, Event::AgentFailed { reason, .. } if reason == other);
        assert_eq!(events(&node).into_iter().filter(|event| is_named(event.clone())).count(), 1);
        assert_eq!(node.wallet().open_transactions().unwrap()[0].status, Status::Signed);

        let sent = node.wallet().transaction(&submitted.id).unwrap().unwrap();
        world.all(&Mood::Claims(Answer::Applied(sent.signed.transaction.content())));
        let view = node.sync().await.unwrap().account.unwrap();
        assert_eq!(view.proven.balances[0].unwrap().of(Asset::Currency).posted, 100_000_000);
        let status = node.wallet().transaction(&submitted.id).unwrap().unwrap().status;
        assert_eq!(status, Status::Reported, "hearsay, and called so");
    });
}

#[test]
fn an_account_said_to_be_open_is_not() {
    simulate(async {
        let world = World::new(Town::empty());
        let node = world.node();
        let opened = node.open_account().await.unwrap();
        let sent = node.wallet().transaction(&opened.id).unwrap().unwrap();
        world.all(&Mood::Claims(Answer::Applied(sent.signed.transaction.content())));
        assert_eq!(node.sync().await.unwrap().account, None);
        assert_eq!(node.account(), Ok(None));
        let status = || node.wallet().transaction(&opened.id).unwrap().unwrap().status;
        assert_eq!(status(), Status::Reported);
        world.all(&Mood::Honest);
        world.town(Town::work);
        let height = node.sync().await.unwrap().height;
        assert_eq!(status(), Status::Proven { height }, "proof comes later and replaces hearsay");
    });
}

#[test]
fn an_agent_with_another_key_is_not_spoken_to() {
    simulate(async {
        let world = World::new(Town::new());
        let mut zone = zone_file().zone;
        let mut validators = zone.validators.all().to_vec();
        for validator in &mut validators {
            validator.address = "10.0.0.1:4433".into();
        }
        zone.validators = ValidatorSet::new(validators).unwrap();
        let mut file = ZoneFile::new(zone).unwrap();
        for n in VALIDATORS {
            file.sign(&key(n)).unwrap();
        }
        let endpoint = ohmesh_mesh::Endpoint::builder(key(123))
            .socket(world.net.bind("10.0.0.123:1".parse().unwrap()))
            .seed([1; 32])
            .clock(world.clock.clone())
            .start()
            .unwrap();
        let node = ohmesh_node::Builder::new(file, key(BUYER)).endpoint(endpoint).build().unwrap();
        node.sync().await.unwrap_err();
        let wrong_key = events(&node).into_iter().filter(|event| {
            matches!(event, Event::AgentFailed { reason: AgentFault::Mesh(MeshError::WrongKey { .. }), .. })
        });
        assert_eq!(wrong_key.count(), 3, "the first is who it says, and answers for another zone");
    });
}
