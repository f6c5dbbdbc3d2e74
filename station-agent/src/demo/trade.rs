//! One driver's purchase on a phone of its own, from the need to the proven balance.
//!
//! ```text
//!  phone  Node::buy --intent--> agents: bids, opening --outcome, award--> contract open    the measured time
//!  people drive there, plug in --> charger --OCPP--> its agent --records--> phone: checkpoints
//!  phone  sync until its own balance is proven to have paid for exactly what the meter counted
//! ```
//!
//! A driver whose winner is taken, or whom nobody bids for, asks again: every attempt is an auction of its own.

use super::{client::PATIENCE, world::World};
use eyre::{Result, bail, ensure, eyre};
use ohmesh_auction::intent::Kappa;
use ohmesh_ledger::{Asset, Holding, Journal};
use ohmesh_node::{BuyError, Event, Node, NodeError, Purchase, PurchaseNews, PurchaseReceipt, Settings};
use ohmesh_ocpp::client::{Car, CurveStep};
use ohmesh_units::{Energy, EvseId, Power};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// A purchase that has been settled and proven.
pub(super) struct Sold {
    pub(super) receipt: PurchaseReceipt,
    /// Where: station and outlet by their places in the market.
    pub(super) place: (usize, usize),
    /// What the charger's own meter has counted.
    pub(super) metered: Energy,
    /// What the driver's proven account has paid, in micro-units.
    pub(super) paid: i64,
    /// From handing in the intent to the proven contract, by the machine's clock.
    pub(super) to_contract: Duration,
    /// Auctions that it took.
    pub(super) attempts: u32,
}

/// Buys for one driver on a phone of its own.
pub(super) async fn run(world: Arc<World>, driver: usize) -> Result<Sold> {
    let phone = world.phone(driver)?;
    let result = settle(&world, &phone, driver).await;
    phone.close().await?;
    result
}

async fn settle(world: &World, phone: &Node, driver: usize) -> Result<Sold> {
    let before = proven(phone, "the account is not proven", money).await?;
    let mut last = None;
    for attempts in 1..=ATTEMPTS_MAX {
        let bought = tokio::time::timeout(PURCHASE_MAX, buy(world, phone, driver)).await;
        match bought.map_err(|_| eyre!("a purchase has no end after {} s", PURCHASE_MAX.as_secs()))?? {
            Ok((receipt, place, metered, to_contract)) => {
                let is_paid = |money: &Holding| money.held == 0 && money.posted != before.posted;
                let after =
                    proven(phone, "the payment is not proven", |phone| Ok(money(phone)?.filter(is_paid)))
                        .await?;
                let (paid, due) = (before.posted - after.posted, receipt.sale.bill.price_total.as_micro());
                ensure!(paid == due, "paid {paid} micro-EUR, due are {due}");
                return Ok(Sold { receipt, place, metered, paid, to_contract, attempts });
            }
            Err(ended) => last = Some(ended),
        }
    }
    let last = last.map_or_else(String::new, |ended| ended.to_string());
    bail!("{ATTEMPTS_MAX} auctions have ended without energy, the last because {last}")
}

type Bought = (PurchaseReceipt, (usize, usize), Energy, Duration);

