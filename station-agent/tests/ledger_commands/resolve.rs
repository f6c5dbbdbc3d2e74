//! A dispute from the claim to its decision: a sale on an agent that runs, a claim that the buyer disputes, and two of three
//! regulators who decide on it by files.

use crate::{
    govern::Zone,
    join::{Running, public, town_with, until},
    json, refused,
};
use ohmesh_auction::{
    award::{Accept, Award},
    bid::Bid,
    intent::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, Terms as Wanted},
    key::EpochKey,
    outcome::Outcome,
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_contract::{
    Contract, GridTariff, MeterRecord, Offer, Signed, Start, State as ContractState, Terms,
};
use ohmesh_geo::{area_at, frame};
use ohmesh_ledger::{Asset, Auction, Balance, Body, End, Journal, Object, epoch_key_id};
use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_units::{
    AccountId, Area, ContractId, Energy, EvseId, Hash, Money, Position, Power, Price, PriceTick, SigningKey,
    StationId, TickSize,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::{Duration, Instant};

/// Wh that the seller claims, and that the regulators find.
const CLAIMED: u64 = 900;
const FOUND: u64 = 250;
const FUNDS: i64 = 50_000_000;
/// Micro-units a kWh, as the zone has it.
const TARIFF: i64 = 80_000;
/// So that the claim is possible after a second.
const RATED: Power = Power::from_w(4_000_000);
const CONNECTORS: u16 = 2;

fn here() -> Position {
    Position::from_e7(525_200_000, 134_050_000).unwrap()
}

fn area() -> Area {
    area_at(here(), 6).unwrap()
}

#[test]
fn a_disputed_claim_is_paid_as_two_of_three_regulators_decide_by_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let keys = ["second", "third", "buyer", "seller"].map(|name| public(path, name));
    let cell = area().to_string();
    let more = ["--regulator", &keys[0], "--regulator", &keys[1], "--regulators-needed", "2"];
    let address = town_with(path, &[&more[..], &["--area", &cell]].concat())[0];
    let mut agent = Running::start(path, 0);
    until("no block", path, &["ledger", "status"], |found| found["height"].as_u64() >= Some(1));
    let zone = Zone::new(path, address);
    let sale = Sale::claimed(&zone);

    undisputed(&zone, sale.contract());
    zone.apply(vec![("buyer", Body::ContractDispute { contract: sale.contract() })]);
    assert_eq!(sale.state(), ContractState::Disputed);
    decided(&zone, &sale);

    assert!(agent.0.try_wait().unwrap().is_none(), "the agent was never stopped");
    let logs = std::fs::read_to_string(path.join("0.log")).unwrap();
    assert!(!logs.contains("panicked"), "{logs}");
    assert_eq!(json(&["ledger", "verify", "--data", "data0"], path)["ok"], true);
}

/// Before the buyer disputes, the regulators have nothing to decide.
fn undisputed(zone: &Zone<'_>, contract: ContractId) {
    let (id, wh) = (contract.to_string(), FOUND.to_string());
    zone.propose("early.toml", "0.key", &["resolve", &id, &wh]);
    zone.sign("early.toml", "regulator.key");
    zone.sign("early.toml", "second.key");
    let early = zone.not_taken("early.toml");
    assert!(early.contains(&id), "{early}");
}

/// One regulator is not enough, nobody decides on more than is claimed, and what two decide on is paid at once.
fn decided(zone: &Zone<'_>, sale: &Sale<'_>) {
    let id = sale.contract().to_string();
    let above = (CLAIMED + 1).to_string();
    zone.propose("above.toml", "0.key", &["resolve", &id, &above]);
    zone.sign("above.toml", "regulator.key");
    zone.sign("above.toml", "second.key");
    zone.not_taken("above.toml");

    let wh = FOUND.to_string();
    let made = zone.propose("resolve.toml", "0.key", &["resolve", &id, &wh]);
    assert!(made.contains(&format!("ends the dispute over contract {id}: {FOUND} Wh are paid")), "{made}");
    assert!(made.contains("both parties: 0 of 2") && made.contains("regulators: 0 of 2"), "{made}");
    let one = zone.sign("resolve.toml", "regulator.key");
    assert!(one.contains("regulators: 1 of 2") && one.contains("incomplete"), "{one}");
    zone.not_taken("resolve.toml");
    let nobody = refused(&["zone", "sign", "resolve.toml", "--key", "treasurer.key"], zone.path, 1);
    assert!(nobody.contains("counts for nothing"), "{nobody}");
    let half = zone.sign("resolve.toml", "seller.key");
    assert!(half.contains("both parties: 1 of 2") && half.contains("incomplete"), "{half}");
    let one_of_each = zone.not_taken("resolve.toml");
    assert!(one_of_each.contains(&id), "{one_of_each}");
    assert_eq!(sale.state(), ContractState::Disputed, "nothing has changed");
    assert_eq!(sale.money("buyer").held, sale.terms.escrow.as_micro());
    assert!(zone.sign("resolve.toml", "third.key").contains("complete "));
    zone.submit("resolve.toml");
    zone.submit("resolve.toml"); // The same transaction: it pays once.
    sale.assert_paid();

    let late = zone.refuse("0.key", &["resolve", &id, &wh], 1);
    assert!(late.contains("has ended"), "{late}");
}

