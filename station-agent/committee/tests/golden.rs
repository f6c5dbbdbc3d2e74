//! The bytes on the wire and in the log. A change here is a new version, not a new expectation.
#![allow(clippy::unwrap_used)]

#[path = "fixture/four.rs"]
mod four;

use four::*;
use ohmesh_committee::*;
use ohmesh_ledger::Proposal;
use ohmesh_units::{BlockId, Canonical, Domain, Signature, to_hex};

const ID: BlockId = BlockId([0xb1; 32]);

/// The first 48 bytes, the number of bytes, and 8 bytes of the hash of all.
fn golden<T: Canonical + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
    let bytes = value.encode();
    let hash = Domain::new("golden").hash(&[&bytes]);
    let found =
        format!("{}.. {} {}", to_hex(&bytes[..bytes.len().min(48)]), bytes.len(), to_hex(&hash.0[..8]));
    assert_eq!(found, expected, "{}", T::NAME);
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
}

fn signature(byte: u8) -> Signature {
    Signature::from_bytes([byte; 64])
}

fn proposal() -> Proposal {
    Proposal { height: 300, round: 2, pol_round: Some(1), block: ID, validator: 3 }
}

#[test]
fn messages() {
    golden(
        &message(vote_body(Prevote, (300, 2), Some(ID), 3)),
        "010909090909090909090909090909090909090909090909090909090909090909030000ac020201b1b1b1b1b1b1b1b1.. 137 bef16596f08e09fe",
    );
    golden(
        &message(vote_body(Precommit, (1, 0), None, 0)),
        "01090909090909090909090909090909090909090909090909090909090909090903000101000000c20b275eaeb00264.. 104 0731e33ef6698b82",
    );
    let bytes = BlockBytes::from(b"block".to_vec());
    golden(
        &message(Body::Proposal(proposal(), signature(5), bytes)),
        "0109090909090909090909090909090909090909090909090909090909090909090301ac02020101b1b1b1b1b1b1b1b1.. 143 5ac49e65a471a6b3",
    );
    golden(
        &message(Body::Polka(polka((300, 2), ID, &[0, 2, 3]))),
        "0109090909090909090909090909090909090909090909090909090909090909090302ac0202b1b1b1b1b1b1b1b1b1b1.. 266 01aca8b948bddcad",
    );
    let votes = [(1, Prevote, None), (2, Precommit, Some(ID))];
    golden(
        &message(Body::Round(round_certificate(RoundKind::Skip, (300, 2), &votes))),
        "0109090909090909090909090909090909090909090909090909090909090909090303ac02020002010000d9b930f8d5.. 206 d7d916d0b69355e9",
    );
    golden(
        &message(Body::Round(round_certificate(RoundKind::Precommit, (300, 2), &votes[1..]))),
        "0109090909090909090909090909090909090909090909090909090909090909090303ac02020101020101b1b1b1b1b1.. 139 49f4f2258e97494a",
    );
}

#[test]
fn records() {
    let (vote, vote_signature) = vote(Precommit, (300, 2), Some(ID), 3);
    golden(
        &WalRecord::Vote(vote, vote_signature),
        "010001ac020201b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b103999089c21b3e62d5.. 104 45706fc6fa637b72",
    );
    golden(
        &WalRecord::Proposal(proposal(), signature(5)),
        "0101ac02020101b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1030505050505050505.. 104 f94c0f6aec7a6c20",
    );
    golden(
        &WalRecord::Polka(polka((300, 2), ID, &[0, 2, 3])),
        "0102ac0202b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1030069bd44311248c1b94b.. 233 ed5fb8d7edd9f138",
    );
    let kinds = [TimerKind::Propose, TimerKind::Prevote, TimerKind::Precommit, TimerKind::Rebroadcast];
    for (kind, expected) in kinds.into_iter().zip([
        "0103ac020200.. 6 d18cdc8ae8de6237",
        "0103ac020201.. 6 d1eec10d071bfa9e",
        "0103ac020202.. 6 d55fcbd1e2f75452",
        "0103ac020203.. 6 a51ede23f59a6934",
    ]) {
        golden(&WalRecord::Elapsed(Timer { height: 300, round: 2, kind }), expected);
    }
    golden(
        &WalRecord::Block { height: 300, round: 2, proposer: 3, block: ID, valid: true },
        "0104ac020203b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b101.. 39 9aee217bca436c54",
    );
}

#[test]
fn evidence() {
    let (nil, some) = (vote(Prevote, (300, 2), None, 3), vote(Prevote, (300, 2), Some(ID), 3));
    golden(
        &Evidence::Votes([nil, some]),
        "010000ac02020003777c3cf451e9b5e4073a06bb615956c54c41acd1d5ae9cbf80bfb3e4f6021a8262b200c980485eea.. 174 7b5d622454c5792e",
    );
    let other = Proposal { pol_round: None, ..proposal() };
    golden(
        &Evidence::Proposals([(proposal(), signature(5)), (other, signature(6))]),
        "0101ac02020101b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1030505050505050505.. 205 9e6299f41eaa40ae",
    );
}
