//! An agent at work: the machine of [`crate::agent`], a mesh endpoint, timers and peers. Tasks here move bytes and wait;
//! they decide nothing.
//!
//! ```text
//!  accept -> reader of each peer --+                      +--> link to each other validator (dials, sends, fetches)
//!  link to a validator ------------+--> one core task ----+--> answers to phones
//!  timers -------------------------+     owns the Agent   +--> watch: newest block
//! ```

use crate::{
    agent::{Agent, AgentError, AgentTimer, Asker, Effect, Event, Settings},
    charging::{ChargerStatus, Chargers, EndedTransaction, EvseStatus},
    disk::Disk,
    seller::{self, CommandTag, OpenTransaction, OutletStatus},
    wire::Wire,
};
use ohmesh_ledger::{Answer, Certificate, Header, LedgerError, Query, ValidatorSet, ZoneFile};
use ohmesh_mesh::{Endpoint, Inbound, Limits, MeshError, Peer, Refusal};
use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Event as ChargerEvent, StopCause},
};
use ohmesh_units::{Canonical, PublicKey};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};

/// Why a daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The zone file is not whole.
    #[error(transparent)]
    Zone(#[from] LedgerError),
    /// The agent had to stop.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The mesh endpoint does not work.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// What an agent is at, for whoever watches.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The newest final block.
    pub head: Option<(Header, Certificate)>,
    /// Transactions that wait.
    pub waiting: usize,
}

/// A running agent. Dropping the handle stops it.
pub struct Daemon {
    endpoint: Endpoint,
    status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
    core: tokio::task::JoinHandle<Result<(), DaemonError>>,
}

/// The mesh limits of an agent: a whole block with its certificate fits a message and an answer.
pub fn limits() -> Limits {
    let longest = Wire::MAX_BYTES.max(Answer::MAX_BYTES);
    Limits {
        message_bytes_max: longest,
        reply_bytes_max: longest,
        inbound_bytes_max: 2 * longest,
        ..Limits::default()
    }
}

impl Daemon {
    /// Starts an agent of a sealed zone on its disk and endpoint; what it sells, it sells at `chargers`. It reads the
    /// endpoint's clock and no other.
    pub fn start<D: Disk>(
        file: &ZoneFile,
        settings: Settings,
        disk: D,
        endpoint: Endpoint,
        chargers: Option<Chargers>,
    ) -> Result<Self, DaemonError> {
        let zone = file.sealed()?.clone();
        let me = settings.key.public();
        let clock = endpoint.clock().clone();
        let (agent, effects) = Agent::open(zone.clone(), settings, disk, clock.now())?;
        let (inbox, events) = mpsc::channel(INBOX);
        let mut tasks = JoinSet::new();
        if let Some(chargers) = &chargers {
            tasks.spawn(listen(chargers.clone(), inbox.clone()));
        }
        tasks.spawn(accept(endpoint.clone(), inbox.clone()));
        let first = Status { head: agent.head().cloned(), waiting: 0 };
        let (published, status) = watch::channel(first);
        let (stop, stopped) = oneshot::channel();
        let validators = agent.state().validators().clone();
        let mut core = Core {
            agent,
            me,
            endpoint: endpoint.clone(),
            links: BTreeMap::new(),
            chargers,
            commands: JoinSet::new(),
            inbox,
            events,
            timers: BTreeMap::new(),
            published,
            tasks,
        };
        core.link(&validators);
        let core = tokio::spawn(core.run(effects, stopped));
        Ok(Self { endpoint, status, stop: Some(stop), core })
    }

    /// The endpoint it listens on.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its newest status, and word of every change.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether it has stopped by itself.
    pub fn is_finished(&self) -> bool {
        self.core.is_finished()
    }

