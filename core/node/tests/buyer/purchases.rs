//! Purchases against the market.

use crate::{agents::*, market::*};
use ohmesh_contract::State;
use ohmesh_geo::{Connector, Filter};
use ohmesh_ledger::{Asset, Auction, Body, LedgerError, Object, Proof};
use ohmesh_node::{
    BuyError, Certified, Ended, Need, Node, Place, Purchase, PurchaseNews, PurchaseReceipt, ReplicaError,
    Settings, find,
};
use ohmesh_units::*;
use std::time::Duration;
use tempfile::TempDir;

fn need() -> Need {
    Need {
        position: here(),
        energy: Energy::from_wh(4_500),
        connectors: Connector::Type2.into(),
        power_min: Power::from_w(22_000),
        price_cap: Price::from_micro_per_kwh(650_000),
        reserve: None,
    }
}

fn settings() -> Settings {
    Settings { auto_confirm: true, ..Settings::default() }
}

async fn buy(node: &Node, settings: Settings) -> Purchase {
    node.buy(need(), &catalogue(), settings).await.unwrap()
}

/// The receipt says what the ledger has posted, to the last micro-unit.
fn is_the_ledgers(world: &World, receipt: &PurchaseReceipt) {
    let bill = receipt.sale.bill;
    world.market(|market| {
        let buyer = market.balance(BUYER);
        assert_eq!(buyer.bought, bill.energy);
        let money = buyer.of(Asset::Currency);
        assert_eq!((money.posted, money.held), (100_000_000 - bill.price_total.as_micro(), 0));
        let seller = SELLERS.iter().find(|(n, _)| account(*n) == receipt.sale.seller).unwrap().0;
        let sold = market.balance(seller);
        assert_eq!(sold.sold, bill.energy);
        let proceeds = bill.price_total.as_micro() - bill.grid_total.as_micro();
        assert_eq!(sold.of(Asset::Currency).posted, proceeds);
    });
    assert_eq!(receipt.sale.price.times(bill.energy), Some(bill.price_total));
    assert!(bill.energy > Energy::ZERO && receipt.sale.end == State::Settled);
}

#[test]
fn from_a_need_to_a_receipt() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let purchase = buy(&node, settings()).await;
        assert_eq!(world.market(|market| market.auctions.len()), 0, "nothing is said before it runs");
        let receipt = purchase.run().await.unwrap();
        is_the_ledgers(&world, &receipt);
        let price = Price::from_micro_per_kwh(10 * 30_000);
        assert_eq!((receipt.station, receipt.sale.price), (station_of(3), price), "the cheaper has won");
        let (told, failed) = news(&node);
        assert_eq!(failed, Vec::<String>::new());
        let names: Vec<&str> = told
            .iter()
            .map(|news| match news {
                PurchaseNews::IntentOpen => "intent",
                PurchaseNews::Offers { offers, is_choice: false } if offers.len() == 2 => "offers",
                PurchaseNews::Awarded { station, .. } if *station == station_of(3) => "awarded",
                PurchaseNews::ContractOpen { evse, .. } if *evse == evse_of(3) => "contract",
                PurchaseNews::Charging { .. } => "charging",
                PurchaseNews::Receipt(own) if **own == receipt => "receipt",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names[..4], ["intent", "offers", "awarded", "contract"]);
        assert!(names[4..names.len() - 1].iter().all(|name| *name == "charging") && names.len() > 6);
        assert_eq!(names.last(), Some(&"receipt"));
        let transport = key(100).public().to_bytes().to_vec();
        assert_eq!(world.market(|market| market.rendezvous.clone()), vec![transport]);
        assert_eq!(node.receipts().unwrap(), vec![receipt.clone()]);
        assert_eq!(node.purchases(settings()).unwrap().len(), 0);
        assert_eq!(purchase.run().await, Ok(receipt.clone()), "it is over, and says so again");
        let waited = receipt.timings.intent_to_contract().unwrap();
        assert!((Duration::from_secs(8)..Duration::from_secs(25)).contains(&waited), "{waited:?}");
        assert_eq!(world.market(|market| market.refused.clone()), vec![], "nothing was said twice");
    });
}

