//! The OCPP server: chargers connect here, 1.6 and 2.0.1, and what they say about money is durable before they hear so.
//!
//! ```text
//!   TCP --Door--> name, lock-out, password, version --401/400/429 or upgrade--> Socket
//!   Socket ==text==> Keeper (one a charger: its session) --records--> Journal --durable--> Keeper ==text==> Socket
//!                      ^ commands, grants                                          |
//!                      +------------------------ Chargers <--events, status--------+
//! ```
//!
//! * One task owns one registered charger's session, whether it is connected or not. A new connection gets a new epoch and
//!   ends the older one; whatever still comes from that is void.
//! * Everything is bounded: connections, headers, messages, queues, the rate of frames of a connection, wrong passwords.
//!   A charger that does not read is closed; one that writes too fast is read more slowly, as its money must not be lost.
//! * [`Chargers`] is the way in for the rest of the agent: commands, grants, events, status.
//! * [`control`] is the way in for the operator: `station-agent charger list`, `start`, `stop` and so on.
//! * A restart reads the journal: open transactions go on where they were.
//!
//! Passwords and frames cross the network as they are. Where that is not a private one, TLS has to be put in front; then
//! all chargers share the address of whatever ends it, and its own limits count.

pub mod control;
mod door;
mod journal;
mod keeper;
mod lockout;
mod password;
mod socket;

pub use journal::{ENDED_KEPT, EndedTransaction, Journal, JournalError, LOG, Past, Record};
pub use keeper::{ChargerStatus, EvseStatus};
pub use password::{PASSWORD_CHARS, PasswordHash, generate};
pub use socket::{BURST, FRAME_BYTES_MAX, FRAMES_PER_SECOND};

use crate::disk::Disk;
use door::Door;
use keeper::{Input, Keeper};
use ohmesh_mesh::Clock;
use ohmesh_ocpp::{
    ChargerName,
    session::{Charger, Command, CommandError, Event, Outcome, Outlet, SessionError, Settings},
};
use ohmesh_units::{Domain, Timestamp, ZoneId};
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};
use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
};

/// A charger that may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Its name: the last part of its URL, and its user.
    pub name: ChargerName,
    /// What is kept of its password.
    pub password: PasswordHash,
    /// Its outlets.
    pub outlets: Vec<Outlet>,
    /// Tokens of the operator's own, which may always charge here without a contract.
    pub cards: Vec<String>,
}

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ChargingError {
    /// The journal cannot be read or written: without it nothing may be acknowledged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A charger is registered in a way that no session fits.
    #[error("charger {name}: {error}")]
    Charger {
        /// Which.
        name: ChargerName,
        /// Why.
        error: SessionError,
    },
    /// Two chargers have one name.
    #[error("charger {0} is registered twice")]
    Twice(ChargerName),
    /// The socket does not listen.
    #[error("chargers' socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Builds a [`Server`].
pub struct Builder {
    chargers: Vec<Registered>,
    session: Settings,
    clock: Arc<dyn Clock>,
    seed: [u8; 32],
}

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    chargers: Chargers,
    stop: Option<watch::Sender<()>>,
    ended: JoinHandle<Result<(), ChargingError>>,
}

