//! Epochs: how a phone follows who votes, what that costs, and every way to cheat it that we know of.

use crate::{
    agent::{events, simulate},
    chain::*,
    town::{BUYER, SELLER, account},
};
use ohmesh_ledger::*;
use ohmesh_node::{
    AgentFault, Certified, Event, Freshness, NodeError, OnDamage, Part, Place, Replica, ReplicaError, Store,
};
use ohmesh_units::*;
use std::time::Duration;
use tempfile::TempDir;

fn replica(chain: &Chain) -> Replica {
    let store = Store::open(&Place::Memory, &chain.file).unwrap();
    Replica::open(store, OnDamage::Refuse).unwrap().0
}

/// A replica that has followed `chain` to its end.
fn followed(chain: &Chain) -> Replica {
    let replica = replica(chain);
    replica.store_hand_overs(&chain.hand_overs).unwrap();
    replica.store_account(&account(BUYER), &chain.head, &chain.proofs(BUYER)).unwrap();
    replica
}

/// What a week offline costs: all bytes on the wire, handshake and acknowledgements included, and with the longer paths
/// of a ledger of a million objects.
fn week_offline(validators: usize) -> (u64, u64) {
    simulate(async move {
        let mut chain = Chain::new(validators);
        let holds = chain.open_sales();
        let land = Land::new(chain);
        let folder = TempDir::new().unwrap();
        let place = || Place::File(folder.path().join("node.db"));
        {
            let node = land.phone(place(), 1).build().unwrap();
            let mut follow = holds.clone();
            follow.extend((1..=5).map(|number| Hash::from(outlet_of(number))));
            node.sync_with(&follow).await.unwrap();
            node.close().await.unwrap();
        }
        land.chain(|chain| {
            chain.settle(&holds);
            (0..7).for_each(|_| chain.day());
            assert_eq!(chain.hand_overs.len(), 7);
            assert!(chain.hand_overs.iter().is_sorted_by(|a, b| a.voters != b.voters), "new keys every day");
        });
        land.catch_up();
        *land.counted.lock().unwrap() = Counted::default();
        let node = land.phone(place(), 2).build().unwrap();
        let before = land.net.stats().bytes;
        let mut follow = holds.clone();
        follow.extend((1..=5).map(|number| Hash::from(outlet_of(number))));
        let synced = node.sync_with(&follow).await.unwrap();
        let wire = land.net.stats().bytes - before;
        assert!(synced.freshness.is_fresh());
        assert_eq!(node.replica().epoch().unwrap().epoch, 7);
        let paid = synced.account.unwrap().proven.balances[0].unwrap();
        assert_eq!(paid.bought, Energy::from_wh(45_000));
        for hold in &holds {
            let (_, object) = node.replica().object(hold).unwrap().unwrap();
            assert!(matches!(object, Object::Finished(Finished { end: End::Posted, .. })), "{object:?}");
        }
        assert_eq!(node.replica().audit(), Ok(vec![]));
        let counted = land.counted.lock().unwrap().clone();
        let whole = wire + counted.more as u64;
        println!(
            "{validators} validators: {} B of questions and answers, {wire} B on the wire, {whole} B at a million objects: {:?}",
            counted.bytes, counted.questions
        );
        (wire, whole)
    })
}

#[test]
fn a_week_offline_with_five_settlements_costs_at_most_32_kb() {
    for validators in [4, 7, 21] {
        let (wire, whole) = week_offline(validators);
        assert!(wire <= whole && whole <= 32 << 10, "{validators} validators: {whole} B");
    }
    let (_, whole) = week_offline(32);
    assert!(whole <= 40 << 10, "the largest committee goes beyond the budget, but not far: {whole} B");
}

#[test]
fn a_day_costs_at_most_16_kb_and_an_hour_no_hand_over() {
    simulate(async {
        let land = Land::new(Chain::new(7));
        let node = land.phone(Place::Memory, 1).build().unwrap();
        node.sync().await.unwrap();
        land.chain(Chain::day);
        land.catch_up();
        let before = land.net.stats().bytes;
        node.sync().await.unwrap();
        let wire = land.net.stats().bytes - before;
        assert!(wire <= 16 << 10, "{wire} B");
        *land.counted.lock().unwrap() = Counted::default();
        land.chain(|chain| chain.block(Duration::from_secs(3600), vec![]));
        land.catch_up();
        node.sync().await.unwrap();
        let counted = land.counted.lock().unwrap().clone();
        assert_eq!(counted.questions.len(), 1, "the account alone: {:?}", counted.questions);
    });
}

