//! One charger's session, the same for both versions: text in, events and text out.
//!
//! ```text
//!   WebSocket text --on_text--> [Event.., Deviation?, Send(answer), Send(next command)?, SetTimer?]
//!   agent --command--> [Send] ... --on_text(answer)--> Event(CommandResult)
//!   time  --on_timer--> [CommandResult(TimedOut)?, Close?, ...]
//! ```
//!
//! * A [`Charger`] outlives its connections. Each has an [`Epoch`]; text, closing and answers of an older one change
//!   nothing.
//! * Requests are answered at once, one at a time, so the standard's "one outstanding request a direction" needs a queue
//!   for ours only: at most [`MAX_QUEUED`], each with a time-out.
//! * Requests that carry money (start, stop, meter values, transaction events) are never refused: what can be read is
//!   used, what is odd goes into one [`Deviation`] with the frame.
//! * A transaction belongs to one charger and one EVSE. A message that names another's changes nothing.
//! * Work per frame is linear in its bytes; memory a charger is bounded by the constants below.

mod calls;
mod command;
mod event;
mod inbound;
mod inbound_v16;
mod inbound_v201;
mod reading;
mod transaction;

pub use event::{
    Action, Command, CommandError, CommandId, Deviation, Epoch, Event, EvseState, Oddity, Outcome,
    SignedRecord, StopCause, TransactionKey, Trigger,
};
pub use transaction::Transaction;

use crate::frame::{ErrorCode, Frame, FrameError};
use crate::json::Json;
use crate::upgrade::{ChargerName, Version};
use calls::Calls;
use ohmesh_units::{Domain, Energy, Power, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// The most commands that wait for one charger.
pub const MAX_QUEUED: usize = 16;

/// The most EVSEs of one charger.
pub const MAX_OUTLETS: usize = 64;

/// The most tokens that one charger holds grants for; the one that ends first makes room.
pub const MAX_GRANTS: usize = 256;

/// How many ended transactions are remembered, to answer replays.
pub const MAX_ENDED: usize = 32;

/// How much of a frame that is too large goes into its deviation.
pub const MAX_RAW_BYTES: usize = 4096;

/// The most plugs of one EVSE.
const MAX_CONNECTORS: usize = 8;

/// Grants are kept this long after their end: a start that was kept offline may arrive late.
const GRANT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How far a charger may be ahead of this side's clock before it is worth a deviation.
const CLOCK_TOLERANCE_MS: u64 = 60_000;

/// The longest that a charger is believed to have been offline.
const MAX_OFFLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One outlet as it is registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outlet {
    /// Its number, from 1; the connector's number in 1.6.
    pub evse: u16,
    /// The most power it can deliver.
    pub rated: Power,
}

/// How a session is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Seconds between heartbeats.
    pub heartbeat_s: u32,
    /// How long a command waits for its answer. Real chargers have answered after 60 s.
    pub answer_timeout: Duration,
    /// How long after a remote start its token may begin.
    pub start_window: Duration,
    /// How long an EVSE may be free before its open transaction is ended.
    pub ghost_after: Duration,
    /// How long after a connection the EVSEs that told no state are asked for it.
    pub ask_state_after: Duration,
    /// How power limits are told.
    pub rate: Rate,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_s: 300,
            answer_timeout: Duration::from_secs(90),
            start_window: Duration::from_secs(15 * 60),
            ghost_after: Duration::from_secs(5 * 60),
            ask_state_after: Duration::from_secs(20),
            rate: Rate::Watts,
        }
    }
}

/// How power limits are told: many 1.6 chargers know amperes only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// In watts.
    Watts,
    /// In amperes a phase, rounded down to a tenth.
    Amperes {
        /// Volts between phase and neutral.
        volts: u16,
        /// Phases.
        phases: u8,
    },
}

/// Why a session cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SessionError {
    /// No outlet, more than [`MAX_OUTLETS`], number 0, or a number twice.
    #[error("outlets of a charger must be 1 to {MAX_OUTLETS}, with different numbers from 1")]
    Outlets,
    /// The transaction's EVSE is not there, or has an open one.
    #[error("transaction {0} does not fit this charger")]
    Adopted(TransactionKey),
}

/// One charger: its outlets, its transactions, the commands that wait for it, and its newest connection.
pub struct Charger {
    name: ChargerName,
    settings: Settings,
    outlets: BTreeMap<u16, OutletNow>,
    /// Open, at most one an outlet.
    transactions: BTreeMap<TransactionKey, Transaction>,
    ended: VecDeque<Ended>,
    grants: BTreeMap<String, Grant>,
    calls: Calls,
    ids: Ids,
    epoch: Epoch,
    link: Option<Link>,
    timer: Option<Timestamp>,
}

