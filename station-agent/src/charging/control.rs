//! The operator's way to a running agent's chargers: a Unix socket beside the journal, which only its owner can open.
//!
//! One line of JSON goes in ([`Request`]), one comes out ([`Answer`]), and the connection ends.

use super::{ChargerStatus, Chargers};
use eyre::{Context, Result, bail};
use ohmesh_mesh::Clock;
use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Outcome, TransactionKey},
};
use ohmesh_units::Power;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap, fs::Permissions, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path,
    sync::Arc, time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// What an operator asks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How all chargers are.
    List,
    /// Tell a charger something.
    Tell {
        /// Which charger.
        charger: String,
        /// What.
        what: Order,
    },
}

/// What an operator tells a charger.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Start a transaction.
    Start {
        /// Where.
        evse: u16,
        /// For whom.
        token: String,
        /// The most power, in watts.
        limit_w: Option<u32>,
    },
    /// Stop a transaction.
    Stop {
        /// Its id at the charger.
        transaction: String,
    },
    /// Keep an EVSE for a token.
    Reserve {
        /// Where.
        evse: u16,
        /// The reservation's number.
        reservation: i32,
        /// For whom.
        token: String,
        /// For how long: at most a day.
        minutes: u16,
    },
    /// End a reservation.
    Cancel {
        /// Its number.
        reservation: i32,
    },
    /// Release a cable.
    Unlock {
        /// Where.
        evse: u16,
    },
    /// Restart the charger.
    Reset {
        /// At once, instead of when it is idle.
        hard: bool,
    },
}

/// What an operator hears.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// All chargers.
    Chargers(BTreeMap<String, ChargerStatus>),
    /// How a command ended.
    Outcome {
        /// Whether the charger does it.
        accepted: bool,
        /// In words.
        outcome: String,
    },
    /// It came to no outcome.
    Error(String),
}

/// Listens in a folder, which becomes its owner's alone; whoever holds the folder's lock calls this, so a socket that is
/// there was left by a process that is gone. Serves until it is dropped.
pub fn listen(folder: &Path, chargers: Chargers, clock: Arc<dyn Clock>) -> std::io::Result<JoinSet<()>> {
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    let path = folder.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    let mut task = JoinSet::new();
    task.spawn(accept(listener, chargers, clock));
    Ok(task)
}

/// Asks the agent whose chargers' folder this is; its answer as JSON.
pub async fn ask(folder: &Path, request: &Request) -> Result<serde_json::Value> {
    let path = folder.join(SOCKET);
    let stream = UnixStream::connect(&path)
        .await
        .with_context(|| format!("no agent with chargers listens at {}", path.display()))?;
    let mut stream = BufReader::new(stream);
    stream.write_all((serde_json::to_string(request)? + "\n").as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut answer: serde_json::Value = serde_json::from_str(&line).context("the agent went away")?;
    if let Some(error) = answer.get("error") {
        bail!("{}", error.as_str().unwrap_or_default());
    }
    let inner = answer.as_object_mut().and_then(|object| object.values_mut().next());
    Ok(inner.map(serde_json::Value::take).unwrap_or_default())
}

async fn accept(listener: UnixListener, chargers: Chargers, clock: Arc<dyn Clock>) {
    let places = Arc::new(Semaphore::new(CALLERS_MAX));
    let mut callers = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("nobody closes this semaphore");
        match listener.accept().await {
            Ok((stream, _)) => {
                let (chargers, clock) = (chargers.clone(), clock.clone());
                callers.spawn(async move {
                    if let Ok(Err(error)) = timeout(CALL_WITHIN, serve(stream, &chargers, &*clock)).await {
                        tracing::debug!(%error, "an operator's call failed");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take an operator's call");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while callers.try_join_next().is_some() {}
    }
}

async fn serve(stream: UnixStream, chargers: &Chargers, clock: &dyn Clock) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(REQUEST_BYTES_MAX).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(request, chargers, clock).await,
        Err(error) => Answer::Error(format!("not a request: {error}")),
    };
    let text = serde_json::to_string(&answer).map_err(std::io::Error::other)?;
    stream.write_all((text + "\n").as_bytes()).await
}

async fn answer(request: Request, chargers: &Chargers, clock: &dyn Clock) -> Answer {
    let Request::Tell { charger, what } = request else {
        let named = chargers.status().into_iter().map(|(name, status)| (name.to_string(), status));
        return Answer::Chargers(named.collect());
    };
    let Ok(name) = ChargerName::new(&charger) else {
        return Answer::Error(format!("no charger {charger:?}"));
    };
    match chargers.command(&name, command(what, clock)).await {
        Ok(outcome) => Answer::Outcome {
            accepted: matches!(outcome, Outcome::Accepted | Outcome::Scheduled),
            outcome: format!("{outcome:?}"),
        },
        Err(error) => Answer::Error(error.to_string()),
    }
}

fn command(order: Order, clock: &dyn Clock) -> Command {
    match order {
        Order::Start { evse, token, limit_w } => {
            Command::Start { evse, token, limit: limit_w.map(Power::from_w) }
        }
        Order::Stop { transaction } => Command::Stop { transaction: TransactionKey(transaction) },
        Order::Reserve { evse, reservation, token, minutes } => {
            let now = clock.now();
            let keep = Duration::from_secs(60 * u64::from(minutes.min(24 * 60)));
            Command::Reserve { evse, reservation, token, until: now.checked_add(keep).unwrap_or(now) }
        }
        Order::Cancel { reservation } => Command::CancelReservation { reservation },
        Order::Unlock { evse } => Command::Unlock { evse },
        Order::Reset { hard } => Command::Reset { hard },
    }
}

/// The socket's name in the folder.
pub const SOCKET: &str = "control.sock";
/// The most bytes of a request.
const REQUEST_BYTES_MAX: u64 = 4096;
/// Calls at once.
const CALLERS_MAX: usize = 16;
/// How long a call may take: longer than a charger's answer may.
const CALL_WITHIN: Duration = Duration::from_secs(120);
/// The pause after the system refused a call.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
