//! Agents as they run in production, on a network and disks that fail by seed.

use ohmesh_ledger::{Answer, Asset, Body, Header, Journal, Proof, ProvenAccount, Query};
use ohmesh_mesh::sim::Faults;
use ohmesh_tests::{Client, Committee, account, key, simulate};
use ohmesh_units::Hash;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_agent_alone_is_a_committee() {
    simulate(async {
        let mut committee = Committee::new(1, 1, Faults::default());
        committee.start(1);
        let mut treasurer = committee.client(Committee::TREASURER, 1).await;
        let mut driver = committee.client(10, 1).await;
        let open = Body::OpenAccount { owner: key(10).public() };
        assert!(matches!(driver.apply(open, &[], MINUTE).await, Answer::Applied(_)));
        let answer = treasurer.apply(Client::issue(10, 5_000_000), &[], MINUTE).await;
        assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
        assert_eq!(balance(&committee, &driver, 10).await, 5_000_000);
    });
}

/// Four agents on a bad network, one of which loses its power twice: the others go on, it comes back with the same state, and
/// nothing that a driver was told is lost.
fn four_agents(seed: u64) -> (Hash, Vec<Header>) {
    simulate(async move {
        let mut committee = Committee::new(seed, 4, Faults::harsh());
        (1..=4).for_each(|n| committee.start(n));
        let mut treasurer = committee.client(Committee::TREASURER, 1).await;
        let mut driver = committee.client(10, 2).await;
        driver.apply(Body::OpenAccount { owner: key(10).public() }, &[], MINUTE).await;
        committee.reach(1, committee.height(2), MINUTE).await;
        let answer = treasurer.apply(Client::issue(10, 1_000_000), &[], MINUTE).await;
        assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");

        committee.kill(4);
        let height = committee.height(1);
        for _ in 0..3 {
            let answer = treasurer.apply(Client::issue(10, 1_000_000), &[], MINUTE).await;
            assert!(matches!(answer, Answer::Applied(_)), "three of four go on: {answer:?}");
        }
        assert!(committee.height(1) > height);
        committee.start(4);
        let height = committee.height(1);
        committee.reach(4, height, MINUTE).await;
        committee.kill(4);
        committee.start(4);
        let answer = treasurer.apply(Client::issue(10, 1_000_000), &[], MINUTE).await;
        assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
        let height = committee.height(1);
        for n in 1..=4 {
            committee.reach(n, height, MINUTE).await;
        }
        assert_eq!(balance(&committee, &driver, 10).await, 5_000_000, "nothing acknowledged is lost");

        // Let all come to rest at one height: the next block is empty and ten seconds away.
        let top = (1..=4).map(|n| committee.height(n)).max().unwrap();
        for n in 1..=4 {
            committee.reach(n, top, MINUTE).await;
        }
        let heads: Vec<Header> = (1..=4).map(|n| committee.head(n).unwrap()).collect();
        for head in &heads {
            assert_eq!(head.height, heads[0].height, "at rest");
            assert_eq!(head.id(), heads[0].id(), "I9");
        }
        (committee.net.trace_hash(), heads)
    })
}

#[test]
fn four_agents_survive_a_bad_network_and_power_cuts() {
    for seed in 1..=40 {
        four_agents(seed);
    }
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let (trace, heads) = four_agents(7);
    let (again, same_heads) = four_agents(7);
    assert_eq!(trace, again, "the same bytes at the same instants");
    assert_eq!(heads, same_heads);
    let (other, _) = four_agents(8);
    assert_ne!(trace, other);
}

/// Two against two: neither half decides anything; when the cut heals, all go on.
#[test]
fn no_half_decides_alone() {
    simulate(async {
        let mut committee = Committee::new(3, 4, Faults::default());
        (1..=4).for_each(|n| committee.start(n));
        committee.reach(1, 2, MINUTE).await;
        let [a, b, c, d] = [1, 2, 3, 4].map(Committee::address);
        committee.net.partition(&[a, b], &[c, d]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before: Vec<u64> = (1..=4).map(|n| committee.height(n)).collect();
        tokio::time::sleep(Duration::from_secs(40)).await;
        let after: Vec<u64> = (1..=4).map(|n| committee.height(n)).collect();
        assert_eq!(before, after, "no progress without a quorum");
        committee.net.heal();
        for n in 1..=4 {
            committee.reach(n, before[0] + 2, 2 * MINUTE).await;
        }
    });
}

/// The driver's money as the driver proves it.
async fn balance(committee: &Committee, client: &Client, n: u8) -> i64 {
    let zone = &committee.file.zone;
    match client.ask(&Query::Account(account(n))).await {
        Answer::Proofs(head, proofs) => {
            let owner = key(n).public();
            let proofs: Vec<Proof> = proofs.into_iter().map(|proof| proof.with_owner(&owner)).collect();
            let proven =
                ProvenAccount::verify(&zone.id(), zone.validators.voters(), &account(n), *head, &proofs)
                    .unwrap();
            proven.balances[Journal::Energy as usize].unwrap().of(Asset::Currency).posted
        }
        other => panic!("{other:?}"),
    }
}