impl Server {
    /// A server for these chargers, which reads this clock and no other. `seed` makes transaction numbers and message ids:
    /// fresh and secret for each start.
    pub fn builder(chargers: Vec<Registered>, clock: Arc<dyn Clock>, seed: [u8; 32]) -> Builder {
        Builder { chargers, session: Settings::default(), clock, seed }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The way to the chargers.
    pub fn chargers(&self) -> &Chargers {
        &self.chargers
    }

    /// Waits until the server stops by itself, which it does only when the journal fails.
    pub async fn finished(&mut self) -> Result<(), ChargingError> {
        (&mut self.ended).await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Closes every connection and returns when everything that was heard is durable.
    pub async fn stop(mut self) -> Result<(), ChargingError> {
        drop(self.stop.take());
        self.finished().await
    }
}

impl Builder {
    /// Runs sessions in this way instead of the default.
    pub fn session(mut self, settings: Settings) -> Self {
        self.session = settings;
        self
    }

    /// Opens the journal of an agent of `zone` on its disk and serves chargers at `ws://HOST:PORT/ocpp/NAME`.
    pub fn start<D: Disk>(
        self,
        listener: TcpListener,
        disk: D,
        zone: ZoneId,
    ) -> Result<Server, ChargingError> {
        let address = listener.local_addr()?;
        let (journal, mut past) = Journal::open(disk, zone)?;
        let (heard, events) = broadcast::channel(EVENTS_KEPT);
        let mut keepers = Vec::new();
        let mut posts = BTreeMap::new();
        let mut passwords = BTreeMap::new();
        for registered in self.chargers {
            let name = registered.name.clone();
            let past = past.remove(&name).unwrap_or_default();
            let failed = |error| ChargingError::Charger { name: name.clone(), error };
            let seed = charger_seed(&self.seed, &name);
            let mut charger =
                Charger::new(name.clone(), &registered.outlets, self.session, seed).map_err(failed)?;
            for open in past.open.values() {
                tracing::info!(charger = %name, transaction = ?open.key.0, energy = %open.energy, "transaction goes on");
                charger.adopt(open.clone()).map_err(failed)?;
            }
            let (inbox, inputs) = mpsc::channel(INBOX);
            let (status, watched) = watch::channel(ChargerStatus::default());
            if posts.insert(name.clone(), Post { inbox, status: watched }).is_some() {
                return Err(ChargingError::Twice(name));
            }
            passwords.insert(name, registered.password);
            keepers.push((charger, registered.cards, past, inputs, status));
        }
        for (name, past) in past.iter().filter(|(_, past)| !past.open.is_empty()) {
            tracing::warn!(charger = %name, open = past.open.len(), "no longer registered, with open transactions");
        }
        let chargers = Chargers { posts: Arc::new(posts), events: Arc::new(events) };
        let (stop, stopped) = watch::channel(());
        let (keep, writer) = journal.start();
        let mut tasks = JoinSet::new();
        for (charger, cards, past, inputs, status) in keepers {
            let keeper = Keeper::new(
                charger,
                cards,
                past,
                self.clock.clone(),
                keep.clone(),
                inputs,
                heard.clone(),
                status,
            );
            tasks.spawn(keeper.run(stopped.clone()));
        }
        let door = Door::new(chargers.clone(), passwords, self.clock);
        let ended = tokio::spawn(serve(listener, door, tasks, writer, stopped));
        Ok(Server { address, chargers, stop: Some(stop), ended })
    }
}

/// Runs until it is stopped or the journal fails.
async fn serve(
    listener: TcpListener,
    door: Door,
    mut keepers: JoinSet<()>,
    mut writer: JoinHandle<Result<(), JournalError>>,
    mut stopped: watch::Receiver<()>,
) -> Result<(), ChargingError> {
    tokio::select! {
        () = door.accept(listener) => {}
        // Nobody sends a value: it changes by going away.
        _ = stopped.changed() => {}
        ended = &mut writer => return written(ended),
    }
    while let Some(ended) = keepers.join_next().await {
        if let Err(panic) = ended {
            tracing::error!(%panic, "a charger's session failed");
        }
    }
    // The last keeper took the last way to the writer with it.
    written(writer.await)
}

fn written(ended: Result<Result<(), JournalError>, tokio::task::JoinError>) -> Result<(), ChargingError> {
    Ok(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}

fn charger_seed(seed: &[u8; 32], name: &ChargerName) -> [u8; 32] {
    const SEED: Domain = Domain::new("ohmesh/1 charger seed");
    SEED.hash(&[seed, name.as_str().as_bytes()]).0
}

/// The way to all registered chargers. Clones are the same way.
#[derive(Clone)]
pub struct Chargers {
    posts: Arc<BTreeMap<ChargerName, Post>>,
    events: Arc<broadcast::Receiver<(ChargerName, Event)>>,
}

/// The way to one charger's task.
struct Post {
    inbox: mpsc::Sender<Input>,
    status: watch::Receiver<ChargerStatus>,
}

/// Why a command came to no outcome.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandFailed {
    /// No charger of that name is registered.
    #[error("no charger {0}")]
    UnknownCharger(ChargerName),
    /// The charger's session did not take it.
    #[error("charger {name}: {error}")]
    NotTaken {
        /// Which charger.
        name: ChargerName,
        /// Why.
        error: CommandError,
    },
    /// The server has stopped. The command may have been sent.
    #[error("the server of charger {0} has stopped")]
    Stopped(ChargerName),
}

impl Chargers {
    /// Tells a charger something and waits for how it ends: its answer, a time-out, the end of its connection.
    pub async fn command(&self, name: &ChargerName, command: Command) -> Result<Outcome, CommandFailed> {
        let (reply, answered) = oneshot::channel();
        self.send(name, Input::Command { command, reply }).await?;
        let outcome = answered.await.map_err(|_| CommandFailed::Stopped(name.clone()))?;
        outcome.map_err(|error| CommandFailed::NotTaken { name: name.clone(), error })
    }

    /// Lets a token charge at a charger, at one EVSE or at any, until then. Grants do not survive a restart.
    pub async fn grant(
        &self,
        name: &ChargerName,
        token: &str,
        evse: Option<u16>,
        until: Timestamp,
    ) -> Result<(), CommandFailed> {
        self.send(name, Input::Grant { token: token.to_owned(), evse, until }).await
    }

    /// Takes a grant back. A transaction that it began goes on.
    pub async fn revoke(&self, name: &ChargerName, token: &str) -> Result<(), CommandFailed> {
        self.send(name, Input::Revoke { token: token.to_owned() }).await
    }

    /// How all chargers are now.
    pub fn status(&self) -> BTreeMap<ChargerName, ChargerStatus> {
        self.posts.iter().map(|(name, post)| (name.clone(), post.status.borrow().clone())).collect()
    }

    /// How one charger is, and word of every change.
    pub fn watch(&self, name: &ChargerName) -> Option<watch::Receiver<ChargerStatus>> {
        Some(self.posts.get(name)?.status.clone())
    }

    /// What happens at all chargers from now on. Money events are durable before they are told here.
    pub fn events(&self) -> Events {
        Events(self.events.resubscribe())
    }

    fn post(&self, name: &ChargerName) -> Option<&Post> {
        self.posts.get(name)
    }

    async fn send(&self, name: &ChargerName, input: Input) -> Result<(), CommandFailed> {
        let post = self.post(name).ok_or_else(|| CommandFailed::UnknownCharger(name.clone()))?;
        post.inbox.send(input).await.map_err(|_| CommandFailed::Stopped(name.clone()))
    }
}

/// What happens at all chargers, in each charger's order.
pub struct Events(broadcast::Receiver<(ChargerName, Event)>);

/// Whoever listens was slower than [`EVENTS_KEPT`] events. [`Chargers::status`] has every open transaction and the newest
/// that ended: compare, and go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{count} events of chargers were missed")]
pub struct Missed {
    /// How many.
    pub count: u64,
}

impl Events {
    /// The next event; `None` when the server has stopped.
    pub async fn next(&mut self) -> Result<Option<(ChargerName, Event)>, Missed> {
        match self.0.recv().await {
            Ok(event) => Ok(Some(event)),
            Err(broadcast::error::RecvError::Closed) => Ok(None),
            Err(broadcast::error::RecvError::Lagged(count)) => Err(Missed { count }),
        }
    }
}

/// Events that a slow listener may be behind.
pub const EVENTS_KEPT: usize = 1024;
/// Inputs that wait for one charger's task; beyond, its socket is not read and callers wait.
const INBOX: usize = 64;
