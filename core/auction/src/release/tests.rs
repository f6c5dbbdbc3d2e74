use super::*;
use crate::{
    group::{base_a, price_of_point, times_g},
    testing::{Auction, committee, rng},
};
use ohmesh_units::PriceTick;

const PRICES: [u16; 6] = [5000, 3000, 3000, 9000, 7000, 4000];

fn release(auction: &Auction, validator: usize) -> Release {
    let (key, shares) = committee();
    Release::create(&shares[validator], key, &auction.intent, &auction.bids, &mut rng(50)).unwrap()
}

fn opened(auction: &Auction, validators: &[usize]) -> Result<Opening, ReleaseError> {
    let releases: Vec<VerifiedRelease> = validators
        .iter()
        .map(|v| release(auction, *v).verify(&auction.key, &auction.intent, &auction.bids).unwrap())
        .collect();
    Opening::combine(&auction.key, &auction.intent, &auction.bids, &releases)
}

#[test]
fn any_quorum_opens_to_the_same_values() {
    let auction = Auction::tied();
    let prices: Vec<Option<PriceTick>> = PRICES.map(|price| Some(PriceTick(price))).to_vec();
    for quorum in [&[0, 1, 2, 3, 4][..], &[2, 3, 4, 5, 6], &[6, 4, 2, 0, 1], &[0, 1, 2, 3, 4, 5, 6]] {
        let opening = opened(&auction, quorum).unwrap();
        assert_eq!(opening, auction.opening);
        assert_eq!(auction.secret.open(&auction.bids, &opening), prices);
    }
    assert_eq!(Opening::decode(&auction.opening.encode()), Ok(auction.opening.clone()));
    let kept = auction.releases[0].clone();
    assert_eq!(VerifiedRelease::decode(&kept.encode()), Ok(kept));
}

/// Cheat 13: four of seven shares do not open, whoever combines them however.
#[test]
fn sub_quorum_cannot_open() {
    let auction = Auction::tied();
    let refused = ReleaseError::TooFewShares { found: 4, threshold: 5 };
    assert_eq!(opened(&auction, &[0, 1, 2, 3]), Err(refused));
    assert_eq!(opened(&auction, &[0, 1, 2, 3, 3, 3]), Err(refused), "one share counts once");
    let coefficients = lagrange(&[1, 2, 3, 4], 0);
    for (at, bid) in auction.bids.iter().enumerate() {
        let points =
            (1..=4).map(|share: u8| auction.releases[usize::from(share) - 1].points[&share][at].point());
        let combined = RistrettoPoint::vartime_multiscalar_mul(&coefficients, points);
        assert_eq!(price_of_point(&(bid.c.point() - auction.secret.b * combined)), None);
    }
}

/// Cheat 14.
#[test]
fn quorum_without_the_buyer_cannot_open() {
    let auction = Auction::tied();
    for (bid, point) in auction.bids.iter().zip(auction.opening.points()) {
        assert_eq!(price_of_point(&(bid.c.point() - point.point())), None);
        let stranger = crate::group::random_scalar(&mut rng(8));
        assert_eq!(price_of_point(&(bid.c.point() - stranger * point.point())), None);
    }
}

/// Cheat 15.
#[test]
fn buyer_before_release_cannot_open() {
    let auction = Auction::tied();
    for bid in &auction.bids {
        assert_eq!(price_of_point(&(bid.c.point() - auction.secret.b * bid.d.point())), None);
        assert_eq!(price_of_point(&bid.c.point()), None);
    }
}

/// Cheat 10: a wrong value, and a right value under another validator's name.
#[test]
fn corrupt_share_names_its_validator() {
    let auction = Auction::tied();
    let (key, intent, bids) = (&auction.key, &auction.intent, &auction.bids);
    let mut bent = release(&auction, 2);
    bent.shares[0].points[3] = Point::new(bent.shares[0].points[3].point() + G).unwrap();
    let refused = ReleaseError::WrongShare { validator: ValidatorIndex(2), share: 3 };
    assert_eq!(bent.verify(key, intent, bids), Err(refused));
    let renamed = Release { validator: ValidatorIndex(5), ..release(&auction, 2) };
    let refused = ReleaseError::WrongShare { validator: ValidatorIndex(5), share: 6 };
    assert_eq!(renamed.verify(key, intent, bids), Err(refused));
    let stranger = Release { validator: ValidatorIndex(7), ..release(&auction, 2) };
    assert_eq!(stranger.verify(key, intent, bids), Err(ReleaseError::Shape(ValidatorIndex(7))));
}

