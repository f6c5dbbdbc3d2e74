//! The agents of a zone, as a phone asks them: by address and key, one question at a time, each bounded in time.
//!
//! They are those of the zone file until the validators of a later epoch have been proven ([`Agents::learn`]). One that
//! votes no more is not asked any more, but keeps its place: a sale may still be under way with it.

use crate::{AgentFault, timer::within};
use ohmesh_ledger::{Answer, Query, Validator, ValidatorSet};
use ohmesh_mesh::{Endpoint, Peer, quinn::Runtime};
use ohmesh_units::{Canonical, PublicKey};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Every agent known, and the open connections to some of them.
#[derive(Debug)]
pub(crate) struct Agents {
    endpoint: Endpoint,
    runtime: Arc<dyn Runtime>,
    known: Mutex<Known>,
    peers: Mutex<BTreeMap<usize, Peer>>,
}

/// Places are never taken again, so that a place names one agent for as long as the node runs.
#[derive(Debug)]
struct Known {
    /// Of which epoch they are.
    epoch: u64,
    agents: Vec<Agent>,
}

#[derive(Clone, Debug)]
struct Agent {
    name: String,
    key: PublicKey,
    address: String,
    /// Whether it validates now.
    is_asked: bool,
}

impl Agent {
    fn of(validator: &Validator, is_asked: bool) -> Self {
        let Validator { name, key, address, .. } = validator.clone();
        Self { name, key, address, is_asked }
    }
}

impl Agents {
    pub(crate) fn new(endpoint: Endpoint, runtime: Arc<dyn Runtime>, validators: &ValidatorSet) -> Self {
        let agents = validators.all().iter().map(|validator| Agent::of(validator, true)).collect();
        let known = Mutex::new(Known { epoch: 0, agents });
        Self { endpoint, runtime, known, peers: Mutex::default() }
    }

    /// Learns who validates in `epoch`, as it was proven: their names and addresses replace what was known of them, and
    /// from then on they alone are asked. Of an older epoch than is known only those are taken who are not known at all;
    /// they are not asked.
    pub(crate) fn learn(&self, epoch: u64, validators: &ValidatorSet) {
        let mut known = self.known();
        let is_news = epoch >= known.epoch;
        if is_news {
            known.epoch = epoch;
            known.agents.iter_mut().for_each(|agent| agent.is_asked = false);
        }
        for validator in validators.all() {
            let agent = Agent::of(validator, is_news);
            match known.agents.iter().position(|other| other.key == agent.key) {
                Some(at) if is_news => known.agents[at] = agent,
                None if known.agents.len() < AGENTS_KNOWN_MAX => known.agents.push(agent),
                _ => {}
            }
        }
    }

    /// Of which epoch the agents are; 0 also before any was proven.
    pub(crate) fn epoch(&self) -> u64 {
        self.known().epoch
    }

    /// The keys of all agents known, by place.
    pub(crate) fn keys(&self) -> Vec<PublicKey> {
        self.known().agents.iter().map(|agent| agent.key).collect()
    }