impl Charger {
    /// A charger that was never connected. `seed` makes its transaction numbers and message ids: fresh and secret for each
    /// call, so that nobody can guess another's.
    pub fn new(
        name: ChargerName,
        outlets: &[Outlet],
        settings: Settings,
        seed: [u8; 32],
    ) -> Result<Self, SessionError> {
        let by_number: BTreeMap<_, _> =
            outlets.iter().map(|outlet| (outlet.evse, OutletNow::new(outlet.rated))).collect();
        let fits = (1..=MAX_OUTLETS).contains(&outlets.len()) && by_number.len() == outlets.len();
        if !fits || by_number.contains_key(&0) {
            return Err(SessionError::Outlets);
        }
        Ok(Self {
            name,
            settings,
            outlets: by_number,
            transactions: BTreeMap::new(),
            ended: VecDeque::new(),
            grants: BTreeMap::new(),
            calls: Calls::default(),
            ids: Ids { seed, drawn: 0 },
            epoch: Epoch::default(),
            link: None,
            timer: None,
        })
    }

    /// A new connection, after its upgrade: the older one, if any, is closed and its commands end. Returns the epoch to
    /// hand in with everything that comes on the new one.
    pub fn reconnect(&mut self, now: Timestamp, version: Version) -> (Epoch, Vec<Action>) {
        let mut turn = Turn::new(now, self.epoch);
        if self.link.is_some() {
            turn.actions.push(Action::Close(self.epoch));
            self.disconnect(&mut turn);
        }
        self.epoch = Epoch(self.epoch.0 + 1);
        turn.epoch = self.epoch;
        let ask_state_at = now.checked_add(self.settings.ask_state_after);
        self.link = Some(Link { version, heard_at: now, ask_state_at });
        for outlet in self.outlets.values_mut() {
            outlet.connectors.clear();
            outlet.told = false;
        }
        turn.event(Event::Online { epoch: self.epoch, version });
        let unpaid = |open: &&Transaction| open.token.is_some() && !open.authorized;
        let unpaid: Vec<_> = self.transactions.values().filter(unpaid).map(|open| open.key.clone()).collect();
        for transaction in unpaid {
            self.enqueue_own(&Command::Stop { transaction }, &mut turn);
        }
        (self.epoch, self.end(turn))
    }

    /// Text arrived on the connection of `epoch`. Never empty unless it answered a command of this session's own.
    pub fn on_text(&mut self, now: Timestamp, epoch: Epoch, text: &str) -> Vec<Action> {
        let Some(link) = self.link.as_mut().filter(|_| epoch == self.epoch) else {
            return vec![Action::Close(epoch)];
        };
        link.heard_at = now;
        let version = link.version;
        let mut turn = Turn::new(now, epoch);
        let mut action_name = None;
        let answer = match Frame::parse(text) {
            Ok((frame, flaws)) => {
                turn.odd.extend(flaws.into_iter().map(Oddity::FrameFlaw));
                match frame {
                    Frame::Call { id, action, payload } => {
                        let answer = self.on_call(version, id, &action, &payload, &mut turn);
                        action_name = Some(action);
                        Some(answer)
                    }
                    Frame::Result { id, payload } => {
                        self.on_answer(&id, Ok(&payload), &mut turn);
                        None
                    }
                    Frame::Error { id, code, description, .. } => {
                        self.on_answer(&id, Err((code, description)), &mut turn);
                        None
                    }
                }
            }
            Err(error) => {
                let answer = unreadable(version, &error);
                turn.odd.push(Oddity::Frame(error));
                answer
            }
        };
        if !turn.odd.is_empty() {
            let oddities = std::mem::take(&mut turn.odd);
            let raw = raw_of(text).to_owned();
            turn.actions.push(Action::Deviation(Deviation { action: action_name, oddities, raw }));
        }
        turn.actions.extend(answer.map(|frame| Action::Send(frame.emit())));
        self.end(turn)
    }

    /// The connection of `epoch` ended. Transactions stay open; commands end.
    pub fn on_closed(&mut self, now: Timestamp, epoch: Epoch) -> Vec<Action> {
        let mut turn = Turn::new(now, epoch);
        if epoch == self.epoch && self.link.is_some() {
            self.disconnect(&mut turn);
        }
        self.end(turn)
    }

