//! A whole node among agents that tell the truth.

use crate::{agent::*, town::*};
use ohmesh_ledger::*;
use ohmesh_node::{Event, Freshness, Node, NodeError, Place, Status, Submitted};
use ohmesh_units::{Hash, Position};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn it_shows_its_balance_and_what_changes() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        let (height, time) = world.town(|town| (town.height(), town.now));
        let synced = node.sync().await.unwrap();
        assert_eq!((synced.height, synced.freshness), (height, Freshness::Fresh));
        let before = Holding::default();
        let after = Holding { posted: 100_000_000, held: 0 };
        let (journal, asset) = (Journal::Energy, Asset::Currency);
        assert_eq!(
            events(&node),
            vec![
                Event::AccountProven { height },
                Event::BalanceChanged { journal, asset, before, after, height },
                Event::Synced { height, time },
            ]
        );
        world.town(|town| town.pay(BUYER, SELLER, 30_000_000));
        let view = node.sync().await.unwrap().account.unwrap();
        assert_eq!(view.proven.balances[0].unwrap().of(asset).posted, 70_000_000);
        assert_eq!(node.account().unwrap(), Some(view));
        let (before, after) = (after, Holding { posted: 70_000_000, held: 0 });
        let changed = Event::BalanceChanged { journal, asset, before, after, height: height + 1 };
        assert_eq!(node.next_event().await, changed);
        node.close().await.unwrap();
    });
}

#[test]
fn from_nothing_to_an_open_account_to_a_payment() {
    simulate(async {
        let world = World::new(Town::empty());
        let node = world.node();
        let synced = node.sync().await.unwrap();
        assert_eq!(synced.account, None, "no agent proves an account");

        let opened = node.open_account().await.unwrap();
        assert_eq!(opened.status, Status::Waiting);
        world.town(Town::work);
        let synced = node.sync().await.unwrap();
        assert!(synced.account.is_some());
        let status = |id| node.wallet().transaction(&id).unwrap().unwrap().status;
        assert_eq!(status(opened.id), Status::Proven { height: synced.height });

        world.town(|town| town.open(SELLER));
        world.town(|town| town.issue(BUYER, 5_000_000));
        let paid = node.submit(pay(BUYER, SELLER, 2_000_000)).await.unwrap();
        world.town(Town::work);
        let view = node.sync().await.unwrap().account.unwrap();
        assert_eq!(status(paid.id), Status::Reported, "a transfer has no proof, only a balance has");
        assert_eq!(view.proven.balances[0].unwrap().of(Asset::Currency).posted, 3_000_000);

        let (asset, amount) = (Asset::Currency, 1_000_000);
        let timeout = world.town(|town| town.now).checked_add(Duration::from_secs(60)).unwrap();
        let held = node.submit(Body::Pend { to: account(SELLER), asset, amount, timeout }).await.unwrap();
        world.town(Town::work);
        let synced = node.sync().await.unwrap();
        assert_eq!(status(held.id), Status::Proven { height: synced.height }, "its hold is there");
        let balance = synced.account.unwrap().proven.balances[0].unwrap();
        assert_eq!(balance.of(asset).available(), 2_000_000);
        assert_eq!(node.replica().audit(), Ok(vec![]));
    });
}

#[test]
fn a_refused_payment_is_refused_by_hearsay_and_expires_by_proof() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        let Submitted { id, status } = node.submit(pay(BUYER, SELLER, 500_000_000)).await.unwrap();
        assert!(
            matches!(&status, Status::Refused { reason } if reason.contains("500000000 needed")),
            "{status:?}"
        );
        assert_eq!(events(&node).len(), 5, "four agents named, and what became of it");
        world.town(|town| town.block_at(Duration::from_secs(700), vec![]));
        world.clock.jump(700_000);
        let height = node.sync().await.unwrap().height;
        assert_eq!(node.wallet().transaction(&id).unwrap().unwrap().status, Status::Expired { height });
    });
}

#[test]
fn what_no_agent_took_is_sent_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let place = || Place::File(folder.path().join("node.db"));
    let id = simulate(async {
        let world = World::new(Town::new());
        world.all(&Mood::Silent);
        let node = world.phone(place(), 1).build().unwrap();
        let submitted = node.submit(pay(BUYER, SELLER, 1_000_000)).await.unwrap();
        assert_eq!(submitted.status, Status::Signed, "durable, with nobody");
        submitted.id
    });
    simulate(async {
        let world = World::new(Town::new());
        let node = world.phone(place(), 2).build().unwrap();
        assert_eq!(node.resume().await.unwrap(), vec![Submitted { id, status: Status::Waiting }]);
        assert_eq!(node.resume().await.unwrap().len(), 1, "asked again, taken once");
        world.town(Town::work);
        assert_eq!(world.town(|town| town.posted(BUYER)), 99_000_000);
        assert_eq!(node.resume().await.unwrap(), vec![Submitted { id, status: Status::Reported }]);
        world.town(Town::work);
        assert_eq!(world.town(|town| town.posted(BUYER)), 99_000_000);
        assert_eq!(node.resume().await.unwrap(), vec![]);
    });
}

#[test]
fn a_restarted_node_shows_what_it_knew_and_says_that_it_is_old() {
    let folder = TempDir::new().unwrap();
    simulate(async {
        let world = World::new(Town::new());
        let place = || Place::File(folder.path().join("node.db"));
        let known = {
            let node = world.phone(place(), 1).build().unwrap();
            node.sync().await.unwrap().account.unwrap()
        };
        tokio::time::sleep(Duration::from_secs(90)).await;
        let node = world.phone(place(), 2).build().unwrap();
        let view = node.account().unwrap().unwrap();
        assert_eq!(view.proven, known.proven);
        assert!(matches!(view.freshness, Freshness::Stale { age } if age >= Duration::from_secs(90)));
        // Every agent is as old: the newest they have is believed, and shown as stale.
        let synced = node.sync().await.unwrap();
        assert!(matches!(synced.freshness, Freshness::Stale { .. }));
    });
}