    /// Waits until the agent stops by itself, which it does only when going on would be wrong.
    pub async fn finished(&mut self) -> Result<(), DaemonError> {
        (&mut self.core).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Stops the agent and closes its connections.
    pub async fn stop(mut self) -> Result<(), DaemonError> {
        drop(self.stop.take());
        let result = self.finished().await;
        self.endpoint.close("stopped");
        result
    }
}

enum Incoming {
    Event(Event),
    Question(Question),
}

struct Question {
    asker: Asker,
    query: Query,
    reply: oneshot::Sender<Answer>,
}

impl Question {
    /// How many signatures it makes the agent check.
    fn signatures(&self) -> usize {
        match &self.query {
            Query::Submit(signed) => signed.signatures.len(),
            _ => 0,
        }
    }
}

struct Core<D> {
    agent: Agent<D>,
    endpoint: Endpoint,
    /// The key that the agent is known by.
    me: PublicKey,
    /// By key: where it is, and the way to it.
    links: BTreeMap<PublicKey, (String, mpsc::Sender<Order>)>,
    chargers: Option<Chargers>,
    /// Commands of chargers that have not ended.
    commands: JoinSet<()>,
    inbox: mpsc::Sender<Incoming>,
    events: mpsc::Receiver<Incoming>,
    timers: BTreeMap<AgentTimer, Instant>,
    published: watch::Sender<Status>,
    tasks: JoinSet<()>,
}

impl<D: Disk> Core<D> {
    async fn run(
        mut self,
        effects: Vec<Effect>,
        mut stopped: oneshot::Receiver<()>,
    ) -> Result<(), DaemonError> {
        self.perform(effects);
        loop {
            let next = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
            let far = Instant::now() + Duration::from_secs(3600);
            let effects = tokio::select! {
                biased;
                _ = &mut stopped => return Ok(()),
                () = tokio::time::sleep_until(next.map_or(far, |(_, at)| at)) => {
                    let Some((timer, _)) = next else { continue };
                    self.timers.remove(&timer);
                    self.agent.handle(self.now(), Event::Elapsed(timer))?
                }
                incoming = self.events.recv() => match incoming {
                    Some(Incoming::Event(event)) => self.agent.handle(self.now(), event)?,
                    Some(Incoming::Question(first)) => self.answer(first)?,
                    None => return Ok(()),
                },
            };
            self.perform(effects);
        }
    }

    /// Answers a question and those that wait behind it, up to the next event, which is handled after them: the signatures
    /// of transactions that phones send at the same time are checked together.
    fn answer(&mut self, first: Question) -> Result<Vec<Effect>, DaemonError> {
        let mut signatures = first.signatures();
        let (mut questions, mut replies) = (vec![(first.asker, first.query)], vec![first.reply]);
        let mut event = None;
        while questions.len() < TOGETHER_MAX && signatures < TOGETHER_MAX && event.is_none() {
            match self.events.try_recv() {
                Ok(Incoming::Question(next)) => {
                    signatures += next.signatures();
                    questions.push((next.asker, next.query));
                    replies.push(next.reply);
                }
                Ok(Incoming::Event(next)) => event = Some(next),
                Err(_) => break,
            }
        }
        let (answers, mut effects) = self.agent.answer_all(self.now(), questions)?;
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever asked may have gone; that is no concern of the ledger.
            let _ = reply.send(answer);
        }
        if let Some(event) = event {
            self.perform(effects);
            effects = self.agent.handle(self.now(), event)?;
        }
        Ok(effects)
    }

    fn now(&self) -> ohmesh_units::Timestamp {
        self.endpoint.clock().now()
    }

