//! A street of the marketplace, made by the real code from fixed seeds: what the targets decode and execute against.
//!
//! One zone has a single validator, so that its auction key is one transaction; in it stand auctions and contracts at
//! every step. Another has four, who make their key together.

use ohmesh_auction::{
    award::{Accept, Award},
    bid::{Bid, LedgeredBid},
    intent::{
        Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, Terms, VerifiedIntent,
    },
    key::{
        EpochKey, KeyShares, ValidatorIndex,
        generation::{Action, Dealer},
        solo,
    },
    outcome::Outcome,
    release::{Opening, Release},
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_contract::{
    Checkpoint, GridTariff, MeterRecord, Offer, Release as Waiver, Signed, Start, Terms as ContractTerms,
};
use ohmesh_ledger::{
    Asset, Auction, Body, Certificate, Evidence, HandOver, Header, Journal, KeyGroup, KeySignature, Leg,
    Object, Proposed, Rules, SignedTransaction, State, Transaction, Verified, Vote, VoteKind, Voter, Voters,
    Zone, ZoneFile, epoch_key_id,
};
use ohmesh_mesh::sim::Faults;
use ohmesh_tests::{Committee, account, key, simulate, zone::lay_vote_key};
use ohmesh_units::{
    AuctionId, Canonical, Energy, EvseId, Hash, InCell, Money, Position, Power, Price, PriceTick, PublicKey,
    Signature, SigningKey, StationId, TickSize, Timestamp, ZoneId,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use station_agent::{disk::Memory, vote_keys::VoteKeys};
use std::{sync::LazyLock, time::Duration};

/// The buyer's account.
pub const BUYER: u8 = 10;
/// The key that a buyer uses in one auction and its contract.
pub const ONE_TIME: u8 = 11;
/// Sellers, each with one station and one outlet.
pub const SELLERS: [u8; 3] = [20, 21, 22];
/// The one regulator of the zone of one validator.
const REGULATOR: u8 = 40;
/// Exporter of the connection between the buyer and a seller.
pub const EXPORTER: [u8; 32] = [5; 32];
const HOUR: Duration = Duration::from_secs(3600);

/// The street, made once a process.
pub static STREET: LazyLock<Street> = LazyLock::new(Street::new);

/// The zone file of `validators` agents with keys from 1.
pub fn zone_file(validators: u8) -> ZoneFile {
    simulate(async move { Committee::new(1, validators, Faults::default()).file })
}

/// The key with which seller `n`'s meter signs.
pub fn meter(n: u8) -> SigningKey {
    key(n + 100)
}

/// Every key that signs anything here: a mutated transaction is signed anew with those it names.
pub fn key_of(public: &PublicKey) -> Option<SigningKey> {
    static KEYS: LazyLock<Vec<(PublicKey, SigningKey)>> = LazyLock::new(|| {
        let all = (0..=u8::MAX).map(key).chain((1..=4).map(vote_key));
        all.map(|key| (key.public(), key)).collect()
    });
    KEYS.iter().find(|(known, _)| known == public).map(|(_, secret)| secret.clone())
}

/// The key with which validator `n` votes in the first epoch.
fn vote_key(n: u8) -> SigningKey {
    let mut disk = Memory::default();
    lay_vote_key(n, &mut disk);
    let keys = VoteKeys::open(&disk).expect("memory does not fail");
    keys.made_for(0).expect("it was just laid there")
}

/// Signs a transaction with the keys it claims to be signed with, as far as they are ours.
pub fn sign_anew(signed: &SignedTransaction) -> SignedTransaction {
    let message = signed.transaction.encode();
    let again = |one: &KeySignature| match key_of(&one.key) {
        Some(key) => KeySignature { key: one.key, signature: key.sign(Transaction::DOMAIN, &message) },
        None => *one,
    };
    SignedTransaction {
        transaction: signed.transaction.clone(),
        signatures: signed.signatures.iter().map(again).collect(),
    }
}

/// The certificate of a header by all of `voters`.
pub fn certify(header: &Header, voters: &Voters) -> Certificate {
    let sign = |(validator, voter): (u16, &Voter)| {
        let (kind, height, block) = (VoteKind::Precommit, header.height, Some(header.id()));
        let vote = Vote { kind, height, round: 0, block, validator };
        (validator, vote.sign(&header.zone, header.epoch, &key_of(&voter.key).expect("a key of ours")))
    };
    Certificate {
        height: header.height,
        round: 0,
        epoch: header.epoch,
        block: header.id(),
        signatures: (0..).zip(voters.all()).map(sign).collect(),
    }
}

/// A ledger and what it was built from.
#[derive(Clone)]
pub struct Chain {
    /// The state after the newest block.
    pub state: State,
    /// The blocks so far, encoded.
    pub blocks: Vec<Vec<u8>>,
    /// The newest header.
    pub header: Option<Header>,
    now: Timestamp,
    numbers: u128,
}

impl Chain {
    /// Before the first block of a zone.
    pub fn of(file: &ZoneFile) -> Self {
        let state = State::genesis(file.zone.clone());
        Self { now: state.head().time, state, blocks: Vec::new(), header: None, numbers: 0 }
    }

    /// A transaction of `sender`, signed by it and by `also`.
    pub fn sign(&mut self, sender: u8, body: Body, also: &[SigningKey]) -> SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: self.after(HOUR),
            body,
        };
        let keys: Vec<SigningKey> = std::iter::once(key(sender)).chain(also.iter().cloned()).collect();
        transaction.sign(&keys.iter().collect::<Vec<_>>())
    }

    /// A moment after the newest block.
    pub fn after(&self, duration: Duration) -> Timestamp {
        self.now.checked_add(duration).expect("durations here are hours")
    }

    /// One block, later by `later`; every transaction applies.
    pub fn block(&mut self, later: Duration, transactions: Vec<SignedTransaction>) {
        self.now = self.after(later);
        let verified = Verified::all(self.state.zone_id(), transactions).expect("signed by the real code");
        let Proposed { block, applied, refused, .. } = self.state.propose(self.now, 0, &verified);
        assert!(refused.is_empty(), "{refused:?}");
        self.state.apply(applied);
        self.blocks.push(block.encode());
        self.header = Some(block.header);
    }

    /// A block with one transaction.
    pub fn apply(&mut self, sender: u8, body: Body, also: &[SigningKey]) {
        let signed = self.sign(sender, body, also);
        self.block(Duration::from_secs(1), vec![signed]);
    }
}

