//! The second verifier, `tests/peers/auction`, against the first: on whole auctions by every rule, and on tampered
//! copies, both must say the same of the same bytes.

use crate::{
    json,
    market::{Market, station},
};
use ohmesh_auction::{
    bid::{Bid, LedgeredBid},
    intent::{Choice, Intent, Kappa, Pricing, RoadDetour, Terms},
    key::{EpochKey, ValidatorIndex},
    outcome::{Decision, Outcome, Verdict},
    release::{Opening, Release},
};
use ohmesh_units::{AuctionId, Canonical, InCell, Timestamp, to_hex};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::Value;
use std::{fmt::Debug, path::Path, process::Command, sync::OnceLock};

/// The winner's place, its station, and micro-units a kWh; none: nobody was eligible.
type Won = Option<(u64, String, i64)>;
/// Who won, or the name of what is wrong.
type Judged = Result<Won, String>;

/// Auctions by every rule, exported.
struct Exports {
    best: Value,
    second: Value,
    own: Value,
    road: Value,
    nobody: Value,
    empty: Value,
    /// With more bids than one range proof covers.
    many: Value,
    /// Whose first winner did not come.
    absent: Value,
}

impl Exports {
    fn all(&self) -> [(&'static str, &Value); 8] {
        let Self { best, second, own, road, nobody, empty, many, absent } = self;
        [
            ("best", best),
            ("second", second),
            ("own", own),
            ("road", road),
            ("nobody", nobody),
            ("empty", empty),
            ("many", many),
            ("absent", absent),
        ]
    }

    /// Made once for all tests.
    fn made() -> &'static Self {
        static EXPORTS: OnceLock<Exports> = OnceLock::new();
        EXPORTS.get_or_init(Self::new)
    }

    fn new() -> Self {
        let mut market = Market::new(18);
        let absent = market.sold_to_the_next(&[40_000, 31_000, 30_000, 30_000]);
        let best = market.sold(&[40_000, 31_000, 30_000, 30_000, 50_000]);
        let by_second = Terms { pricing: Pricing::SecondScore, ..market.terms() };
        let second = market.sold_with(by_second, &[40_000, 30_000, 35_000], &[]);
        let by_choice = Terms { choice: Choice::OwnChoice, ..market.terms() };
        let own = market.sold_with(by_choice, &[40_000, 30_000], &[]);
        let by_road = Terms { choice: Choice::BestByRoad, ..market.terms() };
        let mut roads = [2, 700, 90].map(RoadDetour::of_steps).into_iter().zip([0, 1, 17]);
        let mut roads: Vec<_> = roads.by_ref().map(|(way, n)| (station(n), way)).collect();
        roads.sort_by_key(|(station, _)| *station);
        let road = market.sold_with(by_road, &[30_000, 30_000, 30_000], &roads);
        let terms = market.terms();
        let mut nobody = market.ask(terms, 10, &[]);
        market.bid(&nobody, &[(4, 40_000), (2, 30_000)]);
        market.close(&mut nobody, &[4, 2]);
        let outcome = market.release(&mut nobody, &[1, 2, 3]).unwrap();
        market.publish(&outcome);
        let terms = market.terms();
        let mut empty = market.ask(terms, 10, &[]);
        let outcome = market.close(&mut empty, &[]).unwrap();
        market.publish(&outcome);
        let many: Vec<u16> = (0..18).map(|n| 50_000 - 700 * n).collect();
        let many = market.sold(&many);
        let folder = tempfile::tempdir().unwrap();
        market.chain.write(folder.path());
        let export = |id: AuctionId| json(&["auction", "export", &id.to_string()], folder.path());
        Self {
            best: export(best),
            second: export(second),
            own: export(own),
            road: export(road),
            nobody: export(nobody.id),
            empty: export(empty.id),
            many: export(many),
            absent: export(absent),
        }
    }
}

