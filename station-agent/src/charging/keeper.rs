//! The task that owns one charger's session: inputs in, one at a time, actions performed in their order.

use super::{
    EndedTransaction, Past, Record,
    journal::{JournalGone, Keep, ODDITIES_MAX, ODDITY_CHARS_MAX},
    socket::Out,
};
use ohmesh_mesh::Clock;
use ohmesh_ocpp::{
    ChargerName, Version,
    frame::Frame,
    session::{
        Action, Charger, Command, CommandError, CommandId, Deviation, Epoch, Event, EvseState, Oddity,
        Outcome, StopCause, Transaction, TransactionKey,
    },
};
use ohmesh_units::{Energy, Timestamp};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// How a charger is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ChargerStatus {
    /// The version it speaks, while it is connected.
    pub connected: Option<Version>,
    /// Its EVSEs in order.
    pub evses: Vec<EvseStatus>,
    /// Its open transactions.
    pub open: Vec<Transaction>,
    /// The newest that ended, oldest first; at most [`ENDED_KEPT`](super::ENDED_KEPT).
    pub ended: Vec<EndedTransaction>,
    /// How many deviations it ever had.
    pub deviations: u64,
}

/// How an EVSE is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EvseStatus {
    /// Its number.
    pub evse: u16,
    /// Its state.
    pub state: EvseState,
    /// Its register, if known.
    pub register: Option<Energy>,
}

/// What comes to a charger's task.
pub(super) enum Input {
    /// A socket was let in; it gets its epoch.
    Connected { version: Version, out: mpsc::Sender<Out>, epoch: oneshot::Sender<Epoch> },
    /// Text came on the socket of that epoch.
    Text { epoch: Epoch, text: String },
    /// The socket of that epoch is gone.
    Closed { epoch: Epoch },
    /// Somebody tells the charger something.
    Command { command: Command, reply: Reply },
    /// A token may charge.
    Grant { token: String, evse: Option<u16>, until: Timestamp },
    /// A token may no longer begin.
    Revoke { token: String },
}

type Reply = oneshot::Sender<Result<Outcome, CommandError>>;

pub(super) struct Keeper {
    charger: Charger,
    cards: Vec<String>,
    /// What the journal says, so that only changes are written.
    past: Past,
    clock: Arc<dyn Clock>,
    keep: Keep,
    inputs: mpsc::Receiver<Input>,
    heard: broadcast::Sender<(ChargerName, Event)>,
    status: watch::Sender<ChargerStatus>,
    connection: Option<(Epoch, mpsc::Sender<Out>)>,
    commands: BTreeMap<CommandId, Reply>,
    timer: Option<Timestamp>,
}

impl Keeper {
    #[allow(clippy::too_many_arguments, reason = "one place makes it, and each is another thing")]
    pub(super) fn new(
        charger: Charger,
        cards: Vec<String>,
        past: Past,
        clock: Arc<dyn Clock>,
        keep: Keep,
        inputs: mpsc::Receiver<Input>,
        heard: broadcast::Sender<(ChargerName, Event)>,
        status: watch::Sender<ChargerStatus>,
    ) -> Self {
        let (connection, commands, timer) = (None, BTreeMap::new(), None);
        let keeper =
            Self { charger, cards, past, clock, keep, inputs, heard, status, connection, commands, timer };
        keeper.tell();
        keeper
    }