/// Who has an account and an outlet.
fn settle_in(chain: &mut Chain) {
    chain.apply(BUYER, Body::OpenAccount { owner: key(BUYER).public() }, &[]);
    let (asset, to, reference) = (Asset::Currency, account(BUYER), "bank".to_owned());
    let issue = Body::Issue { asset, to, amount: 500_000_000, reference };
    chain.apply(Committee::TREASURER, issue, &[]);
    let (to, reference) = (account(1), "bank".to_owned());
    chain.apply(Committee::TREASURER, Body::Issue { asset, to, amount: 1_000_000, reference }, &[]);
    for (at, n) in (0..).zip(SELLERS) {
        chain.apply(n, Body::OpenAccount { owner: key(n).public() }, &[]);
        chain.apply(n, register_station(n, at), &[]);
        let zone = *chain.state.zone_id();
        chain.apply(n, register_outlet(&zone, n, 1), &[]);
    }
}

fn register_station(n: u8, at: i32) -> Body {
    let position = Position::from_e7(525_100_000 + at * 100_000, 134_000_000).expect("it is in Berlin");
    let (number, name, award_key) = (1, format!("Station {n}"), Hash(seal(n).public().to_bytes()));
    Body::RegisterStation { number, name, position, award_key }
}

fn register_outlet(zone: &ZoneId, n: u8, number: u16) -> Body {
    let number_of_key = n + 100 + u8::try_from(number - 1).expect("few outlets") * 10;
    let plugs = (2, Power::from_w(22_000));
    Body::register_evse(zone, &account(n), (station(n), number), plugs, &key(number_of_key))
}

/// The station of seller `n`.
pub fn station(n: u8) -> StationId {
    StationId::of(&account(n), 1)
}

/// The outlet of seller `n`.
pub fn evse(n: u8) -> EvseId {
    EvseId::of(&station(n), 1)
}