#[test]
fn an_app_that_is_killed_at_any_step_goes_on() {
    type Killed = fn(&PurchaseNews) -> bool;
    let steps: [(&str, Killed); 5] = [
        ("intent", |news| matches!(news, PurchaseNews::IntentOpen)),
        ("offers", |news| matches!(news, PurchaseNews::Offers { .. })),
        ("awarded", |news| matches!(news, PurchaseNews::Awarded { .. })),
        ("contract", |news| matches!(news, PurchaseNews::ContractOpen { .. })),
        ("charging", |news| matches!(news, PurchaseNews::Charging { .. })),
    ];
    for (name, is_killed) in steps {
        simulate(async {
            let world = World::new();
            let folder = TempDir::new().unwrap();
            let place = Place::File(folder.path().join("node.db"));
            let node = world.phone(place.clone(), 1);
            let purchase = buy(&node, settings()).await;
            let id = purchase.id();
            let killed = async {
                loop {
                    if let ohmesh_node::Event::Purchase { news, .. } = node.next_event().await
                        && is_killed(&news)
                    {
                        return;
                    }
                }
            };
            tokio::select! {
                ended = purchase.run() => panic!("{name}: {ended:?}"),
                () = killed => {}
            }
            drop((purchase, node));
            tokio::time::sleep(Duration::from_secs(3)).await;

            let node = world.phone(place, 2);
            let mut open = node.purchases(settings()).unwrap();
            assert_eq!(open.iter().map(Purchase::id).collect::<Vec<_>>(), vec![id], "{name}");
            let receipt = open.pop().unwrap().run().await.unwrap_or_else(|error| panic!("{name}: {error}"));
            is_the_ledgers(&world, &receipt);
        });
    }
}

#[test]
fn agents_that_answer_with_noise_are_named_and_passed_over() {
    simulate(async {
        let world = World::new();
        *world.liars.lock().unwrap() = vec![1, 4];
        let node = world.phone(Place::Memory, 1);
        let receipt = buy(&node, settings()).await.run().await.unwrap();
        is_the_ledgers(&world, &receipt);
        let (_, failed) = news(&node);
        assert!(failed.iter().any(|fault| fault.starts_with("v1")), "{failed:?}");
        assert!(failed.iter().all(|fault| fault.starts_with("v1") || fault.starts_with("v4")));
    });
}

#[test]
fn the_driver_chooses_where_the_intent_says_so_and_confirms_the_code() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let settings = Settings { is_own_choice: true, ..Settings::default() };
        let purchase = buy(&node, settings).await;
        assert_eq!(purchase.confirm(evse_of(2)), Err(BuyError::NoContract(purchase.id())));
        let driver = async {
            while purchase.choices().is_none() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let auction = purchase.id();
            assert_eq!(purchase.choose(7), Err(BuyError::NoSuchBid { auction, bid: 7 }));
            let dearer = purchase.choices().unwrap().pop().unwrap();
            assert_eq!(dearer.station, station_of(2));
            purchase.choose(dearer.bid).unwrap();
            loop {
                if let ohmesh_node::Event::Purchase { news: PurchaseNews::ContractOpen { .. }, .. } =
                    node.next_event().await
                {
                    break;
                }
            }
            assert!(matches!(purchase.confirm(evse_of(3)), Err(BuyError::Contract(_))), "another outlet");
            purchase.confirm(purchase.evse().unwrap()).unwrap();
            loop {
                if let ohmesh_node::Event::Purchase { news: PurchaseNews::Charging { .. }, .. } =
                    node.next_event().await
                {
                    return purchase.stop().unwrap();
                }
            }
        };
        // A driver that waited for ever would hide why a run failed.
        let driver = tokio::time::timeout(Duration::from_secs(3600), driver);
        let (receipt, driven) = tokio::join!(purchase.run(), driver);
        driven.unwrap();
        let receipt = receipt.unwrap();
        is_the_ledgers(&world, &receipt);
        assert_eq!(receipt.station, station_of(2));
        assert!(receipt.sale.bill.energy < Energy::from_wh(4_500), "stopped early");
    });
}

