//! From one epoch to the next without a block in between: what leads on, and what does not.

use crate::{journals::certify, town::*};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn header(town: &Town) -> Header {
    Block::decode(town.blocks.last().unwrap()).unwrap().header
}

/// A town whose first epoch has just ended, and how it did.
fn ended() -> (Town, HandOver) {
    let mut town = Town::new();
    town.block_at(DAY, Vec::new());
    let header = header(&town);
    let certificate = certify(&town.state, &header, &[1, 2, 3]);
    let voters = town.state.validators().voters().clone();
    (town, HandOver { header, certificate, voters })
}

fn at_ms(time: Timestamp, off: i64) -> Timestamp {
    Timestamp::from_millis(time.as_millis().saturating_add_signed(off))
}

#[test]
fn a_hand_over_leads_from_the_genesis_to_the_next_epoch() {
    let (mut town, hand_over) = ended();
    let genesis = Anchor::genesis(&zone());
    let next = genesis.follow(&hand_over).unwrap();
    let Header { height, time, .. } = hand_over.header;
    let (zone, voters) = (*town.state.zone_id(), hand_over.voters.clone());
    assert_eq!(next, Anchor { zone, epoch: 1, voters, height, time });
    assert_eq!((hand_over.epoch(), town.state.epoch().number), (1, 1));
    assert_eq!(hand_over.verify(&zone, 0, &genesis.voters), Ok(&hand_over.voters));
    assert_eq!(HandOver::decode(&hand_over.encode()), Ok(hand_over.clone()));
    assert_eq!(Anchor::decode(&next.encode()), Ok(next.clone()));
    // 21 days, and an anchor ahead of the clock has no age.
    assert_eq!(Anchor::AGE_MAX, 21 * DAY);
    assert_eq!(
        (next.age(at_ms(time, 7)), next.age(at_ms(time, -7))),
        (Duration::from_millis(7), Duration::ZERO)
    );

    // And to the one after it.
    town.block_at(DAY, Vec::new());
    let header = header(&town);
    let certificate = certify(&town.state, &header, &[2, 3, 4]);
    let voters = town.state.validators().voters().clone();
    let second = HandOver { header, certificate, voters };
    assert_eq!((second.header.epoch, second.epoch()), (1, 2));
    assert_eq!(next.follow(&second).unwrap().epoch, 2);
}

#[test]
fn hand_overs_that_lead_nowhere() {
    let (mut town, good) = ended();
    let genesis = Anchor::genesis(&zone());
    let Header { height, .. } = good.header;
    let fault = |anchor: &Anchor, hand_over: &HandOver| anchor.follow(hand_over).unwrap_err();

    let others = Voters::new(good.voters.all()[..3].to_vec()).unwrap();
    let other_voters = HandOver { voters: others, ..good.clone() };
    assert_eq!(fault(&genesis, &other_voters), HandOverError::OtherVoters { epoch: 0, height });
    let refused = other_voters.verify(town.state.zone_id(), 0, &genesis.voters);
    assert!(matches!(refused, Err(LedgerError::HandOver { epoch: 0, .. })), "{refused:?}");

    let next = genesis.follow(&good).unwrap();
    assert_eq!(fault(&next, &good), HandOverError::OtherEpoch { expected: 1, found: 0 }, "once more");
    let elsewhere = Anchor { zone: ZoneId([1; 32]), ..genesis.clone() };
    let found = *town.state.zone_id();
    assert_eq!(fault(&elsewhere, &good), HandOverError::OtherZone { expected: ZoneId([1; 32]), found });
    let few = HandOver { certificate: certify(&town.state, &good.header, &[1, 2]), ..good.clone() };
    assert!(matches!(fault(&genesis, &few), HandOverError::Certificate(LedgerError::Certificate { .. })));
    let refused = few.verify(town.state.zone_id(), 0, &genesis.voters);
    assert!(matches!(refused, Err(LedgerError::Certificate { .. })), "{refused:?}");

    town.ok(BUYER, pay(BUYER, SELLER, 1), &[]);
    let header = header(&town);
    let (height, certificate) = (header.height, certify(&town.state, &header, &[1, 2, 3]));
    let middle = HandOver { header, certificate, voters: good.voters };
    assert_eq!(fault(&next, &middle), HandOverError::NotLast { epoch: 1, height });
}

