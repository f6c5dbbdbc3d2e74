//! The one noun an app holds: a wallet, a replica, and the agents they speak with.

mod reach;
mod sync;

pub(crate) use sync::Trouble;

use crate::{
    AgentFault, Event, Freshness, NodeError, OnDamage, Place, Replica, ReplicaError, Status, Store, Wallet,
    agents::Agents, event::Events, wallet::content_of,
};
use ohmesh_ledger::{Anchor, Answer, Body, ProvenAccount, Query, SignedTransaction, ZoneFile};
use ohmesh_mesh::{
    Clock, Endpoint,
    quinn::{Runtime, TokioRuntime},
};
use ohmesh_units::{AccountId, SigningKey, Timestamp, TransactionId};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use zeroize::Zeroizing;

/// A whole node of a driver, a prosumer or an operator: what it owns, what it knows, whom it asks. A handle: clones are
/// the same node.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    wallet: Wallet,
    replica: Replica,
    store: Arc<Store>,
    agents: Agents,
    clock: Arc<dyn Clock>,
    random: Mutex<Box<dyn CryptoRng + Send>>,
    events: Events,
    runtime: Arc<dyn Runtime>,
    /// One at a time, so that what changed is told once.
    syncing: tokio::sync::Mutex<()>,
}

/// The own account as last proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccountView {
    /// The account, its balances, and the header they were proven against.
    pub proven: ProvenAccount,
    /// How old that header is.
    pub freshness: Freshness,
}

/// What [`Node::sync`] has reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The newest certified height.
    pub height: u64,
    /// Ledger time there.
    pub time: Timestamp,
    /// How old it is.
    pub freshness: Freshness,
    /// The own account; `None` while no agent proves one.
    pub account: Option<AccountView>,
}

/// What has become of a transaction by the time [`Node::submit`] returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submitted {
    /// Its id; it is durable here.
    pub id: TransactionId,
    /// [`Status::Waiting`] or [`Status::Reported`] if an agent took it, [`Status::Refused`] if those that answered did
    /// not, [`Status::Signed`] if none could be asked: [`Node::resume`] sends it again.
    pub status: Status,
}

impl Node {
    /// A node of the account of `key` in the zone of `zone_file`.
    pub fn builder(zone_file: ZoneFile, key: SigningKey) -> Builder {
        Builder::new(zone_file, key)
    }

    /// The account this node acts for, open or not.
    pub fn id(&self) -> AccountId {
        self.0.wallet.account()
    }

    /// What this node knows and can back.
    pub fn replica(&self) -> &Replica {
        &self.0.replica
    }

    /// What this node has signed.
    pub fn wallet(&self) -> &Wallet {
        &self.0.wallet
    }

    /// The own account as last proven, without asking anybody; `None` before that.
    pub fn account(&self) -> Result<Option<AccountView>, NodeError> {
        let proven = self.0.replica.account(&self.id())?;
        let now = self.0.clock.now();
        Ok(proven.map(|proven| AccountView { freshness: Freshness::of(proven.header.time, now), proven }))
    }

    /// Opens the own account on the ledger. Errors as [`Node::submit`].
    pub async fn open_account(&self) -> Result<Submitted, NodeError> {
        self.submit(Body::OpenAccount { owner: self.0.wallet.public() }).await
    }

    /// Signs a transaction, makes it durable, and offers it to agents until one takes it.
    ///
    /// Errors: [`NodeError::Wallet`] before anything is sent; an agent that fails is an event.
    pub async fn submit(&self, body: Body) -> Result<Submitted, NodeError> {
        // A clock that runs behind the ledger would sign what is over already.
        let ledger = self.0.replica.head()?.map_or(Timestamp::EPOCH, |header| header.time);
        let now = self.0.clock.now().max(ledger);
        let signed = self.with_random(|random| self.0.wallet.sign(body, now, random))?;
        self.send(signed).await
    }

    /// Offers every open transaction again, oldest first: after a restart, or when agents could not be reached. None
    /// is applied twice.
    pub async fn resume(&self) -> Result<Vec<Submitted>, NodeError> {
        let mut submitted = Vec::new();
        for sent in self.0.wallet.open_transactions()? {
            submitted.push(self.send(sent.signed).await?);
        }
        Ok(submitted)
    }