#[test]
fn what_was_followed_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let place = Place::File(folder.path().join("node.db"));
    let chain = Chain::days(5);
    let open = || {
        let store = Store::open(&place, &chain.file).unwrap();
        Replica::open(store, OnDamage::Refuse).unwrap().0
    };
    open().store_hand_overs(&chain.hand_overs[..3]).unwrap();
    let replica = open();
    assert_eq!(replica.epoch().unwrap().epoch, 3);
    assert_eq!(
        replica.head().unwrap().unwrap(),
        chain.hand_overs[2].header,
        "what the hand-over made believable"
    );
    assert_eq!(replica.hand_over(3).unwrap(), Some(chain.hand_overs[2].clone()));
    replica.store_hand_overs(&chain.hand_overs[3..]).unwrap();
    replica.store_account(&account(BUYER), &chain.head, &chain.proofs(BUYER)).unwrap();
    drop(replica);
    assert_eq!(open().account(&account(BUYER)).unwrap().unwrap().header, chain.head.0);
}

#[test]
fn old_epochs_are_let_go_but_not_those_that_something_hangs_on() {
    let mut chain = Chain::new(4);
    let replica = replica(&chain);
    let seller = Hash::from(account(SELLER));
    let proof = chain.state.prove_object(&seller).unwrap();
    replica.store_object(&seller, &chain.head, &proof).unwrap();
    for _ in 0..40 {
        chain.day();
        replica.store_hand_overs(&chain.hand_overs[chain.hand_overs.len() - 1..]).unwrap();
    }
    assert_eq!(replica.hand_over(8).unwrap(), None);
    assert!(replica.hand_over(9).unwrap().is_some(), "32 are kept");
    assert!(replica.object(&seller).unwrap().is_some(), "and the voters who certified what is here");
    assert_eq!(replica.audit(), Ok(vec![]));
}

/// The keys of an epoch that is over certify one block more of it: a fork.
fn forked(replica: &Replica, chain: &Chain) {
    let mut header = chain.hand_overs[1].header.clone();
    (header.height, header.next_voters) = (chain.head.0.height + 5, None);
    header.time = chain.now.checked_add(Duration::from_secs(5)).unwrap();
    let error = replica.store_head(&certified_by(&header, 3, 1, TRUE)).unwrap_err();
    assert!(matches!(error, ReplicaError::Fork { .. }), "{error}");
}

/// A fork keeps the epochs that make it evidence, and no others: the file does not grow for ever.
#[test]
fn after_a_fork_old_epochs_are_let_go_but_not_those_that_prove_it() {
    let mut chain = Chain::days(3);
    let replica = followed(&chain);
    forked(&replica, &chain);
    let forks = replica.forks().unwrap();
    assert_eq!(forks.len(), 1);
    let mut used: Vec<u64> = [&forks[0].one, &forks[0].other].map(|side| side.1.epoch).to_vec();
    used.sort_unstable();
    used.dedup();
    for _ in 3..45 {
        chain.day();
        replica.store_hand_overs(&chain.hand_overs[chain.hand_overs.len() - 1..]).unwrap();
    }
    let kept: Vec<u64> = (1..=45).filter(|epoch| replica.hand_over(*epoch).unwrap().is_some()).collect();
    let expected: Vec<u64> = used.into_iter().filter(|epoch| *epoch > 0).chain(14..=45).collect();
    assert_eq!(kept, expected);
    assert_eq!(replica.forks(), Ok(forks), "and it still holds");
    assert_eq!(replica.audit(), Ok(vec![]));
}

#[test]
fn edited_voters_are_named_and_dropped() {
    for (number, column) in [(0, "anchor"), (3, "anchor"), (3, "hand_over")] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("node.db");
        let place = Place::File(path.clone());
        let chain = Chain::days(3);
        let open = |on_damage| Replica::open(Store::open(&place, &chain.file).unwrap(), on_damage);
        {
            let (replica, _) = open(OnDamage::Refuse).unwrap();
            replica.store_hand_overs(&chain.hand_overs).unwrap();
        }
        let forged = Chain::forged_row(&chain, number, column);
        let statement = format!("UPDATE epochs SET {column} = ?1 WHERE number = ?2");
        let sql = rusqlite::Connection::open(&path).unwrap();
        assert_eq!(sql.execute(&statement, (forged, number)).unwrap(), 1);
        drop(sql);
        match open(OnDamage::Refuse) {
            Err(ReplicaError::Damaged(damage)) => assert_eq!(damage.part, Part::Epoch { number }),
            other => panic!("{other:?}"),
        }
        let (replica, dropped) = open(OnDamage::Drop).unwrap();
        assert_eq!(dropped[0].part, Part::Epoch { number });
        assert_eq!(replica.audit(), Ok(vec![]));
        if number == 3 {
            replica.store_hand_overs(&chain.hand_overs[2..]).unwrap();
        }
        replica.store_account(&account(BUYER), &chain.head, &chain.proofs(BUYER)).unwrap();
    }
}