#[test]
fn what_ends_without_energy_locks_nothing() {
    let cases = [
        (Sloth { bids: true, ..Sloth::default() }, Ended::NobodyBid),
        (Sloth { releases: true, ..Sloth::default() }, Ended::NotReleased),
        (Sloth { accepts: true, ..Sloth::default() }, Ended::NotAccepted(station_of(2))),
        (
            Sloth { sells: true, ..Sloth::default() },
            Ended::SellerSilent { station: station_of(2), refused: None },
        ),
    ];
    for (sloth, end) in cases {
        simulate(async {
            let world = World::new();
            world.market(|market| market.sloth = sloth);
            let node = world.phone(Place::Memory, 1);
            let purchase = buy(&node, settings()).await;
            assert_eq!(purchase.run().await, Err(BuyError::Ended(end.clone())));
            let money = world.market(|market| *market.balance(BUYER).of(Asset::Currency));
            assert_eq!((money.posted, money.held), (100_000_000, 0), "{end}");
            let (told, _) = news(&node);
            assert_eq!(told.last(), Some(&PurchaseNews::Ended(end)));
            assert_eq!(node.purchases(settings()).unwrap().len(), 0);
            assert_eq!(node.receipts().unwrap(), vec![]);
        });
    }
}

#[test]
fn a_reserve_that_nobody_meets_is_proven() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let need = Need { reserve: Some(Money::from_micro(1_000_000)), ..need() };
        let purchase = node.buy(need, &catalogue(), settings()).await.unwrap();
        assert_eq!(purchase.run().await, Err(BuyError::Ended(Ended::NobodyEligible)));
    });
}

#[test]
fn agents_out_of_reach_stall_a_purchase_that_goes_on_later() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let settings = settings();
        let purchase = buy(&node, settings).await;
        *world.liars.lock().unwrap() = VALIDATORS.to_vec();
        assert_eq!(purchase.run().await, Err(BuyError::Stalled(settings.silence_max)));
        world.liars.lock().unwrap().clear();
        let end = purchase.run().await;
        assert!(matches!(end, Err(BuyError::Ended(Ended::NotOnLedger { .. }))), "{end:?}");
    });
}

#[test]
fn needs_that_cannot_be_asked_for() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let catalogue = catalogue();
        let try_need = async |need: Need| node.buy(need, &catalogue, settings()).await.map(drop);
        let energy = Energy::from_wh(20_000_000);
        assert_eq!(try_need(Need { energy, ..need() }).await, Err(BuyError::Energy(energy)));
        let connectors = ohmesh_geo::Connectors::NONE;
        assert_eq!(try_need(Need { connectors, ..need() }).await, Err(BuyError::NoConnector));
        let price_cap = Price::from_micro_per_kwh(0);
        assert_eq!(try_need(Need { price_cap, ..need() }).await, Err(BuyError::PriceCap(price_cap)));
        let dear = try_need(Need { energy: Energy::from_wh(200_000), ..need() }).await;
        assert!(matches!(dear, Err(BuyError::NotEnough { .. })), "{dear:?}");
        let position = Position::from_e7(0, 0).unwrap();
        assert!(matches!(try_need(Need { position, ..need() }).await, Err(BuyError::Area(_))));
        assert_eq!(node.purchases(settings()).unwrap().len(), 0, "none of them was kept");
    });
}

#[test]
fn stations_are_found_on_the_phone() {
    let filter = Filter { connectors: Connector::Type2.into(), ..Filter::ANY };
    let catalogue = catalogue();
    let near = find(&catalogue, here(), &filter, 3);
    assert_eq!(near.len(), 3);
    assert!(near.is_sorted_by_key(|nearby| nearby.distance_m) && near[0].distance_m < 40);
    let ccs = Filter { connectors: Connector::Ccs.into(), ..Filter::ANY };
    assert!(find(&catalogue, here(), &ccs, 3).is_empty());
}

