//! What goes into a charger's session and what comes out of it.

use crate::frame::{FrameError, FrameFlaw};
use crate::upgrade::Version;
use crate::wire::{Flaw, Unfit};
use ohmesh_units::{Energy, Power, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Counts a charger's connections. What belongs to an older one is void.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(pub u64);

/// A charging transaction's id at its charger: in 1.6 the decimal number that this side drew, in 2.0.1 the charger's text.
/// It says nothing without the charger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionKey(pub String);

impl fmt::Display for TransactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one command until its [`Event::CommandResult`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// What the caller has to do, in this order. Events come before the answer that acknowledges them: a caller that stores
/// each event durably when it meets it has stored it before the charger is told so and forgets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this text on the newest connection.
    Send(String),
    /// Something happened.
    Event(Event),
    /// A frame departed from the standard, or from what was plausible. Keep it: it holds the frame.
    Deviation(Deviation),
    /// Call [`on_timer`](super::Charger::on_timer) at this time; replaces the timer set before.
    SetTimer(Timestamp),
    /// Close the connection of this epoch.
    Close(Epoch),
}

/// What happened at a charger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection was made.
    Online {
        /// The connection.
        epoch: Epoch,
        /// The version it speaks.
        version: Version,
    },
    /// The connection ended or fell silent. Transactions go on.
    Offline {
        /// The connection.
        epoch: Epoch,
    },
    /// The charger said what it is.
    Booted {
        /// Who made it.
        vendor: String,
        /// Its model.
        model: String,
        /// Its serial number.
        serial: Option<String>,
        /// Its firmware.
        firmware: Option<String>,
    },
    /// An EVSE has another state than before.
    State {
        /// The EVSE.
        evse: u16,
        /// Its state.
        state: EvseState,
        /// The charger's error code if it named one other than `NoError`.
        error: Option<String>,
    },
    /// A cable was plugged in: the EVSE was seen free and is now taken. Never said of an EVSE whose earlier state is unknown.
    PluggedIn {
        /// The EVSE.
        evse: u16,
        /// When it was heard.
        at: Timestamp,
    },
    /// A token asked to charge, and was answered from the grants.
    Authorize {
        /// The token, as sent.
        token: String,
        /// Whether it may.
        accepted: bool,
    },
    /// A transaction began.
    TransactionStarted {
        /// The EVSE.
        evse: u16,
        /// The transaction.
        transaction: TransactionKey,
        /// The token, if there was one.
        token: Option<String>,
        /// Whether a grant covers it. Without, and with a token, it is being stopped.
        authorized: bool,
        /// The reservation that it ends.
        reservation: Option<i64>,
        /// The register at the start, if known.
        meter_start: Option<Energy>,
        /// When: the charger's time, but never later than it was heard.
        at: Timestamp,
    },
    /// A meter reading within a transaction.
    Metered {
        /// The EVSE.
        evse: u16,
        /// The transaction.
        transaction: TransactionKey,
        /// Energy since the start; never falls, never above rated power times elapsed time.
        energy: Energy,
        /// The register as reported.
        register: Option<Energy>,
        /// Power now.
        power: Option<Power>,
        /// State of charge, percent.
        soc_percent: Option<u8>,
        /// When, by the charger, or when it was heard.
        at: Timestamp,
        /// Signed records, verbatim.
        signed: Vec<SignedRecord>,
    },
    /// A transaction ended.
    TransactionStopped {
        /// The EVSE.
        evse: u16,
        /// The transaction.
        transaction: TransactionKey,
        /// Energy since the start, bounded as in [`Event::Metered`].
        energy: Energy,
        /// The register as reported.
        register: Option<Energy>,
        /// When, by the charger, or when it was heard.
        at: Timestamp,
        /// Why.
        reason: StopCause,
        /// Signed records, verbatim.
        signed: Vec<SignedRecord>,
    },
    /// A security event of the charger.
    Security {
        /// What, in the standard's words.
        kind: String,
        /// Details.
        info: Option<String>,
    },
    /// Vendor data that nobody here understands.
    VendorData {
        /// Whose.
        vendor: String,
        /// Which message.
        message: Option<String>,
    },
    /// A command ended.
    CommandResult {
        /// Which.
        command: CommandId,
        /// How.
        outcome: Outcome,
    },
}

/// The states of an EVSE, the same for both versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum EvseState {
    /// Nothing heard yet.
    Unknown,
    /// Out of service.
    Unavailable,
    /// Broken.
    Faulted,
    /// Free.
    Available,
    /// Kept for a token.
    Reserved,
    /// A cable is plugged in.
    Occupied,
}

/// Why a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// The charger said so, in the standard's word (`Local`, `Remote`, `EVDisconnected`, ...).
    Charger(&'static str),
    /// The charger began another transaction there without ending this one.
    Superseded,
    /// The EVSE was free for longer than the settings allow, and no stop came.
    Ghost,
}

