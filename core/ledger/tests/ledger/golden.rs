//! Golden hashes of one of everything: what has been signed and stored once is read for ever. A change here needs a new
//! version byte, not a new hash.

use crate::{journals::certify, town::*};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

const GOLDEN: Domain = Domain::new("ohmesh/1 golden");

fn digest(bytes: &[u8]) -> String {
    to_hex(&GOLDEN.hash(&[bytes]).0[..8])
}

#[test]
fn everything_keeps_its_bytes() {
    let mut town = Town::new();
    let timeout = town.now.checked_add(Duration::from_secs(600)).unwrap();
    let (price, energy) = (Price::from_micro_per_kwh(390_000), Energy::from_wh(10_000));
    let hold = town.signed(BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[]);
    let pending = hold.transaction.pending_id();
    town.block(vec![hold.clone()]);
    let object = town.state.prove_object(&pending).unwrap();
    let post = town.signed(
        SELLER,
        Body::PostSale { pending, energy, register_start: Energy::from_wh(5_000) },
        &[METER],
    );
    town.block(vec![post.clone()]);
    let bytes = town.blocks.last().unwrap().clone();
    let block = Block::decode(&bytes).unwrap();
    let certificate = certify(&town.state, &block.header, &[1, 2, 3]);
    let mut file = ZoneFile::new(zone()).unwrap();
    file.sign(&key(1)).unwrap();
    let voters = town.state.validators().voters();
    let anchor = Anchor::at(&(block.header.clone(), certificate.clone()), voters).unwrap();
    let (zone_id, owner, meter) = (*town.state.zone_id(), account(SELLER), key(METER).public());
    let installation = Installation { zone: zone_id, evse: evse(), owner, meter };
    let body = town.outlet(SELLER, 1, 1, METER);
    let outlet = town.transaction(SELLER, body);
    let proof = town.state.prove_balance(Journal::Energy, &account(BUYER)).unwrap();
    let found = [
        ("zone", town.state.zone_id().to_string()[..16].to_owned()),
        ("zone file", digest(&file.encode())),
        ("hold", digest(&hold.encode())),
        ("post", digest(&post.encode())),
        ("pending", digest(&object.content)),
        ("finished", digest(&town.state.prove_object(&pending).unwrap().content)),
        ("balance", digest(&proof.content)),
        ("header", digest(&block.header.encode())),
        ("block id", block.id().to_string()[..16].to_owned()),
        ("block", digest(&bytes)),
        ("certificate", digest(&certificate.encode())),
        ("query", digest(&Query::Account(account(BUYER)).encode())),
        ("several", digest(&Query::Several { account: account(BUYER), objects: vec![pending] }.encode())),
        ("anchor", digest(&anchor.encode())),
        ("genesis", digest(&Anchor::genesis(&zone()).encode())),
        ("installation", digest(&installation.encode())),
        ("outlet", digest(&outlet.encode())),
    ];
    let golden = [
        "zone db19713c72605eb1",
        "zone file 01999753fb4999ae",
        "hold f591781eaea06474",
        "post 51a3b8990ce1c400",
        "pending eb1ba37590e36828",
        "finished abfda73a81b05b45",
        "balance a035c2c97022664e",
        "header 7e6fd9ec9ad0ad13",
        "block id d95c6091adedcb8a",
        "block f0399a8915d36d84",
        "certificate 2138ab3d06c3be11",
        "query 704deb7461f164bf",
        "several 2ad7fa403dba5cfa",
        "anchor a9454ccd1b1f7481",
        "genesis eadbfd5235d98394",
        "installation bdfd358de260a436",
        "outlet 3fcdd7fc3f0a99bb",
    ];
    assert_eq!(found.map(|(name, hash)| format!("{name} {hash}")), golden);
    assert!(
        block.header.encode().len() <= 512 && certificate.encode().len() <= 300,
        "small enough for a phone"
    );
}

