//! What goes into a seller and what comes out of it.

use super::{EVSES_MAX, commands, outbox};
use ohmesh_auction::{
    role::{PassReason, RoleError},
    seal::SealSecret,
    strategy::CostPlus,
};
use ohmesh_contract::{Message, Receipt, Refused, Timer};
use ohmesh_ledger::{Block, Body, State};
use ohmesh_ocpp::{
    ChargerName,
    session::{Command, Event, EvseState, Outcome, TransactionKey},
};
use ohmesh_units::{
    AuctionId, ContractId, DecodeError, Energy, EvseId, Power, Price, PublicKey, SigningKey, StationId,
};
use std::{fmt, time::Duration};

/// What a seller is told once.
pub struct Setup {
    /// The operator's account key: signs offers here, and transactions at the host.
    pub key: SigningKey,
    /// The operator's stations.
    pub stations: Vec<SellerStation>,
    /// Fresh and secret for each opening: makes the blindings of bids, and the tokens.
    pub seed: [u8; 32],
}

/// A station that sells.
pub struct SellerStation {
    /// Its id on the ledger.
    pub id: StationId,
    /// Opens awards; its public half is the registered award key.
    pub seal: SealSecret,
    /// Its outlets.
    pub evses: Vec<SellerEvse>,
    /// What it asks for. No bid is below the zone's grid tariff, whatever this says.
    pub strategy: CostPlus,
}

/// An outlet that sells: its record on the ledger, and the charger that it is part of.
pub struct SellerEvse {
    /// Its id on the ledger.
    pub id: EvseId,
    /// Its number at the station.
    pub number: u16,
    /// The charger.
    pub charger: ChargerName,
    /// Its number at the charger.
    pub charger_evse: u16,
    /// Its registered rated power.
    pub power: Power,
    /// Its registered plugs, one bit each.
    pub connectors: u16,
    /// Signs its meter's records; the public half is registered.
    pub meter: SigningKey,
}

/// Why a seller cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SellerError {
    /// More outlets than one seller may have.
    #[error("{0} outlets; a seller has at most {EVSES_MAX}")]
    TooManyOutlets(usize),
    /// A station is named twice.
    #[error("station {0} is named twice")]
    StationTwice(StationId),
    /// An outlet's id is not that of its number at its station.
    #[error("outlet {number} of station {station} is not EVSE {evse}")]
    EvseId {
        /// The station.
        station: StationId,
        /// The number.
        number: u16,
        /// The id that was given.
        evse: EvseId,
    },
    /// An outlet, or a charger's outlet, is named twice.
    #[error("EVSE {0} or its charger's outlet is named twice")]
    EvseTwice(EvseId),
    /// The snapshot is not one.
    #[error(transparent)]
    Snapshot(#[from] DecodeError),
    /// The snapshot is of another zone or operator.
    #[error("the snapshot is of another zone or operator")]
    OtherSeller,
    /// The snapshot has a bid or a sale of a station or an outlet that is no longer there.
    #[error("auction {0} was bid for by a station or an outlet that is no longer set up")]
    Gone(AuctionId),
    /// A bid cannot be taken up again.
    #[error(transparent)]
    Role(#[from] RoleError),
}

/// What happened.
pub enum Input<'a> {
    /// A block was decided. Each once, in order, with the state after it or after a later one; one that was seen before
    /// changes nothing.
    Block {
        /// The block.
        block: &'a Block,
        /// The state.
        state: &'a State,
    },
    /// A buyer asks (`ohmesh_ledger::Query::Sale`). Answered by exactly one [`Effect::Reply`].
    Sale {
        /// The auction that it awarded.
        auction: AuctionId,
        /// The key its connection was authenticated with.
        from: PublicKey,
        /// The connection's keying material under `ohmesh_contract::EXPORTER_LABEL`.
        exporter: [u8; 32],
        /// Its messages, in order.
        messages: Vec<Message>,
    },
    /// A charger's session says this.
    Charger(ChargerName, Event),
    /// How one of a charger's outlets is now: after a start, and whenever events may have been missed. Events that wait
    /// to be handed in come first: this is newer.
    Outlet {
        /// The charger.
        charger: ChargerName,
        /// The outlet's number there.
        evse: u16,
        /// How it is.
        status: OutletStatus,
    },
    /// A command ended; without an outcome it was not taken.
    CommandDone {
        /// Which.
        command: CommandTag,
        /// How.
        outcome: Option<Outcome>,
    },
    /// A timer has run out.
    Timer(SellerTimer),
    /// The operator ends the sale at this outlet: a waiver before the start, a stop after it.
    Stop(EvseId),
}

