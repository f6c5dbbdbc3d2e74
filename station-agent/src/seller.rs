//! The seller: one operator's stations as a machine. Blocks, buyers' messages and chargers' events come in; transactions,
//! answers and chargers' commands go out. It knows no socket, no clock and no task; randomness is a seed.
//!
//! ```text
//!  decided Block + State -> bidding: AuctionOpen -> bid    AuctionOutcome -> accept, hold an outlet
//!                        -> ledger: contract opened, claimed, ended; what was submitted and had no effect goes again
//!  Sale (Query::Sale)    -> sale: draft -> offer, ... -> Reply     (one SellerSession of ohmesh-contract a sale)
//!  charger's Event       -> metering: plug-in, readings, stop -> session -> Start, Stop
//!  Timer                 -> session's timers, commands that are tried again
//! ```
//!
//! Order that must hold: the host performs the effects of one [`Seller::handle`] in their order, and a
//! [`Effect::Persist`] is durable before the next one begins. A seller that is opened from its newest snapshot and given
//! every block after [`Seller::height`] goes on where it was: what it had submitted and was lost goes out again, as do
//! commands for outlets that are not as they should be.
//!
//! What holds an outlet: an award that was accepted, until it ends or its car has been charged. A bid holds nothing, so a
//! station may win more often than it has outlets: it accepts only what it can serve. An award that a restart finds in
//! the blocks it has missed is accepted before the charger is heard: the outlet was free when it was bid for.
//!
//! What a buyer must prove: its connection's key is the one that the award named. A new connection of that key (a phone
//! that slept) carries the sale on; what was signed for another connection is refused by the session.
//!
//! What is sold: the watt-hours that the charger's session has vetted since the transaction began, never the raw register.
//! They are added to the newest register known at the plug-in, which never lies below what was sold there before.
//!
//! Bounds: [`EVSES_MAX`] outlets, [`BIDS_PER_EVSE`] open bids an outlet, [`SALES_MAX`] sales, one command under way a sale,
//! [`Query::SALE_MESSAGES_MAX`] messages an exchange, and of each kind of message only the newest waits for the buyer.

mod bidding;
mod commands;
mod kept;
mod ledger;
mod metering;
mod outbox;
mod sale;
mod words;

pub use bidding::Floored;
pub use words::{
    CommandTag, Effect, Input, OpenTransaction, OutletStatus, SellerError, SellerEvent, SellerEvse,
    SellerStation, SellerTimer, Setup,
};

use kept::Snapshot;
use ohmesh_auction::role::Bidder;
use ohmesh_contract::{ARRIVAL_TIMEOUT, SellerInput, SellerKeys, SellerSession};
use ohmesh_ledger::{Object, Query, State, Tariff};
use ohmesh_ocpp::session::EvseState;
use ohmesh_units::{
    AccountId, AuctionId, Canonical as _, Domain, Energy, EvseId, Hash, Power, SigningKey, StationId,
    Timestamp, ZoneId,
};
use outbox::{Goal, Outgoing};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use sale::Sale;
use std::{collections::BTreeMap, fmt};

/// One operator's sales. `Debug` shows how many of what, nothing else.
pub struct Seller {
    key: SigningKey,
    account: AccountId,
    zone: ZoneId,
    /// The grid tariff in force at the newest block.
    tariff: Tariff,
    rng: ChaCha20Rng,
    desks: BTreeMap<StationId, Desk>,
    outlets: BTreeMap<EvseId, Outlet>,
    height: u64,
    /// Open bids, and the outlet each named.
    bids: BTreeMap<(AuctionId, StationId), EvseId>,
    sales: BTreeMap<AuctionId, Sale>,
    outbox: Vec<Outgoing>,
    timers: BTreeMap<SellerTimer, Timestamp>,
    commands: u64,
    /// Hash and height of what was persisted last.
    persisted: (Hash, u64),
    effects: Vec<Effect>,
}

/// One station's part.
struct Desk {
    seal: Hash,
    bidder: Bidder<Floored>,
    evses: Vec<EvseId>,
}

/// One outlet, as set up and as it is.
struct Outlet {
    set: SellerEvse,
    online: bool,
    state: EvseState,
    /// The newest register heard.
    register: Option<Energy>,
    /// The register after the last settlement on the ledger; none while the ledger's record is not this outlet.
    registered: Option<Energy>,
    running: Option<OpenTransaction>,
}

impl Seller {
    /// Opens a seller at the newest decided state, from its newest snapshot if it has one. The effects are to be
    /// performed as those of [`Seller::handle`]; then it wants every block after [`Seller::height`], and the state of each
    /// outlet ([`Input::Outlet`]): until it has heard of one, it does not bid there.
    pub fn open(
        setup: Setup,
        state: &State,
        snapshot: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Effect>), SellerError> {
        let mut seller = Self::new(setup, state)?;
        seller.read_registry(state);
        let mut resumed = Vec::new();
        if let Some(bytes) = snapshot {
            resumed = seller.take_up(Snapshot::decode(bytes)?)?;
            seller.persisted = (SNAPSHOT.hash(&[bytes]), seller.height);
        }
        for (auction, actions) in resumed {
            seller.act(now, auction, actions);
        }
        seller.submit_again(state);
        let effects = seller.finish();
        Ok((seller, effects))
    }

