//! Targets of the ledger: what peers, phones and people send it.

use crate::{
    KIB, MIB, Target, Verdict, decode, snapshot,
    world::{BUYER, SELLERS, STREET, certify, evse, hand_over, key_of, newest, sign_anew, voters, zone_file},
};
use ohmesh_ledger::{
    Anchor, Answer, Block, Certificate, Chunk, HandOver, Object, Part, Proof, Proposed, ProvenAccount, Query,
    SignedTransaction, State, Verified, Vote, VoteKind, Zone, ZoneFile, open_block, proven_object,
    transactions_root,
};
use ohmesh_tests::{account, key};
use ohmesh_units::{Canonical, Hash, Signature, Timestamp, TransactionId};
use std::{sync::LazyLock, time::Duration};

pub const TRANSACTION: Target = Target {
    name: "transaction",
    run: transaction,
    seeds: transaction_seeds,
    words: &[],
    memory_max: 16 * MIB,
    cost: 40,
};

pub const BLOCK: Target =
    Target { name: "block", run: block, seeds: block_seeds, words: &[], memory_max: 32 * MIB, cost: 60 };

pub const CERTIFICATE: Target = Target {
    name: "certificate",
    run: certificate,
    seeds: certificate_seeds,
    words: &["certificate", "validator"],
    memory_max: 256 * KIB,
    cost: 6,
};

pub const HAND_OVER: Target = Target {
    name: "hand_over",
    run: hand_over_bytes,
    seeds: || vec![("first".into(), HAND_OVER_WORLD.0.encode())],
    words: &["hand-over", "certificate", "epoch", "validator"],
    memory_max: 256 * KIB,
    cost: 6,
};

pub const ANCHOR: Target = Target {
    name: "anchor",
    run: anchor,
    seeds: anchor_seeds,
    words: &["anchor", "zone", "epoch", "validator"],
    memory_max: 256 * KIB,
    cost: 4,
};

pub const PROOF: Target = Target {
    name: "proof",
    run: proof,
    seeds: proof_seeds,
    words: &["proof", "of"],
    memory_max: MIB,
    cost: 12,
};

pub const QUERY: Target =
    Target { name: "query", run: query, seeds: query_seeds, words: &["query"], memory_max: 4 * MIB, cost: 1 };

pub const ANSWER: Target =
    Target { name: "answer", run: answer, seeds: answer_seeds, words: &[], memory_max: 32 * MIB, cost: 8 };

pub const OBJECT: Target = Target {
    name: "object",
    run: object,
    seeds: object_seeds,
    words: &["object"],
    memory_max: 4 * MIB,
    cost: 4,
};

pub const ZONE_FILE: Target = Target {
    name: "zone_file",
    run: zone_file_bytes,
    seeds: || vec![("one".into(), zone_file(1).encode()), ("four".into(), zone_file(4).encode())],
    words: &["zone", "validators", "rules"],
    memory_max: 4 * MIB,
    cost: 8,
};

/// A transaction as a phone sends it: decoded, its signatures checked, tried on each state; and again, signed anew.
fn transaction(bytes: &[u8]) -> Verdict {
    let signed: SignedTransaction = match decode(bytes) {
        Ok(signed) => signed,
        Err(words) => return Verdict::Refused(words),
    };
    let as_it_came = try_everywhere(signed.clone());
    if as_it_came == Verdict::Taken {
        return as_it_came;
    }
    match try_everywhere(sign_anew(&signed)) {
        Verdict::Taken => Verdict::Taken,
        Verdict::Refused(_) => as_it_came,
    }
}

/// Taken by any state of its zone; else refused in the words of the first, which is the one with the most in it.
fn try_everywhere(signed: SignedTransaction) -> Verdict {
    let zone = signed.transaction.zone;
    let mut refusals = Vec::new();
    for state in STREET.states().filter(|state| *state.zone_id() == zone) {
        match try_on(state, signed.clone()) {
            Ok(()) => return Verdict::Taken,
            Err(refusal) => refusals.push(refusal),
        }
    }
    let nobody = || format!("transaction {} is for zone {zone}", signed.transaction.id());
    Verdict::Refused(refusals.into_iter().next().unwrap_or_else(nobody))
}

fn try_on(state: &State, signed: SignedTransaction) -> Result<(), String> {
    let verified = Verified::one(state.zone_id(), signed).map_err(|error| error.to_string())?;
    let time = soon(state);
    state.try_transaction(time, &verified).map_err(|error| error.to_string())?;
    agree(state, time, &[verified]);
    Ok(())
}

