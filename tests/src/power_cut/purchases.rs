//! A phone's purchases: begun, left, taken up again, ended, each in its file before anybody hears of it.

use crate::{Client, Committee, key, simulate};
use ohmesh_geo::{Availability, Catalogue, Connector, Outlet, Station};
use ohmesh_ledger::{Body, ZoneFile};
use ohmesh_mesh::sim::Faults;
use ohmesh_node::{Builder, BuyError, Ended, Need, Node, Place, Settings};
use ohmesh_units::{AuctionId, Energy, Position, Power, Price};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{collections::BTreeSet, fmt, str::FromStr, time::Duration};

/// What a phone was told of a purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bought {
    /// It is open: what it takes to go on with it is kept.
    Open(AuctionId),
    /// It has ended.
    Ended(AuctionId),
}

impl fmt::Display for Bought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(id) => write!(f, "open {id}"),
            Self::Ended(id) => write!(f, "ended {id}"),
        }
    }
}

impl FromStr for Bought {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (what, id) = line.split_once(' ').ok_or_else(|| line.to_owned())?;
        let id = id.parse().map_err(|_| line.to_owned())?;
        match what {
            "open" => Ok(Self::Open(id)),
            "ended" => Ok(Self::Ended(id)),
            other => Err(other.to_owned()),
        }
    }
}

/// Buys where no station bids. In each round one purchase is left waiting and one is run to its end; in every second round
/// those that wait are taken up from the file, by another node than the one that began the first of them. `told` is called
/// when the node has said so.
///
/// Panics if anything but the lack of bids ends a purchase.
pub fn shop(place: &Place, rounds: usize, mut told: impl FnMut(Bought)) {
    simulate(async {
        let mut committee = Committee::new(SEED, 1, Faults::default());
        committee.start(1);
        let mut driver = committee.client(PHONE, 1).await;
        driver.apply(Body::OpenAccount { owner: key(PHONE).public() }, &[], MINUTE).await;
        let mut treasurer = committee.client(Committee::TREASURER, 1).await;
        treasurer.apply(Client::issue(PHONE, 1_000_000_000), &[], MINUTE).await;
        let file = committee.file.clone();
        for round in 0..rounds {
            let node = node(&mut committee, &file, place, round);
            node.sync().await.expect("the agent answers");
            let waiting =
                node.buy(need(), &catalogue(), Settings::default()).await.expect("an account with money");
            told(Bought::Open(waiting.id()));
            let run =
                node.buy(need(), &catalogue(), Settings::default()).await.expect("an account with money");
            told(Bought::Open(run.id()));
            ended(run.run().await.map(drop));
            told(Bought::Ended(run.id()));
            if round % 2 == 1 {
                let left = node.purchases(Settings::default()).expect("they are all whole");
                for purchase in left {
                    ended(purchase.run().await.map(drop));
                    told(Bought::Ended(purchase.id()));
                }
            }
            node.close().await.expect("it closes");
        }
    });
}

/// The purchases that are open in a store, each whole enough to go on with.
///
/// Errors: the store's, and that of the first purchase that is not whole.
pub fn open_purchases(place: &Place) -> Result<BTreeSet<AuctionId>, BuyError> {
    simulate(async {
        let mut committee = Committee::new(SEED, 1, Faults::default());
        let file = committee.file.clone();
        let endpoint = committee.endpoint(PHONE);
        let node = Builder::new(file, key(PHONE)).endpoint(endpoint).store(place.clone()).build()?;
        Ok(node.purchases(Settings::default())?.iter().map(ohmesh_node::Purchase::id).collect())
    })
}

fn node(committee: &mut Committee, file: &ZoneFile, place: &Place, round: usize) -> Node {
    // Each node has an address of its own: the one before may not have gone yet.
    let at = PHONE + 1 + u8::try_from(round).expect("few rounds");
    let seed = u64::try_from(round).expect("few rounds");
    Builder::new(file.clone(), key(PHONE))
        .endpoint(committee.endpoint(at))
        .store(place.clone())
        .random(ChaCha20Rng::seed_from_u64(seed))
        .build()
        .expect("the store opens")
}

/// Nobody bids; and one that has waited too long is not taken.
fn ended(run: Result<(), BuyError>) {
    match run {
        Err(BuyError::Ended(Ended::NobodyBid | Ended::NotOnLedger { .. })) => {}
        other => panic!("{other:?}"),
    }
}

fn need() -> Need {
    Need {
        position: Position::from_e7(525_200_000, 134_050_000).expect("Berlin"),
        energy: Energy::from_wh(4_500),
        connectors: Connector::Type2.into(),
        power_min: Power::from_w(22_000),
        price_cap: Price::from_micro_per_kwh(650_000),
        reserve: None,
    }
}

/// Enough stations to hide among.
fn catalogue() -> Catalogue {
    let station = |n: i32| Station {
        reference: None,
        name: format!("Station {n}"),
        operator: "Stadtwerke".into(),
        address: "Am Markt".into(),
        position: Position::from_e7(525_190_000 + n / 5 * 5_000, 134_040_000 + n % 5 * 5_000)
            .expect("Berlin"),
        outlets: vec![Outlet {
            count: 1,
            connectors: Connector::Type2.into(),
            power: Some(Power::from_w(60_000)),
            meter_key: None,
        }],
        in_service_since: None,
        availability: Availability::Unknown,
    };
    Catalogue::new((0..25).map(station).collect()).expect("stations")
}

const SEED: u64 = 9;
/// Who holds the phone.
const PHONE: u8 = 40;
const MINUTE: Duration = Duration::from_secs(60);
