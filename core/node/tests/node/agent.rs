//! Four agents on a simulated network, each honest or lying, and a phone among them, all on virtual time.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_mesh::{
    Endpoint, Inbound, Limits, Peer,
    sim::{Faults, SimClock, SimNet},
};
use ohmesh_node::{Builder, Certified, Event, Node, Place};
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    future::Future,
    sync::{Arc, Mutex},
};

/// How an agent answers.
#[derive(Clone)]
pub enum Mood {
    Honest,
    /// Takes a question and never answers.
    Silent,
    /// Answers with these bytes.
    Says(Vec<u8>),
    /// Answers every question for proofs with these, all else honestly.
    Proves(Box<Certified>, Vec<Proof>),
    /// Answers what became of a transaction, and its submission, with this; all else honestly.
    Claims(Answer),
}

pub struct World {
    pub net: SimNet,
    pub town: Arc<Mutex<Town>>,
    pub moods: Vec<Arc<Mutex<Mood>>>,
    pub clock: Arc<SimClock>,
    /// Kept: an endpoint closes with its last handle.
    agents: Mutex<Vec<Endpoint>>,
}

impl World {
    /// Must run inside [`simulate`].
    pub fn new(town: Town) -> Self {
        let net = SimNet::new(1, Faults::default());
        let clock = SimClock::new(town.now);
        let town = Arc::new(Mutex::new(town));
        let moods: Vec<_> = VALIDATORS.map(|_| Arc::new(Mutex::new(Mood::Honest))).to_vec();
        let world = Self { net, town, moods, clock, agents: Mutex::default() };
        world.start_agents();
        world
    }

    /// Starts every agent; those that ran before fall silent without a word, as when the power is cut.
    pub fn start_agents(&self) {
        for (n, mood) in VALIDATORS.iter().zip(&self.moods) {
            let agent = endpoint(&self.net, *n, &self.clock, Limits::default());
            tokio::spawn(accept(agent.clone(), self.town.clone(), mood.clone()));
            self.agents.lock().unwrap().push(agent);
        }
    }

    /// A phone with the buyer's account.
    pub fn phone(&self, place: Place, seed: u8) -> Builder {
        Builder::new(zone_file(), key(BUYER))
            .endpoint(endpoint(&self.net, 100 + seed, &self.clock, Limits::phone()))
            .store(place)
            .random(ChaCha20Rng::from_seed([seed; 32]))
    }

    pub fn node(&self) -> Node {
        self.phone(Place::Memory, 1).build().unwrap()
    }

    pub fn all(&self, mood: &Mood) {
        for agent in 0..self.moods.len() {
            self.set(agent, mood.clone());
        }
    }

    pub fn set(&self, agent: usize, mood: Mood) {
        *self.moods[agent].lock().unwrap() = mood;
    }

    pub fn town<T>(&self, act: impl FnOnce(&mut Town) -> T) -> T {
        act(&mut self.town.lock().unwrap())
    }
}

/// Runs `test` on virtual time: a timeout of a minute takes no time at all.
pub fn simulate<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(test)
}

pub fn events(node: &Node) -> Vec<Event> {
    std::iter::from_fn(|| node.take_event()).collect()
}

fn endpoint(net: &SimNet, n: u8, clock: &Arc<SimClock>, limits: Limits) -> Endpoint {
    let address = std::net::SocketAddr::from(([10, 0, 0, n], 4433));
    Endpoint::builder(key(n))
        .socket(net.bind(address))
        .seed([n; 32])
        .clock(clock.clone())
        .limits(limits)
        .start()
        .unwrap()
}

async fn accept(agent: Endpoint, town: Arc<Mutex<Town>>, mood: Arc<Mutex<Mood>>) {
    while let Some(caller) = agent.accept().await {
        tokio::spawn(serve(caller.unwrap(), town.clone(), mood.clone()));
    }
}

async fn serve(caller: Peer, town: Arc<Mutex<Town>>, mood: Arc<Mutex<Mood>>) {
    let mut unanswered = Vec::new();
    while let Ok(inbound) = caller.next().await {
        let Inbound::Request { bytes, reply } = inbound else { continue };
        let query = Query::decode(&bytes).unwrap();
        let mood = mood.lock().unwrap().clone();
        let answer = match (mood, &query) {
            (Mood::Silent, _) => {
                unanswered.push(reply);
                continue;
            }
            (Mood::Says(bytes), _) => bytes,
            (Mood::Proves(certified, proofs), Query::Account(_) | Query::Object(_)) => {
                Answer::Proofs(certified, proofs).encode()
            }
            (Mood::Claims(answer), Query::Submit(_) | Query::Transaction(_)) => answer.encode(),
            _ => honest(&mut town.lock().unwrap(), query).encode(),
        };
        // A phone that hung up in between is not this agent's problem.
        let _ = reply.send(&answer).await;
    }
}

/// What an agent that follows the ledger answers.
fn honest(town: &mut Town, query: Query) -> Answer {
    let Some(head) = town.head.clone() else { return Answer::Head(None) };
    let known = |town: &Town, id: &TransactionId| match town.state.applied(id) {
        Some(content) => Answer::Applied(content),
        None if town.waiting.iter().any(|signed| signed.transaction.id() == *id) => Answer::Waiting,
        None => Answer::Unknown,
    };
    match query {
        Query::Head => Answer::Head(Some(Box::new(head))),
        Query::Account(id) => {
            Answer::Proofs(Box::new(head), town.state.prove_account(&id).unwrap_or_default())
        }
        Query::Object(id) => {
            Answer::Proofs(Box::new(head), town.state.prove_object(&id).into_iter().collect())
        }
        Query::Submit(signed) => {
            let id = signed.transaction.id();
            let answer = known(town, &id);
            if answer != Answer::Unknown {
                return answer;
            }
            let verified = match Verified::one(town.state.zone_id(), *signed) {
                Ok(verified) => verified,
                Err(error) => return Answer::Refused(error.to_string()),
            };
            if let Err(reason) = town.state.try_transaction(town.now, &verified) {
                return Answer::Refused(reason.to_string());
            }
            town.waiting.push(verified.signed().clone());
            Answer::Waiting
        }
        Query::Transaction(id) => known(town, &id),
        _ => Answer::Refused("not here".into()),
    }
}

impl Town {
    /// A block of everything that waits.
    pub fn work(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.block(waiting);
    }
}