    /// Keeps a link to every other validator: new ones are dialled, others let go when their queue's sender is.
    fn link(&mut self, validators: &ValidatorSet) {
        let others = validators.all().iter().filter(|one| one.key != self.me && !one.address.is_empty());
        let wanted: BTreeMap<PublicKey, &str> = others.map(|one| (one.key, one.address.as_str())).collect();
        self.links.retain(|key, (address, _)| wanted.get(key) == Some(&address.as_str()));
        for (key, address) in wanted {
            if self.links.contains_key(&key) {
                continue;
            }
            let (sender, commands) = mpsc::channel(OUTBOX);
            let address = address.to_owned();
            self.links.insert(key, (address.clone(), sender));
            let (endpoint, inbox) = (self.endpoint.clone(), self.inbox.clone());
            self.tasks.spawn(Link { endpoint, key, address, commands, inbox }.run());
        }
        while self.tasks.try_join_next().is_some() {}
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish(wire) => {
                    let bytes: Arc<[u8]> = wire.encode().into();
                    self.links.values().for_each(|(_, link)| send(link, Order::Send(bytes.clone())));
                }
                Effect::Send(key, wire) => {
                    if let Some((_, link)) = self.links.get(&key) {
                        send(link, Order::Send(wire.encode().into()));
                    }
                }
                Effect::Fetch { from, height } => {
                    if let Some((_, link)) = self.links.get(&from) {
                        send(link, Order::Fetch { height });
                    }
                }
                Effect::Ask { from, query } => {
                    if let Some((_, link)) = self.links.get(&from) {
                        send(link, Order::Ask(query));
                    }
                }
                Effect::Warning(warning) => tracing::warn!("{warning}"),
                Effect::SetTimer(timer, wait) => {
                    self.timers.insert(timer, Instant::now() + wait);
                }
                Effect::CancelTimer(timer) => {
                    self.timers.remove(&timer);
                }
                Effect::CancelCommitteeTimers => {
                    self.timers.retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                }
                Effect::Decided(decided) => {
                    let (height, count) = (decided.header.height, decided.header.transaction_count);
                    tracing::debug!(height, transactions = count, "block final");
                    let head = Some((decided.header, decided.certificate));
                    self.published.send_replace(Status { head, waiting: self.agent.waiting() });
                }
                Effect::Charger { charger, command, tag } => self.command(charger, *command, tag),
                Effect::Sale(event) => tracing::info!(?event, "sale"),
                Effect::Refused { from, reason } if reason.is_fault() => {
                    tracing::warn!(peer = %from, %reason, "message refused");
                }
                Effect::Refused { from, reason } => {
                    tracing::debug!(peer = %from, %reason, "message not for now")
                }
                Effect::Validators(validators) => self.link(&validators),
                Effect::Forgetful { height } => tracing::error!(
                    height,
                    "this agent's key signed what it has no record of: it votes again with a new key in the next epoch"
                ),
                Effect::Equivocation(evidence) => {
                    tracing::error!(
                        validator = evidence.validator(),
                        "a validator signed two things that exclude each other"
                    );
                }
            }
        }
    }
}

/// Tells a charger in a task of its own; the outcome comes back as an event.
impl<D> Core<D> {
    fn command(&mut self, charger: ChargerName, command: Command, tag: CommandTag) {
        let (chargers, inbox) = (self.chargers.clone(), self.inbox.clone());
        self.commands.spawn(async move {
            let outcome = match chargers {
                Some(chargers) => chargers.command(&charger, command).await.ok(),
                None => None,
            };
            let done = seller::Input::CommandDone { command: tag, outcome };
            // The core has gone only when the whole agent has.
            let _ = inbox.send(Incoming::Event(Event::Seller(done))).await;
        });
        while self.commands.try_join_next().is_some() {}
    }
}

/// Passes on what happens at the chargers; after events were missed, how every outlet is.
async fn listen(chargers: Chargers, inbox: mpsc::Sender<Incoming>) {
    let mut events = chargers.events();
    let mut news = outlets(&chargers);
    loop {
        for input in news.drain(..) {
            if inbox.send(Incoming::Event(Event::Seller(input))).await.is_err() {
                return;
            }
        }
        match events.next().await {
            Ok(Some((charger, event))) => news.push(seller::Input::Charger(charger, event)),
            Ok(None) => return,
            Err(missed) => {
                tracing::warn!(%missed, "asking every outlet");
                news = outlets(&chargers);
            }
        }
    }
}

