//! Golden bytes: what is written today must be read for ever, and the same seeds must write it again. A change here is
//! a new version byte, not an edit.

#![allow(clippy::unwrap_used)]

mod world;

use ohmesh_auction::{
    award::{Accept, Award},
    bid::{Bid, LedgeredBid},
    intent::{BuyerSecret, Choice, Intent, Reserve, RoadDetour, Terms, VerifiedIntent},
    key::{
        Blinding, EpochKey, KeyShares, OPEN_EPOCH, Shareholding, ValidatorIndex,
        generation::{Deal, Generation, Handout},
        in_the_open,
    },
    outcome::Outcome,
    release::{Opening, Release, VerifiedRelease},
    role::{V2vBidder, V2vBidderAction, V2vBuyer, V2vBuyerAction, V2vSeller},
    seal::SealSecret,
    v2v::{DoubleRoster, Entry, Pledge, Proceedings, SignedRoster},
};
use ohmesh_units::{Canonical, InCell, SigningKey, StationId, Timestamp, ZoneId, to_hex};
use world::{Fixed, SITE, Secrets, committee, rng, sale, sale_by, second_score, terms};

fn golden<T: Canonical + PartialEq + std::fmt::Debug>(value: &T, hex: &str) {
    let bytes = value.encode();
    assert_eq!(to_hex(&bytes), hex.trim(), "{}", T::NAME);
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
    assert!(bytes.len() <= T::MAX_BYTES, "{}", T::NAME);
}

fn secrets() -> Secrets {
    Secrets { position: InCell { x: 120, y: 77 }, reserve: 1_000_000, prices: vec![5000, 3000, 6000] }
}

#[test]
fn key_generation_keeps_its_bytes() {
    let committee = committee(&[1, 1, 1, 1]);
    let stakes: Vec<_> = (0..4).map(|v| (ValidatorIndex(v), 1)).collect();
    let holding = Shareholding::by_stake(&stakes).unwrap();
    let generation = Generation { zone: ZoneId([9; 32]), epoch: 3, attempt: 0, holding };
    golden::<Generation>(&generation, include_str!("golden/generation.hex"));
    golden::<Deal>(&committee.deals[0], include_str!("golden/deal.hex"));
    golden::<Handout>(&committee.handouts[0], include_str!("golden/handout.hex"));
    golden::<Blinding>(&committee.blindings[0], include_str!("golden/blinding.hex"));
    golden::<EpochKey>(&committee.key, include_str!("golden/epoch_key.hex"));
}

#[test]
fn auction_messages_keep_their_bytes() {
    let sale = sale(&committee(&[1, 1, 1, 1]), None, &secrets());
    golden::<Intent>(&sale.intent, include_str!("golden/intent.hex"));
    golden::<Bid>(&sale.bids[0], include_str!("golden/bid.hex"));
    golden::<Release>(&sale.releases[0], include_str!("golden/release.hex"));
    golden::<Outcome>(&sale.outcome, include_str!("golden/outcome.hex"));
    golden::<Accept>(&sale.accept, include_str!("golden/accept.hex"));
}

#[test]
fn ledger_records_keep_their_bytes() {
    let sale = sale(&committee(&[1, 1, 1, 1]), None, &secrets());
    golden::<VerifiedIntent>(&sale.verified, include_str!("golden/verified_intent.hex"));
    golden::<LedgeredBid>(&sale.ledgered[0], include_str!("golden/ledgered_bid.hex"));
    golden::<VerifiedRelease>(&sale.kept[0], include_str!("golden/verified_release.hex"));
    golden::<Opening>(&sale.opening, include_str!("golden/opening.hex"));
}

#[test]
fn own_choice_keeps_its_bytes() {
    let sale = sale(&committee(&[1, 1, 1, 1]), Some(2), &secrets());
    assert_eq!(sale.verified.terms(), &terms(Choice::OwnChoice));
    golden::<Outcome>(&sale.outcome, include_str!("golden/outcome_own_choice.hex"));
}

#[test]
fn second_score_keeps_its_bytes() {
    let sale = sale_by(&committee(&[1, 1, 1, 1]), second_score(), None, &secrets());
    golden::<VerifiedIntent>(&sale.verified, include_str!("golden/verified_intent_second_score.hex"));
    golden::<Outcome>(&sale.outcome, include_str!("golden/outcome_second_score.hex"));
}