impl Chain {
    /// A row of the table of epochs in which somebody else votes.
    fn forged_row(&self, number: i64, column: &str) -> Vec<u8> {
        let other = Chain::forked(3, 0, 9);
        let at = usize::try_from(number).unwrap();
        if column == "hand_over" {
            return other.hand_overs[at - 1].encode();
        }
        let mut anchor = Anchor::genesis(&self.file.zone);
        anchor.epoch = u64::try_from(number).unwrap();
        anchor.voters = other.hand_overs[1].voters.clone();
        anchor.encode()
    }
}

fn hand_over_fault(replica: &Replica, hand_overs: &[HandOver]) -> HandOverError {
    let before = (replica.epoch().unwrap(), replica.certified_head().unwrap());
    let error = match replica.store_hand_overs(hand_overs) {
        Err(ReplicaError::HandOver(error)) => *error,
        other => panic!("{other:?}"),
    };
    assert_eq!(before, (replica.epoch().unwrap(), replica.certified_head().unwrap()), "nothing is kept");
    assert_eq!(replica.forks().unwrap(), vec![]);
    error
}

#[test]
fn a_hand_over_skipped_out_of_order_or_replayed() {
    let chain = Chain::days(4);
    let replica = replica(&chain);
    let all = &chain.hand_overs;
    let other = |expected, found| HandOverError::OtherEpoch { expected, found };
    assert_eq!(hand_over_fault(&replica, &all[1..]), other(0, 1), "skipped");
    assert_eq!(hand_over_fault(&replica, &[all[0].clone(), all[2].clone(), all[1].clone()]), other(1, 2));
    replica.store_hand_overs(&all[..3]).unwrap();
    assert_eq!(hand_over_fault(&replica, &all[2..]), other(3, 2), "replayed");
    assert_eq!(hand_over_fault(&replica, &all[..3]), other(3, 0), "from the beginning");
}

#[test]
fn a_hand_over_of_another_zone() {
    let (chain, mut other) = (Chain::days(1), Chain::days(1).hand_overs[0].clone());
    let found = ZoneId([7; 32]);
    other.header.zone = found;
    let (header, certificate) = certified_by(&other.header, 3, 0, TRUE);
    let other = HandOver { header, certificate, ..other };
    let expected = chain.file.zone.id();
    assert_eq!(hand_over_fault(&replica(&chain), &[other]), HandOverError::OtherZone { expected, found });
}

#[test]
fn a_hand_over_with_other_voters_or_of_no_last_block() {
    let chain = Chain::days(1);
    let replica = replica(&chain);
    let good = &chain.hand_overs[0];
    let mine = Chain::forked(1, 0, 9).hand_overs[0].voters.clone();
    let height = good.header.height;
    let swapped = HandOver { voters: mine, ..good.clone() };
    assert_eq!(hand_over_fault(&replica, &[swapped]), HandOverError::OtherVoters { epoch: 0, height });
    // A header in the middle of the epoch ends nothing, whoever signed it.
    let mut young = Chain::new(4);
    young.block(Duration::from_secs(1), vec![]);
    let (header, certificate) = young.head.clone();
    let height = header.height;
    let middle = HandOver { header, certificate, voters: good.voters.clone() };
    assert_eq!(hand_over_fault(&replica, &[middle]), HandOverError::NotLast { epoch: 0, height });
}