/// An outlet as its charger's session knows it.
#[derive(Clone, PartialEq, Eq)]
pub struct OutletStatus {
    /// Whether the charger is connected.
    pub online: bool,
    /// The outlet's state.
    pub state: EvseState,
    /// The newest register that could be true.
    pub register: Option<Energy>,
    /// The open transaction.
    pub open: Option<OpenTransaction>,
}

/// An open transaction: a part of `ohmesh_ocpp::session::Transaction`.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Its id.
    pub key: TransactionKey,
    /// Its token.
    pub token: Option<String>,
    /// The energy so far.
    pub energy: Energy,
}

/// What the seller wants done, in this order.
pub enum Effect {
    /// Make these bytes durable in place of the earlier ones, before anything that follows.
    Persist(Vec<u8>),
    /// Sign this with the operator's key and submit it.
    Submit(Box<Body>),
    /// Answer the buyer whose [`Input::Sale`] this was.
    Reply(Vec<Message>),
    /// Tell a charger, and say with [`Input::CommandDone`] how it ended.
    Command {
        /// The charger.
        charger: ChargerName,
        /// What to tell it.
        command: Command,
        /// Names it until it ends.
        tag: CommandTag,
    },
    /// Feed [`Input::Timer`] after the duration; replaces an equal timer.
    SetTimer(SellerTimer, Duration),
    /// For the log and the dashboard.
    Note(SellerEvent),
}

/// Names a command until it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandTag(pub u64);

/// What a seller may wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SellerTimer {
    /// A session's own.
    Session(AuctionId, Timer),
    /// The charger has not begun what it was told to start.
    Start(AuctionId),
    /// A command is to be tried again.
    Command(AuctionId),
}

/// What is worth telling people. No prices of bids, no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SellerEvent {
    /// A station bids.
    Bid {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
    },
    /// A station stays out.
    Passed {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
        /// Why.
        reason: PassReason,
    },
    /// A station's bid did not win, or its auction came to nothing.
    Lost {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
    },
    /// A station won and accepts; the outlet is held.
    Won {
        /// The auction.
        auction: AuctionId,
        /// The outlet.
        evse: EvseId,
        /// The price, which the ledger shows too.
        price: Price,
    },
    /// A station won and has no outlet free: it does not accept.
    Unserved {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
    },
    /// A station's part in an auction failed: an award that does not open, or names no buyer.
    Failed {
        /// The auction.
        auction: AuctionId,
        /// The station.
        station: StationId,
        /// Why; none if the award named no key.
        reason: Option<RoleError>,
    },
    /// Somebody asked for a sale that is not theirs.
    Stranger {
        /// The auction that was asked for.
        auction: AuctionId,
        /// Who asked.
        from: PublicKey,
    },
    /// A draft names an outlet that cannot serve it.
    Unfit {
        /// The auction.
        auction: AuctionId,
        /// The outlet.
        evse: EvseId,
    },
    /// A message or event was refused; nothing has changed.
    Refused {
        /// The auction.
        auction: AuctionId,
        /// Why.
        reason: Box<Refused>,
    },
    /// The contract is on the ledger.
    Opened {
        /// The auction.
        auction: AuctionId,
        /// The contract.
        contract: ContractId,
    },
    /// A contract of this operator is on the ledger that this seller has not signed an offer for: its snapshot is old.
    UnknownContract(ContractId),
    /// A transaction had no effect for so long that it is not submitted again.
    GaveUp(AuctionId),
    /// A charger does not stop, though it was told so many times.
    DoesNotStop(EvseId),
    /// A sale is over, with its receipt if there was a contract. After a crash it may come again.
    Over {
        /// The auction.
        auction: AuctionId,
        /// The receipt.
        receipt: Option<Box<Receipt>>,
    },
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Setup({} stations, ..)", self.stations.len())
    }
}

/// Snapshots hold prices of bids, and commands hold tokens: neither is shown.
impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Persist(bytes) => write!(f, "Persist({} bytes)", bytes.len()),
            Self::Submit(body) => write!(f, "Submit({})", outbox::name(body)),
            Self::Reply(messages) => {
                let names: Vec<_> = messages.iter().map(Message::name).collect();
                write!(f, "Reply({names:?})")
            }
            Self::Command { charger, command, tag } => {
                write!(f, "Command({}, {}, {})", charger.as_str(), commands::name(command), tag.0)
            }
            Self::SetTimer(timer, wait) => write!(f, "SetTimer({timer:?}, {wait:?})"),
            Self::Note(event) => write!(f, "Note({event:?})"),
        }
    }
}