#[test]
fn both_verifiers_find_the_same_winner_and_price() {
    let exports = Exports::made();
    let all = exports.all();
    let found = by_python(all.iter().map(|(_, export)| *export));
    for ((name, export), found) in all.iter().zip(found) {
        let judged = judged(export);
        assert!(judged.is_ok(), "{name}: {judged:?}");
        assert_eq!(found, judged, "{name}");
    }
    let winner = judged(&exports.best).unwrap().unwrap();
    assert_eq!((winner.0, winner.1), (2, station(2).to_string()));
    assert_eq!(judged(&exports.nobody), Ok(None));
    let next = judged(&exports.absent).unwrap().unwrap();
    assert_eq!((next.0, next.1), (2, station(3).to_string()), "of those that were left");
}

#[test]
fn both_verifiers_name_the_same_of_what_was_tampered_with() {
    let exports = Exports::made();
    let mut tampered: Vec<(&str, Value)> = Vec::new();
    for (name, base, edit) in EDITS {
        let mut copy = base(exports).clone();
        let before = copy.clone();
        edit(&mut copy, exports);
        assert_ne!(copy, before, "{name} changes something");
        tampered.push((name, copy));
    }
    let found = by_python(tampered.iter().map(|(_, export)| export));
    let mut otherwise = Vec::new();
    for (number, ((name, export), found)) in tampered.iter().zip(found).enumerate() {
        let expected = Err((*name).to_owned());
        let (judged, found) = (judged(export), as_decoded(found));
        if judged != expected || found != expected {
            otherwise.push((number, *name, judged, found));
        }
    }
    assert_eq!(otherwise, [], "number, expected name, and what the two say");
}

#[test]
fn both_verifiers_refuse_any_flipped_byte() {
    let exports = Exports::made();
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let mut flipped: Vec<(String, Value)> = Vec::new();
    for (name, export) in [("second", &exports.second), ("road", &exports.road), ("nobody", &exports.nobody)]
    {
        for pointer in ["/intent", "/bids/1", "/releases/2", "/outcome"] {
            let length = bytes_at(export, pointer).len();
            for _ in 0..4 {
                let at = usize::try_from(rng.next_u32()).unwrap() % length;
                let bit = 1 << (rng.next_u32() % 8);
                let mut copy = export.clone();
                change(&mut copy, pointer, |bytes| bytes[at] ^= bit);
                flipped.push((format!("{name} {pointer} byte {at}"), copy));
            }
        }
    }
    let found = by_python(flipped.iter().map(|(_, export)| export));
    for ((name, export), found) in flipped.iter().zip(found) {
        let (rust, python) = (judged(export).unwrap_err(), found.unwrap_err());
        let message = |wrong: &str| wrong.split(':').next().unwrap().to_owned();
        assert_eq!(message(&rust), message(&python), "{name}: {rust}, {python}");
    }
}

#[test]
fn the_second_verifier_reads_bytes_and_refuses_names_that_do_not_fit_them() {
    let exports = Exports::made();
    let other = |pointer: &str| exports.many.pointer(pointer).unwrap().clone();
    let edits = [
        ("/format", "ohmesh auction 2".into(), "export: Format"),
        ("/zone", other("/auction"), "key: Fields"),
        ("/auction", other("/auction"), "intent: Id"),
        ("/key/A", other("/key/H"), "key: A"),
        ("/key/H", other("/key/A"), "key: H"),
        ("/key/threshold", 2.into(), "key: Fields"),
        ("/key/shares/0/T", other("/key/shares/1/T"), "key: Fields"),
        ("/score/energy_kwh", 31.into(), "score: Fields"),
        ("/intent/commitments/q", other("/intent/commitments/q"), "intent: Fields"),
        ("/intent/terms/kappa", 3.into(), "intent: Fields"),
        ("/bids/0/ledgered/c", other("/bids/0/ledgered/c"), "bid 0: Fields"),
        ("/bids/0/bytes", "xy".into(), "export: ValueError"),
        ("/bids/0/ledgered", Value::Null, "export: TypeError"),
        ("/releases", Value::Null, "export: TypeError"),
    ];
    let tampered = edits.clone().map(|(pointer, value, _)| {
        let mut copy = exports.best.clone();
        *copy.pointer_mut(pointer).unwrap() = value;
        copy
    });
    for ((pointer, _, name), found) in edits.iter().zip(by_python(&tampered)) {
        let wrong = found.unwrap_err();
        assert!(wrong.starts_with(name), "{pointer}: {wrong}");
    }
}

