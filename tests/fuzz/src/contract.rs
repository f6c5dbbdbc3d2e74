//! Targets of the contract: what the phone and the station send each other, and what they keep.

use crate::{
    MIB, Target, Verdict, decode,
    world::{EXPORTER, ONE_TIME, SELLERS, STREET, evse, meter},
};
use ohmesh_contract::{
    Action, Agreement, Bill, BuyerInput, BuyerSession, BuyerSnapshot, Checkpoint, Contract, Evidence,
    Message, MeterRecord, Offer, OnLedger, Reading, Receipt, Release, Sale, SellerInput, SellerKeys,
    SellerSession, SellerSnapshot, Signed, Start, Statement, Stop, Terms,
};
use ohmesh_ledger::{Object, State};
use ohmesh_tests::key;
use ohmesh_units::{Canonical, Energy, Timestamp};
use std::{sync::LazyLock, time::Duration};

pub const CONTRACT_MESSAGE: Target = Target {
    name: "contract_message",
    run: contract_message,
    seeds: || {
        let named = messages().into_iter().map(|message| (message.name().to_owned(), message.encode()));
        named.collect()
    },
    words: &[],
    memory_max: 4 * MIB,
    cost: 30,
};

pub const CONTRACT_RECORD: Target = Target {
    name: "contract_record",
    run: contract_record,
    seeds: contract_record_seeds,
    words: &[],
    memory_max: 4 * MIB,
    cost: 2,
};

/// Both ends of one sale after each message, and the messages.
struct Talk {
    buyers: Vec<BuyerSession>,
    sellers: Vec<SellerSession>,
    messages: Vec<Message>,
    now: Timestamp,
}

static TALK: LazyLock<Talk> = LazyLock::new(Talk::new);

fn terms() -> &'static Terms {
    &STREET.sale.terms
}

fn seller_keys() -> SellerKeys {
    SellerKeys { seller: key(SELLERS[1]), meter: meter(SELLERS[1]) }
}