/// A sale on the ledger of the agent.
struct Sale<'z> {
    zone: &'z Zone<'z>,
    terms: Terms,
}

impl<'z> Sale<'z> {
    /// A sale whose seller claims [`CLAIMED`] without the buyer's word.
    fn claimed(zone: &'z Zone<'z>) -> Self {
        furnish(zone);
        let (auction, price) = auctioned(zone);
        let terms = terms(zone, auction, price);
        let sale = Self { zone, terms: terms.clone() };
        let now = SystemClock.now();
        let soon = now.checked_add(Duration::from_secs(600)).unwrap();
        let offer = Offer::sign(terms, EXPORTER, soon, &zone.key("seller")).verify().unwrap();
        zone.apply(vec![("buyer", Body::ContractOpen(Box::new(offer.agree(&one_time()))))]);
        let start = Start { contract: sale.contract(), evse: evse(zone), exporter: EXPORTER, at: now };
        zone.apply(vec![("seller", Body::ContractStart(Box::new(Signed::new(start, &one_time()))))]);
        let started = sale.running().started().unwrap();
        // A claim is bounded by what can have flowed by then.
        let is_later = || SystemClock.now().since(started) > Some(Duration::from_millis(1_500));
        wait("the clock stands", || is_later().then_some(()));
        let record = MeterRecord {
            contract: sale.contract(),
            evse: evse(zone),
            sequence: 1,
            register_start: Energy::from_wh(1_000),
            energy: Energy::from_wh(CLAIMED),
            at: SystemClock.now(),
            is_final: true,
        };
        let record = Box::new(Signed::new(record, &meter()));
        zone.apply(vec![("seller", Body::ContractSettle { record, start: None, checkpoint: None })]);
        assert_eq!(sale.state(), ContractState::Submitted);
        assert_eq!(sale.running().claim().unwrap().energy, Energy::from_wh(CLAIMED));
        sale
    }

    fn contract(&self) -> ContractId {
        self.terms.id()
    }

    fn running(&self) -> Contract {
        match self.zone.object(self.contract().into()) {
            Some(Object::Contract(contract)) => *contract,
            other => panic!("{other:?}"),
        }
    }

    fn state(&self) -> ContractState {
        self.running().state()
    }

    fn money(&self, name: &str) -> ohmesh_ledger::Holding {
        balance(self.zone, name, Journal::Energy).map_or_else(Default::default, |b| *b.of(Asset::Currency))
    }

    /// What the regulators have found is paid, the grid's fee of it to the distributor, and the rest of the escrow is the
    /// buyer's again.
    fn assert_paid(&self) {
        let ended = self.zone.object(self.contract().into());
        assert!(matches!(&ended, Some(Object::Finished(end)) if end.end == End::Posted), "{ended:?}");
        let found = Energy::from_wh(FOUND);
        let of = |price: Price| price.times(found).map_or(0, Money::as_micro);
        let (price, fee) = (of(self.terms.price), of(Price::from_micro_per_kwh(TARIFF)));
        assert!(price > fee && fee > 0, "{price} {fee}");
        let (buyer, seller) = (self.money("buyer"), self.money("seller"));
        assert_eq!((buyer.posted, buyer.held), (FUNDS - price, 0));
        assert_eq!((seller.posted, seller.held), (price - fee, 0));
        let energy = |name| balance(self.zone, name, Journal::Energy).unwrap();
        assert_eq!((energy("buyer").bought, energy("seller").sold), (found, found));
        let grid = balance(self.zone, "distributor", Journal::Grid).unwrap();
        assert_eq!(grid.of(Asset::Currency).posted, fee);
    }
}

fn balance(zone: &Zone<'_>, name: &str, journal: Journal) -> Option<Balance> {
    zone.account(name)?.balances[journal as usize]
}

/// Accounts, the buyer's money, a station with an outlet.
fn furnish(zone: &Zone<'_>) {
    let owner = |name: &str| zone.key(name).public();
    let opened = |name| (name, Body::OpenAccount { owner: owner(name) });
    let (to, reference) = (AccountId::of(&owner("buyer")), "first".to_owned());
    let money = Body::Issue { asset: Asset::Currency, to, amount: FUNDS, reference };
    let award_key = Hash(seal().public().to_bytes());
    let (number, name, position) = (1, "S".to_owned(), here());
    let station = Body::RegisterStation { number, name, position, award_key };
    zone.apply(vec![opened("buyer"), opened("seller"), ("treasurer", money), ("seller", station)]);
    let (id, seller) = (zone.file().zone.id(), AccountId::of(&owner("seller")));
    let outlet = Body::register_evse(&id, &seller, (station_of(zone), 1), (CONNECTORS, RATED), &meter());
    zone.apply(vec![("seller", outlet)]);
}

