use super::*;
use crate::testing::{BUYER_AT, committee, rng, terms};
use ohmesh_units::{SigningKey, Timestamp};

fn honest(seed: u8) -> (Intent, BuyerSecret) {
    Intent::create(terms(), BUYER_AT, Reserve(7_000_000), &committee().0, &mut rng(seed)).unwrap()
}

#[test]
fn an_honest_intent_is_accepted_and_its_id_is_its_hash() {
    let key = &committee().0;
    let (intent, secret) = honest(1);
    let verified = intent.verify(key).unwrap();
    assert_eq!(verified.id(), intent.id());
    assert_eq!(secret.position(), BUYER_AT);
    assert_eq!(Intent::decode(&intent.encode()), Ok(intent.clone()));
    assert_eq!(VerifiedIntent::decode(&verified.encode()), Ok(verified));
    assert_ne!(honest(2).0.id(), intent.id());
}

/// Cheat 20: an edited intent has another id, and does not verify.
#[test]
fn edited_intent() {
    let key = &committee().0;
    let (intent, _) = honest(1);
    let edits: [fn(&mut Terms); 9] = [
        |t| t.area = "85283447fffffff".parse().unwrap(),
        |t| t.energy = EnergyKwh::try_from(41).unwrap(),
        |t| t.deadline = Timestamp::from_millis(1_795_300_500_001),
        |t| t.blocks_min = 0,
        |t| t.kappa = Kappa::NONE,
        |t| t.renewable_min = Percent::default(),
        |t| t.connectors = Connectors::try_from(1).unwrap(),
        |t| t.choice = Choice::OwnChoice,
        |t| t.buyer = SigningKey::from_seed([6; 32]).public(),
    ];
    for edit in edits {
        let mut edited = intent.clone();
        edit(&mut edited.terms);
        assert_ne!(edited.id(), intent.id());
        assert_eq!(edited.verify(key), Err(IntentError::Proof(ProofFailed)));
    }
    let mut edited = intent.clone();
    edited.terms.key_epoch += 1;
    assert_eq!(edited.verify(key), Err(IntentError::Epoch { expected: 3, found: 4 }));
    let mut edited = intent;
    edited.terms.zone = ZoneId([1; 32]);
    assert!(matches!(edited.verify(key), Err(IntentError::Zone { .. })));
}

#[test]
fn stolen_buyer_key() {
    let key = &committee().0;
    let (victim, (mut thief, _)) = (honest(1).0, honest(2));
    thief.commitments.pk = victim.commitments.pk;
    assert_eq!(thief.verify(key), Err(IntentError::Proof(ProofFailed)));
}

#[test]
fn square_that_is_not_the_positions() {
    let key = &committee().0;
    let (mut intent, secret) = honest(1);
    let square = commit(1, &secret.blind_q, &key.h());
    intent.commitments.q = Point::new(square).unwrap();
    let mut transcript = transcript(key, &intent.terms, &intent.commitments);
    let (x, y) = (Scalar::from(secret.x), Scalar::from(secret.y));
    let rest = secret.blind_q - x * secret.blind_x - y * secret.blind_y;
    let witness = [secret.b, x, secret.blind_x, y, secret.blind_y, rest];
    let relations = relations(&intent.commitments, key.h().point());
    intent.proof = LinearProof::prove(&mut transcript, &relations, &witness, &mut rng(3));
    assert_eq!(intent.verify(key), Err(IntentError::Proof(ProofFailed)));
}

/// Cheat 17: a position outside the area, with the range proof of one inside.
#[test]
fn position_outside_the_area() {
    let (key, mut rng) = (&committee().0, rng(4));
    let outside = InCell { x: 256, y: 0 };
    let refused = Intent::create(terms(), outside, Reserve(1), key, &mut rng);
    assert_eq!(refused.map(|_| ()), Err(IntentError::OutsideArea));
    let (mut intent, secret) = honest(1);
    let (x, y) = (256u64, u64::from(secret.y));
    intent.commitments.x = Point::new(commit(x, &secret.blind_x, &key.h())).unwrap();
    intent.commitments.q = Point::new(commit(x * x + y * y, &secret.blind_q, &key.h())).unwrap();
    let mut transcript = transcript(key, &intent.terms, &intent.commitments);
    let (sx, sy) = (Scalar::from(x), Scalar::from(y));
    let rest = secret.blind_q - sx * secret.blind_x - sy * secret.blind_y;
    let witness = [secret.b, sx, secret.blind_x, sy, secret.blind_y, rest];
    let relations = relations(&intent.commitments, key.h().point());
    intent.proof = LinearProof::prove(&mut transcript, &relations, &witness, &mut rng);
    let inside = [commit(255, &secret.blind_x, &key.h()), intent.commitments.y.point()];
    let values = [(255, secret.blind_x), (y, secret.blind_y)];
    intent.position =
        RangeProof::prove(key.ranges(), Width::Position, &inside, &values, &transcript, &mut rng).unwrap();
    assert_eq!(intent.verify(key), Err(IntentError::PositionRange(RangeError::Failed)));
}

/// Cheat 21, for the intent's own ranges.
#[test]
fn range_proofs_of_another_intent() {
    let key = &committee().0;
    let (one, other) = (honest(1).0, honest(2).0);
    let swapped = Intent { position: other.position.clone(), ..one.clone() };
    assert_eq!(swapped.verify(key), Err(IntentError::PositionRange(RangeError::Failed)));
    let swapped = Intent { reserve: other.reserve, ..one };
    assert_eq!(swapped.verify(key), Err(IntentError::ReserveRange(RangeError::Failed)));
}

#[test]
fn any_flipped_byte_is_refused() {
    let key = &committee().0;
    let (intent, _) = honest(1);
    let bytes = intent.encode();
    for at in (0..bytes.len()).step_by(7) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let refused = Intent::decode(&bent).map_or(true, |bent| bent.verify(key).is_err());
        assert!(refused, "byte {at}");
    }
}

#[test]
fn secrets_store_and_do_not_show() {
    let (_, secret) = honest(1);
    let again = BuyerSecret::from_bytes(&secret.to_bytes()).unwrap();
    assert_eq!(again.to_bytes(), secret.to_bytes());
    assert_eq!(format!("{secret:?}"), "BuyerSecret(..)");
    let mut bad = secret.to_bytes();
    bad[0] = 2;
    assert!(BuyerSecret::from_bytes(&bad).is_err());
}

#[test]
fn deadline_needs_time_and_blocks() {
    let terms = terms();
    let (before, at) = (Timestamp::from_millis(1_795_300_499_999), terms.deadline);
    assert!(!terms.is_due(before, 1000));
    assert!(!terms.is_due(at, 2), "too few blocks let bids in");
    assert!(terms.is_due(at, 3));
    assert_eq!(terms.reserve_of(ohmesh_units::Money::from_micro(-1)), None);
    assert_eq!(terms.reserve_of(ohmesh_units::Money::from_micro(1_000_000)), Some(Reserve(76_923)));
}
