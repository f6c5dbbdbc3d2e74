use super::*;
use crate::{
    group::{G, lagrange, random_scalar},
    key::{Blinding, EpochKey, KeyShares, Share},
    testing::{EPOCH, ZONE, committee, generate, rng},
};
use ohmesh_units::to_hex;
use rand_chacha::ChaCha20Rng;

fn generation(validators: u16) -> Generation {
    let stakes: Vec<_> = (0..validators).map(|v| (ValidatorIndex(v), 1)).collect();
    Generation { zone: ZONE, epoch: EPOCH, attempt: 0, holding: Shareholding::by_stake(&stakes).unwrap() }
}

/// Dealers that have all sent their deals, and a board that has taken them.
fn dealt(validators: u16, rng: &mut ChaCha20Rng) -> (Board, Vec<Dealer>, Vec<Deal>, Vec<Handout>) {
    let generation = generation(validators);
    let (mut board, mut dealers, mut deals) = (Board::new(generation.clone()), Vec::new(), Vec::new());
    for validator in generation.holding.validators() {
        let (dealer, Action::Deal(deal)) = Dealer::start(generation.clone(), validator, rng).unwrap() else {
            panic!("a dealer starts with a deal")
        };
        board.on_deal(deal.clone()).unwrap();
        dealers.push(dealer);
        deals.push(deal);
    }
    let mut handouts = Vec::new();
    for dealer in &mut dealers {
        for deal in &deals {
            for action in dealer.on_deal(deal.clone(), rng).unwrap() {
                let Action::Handout(handout) = action else { panic!("{action:?}") };
                handouts.push(handout);
            }
        }
    }
    (board, dealers, deals, handouts)
}

fn hand_out(
    board: &mut Board,
    dealers: &mut [Dealer],
    handouts: &[Handout],
    rng: &mut ChaCha20Rng,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for handout in handouts {
        board.on_handout(handout.clone()).unwrap();
        for dealer in &mut *dealers {
            actions.extend(dealer.on_handout(handout.clone(), rng).unwrap());
        }
    }
    actions
}

#[test]
fn shares_by_stake_make_one_key() {
    let (key, shares) = generate(&[3, 1, 2], &mut rng(2));
    assert_eq!((key.holding().shares(), key.holding().threshold()), (6, 5));
    assert!(shares.iter().all(|shares| shares.belong_to(&key)));
    assert_eq!(shares[0].indices().collect::<Vec<u8>>(), [1, 2, 3]);
    let bytes = key.encode();
    assert!(bytes.len() <= EpochKey::MAX_BYTES);
    assert_eq!(EpochKey::decode(&bytes), Ok(key.clone()));
    let stored = KeyShares::from_bytes(&shares[0].to_bytes()).unwrap();
    assert!(stored.belong_to(&key));
    assert!(!stored.belong_to(&committee().0));
    assert!(KeyShares::from_bytes(&shares[0].to_bytes()[1..]).is_err());
    assert_eq!(format!("{stored:?}"), "KeyShares(epoch 3, validator 0, ..)");
}

#[test]
fn solo_key_is_a_committee_of_one() {
    let (key, shares) = crate::key::solo(ZONE, 7, ValidatorIndex(0), &mut rng(3));
    assert_eq!((key.holding().shares(), key.holding().threshold()), (1, 1));
    assert!(shares.belong_to(&key));
    assert_eq!(key.blinding_share(1), Some(key.h()));
    assert_ne!(key.verifying_share(1), Some(key.h()));
    assert_eq!(EpochKey::decode(&key.encode()), Ok(key));
    let alone = Dealer::start(generation(1), ValidatorIndex(0), &mut rng(3)).map(|_| ());
    assert_eq!(alone, Err(GenerationError::NoShare(ValidatorIndex(0))));
}

#[test]
fn blinding_base_needs_only_a_threshold_and_is_the_same_for_any() {
    let (key, shares) = generate(&[1; 4], &mut rng(4));
    let verifying: Vec<Point> = key.holding().indices().map(|i| key.verifying_share(i).unwrap()).collect();
    let blindings: Vec<Blinding> = shares.iter().map(|shares| Blinding::new(shares, &mut rng(5))).collect();
    let assemble = |blindings: &[Blinding]| {
        EpochKey::assemble(ZONE, EPOCH, key.holding().clone(), verifying.clone(), blindings)
    };
    for silent in 0..4 {
        let mut some = blindings.clone();
        some.remove(silent);
        let without = assemble(&some).unwrap();
        assert_eq!(without.h(), key.h());
        assert_eq!(without.blinding_share(u8::try_from(silent).unwrap() + 1), None);
        assert_eq!(EpochKey::decode(&without.encode()), Ok(without));
    }
    let refused = KeyError::TooFewBlindingShares { found: 2, threshold: 3 };
    assert_eq!(assemble(&blindings[..2]), Err(refused));
}

