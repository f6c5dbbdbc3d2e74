//! A small zone on this machine: agents over QUIC on 127.0.0.1, each with its own log and its own sellers, chargers over
//! WebSocket, and everybody with an account.

use super::{
    AT_ONCE, bounded,
    charger::Charger,
    client::{Client, LOOPBACK, PATIENCE},
    clock::{FastClock, TICK_MS},
    market::{Market, Station, key, stream},
};
use crate::{
    agent::{Keep, Settings},
    charging::{PasswordHash, Registered, Server, generate},
    daemon::{Daemon, limits},
    disk::Folder,
    key_file,
    seller::{SellerEvse, SellerStation, Setup},
    vote_keys::VoteKeys,
};
use eyre::{Context, Result, bail, eyre};
use indicatif::ProgressBar;
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::{
    Answer, Asset, Body, Distributor, KeyGroup, Object, Query, Rules, Validator, ValidatorSet, Zone,
    ZoneArea, ZoneFile, proven_object,
};
use ohmesh_mesh::{Clock, Endpoint, Limits};
use ohmesh_node::{Need, Node, Place, Status, Submitted};
use ohmesh_ocpp::{
    client::{ChargePoint, Model},
    session::Outlet,
};
use ohmesh_units::{AccountId, Energy, Hash, Position, Price, PublicKey, SigningKey, TransactionId};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::Mutex,
    time::{Interval, MissedTickBehavior, interval},
};

/// Agents, chargers, drivers, and the folder with all their files, which goes when this is dropped.
pub(super) struct World {
    pub(super) zone_file: ZoneFile,
    pub(super) market: Market,
    /// By driver.
    pub(super) needs: Vec<Need>,
    pub(super) clock: Arc<FastClock>,
    turns: Mutex<Interval>,
    /// By station.
    chargers: Vec<Charger>,
    drivers: Vec<SigningKey>,
    treasurer: SigningKey,
    agents: Vec<Daemon>,
    servers: Vec<Server>,
    folder: TempDir,
}

