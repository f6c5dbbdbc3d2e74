//! A small zone on this machine: agents over QUIC on 127.0.0.1, each with its own log, and everybody with an account.

use super::{
    AT_ONCE, bounded,
    client::{Client, LOOPBACK, PATIENCE},
    market::{Market, Plan, key, stream},
};
use crate::{
    agent::Settings,
    daemon::{Daemon, limits},
    disk::Folder,
    key_file,
};
use eyre::{Context, Result, bail, eyre};
use indicatif::ProgressBar;
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::{
    Answer, Asset, Body, Distributor, Query, Treasury, Validator, ValidatorSet, Zone, ZoneFile,
};
use ohmesh_mesh::{Clock, Endpoint, Limits, SystemClock};
use ohmesh_node::{Node, Place, Status, Submitted};
use ohmesh_units::{AccountId, Hash, Position, Price, SigningKey, TransactionId};
use std::{path::PathBuf, sync::Arc};
use tempfile::TempDir;

/// Agents, operators, drivers, and the folder with all their files, which goes when this is dropped.
pub(super) struct World {
    pub(super) zone_file: ZoneFile,
    pub(super) market: Market,
    pub(super) plans: Vec<Plan>,
    /// One for each operator: how its back office reaches its agent.
    pub(super) offices: Vec<Client>,
    drivers: Vec<SigningKey>,
    treasurer: SigningKey,
    agents: Vec<Daemon>,
    folder: TempDir,
}

impl World {
    /// Starts `validators` agents of a zone that they have sealed. Its accounts are still to be opened.
    pub(super) fn start(validators: usize, drivers: usize, seed: u64) -> Result<Self> {
        let market = Market::new(seed)?;
        let plans = market.plan(seed, drivers)?;
        let folder = tempfile::Builder::new().prefix("ohmesh-demo-").tempdir()?;
        let mut random = stream(seed, "agents");
        let keys: Vec<SigningKey> = (0..validators).map(|_| key(&mut random)).collect();
        // The sockets first: their addresses go into the zone.
        let endpoints = keys.iter().map(|key| {
            Endpoint::builder(key.clone())
                .bind(LOOPBACK)
                .limits(limits())
                .start()
                .context("an agent's socket")
        });
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_>>()?;
        let mut random = stream(seed, "treasurer and distributor");
        let treasurer = key(&mut random);
        let zone_file = zone(&keys, &endpoints, &treasurer, &key(&mut random))?;
        let mut secrets = stream(seed, "agents' secrets");
        let agents = keys.into_iter().zip(endpoints).enumerate().map(|(n, (own, endpoint))| {
            let settings = Settings {
                seed: *key(&mut secrets).seed(),
                key: own,
                pace: Pace::default().divided_by(PACE_FACTOR),
                timeouts: Timeouts::default().divided_by(TIMEOUT_FACTOR),
            };
            let disk = Folder::open(&folder.path().join(agent_name(n)))?;
            Ok(Daemon::start(&zone_file, settings, disk, endpoint)?)
        });
        let agents: Vec<Daemon> = agents.collect::<Result<_>>()?;
        let mut random = stream(seed, "drivers");
        let drivers = (0..drivers).map(|_| key(&mut random)).collect();
        let offices = (0..market.operators.len())
            .map(|n| Client::new(zone_file.zone.clone(), key_file::generate()?, n % validators));
        let offices = offices.collect::<Result<_>>()?;
        Ok(Self { market, plans, offices, drivers, treasurer, agents, folder, zone_file })
    }

