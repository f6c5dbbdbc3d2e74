//! A buyer and its phone, which loses nothing: it looks at the ledger, at its outlet and at what it was told, and does what
//! comes next, again if nothing came of it.

use super::{CONNECTORS, RATED, SELLER, evse_of, meter_of, seal_of, station_of};
use crate::{account, key};
use ohmesh_auction::{
    award::Award,
    intent::{
        BuyerSecret, Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve,
        Terms as Wanted, VerifiedIntent,
    },
    key::EpochKey,
    outcome::Outcome,
    role::{Buyer, BuyerAction, Candidate},
};
use ohmesh_contract::{
    Action, Bill, BuyerInput, BuyerSession, GridTariff, Message, MeterRecord, OnLedger, Settlement, Signed,
    State as ContractState, Terms, Timer,
};
use ohmesh_ledger::{Auction, Body, End, Object, State};
use ohmesh_units::{
    AuctionId, ContractId, Energy, InCell, Power, Price, PublicKey, SigningKey, TickSize, Timestamp,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{collections::BTreeMap, time::Duration};

/// How somebody ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Habit {
    /// Stops before the car is full.
    Stops,
    /// Waits until the car is full.
    Waits,
    /// Its phone says nothing more once a checkpoint of it has been taken.
    Sleeps,
}

/// One purchase.
#[derive(Clone)]
pub(super) struct Customer {
    pub(super) n: u8,
    /// At which station.
    pub(super) at: usize,
    pub(super) habit: Habit,
    /// How long after the day's beginning.
    pub(super) comes: Duration,
    asked: Option<Asked>,
    /// Nobody at its station has bid, so it goes elsewhere.
    is_unserved: bool,
    outcome: Option<Box<Outcome>>,
    session: Option<BuyerSession>,
    exporter: [u8; 32],
    /// Whether the session knows of the connection.
    is_linked: bool,
    outbound: Vec<Message>,
    /// What the ledger has still to open.
    opening: Option<Body>,
    is_opened: bool,
    timers: BTreeMap<Timer, Timestamp>,
    plugged: Option<Timestamp>,
    has_left: bool,
    started: Option<Timestamp>,
    /// When it last did what it may have to do again.
    done: BTreeMap<&'static str, Timestamp>,
    /// What the meter has signed and the seller has told, by number.
    records: BTreeMap<u32, Signed<MeterRecord>>,
    /// The number of the newest checkpoint that the seller has taken.
    pub(super) credited: Option<u32>,
    pub(super) is_paid: bool,
    /// What the seller has contradicted.
    pub(super) complaint: Option<String>,
}

#[derive(Clone)]
struct Asked {
    open: Box<Intent>,
    intent: VerifiedIntent,
    secret: BuyerSecret,
    key: EpochKey,
}

/// What a customer does.
pub(super) enum Move {
    /// Sends a transaction.
    Submit(Body),
    /// Speaks with the seller.
    Say(AuctionId, Vec<Message>),
    /// Plugs the car in.
    PlugIn,
    /// Takes the car away.
    Unplug,
}

/// What a customer sees of its outlet.
pub(super) struct Sight {
    pub(super) is_plugged: bool,
    pub(super) is_on: bool,
}

impl Customer {
    pub(super) fn new(n: u8, at: usize, habit: Habit, comes: Duration) -> Self {
        Self {
            n,
            at,
            habit,
            comes,
            asked: None,
            is_unserved: false,
            outcome: None,
            session: None,
            exporter: [n; 32],
            is_linked: false,
            outbound: Vec::new(),
            opening: None,
            is_opened: false,
            timers: BTreeMap::new(),
            plugged: None,
            has_left: false,
            started: None,
            done: BTreeMap::new(),
            records: BTreeMap::new(),
            credited: None,
            is_paid: false,
            complaint: None,
        }
    }

    /// Whether it has asked for energy.
    pub(super) fn has_begun(&self) -> bool {
        self.asked.is_some()
    }

    /// Its auction, if its station has not bid.
    pub(super) fn unserved(&self) -> Option<AuctionId> {
        self.asked.as_ref().filter(|_| self.is_unserved).map(|asked| asked.intent.id())
    }