/// How every outlet is now, after the newest transactions that ended there: one may have ended while nobody listened.
fn outlets(chargers: &Chargers) -> Vec<seller::Input<'static>> {
    let mut inputs = Vec::new();
    for (charger, status) in chargers.status() {
        let ChargerStatus { connected, evses, open, ended, .. } = status;
        inputs.extend(ended.into_iter().map(|ended| {
            let EndedTransaction { key: transaction, evse, energy, register, at, signed, .. } = ended;
            // The word for it is not a static one any more; the seller does not read it.
            let reason = StopCause::Charger("Other");
            let event =
                ChargerEvent::TransactionStopped { evse, transaction, energy, register, at, reason, signed };
            seller::Input::Charger(charger.clone(), event)
        }));
        inputs.extend(evses.into_iter().map(|EvseStatus { evse, state, register }| {
            let open = open.iter().find(|transaction| transaction.evse == evse);
            let open = open.map(|transaction| OpenTransaction {
                key: transaction.key.clone(),
                token: transaction.token.clone(),
                energy: transaction.energy,
            });
            let status = OutletStatus { online: connected.is_some(), state, register, open };
            seller::Input::Outlet { charger: charger.clone(), evse, status }
        }));
    }
    inputs
}

/// Queues for a peer; a full queue means that the peer is away, and what it misses it fetches later.
fn send(link: &mpsc::Sender<Order>, order: Order) {
    if link.try_send(order).is_err() {
        tracing::debug!("a peer's queue is full: message dropped");
    }
}

enum Order {
    Send(Arc<[u8]>),
    Fetch { height: u64 },
    Ask(Box<Query>),
}

/// The way to one other validator: dials, and dials again.
struct Link {
    endpoint: Endpoint,
    key: PublicKey,
    address: String,
    commands: mpsc::Receiver<Order>,
    inbox: mpsc::Sender<Incoming>,
}

impl Link {
    async fn run(mut self) {
        let mut pause = REDIAL_MIN;
        loop {
            match self.dial().await {
                Ok(peer) => {
                    tracing::info!(peer = %self.key, address = %self.address, "connected");
                    pause = REDIAL_MIN;
                    let error = self.serve(peer).await;
                    let Some(error) = error else { return };
                    tracing::info!(peer = %self.key, %error, "connection lost");
                }
                Err(error) => {
                    tracing::debug!(peer = %self.key, address = %self.address, %error, "cannot connect")
                }
            }
            // The core wants no link to this agent any more: it is no validator now, or the whole agent has gone.
            if self.commands.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REDIAL_MAX);
        }
    }

    async fn dial(&self) -> Result<Peer, DialError> {
        let address = resolve(&self.address).await?;
        Ok(self.endpoint.connect(address, self.key).await?)
    }

    /// Works for the core until the connection or the core ends; the error, if it was the connection.
    async fn serve(&mut self, peer: Peer) -> Option<MeshError> {
        let reader = tokio::spawn(read(peer.clone(), self.inbox.clone()));
        // The core has gone only when the whole agent has.
        let _ = self.inbox.send(Incoming::Event(Event::Connected(self.key))).await;
        let error = loop {
            let command = tokio::select! {
                command = self.commands.recv() => command,
                closed = peer.closed() => break Some(closed.into()),
            };
            let done = match command {
                None => break None,
                Some(Order::Send(bytes)) => peer.send(&bytes).await,
                Some(Order::Fetch { height }) => self.fetch(&peer, height).await,
                Some(Order::Ask(query)) => {
                    // The agent bounds how many it asks at a time; votes do not wait for the answers.
                    tokio::spawn(ask(peer.clone(), query, self.inbox.clone()));
                    Ok(())
                }
            };
            if let Err(error) = done {
                match peer.close_reason() {
                    Some(closed) => break Some(closed.into()),
                    None => tracing::warn!(peer = %self.key, %error, "not sent"),
                }
            }
        };
        reader.abort();
        error
    }

    async fn fetch(&self, peer: &Peer, from: u64) -> Result<(), MeshError> {
        let answer = peer.request(&Query::Blocks { from }.encode()).await?;
        match Answer::decode(&answer) {
            Ok(Answer::Blocks(blocks)) => {
                let event = Event::Fetched { from: self.key, blocks };
                let _ = self.inbox.send(Incoming::Event(event)).await;
            }
            Ok(_) => tracing::debug!(peer = %self.key, from, "has no block of that height"),
            Err(error) => tracing::warn!(peer = %self.key, %error, "answer refused"),
        }
        Ok(())
    }
}