    /// Opens all accounts, registers all stations, and gives each driver money: three batches, each final at every
    /// agent before the next.
    pub(super) async fn furnish(self: &Arc<Self>, progress: &ProgressBar) -> Result<()> {
        self.reached(1).await?;
        progress.set_message("opening accounts");
        let nodes: Vec<Node> = self
            .market
            .operators
            .iter()
            .map(|operator| self.node(operator.key.clone(), Place::Memory))
            .collect::<Result<_>>()?;
        let mut sent = Vec::new();
        for node in &nodes {
            sent.push(taken(node.open_account().await?)?);
        }
        let drivers = (0..self.drivers.len()).map(|driver| self.clone().open_driver(driver));
        for opened in bounded(drivers, AT_ONCE, |_| {}).await {
            sent.push(opened?);
        }
        self.settled(sent).await?;

        progress.set_message("registering stations, issuing money");
        let treasurer = self.node(self.treasurer.clone(), Place::Memory)?;
        let mut sent = Vec::new();
        for driver in 0..self.drivers.len() {
            let reference = format!("demo transfer {}", driver + 1);
            let (asset, to, amount) = (Asset::Currency, self.driver(driver), PURSE);
            sent.push(taken(treasurer.submit(Body::Issue { asset, to, amount, reference }).await?)?);
        }
        for station in &self.market.stations {
            // Nobody awards anything here yet, so the key for awards is the station's id.
            let award_key = Hash::from(station.id);
            let (number, name, position) = (station.number, station.name.clone(), station.position);
            let body = Body::RegisterStation { number, name, position, award_key };
            sent.push(taken(nodes[station.operator].submit(body).await?)?);
        }
        self.settled(sent).await?;

        progress.set_message("registering outlets");
        let mut sent = Vec::new();
        for station in &self.market.stations {
            for outlet in &station.outlets {
                let body = Body::RegisterEvse {
                    station: station.id,
                    number: outlet.number,
                    connectors: outlet.connectors.into(),
                    power: outlet.power,
                    meter: outlet.meter.public(),
                };
                sent.push(taken(nodes[station.operator].submit(body).await?)?);
            }
        }
        self.settled(sent).await?;
        for node in nodes.iter().chain([&treasurer]) {
            node.close().await?;
        }
        Ok(())
    }

    /// The account of a driver.
    pub(super) fn driver(&self, driver: usize) -> AccountId {
        AccountId::of(&self.drivers[driver].public())
    }

    /// The file of a driver's phone.
    pub(super) fn replica_file(&self, driver: usize) -> PathBuf {
        self.folder.path().join(format!("driver-{}.sqlite", driver + 1))
    }

    /// The block log of the first agent.
    pub(super) fn block_log(&self) -> PathBuf {
        self.folder.path().join(agent_name(0)).join("blocks.log")
    }

    /// A driver's phone. Agents see a fresh key each time it is switched on.
    pub(super) fn phone(&self, driver: usize) -> Result<Node> {
        self.node(self.drivers[driver].clone(), Place::File(self.replica_file(driver)))
    }

    /// A caller of each agent.
    pub(super) fn auditors(&self) -> Result<Vec<Client>> {
        let one = |agent| Client::new(self.zone_file.zone.clone(), key_file::generate()?, agent);
        (0..self.agents.len()).map(one).collect()
    }

    /// What the treasurer has issued, all together.
    pub(super) fn issued(&self) -> i64 {
        i64::try_from(self.drivers.len()).unwrap_or(i64::MAX).saturating_mul(PURSE)
    }

    /// Stops every agent; its error, if one had stopped by itself.
    pub(super) async fn stop(self) -> Result<()> {
        for office in &self.offices {
            office.close();
        }
        for (n, agent) in self.agents.into_iter().enumerate() {
            agent.stop().await.with_context(|| format!("agent {}", agent_name(n)))?;
        }
        self.folder.close().context("the demo's folder")
    }

    async fn open_driver(self: Arc<Self>, driver: usize) -> Result<TransactionId> {
        let phone = self.phone(driver)?;
        let opened = taken(phone.open_account().await?);
        phone.close().await?;
        opened
    }

    fn node(&self, key: SigningKey, place: Place) -> Result<Node> {
        let endpoint =
            Endpoint::builder(key_file::generate()?).bind(LOOPBACK).limits(Limits::phone()).start()?;
        Ok(Node::builder(self.zone_file.clone(), key).endpoint(endpoint).store(place).build()?)
    }