#[test]
fn roads_keep_their_bytes() {
    let committee = committee(&[1, 1, 1, 1]);
    let Secrets { position, reserve, .. } = secrets();
    let terms = terms(Choice::BestByRoad);
    let roads = [3, 7].map(|n| (StationId([n; 32]), RoadDetour::of_steps(100 * u32::from(n))));
    let made = Intent::create_by_road(terms, position, Reserve(reserve), &roads, &committee.key, &mut rng(1))
        .unwrap();
    golden::<Intent>(&made.0, include_str!("golden/intent_by_road.hex"));
    let verified = made.0.verify(&committee.key).unwrap();
    golden::<VerifiedIntent>(&verified, include_str!("golden/verified_intent_by_road.hex"));
}

#[test]
fn v2v_messages_keep_their_bytes() {
    let key = in_the_open(ZoneId([9; 32]), &mut rng(77));
    let terms = Terms { key_epoch: OPEN_EPOCH, ..terms(Choice::BestProvable) };
    let deadline = terms.deadline;
    let (signer, position) = (SigningKey::from_seed([5; 32]), secrets().position);
    let (mut buyer, action) =
        V2vBuyer::ask(terms, position, Reserve(u32::MAX), key.clone(), signer.clone(), &mut rng(1)).unwrap();
    let V2vBuyerAction::SendIntent(intent) = action else { panic!("{action:?}") };
    let seller = V2vSeller {
        signer: SigningKey::from_seed([6; 32]),
        seal: SealSecret::from_seed(&[6; 32]),
        position: InCell { x: 3, y: 4 },
    };
    let made = V2vBidder::on_intent((*intent).clone(), key, seller, &Fixed(3000), &SITE, &mut rng(100));
    let (mut bidder, V2vBidderAction::SendPledge(pledge)) = made.unwrap().unwrap() else { panic!() };
    golden::<Pledge>(&pledge, include_str!("golden/v2v_pledge.hex"));
    buyer.on_pledge(pledge, Timestamp::from_millis(0)).unwrap();
    let Some(V2vBuyerAction::SendRoster(roster)) = buyer.on_time(deadline, &mut rng(1)).unwrap().pop() else {
        panic!()
    };
    golden::<SignedRoster>(&roster, include_str!("golden/v2v_roster.hex"));
    let second = SignedRoster::sign(roster.auction, Vec::new(), &signer);
    let double = DoubleRoster { intent: *intent, first: (*roster).clone(), second };
    golden::<DoubleRoster>(&double, include_str!("golden/v2v_double_roster.hex"));
    let Some(V2vBidderAction::SendEntry(entry)) = bidder.on_roster(*roster).unwrap().pop() else { panic!() };
    golden::<Entry>(&entry, include_str!("golden/v2v_entry.hex"));
    buyer.on_entry(*entry, &mut rng(1)).unwrap();
    let award = Award::new(b"meet", &mut rng(2)).unwrap();
    let Some(V2vBuyerAction::SendProceedings(all)) = buyer.on_decide(None, award, &mut rng(1)).unwrap().pop()
    else {
        panic!()
    };
    golden::<Proceedings>(&all, include_str!("golden/v2v_proceedings.hex"));
}

#[test]
fn stored_secrets_keep_their_bytes() {
    let committee = committee(&[1, 1, 1, 1]);
    let shares = committee.shares[0].to_bytes();
    assert_eq!(to_hex(&shares), include_str!("golden/key_shares.hex").trim());
    assert_eq!(KeyShares::from_bytes(&shares).unwrap().to_bytes(), shares);
    let Secrets { position, reserve, .. } = secrets();
    let terms = terms(Choice::BestProvable);
    let (_, secret) = Intent::create(terms, position, Reserve(reserve), &committee.key, &mut rng(1)).unwrap();
    let secret = secret.to_bytes();
    assert_eq!(to_hex(&*secret), include_str!("golden/buyer_secret.hex").trim());
    assert_eq!(BuyerSecret::from_bytes(&secret).unwrap().to_bytes(), secret);
    let award = Award::new(b"meet", &mut rng(2)).unwrap().to_bytes();
    assert_eq!(to_hex(&*award), include_str!("golden/award.hex").trim());
    assert_eq!(Award::from_bytes(&award).unwrap().to_bytes(), award);
}