    /// Waits for the next event. Every event goes to one reader; the oldest are dropped when nobody reads, and
    /// [`Event::Missed`] says so. Cancel-safe.
    pub async fn next_event(&self) -> Event {
        self.0.events.next().await
    }

    /// The next event if one waits.
    pub fn take_event(&self) -> Option<Event> {
        self.0.events.take()
    }

    /// Hangs up on every agent, closes the endpoint and brings everything into the main file.
    pub async fn close(&self) -> Result<(), NodeError> {
        self.0.agents.close().await;
        Ok(self.0.store.checkpoint()?)
    }

    async fn send(&self, signed: SignedTransaction) -> Result<Submitted, NodeError> {
        let (id, content) = (signed.transaction.id(), content_of(&signed));
        let query = Query::Submit(Box::new(signed));
        let mut refused = None;
        for agent in self.order() {
            let fault = match self.0.agents.ask(agent, &query).await {
                Ok(Answer::Waiting) => return self.noted(id, Status::Waiting),
                Ok(Answer::Applied(found)) if found == content => return self.noted(id, Status::Reported),
                Ok(Answer::Applied(found)) => AgentFault::OtherContent(found),
                Ok(Answer::Refused(reason)) => {
                    let reason = presentable(&reason);
                    refused = Some(reason.clone());
                    AgentFault::Refused(reason)
                }
                Ok(_) => AgentFault::OtherAnswer,
                Err(fault) => fault,
            };
            self.failed(agent, fault);
        }
        match refused {
            Some(reason) => self.noted(id, Status::Refused { reason }),
            None => self.submitted(id),
        }
    }

    /// Makes `status` durable, then tells it.
    fn noted(&self, id: TransactionId, status: Status) -> Result<Submitted, NodeError> {
        self.note(id, status)?;
        self.submitted(id)
    }

    fn note(&self, id: TransactionId, status: Status) -> Result<(), NodeError> {
        if self.0.wallet.note(&id, &status)? {
            self.0.events.emit(Event::Transaction { id, status });
        }
        Ok(())
    }

    fn submitted(&self, id: TransactionId) -> Result<Submitted, NodeError> {
        let sent = self.0.wallet.transaction(&id)?.ok_or(crate::WalletError::Unknown(id))?;
        Ok(Submitted { id, status: sent.status })
    }

    fn failed(&self, agent: usize, reason: AgentFault) {
        let name = self.0.agents.name(agent);
        self.0.events.emit(Event::AgentFailed { name, reason });
    }

    fn order(&self) -> Vec<usize> {
        self.with_random(|random| self.0.agents.order(random))
    }

    fn with_random<T>(&self, draw: impl FnOnce(&mut dyn CryptoRng) -> T) -> T {
        let mut random = self.0.random.lock().unwrap_or_else(PoisonError::into_inner);
        draw(&mut **random)
    }
}

/// What the other parts of this crate use.
impl Node {
    pub(crate) fn agents(&self) -> &Agents {
        &self.0.agents
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn runtime(&self) -> &dyn Runtime {
        &*self.0.runtime
    }

    pub(crate) fn emit(&self, event: Event) {
        self.0.events.emit(event);
    }

    pub(crate) fn agent_failed(&self, agent: usize, reason: AgentFault) {
        self.failed(agent, reason);
    }

    pub(crate) fn asking_order(&self) -> Vec<usize> {
        self.order()
    }

    /// A source of its own for one computation, so that no lock is held while it runs.
    pub(crate) fn draw_rng(&self) -> ChaCha20Rng {
        let mut seed = Zeroizing::new([0; 32]);
        self.with_random(|random| random.fill_bytes(&mut *seed));
        ChaCha20Rng::from_seed(*seed)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("account", &self.id()).finish_non_exhaustive()
    }
}

/// What a node is made of.
pub struct Builder {
    zone_file: ZoneFile,
    key: SigningKey,
    endpoint: Option<Endpoint>,
    place: Place,
    on_damage: OnDamage,
    clock: Option<Arc<dyn Clock>>,
    random: Option<Box<dyn CryptoRng + Send>>,
    runtime: Arc<dyn Runtime>,
    anchor: Option<Anchor>,
}

impl Builder {
    /// A node of the account of `key` in the zone of `zone_file`; it needs an endpoint.
    pub fn new(zone_file: ZoneFile, key: SigningKey) -> Self {
        Self {
            zone_file,
            key,
            endpoint: None,
            place: Place::Memory,
            on_damage: OnDamage::Refuse,
            clock: None,
            random: None,
            runtime: Arc::new(TokioRuntime),
            anchor: None,
        }
    }