    /// Waits until transactions are applied, and every agent is as far.
    async fn settled(&self, sent: Vec<TransactionId>) -> Result<()> {
        for id in sent {
            self.offices[0]
                .until(&Query::Transaction(id), "a transaction was not applied", |answer| match answer {
                    Answer::Applied(_) => Ok(Some(())),
                    Answer::Refused(reason) => bail!("transaction {id} is refused: {reason}"),
                    _ => Ok(None),
                })
                .await?;
        }
        let head = self.agents[0].status().borrow().head.as_ref().map_or(0, |(header, _)| header.height);
        self.reached(head).await
    }

    /// Waits until every agent has a final block of this height.
    async fn reached(&self, height: u64) -> Result<()> {
        for (n, agent) in self.agents.iter().enumerate() {
            let mut status = agent.status();
            let there = status
                .wait_for(|status| status.head.as_ref().is_some_and(|(header, _)| header.height >= height));
            let waited = tokio::time::timeout(PATIENCE, there).await;
            let waited =
                waited.map_err(|_| eyre!("agent {} does not reach height {height}", agent_name(n)))?;
            waited.map_err(|_| eyre!("agent {} has stopped", agent_name(n)))?;
        }
        Ok(())
    }
}

/// A zone around Berlin, sealed by all of its agents.
fn zone(
    keys: &[SigningKey],
    endpoints: &[Endpoint],
    treasurer: &SigningKey,
    distributor: &SigningKey,
) -> Result<ZoneFile> {
    let validators = keys.iter().zip(endpoints).enumerate().map(|(n, (key, endpoint))| {
        let address = endpoint.address()?.to_string();
        Ok(Validator { name: agent_name(n), key: key.public(), stake: 1, address })
    });
    let corners = POLYGON_E7.map(|(lat, lon)| Position::from_e7(lat, lon));
    let mut file = ZoneFile::new(Zone {
        name: "Berlin (demo)".to_owned(),
        currency: "EUR".parse()?,
        created: SystemClock.now(),
        polygon: corners.into_iter().collect::<Result<_, _>>()?,
        treasury: Treasury { threshold: 1, keys: vec![treasurer.public()] },
        distributor: Distributor { key: distributor.public(), tariff: GRID_FEE },
        areas: Vec::new(),
        validators: ValidatorSet::new(validators.collect::<Result<_>>()?)?,
    })?;
    for key in keys {
        file.sign(key)?;
    }
    Ok(file)
}

fn agent_name(n: usize) -> String {
    format!("a{}", n + 1)
}

/// The id of a transaction that an agent has taken.
pub(super) fn taken(submitted: Submitted) -> Result<TransactionId> {
    match submitted.status {
        Status::Waiting | Status::Reported | Status::Proven { .. } => Ok(submitted.id),
        Status::Refused { reason } => bail!("every agent refuses transaction {}: {reason}", submitted.id),
        status => bail!("no agent took transaction {}: {status:?}", submitted.id),
    }
}

/// Assumed: what the distributor takes for the grid.
pub(super) const GRID_FEE: Price = Price::from_micro_per_kwh(80_000);
/// What each driver starts with: 100 EUR, more than any session costs.
const PURSE: i64 = 100_000_000;
/// How many times as often as usual there is a block: one every 100 ms while there is work.
pub(super) const PACE_FACTOR: u64 = 10;
/// How many times shorter agents wait for one another. Less than the pace: they share one machine's disk.
const TIMEOUT_FACTOR: u64 = 4;
/// Berlin and Potsdam.
const POLYGON_E7: [(i32, i32); 4] = [
    (523_000_000, 129_000_000),
    (523_000_000, 138_000_000),
    (527_000_000, 138_000_000),
    (527_000_000, 129_000_000),
];