    /// Runs until it is stopped, or until the journal is gone: then nothing may be acknowledged.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<()>) {
        loop {
            let wait = self.timer.map(|at| at.since(self.clock.now()).unwrap_or_default());
            let done = if wait.is_some_and(|wait| wait.is_zero()) {
                self.timer = None;
                let now = self.clock.now();
                let actions = self.charger.on_timer(now);
                self.perform(now, actions, false).await
            } else {
                tokio::select! {
                    biased;
                    _ = stopped.changed() => return,
                    input = self.inputs.recv() => match input {
                        Some(input) => self.on_input(input).await,
                        None => return,
                    },
                    () = tokio::time::sleep(wait.unwrap_or_default().min(LOOK_EVERY)), if wait.is_some() => continue,
                }
            };
            if let Err(JournalGone) = done {
                return;
            }
            self.tell();
        }
    }

    async fn on_input(&mut self, input: Input) -> Result<(), JournalGone> {
        let now = self.clock.now();
        match input {
            Input::Connected { version, out, epoch: reply } => {
                let (epoch, actions) = self.charger.reconnect(now, version);
                if let Some((_, older)) = self.connection.replace((epoch, out)) {
                    tracing::warn!(charger = %self.charger.name(), "a second connection displaces the first");
                    // If its queue is full it hears by the end of the queue.
                    let _ = older.try_send(Out::Displaced);
                }
                tracing::info!(charger = %self.charger.name(), %version, "charger connected");
                for card in &self.cards {
                    let until = now.checked_add(CARDS_FOR).unwrap_or(now);
                    self.charger.grant(now, card, None, until);
                }
                // A socket that ended meanwhile says so next.
                let _ = reply.send(epoch);
                self.perform(now, actions, false).await
            }
            Input::Text { epoch, text } if self.is_current(epoch) => {
                tracing::trace!(charger = %self.charger.name(), frame = ?text, "heard");
                let money = carries_money(&text);
                if money {
                    let charger = self.charger.name().to_string();
                    self.keep.soon(&Record::Frame { charger, at: now, text: text.clone() }).await?;
                }
                let actions = self.charger.on_text(now, epoch, &text);
                self.perform(now, actions, money).await
            }
            Input::Text { .. } => Ok(()),
            Input::Closed { epoch } => {
                if self.is_current(epoch) {
                    tracing::info!(charger = %self.charger.name(), "charger gone");
                    self.connection = None;
                }
                let actions = self.charger.on_closed(now, epoch);
                self.perform(now, actions, false).await
            }
            Input::Command { command, reply } => match self.charger.command(now, command) {
                Ok((id, actions)) => {
                    self.commands.insert(id, reply);
                    self.perform(now, actions, false).await
                }
                Err(error) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(Err(error));
                    Ok(())
                }
            },
            Input::Grant { token, evse, until } => {
                self.charger.grant(now, &token, evse, until);
                Ok(())
            }
            Input::Revoke { token } => {
                self.charger.revoke(&token);
                Ok(())
            }
        }
    }

    /// Makes everything durable that the actions are about, then performs them. `money`: the frame they answer was handed
    /// to the journal, and must be durable before its answer even if it changed nothing.
    async fn perform(
        &mut self,
        now: Timestamp,
        actions: Vec<Action>,
        money: bool,
    ) -> Result<(), JournalGone> {
        let actions = self.without_replays(actions);
        let records = self.records(now, &actions, money);
        if money || !records.is_empty() {
            self.keep.durably(&records).await?;
            records.into_iter().for_each(|record| self.past.add(record));
        }
        for action in actions {
            match action {
                Action::Send(text) => self.send(text),
                Action::Event(event) => self.hear(event),
                Action::Deviation(deviation) => tracing::warn!(
                    charger = %self.charger.name(),
                    action = ?deviation.action,
                    odd = ?first_words(&deviation),
                    "deviation"
                ),
                Action::SetTimer(at) => self.timer = Some(at),
                Action::Close(epoch) => {
                    if let Some((_, out)) = self.connection.take_if(|(current, _)| *current == epoch) {
                        let _ = out.try_send(Out::Close);
                    }
                }
            }
        }
        Ok(())
    }

    /// A charger repeats the last message that had no answer. After a restart the session does not know a transaction that
    /// ended before; the journal does, and its end is not told twice.
    fn without_replays(&self, mut actions: Vec<Action>) -> Vec<Action> {
        let no_start = |key: &TransactionKey, actions: &[Action]| {
            let of = |odd: &Oddity| matches!(odd, Oddity::NoStart(unknown) if unknown == key);
            actions.iter().any(|action| matches!(action, Action::Deviation(d) if d.oddities.iter().any(of)))
        };
        let again = actions.iter().find_map(|action| match action {
            Action::Event(Event::TransactionStopped { transaction, .. }) => self
                .past
                .ended
                .iter()
                .any(|ended| ended.key == *transaction && no_start(transaction, &actions))
                .then(|| transaction.clone()),
            _ => None,
        });
        actions.retain(|action| match action {
            Action::Event(
                Event::TransactionStarted { transaction, .. }
                | Event::Metered { transaction, .. }
                | Event::TransactionStopped { transaction, .. },
            ) => again.as_ref() != Some(transaction),
            _ => true,
        });
        actions
    }

    /// What the journal does not know yet.
    fn records(&self, now: Timestamp, actions: &[Action], money: bool) -> Vec<Record> {
        let charger = self.charger.name().to_string();
        let mut records = Vec::new();
        for action in actions {
            match action {
                Action::Event(event) => {
                    let ended = self.ended(event, actions);
                    records.extend(
                        ended.map(|transaction| Record::Ended { charger: charger.clone(), transaction }),
                    );
                }
                Action::Deviation(deviation) => records.push(Record::Deviation {
                    charger: charger.clone(),
                    at: now,
                    oddities: first_words(deviation),
                    raw: if money { String::new() } else { deviation.raw.clone() },
                }),
                _ => {}
            }
        }
        let changed = self.charger.transactions().filter(|open| self.past.open.get(&open.key) != Some(open));
        records
            .extend(changed.map(|open| Record::Open { charger: charger.clone(), transaction: open.clone() }));
        records
    }

    fn ended(&self, event: &Event, actions: &[Action]) -> Option<EndedTransaction> {
        let Event::TransactionStopped { evse, transaction, energy, register, at, reason, signed } = event
        else {
            return None;
        };
        // A transaction may begin and end in one message.
        let began = actions.iter().find_map(|action| match action {
            Action::Event(Event::TransactionStarted { transaction: key, token, authorized, .. })
                if key == transaction =>
            {
                Some((token.clone(), *authorized))
            }
            _ => None,
        });
        let open = self.past.open.get(transaction).map(|open| (open.token.clone(), open.authorized));
        let (token, authorized) = began.or(open).unwrap_or((None, false));
        Some(EndedTransaction {
            key: transaction.clone(),
            evse: *evse,
            token,
            authorized,
            energy: *energy,
            register: *register,
            at: *at,
            reason: match reason {
                StopCause::Charger(word) => (*word).to_owned(),
                StopCause::Superseded => "Superseded".to_owned(),
                StopCause::Ghost => "Ghost".to_owned(),
            },
            signed: signed.clone(),
        })
    }

    fn send(&mut self, text: String) {
        let full = self.connection.as_ref().is_some_and(|(_, out)| out.try_send(Out::Text(text)).is_err());
        if full {
            // Its socket ends with its queue, and says so.
            tracing::warn!(charger = %self.charger.name(), "the charger does not read: closed");
            self.connection = None;
        }
    }

    fn hear(&mut self, event: Event) {
        if let Event::CommandResult { command, outcome } = &event
            && let Some(reply) = self.commands.remove(command)
        {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(outcome.clone()));
        }
        self.note(&event);
        // Nobody has to listen.
        let _ = self.heard.send((self.charger.name().clone(), event));
    }

    /// What an operator finds in the log. Tokens stay out of it: they name people.
    fn note(&self, event: &Event) {
        let charger = self.charger.name();
        match event {
            Event::TransactionStarted { evse, transaction, authorized, .. } => {
                tracing::info!(%charger, evse, transaction = ?transaction.0, authorized, "transaction began");
            }
            Event::TransactionStopped { evse, transaction, energy, .. } => {
                let ended = self.past.ended.iter().rev().find(|ended| ended.key == *transaction);
                let (authorized, reason) = ended.map_or((false, ""), |e| (e.authorized, e.reason.as_str()));
                let energy = energy.as_wh();
                tracing::info!(%charger, evse, transaction = ?transaction.0, energy, authorized, reason, "transaction ended");
            }
            Event::State { evse, state, .. } => tracing::debug!(%charger, evse, ?state, "state"),
            _ => {}
        }
    }

    fn is_current(&self, epoch: Epoch) -> bool {
        self.connection.as_ref().is_some_and(|(current, _)| *current == epoch)
    }

    fn tell(&self) {
        let evses = self.charger.evses().map(|(evse, state, register)| EvseStatus { evse, state, register });
        self.status.send_replace(ChargerStatus {
            connected: self.charger.connection().map(|(_, version)| version),
            evses: evses.collect(),
            open: self.charger.transactions().cloned().collect(),
            ended: self.past.ended.iter().cloned().collect(),
            deviations: self.past.deviations,
        });
    }
}

/// Whether a frame is a request that bills are made of.
fn carries_money(text: &str) -> bool {
    matches!(Frame::parse(text), Ok((Frame::Call { action, .. }, _)) if MONEY.contains(&action.as_str()))
}

fn first_words(deviation: &Deviation) -> Vec<String> {
    let cut = |odd: String| odd.chars().take(ODDITY_CHARS_MAX).collect();
    deviation.oddities.iter().take(ODDITIES_MAX).map(|odd| cut(odd.to_string())).collect()
}

/// Requests that bills are made of, in both versions.
const MONEY: [&str; 4] = ["StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"];
/// A timer looks at the clock this often: clocks jump, and simulated ones run faster than the runtime's.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the operator's own cards are granted for; each connection grants them again.
const CARDS_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
