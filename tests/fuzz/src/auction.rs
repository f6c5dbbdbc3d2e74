//! Targets of the auction: what buyers, sellers and validators put on the ledger, proofs included.

use crate::{MIB, Target, Verdict, decode, world::STREET};
use ohmesh_auction::{
    award::Accept,
    bid::{Bid, LedgeredBid},
    intent::{Intent, VerifiedIntent},
    key::{
        Blinding, EpochKey,
        generation::{Complaint, Deal, Generation, Handout},
    },
    outcome::Outcome,
    release::{Opening, Release, VerifiedRelease},
};
use ohmesh_ledger::{Auction, Body, Object, State};
use ohmesh_units::{Canonical, InCell};

pub const INTENT: Target = Target {
    name: "intent",
    run: intent,
    seeds: || vec![("asked".into(), STREET.sale.intent.encode())],
    words: &[],
    memory_max: 4 * MIB,
    cost: 60,
};

pub const BID: Target = Target {
    name: "bid",
    run: bid,
    seeds: || {
        let bids = STREET.sale.bids.iter().enumerate();
        bids.map(|(at, bid)| (format!("seller_{at}"), bid.encode())).collect()
    },
    words: &[],
    memory_max: 4 * MIB,
    cost: 30,
};

pub const RELEASE: Target = Target {
    name: "release",
    run: release,
    seeds: || vec![("alone".into(), STREET.sale.release.encode())],
    words: &[],
    memory_max: 4 * MIB,
    cost: 15,
};

pub const OUTCOME: Target = Target {
    name: "outcome",
    run: outcome,
    seeds: || vec![("won".into(), STREET.sale.outcome.encode())],
    words: &[],
    memory_max: 8 * MIB,
    cost: 60,
};

pub const KEY_MESSAGE: Target = Target {
    name: "key_message",
    run: key_message,
    seeds: key_message_seeds,
    words: &[],
    memory_max: 8 * MIB,
    cost: 8,
};

fn intent(bytes: &[u8]) -> Verdict {
    match decode::<Intent>(bytes) {
        Ok(intent) => Verdict::of(intent.verify(&STREET.key)),
        Err(words) => Verdict::Refused(words),
    }
}

/// Where the sale's bids stand, as the ledger has derived it.
fn position(bid: &Bid) -> InCell {
    let ledgered = STREET.sale.ledgered.iter().find(|ledgered| ledgered.station == bid.station);
    ledgered.map_or(InCell { x: 0, y: 0 }, |ledgered| ledgered.position)
}

fn bid(bytes: &[u8]) -> Verdict {
    match decode::<Bid>(bytes) {
        Ok(bid) => Verdict::of(bid.verify(&STREET.sale.verified, &STREET.key, position(&bid))),
        Err(words) => Verdict::Refused(words),
    }
}

fn release(bytes: &[u8]) -> Verdict {
    match decode::<Release>(bytes) {
        Ok(release) => {
            let sale = &STREET.sale;
            Verdict::of(release.verify(&STREET.key, &sale.verified, &sale.ledgered))
        }
        Err(words) => Verdict::Refused(words),
    }
}

fn outcome(bytes: &[u8]) -> Verdict {
    match decode::<Outcome>(bytes) {
        Ok(outcome) => {
            let sale = &STREET.sale;
            Verdict::of(outcome.verify(&STREET.key, &sale.verified, &sale.ledgered, &sale.opening))
        }
        Err(words) => Verdict::Refused(words),
    }
}

/// The smaller messages and what the ledger keeps of the larger ones; the first byte says which it is.
fn key_message(bytes: &[u8]) -> Verdict {
    let Some((kind, bytes)) = bytes.split_first() else { return Verdict::Refused("no bytes".into()) };
    Verdict::of(match kind {
        b'd' => decode::<Deal>(bytes).map(drop),
        b'h' => decode::<Handout>(bytes).map(drop),
        b'b' => decode::<Blinding>(bytes).map(drop),
        b'c' => decode::<Complaint>(bytes).map(drop),
        b'g' => decode::<Generation>(bytes).map(drop),
        b'k' => decode::<EpochKey>(bytes).map(drop),
        b'a' => decode::<Accept>(bytes).map(drop),
        b'i' => decode::<VerifiedIntent>(bytes).map(drop),
        b'l' => decode::<LedgeredBid>(bytes).map(drop),
        b'r' => decode::<VerifiedRelease>(bytes).map(drop),
        b'o' => decode::<Opening>(bytes).map(drop),
        other => Err(format!("there is no message of kind {other}")),
    })
}

fn key_message_seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(&str, u8, Vec<u8>)> = Vec::new();
    for (_, signed) in &STREET.transactions {
        match &signed.transaction.body {
            Body::KeyDeal(deal) => seeds.push(("deal", b'd', deal.encode())),
            Body::KeyHandout(handout) => seeds.push(("handout", b'h', handout.encode())),
            Body::KeyBlinding(blinding) => seeds.push(("blinding", b'b', blinding.encode())),
            Body::KeySolo(key) => seeds.push(("epoch_key", b'k', key.encode())),
            Body::AuctionAccept(accept) => seeds.push(("accept", b'a', accept.encode())),
            _ => {}
        }
    }
    let sale = &STREET.sale;
    seeds.push(("verified_intent", b'i', sale.verified.encode()));
    seeds.push(("ledgered_bid", b'l', sale.ledgered[0].encode()));
    seeds.push(("opening", b'o', sale.opening.encode()));
    for object in STREET.states().flat_map(State::objects) {
        match object {
            Object::Generation(board) => seeds.push(("generation", b'g', board.generation.encode())),
            Object::Auction(auction) => {
                let Auction { releases, .. } = &**auction;
                seeds.extend(releases.first().map(|(_, kept)| ("verified_release", b'r', kept.encode())));
            }
            _ => {}
        }
    }
    seeds.sort();
    seeds.dedup_by_key(|(name, ..)| *name);
    seeds.into_iter().map(|(name, kind, bytes)| (name.to_owned(), [&[kind][..], &bytes].concat())).collect()
}
