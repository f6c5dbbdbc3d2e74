//! A whole auction through the roles, with one random source for each party, and every byte that was public.

#![allow(dead_code, reason = "each test crate uses its part")]

use ohmesh_auction::{
    award::{Accept, Award},
    bid::{Bid, LedgeredBid},
    intent::{
        Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, Terms, VerifiedIntent,
    },
    key::{
        Blinding, EpochKey, KeyShares, Shareholding, ValidatorIndex,
        generation::{Action, Board, Deal, Dealer, Generation, Handout},
    },
    outcome::{Outcome, Verdict},
    release::{Opening, Release, VerifiedRelease},
    role::{Bidder, BidderAction, Block, Buyer, BuyerAction, Candidate, Site, Validator, ValidatorAction},
    seal::SealSecret,
    strategy::{Ask, Strategy},
};
use ohmesh_units::{InCell, Power, Price, PriceTick, SigningKey, StationId, TickSize, Timestamp, ZoneId};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

pub fn rng(party: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([party; 32])
}

/// What was put on the ledger to make the key, and what came out.
pub struct Committee {
    pub deals: Vec<Deal>,
    pub handouts: Vec<Handout>,
    pub blindings: Vec<Blinding>,
    pub key: EpochKey,
    pub shares: Vec<KeyShares>,
}

pub fn committee(stakes: &[u64]) -> Committee {
    let stakes: Vec<_> = (0..).map(ValidatorIndex).zip(stakes.iter().copied()).collect();
    let holding = Shareholding::by_stake(&stakes).unwrap();
    let generation = Generation { zone: ZoneId([9; 32]), epoch: 3, attempt: 0, holding };
    let mut board = Board::new(generation.clone());
    let mut parties: Vec<(Dealer, ChaCha20Rng)> = Vec::new();
    let mut ledger: Vec<Action> = Vec::new();
    for validator in generation.holding.validators() {
        let mut rng = rng(200 + u8::try_from(validator.0).unwrap());
        let (dealer, deal) = Dealer::start(generation.clone(), validator, &mut rng).unwrap();
        parties.push((dealer, rng));
        ledger.push(deal);
    }
    let (mut deals, mut handouts, mut blindings, mut shares) = (vec![], vec![], vec![], vec![]);
    let mut at = 0;
    while at < ledger.len() {
        match &ledger[at] {
            Action::Deal(deal) => {
                board.on_deal(deal.clone()).unwrap();
                deals.push(deal.clone());
                for (dealer, rng) in &mut parties {
                    ledger.extend(dealer.on_deal(deals[at].clone(), rng).unwrap());
                }
            }
            Action::Handout(handout) => {
                board.on_handout(handout.clone()).unwrap();
                handouts.push(handout.clone());
                for (dealer, rng) in &mut parties {
                    ledger.extend(dealer.on_handout(handouts.last().unwrap().clone(), rng).unwrap());
                }
            }
            Action::Keep(kept, blinding) => {
                board.on_blinding(blinding.clone()).unwrap();
                shares.push((**kept).clone());
                blindings.push(blinding.clone());
            }
            Action::Complain(complaint) => panic!("{complaint:?}"),
        }
        at += 1;
    }
    Committee { deals, handouts, blindings, key: board.finish().unwrap(), shares }
}

pub fn terms(choice: Choice) -> Terms {
    Terms {
        zone: ZoneId([9; 32]),
        key_epoch: 3,
        area: "85283473fffffff".parse().unwrap(),
        energy: EnergyKwh::try_from(40).unwrap(),
        deadline: Timestamp::from_millis(1_795_300_500_000),
        blocks_min: 3,
        kappa: Kappa::try_from(2).unwrap(),
        renewable_min: Percent::try_from(50).unwrap(),
        connectors: Connectors::try_from(0b101).unwrap(),
        power_min: Power::from_w(50_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(790_000)).unwrap(),
        pricing: Pricing::FirstPrice,
        choice,
        buyer: SigningKey::from_seed([5; 32]).public(),
    }
}

/// Bids a fixed number of ticks.
#[derive(Clone, Copy)]
pub struct Fixed(pub u16);

impl Strategy for Fixed {
    fn price(&self, _: &Ask) -> Option<Price> {
        Some(terms(Choice::BestProvable).tick.price(PriceTick(self.0)))
    }
}

pub const SITE: Site = Site {
    start: Timestamp::from_millis(1_795_300_600_000),
    power: Power::from_w(150_000),
    load_permille: 0,
};

/// What differs between two worlds.
#[derive(Clone)]
pub struct Secrets {
    pub position: InCell,
    pub reserve: u32,
    pub prices: Vec<u16>,
}