fn seal(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// One auction, as far as it has come, with what its roles made.
pub struct Sale {
    /// The buyer's message.
    pub intent: Intent,
    /// As the ledger keeps it.
    pub verified: VerifiedIntent,
    /// The sellers' messages.
    pub bids: Vec<Bid>,
    /// As the ledger keeps them.
    pub ledgered: Vec<LedgeredBid>,
    /// The validator's message.
    pub release: Release,
    /// What it opens.
    pub opening: Opening,
    /// The buyer's decision: seller 21 has won.
    pub outcome: Outcome,
    /// The contract that follows.
    pub terms: ContractTerms,
    /// The meter's register when it starts.
    register: Energy,
}

impl Sale {
    fn start(&self) -> Signed<Start> {
        let Self { terms, .. } = self;
        let start =
            Start { contract: terms.id(), evse: terms.evse, exporter: EXPORTER, at: terms.not_before };
        Signed::new(start, &key(ONE_TIME))
    }

    fn agreement(&self, valid_until: Timestamp) -> ohmesh_contract::Agreement {
        let offer = Offer::sign(self.terms.clone(), EXPORTER, valid_until, &key(SELLERS[1]));
        offer.verify().expect("it was just signed").agree(&key(ONE_TIME))
    }

    fn record(&self, at: Timestamp) -> Signed<MeterRecord> {
        let record = MeterRecord {
            contract: self.terms.id(),
            evse: self.terms.evse,
            sequence: 1,
            register_start: self.register,
            energy: Energy::from_wh(4),
            at,
            is_final: true,
        };
        Signed::new(record, &meter(SELLERS[1]))
    }

    fn settle(&self, at: Timestamp, checkpoint: Option<Checkpoint>) -> Body {
        let (record, checkpoint) = (Box::new(self.record(at)), checkpoint.map(Box::new));
        Body::ContractSettle { record, start: None, checkpoint }
    }

    fn checkpoint(&self, at: Timestamp) -> Checkpoint {
        let record = self.record(at).verify(&self.terms).expect("it was just signed");
        Checkpoint::sign(&record, &key(ONE_TIME))
    }
}

/// Everything that the targets work with.
pub struct Street {
    /// The zone of one validator; auctions at every step.
    pub chain: Chain,
    /// The same before its newest block.
    pub before: State,
    /// The same before its key was made.
    pub keyless: State,
    /// A zone of four validators at each step of making a key.
    pub four: Vec<State>,
    /// The auction key of the zone of one.
    pub key: EpochKey,
    /// An auction from its intent to its outcome.
    pub sale: Sale,
    /// One transaction of every kind, which one of the states takes; by name.
    pub transactions: Vec<(String, SignedTransaction)>,
}

/// How far an auction is brought.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Step {
    Open,
    Closed,
    Released,
    Decided,
    Accepted,
    Contracted,
    Started,
    Claimed,
    Disputed,
}

impl Street {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut file = zone_file(1);
        file.zone.regulators = Some(KeyGroup { threshold: 1, keys: vec![key(REGULATOR).public()] });
        let mut chain = Chain::of(&file);
        settle_in(&mut chain);
        let keyless = chain.state.clone();
        let (key, shares) = solo(*chain.state.zone_id(), 0, ValidatorIndex(0), &mut rng);
        let solo = chain.sign(1, Body::KeySolo(Box::new(key.clone())), &[]);
        chain.block(Duration::from_secs(1), vec![solo.clone()]);
        let mut transactions = vec![("key_solo".to_owned(), solo)];

        let mut booth = Booth { chain, key, shares, rng };
        let steps = [
            Step::Closed,
            Step::Released,
            Step::Decided,
            Step::Accepted,
            Step::Contracted,
            Step::Started,
            Step::Claimed,
            Step::Disputed,
        ];
        let asked: Vec<Asked> = steps.iter().map(|step| booth.ask(*step)).collect();
        booth.chain.block(Duration::from_secs(50), Vec::new());
        let sales: Vec<Sale> = asked.into_iter().map(|asked| booth.bring(asked)).collect();
        let open = booth.ask(Step::Open);
        transactions.extend(booth.money());
        transactions.extend(booth.governance());
        transactions.extend(booth.messages(&open, &sales));
        let before = booth.chain.state.clone();
        let some: Vec<SignedTransaction> = ["transfer", "pend", "bid", "settle"]
            .iter()
            .filter_map(|name| transactions.iter().find(|(other, _)| other == name))
            .map(|(_, signed)| signed.clone())
            .collect();
        let mut with_block = booth.chain.clone();
        with_block.block(Duration::from_secs(1), some);
        let (four, generation) = make_key_of_four();
        transactions.extend(generation);
        let sale = sales.into_iter().next().expect("six sales were brought");
        // The chain goes on from before the block, so that the block's transactions apply to it.
        let Booth { key, .. } = booth;
        Self { chain: with_block, before, keyless, four, key, sale, transactions }
    }

    /// The states that a transaction is tried on.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        [&self.before, &self.keyless].into_iter().chain(&self.four)
    }
}