    fn new(setup: Setup, state: &State) -> Result<Self, SellerError> {
        let tariff = state.governance().tariff(state.head().time);
        let count = setup.stations.iter().map(|station| station.evses.len()).sum();
        if count > EVSES_MAX {
            return Err(SellerError::TooManyOutlets(count));
        }
        let (mut desks, mut outlets) = (BTreeMap::new(), BTreeMap::<EvseId, Outlet>::new());
        for station in setup.stations {
            let SellerStation { id, seal, evses, strategy } = station;
            let desk = Desk {
                seal: Hash(seal.public().to_bytes()),
                bidder: Bidder::new(id, seal, Floored { strategy, floor: tariff.price }),
                evses: evses.iter().map(|evse| evse.id).collect(),
            };
            if desks.insert(id, desk).is_some() {
                return Err(SellerError::StationTwice(id));
            }
            for set in evses {
                let (evse, number) = (set.id, set.number);
                if EvseId::of(&id, number) != evse {
                    return Err(SellerError::EvseId { station: id, number, evse });
                }
                let same = |other: &Outlet| {
                    other.set.charger == set.charger && other.set.charger_evse == set.charger_evse
                };
                if outlets.contains_key(&evse) || outlets.values().any(same) {
                    return Err(SellerError::EvseTwice(evse));
                }
                outlets.insert(evse, Outlet::new(set));
            }
        }
        Ok(Self {
            account: AccountId::of(&setup.key.public()),
            key: setup.key,
            zone: *state.zone_id(),
            tariff,
            rng: ChaCha20Rng::from_seed(setup.seed),
            desks,
            outlets,
            height: state.head().height,
            bids: BTreeMap::new(),
            sales: BTreeMap::new(),
            outbox: Vec::new(),
            timers: BTreeMap::new(),
            commands: 0,
            persisted: (Hash::ZERO, state.head().height),
            effects: Vec::new(),
        })
    }

    /// The height of the newest block it has seen.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Bids that are open.
    pub fn open_bids(&self) -> usize {
        self.bids.len()
    }

    /// Sales that are not over, with the outlet of each.
    pub fn sales(&self) -> impl Iterator<Item = (AuctionId, EvseId)> {
        self.sales.iter().map(|(auction, sale)| (*auction, sale.kept.evse))
    }

    /// Whether the outlet could be sold now.
    pub fn is_free(&self, evse: &EvseId) -> bool {
        self.outlets.get(evse).is_some_and(Outlet::is_idle) && !self.is_held(evse)
    }

    /// Whether nothing has been heard of the outlet since the start, and no sale has it.
    fn is_unheard(&self, evse: &EvseId) -> bool {
        self.outlets.get(evse).is_some_and(Outlet::is_unheard) && !self.is_held(evse)
    }

    fn is_held(&self, evse: &EvseId) -> bool {
        self.sales.values().any(|sale| sale.kept.evse == *evse && sale.holds())
    }

    /// Takes in what happened at `now`.
    pub fn handle(&mut self, now: Timestamp, input: Input<'_>) -> Vec<Effect> {
        match input {
            Input::Block { block, state } => self.on_block(now, block, state),
            Input::Sale { auction, from, exporter, messages } => {
                self.on_sale(now, auction, from, exporter, messages);
            }
            Input::Charger(charger, event) => self.on_charger(now, &charger, event),
            Input::Outlet { charger, evse, status } => self.on_outlet(now, &charger, evse, status),
            Input::CommandDone { command, outcome } => self.on_command_done(now, command, outcome),
            Input::Timer(timer) => self.on_timer(now, timer),
            Input::Stop(evse) => {
                if let Some(auction) = self.sale_at(&evse) {
                    self.tell(now, auction, SellerInput::Stop);
                }
            }
        }
        self.finish()
    }

    fn on_timer(&mut self, now: Timestamp, timer: SellerTimer) {
        let Some(&at) = self.timers.get(&timer) else { return };
        if let Some(wait) = at.since(now).filter(|wait| !wait.is_zero()) {
            self.effects.push(Effect::SetTimer(timer, wait)); // Came early: it would be lost.
            return;
        }
        self.timers.remove(&timer);
        match timer {
            SellerTimer::Session(auction, timer) => {
                self.tell(now, auction, SellerInput::Timer(timer));
            }
            SellerTimer::Start(auction) => self.on_start_late(now, auction),
            SellerTimer::Command(auction) => self.drive(now, auction),
        }
    }

    fn set_timer(&mut self, now: Timestamp, timer: SellerTimer, at: Timestamp) {
        self.timers.insert(timer, at);
        self.effects.push(Effect::SetTimer(timer, at.since(now).unwrap_or_default()));
    }

    fn note(&mut self, event: SellerEvent) {
        self.effects.push(Effect::Note(event));
    }