/// Neither height nor time stands still, unless the anchor is that very header.
#[test]
fn a_hand_over_goes_forward_in_height_and_in_time() {
    let (_, hand_over) = ended();
    let Header { height, time, .. } = hand_over.header;
    for (heights, ms, leads_on) in [
        (0, 0, true),
        (-1, -1, true),
        (0, -1, false),
        (-1, 0, false),
        (1, 0, false),
        (0, 1, false),
        (1, -1, false),
        (-1, 1, false),
        (1, 1, false),
    ] {
        let (from_height, from_time) = (height.saturating_add_signed(heights), at_ms(time, ms));
        let anchor = Anchor { height: from_height, time: from_time, ..Anchor::genesis(&zone()) };
        let expected = HandOverError::Backwards { epoch: 0, height, time, from_height, from_time };
        let followed = anchor.follow(&hand_over).map(|next| (next.height, next.time));
        assert_eq!(followed, if leads_on { Ok((height, time)) } else { Err(expected) }, "{heights} {ms}");
    }
}

#[test]
fn two_operators_agree_on_the_older_of_their_words() {
    let (_, hand_over) = ended();
    let one = Anchor::genesis(&zone()).follow(&hand_over).unwrap();
    let newer = Anchor { height: one.height + 5, time: at_ms(one.time, 5_000), ..one.clone() };
    assert_eq!(Anchor::agreed(&one, &newer), Some(one.clone()));
    assert_eq!(Anchor::agreed(&newer, &one), Some(one.clone()));
    assert_eq!(Anchor::agreed(&one, &one), Some(one.clone()));
    let voters = Voters::new(one.voters.all()[..3].to_vec()).unwrap();
    let others = [
        Anchor { zone: ZoneId([1; 32]), ..newer.clone() },
        Anchor { epoch: 2, ..newer.clone() },
        Anchor { voters, ..newer },
    ];
    for other in &others {
        assert_eq!((Anchor::agreed(&one, other), Anchor::agreed(other, &one)), (None, None), "{other:?}");
    }
}

#[test]
fn an_anchor_is_made_of_a_certified_head_only() {
    let (town, hand_over) = ended();
    let (header, voters) = (hand_over.header, Anchor::genesis(&zone()).voters);
    let anchor = Anchor::at(&(header.clone(), hand_over.certificate), &voters).unwrap();
    assert_eq!((anchor.epoch, anchor.height, anchor.time), (0, header.height, header.time));
    let few = certify(&town.state, &header, &[1, 2]);
    assert!(matches!(Anchor::at(&(header, few), &voters), Err(LedgerError::Certificate { .. })));
}

/// The most validators there may be, all of whom have signed.
#[test]
fn the_longest_hand_over_can_be_read() {
    let all = |n: u8| Validator { stake: 1 << 54, ..validator(n, 1) };
    let validators = ValidatorSet::new((1..=32).map(all).collect()).unwrap();
    let mut town = Town::in_zone(Zone { validators, ..zone() });
    town.block_at(DAY, Vec::new());
    let header = header(&town);
    let certificate = certify(&town.state, &header, &(1..=32).collect::<Vec<u8>>());
    let voters = town.state.validators().voters().clone();
    let hand_over = HandOver { header, certificate, voters };
    let bytes = hand_over.encode();
    assert!(bytes.len() <= 4_096, "{} bytes: what a phone fetches every day", bytes.len());
    let read = HandOver::decode(&bytes).unwrap();
    assert!(Anchor::genesis(town.state.zone()).follow(&read).is_ok());
}