#[test]
fn release_of_other_bids() {
    let auction = Auction::tied();
    let (key, intent) = (&auction.key, &auction.intent);
    let release = release(&auction, 0);
    let refused = release.verify(key, intent, &auction.bids[..5]);
    assert_eq!(refused, Err(ReleaseError::Shape(ValidatorIndex(0))));
    let mut swapped = auction.bids.clone();
    swapped.swap(0, 1);
    let refused = release.verify(key, intent, &swapped);
    assert_eq!(refused, Err(ReleaseError::WrongShare { validator: ValidatorIndex(0), share: 1 }));
    assert_eq!(release.verify(key, intent, &[]), Err(ReleaseError::NoBids(intent.id())));
    let many = vec![auction.bids[0].clone(); BIDS_MAX + 1];
    let refused = ReleaseError::TooManyBids { auction: intent.id(), found: BIDS_MAX + 1 };
    assert_eq!(release.verify(key, intent, &many), Err(refused));
}

/// Shares of another key, also of one that claims the same zone and epoch.
#[test]
fn release_by_the_shares_of_another_epoch() {
    let auction = Auction::tied();
    let (key, intent, bids) = (&auction.key, &auction.intent, &auction.bids);
    let solo = |epoch| crate::key::solo(crate::testing::ZONE, epoch, ValidatorIndex(0), &mut rng(60));
    let (_, older) = solo(crate::testing::EPOCH - 1);
    let refused = Release::create(&older, key, intent, bids, &mut rng(50));
    assert_eq!(refused, Err(ReleaseError::OtherKey(intent.id())));
    let (other, shares) = solo(crate::testing::EPOCH);
    let forged = Release::create(&shares, &other, intent, bids, &mut rng(50)).unwrap();
    let refused = ReleaseError::WrongShare { validator: ValidatorIndex(0), share: 1 };
    assert_eq!(forged.verify(key, intent, bids), Err(refused));
}

/// Cheat 18, for releases.
#[test]
fn identity_or_non_canonical_point() {
    let honest = release(&Auction::tied(), 1);
    let bytes = honest.encode();
    let point = honest.shares[0].points[2].to_bytes();
    let at = bytes.windows(32).position(|bytes| bytes == point).unwrap();
    for bad in [[0; 32], [0xff; 32]] {
        let mut bent = bytes.clone();
        bent[at..at + 32].copy_from_slice(&bad);
        assert!(matches!(Release::decode(&bent), Err(ohmesh_units::DecodeError::Malformed { .. })));
    }
}

#[test]
fn release_for_another_auction() {
    let (one, other) =
        (Auction::tied(), Auction::run(crate::testing::terms(), 1, &[(1, crate::testing::BUYER_AT)], 8));
    let release = release(&one, 0);
    assert!(matches!(
        release.verify(&one.key, &other.intent, &other.bids),
        Err(ReleaseError::OtherAuction { validator: ValidatorIndex(0), .. })
    ));
    let refused = Opening::combine(&one.key, &other.intent, &other.bids, &one.releases);
    assert_eq!(refused, Err(ReleaseError::TooFewShares { found: 0, threshold: 5 }));
}

#[test]
fn any_flipped_byte_is_refused() {
    let auction = Auction::tied();
    let bytes = release(&auction, 1).encode();
    for at in (0..bytes.len()).step_by(3) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let verify = |bent: Release| bent.verify(&auction.key, &auction.intent, &auction.bids).is_err();
        assert!(Release::decode(&bent).map_or(true, verify), "byte {at}");
    }
}

#[test]
fn blinding_base_is_not_the_public_key() {
    // Whoever pooled a quorum of shares would know log_G of the public key, but not of H.
    let (key, shares) = committee();
    let coefficients = lagrange(&[1, 2, 3, 4, 5], 0);
    let five = shares[..5].iter().flat_map(KeyShares::iter);
    let t: Scalar = coefficients.iter().zip(five).map(|(l, share)| l * *share.secret).sum();
    assert_eq!(key.h().point(), t * base_a().point());
    assert_ne!(key.h().point(), times_g(&t));
}
