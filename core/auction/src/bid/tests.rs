use super::*;
use crate::{
    intent::{Intent, Reserve},
    testing::{BUYER_AT, committee, rng, station, terms},
};
use ohmesh_units::{DecodeError, to_postcard};

const AT: InCell = InCell { x: -256, y: 511 };

fn intent(seed: u8) -> VerifiedIntent {
    let (intent, _) = Intent::create(terms(), BUYER_AT, Reserve(1), &committee().0, &mut rng(seed)).unwrap();
    intent.verify(&committee().0).unwrap()
}

fn bid(intent: &VerifiedIntent, n: u8, price: u16) -> Bid {
    Bid::create(intent, &committee().0, station(n), PriceTick(price), &mut rng(n)).unwrap()
}

#[test]
fn an_honest_bid_is_accepted_at_both_ends_of_the_range() {
    let (key, intent) = (&committee().0, intent(1));
    for price in [0, u16::MAX] {
        let bid = bid(&intent, 1, price);
        let ledgered = bid.verify(&intent, key, AT).unwrap();
        assert_eq!((ledgered.station, ledgered.position), (station(1), AT));
        assert_eq!(Bid::decode(&bid.encode()), Ok(bid));
        assert_eq!(LedgeredBid::decode(&ledgered.encode()), Ok(ledgered));
    }
}

#[test]
fn a_bid_is_small() {
    let bytes = bid(&intent(1), 1, 4200).encode();
    assert_eq!(bytes.len(), 1 + 64 + Bid::CRYPTO_BYTES);
    assert_eq!(Bid::CRYPTO_BYTES, 611);
}

/// Cheat 7.
#[test]
fn bid_copied_under_another_id() {
    let (key, intent) = (&committee().0, intent(1));
    let copied = Bid { station: station(2), ..bid(&intent, 1, 4200) };
    assert_eq!(copied.verify(&intent, key, AT), Err(BidError::Link { station: station(2) }));
}

/// Cheat 8: as it is, and with the auction's name changed.
#[test]
fn bid_replayed_in_another_auction() {
    let (key, one, other) = (&committee().0, intent(1), intent(2));
    let replayed = bid(&one, 1, 4200);
    let (expected, found) = (other.id(), one.id());
    let refused = BidError::OtherAuction { station: station(1), expected, found };
    assert_eq!(replayed.verify(&other, key, AT), Err(refused));
    let renamed = Bid { auction: other.id(), ..replayed };
    assert_eq!(renamed.verify(&other, key, AT), Err(BidError::Link { station: station(1) }));
}

/// Cheat 9: a D that would open to another price, with a proof made for it.
#[test]
fn lock_inconsistent_with_the_commitment() {
    let (key, intent) = (&committee().0, intent(1));
    let mut bent = bid(&intent, 1, 4200);
    bent.d = Point::new(bent.d.point() + G).unwrap();
    assert_eq!(bent.verify(&intent, key, AT), Err(BidError::Link { station: station(1) }));
    let (mut rng, pk) = (rng(9), intent.commitments().pk.point());
    let (r, other) = (random_scalar(&mut rng), random_scalar(&mut rng));
    bent.c = Point::new(commit(1, &r, &key.h())).unwrap();
    bent.d = Point::new(other * pk).unwrap();
    let mut transcript = transcript(&intent, key, bent.station, &bent.c, &bent.d);
    let relations = relations(&intent, key, &bent.c, &bent.d);
    bent.link = LinearProof::prove(&mut transcript, &relations, &[Scalar::ONE, r], &mut rng);
    assert_eq!(bent.verify(&intent, key, AT), Err(BidError::Link { station: station(1) }));
}

/// A rival's hidden price, less one tick: the commitment is easily made, the proof is not.
#[test]
fn underbidding_a_commitment_without_knowing_it() {
    let (key, intent) = (&committee().0, intent(1));
    let victim = bid(&intent, 1, 4200);
    let c = Point::new(victim.c.point() - G).unwrap();
    let refused = Err(BidError::Link { station: station(2) });
    let mauled = Bid { station: station(2), c, ..victim.clone() };
    assert_eq!(mauled.verify(&intent, key, AT), refused);
    // With a proof of its own, for what it hopes to be the price.
    let mut transcript = transcript(&intent, key, station(2), &c, &victim.d);
    let relations = relations(&intent, key, &c, &victim.d);
    let guess = [Scalar::from(4199u16), random_scalar(&mut rng(9))];
    let link = LinearProof::prove(&mut transcript, &relations, &guess, &mut rng(9));
    assert_eq!(Bid { link, ..mauled }.verify(&intent, key, AT), refused);
}

