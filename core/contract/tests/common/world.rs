//! Two sessions, a ledger, a meter and a network that loses and repeats, on virtual time.

use super::*;
use std::collections::VecDeque;

/// A meter that counts at a power, in register steps of whole watt-hours.
#[derive(Clone, Debug)]
pub struct SimulatedMeter {
    /// Energy so far, in watt-milliseconds.
    w_ms: u64,
    power_w: u64,
    read_at: Timestamp,
}

impl SimulatedMeter {
    pub fn new(register: Energy, now: Timestamp) -> Self {
        Self { w_ms: register.as_wh() * W_MS_PER_WH, power_w: 0, read_at: now }
    }

    pub fn set_power(&mut self, power_w: u64, now: Timestamp) {
        self.count(now);
        self.power_w = power_w;
    }

    /// A fault: the register goes down.
    pub fn run_back(&mut self, energy: Energy) {
        self.w_ms -= energy.as_wh() * W_MS_PER_WH;
    }

    fn count(&mut self, now: Timestamp) {
        let elapsed = now.as_millis() - self.read_at.as_millis();
        self.w_ms += elapsed * self.power_w;
        self.read_at = now;
    }
}

impl Meter for SimulatedMeter {
    type Error = std::convert::Infallible;

    fn energy(&mut self, now: Timestamp) -> Result<Energy, Self::Error> {
        self.count(now);
        Ok(wh(self.w_ms / W_MS_PER_WH))
    }
}

const W_MS_PER_WH: u64 = 3_600_000;

/// What the network does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    Lost,
    Twice,
}

pub struct World {
    pub now: Timestamp,
    pub buyer: BuyerSession,
    pub seller: Option<SellerSession>,
    pub contract: Option<Contract>,
    pub meter: SimulatedMeter,
    pub power_w: u64,
    pub to_buyer: VecDeque<Message>,
    pub to_seller: VecDeque<Message>,
    pub buyer_timers: Vec<(Timer, Timestamp)>,
    pub seller_timers: Vec<(Timer, Timestamp)>,
    pub buyer_receipt: Option<Receipt>,
    pub seller_receipt: Option<Receipt>,
    pub aborts: Vec<AbortReason>,
    pub is_on: bool,
    pub is_disputed: bool,
    /// How long after it is switched off the charger hands in the last reading; `None`: the test does it.
    pub answers_after: Option<u64>,
    last_reading_at: Option<Timestamp>,
    /// Everything that was refused, in order.
    pub refused: Vec<Refused>,
    /// Whether the ledger answers; without, nothing is opened or settled.
    pub has_ledger: bool,
    /// What left the escrow: to the seller, and back to the buyer.
    pub paid: Money,
    pub back: Money,
}

pub fn sale() -> Sale {
    let terms = terms();
    Sale {
        zone: terms.zone,
        auction: terms.auction,
        buyer_key: terms.buyer_key,
        seller: terms.seller,
        evse: terms.evse,
        price: terms.price,
        energy_max: terms.energy_max,
        power_rated: terms.power_rated,
        grid: terms.grid,
    }
}

pub fn seller_keys() -> SellerKeys {
    SellerKeys { seller: seller(), meter: meter() }
}

impl World {
    /// A buyer that has sent its draft.
    pub fn new() -> Self {
        let now = at(0);
        let (buyer, actions) = BuyerSession::draft(buyer(), terms(), EXPORTER, now).unwrap();
        let mut world = Self {
            now,
            buyer,
            seller: None,
            contract: None,
            meter: SimulatedMeter::new(wh(1_000_000), now),
            power_w: 50_000,
            to_buyer: VecDeque::new(),
            to_seller: VecDeque::new(),
            buyer_timers: Vec::new(),
            seller_timers: Vec::new(),
            buyer_receipt: None,
            seller_receipt: None,
            aborts: Vec::new(),
            is_on: false,
            is_disputed: false,
            answers_after: None,
            last_reading_at: None,
            refused: Vec::new(),
            has_ledger: true,
            paid: Money::ZERO,
            back: Money::ZERO,
        };
        world.perform_buyer(actions);
        world
    }