/// What is tampered with, the export, and how; by the name of what is then wrong.
type Edit = (&'static str, fn(&Exports) -> &Value, fn(&mut Value, &Exports));

const EDITS: &[Edit] = &[
    // Winners that did not come: another one struck out, none, or more than there were.
    ("outcome: NoShow", |e| &e.absent, |v, _| v["no_shows"][0] = station(0).to_string().into()),
    ("outcome: NoSuchBid", |e| &e.absent, |v, _| v["no_shows"] = Value::Array(Vec::new())),
    ("outcome: Absent", |e| &e.absent, |v, _| v["outcome"] = Value::Null),
    // The outcome: price, winner, differences, proofs, award.
    ("outcome: Link", |e| &e.best, |v, _| decide(v, |win| win.price.0 += 1)),
    ("outcome: Link", |e| &e.own, |v, _| decide(v, |win| win.price.0 -= 1)),
    ("outcome: Link", |e| &e.best, |v, _| decide(v, |win| (win.bid, win.station) = (3, station(3)))),
    ("outcome: NoSuchBid", |e| &e.best, |v, _| decide(v, |win| win.bid = 3)),
    ("outcome: NoSuchBid", |e| &e.best, |v, _| decide(v, |win| win.bid = 5)),
    ("outcome: Link", |e| &e.best, |v, _| exchange(v, "/outcome", BEST_V, BEST_V + 32, 32)),
    ("outcome: Link", |e| &e.best, |v, _| change(v, "/outcome", |bytes| bytes[BEST_V - 10] ^= 1)),
    ("outcome: Range", |e| &e.best, |v, _| flip_from_end(v, "/outcome", RANGE_OF_8 - 1)),
    ("outcome: Range", |e| &e.best, |v, _| flip_from_end(v, "/outcome", 1)),
    ("outcome: Range", |e| &e.many, |v, _| flip_from_end(v, "/outcome", RANGE_OF_2 - 1)),
    ("outcome: Range", |e| &e.many, |v, _| flip_from_end(v, "/outcome", RANGE_OF_2 + 769 - 1)),
    ("outcome: NoSuchBid", |e| &e.best, |v, e| v["outcome"] = relabelled(&e.many, v)),
    ("outcome: DifferenceCount", |e| &e.best, |v, _| leave_out_a_difference(v)),
    ("outcome: OtherAuction", |e| &e.best, |v, e| v["outcome"] = e.road["outcome"].clone()),
    ("outcome: ChoiceRule", |e| &e.own, |v, e| v["outcome"] = relabelled(&e.best, v)),
    ("outcome: PricingRule", |e| &e.best, |v, e| v["outcome"] = relabelled(&e.second, v)),
    ("outcome: DifferenceCount", |e| &e.best, |v, e| v["outcome"] = relabelled(&e.nobody, v)),
    ("outcome: Link", |e| &e.nobody, |v, _| exchange(v, "/outcome", 35, 67, 32)),
    ("outcome: Link", |e| &e.second, |v, _| pay_a_step_more(v)),
    ("outcome: Setter", |e| &e.second, |v, _| exchange_from_end(v, "/outcome", 64, 128, 64)),
    ("outcome: Decode", |e| &e.best, |v, _| change(v, "/outcome", |bytes| bytes.push(0))),
    ("outcome: Decode", |e| &e.best, |v, _| change(v, "/outcome", |bytes| bytes[BEST_V..][..32].fill(0))),
    ("outcome: Decode", |e| &e.best, |v, _| lengthen_a_number(v)),
    ("outcome: Early", |e| &e.best, |v, _| v["outcome"]["height"] = v["intent"]["height"].clone()),
    ("outcome: Absent", |e| &e.best, |v, _| v["outcome"] = Value::Null),
    // Bids: proofs, commitments, order, number, place, time.
    ("bid 1: Range", |e| &e.best, |v, _| flip_from_end(v, "/bids/1", 448)),
    ("bid 1: Link", |e| &e.best, |v, _| flip_from_end(v, "/bids/1", 451 + 96)),
    ("bid 1: Link", |e| &e.best, |v, _| exchange(v, "/bids/1", 65, 97, 32)),
    ("bid 1: Link", |e| &e.best, |v, _| copy_point(v, "/bids/0", "/bids/1", 65)),
    ("bid 1: Link", |e| &e.best, |v, _| copy_point(v, "/bids/0", "/bids/1", 97)),
    ("bid 1: Decode", |e| &e.best, |v, _| change(v, "/bids/1", |bytes| bytes[65..97].fill(0))),
    ("bid 1: Decode", |e| &e.best, |v, _| change(v, "/bids/1", |bytes| bytes[0] = 2)),
    ("bid 0: OtherAuction", |e| &e.best, |v, e| v["bids"][0]["bytes"] = e.own["bids"][0]["bytes"].clone()),
    ("bid 1: Twice", |e| &e.best, |v, _| v["bids"][1] = v["bids"][0].clone()),
    ("bid 1: Late", |e| &e.best, |v, _| v["bids"][1]["time"] = v["intent"]["terms"]["deadline"].clone()),
    ("bid 1: NotEligible", |e| &e.best, |v, _| v["bids"][1]["ledgered"]["position"]["x"] = 512.into()),
    ("outcome: Link", |e| &e.best, |v, _| v["bids"][1]["ledgered"]["position"]["x"] = 51.into()),
    ("release 0: WrongShare", |e| &e.best, |v, _| v["bids"].as_array_mut().unwrap().swap(0, 1)),
    ("release 0: Shape", |e| &e.best, |v, _| drop(v["bids"].as_array_mut().unwrap().pop())),
    // Releases: a share, its proof, its validator, too few.
    ("release 1: WrongShare", |e| &e.best, |v, _| exchange(v, "/releases/1", FIRST_W, FIRST_W + 32, 32)),
    ("release 1: WrongShare", |e| &e.best, |v, _| flip_from_end(v, "/releases/1", 32)),
    ("release 0: WrongShare", |e| &e.best, |v, _| rename(v, 1)),
    ("release 0: Shape", |e| &e.best, |v, _| rename(v, 4)),
    ("release 2: OtherAuction", |e| &e.best, |v, e| v["releases"][2] = e.many["releases"][2].clone()),
    ("release 0: Early", |e| &e.best, |v, _| v["releases"][0]["time"] = v["intent"]["time"].clone()),
    ("opening: TooFewShares", |e| &e.best, |v, _| drop(v["releases"].as_array_mut().unwrap().pop())),
    // The intent: a term, a commitment, a proof, another one, its table.
    ("intent: Proof", |e| &e.best, |v, _| edit_intent(v, |terms| terms.kappa = Kappa::try_from(3).unwrap())),
    ("intent: Proof", |e| &e.best, |v, _| edit_intent(v, |terms| terms.blocks_min += 1)),
    ("intent: Epoch", |e| &e.best, |v, _| edit_intent(v, |terms| terms.key_epoch = 1)),
    ("intent: ReserveRange", |e| &e.best, |v, _| flip_from_end(v, "/intent", 512)),
    ("intent: Road", |e| &e.road, |v, _| flip_from_end(v, "/intent", 576)),
    ("intent: Decode", |e| &e.best, |v, _| drop_last(v, "/intent")),
    ("intent: Id", |e| &e.best, |v, e| v["intent"] = e.many["intent"].clone()),
    // The key: a blinding share's proof, and what the ledger is said to say.
    ("key", |e| &e.best, |v, _| flip_from_end(v, "/key", 1)),
    ("key", |e| &e.best, |v, _| share_off_the_polynomial(v)),
    ("ledger: Winner", |e| &e.best, |v, _| v["ledger"]["winner"]["price_micro_per_kwh"] = 1.into()),
    ("ledger: Winner", |e| &e.nobody, |v, _| v["ledger"]["nobody_eligible"] = false.into()),
];

/// Where the first difference of a best outcome begins: version, auction, decision, count.
const BEST_V: usize = 1 + 32 + (1 + 1 + 32 + 3 + 32 + 2 + 177) + 1;
/// Where the first point of a release begins: version, auction, validator, counts.
const FIRST_W: usize = 1 + 32 + 1 + 1 + 1;
/// Bytes of range proofs of eight and of two commitments to 32 bits.
const RANGE_OF_8: usize = 1 + 32 * (6 + 2 * 8);
const RANGE_OF_2: usize = 1 + 32 * (6 + 2 * 6);

fn bytes_at(export: &Value, pointer: &str) -> Vec<u8> {
    let hex = export.pointer(&format!("{pointer}/bytes")).and_then(Value::as_str).unwrap();
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Changes the bytes of a message.
fn change(export: &mut Value, pointer: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = bytes_at(export, pointer);
    edit(&mut bytes);
    *export.pointer_mut(&format!("{pointer}/bytes")).unwrap() = to_hex(&bytes).into();
}

/// Flips the lowest bit so many bytes before the end.
fn flip_from_end(export: &mut Value, pointer: &str, before: usize) {
    change(export, pointer, |bytes| {
        let at = bytes.len() - before;
        bytes[at] ^= 1;
    });
}

fn drop_last(export: &mut Value, pointer: &str) {
    change(export, pointer, |bytes| bytes.truncate(bytes.len() - 1));
}

/// Exchanges two parts of a message.
fn exchange(export: &mut Value, pointer: &str, one: usize, other: usize, length: usize) {
    change(export, pointer, |bytes| (0..length).for_each(|at| bytes.swap(one + at, other + at)));
}

fn exchange_from_end(export: &mut Value, pointer: &str, one: usize, other: usize, length: usize) {
    let end = bytes_at(export, pointer).len();
    exchange(export, pointer, end - one, end - other, length);
}

/// Copies 32 bytes from one message into another.
fn copy_point(export: &mut Value, from: &str, to: &str, at: usize) {
    let point = bytes_at(export, from)[at..at + 32].to_vec();
    change(export, to, |bytes| bytes[at..at + 32].copy_from_slice(&point));
}

fn edit_outcome(export: &mut Value, edit: impl FnOnce(&mut Outcome)) {
    change(export, "/outcome", |bytes| {
        let mut outcome = Outcome::decode(bytes).unwrap();
        edit(&mut outcome);
        *bytes = outcome.encode();
    });
}

fn decide(export: &mut Value, edit: impl FnOnce(&mut ohmesh_auction::outcome::Win)) {
    edit_outcome(export, |outcome| match &mut outcome.decision {
        Decision::Best(win) | Decision::OwnChoice(win) => edit(win),
        other => panic!("{other:?}"),
    });
}

fn pay_a_step_more(export: &mut Value) {
    edit_outcome(export, |outcome| match &mut outcome.decision {
        Decision::SecondScore(payment) => payment.steps += 1,
        other => panic!("{other:?}"),
    });
}

/// Writes the winner's place in two bytes where one will do.
fn lengthen_a_number(export: &mut Value) {
    change(export, "/outcome", |bytes| {
        bytes[34] |= 0x80;
        bytes.insert(35, 0);
    });
}

/// As if there had been a bid less.
fn leave_out_a_difference(export: &mut Value) {
    change(export, "/outcome", |bytes| {
        bytes[BEST_V - 1] -= 1;
        bytes.drain(BEST_V..BEST_V + 32);
    });
}

/// The outcome of one auction under the name, and in the block, of another.
fn relabelled(from: &Value, to: &Value) -> Value {
    let mut copy = from.clone();
    let id = to["auction"].as_str().unwrap().parse().unwrap();
    edit_outcome(&mut copy, |outcome| outcome.auction = id);
    copy["outcome"]["height"] = to["outcome"]["height"].clone();
    copy["outcome"]["time"] = to["outcome"]["time"].clone();
    copy["outcome"].clone()
}

/// The last validator's verifying share is another's, and it has published no blinding share that would tell.
fn share_off_the_polynomial(export: &mut Value) {
    // Version, zone, epoch, four owners, four verifying shares, four blinding shares with their proofs.
    let (third, fourth) = (1 + 32 + 1 + 5 + 1 + 64, 1 + 32 + 1 + 5 + 1 + 96);
    change(export, "/key", |bytes| {
        bytes.copy_within(third..third + 32, fourth);
        bytes.truncate(bytes.len() - (1 + 32 + 64));
        bytes.push(0);
    });
    export["key"]["shares"][3]["T"] = export["key"]["shares"][2]["T"].clone();
}

/// Puts the first release under another validator's name.
fn rename(export: &mut Value, validator: u16) {
    change(export, "/releases/0", |bytes| {
        let mut release = Release::decode(bytes).unwrap();
        release.validator = ValidatorIndex(validator);
        *bytes = release.encode();
    });
}

fn edit_intent(export: &mut Value, edit: impl FnOnce(&mut Terms)) {
    change(export, "/intent", |bytes| {
        let mut intent = Intent::decode(bytes).unwrap();
        edit(&mut intent.terms);
        *bytes = intent.encode();
    });
}

/// What the second verifier says of each, in one run of it.
fn by_python<'v>(exports: impl IntoIterator<Item = &'v Value>) -> Vec<Judged> {
    let folder = tempfile::tempdir().unwrap();
    let write = |(at, export): (usize, &Value)| {
        let path = folder.path().join(format!("{at}.json"));
        std::fs::write(&path, serde_json::to_vec(export).unwrap()).unwrap();
        path
    };
    let files: Vec<_> = exports.into_iter().enumerate().map(write).collect();
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers/auction");
    let run = Command::new("python3").arg("-B").arg(verifier).arg("--json").args(&files).output();
    let output = run.expect("python3 is installed, as tests/run does");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "", "it says nothing but its verdicts");
    let lines = String::from_utf8(output.stdout).unwrap();
    let judged: Vec<Judged> =
        lines.lines().map(|line| of_line(&serde_json::from_str(line).unwrap())).collect();
    assert_eq!(judged.len(), files.len());
    assert_eq!(output.status.code(), Some(i32::from(judged.iter().any(Result::is_err))));
    judged
}