fn soon(state: &State) -> Timestamp {
    state.head().time.checked_add(Duration::from_secs(1)).expect("heads are far from the end of time")
}

/// Whoever executes the block that somebody else built of these comes to the same roots (I9).
fn agree(state: &State, time: Timestamp, transactions: &[Verified]) {
    let Proposed { block, applied, .. } = state.propose(time, 0, transactions);
    let (opened, verified) = open_block(state, &block.encode()).expect("a proposer's block opens");
    let executed = state.execute(&opened, &verified).expect("a proposer's block executes");
    assert_eq!(executed.roots(), applied.roots(), "I9");
}

fn transaction_seeds() -> Vec<(String, Vec<u8>)> {
    STREET.transactions.iter().map(|(name, signed)| (name.clone(), signed.encode())).collect()
}

/// A block from a proposer, honest or not.
fn block(bytes: &[u8]) -> Verdict {
    let state = &STREET.before;
    let executed = open_block(state, bytes).and_then(|(block, verified)| state.execute(&block, &verified));
    let verdict = Verdict::of(executed);
    if verdict != Verdict::Taken
        && let Ok(block) = decode::<Block>(bytes)
    {
        bind_and_execute(state, block);
    }
    verdict
}

/// The same transactions, signed anew, under a header that binds them; and under the header that an honest proposer
/// would give them at that time.
fn bind_and_execute(state: &State, mut block: Block) {
    block.transactions = block.transactions.iter().map(sign_anew).collect();
    block.header.transactions = transactions_root(&block.transactions);
    block.header.transaction_count = u32::try_from(block.transactions.len()).expect("a block is bounded");
    let time = block.header.time;
    let Ok((block, verified)) = open_block(state, &block.encode()) else { return };
    let _ = state.execute(&block, &verified);
    if time > state.head().time {
        agree(state, time, &verified);
    }
}

fn block_seeds() -> Vec<(String, Vec<u8>)> {
    let blocks = &STREET.chain.blocks;
    vec![("mixed".into(), blocks.last().expect("the street has blocks").clone())]
}

/// A certificate for a header that the reader has; again with the validators' own signatures.
fn certificate(bytes: &[u8]) -> Verdict {
    let certificate: Certificate = match decode(bytes) {
        Ok(certificate) => certificate,
        Err(words) => return Verdict::Refused(words),
    };
    let verdict = verify(&certificate);
    if verdict != Verdict::Taken {
        verify(&Certificate { signatures: signatures_of(&certificate), ..certificate });
    }
    verdict
}

fn verify(certificate: &Certificate) -> Verdict {
    let state = &STREET.chain.state;
    Verdict::of(certificate.verify_header(newest(), state.zone_id(), voters(state)))
}

fn signatures_of(certificate: &Certificate) -> Vec<(u16, Signature)> {
    let state = &STREET.chain.state;
    let sign = |(index, old): &(u16, Signature)| {
        let key = voters(state).at(*index).and_then(|voter| key_of(&voter.key));
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: certificate.height,
            round: certificate.round,
            block: Some(certificate.block),
            validator: *index,
        };
        let signature = key.map_or(*old, |key| vote.sign(state.zone_id(), certificate.epoch, &key));
        (*index, signature)
    };
    certificate.signatures.iter().map(sign).collect()
}

fn certificate_seeds() -> Vec<(String, Vec<u8>)> {
    vec![("newest".into(), certify(newest(), voters(&STREET.chain.state)).encode())]
}

static HAND_OVER_WORLD: LazyLock<(HandOver, Zone)> = LazyLock::new(hand_over);

/// The end of an epoch, to somebody who knows the voters of that epoch.
fn hand_over_bytes(bytes: &[u8]) -> Verdict {
    let (honest, zone) = &*HAND_OVER_WORLD;
    match decode::<HandOver>(bytes) {
        Ok(found) => {
            let verdict = Verdict::of(found.verify(&zone.id(), 0, zone.validators.voters()));
            assert!(
                verdict != Verdict::Taken || found.voters == honest.voters,
                "other voters are handed over to"
            );
            verdict
        }
        Err(words) => Verdict::Refused(words),
    }
}