/// The four validators make their key over the ledger; gives the states on the way and a message of each kind.
fn make_key_of_four() -> (Vec<State>, Vec<(String, SignedTransaction)>) {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let mut chain = Chain::of(&zone_file(4));
    let mut states = vec![chain.state.clone()];
    let mut first = Vec::new();
    let Some((_, Object::Generation(board))) = chain.state.object(&epoch_key_id(0)) else {
        panic!("a zone begins with the making of its key");
    };
    let generation = board.generation.clone();
    let mut dealers = Vec::new();
    let mut deals = Vec::new();
    for n in 0..4 {
        let dealt = Dealer::start(generation.clone(), ValidatorIndex(n), &mut rng);
        let Ok((dealer, Action::Deal(deal))) = dealt else { panic!("a dealer deals first") };
        dealers.push(dealer);
        deals.push(deal);
    }
    let mut publish = |chain: &mut Chain, name: &str, sender: u16, body: Body| {
        let signed = chain.sign(u8::try_from(sender).expect("of four") + 1, body, &[]);
        if sender == 0 {
            first.push((name.to_owned(), signed.clone()));
            states.push(chain.state.clone());
        }
        chain.block(Duration::from_secs(1), vec![signed]);
    };
    let mut handouts = Vec::new();
    for deal in deals {
        publish(&mut chain, "key_deal", deal.validator.0, Body::KeyDeal(Box::new(deal.clone())));
        for dealer in &mut dealers {
            handouts.extend(dealer.on_deal(deal.clone(), &mut rng).expect("the deal is honest"));
        }
    }
    let mut kept = Vec::new();
    for action in handouts {
        let Action::Handout(handout) = action else { panic!("{action:?}") };
        publish(&mut chain, "key_handout", handout.validator.0, Body::KeyHandout(Box::new(handout.clone())));
        for dealer in &mut dealers {
            kept.extend(dealer.on_handout(handout.clone(), &mut rng).expect("the handout is honest"));
        }
    }
    for action in kept {
        let Action::Keep(shares, blinding) = action else { panic!("{action:?}") };
        publish(&mut chain, "key_blinding", shares.validator().0, Body::KeyBlinding(Box::new(blinding)));
    }
    let evidence = Box::new(Evidence::Votes([1, 2].map(|byte| contradicting_vote(&chain.state, byte))));
    first.push(("convict".into(), chain.sign(2, Body::Convict { epoch: 0, evidence }, &[])));
    states.push(chain.state.clone());
    (states, first)
}

/// The first validator's vote for a block that is not there.
fn contradicting_vote(state: &State, byte: u8) -> (Vote, Signature) {
    let (kind, block) = (VoteKind::Prevote, Some(Hash([byte; 32]).into()));
    let vote = Vote { kind, height: state.head().height + 1, round: 0, block, validator: 0 };
    let voter = state.validators().voters().all()[0];
    (vote, vote.sign(state.zone_id(), state.epoch().number, &key_of(&voter.key).expect("a key of ours")))
}

/// A zone and the end of its first epoch, after ten seconds.
pub fn hand_over() -> (HandOver, Zone) {
    let mut file = zone_file(1);
    file.zone.rules.epoch_ms = Rules::EPOCH_MIN_MS;
    let mut chain = Chain::of(&file);
    let vote = Body::VoteKey { epoch: 1, key: key(33).public() };
    chain.apply(1, vote, &[key(33)]);
    loop {
        let before = chain.state.validators().voters().clone();
        chain.block(Duration::from_secs(3), Vec::new());
        let header = chain.header.clone().expect("a block was just made");
        if header.next_voters.is_some() {
            let certificate = certify(&header, &before);
            let next = chain.state.validators().voters().clone();
            return (HandOver { header, certificate, voters: next }, file.zone);
        }
    }
}

/// An auction that has its bids.
struct Asked {
    step: Step,
    buyer: Buyer,
    intent: Intent,
    bids: Vec<Bid>,
}

/// The zone of one validator, and whoever acts in it.
struct Booth {
    chain: Chain,
    key: EpochKey,
    shares: KeyShares,
    rng: ChaCha20Rng,
}