    /// The contract, once there is a draft of it.
    pub(super) fn contract(&self) -> Option<ContractId> {
        self.session.as_ref().map(BuyerSession::id)
    }

    /// What it pays for an amount of energy.
    pub(super) fn due(&self, energy: Energy) -> Option<i64> {
        Some(self.session.as_ref()?.terms().price.times(energy)?.as_micro())
    }

    /// Whether it has what it came for: a receipt, or, if its phone sleeps, a claim on the ledger; or has found nothing.
    pub(super) fn is_over(&self, state: &State) -> bool {
        let claimed = self.contract().is_some_and(|id| match state.object(&id.into()) {
            Some((_, Object::Contract(contract))) => {
                contract.state().rank() >= ContractState::Submitted.rank()
            }
            _ => false,
        });
        self.is_unserved || (self.has_left && (self.is_paid || (self.sleeps() && claimed)))
    }

    /// The connection is another one.
    pub(super) fn reconnect(&mut self) {
        self.exporter[0] = self.exporter[0].wrapping_add(1);
        self.is_linked = false;
        self.outbound.clear();
    }

    /// The key its connections are authenticated with.
    pub(super) fn transport(&self) -> PublicKey {
        key(self.n + 20).public()
    }

    pub(super) fn exporter(&self) -> [u8; 32] {
        self.exporter
    }

    fn sleeps(&self) -> bool {
        self.habit == Habit::Sleeps && self.credited.is_some()
    }

    fn one_time(&self) -> SigningKey {
        key(self.n + 40)
    }

    /// Everything that it would do now.
    pub(super) fn step(&mut self, state: &State, now: Timestamp, sight: &Sight) -> Vec<Move> {
        let mut moves = Vec::new();
        if self.is_unserved {
            return moves;
        }
        let Some(asked) = &self.asked else {
            self.ask(state, now);
            return moves;
        };
        let id = asked.intent.id();
        match state.object(&id.into()) {
            None => {
                let body = Body::AuctionOpen(asked.open.clone());
                moves.extend(self.again("ask", now, AGAIN).then_some(Move::Submit(body)));
            }
            Some((_, Object::Auction(auction))) => moves.extend(self.buy(state, auction, now)),
            Some(_) => {}
        }
        if self.session.is_some() {
            self.hear_ledger(state, now);
            self.hear_timers(now);
            if let Some(body) = self.opening.clone().filter(|_| self.again("open", now, AGAIN)) {
                moves.push(Move::Submit(body));
            }
            moves.extend(self.move_hands(now, sight));
            moves.extend(self.speak(id, now));
        }
        moves
    }