#[test]
fn decisions_keep_their_bytes() {
    let mut town = Town::new();
    let epoch = 0;
    let zone = *town.state.zone_id();
    let validators = Box::new(town.state.validators().clone());
    let deposits = Deposits { buyer: Money::from_micro(5), bid: Money::from_micro(6) };
    let (fee, bond) = (Money::from_micro(3), Money::from_micro(4));
    let rules = Rules { version: 2, fee, epoch_ms: 60_000, bond, deposits };
    let contract = ContractId([8; 32]);
    let from = Timestamp::from_millis(1_900_000_000_000);
    let votes = [1, 2].map(|block| {
        let (kind, block) = (VoteKind::Prevote, Some(BlockId([block; 32])));
        let vote = Vote { kind, height: 5, round: 1, block, validator: 3 };
        (vote, vote.sign(&zone, epoch, &vote_key(4)))
    });
    let proposals = [1, 2].map(|block| {
        let (pol_round, block) = (Some(1), BlockId([block; 32]));
        let proposal = Proposal { height: 5, round: 2, pol_round, block, validator: 3 };
        (proposal, proposal.sign(&zone, epoch, &vote_key(4)))
    });
    let evidence = [Evidence::Votes(votes), Evidence::Proposals(proposals)].map(Box::new);
    let [votes, proposals] = evidence.map(|evidence| Body::Convict { epoch, evidence });
    let price = Price::from_micro_per_kwh(90_000);
    let bodies = [
        ("open account for", Body::OpenAccountFor { owner: key(99).public() }),
        ("dispute", Body::ContractDispute { contract }),
        ("resolve", Body::ContractResolve { contract, energy: Energy::from_wh(7) }),
        ("lower", Body::ContractLower { contract, energy: Energy::from_wh(6) }),
        ("validators", Body::SetValidators { epoch, validators }),
        ("upgrade", Body::Upgrade { epoch, rules }),
        ("vote key", Body::VoteKey { epoch: 1, key: key(98).public() }),
        ("bond", Body::Bond { amount: 5 }),
        ("unbond", Body::Unbond { amount: 4 }),
        ("two votes", votes),
        ("two proposals", proposals),
        ("tariff", Body::SetTariff { price, from }),
        ("price cap", Body::SetPriceCap { cap: Some(price), from }),
        ("audit key", Body::SetAuditKey { key: Some(key(43).public()) }),
        ("circuit", Body::SetCircuit { station: station(), circuit: Some(7) }),
    ];
    let mut found: Vec<String> = bodies
        .into_iter()
        .map(|(name, body)| format!("{name} {}", digest(&town.transaction(BUYER, body).encode())))
        .collect();

    let epoch = Object::Epoch(Box::new(town.state.epoch().clone()));
    let governance = Object::Governance(Box::new(town.state.governance().clone()));
    let bond = Bond { owner: account(4), bonded: 5, leaving: vec![(from, 4)], convicted: Some(2) };
    let gap = |from, to| Gap { from: Energy::from_wh(from), to: Energy::from_wh(to) };
    let (meter, register) = (key(92).public(), Energy::from_wh(90));
    let outlet = Evse {
        station: station(),
        owner: account(SELLER),
        number: 1,
        connectors: 2,
        power: Power::from_w(22_000),
        meter: key(METER).public(),
        register,
        gaps: vec![gap(0, 40), gap(50, 80)],
        before: Some(Box::new(OldMeter { meter, register, gaps: vec![gap(1, 2)] })),
    };
    let place = Station {
        owner: account(SELLER),
        number: 1,
        name: "Station".to_owned(),
        position: Position::from_e7(525_200_000, 134_050_000).unwrap(),
        award_key: Hash([9; 32]),
        circuit: Some(7),
    };
    let used = Finished { id: Hash([1; 32]), end: End::Used, content: Hash::ZERO };
    let objects = [
        ("epoch", epoch),
        ("governance", governance),
        ("bond object", Object::Bond(Box::new(bond))),
        ("outlet", Object::Evse(outlet)),
        ("station", Object::Station(place)),
        ("used", Object::Finished(used.clone())),
        ("slashed", Object::Finished(Finished { end: End::Slashed, ..used.clone() })),
        ("past", Object::Finished(Finished { end: End::Past, ..used })),
    ];
    found.extend(objects.into_iter().map(|(name, object)| format!("{name} {}", digest(&object.encode()))));
    found.push(format!("voters {}", digest(&town.state.validators().voters().encode())));
    let golden = [
        "open account for 2ef74f205f92b484",
        "dispute 014850013ce2d002",
        "resolve 6da9ac0676abed04",
        "lower 1c3b5fadddf361bb",
        "validators c92c11829ec3f650",
        "upgrade 9fc3e56d09756def",
        "vote key be3e215d0f2bb4a2",
        "bond 9fe7966a7090f352",
        "unbond 4174d8d4464abd82",
        "two votes 61fe5cd5895c6e49",
        "two proposals 0d63c46d5aecace0",
        "tariff f40d0bfb9646b7b6",
        "price cap 8a347f7921be336b",
        "audit key 2bb4fe333d969cd3",
        "circuit a84414a1ef72c2d0",
        "epoch f8c15f25e9a43bc8",
        "governance 1a93ba72a5289833",
        "bond object 0d956660c12789f0",
        "outlet ea86ce092ff8640f",
        "station 353eca67e4424b43",
        "used b83c0c9af93fde32",
        "slashed ec02f5b234e5f9c7",
        "past 79fa82859dc8d090",
        "voters 96743965f84e8cfe",
    ];
    assert_eq!(found, golden);
}