#[test]
fn wrong_blinding_share_names_its_validator() {
    let mut rng = rng(6);
    let (mut board, mut dealers, _, handouts) = dealt(4, &mut rng);
    let actions = hand_out(&mut board, &mut dealers, &handouts, &mut rng);
    let Action::Keep(shares, honest) = &actions[2] else { panic!() };
    // A multiple of another secret, with a proof for that one.
    let validator = shares.validator();
    let other = KeyShares::new(ZONE, EPOCH, validator, vec![Share::new(3, random_scalar(&mut rng))]);
    let wrong = Blinding::new(&other, &mut rng);
    let refused = GenerationError::Key(KeyError::BlindingShare { validator, index: 3 });
    assert_eq!(board.on_blinding(wrong), Err(refused));
    board.on_blinding(honest.clone()).unwrap();
    assert_eq!(board.on_blinding(honest.clone()), Err(GenerationError::Twice(validator)));
    let renamed = Blinding { validator: ValidatorIndex(0), ..honest.clone() };
    let validator = ValidatorIndex(0);
    assert_eq!(
        board.on_blinding(renamed),
        Err(GenerationError::Key(KeyError::BlindingShare { validator, index: 1 }))
    );
    assert!(matches!(board.finish(), Err(GenerationError::Key(KeyError::TooFewBlindingShares { .. }))));
    assert_eq!(Board::decode(&board.encode()), Ok(board.clone()), "a replica keeps it in its state");
    assert_eq!(board.missing(), [0, 1, 3].map(ValidatorIndex));
}

#[test]
fn verifying_shares_of_no_polynomial() {
    let (key, shares) = generate(&[1; 4], &mut rng(7));
    let mut verifying: Vec<Point> =
        key.holding().indices().map(|i| key.verifying_share(i).unwrap()).collect();
    verifying[3] = Point::new(verifying[3].point() + G).unwrap();
    let blindings: Vec<Blinding> =
        shares[..3].iter().map(|shares| Blinding::new(shares, &mut rng(5))).collect();
    let refused = EpochKey::assemble(ZONE, EPOCH, key.holding().clone(), verifying, &blindings);
    assert_eq!(refused, Err(KeyError::VerifyingShare { index: 4 }));
}

#[test]
fn deals_that_are_refused() {
    let mut rng = rng(8);
    let (_, _, deals, _) = dealt(4, &mut rng);
    let (zero, one) = (ValidatorIndex(0), ValidatorIndex(1));
    let mut board = Board::new(generation(4));
    let copied = Deal { validator: one, ..deals[0].clone() };
    assert_eq!(board.on_deal(copied), Err(GenerationError::ProofOfKnowledge { validator: one, share: 2 }));
    let mut rogue = deals[0].clone();
    let constant = &mut rogue.polynomials[0].coefficients[0];
    *constant = Point::new(constant.point() + G).unwrap();
    assert_eq!(board.on_deal(rogue), Err(GenerationError::ProofOfKnowledge { validator: zero, share: 1 }));
    let mut short = deals[0].clone();
    short.polynomials[0].coefficients.pop();
    assert_eq!(
        board.on_deal(short),
        Err(GenerationError::DealShape(zero)),
        "a lower degree is a lower threshold"
    );
    let dead = Deal { seal: SealKey::from_bytes([0; 32]), ..deals[0].clone() };
    assert_eq!(
        board.on_deal(dead),
        Err(GenerationError::DealShape(zero)),
        "it would silence all other dealers"
    );
    let mut other = Board::new(Generation { attempt: 1, ..generation(4) });
    assert_eq!(other.on_deal(deals[0].clone()), Err(GenerationError::OtherGeneration(zero)));
    let stranger = Deal { validator: ValidatorIndex(9), ..deals[0].clone() };
    assert_eq!(board.on_deal(stranger), Err(GenerationError::NoShare(ValidatorIndex(9))));
    board.on_deal(deals[0].clone()).unwrap();
    assert_eq!(board.on_deal(deals[0].clone()), Err(GenerationError::Twice(zero)));
    assert_eq!(board.missing(), [1, 2, 3].map(ValidatorIndex), "the silent are excluded next time");
    assert_eq!(board.finish(), Err(GenerationError::Incomplete));
}

#[test]
fn messages_out_of_step() {
    let mut rng = rng(9);
    let (mut board, _, deals, handouts) = dealt(4, &mut rng);
    let mut early = Board::new(generation(4));
    let dealer = handouts[0].validator;
    assert_eq!(early.on_handout(handouts[0].clone()), Err(GenerationError::WrongStep(dealer)));
    assert_eq!(board.step(), Step::Handouts);
    let mut cut = handouts[0].clone();
    cut.parcels.pop();
    assert_eq!(board.on_handout(cut), Err(GenerationError::HandoutShape(dealer)));
    assert_eq!(Deal::decode(&deals[0].encode()), Ok(deals[0].clone()));
    assert_eq!(Handout::decode(&handouts[0].encode()), Ok(handouts[0].clone()));
}