#[test]
fn a_hold_said_to_be_applied_is_proven_later() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        node.sync().await.unwrap();
        let timeout = world.town(|town| town.now).checked_add(Duration::from_secs(60)).unwrap();
        let (to, asset, amount) = (account(SELLER), Asset::Currency, 1_000_000);
        let held = node.submit(Body::Pend { to, asset, amount, timeout }).await.unwrap();
        node.wallet().note(&held.id, &Status::Reported).unwrap();
        node.sync().await.unwrap();
        let status = || node.wallet().transaction(&held.id).unwrap().unwrap().status;
        assert_eq!(status(), Status::Reported, "it still waits for its block");
        world.town(Town::work);
        let height = node.sync().await.unwrap().height;
        assert_eq!(status(), Status::Proven { height });
        assert!(
            node.replica()
                .object(&node.wallet().history(1).unwrap()[0].signed.transaction.pending_id())
                .unwrap()
                .is_some()
        );
    });
}

#[test]
fn a_station_counts_as_registered_only_as_it_was_asked_for() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        let register = |name: &str| {
            let position = Position::from_e7(525_200_000, 134_050_000).unwrap();
            let (number, name, award_key) = (1, name.to_owned(), Hash([9; 32]));
            Body::RegisterStation { number, name, position, award_key }
        };
        let first = node.submit(register("North")).await.unwrap();
        world.town(Town::work);
        let height = node.sync().await.unwrap().height;
        let status = |id| node.wallet().transaction(&id).unwrap().unwrap().status;
        assert_eq!(status(first.id), Status::Proven { height });
        let second = node.submit(register("South")).await.unwrap();
        node.sync().await.unwrap();
        assert_eq!(status(second.id), Status::Waiting, "a station is there, but it is not called South");
        world.town(Town::work);
        let height = node.sync().await.unwrap().height;
        assert_eq!(status(second.id), Status::Proven { height });
    });
}

#[test]
fn tasks_can_share_a_node() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        let sync = |node: Node| tokio::spawn(async move { node.sync().await.map(|synced| synced.height) });
        let (one, other) = (sync(node.clone()), sync(node.clone()));
        let paid = tokio::spawn({
            let node = node.clone();
            async move { node.submit(pay(BUYER, SELLER, 1_000_000)).await }
        });
        assert_eq!(one.await.unwrap(), other.await.unwrap());
        assert_eq!(paid.await.unwrap().unwrap().status, Status::Waiting);
        let changes = events(&node).into_iter().filter(|event| matches!(event, Event::BalanceChanged { .. }));
        assert_eq!(changes.count(), 1, "what changed is told once");
    });
}

#[test]
fn dead_agents_are_passed_over_within_their_time() {
    simulate(async {
        let world = World::new(Town::new());
        for agent in 0..3 {
            world.set(agent, Mood::Silent);
        }
        let start = tokio::time::Instant::now();
        let node = world.node();
        node.sync().await.unwrap();
        assert!(start.elapsed() <= Duration::from_secs(80), "{:?}", start.elapsed());
        let failed = events(&node).into_iter().filter(|event| matches!(event, Event::AgentFailed { .. }));
        assert!(failed.count() <= 3);
        world.set(3, Mood::Silent);
        let start = tokio::time::Instant::now();
        assert_eq!(node.sync().await, Err(NodeError::NoAgent { asked: 4 }));
        assert!(start.elapsed() <= Duration::from_secs(105), "{:?}", start.elapsed());
    });
}

#[test]
fn an_agent_that_restarts_is_dialled_again() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        // Enough rounds to have a connection open to each.
        for _ in 0..12 {
            node.sync().await.unwrap();
        }
        events(&node);
        world.start_agents();
        world.town(|town| town.block(vec![]));
        assert_eq!(node.sync().await.unwrap().height, world.town(|town| town.height()));
        let failed: Vec<Event> =
            events(&node).into_iter().filter(|event| matches!(event, Event::AgentFailed { .. })).collect();
        assert_eq!(failed, vec![], "the first agent asked was reached over a new connection");
    });
}

#[test]
fn an_open_connection_is_used_again() {
    simulate(async {
        let world = World::new(Town::new());
        let node = world.node();
        let before = world.net.stats().bytes;
        node.sync().await.unwrap();
        let first = world.net.stats().bytes - before;
        for _ in 0..11 {
            node.sync().await.unwrap();
        }
        let before = world.net.stats().bytes;
        node.sync().await.unwrap();
        let bytes = world.net.stats().bytes - before;
        println!("{bytes} B on the wire over an open connection, {first} B with the handshake");
        // A handshake alone takes two padded datagrams of 1,200 bytes and the answers to them.
        assert!(bytes < 2_400, "{bytes} bytes");
    });
}

#[test]
fn one_seed_asks_agents_in_one_order_and_another_in_another() {
    let order = |seed: u8| {
        simulate(async move {
            let world = World::new(Town::new());
            world.all(&Mood::Says(vec![9]));
            let node = world.phone(Place::Memory, seed).build().unwrap();
            let mut names = Vec::new();
            for _ in 0..4 {
                node.sync().await.unwrap_err();
            }
            for event in events(&node) {
                if let Event::AgentFailed { name, .. } = event {
                    names.push(name);
                }
            }
            names
        })
    };
    assert_eq!(order(1).len(), 16);
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}