/// An auction of one's own, in which a puppet bids with somebody else's lock, so that the committee opens it. As it
/// is, and times a factor that hides where it is from.
#[test]
fn copied_lock_in_an_auction_of_ones_own() {
    let (key, theirs, own, mut rng) = (&committee().0, intent(1), intent(2), rng(9));
    let victim = bid(&theirs, 1, 4200);
    for factor in [1u8, 2] {
        let d = Point::new(Scalar::from(factor) * victim.d.point()).unwrap();
        let r = random_scalar(&mut rng);
        let c = Point::new(commit(1, &r, &key.h())).unwrap();
        let mut transcript = transcript(&own, key, station(2), &c, &d);
        let relations = relations(&own, key, &c, &d);
        let link = LinearProof::prove(&mut transcript, &relations, &[Scalar::ONE, r], &mut rng);
        let values = [(1, r)];
        let range =
            RangeProof::prove(key.ranges(), Width::Price, &[c.point()], &values, &transcript, &mut rng)
                .unwrap();
        let puppet = Bid { auction: own.id(), station: station(2), c, d, link, range };
        assert_eq!(puppet.verify(&own, key, AT), Err(BidError::Link { station: station(2) }));
    }
}

/// A price below zero would be the least score of all.
#[test]
fn price_below_zero() {
    let (key, intent, mut rng) = (&committee().0, intent(1), rng(9));
    let r = random_scalar(&mut rng);
    let c = Point::new(r * key.h().point() - G).unwrap();
    let d = Point::new(r * intent.commitments().pk.point()).unwrap();
    let mut transcript = transcript(&intent, key, station(1), &c, &d);
    let relations = relations(&intent, key, &c, &d);
    let link = LinearProof::prove(&mut transcript, &relations, &[-Scalar::ONE, r], &mut rng);
    let (shown, values) = (commit(1, &r, &key.h()), [(1, r)]);
    let range =
        RangeProof::prove(key.ranges(), Width::Price, &[shown], &values, &transcript, &mut rng).unwrap();
    let forged = Bid { auction: intent.id(), station: station(1), c, d, link, range };
    let error = RangeError::Failed;
    assert_eq!(forged.verify(&intent, key, AT), Err(BidError::Range { station: station(1), error }));
}

/// Sealed under another H, so that no quorum opens it: the key claims the same zone and epoch.
#[test]
fn other_epochs_h() {
    let (intent, (other, _)) = (
        intent(1),
        crate::key::solo(
            crate::testing::ZONE,
            crate::testing::EPOCH,
            crate::key::ValidatorIndex(0),
            &mut rng(1),
        ),
    );
    let forged = Bid::create(&intent, &other, station(1), PriceTick(1), &mut rng(2)).unwrap();
    let refused = Err(BidError::Link { station: station(1) });
    assert_eq!(forged.verify(&intent, &committee().0, AT), refused);
}

/// Cheat 17: a price above the cap, under the range proof of one within it.
#[test]
fn price_out_of_range() {
    let (key, intent, mut rng) = (&committee().0, intent(1), rng(9));
    let (r, price) = (random_scalar(&mut rng), 1u64 << 16);
    let c = Point::new(commit(price, &r, &key.h())).unwrap();
    let d = Point::new(r * intent.commitments().pk.point()).unwrap();
    let mut transcript = transcript(&intent, key, station(1), &c, &d);
    let relations = relations(&intent, key, &c, &d);
    let link = LinearProof::prove(&mut transcript, &relations, &[Scalar::from(price), r], &mut rng);
    let within = commit(price - 1, &r, &key.h());
    let values = [(price - 1, r)];
    let range =
        RangeProof::prove(key.ranges(), Width::Price, &[within], &values, &transcript, &mut rng).unwrap();
    let forged = Bid { auction: intent.id(), station: station(1), c, d, link, range };
    let error = RangeError::Failed;
    assert_eq!(forged.verify(&intent, key, AT), Err(BidError::Range { station: station(1), error }));
}