    /// The endpoint to speak through. Its key is seen by agents; it need not be the account's.
    pub fn endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Where the node keeps what it knows; memory unless given.
    pub fn store(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// What to do about stored things that no longer verify; refuse unless given.
    pub fn on_damage(mut self, on_damage: OnDamage) -> Self {
        self.on_damage = on_damage;
        self
    }

    /// Wall time; the endpoint's unless given.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where numbers and orders are drawn from; the system unless given.
    pub fn random(mut self, random: impl CryptoRng + Send + 'static) -> Self {
        self.random = Some(Box::new(random));
        self
    }

    /// Timers; tokio's unless given.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Where to begin to follow the zone, as the app's release knows it, or as [`Anchor::agreed`] makes it of the words of
    /// two operators. A zone that was made at most 21 days ago needs none, nor does a store that has been synced since
    /// then; an anchor that is older than what the store has is of no account.
    pub fn anchor(mut self, anchor: Anchor) -> Self {
        self.anchor = Some(anchor);
        self
    }

    /// Opens the store, verifies everything in it, and starts.
    ///
    /// Errors: [`NodeError::NoEndpoint`], [`NodeError::Random`], and what [`Store::open`], [`Replica::open`],
    /// [`Wallet::open`] and, for an anchor that is needed, [`Replica::anchor`] say. Without an anchor that is needed the
    /// node starts and shows what it has, and [`Node::sync`] says that it is [`ReplicaError::AnchorTooOld`].
    pub fn build(self) -> Result<Node, NodeError> {
        let endpoint = self.endpoint.ok_or(NodeError::NoEndpoint)?;
        let random = match self.random {
            Some(random) => random,
            None => from_system()?,
        };
        let store = Store::open(&self.place, &self.zone_file)?;
        let (replica, dropped) = Replica::open(store.clone(), self.on_damage)?;
        let (wallet, also_dropped) = Wallet::open(store.clone(), self.key, self.on_damage)?;
        let clock = self.clock.unwrap_or_else(|| endpoint.clock().clone());
        if let Some(anchor) = &self.anchor {
            take_anchor(&replica, anchor, clock.now())?;
        }
        let agents = Agents::new(endpoint, self.runtime.clone(), &store.zone().validators);
        for (epoch, validators) in replica.validators()? {
            agents.learn(epoch, &validators);
        }
        let events = Events::default();
        for damage in dropped.into_iter().chain(also_dropped) {
            events.emit(Event::Dropped(damage));
        }
        Ok(Node(Arc::new(Inner {
            wallet,
            replica,
            store,
            agents,
            clock,
            random: Mutex::new(random),
            events,
            runtime: self.runtime,
            syncing: tokio::sync::Mutex::default(),
        })))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("store", &self.place).finish_non_exhaustive()
    }
}

/// An app's release may be older than what the store has: then the store does.
fn take_anchor(replica: &Replica, anchor: &Anchor, now: Timestamp) -> Result<(), ReplicaError> {
    match replica.anchor(anchor, now) {
        Err(ReplicaError::AnchorTooOld { .. }) if replica.check_anchor(now).is_ok() => Ok(()),
        taken => taken,
    }
}

fn from_system() -> Result<Box<dyn CryptoRng + Send>, NodeError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| NodeError::Random(error.to_string()))?;
    Ok(Box::new(ChaCha20Rng::from_seed(seed)))
}

/// An agent's words, short and without anything that moves a cursor.
pub(crate) fn presentable(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS_MAX).collect()
}

/// Characters of an agent's reason that are kept.
const REASON_CHARS_MAX: usize = 200;
