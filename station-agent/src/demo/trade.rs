//! One driver's trade, from the need to the proven balance.
//!
//! ```text
//!  phone  PendSale --> agents --block--> proof --> phone     intent to contract: the measured time
//!  seller              its agent: proof of the hold -->  charge -->  PostSale, signed by owner and meter --> agents
//!  phone  sync until its own balance is proven to have paid for exactly what the meter counted
//! ```
//!
//! The sale is at an assumed list price: nobody bids, and the meter is a key of the demo's.

use super::{
    client::{PATIENCE, POLL},
    market::Plan,
    world::{World, taken},
};
use eyre::{Result, bail, ensure, eyre};
use ohmesh_ledger::{
    Answer, Asset, Body, Certificate, Header, Holding, Journal, Object, Pending, Proof, Query, Transaction,
    proven_object,
};
use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_node::{Node, NodeError, Status};
use ohmesh_units::{Energy, Hash, TransactionId};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A trade that has been settled and proven.
pub(super) struct Sold {
    /// What the driver's proven account has bought.
    pub(super) energy: Energy,
    /// What it has paid, in micro-units.
    pub(super) paid: i64,
    /// From handing in the hold to its proof on the phone.
    pub(super) to_contract: Duration,
}

/// Runs the trade of one driver on a phone of its own.
pub(super) async fn run(world: Arc<World>, driver: usize) -> Result<Sold> {
    let phone = world.phone(driver)?;
    let result = buy(&world, &phone, &world.plans[driver]).await;
    phone.close().await?;
    result
}

async fn buy(world: &World, phone: &Node, plan: &Plan) -> Result<Sold> {
    let outlet = world.market.outlet(plan);
    let before = proven(phone, "the account is not proven", money).await?;

    let timeout = SystemClock.now().checked_add(HOLD_FOR).ok_or_else(|| eyre!("the clock is at its end"))?;
    let body = Body::PendSale { evse: outlet.id, price: plan.price, energy: plan.energy_max(), timeout };
    let start = Instant::now();
    let id = taken(phone.submit(body).await?)?;
    proven(phone, "the hold is not proven", |phone| is_proven(phone, &id)).await?;
    let to_contract = start.elapsed();

    let sent = phone.wallet().transaction(&id)?.ok_or_else(|| eyre!("the wallet has lost {id}"))?;
    sell(world, plan, sent.signed.transaction.pending_id()).await?;
    let (after, energy) = proven(phone, "the sale is not proven", |phone| {
        let energy = bought(phone)?;
        Ok(money(phone)?.filter(|holding| holding.held == 0).zip(energy.filter(|e| *e != Energy::ZERO)))
    })
    .await?;
    let paid = before.posted - after.posted;
    let due = plan.price.times(plan.energy).ok_or_else(|| eyre!("the price overflows"))?.as_micro();
    ensure!(energy == plan.energy, "the ledger counts {energy}, the meter counted {}", plan.energy);
    ensure!(paid == due, "paid {paid} micro-EUR, due are {due}");
    Ok(Sold { energy, paid, to_contract })
}

/// The seller's side: sees the hold proven at its own agent, checks its terms, lets the car charge, and posts what the
/// meter counted.
async fn sell(world: &World, plan: &Plan, pending: Hash) -> Result<()> {
    let seller = world.market.seller(plan);
    let (office, operator) = (&world.offices[seller], &world.market.operators[seller]);
    let outlet = world.market.outlet(plan);
    let zone = &world.zone_file.zone;
    let (header, hold) = office
        .until(&Query::Object(pending), "the hold did not appear", |answer| match answer {
            Answer::Proofs(head, proofs) => held(world, &head, &proofs),
            _ => Ok(None),
        })
        .await?;
    let sale = hold.sale.ok_or_else(|| eyre!("the hold is not for a sale"))?;
    ensure!(hold.id == pending && hold.to == operator.account(), "the hold is not for {}", operator.name);
    ensure!(sale.evse == outlet.id && sale.meter == outlet.meter.public(), "the hold is for another outlet");
    ensure!(sale.price >= outlet.price, "the hold is for {}, the list says {}", sale.price, outlet.price);
    ensure!(sale.energy >= plan.energy, "the hold is for {}, the car takes {}", sale.energy, plan.energy);

    let now = SystemClock.now().max(header.time);
    let transaction = Transaction {
        zone: zone.id(),
        sender: operator.account(),
        // A hold is posted once: its id is number enough.
        number: u128::from_be_bytes(*pending.0.first_chunk().expect("a hash has more than 16 bytes")),
        valid_until: now.checked_add(HOLD_FOR).ok_or_else(|| eyre!("the clock is at its end"))?,
        body: Body::PostSale { pending, energy: plan.energy },
    };
    office.apply(transaction.sign(&[&operator.key, &outlet.meter])).await
}

/// The hold in an answer, proven against its header; `None` if the agent has no such object yet.
fn held(world: &World, head: &(Header, Certificate), proofs: &[Proof]) -> Result<Option<(Header, Pending)>> {
    let Some(proof) = proofs.first() else { return Ok(None) };
    let (header, certificate) = head;
    let zone = &world.zone_file.zone;
    certificate.verify_header(header, &zone.id(), &zone.validators)?;
    match proven_object(proof, header)? {
        Object::Pending(pending) => Ok(Some((header.clone(), pending))),
        other => bail!("the hold is no hold but {other:?}"),
    }
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

/// The proven energy that the phone's account has bought.
fn bought(phone: &Node) -> Result<Option<Energy>> {
    let balance = phone.account()?.and_then(|view| view.proven.balances[Journal::Energy as usize]);
    Ok(balance.map(|balance| balance.bought))
}

/// Whether the hold that a transaction opens has been proven to the phone.
fn is_proven(phone: &Node, id: &TransactionId) -> Result<Option<()>> {
    let sent = phone.wallet().transaction(id)?;
    Ok(sent.filter(|sent| matches!(sent.status, Status::Proven { .. })).map(drop))
}

/// How long a hold waits for its meter, and a posting for its block.
const HOLD_FOR: Duration = Duration::from_secs(600);