/// An auction that the one station has won and accepted; its price.
fn auctioned(zone: &Zone<'_>) -> (Auction, Price) {
    let random = &mut ChaCha20Rng::seed_from_u64(1);
    let key = wait("no key of auctions", || match zone.object(epoch_key_id(0)) {
        Some(Object::EpochKey(key)) => Some(key),
        _ => None,
    });
    let (mut buyer, intent) = ask(zone, &key, random);
    let id = intent.id();
    zone.apply(vec![("buyer", Body::AuctionOpen(intent))]);
    let bid = Bid::create(buyer.intent(), &key, station_of(zone), PriceTick(40_000), random).unwrap();
    zone.apply(vec![("seller", Body::AuctionBid { bid: Box::new(bid), evse: evse(zone) })]);
    let running = || match zone.object(id.into()) {
        Some(Object::Auction(auction)) => *auction,
        other => panic!("{other:?}"),
    };
    let opened = wait("the agent opens no bids", || Some(running()).filter(|found| found.opening.is_some()));
    let outcome = decide(&mut buyer, &opened, random);
    let accept = Accept::of(&outcome, station_of(zone));
    zone.apply(vec![("buyer", Body::AuctionOutcome(outcome)), ("seller", Body::AuctionAccept(accept))]);
    let auction = running();
    let price = auction.award.as_ref().unwrap().price;
    (auction, price)
}

fn ask(
    zone: &Zone<'_>,
    key: &EpochKey,
    random: &mut ChaCha20Rng,
) -> (Buyer, Box<ohmesh_auction::intent::Intent>) {
    let wanted = Wanted {
        zone: zone.file().zone.id(),
        key_epoch: 0,
        area: area(),
        energy: EnergyKwh::try_from(10).unwrap(),
        deadline: SystemClock.now().checked_add(BIDDING).unwrap(),
        blocks_min: 1,
        kappa: Kappa::try_from(0).unwrap(),
        renewable_min: Percent::try_from(0).unwrap(),
        connectors: Connectors::try_from(CONNECTORS).unwrap(),
        power_min: Power::from_w(11_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
        pricing: Pricing::FirstPrice,
        choice: Choice::BestProvable,
        buyer: one_time().public(),
    };
    let place = frame(area()).unwrap().locate(here()).unwrap();
    let (buyer, action) = Buyer::ask(wanted, place, Reserve(u32::MAX), key.clone(), random).unwrap();
    match action {
        BuyerAction::PublishIntent(intent) => (buyer, intent),
        other => panic!("{other:?}"),
    }
}

fn decide(buyer: &mut Buyer, auction: &Auction, random: &mut ChaCha20Rng) -> Box<Outcome> {
    let candidate =
        |bid: &ohmesh_auction::bid::LedgeredBid| Candidate { bid: bid.clone(), seal: seal().public() };
    buyer.on_closed(auction.bids.iter().map(candidate).collect(), random).unwrap();
    buyer.on_opening(auction.opening.clone().unwrap(), random).unwrap();
    let award = Award::new(b"meet", random).unwrap();
    let mut decided = buyer.on_decide(None, award, random).unwrap();
    match decided.remove(0) {
        BuyerAction::PublishOutcome(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

fn terms(zone: &Zone<'_>, auction: Auction, price: Price) -> Terms {
    let energy_max = Energy::from_wh(10_000);
    let now = SystemClock.now();
    Terms {
        zone: zone.file().zone.id(),
        auction: auction.intent.id(),
        buyer: AccountId::of(&zone.key("buyer").public()),
        buyer_key: one_time().public(),
        seller: AccountId::of(&zone.key("seller").public()),
        seller_key: zone.key("seller").public(),
        evse: evse(zone),
        meter_key: meter().public(),
        price,
        energy_max,
        power_rated: RATED,
        grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(TARIFF) },
        escrow: price.times(energy_max).unwrap(),
        not_before: now,
        expiry: now.checked_add(Duration::from_secs(4 * 3_600)).unwrap(),
        number: 1,
    }
}

fn station_of(zone: &Zone<'_>) -> StationId {
    StationId::of(&AccountId::of(&zone.key("seller").public()), 1)
}

fn evse(zone: &Zone<'_>) -> EvseId {
    EvseId::of(&station_of(zone), 1)
}

fn one_time() -> SigningKey {
    SigningKey::from_seed([21; 32])
}

fn meter() -> SigningKey {
    SigningKey::from_seed([22; 32])
}

fn seal() -> SealSecret {
    SealSecret::from_seed(&[23; 32])
}

/// Asks until there is an answer.
fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const EXPORTER: [u8; 32] = [5; 32];
/// Long enough for one bid on a machine that does ten other things.
const BIDDING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(90);