/// A dealer seals one validator a wrong value: the validator complains, everybody sees who lied.
#[test]
fn wrong_parcel_names_its_dealer() {
    let mut rng = rng(10);
    let (mut board, mut dealers, deals, mut handouts) = dealt(4, &mut rng);
    let (liar, victim) = (ValidatorIndex(1), ValidatorIndex(3));
    let purpose = board.generation().purpose(liar, victim);
    let wrong = deals[3].seal.seal(&purpose, random_scalar(&mut rng).as_bytes(), &mut rng).unwrap();
    let at = handouts.iter().position(|handout| handout.validator == liar).unwrap();
    handouts[at].parcels[2] = wrong;
    let actions = hand_out(&mut board, &mut dealers, &handouts, &mut rng);
    let complaint = actions.iter().find_map(|action| match action {
        Action::Complain(complaint) => Some(complaint.clone()),
        _ => None,
    });
    let complaint = complaint.unwrap();
    assert_eq!((complaint.validator, complaint.dealer), (victim, liar));
    assert_eq!(Complaint::decode(&complaint.encode()), Ok(complaint.clone()));
    let golden = include_str!("../../../tests/golden/complaint.hex");
    assert_eq!(to_hex(&complaint.encode()), golden.trim());
    let mut framed = board.clone();
    assert_eq!(board.on_complaint(&complaint), Ok(liar));
    assert_eq!((board.step(), board.culprit()), (Step::Void, Some(liar)));
    assert_eq!(board.finish(), Err(GenerationError::Void));
    // The same validator cannot frame an honest dealer.
    let frame = Complaint { dealer: ValidatorIndex(0), ..complaint.clone() };
    assert_eq!(framed.clone().on_complaint(&frame), Ok(victim));
    // Nor complain with a secret that is not its own.
    let stolen = Complaint { validator: ValidatorIndex(2), ..complaint.clone() };
    assert_eq!(framed.on_complaint(&stolen), Err(GenerationError::EmptyComplaint(ValidatorIndex(2))));
    let about_itself = Complaint { dealer: victim, ..complaint };
    assert_eq!(framed.on_complaint(&about_itself), Err(GenerationError::EmptyComplaint(victim)));
}

#[test]
fn fewer_than_the_threshold_know_nothing_of_the_key() {
    let (key, shares) = committee();
    let at_zero = |count: usize| -> RistrettoPoint {
        let indices: Vec<u8> = (1..).take(count).collect();
        let coefficients = lagrange(&indices, 0);
        let secrets = shares[..count].iter().flat_map(KeyShares::iter);
        let t: Scalar = coefficients.iter().zip(secrets).map(|(l, share)| l * *share.secret).sum();
        t * crate::group::base_a().point()
    };
    assert_eq!(at_zero(5), key.h().point());
    assert_ne!(at_zero(4), key.h().point());
}

#[test]
fn largest_messages_fit_their_bounds() {
    // 32 shares, two validators: the largest parcels; MAX_BYTES must hold them.
    let mut rng = rng(11);
    let generation = Generation {
        holding: Shareholding::by_stake(&[(ValidatorIndex(0), 15), (ValidatorIndex(1), 17)]).unwrap(),
        ..generation(2)
    };
    let parcel = Sealed::TAG_BYTES + generation.parcel_bytes(ValidatorIndex(0), ValidatorIndex(1));
    assert!(1 + 32 + 3 + 1 + 32 + 3 + parcel <= Handout::MAX_BYTES);
    let (_, Action::Deal(deal)) = Dealer::start(generation, ValidatorIndex(1), &mut rng).unwrap() else {
        panic!()
    };
    assert!(deal.encode().len() <= Deal::MAX_BYTES);
    assert_eq!(Deal::decode(&deal.encode()), Ok(deal));
}

#[test]
fn the_largest_committee() {
    let mut rng = rng(12);
    let (mut board, mut dealers, deals, handouts) = dealt(32, &mut rng);
    let largest = |sizes: Vec<usize>| sizes.into_iter().max().unwrap();
    assert!(largest(deals.iter().map(|deal| deal.encode().len()).collect()) <= Deal::MAX_BYTES);
    assert!(largest(handouts.iter().map(|handout| handout.encode().len()).collect()) <= Handout::MAX_BYTES);
    // Two of the dealers are enough to see that their shares are good.
    for action in hand_out(&mut board, &mut dealers[..2], &handouts, &mut rng) {
        let Action::Keep(shares, blinding) = action else { panic!("{action:?}") };
        assert!(blinding.encode().len() <= Blinding::MAX_BYTES);
        assert_eq!(shares.indices().count(), 1);
        board.on_blinding(blinding).unwrap();
    }
    assert_eq!(board.generation().holding.threshold(), 22);
    let bytes = board.encode();
    assert!(bytes.len() <= Board::MAX_BYTES);
    assert_eq!(Board::decode(&bytes), Ok(board));
}