    /// The sale that has the outlet.
    fn sale_at(&self, evse: &EvseId) -> Option<AuctionId> {
        let at = |sale: &&Sale| sale.kept.evse == *evse && sale.holds();
        self.sales.values().find(at).map(|sale| sale.kept.auction)
    }

    /// Takes up what a snapshot holds; gives what the sessions say again.
    fn take_up(
        &mut self,
        snapshot: Snapshot,
    ) -> Result<Vec<(AuctionId, Vec<ohmesh_contract::Action>)>, SellerError> {
        if snapshot.zone != self.zone || snapshot.account != self.account {
            return Err(SellerError::OtherSeller);
        }
        self.height = snapshot.height;
        for bid in snapshot.bids {
            let desk = self.desks.get_mut(&bid.station).ok_or(SellerError::Gone(bid.auction))?;
            desk.bidder.resume(bid.auction, bid.price)?;
            self.bids.insert((bid.auction, bid.station), bid.evse);
        }
        self.outbox = snapshot.outbox;
        let mut resumed = Vec::new();
        for kept in snapshot.sales {
            let auction = kept.auction;
            let outlet = self.outlets.get(&kept.evse).ok_or(SellerError::Gone(auction))?;
            let keys = SellerKeys { seller: self.key.clone(), meter: outlet.set.meter.clone() };
            let (kept, session) = kept.split();
            let mut sale = Sale::new(kept);
            if let Some(session) = session {
                let (session, actions) = SellerSession::resume(keys, session);
                sale.session = Some(session);
                resumed.push((auction, actions));
            }
            self.sales.insert(auction, sale);
        }
        Ok(resumed)
    }

    /// Reads what the ledger has registered for each outlet: one that it does not know as set up is not sold.
    fn read_registry(&mut self, state: &State) {
        for outlet in self.outlets.values_mut() {
            let set = &outlet.set;
            outlet.registered = match state.object(&set.id.into()) {
                Some((_, Object::Evse(found)))
                    if found.owner == self.account
                        && found.power == set.power
                        && found.connectors == set.connectors
                        && found.meter == set.meter.public() =>
                {
                    Some(found.register)
                }
                _ => None,
            };
        }
    }

    /// The effects of one input, with what has to be durable in front.
    fn finish(&mut self) -> Vec<Effect> {
        self.give_back_reservations();
        let effects = std::mem::take(&mut self.effects);
        let mut snapshot = self.snapshot();
        let height = std::mem::replace(&mut snapshot.height, self.persisted.1);
        // Blocks that changed nothing here are not worth a write each; a restart looks at them again.
        if height >= self.persisted.1.saturating_add(HEIGHTS_UNWRITTEN_MAX) {
            snapshot.height = height;
        }
        if SNAPSHOT.hash(&[&snapshot.encode()]) != self.persisted.0 {
            snapshot.height = height;
            let bytes = snapshot.encode();
            self.persisted = (SNAPSHOT.hash(&[&bytes]), height);
            // The news of an end goes before the snapshot that forgets the sale: it may come twice, but is never lost.
            let (mut ends, rest): (Vec<_>, Vec<_>) = effects
                .into_iter()
                .partition(|effect| matches!(effect, Effect::Note(SellerEvent::Over { .. })));
            ends.push(Effect::Persist(bytes));
            ends.extend(rest);
            return ends;
        }
        effects
    }
}

impl Outlet {
    fn new(set: SellerEvse) -> Self {
        let (online, state) = (false, EvseState::Unknown);
        Self { set, online, state, register: None, registered: None, running: None }
    }

    /// Connected, registered as it is set up, and with no car.
    fn is_idle(&self) -> bool {
        self.online
            && self.registered.is_some()
            && self.running.is_none()
            && self.state == EvseState::Available
    }

    /// Registered as it is set up, and not heard of yet.
    fn is_unheard(&self) -> bool {
        let is_unknown = !self.online && self.state == EvseState::Unknown;
        is_unknown && self.registered.is_some() && self.running.is_none()
    }

    /// Whether it meets what an intent asks.
    fn fits(&self, connectors: u16, power_min: Power) -> bool {
        self.set.connectors & connectors != 0 && self.set.power >= power_min
    }
}

impl fmt::Debug for Seller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seller")
            .field("account", &self.account)
            .field("height", &self.height)
            .field("bids", &self.bids.len())
            .field("sales", &self.sales.len())
            .finish_non_exhaustive()
    }
}

/// The most outlets of one seller; more than any site has, few enough to look at each in every block.
pub const EVSES_MAX: usize = 1024;

/// The most open bids for each of a station's outlets: most bids lose, and an auction lasts minutes.
pub const BIDS_PER_EVSE: usize = 8;

/// The most sales that are not over, those that wait for a claim's day included; more are not accepted.
pub const SALES_MAX: usize = 1024;

/// How many blocks may pass without a snapshot that says so; as many are looked at again after a restart, at most.
const HEIGHTS_UNWRITTEN_MAX: u64 = 256;

const SNAPSHOT: Domain = Domain::new("ohmesh/1 seller snapshot");

const _: () = assert!(Query::SALE_MESSAGES_MAX >= sale::KINDS, "what waits for a buyer fits one answer");