/// The buyer disputes a claim from another device. Agents that show this one the claim as if nobody had, or the state of
/// before, or nothing, are refused; and one that is honest shows it.
#[test]
fn a_dispute_that_is_hidden_is_missed() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let purchase = buy(&node, settings()).await;
        let charging = async {
            loop {
                if let ohmesh_node::Event::Purchase { news: PurchaseNews::Charging { .. }, .. } =
                    node.next_event().await
                {
                    return;
                }
            }
        };
        tokio::select! {
            ended = purchase.run() => panic!("{ended:?}"),
            () = charging => {}
        }
        let id = world.market(|market| market.claim());
        let seen =
            |market: &mut Market| (market.head.clone(), market.state.prove_object(&id.into()).unwrap());
        let (claimed_head, claimed) = world.market(seen);
        let store = |head: &Certified, proof: &Proof| node.replica().store_object(&id.into(), head, proof);
        let state_of = |object: Object| match object {
            Object::Contract(contract) => contract.state(),
            other => panic!("{other:?}"),
        };
        assert_eq!(store(&claimed_head, &claimed).map(state_of), Ok(State::Submitted));
        world.market(|market| market.apply(BUYER, Body::ContractDispute { contract: id }));
        let (head, disputed) = world.market(seen);

        // The claim of before, and one that was lowered instead, under the newest header with either path.
        let Object::Contract(mut undone) = Object::decode(&claimed.content).unwrap() else {
            panic!("a claim")
        };
        undone.lower(undone.terms().seller, Energy::from_wh(10), head.0.time).unwrap();
        let leaves = [claimed.content.clone(), Object::Contract(undone).encode()];
        for content in leaves {
            for path in [&claimed.path, &disputed.path] {
                let lie = Proof { content: content.clone(), path: path.clone(), ..disputed.clone() };
                let refused = store(&head, &lie);
                let is_named = matches!(
                    refused,
                    Err(ReplicaError::Ledger(LedgerError::Proof { what: "an object", .. }))
                );
                assert!(is_named, "{refused:?}");
            }
        }
        assert_eq!(store(&head, &disputed).map(state_of), Ok(State::Disputed));
        let (have, offered) = (head.0.height, claimed_head.0.height);
        assert_eq!(store(&claimed_head, &claimed), Err(ReplicaError::Older { have, offered }));
        let (at, shown) = node.replica().object(&id.into()).unwrap().unwrap();
        assert_eq!((at.height, state_of(shown)), (have, State::Disputed));
    });
}

/// An auction with one bid left out, an older state of it, and one with a bid of another place: none of them is the leaf.
#[test]
fn a_bid_that_is_hidden_is_missed() {
    simulate(async {
        let world = World::new();
        let node = world.phone(Place::Memory, 1);
        let purchase = buy(&node, settings()).await;
        let id = Hash::from(purchase.id());
        let opened = async {
            loop {
                if let ohmesh_node::Event::Purchase { news: PurchaseNews::Offers { .. }, .. } =
                    node.next_event().await
                {
                    return;
                }
            }
        };
        tokio::select! {
            ended = purchase.run() => panic!("{ended:?}"),
            () = opened => {}
        }
        let (head, proof) =
            world.market(|market| (market.head.clone(), market.state.prove_object(&id).unwrap()));
        let Object::Auction(auction) = Object::decode(&proof.content).unwrap() else { panic!("it runs") };
        assert_eq!(auction.bids.len(), 2);
        let offer = |auction: Auction| {
            let content = Object::Auction(Box::new(auction)).encode();
            node.replica().store_object(&id, &head, &Proof { content, ..proof.clone() })
        };
        let hidden = |result| {
            matches!(result, Err(ReplicaError::Ledger(LedgerError::Proof { what: "an object", .. })))
        };
        for at in 0..2 {
            let mut one_less = (*auction).clone();
            one_less.bids.remove(at);
            assert!(hidden(offer(one_less)), "bid {at} is hidden");
        }
        let mut swapped = (*auction).clone();
        swapped.bids.swap(0, 1);
        assert!(hidden(offer(swapped)));
        let mut unreleased = (*auction).clone();
        unreleased.opening = None;
        assert!(hidden(offer(unreleased)));
        assert!(offer(*auction).is_ok());
    });
}