/// An anchor as an app's release or an operator names it, from where the history is followed past the end of an epoch.
/// That is trusted; but it never leads back, nor to other voters.
fn anchor(bytes: &[u8]) -> Verdict {
    let anchor: Anchor = match decode(bytes) {
        Ok(anchor) => anchor,
        Err(words) => return Verdict::Refused(words),
    };
    let (hand_over, zone) = &*HAND_OVER_WORLD;
    let genesis = Anchor::genesis(zone);
    assert!(anchor.age(anchor.time).is_zero());
    assert_eq!(anchor.age(genesis.time), genesis.time.since(anchor.time).unwrap_or_default());
    if let Some(agreed) = Anchor::agreed(&anchor, &genesis) {
        assert_eq!(agreed.height, 0, "the older of both");
        assert_eq!(agreed.voters, genesis.voters);
    }
    let followed = anchor.follow(hand_over);
    if let Ok(next) = &followed {
        assert_eq!((next.zone, next.epoch, &next.voters), (zone.id(), 1, &hand_over.voters));
        assert!(next.height >= anchor.height && next.time >= anchor.time, "back in the history");
        assert!(next.follow(hand_over).is_err(), "an epoch ends once");
    }
    Verdict::of(followed)
}

fn anchor_seeds() -> Vec<(String, Vec<u8>)> {
    let (hand_over, zone) = &*HAND_OVER_WORLD;
    let last = (hand_over.header.clone(), hand_over.certificate.clone());
    let last = Anchor::at(&last, zone.validators.voters()).expect("it is certified");
    vec![("genesis".into(), Anchor::genesis(zone).encode()), ("last".into(), last.encode())]
}

/// A proof, alone and as a part of an account's.
fn proof(bytes: &[u8]) -> Verdict {
    let proof: Proof = match decode(bytes) {
        Ok(proof) => proof,
        Err(words) => return Verdict::Refused(words),
    };
    let state = &STREET.chain.state;
    let _ = proven_object(&proof, newest());
    let buyer = account(BUYER);
    let honest = state.prove_account(&buyer).expect("the buyer has an account");
    for at in 0..honest.len() {
        let mut proofs = honest.clone();
        proofs[at] = proof.clone();
        let head = (newest().clone(), certify(newest(), voters(&STREET.chain.state)));
        if let Ok(proven) = ProvenAccount::verify(state.zone_id(), voters(state), &buyer, head, &proofs) {
            assert_eq!(proofs, honest, "another proof of {proven:?}");
        }
    }
    Verdict::of(proof.verify(newest()))
}

fn proof_seeds() -> Vec<(String, Vec<u8>)> {
    let state = &STREET.chain.state;
    let account = state.prove_account(&account(BUYER)).expect("the buyer has an account");
    let outlet = state.prove_object(&Hash::from(evse(SELLERS[0]))).expect("the outlet is registered");
    let named = ["account", "energy", "grid"].into_iter().zip(account).chain([("outlet", outlet)]);
    named.map(|(name, proof)| (name.to_owned(), proof.encode())).collect()
}

fn query(bytes: &[u8]) -> Verdict {
    Verdict::of(decode::<Query>(bytes))
}

fn query_seeds() -> Vec<(String, Vec<u8>)> {
    let signed = &STREET.transactions.iter().find(|(name, _)| name == "transfer").expect("it is there").1;
    let auction = STREET.sale.intent.id();
    let id = TransactionId { sender: account(BUYER), number: 7 };
    let list = [
        ("head", Query::Head),
        ("account", Query::Account(account(BUYER))),
        ("object", Query::Object(auction.into())),
        ("submit", Query::Submit(Box::new(signed.clone()))),
        ("transaction", Query::Transaction(id)),
        ("blocks", Query::Blocks { from: 3 }),
        ("epoch_key", Query::EpochKey(0)),
        ("hand_overs", Query::HandOvers { from: 0 }),
        ("several", Query::Several { account: account(BUYER), objects: vec![auction.into(), Hash([8; 32])] }),
        ("snapshot", Query::Snapshot),
        ("snapshot_chunk", Query::SnapshotChunk { height: 40, part: Part::Objects, from: 4_096 }),
        ("sale", Query::Sale { auction, messages: crate::contract::messages() }),
    ];
    list.into_iter().map(|(name, query)| (name.to_owned(), query.encode())).collect()
}