    /// The place of the agent that people call so.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.known().agents.iter().position(|agent| agent.name == name)
    }

    /// The agents to ask, in an order drawn from `random` so that none is everybody's first; at most
    /// [`AGENTS_ASKED_MAX`].
    pub(crate) fn order(&self, random: &mut dyn CryptoRng) -> Vec<usize> {
        let mut order: Vec<usize> = {
            let known = self.known();
            (0..known.agents.len()).filter(|at| known.agents[*at].is_asked).collect()
        };
        for last in (1..order.len()).rev() {
            // At most 32 agents: the bias of the remainder is below 2^-58.
            let drawn = random.next_u64() % (last as u64 + 1);
            order.swap(last, usize::try_from(drawn).unwrap_or(last));
        }
        order.truncate(AGENTS_ASKED_MAX);
        order
    }

    /// What people call the agent.
    pub(crate) fn name(&self, agent: usize) -> String {
        self.known().agents[agent].name.clone()
    }

    /// Asks one agent, over the open connection if there is one.
    pub(crate) async fn ask(&self, agent: usize, query: &Query) -> Result<Answer, AgentFault> {
        let query = query.encode();
        let bytes = within(&*self.runtime, ANSWER_MAX, self.request(agent, &query))
            .await
            .unwrap_or(Err(AgentFault::Silent(ANSWER_MAX)))
            .inspect_err(|_| self.hang_up(agent))?;
        Ok(Answer::decode(&bytes)?)
    }

    /// The key that agents see.
    pub(crate) fn key(&self) -> PublicKey {
        self.endpoint.key()
    }

    /// The open connection to an agent, or a new one.
    pub(crate) async fn link(&self, agent: usize) -> Result<Peer, AgentFault> {
        if let Some(peer) = self.open_peer(agent) {
            return Ok(peer);
        }
        let connected = within(&*self.runtime, ANSWER_MAX, self.connect(agent)).await;
        let peer = connected.unwrap_or(Err(AgentFault::Silent(ANSWER_MAX)))?;
        self.peers().insert(agent, peer.clone());
        Ok(peer)
    }

    /// Asks an agent over this very connection: what is said may be signed for it.
    pub(crate) async fn ask_over(
        &self,
        agent: usize,
        peer: &Peer,
        query: &Query,
    ) -> Result<Answer, AgentFault> {
        let query = query.encode();
        let answer = within(&*self.runtime, ANSWER_MAX, peer.request(&query)).await;
        let bytes = match answer {
            Some(answer) => answer.map_err(AgentFault::from),
            None => Err(AgentFault::Silent(ANSWER_MAX)),
        };
        Ok(Answer::decode(&bytes.inspect_err(|_| self.hang_up(agent))?)?)
    }

    /// Closes every connection, and the endpoint.
    pub(crate) async fn close(&self) {
        self.peers().clear();
        self.endpoint.close("done");
        // Who has not taken the close by then will see silence.
        let _ = within(&*self.runtime, CLOSE_MAX, self.endpoint.idle()).await;
    }

    async fn request(&self, agent: usize, query: &[u8]) -> Result<Vec<u8>, AgentFault> {
        if let Some(peer) = self.open_peer(agent)
            && let Ok(bytes) = peer.request(query).await
        {
            return Ok(bytes);
        }
        // Asking twice does no harm: a transaction is applied once, by its id.
        let peer = self.connect(agent).await?;
        self.peers().insert(agent, peer.clone());
        Ok(peer.request(query).await?)
    }

    async fn connect(&self, agent: usize) -> Result<Peer, AgentFault> {
        let Agent { key, address, .. } = self.known().agents[agent].clone();
        let mut failed = AgentFault::NoAddress;
        for address in resolve(&address).await? {
            match self.endpoint.connect(address, key).await {
                Ok(peer) => return Ok(peer),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    fn open_peer(&self, agent: usize) -> Option<Peer> {
        self.peers().get(&agent).filter(|peer| peer.close_reason().is_none()).cloned()
    }

    fn hang_up(&self, agent: usize) {
        self.peers().remove(&agent);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<usize, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of `host:port`; only a name, not an address, goes to the system's resolver.
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, AgentFault> {
    if address.is_empty() {
        return Err(AgentFault::NoAddress);
    }
    if let Ok(literal) = address.parse() {
        return Ok(vec![literal]);
    }
    let failed = |reason: String| AgentFault::Address { address: address.to_owned(), reason };
    let found = tokio::net::lookup_host(address).await.map_err(|error| failed(error.to_string()))?;
    let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if found.is_empty() { Err(failed("it has no addresses".into())) } else { Ok(found) }
}

/// Agents asked for one thing: with ten of 32 dead or lying, one draw in 230,000 meets only those.
pub(crate) const AGENTS_ASKED_MAX: usize = 8;
/// Agents that are known at a time: all validators of now, and three times as many that were.
const AGENTS_KNOWN_MAX: usize = 4 * ValidatorSet::MAX;
/// How long one agent may take, dialling included: longer than a BLE dropout, short enough to try the next.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(25);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long closing waits for the peers.
const CLOSE_MAX: Duration = Duration::from_secs(3);