/// A meter's signed record as it was received, byte for byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedRecord {
    /// The record: OCMF text, base64, or the JSON text that 1.6 chargers put into a value.
    pub record: String,
    /// Its encoding, such as `OCMF`, if the charger named it.
    pub encoding: Option<String>,
    /// How it is signed, if the charger named it.
    pub signing: Option<String>,
    /// The meter's key as sent, if sent. A key that comes with the record proves nothing.
    pub public_key: Option<String>,
}

/// What to tell a charger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Start a transaction at an EVSE. Grants the token there for [`start_window`](super::Settings::start_window).
    Start {
        /// The EVSE.
        evse: u16,
        /// The token: at most 20 characters in 1.6, 36 in 2.0.1.
        token: String,
        /// The most power from the first moment on.
        limit: Option<Power>,
    },
    /// Stop a transaction.
    Stop {
        /// The transaction.
        transaction: TransactionKey,
    },
    /// Keep an EVSE for a token. Grants the token there until then.
    Reserve {
        /// The EVSE.
        evse: u16,
        /// The reservation's number.
        reservation: i32,
        /// For whom.
        token: String,
        /// Until when.
        until: Timestamp,
    },
    /// End a reservation.
    CancelReservation {
        /// Its number.
        reservation: i32,
    },
    /// Take an EVSE, or the charger, out of service or back.
    SetOperative {
        /// The EVSE; `None` is the charger.
        evse: Option<u16>,
        /// In service.
        operative: bool,
    },
    /// Release a cable.
    Unlock {
        /// The EVSE.
        evse: u16,
    },
    /// Have a message sent now.
    Trigger {
        /// Which.
        what: Trigger,
        /// Of which EVSE; `None` is the charger.
        evse: Option<u16>,
    },
    /// Read settings: keys in 1.6, `Component.Variable` in 2.0.1. Empty means all, in 1.6 only.
    ReadSettings {
        /// Which.
        names: Vec<String>,
    },
    /// Write a setting: a key in 1.6, `Component.Variable` in 2.0.1.
    WriteSetting {
        /// Which.
        name: String,
        /// To what.
        value: String,
    },
    /// Limit an EVSE's power.
    Limit {
        /// The EVSE.
        evse: u16,
        /// For this transaction; `None`: for those to come.
        transaction: Option<TransactionKey>,
        /// The most power.
        power: Power,
    },
    /// Restart the charger.
    Reset {
        /// At once, instead of when it is idle.
        hard: bool,
    },
    /// Ask whether a transaction is still on (2.0.1).
    TransactionStatus {
        /// Which.
        transaction: TransactionKey,
    },
}

/// Messages that a charger can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// Its boot message.
    Boot,
    /// A heartbeat.
    Heartbeat,
    /// Meter values.
    MeterValues,
    /// The state of an EVSE.
    Status,
}

/// How a command ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done, or to be done at once.
    Accepted,
    /// To be done later.
    Scheduled,
    /// Done after the next restart.
    RebootRequired,
    /// Refused, in the charger's word.
    Refused(String),
    /// Settings: name and value; without a value the charger does not know the name or hides it.
    Settings(Vec<(String, Option<String>)>),
    /// Whether a transaction is on, if the charger knows, and whether messages of it wait.
    Transaction {
        /// On.
        ongoing: Option<bool>,
        /// Messages wait.
        queued: bool,
    },
    /// The charger answered CALLERROR.
    Error {
        /// Its code.
        code: String,
        /// Its text.
        description: String,
    },
    /// The answer could not be read; the deviation beside this event holds it.
    Unreadable,
    /// No answer in time. It may still be carried out.
    TimedOut,
    /// The connection ended first. It may still be carried out.
    Disconnected,
}

/// Why a command was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CommandError {
    /// No connection.
    #[error("the charger is not connected")]
    NotConnected,
    /// [`MAX_QUEUED`](super::MAX_QUEUED) commands wait already.
    #[error("too many commands wait for the charger")]
    QueueFull,
    /// The charger has no such EVSE.
    #[error("no EVSE {0}")]
    UnknownEvse(u16),
    /// No such transaction is open at this charger.
    #[error("no open transaction {0}")]
    UnknownTransaction(TransactionKey),
    /// The charger's version has no such command.
    #[error("{0} has no such command")]
    NotInVersion(Version),
    /// A setting's name is not of the version's form.
    #[error("not a setting's name: {0:?}")]
    BadName(String),
    /// A field breaks the schema.
    #[error("unfit for the charger: {0}")]
    Unfit(#[from] Unfit),
}