impl World {
    /// Starts `validators` agents of a zone that they have sealed, and their chargers. Its accounts are still to be
    /// opened.
    pub(super) async fn start(validators: usize, drivers: usize, seed: u64) -> Result<Self> {
        let clock = Arc::new(FastClock::new());
        let market = Market::new(seed, validators)?;
        let needs = market.needs(seed, drivers)?;
        let folder = tempfile::Builder::new().prefix("ohmesh-demo-").tempdir()?;
        // The sockets first: their addresses go into the zone.
        let endpoints = market.agents.iter().map(|key| {
            Endpoint::builder(key.clone())
                .bind(LOOPBACK)
                .clock(clock.clone())
                .limits(limits())
                .start()
                .context("an agent's socket")
        });
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_>>()?;
        let mut random = stream(seed, "treasurer and distributor");
        let treasurer = key(&mut random);
        let areas = market.areas(&needs)?;
        let mut secrets = stream(seed, "agents' secrets");
        let mut disks = (0..endpoints.len()).map(|n| Folder::open(&folder.path().join(agent_name(n))));
        let mut disks = disks.by_ref().collect::<Result<Vec<_>, _>>()?;
        let votes = disks.iter_mut().map(|disk| VoteKeys::first(disk, *key(&mut secrets).seed()));
        let votes: Vec<PublicKey> = votes.collect::<Result<_, _>>()?;
        let keys = (&market.agents[..], &votes[..]);
        let zone_file = zone(keys, &endpoints, &treasurer, &key(&mut random), areas, &clock)?;
        let (mut agents, mut servers) = (Vec::new(), Vec::new());
        let mut chargers: Vec<Option<Charger>> = market.stations.iter().map(|_| None).collect();
        for (n, endpoint) in endpoints.into_iter().enumerate() {
            let own: Vec<usize> =
                (0..market.stations.len()).filter(|at| market.stations[*at].agent == n).collect();
            let passwords = own.iter().map(|_| generate()).collect::<Result<Vec<_>>>()?;
            let registered = own.iter().zip(&passwords);
            let registered = registered.map(|(at, password)| registered_at(&market.stations[*at], password));
            let place = folder.path().join(agent_name(n));
            let listener = TcpListener::bind(LOOPBACK).await?;
            let disk = Folder::open(&place.join("chargers"))?;
            let server = Server::builder(registered.collect(), clock.clone(), *key(&mut secrets).seed())
                .start(listener, disk, zone_file.zone.id())?;
            for (at, password) in own.iter().zip(&passwords) {
                let station = &market.stations[*at];
                let point = ChargePoint::new(model(station), station.version)?;
                let (address, name) = (server.address(), &station.charger);
                chargers[*at] = Some(Charger::connect(address, name, password, point, clock.clone()).await?);
            }
            let setup = Setup {
                key: market.agents[n].clone(),
                stations: own.iter().map(|at| selling(&market.stations[*at])).collect(),
                seed: *key(&mut secrets).seed(),
            };
            let settings = Settings {
                seed: *key(&mut secrets).seed(),
                key: market.agents[n].clone(),
                pace: PACE,
                timeouts: Timeouts::default().divided_by(TIMEOUT_FACTOR),
                seller: Some(setup),
                keep: Keep::default(),
            };
            let disk = disks.remove(0);
            let way = server.chargers().clone();
            agents.push(Daemon::start(&zone_file, settings, disk, endpoint, Some(way))?);
            servers.push(server);
        }
        let mut random = stream(seed, "drivers");
        let drivers = (0..drivers).map(|_| key(&mut random)).collect();
        let chargers = chargers.into_iter().flatten().collect();
        let mut turns = interval(TURN);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            market,
            needs,
            clock,
            turns: Mutex::new(turns),
            chargers,
            drivers,
            treasurer,
            agents,
            servers,
            folder,
            zone_file,
        })
    }

    /// Opens all accounts, registers all stations, and gives each driver money: three batches, each final at every
    /// agent before the next. Then the agents have made the key of the auctions.
    pub(super) async fn furnish(self: &Arc<Self>, progress: &ProgressBar) -> Result<()> {
        self.reached(1).await?;
        progress.set_message("opening accounts");
        let auditor = &self.auditors()?[0];
        let drivers = (0..self.drivers.len()).map(|driver| self.clone().open_driver(driver));
        let mut sent = Vec::new();
        for opened in bounded(drivers, AT_ONCE, |_| {}).await {
            sent.push(opened?);
        }
        self.settled(auditor, sent).await?;

        progress.set_message("registering stations, issuing money");
        let owners = self.market.agents.iter().map(|key| self.node(key.clone(), Place::Memory));
        let owners: Vec<Node> = owners.collect::<Result<_>>()?;
        let treasurer = self.node(self.treasurer.clone(), Place::Memory)?;
        let mut sent = Vec::new();
        for driver in 0..self.drivers.len() {
            let reference = format!("demo transfer {}", driver + 1);
            let (asset, to, amount) = (Asset::Currency, self.driver(driver), PURSE);
            sent.push(taken(treasurer.submit(Body::Issue { asset, to, amount, reference }).await?)?);
        }
        for station in &self.market.stations {
            let award_key = Hash(station.seal().public().to_bytes());
            let (number, name, position) = (station.number, station.name.clone(), station.position);
            let body = Body::RegisterStation { number, name, position, award_key };
            sent.push(taken(owners[station.agent].submit(body).await?)?);
        }
        self.settled(auditor, sent).await?;

        progress.set_message("registering outlets");
        let zone = self.zone_file.zone.id();
        let mut sent = Vec::new();
        for station in &self.market.stations {
            for outlet in &station.outlets {
                let owner = &owners[station.agent];
                let plugs = (outlet.connectors.into(), outlet.power);
                let at = (station.id, outlet.number);
                let body = Body::register_evse(&zone, &owner.id(), at, plugs, &outlet.meter);
                sent.push(taken(owner.submit(body).await?)?);
            }
        }
        self.settled(auditor, sent).await?;
        progress.set_message("agents make the auctions' key");
        let made = |answer| match answer {
            Answer::Proofs(head, proofs) => match proofs.first() {
                Some(proof) => {
                    Ok(matches!(proven_object(proof, &head.0)?, Object::EpochKey(_)).then_some(()))
                }
                None => Ok(None),
            },
            _ => Ok(None),
        };
        auditor.until(&Query::EpochKey(0), "there is no key of the auctions", made).await?;
        auditor.close();
        for node in owners.iter().chain([&treasurer]) {
            node.close().await?;
        }
        Ok(())
    }

    /// Waits until the next driver may ask: need does not come up everywhere in the same second.
    pub(super) async fn turn(&self) {
        self.turns.lock().await.tick().await;
    }

    /// The charger of a station.
    pub(super) fn charger(&self, station: usize) -> &Charger {
        &self.chargers[station]
    }

    /// Waits until an agent has every block that any agent has.
    pub(super) async fn catch_up(&self, agent: usize) -> Result<()> {
        let height =
            |agent: &Daemon| agent.status().borrow().head.as_ref().map_or(0, |(head, _)| head.height);
        let newest = self.agents.iter().map(height).max().unwrap_or(0);
        self.has(agent, newest).await
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

    /// Stops every charger and every agent; an agent's error, if one had stopped by itself.
    pub(super) async fn stop(self) -> Result<()> {
        drop(self.chargers);
        for (n, agent) in self.agents.into_iter().enumerate() {
            agent.stop().await.with_context(|| format!("agent {}", agent_name(n)))?;
        }
        for server in self.servers {
            server.stop().await?;
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
        let endpoint = Endpoint::builder(key_file::generate()?)
            .bind(LOOPBACK)
            .clock(self.clock.clone())
            .limits(Limits::phone())
            .start()?;
        Ok(Node::builder(self.zone_file.clone(), key).endpoint(endpoint).store(place).build()?)
    }

    /// Waits until transactions are applied, and every agent is as far.
    async fn settled(&self, auditor: &Client, sent: Vec<TransactionId>) -> Result<()> {
        for id in sent {
            auditor
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
        for agent in 0..self.agents.len() {
            self.has(agent, height).await?;
        }
        Ok(())
    }

    async fn has(&self, agent: usize, height: u64) -> Result<()> {
        let mut status = self.agents[agent].status();
        let there =
            status.wait_for(|status| status.head.as_ref().is_some_and(|(header, _)| header.height >= height));
        let waited = tokio::time::timeout(PATIENCE, there).await;
        let name = agent_name(agent);
        let waited = waited.map_err(|_| eyre!("agent {name} does not reach height {height}"))?;
        waited.map_err(|_| eyre!("agent {name} has stopped")).map(drop)
    }
}

/// A station as its agent's OCPP server knows it.
fn registered_at(station: &Station, password: &str) -> Registered {
    let outlets = station.outlets.iter().map(|outlet| Outlet { evse: outlet.number, rated: outlet.power });
    Registered {
        name: station.charger.clone(),
        password: PasswordHash::of(&station.charger, password.as_bytes()),
        outlets: outlets.collect(),
        cards: Vec::new(),
    }
}

/// A station as its agent sells it.
fn selling(station: &Station) -> SellerStation {
    let evses = station.outlets.iter().map(|outlet| SellerEvse {
        id: outlet.id,
        number: outlet.number,
        charger: station.charger.clone(),
        charger_evse: outlet.number,
        power: outlet.power,
        connectors: outlet.connectors.into(),
        meter: outlet.meter.clone(),
    });
    SellerStation {
        id: station.id,
        seal: station.seal(),
        evses: evses.collect(),
        strategy: station.strategy.clone(),
    }
}

/// A station as a simulated charger.
fn model(station: &Station) -> Model {
    let outlets = station.outlets.iter().map(|outlet| (outlet.number, outlet.power, Energy::from_wh(0)));
    Model {
        vendor: "ohmesh".to_owned(),
        model: "simulated".to_owned(),
        serial: station.charger.to_string(),
        outlets: outlets.collect(),
        meter_every: METER_EVERY,
    }
}

/// A zone around Berlin, sealed by all of its agents.
fn zone(
    (keys, votes): (&[SigningKey], &[PublicKey]),
    endpoints: &[Endpoint],
    treasurer: &SigningKey,
    distributor: &SigningKey,
    areas: Vec<ZoneArea>,
    clock: &FastClock,
) -> Result<ZoneFile> {
    let validators = keys.iter().zip(endpoints).enumerate().map(|(n, (key, endpoint))| {
        let address = endpoint.address()?.to_string();
        Ok(Validator { name: agent_name(n), key: key.public(), vote: votes[n], stake: 1, address })
    });
    let corners = POLYGON_E7.map(|(lat, lon)| Position::from_e7(lat, lon));
    let mut file = ZoneFile::new(Zone {
        name: "Berlin (demo)".to_owned(),
        currency: "EUR".parse()?,
        created: clock.now(),
        polygon: corners.into_iter().collect::<Result<_, _>>()?,
        regulators: None,
        rules: Rules::default(),
        treasury: KeyGroup { threshold: 1, keys: vec![treasurer.public()] },
        distributor: Distributor { key: distributor.public(), tariff: GRID_FEE },
        areas,
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
/// About a block a tick of the clock while there is work. Agents sleep this long by the machine's clock, and time stands
/// within a tick.
const PACE: Pace = Pace { busy_ms: TICK_MS, idle_ms: 5 * TICK_MS };
/// Between two meter values of a charger, by the demo's clock.
const METER_EVERY: Duration = Duration::from_secs(60);
/// From one driver's intent to the next, by the machine's clock.
const TURN: Duration = Duration::from_millis(600);
/// How many times shorter agents wait for one another. Less than the pace: they share one machine's disk.
const TIMEOUT_FACTOR: u64 = 2;
/// Berlin and Potsdam.
const POLYGON_E7: [(i32, i32); 4] = [
    (523_000_000, 129_000_000),
    (523_000_000, 138_000_000),
    (527_000_000, 138_000_000),
    (527_000_000, 129_000_000),
];