    fn ask(&mut self, state: &State, now: Timestamp) {
        let Some(key) = state.epoch_key(0) else { return };
        let wanted = Wanted {
            zone: *state.zone_id(),
            key_epoch: 0,
            area: state.zone().areas[0].area,
            energy: EnergyKwh::try_from(10).expect("10 kWh"),
            deadline: now.checked_add(Duration::from_secs(20)).expect("a while"),
            blocks_min: 1,
            kappa: Kappa::try_from(2).expect("one of 8"),
            renewable_min: Percent::try_from(0).expect("none"),
            connectors: Connectors::try_from(CONNECTORS).expect("a plug"),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).expect("a price"),
            pricing: Pricing::FirstPrice,
            choice: Choice::OwnChoice,
            buyer: self.one_time().public(),
        };
        let place = InCell { x: 80, y: 60 };
        let asked = Buyer::ask(wanted, place, Reserve(u32::MAX), key.clone(), &mut self.random(1));
        let (buyer, action) = asked.expect("terms that fit");
        let BuyerAction::PublishIntent(open) = action else { unreachable!("{action:?}") };
        let secret = buyer.secret().expect("nothing is decided").clone();
        self.asked = Some(Asked { open, intent: buyer.intent().clone(), secret, key: key.clone() });
    }

    /// Its own randomness, for each purpose another.
    fn random(&self, purpose: u8) -> ChaCha20Rng {
        let mut seed = [self.n; 32];
        seed[0] = purpose;
        ChaCha20Rng::from_seed(seed)
    }

    /// Decides when the bids are open; drafts the contract when the winner has accepted.
    fn buy(&mut self, state: &State, auction: &Auction, now: Timestamp) -> Option<Move> {
        let is_due = auction.intent.terms().is_due(state.head().time, state.head().height - auction.height);
        let station = station_of(self.at);
        match &auction.award {
            None if is_due && auction.bids.iter().all(|bid| bid.station != station) => {
                self.is_unserved = true;
                None
            }
            None if auction.opening.is_some() => {
                if self.outcome.is_none() {
                    self.outcome = Some(self.decide(auction));
                }
                let outcome = self.outcome.clone()?;
                self.again("decide", now, AGAIN).then_some(Move::Submit(Body::AuctionOutcome(outcome)))
            }
            Some(award) if award.is_accepted && self.session.is_none() => {
                let terms = self.terms(state, auction, award.price, now);
                let drafted = BuyerSession::draft(self.one_time(), terms, self.exporter, now);
                let (session, actions) = drafted.expect("terms that can be a contract");
                self.session = Some(session);
                self.is_linked = true;
                self.act(actions);
                None
            }
            _ => None,
        }
    }

    fn decide(&self, auction: &Auction) -> Box<Outcome> {
        let asked = self.asked.as_ref().expect("it has asked");
        let mut random = self.random(2);
        let mut buyer = Buyer::resume(asked.intent.clone(), asked.secret.clone(), asked.key.clone());
        let seal = |bid: &ohmesh_auction::bid::LedgeredBid| {
            let at = (0..2).find(|at| station_of(*at) == bid.station).expect("nobody else bids");
            Candidate { bid: bid.clone(), seal: seal_of(at).public() }
        };
        buyer.on_closed(auction.bids.iter().map(seal).collect(), &mut random).expect("bidding is over");
        let opening = auction.opening.clone().expect("the bids are open");
        buyer.on_opening(opening, &mut random).expect("the ledger's own opening");
        let choice = auction.bids.iter().position(|bid| bid.station == station_of(self.at));
        let award = Award::new(&self.transport().to_bytes(), &mut random).expect("a key is short enough");
        let decided = buyer.on_decide(choice, award, &mut random).expect("both stations bid");
        let outcome = decided.into_iter().find_map(|action| match action {
            BuyerAction::PublishOutcome(outcome) => Some(outcome),
            _ => None,
        });
        outcome.expect("the buyer has decided")
    }

    fn terms(&self, state: &State, auction: &Auction, price: Price, now: Timestamp) -> Terms {
        let energy_max = auction.intent.terms().energy.energy();
        Terms {
            zone: *state.zone_id(),
            auction: auction.intent.id(),
            buyer: account(self.n),
            buyer_key: self.one_time().public(),
            seller: account(SELLER),
            seller_key: key(SELLER).public(),
            evse: evse_of(self.at),
            meter_key: meter_of(self.at).public(),
            price,
            energy_max,
            power_rated: RATED,
            grid: GridTariff { version: 0, price: state.zone().distributor.tariff },
            escrow: price.times(energy_max).expect("some euros"),
            not_before: now,
            expiry: now.checked_add(Duration::from_secs(4 * 3_600)).expect("today"),
            number: 1,
        }
    }

    fn hear_ledger(&mut self, state: &State, now: Timestamp) {
        let Some(session) = &self.session else { return };
        let news = match state.object(&session.id().into()) {
            Some((_, Object::Contract(_))) if !self.is_opened => OnLedger::Opened { at: state.head().time },
            Some((_, Object::Finished(finished))) if !self.is_paid => match finished.end {
                End::Posted => {
                    let energy = session.record().map_or(Energy::ZERO, |record| record.energy);
                    let bill = Bill::of(session.terms(), energy).expect("a bill");
                    OnLedger::Settled(Settlement::Paid(bill))
                }
                other => return self.complain(format!("its contract ended by {other:?}")),
            },
            _ => return,
        };
        match news {
            OnLedger::Opened { .. } => (self.is_opened, self.opening) = (true, None),
            _ => self.is_paid = true,
        }
        self.tell(BuyerInput::OnLedger(news), now);
    }

    fn hear_timers(&mut self, now: Timestamp) {
        let due = self.timers.iter().filter(|(_, at)| **at <= now);
        let due: Vec<Timer> = due.map(|(timer, _)| *timer).collect();
        for timer in due {
            self.timers.remove(&timer);
            self.tell(BuyerInput::Timer(timer), now);
        }
    }

    /// The driver's hands: the plug, the code of the outlet, the button that stops.
    fn move_hands(&mut self, now: Timestamp, sight: &Sight) -> Option<Move> {
        let state = self.session.as_ref()?.state();
        let since = |at: Option<Timestamp>| at.and_then(|at| now.since(at)).unwrap_or_default();
        match state {
            ContractState::Agreed | ContractState::Armed if !sight.is_plugged => {
                self.plugged = Some(now);
                return Some(Move::PlugIn);
            }
            // The charger has not been heard: it is tried once more.
            ContractState::Agreed if since(self.plugged) > PATIENCE => return Some(Move::Unplug),
            ContractState::Agreed | ContractState::Armed if self.again("confirm", now, POLL) => {
                self.tell(BuyerInput::Confirmed(evse_of(self.at)), now);
            }
            ContractState::Charging => {
                let started = *self.started.get_or_insert(now);
                if self.habit == Habit::Stops && since(Some(started)) > CHARGES {
                    self.tell(BuyerInput::Stop, now);
                }
            }
            _ => {}
        }
        let is_done = state.rank() >= ContractState::Stopped.rank() || self.sleeps();
        if self.plugged.is_some() && is_done && !sight.is_on && !self.has_left {
            self.has_left = true;
            return sight.is_plugged.then_some(Move::Unplug);
        }
        None
    }

    /// Says what there is to say, and asks whether there is anything to hear.
    fn speak(&mut self, id: AuctionId, now: Timestamp) -> Option<Move> {
        if self.is_paid || self.sleeps() {
            return None;
        }
        if !self.is_linked {
            self.is_linked = true;
            self.tell(BuyerInput::Linked(self.exporter), now);
        }
        let is_due = self.again("poll", now, POLL);
        (is_due || !self.outbound.is_empty()).then(|| Move::Say(id, std::mem::take(&mut self.outbound)))
    }

    /// The seller's answer to what was said: what it has taken it may not lose, what its meter has signed it may not sign
    /// otherwise.
    pub(super) fn hear(&mut self, said: &[Message], answer: Vec<Message>, now: Timestamp) {
        for message in said {
            if let Message::Checkpoint(checkpoint) = message {
                self.credited = self.credited.max(Some(checkpoint.record.body.sequence));
            }
        }
        for message in answer {
            if let Message::Record(record) = &message {
                let number = record.body.sequence;
                let first = self.records.entry(number).or_insert_with(|| record.clone());
                if first != record {
                    let (was, is) = (first.body.energy, record.body.energy);
                    self.complain(format!("record {number} was of {was} and is of {is}"));
                }
            }
            self.tell(BuyerInput::Message(message), now);
        }
    }

    fn tell(&mut self, input: BuyerInput, now: Timestamp) {
        let Some(session) = &mut self.session else { return };
        // What is refused has changed nothing.
        if let Ok(actions) = session.handle(input, now) {
            self.act(actions);
        }
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.outbound.push(message),
                Action::Open(agreement) => self.opening = Some(Body::ContractOpen(agreement)),
                Action::SetTimer { timer, at } => drop(self.timers.insert(timer, at)),
                Action::Release(_) => self.complain("the seller gives the contract up".into()),
                Action::Abort(reason) => self.complain(format!("{reason:?}")),
                _ => {}
            }
        }
    }

    fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    /// Whether it is time to do something again.
    fn again(&mut self, what: &'static str, now: Timestamp, every: Duration) -> bool {
        let before = self.done.get(what).and_then(|at| now.since(*at));
        let is_due = before.is_none_or(|since| since >= every);
        if is_due {
            self.done.insert(what, now);
        }
        is_due
    }
}

/// After how long a transaction that has had no effect is sent again.
const AGAIN: Duration = Duration::from_secs(8);
/// Between two questions to the seller.
const POLL: Duration = Duration::from_secs(5);
/// How long a driver waits for a charger.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long those charge who stop.
const CHARGES: Duration = Duration::from_secs(150);