fn sale() -> Sale {
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

impl Talk {
    /// From the draft to the last record, over a perfect connection.
    fn new() -> Self {
        let now = terms().not_before;
        let drafted = BuyerSession::draft(key(ONE_TIME), terms().clone(), EXPORTER, now);
        let (buyer, actions) = drafted.expect("fair terms");
        let mut talk = Self { buyers: vec![buyer], sellers: Vec::new(), messages: Vec::new(), now };
        talk.carry(actions, true);
        talk.seller(SellerInput::OnLedger(OnLedger::Opened { at: now }));
        talk.buyer(BuyerInput::OnLedger(OnLedger::Opened { at: now }));
        talk.seller(SellerInput::Plugged { evse: evse(SELLERS[1]), reading: talk.reading(0) });
        talk.buyer(BuyerInput::Confirmed(evse(SELLERS[1])));
        for seconds in [30, 60, 90] {
            talk.now = now.checked_add(Duration::from_secs(seconds)).expect("far from the end of time");
            let reading = talk.reading(seconds * 6);
            talk.seller(SellerInput::Reading(reading));
        }
        talk.buyer(BuyerInput::Stop);
        let reading = talk.reading(90 * 6);
        talk.seller(SellerInput::LastReading(reading));
        talk
    }

    fn reading(&self, wh: u64) -> Reading {
        Reading { register: Energy::from_wh(1_000_000 + wh), at: self.now }
    }

    fn buyer(&mut self, input: BuyerInput) {
        let mut buyer = self.buyers.last().expect("it has drafted").clone();
        let actions = buyer.handle(input, self.now).expect("the talk is honest");
        self.buyers.push(buyer);
        self.carry(actions, true);
    }

    fn seller(&mut self, input: SellerInput) {
        let mut seller = self.sellers.last().expect("it has offered").clone();
        let actions = seller.handle(input, self.now).expect("the talk is honest");
        self.sellers.push(seller);
        self.carry(actions, false);
    }

    /// Brings what one end sends to the other.
    fn carry(&mut self, actions: Vec<Action>, from_buyer: bool) {
        for action in actions {
            let Action::Send(message) = action else { continue };
            self.messages.push(message.clone());
            match (from_buyer, message, self.sellers.is_empty()) {
                (true, Message::Draft(draft), true) => {
                    let offered = SellerSession::offer(seller_keys(), &sale(), *draft, EXPORTER, self.now);
                    let (seller, actions) = offered.expect("the draft is as sold");
                    self.sellers.push(seller);
                    self.carry(actions, false);
                }
                (true, message, _) => self.seller(SellerInput::Message(message)),
                (false, message, _) => self.buyer(BuyerInput::Message(message)),
            }
        }
    }
}

/// One message of each kind.
pub fn messages() -> Vec<Message> {
    let mut messages = TALK.messages.clone();
    let waiver = Release { contract: terms().id(), at: TALK.now };
    messages.push(Message::Release(Signed::new(waiver, &key(SELLERS[1]))));
    messages.sort_by_key(Message::name);
    messages.dedup_by_key(|message| message.name());
    messages
}

/// A message given to either end at every step of the sale; again, signed anew.
fn contract_message(bytes: &[u8]) -> Verdict {
    let message: Message = match decode(bytes) {
        Ok(message) => message,
        Err(words) => return Verdict::Refused(words),
    };
    for message in [message.clone(), sign_anew(message)] {
        for buyer in &TALK.buyers {
            let _ = buyer.clone().handle(BuyerInput::Message(message.clone()), TALK.now);
        }
        for seller in &TALK.sellers {
            let _ = seller.clone().handle(SellerInput::Message(message.clone()), TALK.now);
        }
        if let Message::Draft(draft) = message {
            let _ = SellerSession::offer(seller_keys(), &sale(), *draft, EXPORTER, TALK.now);
        }
    }
    Verdict::Taken
}

/// The same words with the signatures of those who ought to sign them.
fn sign_anew(message: Message) -> Message {
    let (buyer, seller) = (key(ONE_TIME), key(SELLERS[1]));
    match message {
        Message::Offer(offer) => Message::Offer(Box::new(offer_anew(&offer))),
        Message::Agreement(agreement) => match offer_anew(&agreement.offer).verify() {
            Ok(offer) => Message::Agreement(Box::new(offer.agree(&buyer))),
            Err(_) => Message::Agreement(agreement),
        },
        Message::Start(start) => Message::Start(Signed::new(start.body, &buyer)),
        Message::Record(record) => Message::Record(Signed::new(record.body, &meter(SELLERS[1]))),
        Message::Checkpoint(checkpoint) => {
            let record = Signed::new(checkpoint.record.body.clone(), &meter(SELLERS[1]));
            match record.verify(terms()) {
                Ok(record) => Message::Checkpoint(Checkpoint::sign(&record, &buyer)),
                Err(_) => Message::Checkpoint(checkpoint),
            }
        }
        Message::Stop(stop) => Message::Stop(Signed::new(stop.body, &buyer)),
        Message::Release(release) => Message::Release(Signed::new(release.body, &seller)),
        other => other,
    }
}

fn offer_anew(offer: &Offer) -> Offer {
    Offer::sign(offer.terms.clone(), offer.exporter, offer.valid_until, &key(SELLERS[1]))
}

/// What the ends and the ledger keep; the first byte says which it is. A session goes on from what it kept.
fn contract_record(bytes: &[u8]) -> Verdict {
    let Some((kind, bytes)) = bytes.split_first() else { return Verdict::Refused("no bytes".into()) };
    Verdict::of(match kind {
        b't' => decode::<Terms>(bytes).map(|terms| terms.id()).map(|_| ()),
        b'c' => decode::<Contract>(bytes).map(|contract| contract.deadline()).map(|_| ()),
        b'b' => decode::<BuyerSnapshot>(bytes).map(resume_buyer),
        b's' => decode::<SellerSnapshot>(bytes).map(resume_seller),
        b'e' => decode::<Evidence>(bytes).map(drop),
        b'r' => decode::<Receipt>(bytes).map(|receipt| receipt.is_overbilled()).map(|_| ()),
        b'$' => decode::<Bill>(bytes).map(drop),
        b'a' => decode::<Agreement>(bytes).map(|agreement| drop(agreement.verify())),
        b'S' => statement::<Start>(bytes),
        b'M' => statement::<MeterRecord>(bytes),
        b'X' => statement::<Stop>(bytes),
        b'W' => statement::<Release>(bytes),
        other => Err(format!("there is no record of kind {other}")),
    })
}

fn statement<T: Statement>(bytes: &[u8]) -> Result<(), String> {
    decode::<Signed<T>>(bytes).map(|signed| signed.claim(key(ONE_TIME).public()).holds()).map(|_| ())
}

fn resume_buyer(kept: BuyerSnapshot) {
    let (mut buyer, _) = BuyerSession::resume(key(ONE_TIME), kept);
    let _ = buyer.handle(BuyerInput::Linked(EXPORTER), TALK.now);
    let _ = buyer.handle(BuyerInput::Stop, TALK.now);
}

fn resume_seller(kept: SellerSnapshot) {
    let (mut seller, _) = SellerSession::resume(seller_keys(), kept);
    let _ = seller.handle(SellerInput::Linked(EXPORTER), TALK.now);
    let _ = seller.handle(SellerInput::Reading(TALK.reading(600)), TALK.now);
    let _ = seller.handle(SellerInput::Stop, TALK.now);
}

fn contract_record_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(&str, u8, Vec<u8>)> = vec![("terms", b't', terms().encode())];
    for message in messages() {
        match message {
            Message::Agreement(agreement) => seeds.push(("agreement", b'a', agreement.encode())),
            Message::Start(start) => seeds.push(("start", b'S', start.encode())),
            Message::Record(record) => seeds.push(("record", b'M', record.encode())),
            Message::Stop(stop) => seeds.push(("stop", b'X', stop.encode())),
            Message::Release(release) => seeds.push(("waiver", b'W', release.encode())),
            _ => {}
        }
    }
    for object in STREET.states().flat_map(State::objects) {
        if let Object::Contract(contract) = object {
            seeds.push(("contract", b'c', contract.encode()));
        }
    }
    let (buyers, sellers) = (&TALK.buyers, &TALK.sellers);
    let (buyer, seller) = (buyers.last().expect("a buyer"), sellers.last().expect("a seller"));
    seeds.push(("buyer", b'b', buyer.snapshot().encode()));
    seeds.push(("seller", b's', seller.snapshot().encode()));
    let bill = Bill::of(terms(), Energy::from_wh(12_345)).expect("below the most");
    seeds.push(("bill", b'$', bill.encode()));
    seeds.sort();
    seeds.dedup_by_key(|(name, ..)| *name);
    seeds.into_iter().map(|(name, kind, bytes)| (name.to_owned(), [&[kind][..], &bytes].concat())).collect()
}