fn of_line(line: &Value) -> Judged {
    if line["ok"] == true {
        return Ok(won(&line["bid"], &line["station"], &line["price_micro_per_kwh"]));
    }
    Err(line["wrong"].as_str().unwrap().to_owned())
}

/// What is wrong with a key, the first verifier's decoder does not name.
fn as_decoded(judged: Judged) -> Judged {
    judged.map_err(|wrong| if wrong.starts_with("key: ") { "key".to_owned() } else { wrong })
}

fn won(bid: &Value, station: &Value, price: &Value) -> Won {
    Some((bid.as_u64()?, station.as_str().unwrap().to_owned(), price.as_i64().unwrap()))
}

/// What the auction's own crate says of an export.
fn judged(export: &Value) -> Judged {
    let key = EpochKey::decode(&bytes_at(export, "/key")).map_err(|_| "key".to_owned())?;
    let intent: Intent = decoded(export, "/intent", "intent")?;
    let verified = intent.verify(&key).map_err(named("intent"))?;
    let terms = verified.terms();
    if export["auction"] != verified.id().to_string() {
        return Err("intent: Id".into());
    }
    let opened = export["intent"]["height"].as_u64().unwrap();
    let due = |one: &Value, name: String| {
        let (time, height) = (one["time"].as_u64().unwrap(), one["height"].as_u64().unwrap());
        let is_due = terms.is_due(Timestamp::from_millis(time), height - opened);
        if is_due { Ok(()) } else { Err(format!("{name}: Early")) }
    };
    let mut bids: Vec<LedgeredBid> = Vec::new();
    for (at, one) in export["bids"].as_array().unwrap().iter().enumerate() {
        let bid: Bid = decoded(export, &format!("/bids/{at}"), &format!("bid {at}"))?;
        if one["time"].as_u64().unwrap() >= terms.deadline.as_millis() {
            return Err(format!("bid {at}: Late"));
        }
        if bids.iter().any(|other| other.station == bid.station) {
            return Err(format!("bid {at}: Twice"));
        }
        let position: InCell = serde_json::from_value(one["ledgered"]["position"].clone()).unwrap();
        bids.push(bid.verify(&verified, &key, position).map_err(named(&format!("bid {at}")))?);
    }
    let mut releases = Vec::new();
    for (at, one) in export["releases"].as_array().unwrap().iter().enumerate() {
        let name = format!("release {at}");
        let release: Release = decoded(export, &format!("/releases/{at}"), &name)?;
        due(one, name.clone())?;
        releases.push(release.verify(&key, &verified, &bids).map_err(named(&name))?);
    }
    let mut opening = Opening::combine(&key, &verified, &bids, &releases).map_err(named("opening"))?;
    let earlier = export["earlier"].as_array().unwrap().len();
    let mut pointers: Vec<String> = (0..earlier).map(|at| format!("/earlier/{at}")).collect();
    pointers.extend((!export["outcome"].is_null()).then(|| "/outcome".to_owned()));
    let absent = export["no_shows"].as_array().unwrap();
    if pointers.len() <= absent.len() {
        return Err("outcome: Absent".into());
    }
    let mut found = None;
    for (at, pointer) in pointers.iter().enumerate() {
        let outcome: Outcome = decoded(export, pointer, "outcome")?;
        due(export.pointer(pointer).unwrap(), "outcome".into())?;
        let verdict = outcome.verify(&key, &verified, &bids, &opening).map_err(named("outcome"))?;
        found = match verdict {
            Verdict::Won { bid, station, price, .. } => {
                Some((bid as u64, station.to_string(), price.as_micro_per_kwh()))
            }
            Verdict::NoEligibleBid => None,
        };
        if let Some(absent) = absent.get(at) {
            let Verdict::Won { bid, station, .. } = verdict else { return Err("outcome: NoShow".into()) };
            if *absent != station.to_string() {
                return Err("outcome: NoShow".into());
            }
            bids.remove(bid);
            opening = opening.without(bid);
        }
    }
    let winner = &export["ledger"]["winner"];
    let of_ledger = won(&winner["bid"], &winner["station"], &winner["price_micro_per_kwh"]);
    let nobody = export["ledger"]["nobody_eligible"] == true;
    if of_ledger != found || nobody != found.is_none() { Err("ledger: Winner".into()) } else { Ok(found) }
}

fn decoded<T: Canonical>(export: &Value, pointer: &str, name: &str) -> Result<T, String> {
    T::decode(&bytes_at(export, pointer)).map_err(|_| format!("{name}: Decode"))
}

/// The name of an error's variant, after that of its message.
fn named<E: Debug>(message: &str) -> impl Fn(E) -> String {
    move |error| {
        let text = format!("{error:?}");
        let end = text.find(|character: char| !character.is_alphanumeric()).unwrap_or(text.len());
        format!("{message}: {}", &text[..end])
    }
}