    /// Everything up to the flow, with a perfect network.
    pub fn charging() -> Self {
        let mut world = Self::new();
        world.deliver_all();
        world.plug_in();
        world.buyer(BuyerInput::Confirmed(evse()));
        world.deliver_all();
        assert!(world.is_on, "the flow has begun");
        world
    }

    pub fn plug_in(&mut self) {
        let reading = self.read();
        self.seller(SellerInput::Plugged { evse: evse(), reading });
        self.deliver_all();
    }

    pub fn read(&mut self) -> Reading {
        Reading::of(&mut self.meter, self.now).unwrap()
    }

    /// Lets time pass without a meter reading but the charger's last one; timers fire on the way.
    pub fn wait(&mut self, millis: u64) {
        let until = Timestamp::from_millis(self.now.as_millis() + millis);
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.answer();
            self.fire_timers();
        }
        self.now = until;
    }

    /// Reads the meter every `step` for `millis`; what is sent arrives.
    pub fn charge(&mut self, millis: u64, step: u64) {
        for _ in 0..millis / step {
            self.wait(step);
            self.tick();
            self.deliver_all();
        }
    }

    pub fn tick(&mut self) {
        let reading = self.read();
        self.seller(SellerInput::Reading(reading));
    }

    pub fn deliver_all(&mut self) {
        while self.deliver(Fate::Arrives) {}
    }

    /// Decides the fate of the oldest message; `false` if there is none.
    pub fn deliver(&mut self, fate: Fate) -> bool {
        let times = match fate {
            Fate::Arrives => 1,
            Fate::Lost => 0,
            Fate::Twice => 2,
        };
        if let Some(message) = self.to_seller.pop_front() {
            (0..times).for_each(|_| self.seller_hears(message.clone()));
            return true;
        }
        if let Some(message) = self.to_buyer.pop_front() {
            (0..times).for_each(|_| self.buyer(BuyerInput::Message(message.clone())));
            return true;
        }
        false
    }

    pub fn seller_hears(&mut self, message: Message) {
        match (&self.seller, message) {
            (None, Message::Draft(draft)) => {
                match SellerSession::offer(seller_keys(), &sale(), *draft, EXPORTER, self.now) {
                    Ok((session, actions)) => {
                        self.seller = Some(session);
                        self.perform_seller(actions);
                    }
                    Err(refused) => self.refused.push(refused),
                }
            }
            (None, _) => {}
            (Some(_), message) => self.seller(SellerInput::Message(message)),
        }
    }

    /// Both ends get the keying material of a new connection; what was under way is lost.
    pub fn relink(&mut self, exporter: Exporter) {
        self.to_buyer.clear();
        self.to_seller.clear();
        self.buyer(BuyerInput::Linked(exporter));
        self.seller(SellerInput::Linked(exporter));
    }

    pub fn buyer(&mut self, input: BuyerInput) {
        match self.buyer.handle(input, self.now) {
            Ok(actions) => self.perform_buyer(actions),
            Err(refused) => self.refused.push(refused),
        }
    }

    pub fn seller(&mut self, input: SellerInput) {
        let Some(session) = &mut self.seller else { return };
        match session.handle(input, self.now) {
            Ok(actions) => self.perform_seller(actions),
            Err(refused) => self.refused.push(refused),
        }
    }

    /// The seller's process dies and comes back from what was durable.
    pub fn crash_seller(&mut self) {
        self.seller_down(0);
    }

    /// The seller's process dies and comes back `millis` later. The outlet stays as it is, and nobody hears the buyer
    /// or the charger meanwhile.
    pub fn seller_down(&mut self, millis: u64) {
        let Some(session) = self.seller.take() else { return };
        let bytes = session.snapshot().encode();
        self.seller_timers.clear();
        self.to_buyer.clear();
        if millis > 0 {
            self.wait(millis);
            self.to_seller.clear();
        }
        // What the charger said to nobody it says again when it is asked again.
        self.last_reading_at = self.last_reading_at.filter(|at| *at > self.now);
        let (session, actions) =
            SellerSession::resume(seller_keys(), SellerSnapshot::decode(&bytes).unwrap());
        self.seller = Some(session);
        self.perform_seller(actions);
    }

    /// The phone's app dies and comes back.
    pub fn crash_buyer(&mut self) {
        let bytes = self.buyer.snapshot().encode();
        self.buyer_timers.clear();
        self.to_seller.clear();
        let (session, actions) = BuyerSession::resume(buyer(), BuyerSnapshot::decode(&bytes).unwrap());
        self.buyer = session;
        self.perform_buyer(actions);
    }

    /// A block at `now`: a claim that is due is concluded, an offer that lapsed is known to have lapsed.
    pub fn block(&mut self) {
        if !self.has_ledger {
            return;
        }
        let now = self.now;
        match &mut self.contract {
            Some(contract) => {
                if let Ok(bill) = contract.conclude(now) {
                    self.pay(bill);
                }
            }
            None => {
                let lapsed = |until: Option<Timestamp>| until.is_some_and(|until| now >= until);
                let news = OnLedger::NotOpened { at: now };
                if lapsed(self.seller.as_ref().map(SellerSession::valid_until)) {
                    self.seller(SellerInput::OnLedger(news));
                }
                if lapsed(self.buyer.valid_until()) {
                    self.buyer(BuyerInput::OnLedger(news));
                }
            }
        }
    }

    /// Energy that has flowed since the plug-in.
    pub fn delivered(&mut self) -> Energy {
        self.read().register.checked_sub(wh(1_000_000)).unwrap()
    }

    fn next_event(&self) -> Option<Timestamp> {
        let timers = self.buyer_timers.iter().chain(&self.seller_timers).map(|(_, at)| *at);
        timers.chain(self.last_reading_at.filter(|_| self.seller.is_some())).min()
    }

    /// The charger hands in its last reading once it is due.
    fn answer(&mut self) {
        if self.seller.is_some() && self.last_reading_at.take_if(|at| *at <= self.now).is_some() {
            let reading = self.read();
            self.seller(SellerInput::LastReading(reading));
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now;
        let is_due = |(_, at): &(Timer, Timestamp)| *at <= now;
        let buyers: Vec<_> = self.buyer_timers.extract_if(.., |timer| is_due(timer)).collect();
        let sellers: Vec<_> = self.seller_timers.extract_if(.., |timer| is_due(timer)).collect();
        // A timer that the session has cleared since is refused, which is how a runner need not cancel any.
        for (timer, _) in buyers {
            if let Ok(actions) = self.buyer.handle(BuyerInput::Timer(timer), now) {
                self.perform_buyer(actions);
            }
        }
        for (timer, _) in sellers {
            let Some(session) = &mut self.seller else { continue };
            if let Ok(actions) = session.handle(SellerInput::Timer(timer), now) {
                self.perform_seller(actions);
            }
        }
    }

    fn perform_buyer(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.to_seller.push_back(message),
                Action::SetTimer { timer, at } => set(&mut self.buyer_timers, timer, at),
                Action::Open(agreement) => self.open(*agreement),
                Action::Expire(_) => self.expire(),
                Action::Release(release) => self.release(release),
                Action::Done(receipt) => assert!(self.buyer_receipt.replace(*receipt).is_none(), "done once"),
                Action::Abort(reason) => self.aborts.push(reason),
                other => panic!("not a buyer's action: {other:?}"),
            }
        }
    }

    fn perform_seller(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.to_buyer.push_back(message),
                Action::SetTimer { timer, at } => set(&mut self.seller_timers, timer, at),
                Action::StartCharging(found) => self.switch(found, true),
                Action::StopCharging(found) => self.switch(found, false),
                Action::Settle(evidence) => self.settle(*evidence),
                Action::Expire(_) => self.expire(),
                Action::Release(release) => self.release(release),
                Action::Done(receipt) => {
                    assert!(self.seller_receipt.replace(*receipt).is_none(), "done once")
                }
                Action::Abort(reason) => self.aborts.push(reason),
                other => panic!("not a seller's action: {other:?}"),
            }
        }
    }

    fn switch(&mut self, found: EvseId, is_on: bool) {
        assert_eq!(found, evse());
        self.is_on = is_on;
        self.meter.set_power(if is_on { self.power_w } else { 0 }, self.now);
        if !is_on && let Some(millis) = self.answers_after {
            self.last_reading_at.get_or_insert(Timestamp::from_millis(self.now.as_millis() + millis));
        }
    }

    fn open(&mut self, agreement: Agreement) {
        if !self.has_ledger || self.contract.is_some() {
            return;
        }
        match Contract::open(&agreement.verify().unwrap(), self.now) {
            Ok(contract) => self.contract = Some(contract),
            Err(refused) => return self.refused.push(refused),
        }
        let news = OnLedger::Opened { at: self.now };
        self.buyer(BuyerInput::OnLedger(news));
        self.seller(SellerInput::OnLedger(news));
    }

    fn settle(&mut self, evidence: Evidence) {
        let (now, terms) = (self.now, terms());
        let Some(contract) = self.contract.as_mut().filter(|_| self.has_ledger) else { return };
        let evidence = Evidence::decode(&evidence.encode()).unwrap();
        if contract.state() == State::Agreed
            && let Err(refused) = contract.start(&evidence.start.verify(&terms).unwrap(), now)
        {
            return self.refused.push(refused);
        }
        let checkpoint = evidence.checkpoint.map(|signed| signed.verify(&terms).unwrap());
        let record = evidence.record.verify(&terms).unwrap();
        match contract.settle(terms.seller, &record, checkpoint.as_ref(), now) {
            Ok(Settlement::Paid(bill)) => self.pay(bill),
            Ok(claim) => self.tell(OnLedger::Settled(claim)),
            Err(refused) => self.refused.push(refused),
        }
    }

    fn pay(&mut self, bill: Bill) {
        self.move_out(bill.price_total, bill.refund);
        self.tell(OnLedger::Settled(Settlement::Paid(bill)));
    }

    /// The buyer disputes the claim before the ledger.
    pub fn dispute(&mut self) {
        self.contract.as_mut().unwrap().dispute(terms().buyer, self.now).unwrap();
        self.is_disputed = true;
    }

    /// The dispute is decided on `energy`.
    pub fn resolve(&mut self, energy: Energy) {
        let bill = self.contract.as_mut().unwrap().resolve(energy, self.now).unwrap();
        self.pay(bill);
    }

    fn expire(&mut self) {
        let now = self.now;
        let Some(contract) = self.contract.as_mut().filter(|_| self.has_ledger) else { return };
        match contract.expire(now) {
            Ok(back) => {
                self.move_out(Money::ZERO, back);
                self.tell(OnLedger::Expired);
            }
            Err(refused) => self.refused.push(refused),
        }
    }

    fn release(&mut self, release: Signed<Release>) {
        let now = self.now;
        let Some(contract) = self.contract.as_mut().filter(|_| self.has_ledger) else { return };
        match contract.release(&release.verify(&terms()).unwrap(), now) {
            Ok(back) => {
                self.move_out(Money::ZERO, back);
                self.tell(OnLedger::Released);
            }
            Err(refused) => self.refused.push(refused),
        }
    }

    fn move_out(&mut self, paid: Money, back: Money) {
        assert_eq!((self.paid, self.back), (Money::ZERO, Money::ZERO), "the escrow leaves once");
        (self.paid, self.back) = (paid, back);
    }

    fn tell(&mut self, news: OnLedger) {
        self.buyer(BuyerInput::OnLedger(news));
        self.seller(SellerInput::OnLedger(news));
    }
}

fn set(timers: &mut Vec<(Timer, Timestamp)>, timer: Timer, at: Timestamp) {
    timers.retain(|(set, _)| *set != timer);
    timers.push((timer, at));
}