/// Cheat 18.
#[test]
fn identity_or_non_canonical_point() {
    let honest = bid(&intent(1), 1, 4200);
    for (at, point) in [(1 + 64, honest.c), (1 + 96, honest.d)] {
        assert_eq!(honest.encode()[at..at + 32], point.to_bytes());
        for bad in [[0; 32], [0xff; 32]] {
            let mut bytes = honest.encode();
            bytes[at..at + 32].copy_from_slice(&bad);
            assert!(matches!(Bid::decode(&bytes), Err(DecodeError::Malformed { .. })));
        }
    }
}

/// Cheat 21.
#[test]
fn range_proof_of_another_auction() {
    let (key, one, other) = (&committee().0, intent(1), intent(2));
    let swapped = Bid { range: bid(&other, 1, 4200).range, ..bid(&one, 1, 4200) };
    let error = RangeError::Failed;
    assert_eq!(swapped.verify(&one, key, AT), Err(BidError::Range { station: station(1), error }));
}

#[test]
fn station_too_far_away() {
    let (key, intent) = (&committee().0, intent(1));
    let position = InCell { x: 512, y: 0 };
    let refused = BidError::NotEligible { station: station(1), position };
    assert_eq!(bid(&intent, 1, 4200).verify(&intent, key, position), Err(refused));
}

#[test]
fn bid_under_another_epochs_key() {
    let (intent, (other, _)) =
        (intent(1), crate::key::solo(crate::testing::ZONE, 4, crate::key::ValidatorIndex(0), &mut rng(1)));
    let refused = Bid::create(&intent, &other, station(1), PriceTick(1), &mut rng(2));
    assert_eq!(refused, Err(BidError::OtherKey(intent.id())));
    let honest = bid(&intent, 1, 4200);
    assert_eq!(honest.verify(&intent, &other, AT), Err(BidError::OtherKey(intent.id())));
}

#[test]
fn any_flipped_byte_is_refused() {
    let (key, intent) = (&committee().0, intent(1));
    let bytes = bid(&intent, 1, 4200).encode();
    for at in (0..bytes.len()).step_by(5) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let refused = Bid::decode(&bent).map_or(true, |bent| bent.verify(&intent, key, AT).is_err());
        assert!(refused, "byte {at}");
    }
}

#[test]
fn a_batch_answers_as_one_by_one() {
    let (key, intents) = (&committee().0, [intent(1), intent(2)]);
    let mut bids: Vec<(Bid, usize)> = (1..=8)
        .map(|n| (bid(&intents[usize::from(n % 2)], n, 100 * u16::from(n)), usize::from(n % 2)))
        .collect();
    let check = |bids: &[(Bid, usize)]| {
        let checks: Vec<BidCheck<'_>> =
            bids.iter().map(|(bid, at)| BidCheck { bid, intent: &intents[*at], key, position: AT }).collect();
        let batch = verify_batch(&checks);
        let single: Vec<_> = bids.iter().map(|(bid, at)| bid.verify(&intents[*at], key, AT)).collect();
        assert_eq!(batch, single);
        batch
    };
    assert!(check(&bids).iter().all(Result::is_ok));
    bids[2].0.range = bids[3].0.range.clone();
    bids[5].0.station = station(99);
    let answers = check(&bids);
    assert!(matches!(answers[2], Err(BidError::Range { .. })));
    assert_eq!(answers[5], Err(BidError::Link { station: station(99) }));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 6);
    assert!(check(&[]).is_empty());
}

#[test]
fn the_price_is_in_no_byte() {
    // The same randomness, two prices: what differs are C, the proof and the range proof.
    let intent = intent(1);
    let (one, other) = (bid(&intent, 1, 4200), bid(&intent, 1, 4201));
    assert_eq!((one.auction, one.station, one.d), (other.auction, other.station, other.d));
    assert_eq!(one.encode().len(), other.encode().len());
    assert_ne!(one.c, other.c);
    assert!(
        !to_postcard(&one).windows(2).any(|bytes| bytes == [0x10, 0x68] || bytes == 4200u16.to_le_bytes())
    );
}