/// One received frame that was not as it should be, with all that was odd about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// The action, if the frame was a request that could be read.
    pub action: Option<String>,
    /// What was odd; never empty.
    pub oddities: Vec<Oddity>,
    /// The frame, verbatim; of one that is too large only the first [`MAX_RAW_BYTES`](super::MAX_RAW_BYTES). Empty if
    /// no frame but time caused it.
    pub raw: String,
}

/// Everything that can be odd.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Oddity {
    /// No OCPP-J frame; it was not processed.
    #[error("{0}")]
    Frame(FrameError),
    /// The frame's form.
    #[error("{0}")]
    FrameFlaw(FrameFlaw),
    /// A field.
    #[error("{0}")]
    Flaw(Flaw),
    /// An action that is not known; refused.
    #[error("unknown action {0:?}")]
    UnknownAction(String),
    /// An answer to nothing that was asked.
    #[error("answer to unknown message {0:?}")]
    UnknownAnswer(String),
    /// An answer after its time-out.
    #[error("answer to {0:?} came too late")]
    LateAnswer(String),
    /// An EVSE that the charger was not registered with.
    #[error("unknown EVSE {0:?}")]
    UnknownEvse(Option<i64>),
    /// A transaction that is not this charger's. Nothing was changed.
    #[error("transaction {0:?} is not this charger's")]
    ForeignTransaction(Option<String>),
    /// A transaction of this charger, at another EVSE than it runs at. Nothing was changed.
    #[error("transaction {transaction} runs at EVSE {at}, not {named}")]
    WrongEvse {
        /// The transaction.
        transaction: TransactionKey,
        /// Where it runs.
        at: u16,
        /// What the message said.
        named: i64,
    },
    /// A message that was had before; it was answered as before.
    #[error("replay for transaction {0}")]
    Replayed(TransactionKey),
    /// Messages of a transaction are missing.
    #[error("transaction {transaction}: message {found} instead of {expected}")]
    SequenceGap {
        /// The transaction.
        transaction: TransactionKey,
        /// The number that was due.
        expected: i64,
        /// The number that came.
        found: i64,
    },
    /// A transaction goes on or ends that never began here.
    #[error("transaction {0} had no start")]
    NoStart(TransactionKey),
    /// A transaction began with a token that has no grant.
    #[error("transaction {0} has no grant")]
    NotGranted(TransactionKey),
    /// A transaction was open while another began at its EVSE; it was ended.
    #[error("transaction {0} was superseded")]
    Superseded(TransactionKey),
    /// The EVSE of an open transaction says it is free.
    #[error("transaction {0} is open at a free EVSE")]
    Ghost(TransactionKey),
    /// The charger's stop of a transaction that was ended here before.
    #[error("late stop of transaction {transaction}, {energy}")]
    LateStop {
        /// The transaction.
        transaction: TransactionKey,
        /// The energy with the late reading, bounded as ever.
        energy: Energy,
    },
    /// The charger's clock is ahead.
    #[error("the charger's time is {ms} ms ahead")]
    ClockAhead {
        /// By how much.
        ms: u64,
    },
    /// A transaction began without a register.
    #[error("no register at the start")]
    NoStartRegister,
    /// A transaction ended without a register.
    #[error("no register at the end")]
    NoStopRegister,
    /// A transaction began below what the EVSE's register was before.
    #[error("register starts at {start} after {known}")]
    StartBelowKnown {
        /// The start.
        start: Energy,
        /// The register before.
        known: Energy,
    },
    /// The register is below that of the start. Billed energy stays.
    #[error("register {register} is below its start {start}")]
    BelowStart {
        /// The start.
        start: Energy,
        /// The register.
        register: Energy,
    },
    /// The register fell within the transaction. Billed energy stays.
    #[error("energy fell from {from} to {to}")]
    WentBack {
        /// From.
        from: Energy,
        /// To.
        to: Energy,
    },
    /// The register is beyond anything the EVSE can deliver. It was ignored.
    #[error("{energy} where at most {allowed} can be")]
    Implausible {
        /// What it would have been.
        energy: Energy,
        /// What is possible.
        allowed: Energy,
    },
    /// More than rated power times elapsed time; billed up to that.
    #[error("{energy} cut to {allowed}")]
    AboveRated {
        /// What it was.
        energy: Energy,
        /// What is billed.
        allowed: Energy,
    },
    /// The register at the start cannot have been; another is used.
    #[error("start register {from} replaced by {to}")]
    StartReplaced {
        /// As reported.
        from: Energy,
        /// As used.
        to: Energy,
    },
    /// A value that is no number that fits.
    #[error("unreadable {measurand}: {value:?}")]
    UnreadableValue {
        /// Of what.
        measurand: String,
        /// The value.
        value: String,
    },
    /// A unit that does not fit the measurand.
    #[error("{measurand} in {unit:?}")]
    WrongUnit {
        /// Of what.
        measurand: String,
        /// The unit.
        unit: String,
    },
}