    /// The time of [`Action::SetTimer`] has come. Too early or too often does no harm.
    pub fn on_timer(&mut self, now: Timestamp) -> Vec<Action> {
        let mut turn = Turn::new(now, self.epoch);
        self.timer = None;
        if let Some((command, _)) = self.calls.expire(now) {
            turn.outcome(command, Outcome::TimedOut);
        }
        self.end_ghosts(&mut turn);
        if self.link.as_ref().is_some_and(|link| self.silent_at(link).is_some_and(|at| at <= now)) {
            turn.actions.push(Action::Close(self.epoch));
            self.disconnect(&mut turn);
        }
        self.ask_state(&mut turn);
        if !turn.odd.is_empty() {
            let oddities = std::mem::take(&mut turn.odd);
            turn.actions.push(Action::Deviation(Deviation { action: None, oddities, raw: String::new() }));
        }
        self.end(turn)
    }

    /// Lets `token` charge, at `evse` or anywhere here, from `now` until `until`. Tokens are compared without case, as 1.6
    /// demands. Replaces an earlier grant.
    pub fn grant(&mut self, now: Timestamp, token: &str, evse: Option<u16>, until: Timestamp) {
        let key = token.to_ascii_lowercase();
        if self.grants.len() >= MAX_GRANTS && !self.grants.contains_key(&key) {
            let first = self.grants.iter().min_by_key(|(_, grant)| grant.until).map(|(key, _)| key.clone());
            first.and_then(|key| self.grants.remove(&key));
        }
        // A grant that is made longer keeps its first moment: energy may flow since then.
        let old = self.grants.get(&key).filter(|old| old.evse == evse && old.until >= now);
        let from = old.map_or(now, |old| old.from);
        self.grants.insert(key, Grant { evse, from, until });
    }

    /// Takes a grant back. A transaction that it began goes on.
    pub fn revoke(&mut self, token: &str) {
        self.grants.remove(&token.to_ascii_lowercase());
    }

    /// Takes over an open transaction that was stored before a restart.
    pub fn adopt(&mut self, transaction: Transaction) -> Result<(), SessionError> {
        let busy = self.transactions.values().any(|open| open.evse == transaction.evse);
        if busy || !self.outlets.contains_key(&transaction.evse) {
            return Err(SessionError::Adopted(transaction.key));
        }
        self.transactions.insert(transaction.key.clone(), transaction);
        Ok(())
    }

    /// The charger's name.
    pub fn name(&self) -> &ChargerName {
        &self.name
    }

    /// The newest connection and its version, while there is one.
    pub fn connection(&self) -> Option<(Epoch, Version)> {
        self.link.as_ref().map(|link| (self.epoch, link.version))
    }

    /// The open transactions, in order of their ids.
    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.transactions.values()
    }

    /// The EVSEs, their state and their newest register.
    pub fn evses(&self) -> impl Iterator<Item = (u16, EvseState, Option<Energy>)> {
        self.outlets.iter().map(|(&evse, outlet)| (evse, outlet.state, outlet.register))
    }

    /// Ends the connection: commands fail, the caller hears of it.
    fn disconnect(&mut self, turn: &mut Turn) {
        self.link = None;
        for command in self.calls.clear() {
            turn.outcome(command, Outcome::Disconnected);
        }
        for transaction in self.transactions.values_mut() {
            transaction.live = None;
        }
        turn.event(Event::Offline { epoch: self.epoch });
    }

    /// Ends transactions whose EVSE has been free for too long.
    fn end_ghosts(&mut self, turn: &mut Turn) {
        let over = |transaction: &Transaction| {
            let since = transaction.free_since?;
            (since.checked_add(self.settings.ghost_after)? <= turn.now).then(|| transaction.key.clone())
        };
        let ghosts: Vec<_> = self.transactions.values().filter_map(over).collect();
        for key in ghosts {
            turn.odd.push(Oddity::Ghost(key.clone()));
            self.close_transaction(&key, turn.now, StopCause::Ghost, None, Vec::new(), turn);
        }
    }

    /// Asks once for the state of each EVSE that has not told it on this connection: some chargers never do unasked.
    fn ask_state(&mut self, turn: &mut Turn) {
        let Some(link) = self.link.as_mut().filter(|link| link.ask_state_at.is_some_and(|at| at <= turn.now))
        else {
            return;
        };
        link.ask_state_at = None;
        let quiet: Vec<u16> =
            self.outlets.iter().filter(|(_, outlet)| !outlet.told).map(|(&evse, _)| evse).collect();
        for evse in quiet {
            self.enqueue_own(&Command::Trigger { what: Trigger::Status, evse: Some(evse) }, turn);
        }
    }

    fn silent_at(&self, link: &Link) -> Option<Timestamp> {
        link.heard_at.checked_add(Duration::from_secs(3 * u64::from(self.settings.heartbeat_s)))
    }

    /// Sends the next command if none is under way, and sets the timer.
    fn end(&mut self, mut turn: Turn) -> Vec<Action> {
        if self.link.is_some() {
            let deadline = turn.now.checked_add(self.settings.answer_timeout);
            let ids = &mut self.ids;
            if let Some(frame) = self.calls.next(deadline, || ids.message()) {
                turn.actions.push(Action::Send(frame.emit()));
            }
        }
        let ghosts = self.transactions.values().filter_map(|transaction| transaction.free_since);
        let ghost = ghosts.min().and_then(|since| since.checked_add(self.settings.ghost_after));
        let silent = self.link.as_ref().and_then(|link| self.silent_at(link));
        let ask = self.link.as_ref().and_then(|link| link.ask_state_at);
        let next = [ghost, silent, ask, self.calls.deadline()].into_iter().flatten().min();
        if next != self.timer {
            self.timer = next;
            turn.actions.extend(next.map(Action::SetTimer));
        }
        turn.actions
    }
}

