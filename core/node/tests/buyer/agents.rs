//! The four agents of the market on a simulated network, and the phone.

use crate::market::*;
use ohmesh_ledger::*;
use ohmesh_mesh::{
    Clock, Endpoint, Inbound, Limits, Peer,
    sim::{Faults, SimClock, SimNet},
};
use ohmesh_node::{Builder, Event, Node, Place, PurchaseNews};
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

pub struct World {
    pub net: SimNet,
    pub market: Arc<Mutex<Market>>,
    pub clock: Arc<SimClock>,
    /// The agents that answer with noise, by key number.
    pub liars: Arc<Mutex<Vec<u8>>>,
    /// Kept: an endpoint closes with its last handle.
    _agents: Vec<Endpoint>,
}

impl World {
    /// Must run inside [`simulate`].
    pub fn new() -> Self {
        let net = SimNet::new(1, Faults::default());
        let market = Market::new();
        let clock = SimClock::new(market.now);
        let market = Arc::new(Mutex::new(market));
        let liars = Arc::new(Mutex::new(Vec::new()));
        let agents = VALIDATORS.map(|n| {
            let agent = endpoint(&net, (n, n), &clock, Limits::default());
            let serve = Serve { n, market: market.clone(), liars: liars.clone(), clock: clock.clone() };
            tokio::spawn(serve.accept(agent.clone()));
            agent
        });
        tokio::spawn(decide_blocks(market.clone(), clock.clone()));
        Self { net, market, clock, liars, _agents: agents.to_vec() }
    }

    /// The buyer's phone; a restarted one has another address and draws other numbers.
    pub fn phone(&self, place: Place, seed: u8) -> Node {
        Builder::new(zone_file(), key(BUYER))
            .endpoint(endpoint(&self.net, (100, 100 + seed), &self.clock, Limits::phone()))
            .store(place)
            .random(ChaCha20Rng::from_seed([seed; 32]))
            .build()
            .unwrap()
    }

    pub fn market<T>(&self, act: impl FnOnce(&mut Market) -> T) -> T {
        act(&mut self.market.lock().unwrap())
    }
}

/// Runs `test` on virtual time: a timeout of a minute takes no time at all.
pub fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

/// The purchase's news so far, and the agents that failed.
pub fn news(node: &Node) -> (Vec<PurchaseNews>, Vec<String>) {
    let (mut news, mut failed) = (Vec::new(), Vec::new());
    while let Some(event) = node.take_event() {
        match event {
            Event::Purchase { news: one, .. } => news.push(one),
            Event::AgentFailed { name, reason } => failed.push(format!("{name}: {reason}")),
            _ => {}
        }
    }
    (news, failed)
}

fn endpoint(net: &SimNet, (n, host): (u8, u8), clock: &Arc<SimClock>, limits: Limits) -> Endpoint {
    let address = std::net::SocketAddr::from(([10, 0, 0, host], 4433));
    Endpoint::builder(key(n))
        .socket(net.bind(address))
        .seed([host; 32])
        .clock(clock.clone())
        .limits(limits)
        .start()
        .unwrap()
}

/// A block a second; a block a minute while somebody charges.
async fn decide_blocks(market: Arc<Mutex<Market>>, clock: Arc<SimClock>) {
    loop {
        let wait = if market.lock().unwrap().is_charging() { 60 } else { 1 };
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let mut market = market.lock().unwrap();
        market.block(clock.now());
        market.work();
    }
}

#[derive(Clone)]
struct Serve {
    n: u8,
    market: Arc<Mutex<Market>>,
    liars: Arc<Mutex<Vec<u8>>>,
    clock: Arc<SimClock>,
}

impl Serve {
    async fn accept(self, agent: Endpoint) {
        while let Some(caller) = agent.accept().await {
            tokio::spawn(self.clone().serve(caller.unwrap()));
        }
    }

    async fn serve(self, caller: Peer) {
        while let Ok(inbound) = caller.next().await {
            let Inbound::Request { bytes, reply } = inbound else { continue };
            let query = Query::decode(&bytes).unwrap();
            let answer = if self.liars.lock().unwrap().contains(&self.n) {
                vec![9, 9, 9]
            } else {
                self.answer(query, (caller.key(), caller.exporter())).encode()
            };
            // A phone that hung up in between is not this agent's problem.
            let _ = reply.send(&answer).await;
        }
    }

    fn answer(&self, query: Query, asker: (PublicKey, [u8; 32])) -> Answer {
        let mut market = self.market.lock().unwrap();
        let object = |market: &Market, id: &Hash| {
            Answer::Proofs(Box::new(market.head.clone()), market.state.prove_object(id).into_iter().collect())
        };
        match query {
            Query::Head => Answer::Head(Some(Box::new(market.head.clone()))),
            Query::Account(id) => Answer::Proofs(
                Box::new(market.head.clone()),
                market.state.prove_account(&id).unwrap_or_default(),
            ),
            Query::Object(id) => object(&market, &id),
            Query::EpochKey(epoch) => object(&market, &epoch_key_id(epoch)),
            Query::Transaction(id) => market.state.applied(&id).map_or(Answer::Unknown, Answer::Applied),
            Query::Submit(signed) => {
                let verified = Verified::one(market.state.zone_id(), *signed).unwrap();
                if let Err(reason) = market.state.try_transaction(self.clock.now(), &verified) {
                    return Answer::Refused(reason.to_string());
                }
                market.waiting.push(verified.signed().clone());
                Answer::Waiting
            }
            Query::Sale { auction, messages } => {
                market.on_sale(self.n, auction, messages, asker, self.clock.now())
            }
            _ => Answer::Refused("not here".into()),
        }
    }
}