/// One auction from ask to meeting: all that was public, in order.
pub struct Sale {
    pub intent: Intent,
    pub verified: VerifiedIntent,
    pub bids: Vec<Bid>,
    pub ledgered: Vec<LedgeredBid>,
    pub releases: Vec<Release>,
    pub kept: Vec<VerifiedRelease>,
    pub opening: Opening,
    pub outcome: Outcome,
    pub verdict: Verdict,
    pub accept: Accept,
    pub met: (Award, Award),
}

pub fn station(n: usize) -> (StationId, SealSecret, InCell) {
    let n = u8::try_from(n).unwrap();
    let at = InCell { x: 40 * i32::from(n), y: 300 - 50 * i32::from(n) };
    (StationId([100 + n; 32]), SealSecret::from_seed(&[100 + n; 32]), at)
}

pub fn sale(committee: &Committee, choice: Option<usize>, secrets: &Secrets) -> Sale {
    let rule = if choice.is_some() { Choice::OwnChoice } else { Choice::BestProvable };
    sale_by(committee, terms(rule), choice, secrets)
}

/// Terms under which the second score is paid.
pub fn second_score() -> Terms {
    Terms { pricing: Pricing::SecondScore, ..terms(Choice::BestProvable) }
}

pub fn sale_by(committee: &Committee, terms: Terms, choice: Option<usize>, secrets: &Secrets) -> Sale {
    let key = &committee.key;
    let mut buyer_rng = rng(1);
    let (mut buyer, action) =
        Buyer::ask(terms, secrets.position, Reserve(secrets.reserve), key.clone(), &mut buyer_rng).unwrap();
    let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
    let verified = intent.verify(key).unwrap();

    let mut bidders = Vec::new();
    let (mut bids, mut ledgered, mut candidates) = (Vec::new(), Vec::new(), Vec::new());
    for (n, price) in secrets.prices.iter().enumerate() {
        let (id, seal, at) = station(n);
        let mut bidder = Bidder::new(id, seal.clone(), Fixed(*price));
        let mut actions =
            bidder.on_intent(&verified, key, &SITE, &mut rng(100 + u8::try_from(n).unwrap())).unwrap();
        let Some(BidderAction::Bid(bid)) = actions.pop() else { panic!() };
        let bid_ledgered = bid.verify(&verified, key, at).unwrap();
        candidates.push(Candidate { bid: bid_ledgered.clone(), seal: seal.public() });
        bidders.push(bidder);
        bids.push(*bid);
        ledgered.push(bid_ledgered);
    }
    assert!(buyer.on_closed(candidates, &mut buyer_rng).unwrap().is_empty());

    let due = Block { height: 13, time: verified.terms().deadline };
    let (mut releases, mut kept, mut offers) = (Vec::new(), Vec::new(), None);
    for (n, shares) in committee.shares.iter().enumerate() {
        let mut validator = Validator::default();
        validator.on_key(key.clone(), shares.clone()).unwrap();
        let mut rng = rng(200 + u8::try_from(n).unwrap());
        let mut actions = validator.on_due(&verified, 10, due, &ledgered, &mut rng).unwrap();
        let Some(ValidatorAction::Release(release)) = actions.pop() else { panic!() };
        kept.push(release.verify(key, &verified, &ledgered).unwrap());
        if offers.is_none() {
            offers = buyer.on_release(&release, &mut buyer_rng).unwrap().pop();
        }
        releases.push(*release);
    }
    let Some(BuyerAction::Offers(_)) = offers else { panic!("{offers:?}") };
    let opening = Opening::combine(key, &verified, &ledgered, &kept).unwrap();

    let award = Award::new(b"udp 192.0.2.1:4433", &mut buyer_rng).unwrap();
    let mut actions = buyer.on_decide(choice, award, &mut buyer_rng).unwrap();
    let Some(BuyerAction::PublishOutcome(outcome)) = actions.pop() else { panic!() };
    let verdict = outcome.verify(key, &verified, &ledgered, &opening).unwrap();

    let (mut accept, mut winner_met) = (None, None);
    for bidder in &mut bidders {
        for action in bidder.on_outcome(&verified, &outcome, &verdict).unwrap() {
            match action {
                BidderAction::Accept(accepted) => accept = Some(accepted),
                BidderAction::Meet(award) => winner_met = Some(award),
                BidderAction::Lost => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let accept = accept.unwrap();
    let Some(BuyerAction::Meet(_, buyer_met)) = buyer.on_accept(&accept).unwrap().pop() else { panic!() };
    let met = (buyer_met, winner_met.unwrap());
    let (intent, outcome) = (*intent, *outcome);
    Sale { intent, verified, bids, ledgered, releases, kept, opening, outcome, verdict, accept, met }
}
