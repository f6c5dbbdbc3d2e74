//! Two auctions with the same seeds that differ only in losing prices and the buyer's position: what the public sees
//! differs only in commitments, proofs, ciphertexts, and the ids and hashes computed from them.

#![allow(clippy::unwrap_used)]

mod world;

use curve25519_dalek::{constants::RISTRETTO_BASEPOINT_TABLE, scalar::Scalar};
use ohmesh_auction::{
    intent::{Kappa, Terms},
    outcome::Decision,
};
use ohmesh_units::{Canonical, InCell, to_postcard};
use std::ops::Range;
use world::{Sale, Secrets, committee, sale, sale_by, second_score};

/// A message's bytes and which of them may differ.
struct Public {
    name: String,
    bytes: Vec<u8>,
    hidden: Vec<Range<usize>>,
}

/// Walks over a message field by field.
struct Fields {
    at: usize,
    hidden: Vec<Range<usize>>,
}

impl Fields {
    fn new() -> Self {
        Self { at: 1, hidden: Vec::new() }
    }

    fn open(mut self, bytes: usize) -> Self {
        self.at += bytes;
        self
    }

    fn hidden(mut self, bytes: usize) -> Self {
        self.hidden.push(self.at..self.at + bytes);
        self.open(bytes)
    }

    fn end(self, name: String, bytes: Vec<u8>) -> Public {
        assert_eq!(self.at, bytes.len(), "{name}: every byte is listed");
        Public { name, bytes, hidden: self.hidden }
    }
}

fn public(sale: &Sale) -> Vec<Public> {
    let count = sale.bids.len();
    let mut all = Vec::new();
    // pk and the commitment to the reserve are the same: neither depends on what differs.
    let intent = Fields::new()
        .open(to_postcard(&sale.intent.terms).len())
        .open(32)
        .hidden(3 * 32) // X, Y, Q
        .open(32)
        .hidden(7 * 32) // proof
        .open(2)
        .hidden(449) // range proof of the position
        .open(2)
        .hidden(513); // range proof of the reserve, over a transcript of the above
    all.push(intent.end("intent".into(), sale.intent.encode()));
    for (n, bid) in sale.bids.iter().enumerate() {
        let fields = Fields::new()
            .hidden(32) // auction
            .open(32)
            .hidden(32) // C
            .open(32)
            .hidden(3 * 32) // proof
            .open(2)
            .hidden(449); // range proof
        all.push(fields.end(format!("bid {n}"), bid.encode()));
    }
    for (n, release) in sale.releases.iter().enumerate() {
        let fields = Fields::new().hidden(32).open(1 + 1 + 1 + 32 * count).hidden(64);
        all.push(fields.end(format!("release {n}"), release.encode()));
    }
    all.push(outcome(sale, count));
    all.push(Fields::new().hidden(32).open(32).hidden(32).end("accept".into(), sale.accept.encode()));
    all
}

fn outcome(sale: &Sale, count: usize) -> Public {
    let (shown, differences, ranges) = match &sale.outcome.decision {
        Decision::Best(win) => (to_postcard(&win.price).len(), count, 641),
        Decision::SecondScore(payment) => (to_postcard(&payment.steps).len(), count + 6, 769),
        other => panic!("{other:?}"),
    };
    let fields = Fields::new()
        .hidden(32) // auction
        .open(1 + 1 + 32 + shown)
        .open(32) // encapsulated key, from the same seed
        .open(2)
        .hidden(177) // award
        .open(1)
        .hidden(32 * differences)
        .hidden(3 * 32) // proof
        .open(2)
        .hidden(ranges);
    let fields = match &sale.outcome.decision {
        Decision::SecondScore(_) => fields.open(1).hidden(64 * (count + 1)), // which of them set the pay
        _ => fields,
    };
    fields.end("outcome".into(), sale.outcome.encode())
}

fn worlds() -> (Sale, Sale, [Secrets; 2]) {
    let committee = committee(&[1, 1, 1, 1]);
    let one = Secrets {
        position: InCell { x: 120, y: 77 },
        reserve: 1_000_000,
        prices: vec![5000, 3000, 6000, 41_000],
    };
    let other =
        Secrets { position: InCell { x: 90, y: 201 }, prices: vec![12_345, 3000, 3600, 7000], ..one.clone() };
    (sale(&committee, None, &one), sale(&committee, None, &other), [one, other])
}

#[test]
fn public_bytes_differ_only_where_they_are_sealed() {
    let (one, other, _) = worlds();
    differ_only_where_sealed(&one, &other);
}

/// By second score also the winner's own price is sealed, and which bid set the pay, and by how much it was rounded.
#[test]
fn a_second_score_shows_neither_the_winners_price_nor_who_set_the_pay() {
    let committee = committee(&[1, 1, 1, 1]);
    let secrets =
        |position, prices: &[u16]| Secrets { position, reserve: 1_000_000, prices: prices.to_vec() };
    let terms = Terms { kappa: Kappa::NONE, ..second_score() };
    let one = secrets(InCell { x: 120, y: 77 }, &[5000, 3000, 6000, 41_000]);
    let other = secrets(InCell { x: 90, y: 201 }, &[7000, 2100, 9000, 4999]);
    let sale = |secrets| sale_by(&committee, terms.clone(), None, secrets);
    differ_only_where_sealed(&sale(&one), &sale(&other));
}

fn differ_only_where_sealed(one: &Sale, other: &Sale) {
    assert_eq!(one.verdict, other.verdict, "the worlds agree on what is public");
    assert_ne!(one.intent, other.intent, "and are two");
    for (a, b) in public(one).iter().zip(public(other)) {
        assert_eq!(a.bytes.len(), b.bytes.len(), "{}", a.name);
        assert_eq!(a.hidden, b.hidden, "{}", a.name);
        for at in 0..a.bytes.len() {
            if !a.hidden.iter().any(|range| range.contains(&at)) {
                assert_eq!(a.bytes[at], b.bytes[at], "{} at byte {at}", a.name);
            }
        }
    }
}

#[test]
fn no_public_byte_string_is_an_unblinded_secret() {
    let (one, other, secrets) = worlds();
    for (sale, secrets) in [(one, &secrets[0]), (other, &secrets[1])] {
        let (x, y) = (u64::try_from(secrets.position.x).unwrap(), u64::try_from(secrets.position.y).unwrap());
        let losing =
            secrets.prices.iter().enumerate().filter(|(n, _)| *n != 1).map(|(_, price)| u64::from(*price));
        let values = losing.chain([x, y, x * x + y * y, u64::from(secrets.reserve)]);
        let messages = public(&sale);
        for value in values {
            let scalar = Scalar::from(value);
            let point = (&scalar * RISTRETTO_BASEPOINT_TABLE).compress();
            for message in &messages {
                for secret in [scalar.as_bytes(), point.as_bytes()] {
                    let found = message.bytes.windows(32).any(|window| window == secret);
                    assert!(!found, "{value} in {}", message.name);
                }
            }
        }
    }
}