/// Asks a validator; that it gave no answer is one too.
async fn ask(peer: Peer, query: Box<Query>, inbox: mpsc::Sender<Incoming>) {
    let answer = match peer.request(&query.encode()).await {
        Ok(bytes) => Answer::decode(&bytes)
            .inspect_err(|error| tracing::warn!(peer = %peer.key(), %error, "answer refused"))
            .ok(),
        Err(error) => {
            tracing::debug!(peer = %peer.key(), %error, "no answer");
            None
        }
    };
    let event = Event::Answered { from: peer.key(), query, answer: answer.map(Box::new) };
    // The core has gone only when the whole agent has.
    let _ = inbox.send(Incoming::Event(event)).await;
}

/// Why a validator cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Its name has no address.
    #[error("{host}: {error}")]
    Resolve {
        /// The name, as in the zone file.
        host: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It does not answer, or somebody else does.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// The first address of a `host:port`, looked up if it is a name.
pub async fn resolve(host: &str) -> Result<SocketAddr, DialError> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let failed = |error| DialError::Resolve { host: host.to_owned(), error };
    let mut found = tokio::net::lookup_host(host).await.map_err(failed)?;
    found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
}

async fn accept(endpoint: Endpoint, inbox: mpsc::Sender<Incoming>) {
    let mut readers = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        match incoming {
            Ok(peer) => {
                readers.spawn(read(peer, inbox.clone()));
            }
            Err(error) => tracing::debug!(%error, "caller refused"),
        }
        // Finished readers are let go of; the endpoint bounds how many run.
        while readers.try_join_next().is_some() {}
    }
}

/// Reads what a peer sends until its connection ends.
async fn read(peer: Peer, inbox: mpsc::Sender<Incoming>) {
    let from = peer.key();
    let asker = Asker { key: from, exporter: peer.exporter() };
    loop {
        match peer.next().await {
            Ok(Inbound::Message(bytes)) => match Wire::decode(&bytes) {
                Ok(wire) => {
                    if inbox.send(Incoming::Event(Event::Wire { from, wire })).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(peer = %from, %error, "message refused"),
            },
            Ok(Inbound::Request { bytes, reply }) => {
                let query = match Query::decode(&bytes) {
                    Ok(query) => query,
                    Err(error) => {
                        tracing::warn!(peer = %from, %error, "question refused");
                        reply.refuse(Refusal::NoReply);
                        continue;
                    }
                };
                let (answer, answered) = oneshot::channel();
                let question = Question { asker, query, reply: answer };
                if inbox.send(Incoming::Question(question)).await.is_err() {
                    return;
                }
                tokio::spawn(async move {
                    if let Ok(answer) = answered.await
                        && let Err(error) = reply.send(&answer.encode()).await
                    {
                        tracing::debug!(%error, "answer not delivered");
                    }
                });
            }
            Ok(Inbound::Refused(error)) => tracing::warn!(peer = %from, %error, "message refused"),
            Err(_) => return,
        }
    }
}

/// Events that wait for the core, at most; beyond, peers wait, and QUIC makes them.
const INBOX: usize = 1_024;
/// Questions that are answered together at most, and about as many signatures of theirs that are checked together: more are
/// hardly checked faster, and these take some 20 ms, for which votes wait.
pub const TOGETHER_MAX: usize = 1_024;
/// Messages that wait for one peer, at most: some seconds of votes; blocks are shared, not copied.
const OUTBOX: usize = 1_024;
/// First and longest pause before dialling again.
const REDIAL_MIN: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(5);