impl Booth {
    fn terms(&self, step: Step) -> Terms {
        Terms {
            zone: *self.chain.state.zone_id(),
            key_epoch: 0,
            area: self.chain.state.zone().areas[0].area,
            energy: EnergyKwh::try_from(30).expect("whole kWh"),
            deadline: self.chain.after(Duration::from_secs(45)),
            blocks_min: 3,
            kappa: Kappa::try_from(2).expect("one of the steps"),
            renewable_min: Percent::default(),
            connectors: Connectors::try_from(2).expect("one plug"),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).expect("a positive cap"),
            pricing: Pricing::FirstPrice,
            choice: Choice::BestProvable,
            buyer: if step == Step::Open { key(12).public() } else { key(ONE_TIME).public() },
        }
    }

    /// Opens an auction; sellers bid unless it is to stay open for them.
    fn ask(&mut self, step: Step) -> Asked {
        let (at, reserve) = (InCell { x: 80, y: 60 }, Reserve(u32::MAX));
        let asked = Buyer::ask(self.terms(step), at, reserve, self.key.clone(), &mut self.rng);
        let Ok((buyer, BuyerAction::PublishIntent(intent))) = asked else { panic!("a buyer asks first") };
        self.chain.apply(BUYER, Body::AuctionOpen(intent.clone()), &[]);
        let sellers = if step == Step::Open { &SELLERS[..1] } else { &SELLERS };
        let verified = self.auction(intent.id()).intent;
        let mut bids = Vec::new();
        for (n, ticks) in sellers.iter().zip([40_000, 30_000, 50_000]) {
            let bid = Bid::create(&verified, &self.key, station(*n), PriceTick(ticks), &mut self.rng);
            let bid = bid.expect("the station may bid");
            self.chain.apply(*n, Body::AuctionBid { bid: Box::new(bid.clone()), evse: evse(*n) }, &[]);
            bids.push(bid);
        }
        Asked { step, buyer, intent: *intent, bids }
    }

    fn auction(&self, id: AuctionId) -> Auction {
        match self.chain.state.object(&id.into()) {
            Some((_, Object::Auction(auction))) => (**auction).clone(),
            other => panic!("no auction: {other:?}"),
        }
    }

    /// Brings an auction, whose deadline is over, to its step.
    fn bring(&mut self, asked: Asked) -> Sale {
        let Asked { step, mut buyer, intent, bids } = asked;
        let id = intent.id();
        let Auction { intent: verified, bids: ledgered, .. } = self.auction(id);
        let release = Release::create(&self.shares, &self.key, &verified, &ledgered, &mut self.rng);
        let release = release.expect("the validator holds every share");
        let kept = release.verify(&self.key, &verified, &ledgered).expect("the release is honest");
        let opening = Opening::combine(&self.key, &verified, &ledgered, &[kept]).expect("alone is enough");
        let seals = SELLERS.map(|n| seal(n).public());
        let candidates = ledgered.iter().zip(seals).map(|(bid, seal)| Candidate { bid: bid.clone(), seal });
        buyer.on_closed(candidates.collect(), &mut self.rng).expect("it asked");
        buyer.on_release(&release, &mut self.rng).expect("the release opens the bids");
        let award = Award::new(b"bay 3", &mut self.rng).expect("a short place");
        let decided = buyer.on_decide(None, award, &mut self.rng).expect("there are offers");
        let [BuyerAction::PublishOutcome(outcome)] = &decided[..] else { panic!("{decided:?}") };
        let price = verified.terms().tick.price(PriceTick(30_000));
        let terms = self.contract_terms(id, price);
        let (outcome, chain) = ((**outcome).clone(), &mut self.chain);
        // The meter counts on, in the order in which the contracts are settled.
        let counted = match step {
            Step::Claimed => 0,
            Step::Disputed => 100,
            _ => 200,
        };
        let register = Energy::from_wh(1_000_000 + counted);
        let sale = Sale { intent, verified, bids, ledgered, release, opening, outcome, terms, register };
        let until = chain.after(Duration::from_secs(600));
        let rest = [
            (1, Step::Released, Body::AuctionRelease(Box::new(sale.release.clone()))),
            (BUYER, Step::Decided, Body::AuctionOutcome(Box::new(sale.outcome.clone()))),
            (SELLERS[1], Step::Accepted, Body::AuctionAccept(Accept::of(&sale.outcome, station(SELLERS[1])))),
            (BUYER, Step::Contracted, Body::ContractOpen(Box::new(sale.agreement(until)))),
            (SELLERS[1], Step::Started, Body::ContractStart(Box::new(sale.start()))),
            (SELLERS[1], Step::Claimed, sale.settle(chain.now, None)),
            (BUYER, Step::Disputed, Body::ContractDispute { contract: sale.terms.id() }),
        ];
        for (sender, reaches, body) in rest {
            if reaches <= step {
                chain.apply(sender, body, &[]);
            }
        }
        sale
    }

    fn contract_terms(&self, auction: AuctionId, price: Price) -> ContractTerms {
        let energy_max = Energy::from_wh(30_000);
        ContractTerms {
            zone: *self.chain.state.zone_id(),
            auction,
            buyer: account(BUYER),
            buyer_key: key(ONE_TIME).public(),
            seller: account(SELLERS[1]),
            seller_key: key(SELLERS[1]).public(),
            evse: evse(SELLERS[1]),
            meter_key: meter(SELLERS[1]).public(),
            price,
            energy_max,
            power_rated: Power::from_w(22_000),
            grid: GridTariff { version: 0, price: self.chain.state.zone().distributor.tariff },
            escrow: price.times(energy_max).expect("a price of a kWh"),
            not_before: self.chain.now,
            expiry: self.chain.after(4 * HOUR),
            number: 1,
        }
    }

    /// A transaction of each kind that has to do with money and the register, each of which applies now.
    fn money(&mut self) -> Vec<(String, SignedTransaction)> {
        let (asset, timeout) = (Asset::Currency, self.chain.after(HOUR));
        let treasurer = [key(Committee::TREASURER)];
        let (buyer, seller) = (account(BUYER), account(SELLERS[0]));
        let pend = Body::Pend { to: seller, asset, amount: 5_000, timeout };
        let (price, energy) = (Price::from_micro_per_kwh(390_000), Energy::from_wh(12_345));
        let pend_sale = Body::PendSale { evse: evse(SELLERS[0]), price, energy, timeout };
        let held = self.chain.sign(BUYER, pend.clone(), &[]);
        let sale = self.chain.sign(BUYER, pend_sale.clone(), &[]);
        let (pending, sold) = (held.transaction.pending_id(), sale.transaction.pending_id());
        self.chain.block(Duration::from_secs(1), vec![held, sale]);
        let legs = vec![
            Leg::Move { journal: Journal::Energy, asset, from: buyer, to: seller, amount: 10 },
            Leg::Cross { asset, account: buyer, from: Journal::Energy, amount: 40 },
            Leg::Move { journal: Journal::Grid, asset, from: buyer, to: seller, amount: 40 },
        ];
        let (bank, payout) = ("bank 2".to_owned(), "payout".to_owned());
        let (issue, burn) = (
            Body::Issue { asset, to: seller, amount: 1_000, reference: bank },
            Body::Burn { asset, amount: 1_000, reference: payout },
        );
        let open = Body::OpenAccount { owner: key(30).public() };
        let post_sale = Body::PostSale { pending: sold, energy, register_start: Energy::from_wh(7_000) };
        let zone = *self.chain.state.zone_id();
        let list: [(&str, u8, Body, &[SigningKey]); 11] = [
            ("open_account", 30, open, &[]),
            ("issue", BUYER, issue, &treasurer),
            ("burn", BUYER, burn, &treasurer),
            ("transfer", BUYER, Body::Transfer { legs }, &[]),
            ("pend", BUYER, pend, &[]),
            ("pend_sale", BUYER, pend_sale, &[]),
            ("post", SELLERS[0], Body::Post { pending, amount: 4_000 }, &[]),
            ("post_sale", SELLERS[0], post_sale, &[meter(SELLERS[0])]),
            ("void", SELLERS[0], Body::Void { pending }, &[]),
            ("register_station", SELLERS[2], register_station(SELLERS[2], 5), &[]),
            ("register_evse", SELLERS[2], register_outlet(&zone, SELLERS[2], 2), &[]),
        ];
        list.into_iter()
            .map(|(name, n, body, also)| (name.to_owned(), self.chain.sign(n, body, also)))
            .collect()
    }

    /// A transaction of each kind by which the zone's people decide something, each of which applies now.
    fn governance(&mut self) -> Vec<(String, SignedTransaction)> {
        self.chain.apply(1, Body::Bond { amount: 10_000 }, &[]);
        let from = self.chain.after(25 * HOUR);
        let price = Price::from_micro_per_kwh(90_000);
        let validators = Box::new(self.chain.state.validators().clone());
        let rules = Rules { fee: Money::from_micro(10), ..Rules::default() };
        let (regulator, next, guest) = ([key(REGULATOR)], [key(33)], [key(31)]);
        let cap = Body::SetPriceCap { cap: Some(Price::from_micro_per_kwh(600_000)), from };
        let audit = Body::SetAuditKey { key: Some(key(34).public()) };
        let circuit = Body::SetCircuit { station: station(SELLERS[0]), circuit: Some(7) };
        let list: [(&str, u8, Body, &[SigningKey]); 10] = [
            ("open_account_for", BUYER, Body::OpenAccountFor { owner: key(31).public() }, &guest),
            ("bond", 1, Body::Bond { amount: 5_000 }, &[]),
            ("unbond", 1, Body::Unbond { amount: 5_000 }, &[]),
            ("vote_key", 1, Body::VoteKey { epoch: 1, key: key(33).public() }, &next),
            ("set_validators", 1, Body::SetValidators { epoch: 0, validators }, &[]),
            ("upgrade", 1, Body::Upgrade { epoch: 0, rules }, &[]),
            ("set_tariff", Committee::DISTRIBUTOR, Body::SetTariff { price, from }, &[]),
            ("set_price_cap", BUYER, cap, &regulator),
            ("set_audit_key", BUYER, audit, &regulator),
            ("set_circuit", Committee::DISTRIBUTOR, circuit, &[]),
        ];
        list.into_iter()
            .map(|(name, n, body, also)| (name.to_owned(), self.chain.sign(n, body, also)))
            .collect()
    }

    /// A transaction of each step of an auction and its contract, each of which applies now.
    fn messages(&mut self, open: &Asked, sales: &[Sale]) -> Vec<(String, SignedTransaction)> {
        let [closed, released, decided, accepted, contracted, started, claimed, disputed] = sales else {
            panic!("a sale for every step");
        };
        let n = SELLERS[1];
        let verified = self.auction(open.intent.id()).intent;
        let bid = Bid::create(&verified, &self.key, station(n), PriceTick(9), &mut self.rng);
        let bid = Box::new(bid.expect("the station may bid"));
        let mut terms = self.terms(Step::Open);
        terms.buyer = key(13).public();
        let (at, reserve) = (InCell { x: 8, y: 6 }, Reserve(1_000_000));
        let intent = Intent::create(terms, at, reserve, &self.key, &mut self.rng).expect("fair terms").0;
        let until = self.chain.after(Duration::from_secs(600));
        let now = self.chain.now;
        let waiver = Waiver { contract: contracted.terms.id(), at: now };
        let waiver = Box::new(Signed::new(waiver, &key(n)));
        let settle = started.settle(now, Some(started.checkpoint(now)));
        let resolve = Body::ContractResolve { contract: disputed.terms.id(), energy: Energy::ZERO };
        let list = [
            ("intent", BUYER, Body::AuctionOpen(Box::new(intent))),
            ("bid", n, Body::AuctionBid { bid, evse: evse(n) }),
            ("release", 1, Body::AuctionRelease(Box::new(closed.release.clone()))),
            ("outcome", BUYER, Body::AuctionOutcome(Box::new(released.outcome.clone()))),
            ("accept", n, Body::AuctionAccept(Accept::of(&decided.outcome, station(n)))),
            ("contract", BUYER, Body::ContractOpen(Box::new(accepted.agreement(until)))),
            ("start", n, Body::ContractStart(Box::new(contracted.start()))),
            ("waive", n, Body::ContractWaive(waiver)),
            ("settle", n, settle),
            ("dispute", BUYER, Body::ContractDispute { contract: claimed.terms.id() }),
            ("resolve", n, resolve),
        ];
        let regulator = [key(REGULATOR)];
        let sign = |(name, n, body): (&str, u8, Body)| {
            let also = if name == "resolve" { &regulator[..] } else { &[] };
            (name.to_owned(), self.chain.sign(n, body, also))
        };
        list.into_iter().map(sign).collect()
    }
}

/// The street's newest header.
pub fn newest() -> &'static Header {
    STREET.chain.header.as_ref().expect("the street has blocks")
}

/// Who certifies the blocks of a state's zone.
pub fn voters(state: &State) -> &Voters {
    state.validators().voters()
}