/// What everybody finds the same objects by.
#[test]
fn ids_keep_their_bytes() {
    let found = [Governance::id(), Epoch::id(0), Epoch::id(1), Bond::id(&account(4)), epoch_key_id(0)];
    let golden =
        ["92a120d13727248e", "0b274b72e43d5401", "bb770ca9db59d0dd", "1f3b92a39ac7795a", "c2348ac3a8bffddc"];
    assert_eq!(found.map(|id| id.to_string()[..16].to_owned()), golden);
}

/// Whoever reckons other turns than the rest of the committee has its proposals refused.
#[test]
fn turns_to_propose_stay_as_they_are() {
    for (stakes, turns) in [
        (&[10, 10, 10, 10][..], [0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1, 0, 3, 2, 1]),
        (&[30, 20, 15, 10, 10, 10, 5], [0, 3, 1, 6, 2, 0, 5, 2, 0, 5, 2, 0, 4, 1, 0, 4, 1, 0, 3, 1]),
        (&[401, 307, 211, 103, 53], [0, 1, 0, 2, 1, 0, 2, 0, 3, 1, 0, 2, 1, 0, 1, 0, 3, 1, 0, 2]),
    ] {
        let validators = (1u8..).zip(stakes).map(|(n, stake)| validator(n, *stake)).collect();
        let set = ValidatorSet::new(validators).unwrap();
        let found: Vec<u16> = (0..20).map(|height| set.proposer(height, 0)).collect();
        assert_eq!(found, turns, "{stakes:?}");
        let found: Vec<u16> = (0..20u32).map(|round| set.voters().proposer(0, round)).collect();
        assert_eq!(found, turns, "a round further is a turn further");
    }
}

/// What one agent reads and another refuses splits a zone, so that bounds are as fixed as bytes.
#[test]
fn bounds_keep_their_values() {
    let found = [
        ("header", Header::MAX_BYTES),
        ("block", Block::MAX_BYTES),
        ("transaction", Transaction::MAX_BYTES),
        ("signed transaction", SignedTransaction::MAX_BYTES),
        ("certificate", Certificate::MAX_BYTES),
        ("voters", Voters::MAX_BYTES),
        ("hand-over", HandOver::MAX_BYTES),
        ("anchor", Anchor::MAX_BYTES),
        ("object", Object::MAX_BYTES),
        ("proof", Proof::MAX_BYTES),
        ("query", Query::MAX_BYTES),
        ("answer", Answer::MAX_BYTES),
        ("manifest", Manifest::MAX_BYTES),
        ("content", Chunk::CONTENT_MAX),
        ("chunk", Chunk::MAX_BYTES),
        ("zone", Zone::MAX_BYTES),
        ("zone file", ZoneFile::MAX_BYTES),
        ("evidence", Evidence::MAX_BYTES),
        ("installation", Installation::MAX_BYTES),
    ];
    let golden = [
        ("header", 640),
        ("block", 4_194_304),
        ("transaction", 264_549),
        ("signed transaction", 268_645),
        ("certificate", 2_208),
        ("voters", 1_416),
        ("hand-over", 4_280),
        ("anchor", 1_496),
        ("object", 524_288),
        ("proof", 525_360),
        ("query", 268_653),
        ("answer", 8_388_608),
        ("manifest", 3_360),
        ("content", 1_048_576),
        ("chunk", 1_063_008),
        ("zone", 262_144),
        ("zone file", 264_296),
        ("evidence", 512),
        ("installation", 160),
    ];
    assert_eq!(found, golden);
}
