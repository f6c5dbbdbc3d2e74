//! Golden bytes: what is written today must be read for ever, and the same seeds must write it again. A change here is
//! a new version byte, not an edit.

#![allow(clippy::unwrap_used)]

mod world;

use ohmesh_auction::{
    award::{Accept, Award},
    bid::{Bid, LedgeredBid},
    intent::{BuyerSecret, Choice, Intent, Reserve, VerifiedIntent},
    key::{
        Blinding, EpochKey, KeyShares, Shareholding, ValidatorIndex,
        generation::{Deal, Generation, Handout},
    },
    outcome::Outcome,
    release::{Opening, Release, VerifiedRelease},
};
use ohmesh_units::{Canonical, InCell, ZoneId, to_hex};
use world::{Secrets, committee, rng, sale, terms};

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