/// One auction and what follows; how it ended, if without energy.
async fn buy(world: &World, phone: &Node, driver: usize) -> Result<Result<Bought, BuyError>> {
    let need = world.needs[driver];
    world.turn().await;
    let start = Instant::now();
    let purchase = match phone.buy(need, &world.market.catalogue, settings()).await {
        Ok(purchase) => purchase,
        // Nothing was asked yet: the next attempt may find an agent with time.
        Err(error @ BuyError::Node(NodeError::NoAgent { .. })) => return Ok(Err(error)),
        Err(error) => return Err(error.into()),
    };
    let charged = async {
        let evse = contract_open(phone, &purchase).await;
        let to_contract = start.elapsed();
        let place = world.market.find(&evse).ok_or_else(|| eyre!("EVSE {evse} is none of the market's"))?;
        let metered = charge(world, place, need.energy).await?;
        Ok::<_, eyre::Report>((place, metered, to_contract))
    };
    let mut charged = pin!(charged);
    let mut run = pin!(purchase.run());
    let (ended, done) = tokio::select! {
        ended = &mut run => (ended, None),
        done = &mut charged => {
            let done = done?;
            let ended = tokio::time::timeout(PATIENCE, run).await;
            (ended.map_err(|_| eyre!("no receipt within {} s", PATIENCE.as_secs()))?, Some(done))
        }
    };
    let receipt = match ended {
        Ok(receipt) => receipt,
        Err(ended @ BuyError::Ended(_)) => {
            // Whoever has plugged in takes the car away.
            if let Some((station, outlet)) = purchase.evse().and_then(|evse| world.market.find(&evse)) {
                world.charger(station).unplug(world.market.stations[station].outlets[outlet].number).await;
            }
            return Ok(Err(ended));
        }
        Err(error) => return Err(error.into()),
    };
    let (place, metered, to_contract) = match done {
        Some(done) => done,
        None => tokio::time::timeout(PATIENCE, charged)
            .await
            .map_err(|_| eyre!("contract {} is settled, but no car was charged", receipt.sale.contract))??,
    };
    Ok(Ok((receipt, place, metered, to_contract)))
}

/// The outlet of the purchase, once its contract is proven to be open.
async fn contract_open(phone: &Node, purchase: &Purchase) -> EvseId {
    loop {
        if let Event::Purchase { auction, news: PurchaseNews::ContractOpen { evse, .. } } =
            phone.next_event().await
            && auction == purchase.id()
        {
            return evse;
        }
    }
}

/// Plugs the car in and lets it charge; what the charger has counted.
async fn charge(world: &World, (station, outlet): (usize, usize), energy: Energy) -> Result<Energy> {
    let station = (station, &world.market.stations[station]);
    // Nobody is at the outlet before the seller knows of the contract that the phone shows.
    world.catch_up(station.1.agent).await?;
    let outlet = &station.1.outlets[outlet];
    // The curve of a car that is nearly empty: full power, and less at the end.
    let hour = Duration::from_secs(3600);
    let tail = Power::from_w(outlet.power.as_w() * 9 / 10);
    let curve =
        vec![CurveStep { lasts: hour / 6, power: outlet.power }, CurveStep { lasts: 24 * hour, power: tail }];
    world.charger(station.0).charge(outlet.number, Car { curve, wants: energy }).await
}

/// Syncs the phone until `wanted` is there; an agent that cannot answer now is asked again.
async fn proven<T>(phone: &Node, what: &str, wanted: impl Fn(&Node) -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        match phone.sync().await {
            Ok(_) | Err(NodeError::NoAgent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(found) = wanted(phone)? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            bail!("{what} within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The proven money of the phone's account, once there is any.
fn money(phone: &Node) -> Result<Option<Holding>> {
    let balance = phone.account()?.and_then(|view| view.proven.balances[Journal::Energy as usize]);
    Ok(balance.map(|balance| *balance.of(Asset::Currency)))
}

/// How phones buy: times of the ledger by the demo's clock, polls by the machine's.
fn settings() -> Settings {
    Settings {
        bidding: Duration::from_secs(90),
        poll: Duration::from_millis(60),
        poll_calm: Duration::from_secs(30),
        silence_max: Duration::from_secs(3600),
        // A detour in town counts about as much as the difference between two stations' prices.
        kappa: Kappa::try_from(3).expect("3 is one of the eight steps"),
        auto_confirm: true,
        ..Settings::default()
    }
}

/// How long a purchase may take from the intent to the receipt, by the machine's clock.
const PURCHASE_MAX: Duration = Duration::from_secs(240);
/// Auctions that a driver tries.
const ATTEMPTS_MAX: u32 = 12;
/// Between two looks at the own account.
const POLL: Duration = Duration::from_millis(50);
