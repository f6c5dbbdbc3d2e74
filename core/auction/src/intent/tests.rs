use super::*;
use crate::group::{random_scalar, times_g};
use crate::testing::{BUYER_AT, committee, rng, terms};
use ohmesh_units::{DecodeError, SigningKey, StationId, Timestamp};

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
    let edits: [fn(&mut Terms); 12] = [
        |t| t.area = "85283447fffffff".parse().unwrap(),
        |t| t.energy = EnergyKwh::try_from(41).unwrap(),
        |t| t.deadline = Timestamp::from_millis(1_795_300_500_001),
        |t| t.blocks_min = 0,
        |t| t.kappa = Kappa::NONE,
        |t| t.renewable_min = Percent::default(),
        |t| t.connectors = Connectors::try_from(1).unwrap(),
        |t| t.choice = Choice::OwnChoice,
        |t| t.pricing = Pricing::SecondScore,
        |t| t.power_min = ohmesh_units::Power::from_w(1),
        |t| t.tick = ohmesh_units::TickSize::try_from(12).unwrap(),
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

/// A `pk` whose `b` nobody knows, or the identity, or one that is another's times a known factor.
#[test]
fn buyer_key_unproven_related_or_identity() {
    let (key, mut rng) = (&committee().0, rng(5));
    let (victim, (honest, secret)) = (honest(1).0, honest(2));
    let nobodys = times_g(&random_scalar(&mut rng));
    let related = Scalar::from(2u8) * victim.commitments.pk.point();
    for pk in [nobodys, related, victim.commitments.pk.point(), base_a().point()] {
        let mut intent = honest.clone();
        intent.commitments.pk = Point::new(pk).unwrap();
        let mut transcript = transcript(key, &intent.terms, &intent.commitments, None);
        let (x, y) = (Scalar::from(secret.x), Scalar::from(secret.y));
        let rest = secret.blind_q - x * secret.blind_x - y * secret.blind_y;
        let witness = [secret.b, x, secret.blind_x, y, secret.blind_y, rest];
        let relations = relations(&intent.commitments, key.h().point());
        intent.proof = LinearProof::prove(&mut transcript, &relations, &witness, &mut rng);
        assert_eq!(intent.verify(key), Err(IntentError::Proof(ProofFailed)));
    }
    let bytes = honest.encode();
    let at = bytes.windows(32).position(|bytes| bytes == honest.commitments.pk.to_bytes()).unwrap();
    // pk, X, Y, Q and the reserve, one after the other.
    for point in 0..5 {
        for bad in [[0; 32], [0xff; 32]] {
            let mut bent = bytes.clone();
            bent[at + 32 * point..][..32].copy_from_slice(&bad);
            assert!(matches!(Intent::decode(&bent), Err(DecodeError::Malformed { .. })), "point {point}");
        }
    }
}

/// Two intents of one `b` show one `pk`, whatever else differs: that is what the ledger refuses.
#[test]
fn reused_buyer_key() {
    let key = &committee().0;
    let (one, secret) = honest(1);
    let other = Terms { energy: EnergyKwh::try_from(7).unwrap(), ..terms() };
    let other = Intent::commit(other, (9, 9), None, &secret, key, &mut rng(6)).unwrap().verify(key).unwrap();
    assert_ne!(other.id(), one.id());
    assert_eq!(other.commitments().buyer_point(), one.verify(key).unwrap().commitments().buyer_point());
}

/// Commitments under the H of another key that claims the same zone and epoch.
#[test]
fn other_epochs_h() {
    let (other, _) = crate::key::solo(
        crate::testing::ZONE,
        crate::testing::EPOCH,
        crate::key::ValidatorIndex(0),
        &mut rng(7),
    );
    let (intent, _) = Intent::create(terms(), BUYER_AT, Reserve(1), &other, &mut rng(8)).unwrap();
    assert!(intent.verify(&other).is_ok());
    assert_eq!(intent.verify(&committee().0), Err(IntentError::Proof(ProofFailed)));
}

/// Cheat 17, for the terms: a number outside its range, or a rule that does not exist, is no intent.
#[test]
fn terms_out_of_range() {
    let bytes = to_postcard(&terms());
    let ok = |bytes: &[u8]| ohmesh_units::from_postcard::<Terms>("terms", bytes).is_ok();
    assert!(ok(&bytes));
    let with = |find: &[u8], replace: &[u8]| {
        let at = bytes.windows(find.len()).position(|bytes| bytes == find).unwrap();
        [&bytes[..at], replace, &bytes[at + find.len()..]].concat()
    };
    let area = to_postcard(&terms().area);
    let deadline = to_postcard(&terms().deadline);
    let energy = |kwh: u16| with(&[&area[..], &[40]].concat(), &[&area[..], &to_postcard(&kwh)].concat());
    let rest = |kappa: u8, renewable: u8, connectors: u8| {
        with(
            &[&deadline[..], &[3, 2, 50, 0b101]].concat(),
            &[&deadline[..], &[3, kappa, renewable, connectors]].concat(),
        )
    };
    assert!(ok(&energy(16_383)) && !ok(&energy(0)) && !ok(&energy(16_384)));
    assert!(ok(&rest(7, 100, 1)) && !ok(&rest(8, 50, 5)) && !ok(&rest(2, 101, 5)) && !ok(&rest(2, 50, 0)));
    // The end: tick, pricing, choice, the buyer's key.
    let end = bytes.len() - 32;
    for (at, bad) in [(end - 3, 0), (end - 2, 2), (end - 1, 3)] {
        let mut bent = bytes.clone();
        bent[at] = bad;
        assert!(!ok(&bent), "byte {at}");
    }
}

#[test]
fn square_that_is_not_the_positions() {
    let key = &committee().0;
    let (mut intent, secret) = honest(1);
    let square = commit(1, &secret.blind_q, &key.h());
    intent.commitments.q = Point::new(square).unwrap();
    let mut transcript = transcript(key, &intent.terms, &intent.commitments, None);
    let (x, y) = (Scalar::from(secret.x), Scalar::from(secret.y));
    let rest = secret.blind_q - x * secret.blind_x - y * secret.blind_y;
    let witness = [secret.b, x, secret.blind_x, y, secret.blind_y, rest];
    let relations = relations(&intent.commitments, key.h().point());
    intent.proof = LinearProof::prove(&mut transcript, &relations, &witness, &mut rng(3));
    assert_eq!(intent.verify(key), Err(IntentError::Proof(ProofFailed)));
}

fn by_road() -> Terms {
    Terms { choice: Choice::BestByRoad, ..terms() }
}

fn road_table(count: u8) -> Vec<(StationId, RoadDetour)> {
    (0..count).map(|n| (crate::testing::station(n), RoadDetour(1000 + u16::from(n)))).collect()
}

fn with_roads(roads: &[(StationId, RoadDetour)], seed: u8) -> Result<(Intent, BuyerSecret), IntentError> {
    Intent::create_by_road(by_road(), BUYER_AT, Reserve(1), roads, &committee().0, &mut rng(seed))
}

#[test]
fn tables_of_every_length() {
    let key = &committee().0;
    for count in [0, 1, 16, 17, 64] {
        let (intent, secret) = with_roads(&road_table(count), 1).unwrap();
        let verified = intent.verify(key).unwrap();
        assert_eq!(Intent::decode(&intent.encode()), Ok(intent.clone()));
        assert_eq!(VerifiedIntent::decode(&verified.encode()), Ok(verified.clone()));
        for (station, road) in road_table(count) {
            assert_eq!(verified.open_road(station, &secret), Some(road));
        }
        assert!(verified.road(crate::testing::station(200)).is_none());
    }
}

#[test]
fn table_out_of_order_too_long_missing_or_unasked() {
    let key = &committee().0;
    let mut twice = road_table(3);
    twice[2].0 = twice[1].0;
    let station = twice[1].0;
    assert_eq!(with_roads(&twice, 1).map(|_| ()), Err(IntentError::Road(RoadError::Order(station))));
    let found = ROADS_MAX + 1;
    let long = with_roads(&road_table(65), 1).map(|_| ());
    assert_eq!(long, Err(IntentError::Road(RoadError::TooMany { found })));
    let missing = Intent::create(by_road(), BUYER_AT, Reserve(1), key, &mut rng(1)).map(|_| ());
    assert_eq!(missing, Err(IntentError::Road(RoadError::Rule)));
    let unasked = Intent::create_by_road(terms(), BUYER_AT, Reserve(1), &road_table(3), key, &mut rng(1));
    assert_eq!(unasked.map(|_| ()), Err(IntentError::Road(RoadError::Rule)));
    // In messages that others made.
    let (honest, _) = with_roads(&road_table(3), 1).unwrap();
    let mut swapped = honest.clone();
    swapped.road.as_mut().unwrap().entries.swap(0, 1);
    assert!(matches!(swapped.verify(key), Err(IntentError::Proof(_))), "the table is in the transcript");
    let mut without = honest.clone();
    without.road = None;
    assert_eq!(without.verify(key), Err(IntentError::Road(RoadError::Rule)));
    assert!(Intent::decode(&without.encode()).is_err(), "it ends early");
    let mut with = self::honest(1).0;
    with.road = honest.road;
    assert_eq!(with.verify(key), Err(IntentError::Road(RoadError::Rule)));
    assert!(Intent::decode(&with.encode()).is_err(), "something follows");
}

#[test]
fn table_entry_edited_or_out_of_range() {
    let key = &committee().0;
    let (honest, secret) = with_roads(&road_table(3), 1).unwrap();
    let mut edited = honest.clone();
    let entries = &mut edited.road.as_mut().unwrap().entries;
    entries[1].detour = entries[2].detour;
    assert_eq!(edited.verify(key), Err(IntentError::Proof(ProofFailed)));
    let mut renamed = honest.clone();
    renamed.road.as_mut().unwrap().entries[2].station = crate::testing::station(9);
    assert_eq!(renamed.verify(key), Err(IntentError::Proof(ProofFailed)));
    // A table of which one entry is below zero, or above 16 bits, with the range proof of another table.
    for value in [-Scalar::ONE, Scalar::from(1u32 << 16)] {
        let mut forged = honest.clone();
        let table = forged.road.as_mut().unwrap();
        let station = table.entries[1].station;
        let point = times_g(&value) + secret.road_blinding(station) * key.h().point();
        table.entries[1].detour = Point::new(point).unwrap();
        let entries = table.entries.clone();
        let mut transcript = transcript(key, &forged.terms, &forged.commitments, Some(&entries));
        let (x, y) = (Scalar::from(secret.x), Scalar::from(secret.y));
        let rest = secret.blind_q - x * secret.blind_x - y * secret.blind_y;
        let witness = [secret.b, x, secret.blind_x, y, secret.blind_y, rest];
        let relations = relations(&forged.commitments, key.h().point());
        forged.proof = LinearProof::prove(&mut transcript, &relations, &witness, &mut rng(3));
        let points = [forged.commitments.x.point(), forged.commitments.y.point()];
        let values = [(secret.x.into(), secret.blind_x), (secret.y.into(), secret.blind_y)];
        let ranges = key.ranges();
        forged.position =
            RangeProof::prove(ranges, Width::Position, &points, &values, &transcript, &mut rng(3)).unwrap();
        let (points, values) = ([forged.commitments.reserve.point()], [(1, secret.blind_reserve)]);
        forged.reserve =
            RangeProof::prove(ranges, Width::Reserve, &points, &values, &transcript, &mut rng(3)).unwrap();
        let others = road::commit_to(&road_table(3), &secret, key).unwrap();
        forged.road.as_mut().unwrap().ranges =
            RoadTable::prove(others, &road_table(3), &secret, key, &transcript, &mut rng(3)).unwrap().ranges;
        let refused = IntentError::Road(RoadError::Range(RangeError::Failed));
        assert_eq!(forged.verify(key), Err(refused));
    }
}

#[test]
fn any_flipped_byte_of_a_table_is_refused() {
    let key = &committee().0;
    let (intent, _) = with_roads(&road_table(2), 1).unwrap();
    let bytes = intent.encode();
    let start = bytes.len() - (1 + 2 * ENTRY_BYTES + 2 + 513);
    for at in (start..bytes.len()).step_by(3) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let refused = Intent::decode(&bent).map_or(true, |bent| bent.verify(key).is_err());
        assert!(refused, "byte {at}");
    }
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
    let mut transcript = transcript(key, &intent.terms, &intent.commitments, None);
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