/// An answer as a phone reads it.
fn answer(bytes: &[u8]) -> Verdict {
    let answer: Answer = match decode(bytes) {
        Ok(answer) => answer,
        Err(words) => return Verdict::Refused(words),
    };
    let state = &STREET.chain.state;
    match answer {
        Answer::Head(Some(head)) => {
            Verdict::of(head.1.verify_header(&head.0, state.zone_id(), voters(state)))
        }
        Answer::Proofs(head, proofs) => {
            for proof in &proofs {
                let _ = proven_object(proof, &head.0);
            }
            let verified = head.1.verify_header(&head.0, state.zone_id(), voters(state));
            let owner = key(BUYER).public();
            let proofs: Vec<Proof> = proofs.into_iter().map(|proof| proof.with_owner(&owner)).collect();
            let _ = ProvenAccount::verify(state.zone_id(), voters(state), &account(BUYER), *head, &proofs);
            Verdict::of(verified)
        }
        Answer::Blocks(blocks) => {
            for (bytes, certificate) in &blocks {
                let _ = open_block(&STREET.before, bytes);
                verify(certificate);
            }
            Verdict::Taken
        }
        Answer::HandOvers(all) => {
            let (honest, zone) = &*HAND_OVER_WORLD;
            for found in &all {
                let verified = found.verify(&zone.id(), 0, zone.validators.voters());
                assert!(verified.is_err() || found.voters == honest.voters, "other voters");
            }
            Verdict::Taken
        }
        Answer::Snapshot(Some(manifest)) => snapshot::begin(*manifest),
        Answer::SnapshotChunk(Some(bytes)) => match decode::<Chunk>(&bytes) {
            Ok(chunk) => snapshot::add(chunk),
            Err(words) => Verdict::Refused(words),
        },
        _ => Verdict::Taken,
    }
}

fn answer_seeds() -> Vec<(String, Vec<u8>)> {
    let state = &STREET.chain.state;
    let head = || Box::new((newest().clone(), certify(newest(), voters(&STREET.chain.state))));
    let account = state.prove_account(&account(BUYER)).expect("the buyer has an account");
    let auction = state.prove_object(&STREET.sale.intent.id().into()).expect("the auction is open");
    let block = STREET.chain.blocks.last().expect("the street has blocks").clone();
    let chunk = snapshot::chunk_at((Part::GridBalances, 1), 4);
    let list = [
        ("head", Answer::Head(Some(head()))),
        ("no_head", Answer::Head(None)),
        ("account", Answer::Proofs(head(), account)),
        ("auction", Answer::Proofs(head(), vec![auction])),
        ("waiting", Answer::Waiting),
        ("applied", Answer::Applied(Hash([7; 32]))),
        ("unknown", Answer::Unknown),
        ("refused", Answer::Refused("the mempool is full".into())),
        ("blocks", Answer::Blocks(vec![(block, certify(newest(), voters(&STREET.chain.state)))])),
        ("sale", Answer::Sale(crate::contract::messages())),
        ("snapshot", Answer::Snapshot(Some(Box::new(snapshot::honest())))),
        ("no_snapshot", Answer::Snapshot(None)),
        ("snapshot_chunk", Answer::SnapshotChunk(chunk.map(|chunk| chunk.encode()))),
        ("no_snapshot_chunk", Answer::SnapshotChunk(None)),
        ("hand_overs", Answer::HandOvers(vec![HAND_OVER_WORLD.0.clone()])),
    ];
    list.into_iter().map(|(name, answer)| (name.to_owned(), answer.encode())).collect()
}

/// What is in a slot of the state, as a proof or a snapshot brings it.
fn object(bytes: &[u8]) -> Verdict {
    let object: Object = match decode(bytes) {
        Ok(object) => object,
        Err(words) => return Verdict::Refused(words),
    };
    let _ = (object.id(), object.timeout(), object.held());
    Verdict::Taken
}

/// The longest object of each kind.
fn object_seeds() -> Vec<(String, Vec<u8>)> {
    let mut longest = std::collections::BTreeMap::new();
    for object in STREET.states().flat_map(State::objects) {
        let name = format!("{object:?}").chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        let bytes = object.encode();
        let slot: &mut Vec<u8> = longest.entry(name.to_ascii_lowercase()).or_default();
        if bytes.len() > slot.len() {
            *slot = bytes;
        }
    }
    longest.into_iter().collect()
}

/// A zone file, up to the ledger that it would begin.
fn zone_file_bytes(bytes: &[u8]) -> Verdict {
    let file: ZoneFile = match decode(bytes) {
        Ok(file) => file,
        Err(words) => return Verdict::Refused(words),
    };
    let _ = file.unsigned();
    if file.zone.check().is_ok() {
        let state = State::genesis(file.zone.clone());
        assert_eq!(state.head().height, 0);
    }
    Verdict::of(file.sealed())
}