/// Its name, epoch and open transactions; not the seed, not the tokens.
impl fmt::Debug for Charger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<_> = self.transactions.keys().collect();
        f.debug_struct("Charger")
            .field("name", &self.name.as_str())
            .field("epoch", &self.epoch)
            .field("open", &open)
            .finish()
    }
}

/// What one input brings about, collected.
struct Turn {
    now: Timestamp,
    epoch: Epoch,
    actions: Vec<Action>,
    odd: Vec<Oddity>,
}

impl Turn {
    fn new(now: Timestamp, epoch: Epoch) -> Self {
        Self { now, epoch, actions: Vec::new(), odd: Vec::new() }
    }

    fn event(&mut self, event: Event) {
        self.actions.push(Action::Event(event));
    }

    /// Reports a command's end; those of the session's own have no id and are not reported.
    fn outcome(&mut self, command: Option<CommandId>, outcome: Outcome) {
        if let Some(command) = command {
            self.event(Event::CommandResult { command, outcome });
        }
    }
}

/// A connection that is up.
struct Link {
    version: Version,
    heard_at: Timestamp,
    ask_state_at: Option<Timestamp>,
}

/// An outlet as it is now.
struct OutletNow {
    rated: Power,
    state: EvseState,
    /// Whether a state was told on this connection.
    told: bool,
    /// 2.0.1 tells a state for each plug.
    connectors: BTreeMap<i64, EvseState>,
    register: Option<Energy>,
}

impl OutletNow {
    fn new(rated: Power) -> Self {
        Self { rated, state: EvseState::Unknown, told: false, connectors: BTreeMap::new(), register: None }
    }
}

/// A token that may charge.
struct Grant {
    evse: Option<u16>,
    from: Timestamp,
    until: Timestamp,
}

/// A transaction that is over.
struct Ended {
    transaction: Transaction,
    /// Whether the charger itself ended it.
    by_charger: bool,
}

/// Draws ids that look random: hashes of a secret seed and a counter.
struct Ids {
    seed: [u8; 32],
    drawn: u64,
}

impl Ids {
    fn draw(&mut self) -> [u8; 32] {
        const IDS: Domain = Domain::new("ohmesh/1 ocpp ids");
        self.drawn += 1;
        IDS.hash(&[&self.seed, &self.drawn.to_be_bytes()]).0
    }

    /// A positive number of 31 bits.
    fn transaction(&mut self) -> i64 {
        let [a, b, c, d, ..] = self.draw();
        i64::from((u32::from_be_bytes([a, b, c, d]) >> 1).max(1))
    }

    /// 32 hexadecimal digits.
    fn message(&mut self) -> String {
        self.draw()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// 2.0.1 answers what cannot be read under the id -1 (part 4, section 4.2.3); 1.6 has no answer to it.
fn unreadable(version: Version, error: &FrameError) -> Option<Frame> {
    let description = error.to_string().chars().take(255).collect();
    (version == Version::V201).then(|| Frame::Error {
        id: "-1".into(),
        code: ErrorCode::RpcFrameworkError.as_str(version).into(),
        description,
        details: Json::Object(vec![]),
    })
}

/// The frame for its deviation: whole, unless it is too large to be one.
fn raw_of(text: &str) -> &str {
    if text.len() <= crate::frame::MAX_FRAME_BYTES {
        return text;
    }
    let end = (0..=MAX_RAW_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