#[test]
fn a_hand_over_forged_or_with_too_little_stake() {
    let chain = Chain::days(2);
    let replica = replica(&chain);
    let good = &chain.hand_overs[0];
    let says = |hand_over: HandOver, words: &str| match hand_over_fault(&replica, &[hand_over]) {
        HandOverError::Certificate(LedgerError::Certificate { reason, .. }) => {
            assert!(reason.contains(words), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    let by = |signers, history| {
        let (header, certificate) = certified_by(&good.header, signers, 0, history);
        HandOver { header, certificate, voters: good.voters.clone() }
    };
    says(by(3, 9), "the signature of validator 0, 1, 2 is wrong");
    says(by(2, TRUE), "stake 20 of 40 is not more than two thirds");
    let other = chain.hand_overs[1].certificate.clone();
    let certificate = Certificate { epoch: 0, ..other };
    says(HandOver { certificate, ..good.clone() }, "is wrong");
}

#[test]
fn a_hand_over_that_goes_back_in_height_or_time() {
    let chain = Chain::days(2);
    let (one, two) = (&chain.hand_overs[0], &chain.hand_overs[1]);
    for is_time in [false, true] {
        let replica = replica(&chain);
        replica.store_hand_overs(&chain.hand_overs[..1]).unwrap();
        let mut header = two.header.clone();
        if is_time {
            header.time = one.header.time
        } else {
            header.height = one.header.height
        };
        let (header, certificate) = certified_by(&header, 3, 1, TRUE);
        let back = HandOver { header, certificate, voters: two.voters.clone() };
        // More than two thirds have signed both: whatever else it is, it is evidence.
        let error = replica.store_hand_overs(&[back]).unwrap_err();
        assert!(matches!(error, ReplicaError::Fork { .. }), "{error}");
        assert_eq!(replica.epoch().unwrap().epoch, 1);
    }
}

#[test]
fn a_header_of_an_epoch_nobody_was_led_to() {
    let chain = Chain::days(2);
    let replica = replica(&chain);
    let unknown = |have, offered| Err(ReplicaError::Epoch { have, offered });
    assert_eq!(replica.store_head(&chain.head), unknown(0, 2));
    replica.store_hand_overs(&chain.hand_overs[..1]).unwrap();
    assert_eq!(replica.store_head(&chain.head), unknown(1, 2));
    replica.store_hand_overs(&chain.hand_overs[1..]).unwrap();
    assert_eq!(replica.store_head(&chain.head), Ok(()));
}

/// An old history, signed once more with the keys of epoch 3.
#[test]
fn a_long_range_history_is_refused_by_a_younger_anchor_and_a_fork_to_who_is_past_it() {
    let (truth, lie) = (Chain::days(6), Chain::forked(7, 3, 9));
    assert_eq!(truth.hand_overs[..3], lie.hand_overs[..3], "the same until the end of epoch 3");

    let anchored = replica(&truth);
    let (header, certificate) = truth.hand_overs[4].clone_certified();
    let anchor = Anchor::genesis(&truth.file.zone);
    let anchor = truth.hand_overs[..5].iter().fold(anchor, |at, hand_over| at.follow(hand_over).unwrap());
    assert_eq!((anchor.epoch, anchor.height), (5, header.height));
    assert_eq!(certificate.epoch, 4);
    anchored.anchor(&anchor, truth.now).unwrap();
    let refused = hand_over_fault(&anchored, &lie.hand_overs[3..]);
    assert_eq!(refused, HandOverError::OtherEpoch { expected: 5, found: 3 });
    let refused = hand_over_fault(&anchored, &lie.hand_overs[5..]);
    assert!(matches!(refused, HandOverError::Certificate(_)), "{refused:?}");
    let refused = anchored.store_head(&lie.head);
    assert_eq!(refused, Err(ReplicaError::Epoch { have: 5, offered: 7 }));

    let past = followed(&truth);
    let (one, other) = (truth.hand_overs[3].header.height, lie.hand_overs[3].header.height);
    let fork = Err(ReplicaError::Fork { one, other });
    assert_eq!(past.store_hand_overs(&lie.hand_overs[3..]).map(drop), fork);
    assert_eq!(past.store_head(&lie.hand_overs[3].clone_certified()), fork, "also as a header");
    let forks = past.forks().unwrap();
    assert_eq!(forks.len(), 1);
    assert_eq!(forks[0].one, truth.hand_overs[3].clone_certified());
    assert_eq!(forks[0].other, lie.hand_overs[3].clone_certified());
    assert_eq!(past.certified_head().unwrap(), Some(truth.head.clone()), "what it knew stays");
    assert_eq!(past.audit(), Ok(vec![]));
}

trait CloneCertified {
    fn clone_certified(&self) -> Certified;
}

impl CloneCertified for HandOver {
    fn clone_certified(&self) -> Certified {
        (self.header.clone(), self.certificate.clone())
    }
}

/// Keys of an epoch that is over sign one block more of it.
#[test]
fn a_block_of_an_epoch_that_is_over_is_a_fork() {
    let chain = Chain::days(2);
    let replica = followed(&chain);
    forked(&replica, &chain);
}

/// A phone that was given an anchor believes no newer block that the genesis' keys have certified, whether or not it has
/// seen a block of theirs.
#[test]
fn keys_of_the_genesis_certify_nothing_above_an_anchor() {
    let chain = Chain::days(6);
    let genesis = Anchor::genesis(&chain.file.zone);
    let anchor = chain.hand_overs[..5].iter().fold(genesis, |at, hand_over| at.follow(hand_over).unwrap());
    let mut header = chain.hand_overs[0].header.clone();
    (header.height, header.next_voters) = (anchor.height + 1, None);
    header.time = chain.now;
    let made_up = certified_by(&header, 3, 0, TRUE);
    for has_old_head in [false, true] {
        let replica = replica(&chain);
        if has_old_head {
            let mut early = chain.hand_overs[0].header.clone();
            (early.height, early.next_voters) = (1, None);
            replica.store_head(&certified_by(&early, 3, 0, TRUE)).unwrap();
        }
        replica.anchor(&anchor, chain.now).unwrap();
        let refused = replica.store_head(&made_up);
        let old = ReplicaError::OldKeys { epoch: 0, height: anchor.height + 1, anchor: 5 };
        assert_eq!(refused, Err(old), "old head: {has_old_head}");
    }
}

fn later(chain: &Chain, days: u32) -> Timestamp {
    chain.now.checked_add(DAY * days).unwrap()
}

fn anchor_of(chain: &Chain) -> Anchor {
    Anchor::at(&chain.head, chain.state.validators().voters()).unwrap()
}

#[test]
fn an_anchor_older_than_21_days_is_refused() {
    let chain = Chain::days(2);
    let replica = replica(&chain);
    let anchor = anchor_of(&chain);
    let limit = Anchor::AGE_MAX;
    let second = Duration::from_secs(1);
    let too_late = later(&chain, 21).checked_add(second).unwrap();
    let too_old = Err(ReplicaError::AnchorTooOld { age: limit + second, limit });
    assert_eq!(replica.anchor(&anchor, too_late), too_old);
    assert_eq!(replica.epoch().unwrap().epoch, 0);
    assert_eq!(replica.anchor(&anchor, later(&chain, 21)), Ok(()));
    assert_eq!(replica.check_anchor(later(&chain, 21)), Ok(()));
    assert_eq!(replica.check_anchor(too_late), too_old, "and what it anchored grows old");
    replica.store_account(&account(BUYER), &chain.head, &chain.proofs(BUYER)).unwrap();
    assert_eq!(replica.audit(), Ok(vec![]));
}

#[test]
fn an_anchor_that_lies_is_named() {
    let (truth, lie) = (Chain::days(4), Chain::forked(4, 3, 9));
    let mut elsewhere = anchor_of(&truth);
    elsewhere.zone = ZoneId([7; 32]);
    let known = followed(&truth);
    let expected = truth.file.zone.id();
    let found = elsewhere.zone;
    let now = truth.now;
    assert_eq!(known.anchor(&elsewhere, now), Err(ReplicaError::AnchorOfOtherZone { expected, found }));
    assert_eq!(known.anchor(&anchor_of(&lie), now), Err(ReplicaError::AnchorContradicts { epoch: 4 }));
    let mut ahead = anchor_of(&lie);
    (ahead.epoch, ahead.height) = (9, 3);
    assert_eq!(known.anchor(&ahead, now), Err(ReplicaError::AnchorContradicts { epoch: 9 }));
    assert_eq!(known.anchor(&anchor_of(&Chain::days(2)), now), Ok(()), "an older one is of no account");
    assert_eq!(known.epoch().unwrap().epoch, 4);
    assert_eq!(Anchor::agreed(&anchor_of(&truth), &anchor_of(&lie)), None);
    let older = anchor_of(&truth);
    let mut younger = older.clone();
    (younger.height, younger.time) = (older.height + 1, later(&truth, 1));
    assert_eq!(Anchor::agreed(&younger, &older), Some(older), "the older word of the two");
    assert!(matches!(
        Anchor::at(&lie.head, truth.state.validators().voters()),
        Err(LedgerError::Certificate { .. })
    ));
}

#[test]
fn a_node_that_was_away_too_long_says_so_and_asks_nobody_until_it_is_anchored() {
    simulate(async {
        let land = Land::new(Chain::days(1));
        let folder = TempDir::new().unwrap();
        let place = || Place::File(folder.path().join("node.db"));
        let node = land.phone(place(), 1).build().unwrap();
        node.sync().await.unwrap();
        land.chain(|chain| (0..25).for_each(|_| chain.day()));
        land.catch_up();
        *land.counted.lock().unwrap() = Counted::default();
        let error = node.sync().await.unwrap_err();
        let NodeError::Replica(error) = error else { panic!("{error:?}") };
        assert!(matches!(*error, ReplicaError::AnchorTooOld { age, limit } if age > limit), "{error:?}");
        assert!(error.to_string().contains("25 days old, 21 are allowed"), "{error}");
        assert_eq!(land.counted.lock().unwrap().questions.len(), 0);
        let shown = node.account().unwrap().unwrap();
        assert!(matches!(shown.freshness, Freshness::Stale { .. }), "what it has it still shows");

        let same = node.anchor_by(["agent 1", "agent 1"]).await;
        assert!(matches!(same, Err(NodeError::Operators { .. })), "{same:?}");
        let nobody = node.anchor_by(["agent 1", "mallory"]).await;
        assert!(matches!(nobody, Err(NodeError::Operators { .. })), "{nobody:?}");
        let agreed = node.anchor_by(["agent 1", "agent 2"]).await.unwrap();
        assert_eq!((agreed.epoch, agreed.height), (26, land.chain(|chain| chain.head.0.height)));
        assert!(node.sync().await.unwrap().freshness.is_fresh());
        node.close().await.unwrap();
        drop(node);

        // The app's release does as well, and an old release does no harm where the store is younger.
        let anchor = land.chain(|chain| anchor_of(chain));
        let fresh = land.phone(Place::Memory, 2).anchor(anchor.clone()).build().unwrap();
        assert_eq!(fresh.sync().await.unwrap().height, agreed.height);
        let genesis = Anchor::genesis(&land.chain(|chain| chain.file.zone.clone()));
        let error = land.phone(Place::Memory, 3).anchor(genesis.clone()).build().unwrap_err();
        assert!(
            matches!(error, NodeError::Replica(error) if matches!(*error, ReplicaError::AnchorTooOld { .. }))
        );
        let node = land.phone(place(), 4).anchor(genesis).build().unwrap();
        assert!(node.sync().await.unwrap().freshness.is_fresh());
    });
}

#[test]
fn operators_that_name_other_voters_are_no_anchor() {
    simulate(async {
        let (truth, lie) = (Chain::days(5), Chain::forked(5, 3, 9));
        let land = Land::new(truth);
        let (head, hand_over) = (lie.head.clone(), lie.hand_overs[4].clone());
        let asked = std::sync::atomic::AtomicUsize::new(0);
        // The second operator that is asked lives in another history.
        land.lie(move |query| {
            let count = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            match query {
                Query::Head if count >= 2 => Some(Answer::Head(Some(Box::new(head.clone())))),
                Query::HandOvers { .. } if count >= 2 => Some(Answer::HandOvers(vec![hand_over.clone()])),
                _ => None,
            }
        });
        let node = land.phone(Place::Memory, 1).build().unwrap();
        let error = node.anchor_by(["agent 0", "agent 1"]).await.unwrap_err();
        assert!(
            matches!(&error, NodeError::Operators { reason } if reason.contains("other voters")),
            "{error}"
        );
        assert_eq!(node.replica().epoch().unwrap().epoch, 0);
    });
}

/// All agents lie; gives what each was named for.
fn faults_of(chain: Chain, lie: impl Fn(&Query) -> Option<Answer> + Send + 'static) -> Vec<AgentFault> {
    simulate(async move {
        let land = Land::new(chain);
        let node = land.phone(Place::Memory, 1).build().unwrap();
        land.lie(lie);
        assert_eq!(node.sync().await, Err(NodeError::NoAgent { asked: 4 }));
        let named = events(&node).into_iter().filter_map(|event| match event {
            Event::AgentFailed { reason, .. } => Some(reason),
            _ => None,
        });
        let named: Vec<AgentFault> = named.collect();
        assert_eq!(named.len(), 4);
        assert_eq!(node.account(), Ok(None));
        *land.cheat.lock().unwrap() = None;
        assert!(node.sync().await.unwrap().account.is_some(), "the truth is still welcome");
        named
    })
}

#[test]
fn an_agent_that_names_a_far_epoch_and_cannot_lead_there() {
    let chain = Chain::days(2);
    let (mut header, certificate) = chain.head.clone();
    header.epoch = u64::MAX;
    let proofs = chain.proofs(BUYER);
    let far = Answer::Proofs(Box::new((header, certificate)), proofs);
    let lie = move |query: &Query| match query {
        Query::Account(_) | Query::Several { .. } => Some(far.clone()),
        _ => None,
    };
    let fault = AgentFault::Answer(ReplicaError::Epoch { have: 2, offered: u64::MAX });
    assert_eq!(faults_of(chain, lie), vec![fault; 4], "its hand-overs were true, and kept");
}

#[test]
fn an_agent_with_a_history_of_its_own() {
    // All four have the old keys of epoch 3; the phone has been in epoch 5.
    simulate(async {
        let (truth, lie) = (Chain::days(5), Chain::forked(7, 3, 9));
        let (head, proofs, hand_overs) = (lie.head.clone(), lie.proofs(BUYER), lie.hand_overs.clone());
        let land = Land::new(truth);
        let node = land.phone(Place::Memory, 1).build().unwrap();
        node.sync().await.unwrap();
        events(&node);
        let known = node.account().unwrap();
        land.lie(move |query| match query {
            Query::Account(_) | Query::Several { .. } => {
                Some(Answer::Proofs(Box::new(head.clone()), proofs.clone()))
            }
            Query::HandOvers { .. } => Some(Answer::HandOvers(hand_overs[3..].to_vec())),
            _ => None,
        });
        node.sync().await.unwrap_err();
        let heard = events(&node);
        let forks = heard.iter().filter(|event| matches!(event, Event::Forked { .. })).count();
        assert_eq!(forks, 4, "{heard:?}");
        assert_eq!(node.replica().forks().unwrap().len(), 1);
        assert_eq!(node.account().unwrap(), known);
    });
}

#[test]
fn stale_state_served_as_new_is_shown_as_stale_and_never_goes_back() {
    simulate(async {
        let land = Land::new(Chain::days(1));
        let (old, proofs) = land.chain(|chain| (chain.head.clone(), chain.proofs(BUYER)));
        land.chain(|chain| (0..2).for_each(|_| chain.day()));
        land.catch_up();
        let stale = Answer::Proofs(Box::new(old.clone()), proofs);
        let nothing = Answer::Proofs(Box::new(old.clone()), vec![]);
        land.lie(move |query| match query {
            Query::Account(_) | Query::Several { .. } => Some(stale.clone()),
            Query::Object(_) => Some(nothing.clone()),
            Query::HandOvers { .. } => Some(Answer::HandOvers(vec![])),
            _ => None,
        });
        let node = land.phone(Place::Memory, 1).build().unwrap();
        // It was led nowhere, so the header is of an epoch that it does not know.
        node.sync().await.unwrap_err();
        let first = land.chain(|chain| chain.hand_overs[0].clone());
        node.replica().store_hand_overs(&[first]).unwrap();
        let synced = node.sync().await.unwrap();
        assert_eq!(synced.height, old.0.height);
        assert!(matches!(synced.freshness, Freshness::Stale { age } if age >= DAY), "{synced:?}");
        let cheat = land.cheat.lock().unwrap().take();
        let height = node.sync().await.unwrap().height;
        *land.cheat.lock().unwrap() = cheat;
        events(&node);
        node.sync().await.unwrap_err();
        let older = ReplicaError::Older { have: height, offered: old.0.height };
        for event in events(&node) {
            let Event::AgentFailed { reason, .. } = event else { panic!("{event:?}") };
            assert_eq!(reason, AgentFault::Answer(older.clone()));
        }
    });
}

/// An older state of an object, in which a later part of it is missing, against a newer header.
#[test]
fn what_hides_the_newest_part_of_an_object_is_refused() {
    let mut chain = Chain::new(4);
    let holds = chain.open_sales();
    let replica = replica(&chain);
    let before = chain.state.prove_object(&holds[0]).unwrap();
    let account_before = chain.proofs(BUYER);
    replica.store_object(&holds[0], &chain.head, &before).unwrap();
    chain.settle(&holds);
    // The hold as it was while it was open: an end that is hidden.
    let hidden = replica.store_object(&holds[0], &chain.head, &before).unwrap_err();
    assert!(matches!(hidden, ReplicaError::Ledger(LedgerError::Proof { what: "an object", .. })), "{hidden}");
    // A leaf of another height, for an account.
    let hidden = replica.store_account(&account(BUYER), &chain.head, &account_before).unwrap_err();
    assert!(matches!(hidden, ReplicaError::Ledger(LedgerError::Proof { .. })), "{hidden}");
    // The new leaf with the way of the old one.
    let mut mixed = chain.state.prove_object(&holds[0]).unwrap();
    mixed.path[0] = Hash([1; 32]);
    let hidden = replica.store_object(&holds[0], &chain.head, &mixed).unwrap_err();
    assert!(matches!(hidden, ReplicaError::Ledger(LedgerError::Proof { .. })), "{hidden}");
}

#[test]
fn a_hold_left_out_of_an_accounts_children_is_missed() {
    let mut chain = Chain::new(4);
    let holds = chain.open_sales();
    let replica = replica(&chain);
    let proven = replica.store_account(&account(BUYER), &chain.head, &chain.proofs(BUYER)).unwrap();
    let children = proven.account.children;
    assert!(children.are(&holds), "all of them, in order");
    assert!(!children.are(&holds[1..]) && !children.are(&holds[..4]), "one is left out");
    let mut swapped = holds.clone();
    swapped.swap(0, 1);
    assert!(!children.are(&swapped));
    let mut twice = holds.clone();
    twice.push(holds[4]);
    assert!(!children.are(&twice));
}

#[test]
fn an_object_that_was_proven_before_cannot_be_left_out() {
    simulate(async {
        let mut chain = Chain::new(4);
        let holds = chain.open_sales();
        let land = Land::new(chain);
        let node = land.phone(Place::Memory, 1).build().unwrap();
        node.sync_with(&holds).await.unwrap();
        events(&node);
        let (head, mut proofs) = land.chain(|chain| {
            let mut proofs = chain.proofs(BUYER);
            proofs.extend(holds.iter().map(|hold| chain.state.prove_object(hold).unwrap()));
            (chain.head.clone(), proofs)
        });
        proofs.remove(proofs.len() - 3);
        land.lie(move |query| match query {
            Query::Several { .. } => Some(Answer::Proofs(Box::new(head.clone()), proofs.clone())),
            _ => None,
        });
        node.sync_with(&holds).await.unwrap_err();
        for event in events(&node) {
            if let Event::AgentFailed { reason, .. } = event {
                assert_eq!(reason, AgentFault::Withheld);
            }
        }
    });
}

#[test]
fn agents_of_a_new_set_reach_the_phone() {
    simulate(async {
        let mut chain = Chain::new(4);
        let newcomer = identity(9);
        let open = chain.signed(&newcomer, Body::OpenAccount { owner: newcomer.public() }, &[]);
        chain.block(Duration::from_secs(1), vec![open]);
        let land = Land::new(chain);
        let folder = TempDir::new().unwrap();
        let place = || Place::File(folder.path().join("node.db"));
        let node = land.phone(place(), 1).build().unwrap();
        node.sync().await.unwrap();
        // Everybody moves, one leaves, one comes.
        let moved = |n: usize| std::net::SocketAddr::from(([10, 0, 3, u8::try_from(n).unwrap()], 4433));
        land.chain(|chain| {
            let mut validators = chain.state.validators().all().to_vec();
            for (n, validator) in validators.iter_mut().enumerate() {
                validator.address = moved(n).to_string();
            }
            validators[3] = Validator {
                name: "newcomer".into(),
                key: newcomer.public(),
                vote: vote(3, 1, TRUE).public(),
                stake: 10,
                address: moved(3).to_string(),
            };
            let validators = ValidatorSet::new(validators).unwrap();
            let set = Body::SetValidators { epoch: 0, validators: Box::new(validators) };
            let keys: Vec<SignedTransaction> = (0..3)
                .map(|n| {
                    let key = vote(n, 1, TRUE);
                    chain.signed(&identity(n), Body::VoteKey { epoch: 1, key: key.public() }, &[key])
                })
                .collect();
            chain.block(Duration::from_secs(1), keys);
            let signers: Vec<SigningKey> = (1..3).map(identity).collect();
            let set = chain.signed(&identity(0), set, &signers);
            chain.block(Duration::from_secs(1), vec![set]);
            assert_eq!(chain.state.epoch().number, 1);
            chain.block(Duration::from_secs(1), vec![]);
        });
        for n in 0..4 {
            let identity = if n == 3 { newcomer.clone() } else { identity(n) };
            land.start_as(identity, moved(n));
        }
        land.catch_up();
        node.sync().await.unwrap();
        // Nobody is left where they were.
        let phones = [std::net::SocketAddr::from(([10, 0, 2, 1], 4433)), ([10, 0, 2, 2], 4433).into()];
        let old: Vec<_> = (0..4).map(address).collect();
        land.net.partition(&phones, &old);
        land.chain(|chain| chain.block(Duration::from_secs(1), vec![]));
        land.catch_up();
        events(&node);
        assert!(node.sync().await.unwrap().freshness.is_fresh());
        for _ in 0..8 {
            node.sync().await.unwrap();
        }
        node.close().await.unwrap();
        drop(node);
        let node = land.phone(place(), 2).build().unwrap();
        node.sync().await.unwrap();
        let failed: Vec<Event> =
            events(&node).into_iter().filter(|event| matches!(event, Event::AgentFailed { .. })).collect();
        assert_eq!(failed, vec![], "a restarted node asks where they are now");
    });
}

#[test]
fn the_walk_goes_on_past_one_answer() {
    simulate(async {
        let mut chain = Chain::new(4);
        for _ in 0..15 {
            chain.day();
        }
        let land = Land::new(chain);
        let served = std::sync::atomic::AtomicUsize::new(0);
        let hand_overs = land.chain(|chain| chain.hand_overs.clone());
        // An agent may give fewer than fit.
        land.lie(move |query| match query {
            Query::HandOvers { from } => {
                served.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let from = usize::try_from(*from).unwrap().min(hand_overs.len());
                Some(Answer::HandOvers(hand_overs[from..].iter().take(4).cloned().collect()))
            }
            _ => None,
        });
        let node = land.phone(Place::Memory, 1).build().unwrap();
        assert!(node.sync().await.unwrap().freshness.is_fresh());
        assert_eq!(node.replica().epoch().unwrap().epoch, 15);
        let asked =
            land.counted.lock().unwrap().questions.iter().filter(|q| q.starts_with("HandOvers")).count();
        assert!((4..=6).contains(&asked), "{asked}");
    });
}

#[test]
fn an_answer_of_too_many_hand_overs_is_no_answer() {
    let chain = Chain::days(1);
    let many = vec![chain.hand_overs[0].clone(); HandOver::ANSWER_MAX + 1];
    let lie = move |query: &Query| match query {
        Query::HandOvers { .. } => Some(Answer::HandOvers(many.clone())),
        _ => None,
    };
    assert_eq!(faults_of(chain, lie), vec![AgentFault::OtherAnswer; 4]);
}
