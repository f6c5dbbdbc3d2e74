//! Every word by which a zone's people decide something, as files, against an agent that runs: what is right is applied and
//! proven, and what is wrong says so before anybody is asked to sign it.

use crate::{
    join::{Running, shown, town, until},
    json, ok, refused,
};
use ohmesh_ledger::{
    Answer, Asset, Body, Object, Proof, ProvenAccount, Query, SignedTransaction, Transaction, ZoneFile,
    proven_object,
};
use ohmesh_mesh::{Clock, Endpoint, Peer, SystemClock};
use ohmesh_units::{AccountId, Canonical, Hash, Position, SigningKey, StationId};
use serde_json::Value;
use station_agent::{daemon::limits, key_file, zone_file};
use std::{
    cell::Cell,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

/// Long enough for a machine that does ten other things; nothing here is measured in time.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder with a zone of one agent, which runs.
pub(crate) struct Zone<'p> {
    pub(crate) path: &'p Path,
    address: SocketAddr,
    /// How many transactions no command has made.
    sent: Cell<u128>,
}

impl<'p> Zone<'p> {
    /// The zone in a folder whose agent listens there.
    pub(crate) fn new(path: &'p Path, address: SocketAddr) -> Self {
        Self { path, address, sent: Cell::new(0) }
    }

    /// `zone propose FILE --key KEY` and these words.
    fn args<'a>(file: &'a str, key: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["zone", "propose", file, "--force", "--key", key][..], words].concat()
    }

    pub(crate) fn propose(&self, file: &str, key: &str, words: &[&str]) -> String {
        ok(&Self::args(file, key, words), self.path)
    }

    /// The proposal is refused: 1 by what it says, 2 by how it is said.
    pub(crate) fn refuse(&self, key: &str, words: &[&str], code: i32) -> String {
        let said = refused(&Self::args("bad.toml", key, words), self.path, code);
        assert!(!self.path.join("bad.toml").exists(), "{words:?} left a file");
        said
    }

    pub(crate) fn sign(&self, file: &str, key: &str) -> String {
        ok(&["zone", "sign", file, "--key", key], self.path)
    }

    pub(crate) fn submit(&self, file: &str) -> String {
        let done = ok(&["zone", "submit", file], self.path);
        assert!(done.starts_with("applied\n") && done.contains("proven     at height "), "{done}");
        done
    }

    /// Nobody's ledger takes it, and the agent says why.
    pub(crate) fn not_taken(&self, file: &str) -> String {
        let said = refused(&["zone", "submit", file], self.path, 1);
        assert!(said.contains("refuses"), "{said}");
        said
    }

    fn status(&self) -> Value {
        json(&["ledger", "status"], self.path)
    }

    pub(crate) fn file(&self) -> ZoneFile {
        zone_file::read(&self.path.join("zone.toml")).unwrap()
    }

    pub(crate) fn key(&self, name: &str) -> SigningKey {
        key_file::read(&self.path.join(format!("{name}.key"))).unwrap()
    }

    /// Applies transactions of these keys, which no command makes.
    pub(crate) fn apply(&self, bodies: Vec<(&str, Body)>) {
        let zone = self.file().zone;
        let sign = |(name, body): (&str, Body)| {
            let (key, n) = (self.key(name), self.sent.get() + 1);
            self.sent.set(n);
            let valid_until = SystemClock.now().checked_add(Duration::from_secs(3_600)).unwrap();
            let sender = AccountId::of(&key.public());
            Transaction { zone: zone.id(), sender, number: n, valid_until, body }.sign(&[&key])
        };
        let signed: Vec<SignedTransaction> = bodies.into_iter().map(sign).collect();
        self.asking(async |peer| submit_all(peer, signed).await);
    }

    /// The object with this id, proven; none if the agent shows none.
    pub(crate) fn object(&self, id: Hash) -> Option<Object> {
        let Answer::Proofs(head, proofs) = self.ask(Query::Object(id)) else { panic!("asked for an object") };
        proofs.first().map(|proof| proven_object(proof, &head.0).unwrap())
    }

    /// The account of a key, proven; none if the agent shows none.
    pub(crate) fn account(&self, name: &str) -> Option<ProvenAccount> {
        let (zone, key) = (self.file().zone, self.key(name).public());
        let id = AccountId::of(&key);
        let Answer::Proofs(head, proofs) = self.ask(Query::Account(id)) else {
            panic!("asked for an account")
        };
        let proofs: Vec<Proof> = proofs.into_iter().map(|proof| proof.with_owner(&key)).collect();
        let voters = zone.validators.voters();
        let proven =
            |proofs: &Vec<Proof>| ProvenAccount::verify(&zone.id(), voters, &id, *head, proofs).unwrap();
        Some(proofs).filter(|proofs| !proofs.is_empty()).as_ref().map(proven)
    }

    fn ask(&self, query: Query) -> Answer {
        self.asking(async |peer| Answer::decode(&peer.request(&query.encode()).await.unwrap()).unwrap())
    }

    /// Does something over a connection to the agent.
    fn asking<T>(&self, act: impl AsyncFnOnce(&Peer) -> T) -> T {
        let agent = self.file().zone.validators.at(0).unwrap().key;
        let bind = SocketAddr::from(([0, 0, 0, 0], 0));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::builder(key_file::generate().unwrap()).bind(bind).limits(limits());
            let endpoint = endpoint.start().unwrap();
            let peer = endpoint.connect(self.address, agent).await.unwrap();
            act(&peer).await
        })
    }
}

async fn submit_all(peer: &Peer, all: Vec<SignedTransaction>) {
    for signed in all {
        let (id, start) = (signed.transaction.id(), Instant::now());
        let mut query = Query::Submit(Box::new(signed));
        loop {
            match Answer::decode(&peer.request(&query.encode()).await.unwrap()).unwrap() {
                Answer::Applied(_) => break,
                Answer::Waiting => query = Query::Transaction(id),
                other => panic!("{other:?}"),
            }
            assert!(start.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn every_word_of_the_zones_people_is_carried_out_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let address = town(path)[0];
    let mut agent = Running::start(path, 0);
    until("no block", path, &["ledger", "status"], |found| found["height"].as_u64() >= Some(1));
    let zone = Zone::new(path, address);
    proposals(&zone);
    price_cap(&zone);
    rules(&zone);
    circuit(&zone);
    bonds(&zone);
    resolve(&zone);
    validators(&zone);
    assert!(agent.0.try_wait().unwrap().is_none(), "the agent was never stopped");
    let logs = std::fs::read_to_string(path.join("0.log")).unwrap();
    assert!(!logs.contains("panicked"), "{logs}");
    let found = json(&["ledger", "verify", "--data", "data0"], path);
    assert_eq!(found["ok"], true);
}

/// What holds for the files of all words.
fn proposals(zone: &Zone<'_>) {
    for words in
        [&["--valid-hours", "0", "bond", "1"][..], &["--valid-hours", "25", "bond", "1"], &["bnd", "1"]]
    {
        zone.refuse("0.key", words, 2);
    }
    assert!(zone.refuse("nobody.key", &["bond", "1"], 1).contains("nobody.key"));
    let sender = AccountId::of(&zone.key("regulator").public()).to_string();
    let said = zone.refuse("regulator.key", &["rules", "--bond", "10"], 1);
    assert!(said.contains("shows no account") && said.contains(&sender), "{said}");
    let none = refused(&["zone", "sign", "none.toml", "--key", "0.key"], zone.path, 1);
    assert!(none.contains("none.toml"), "{none}");
    std::fs::write(zone.path.join("text.toml"), "signed_transaction = \"AAAA\"").unwrap();
    for verb in ["sign", "submit"] {
        let said = refused(&["zone", verb, "text.toml"], zone.path, 1);
        assert!(said.contains("text.toml") || said.contains("agent.key"), "{said}");
    }
    std::fs::write(zone.path.join("long.toml"), vec![b'#'; 100_000]).unwrap();
    assert!(refused(&["zone", "submit", "long.toml"], zone.path, 1).contains("which no proposal has"));

    // Without an agent a proposal is signed by its words alone, and no signature counts twice.
    let made = zone.propose("cap.toml", "0.key", &["price-cap", "700000"]);
    assert!(made.contains("regulators: 0 of 1; not signed by") && made.contains("incomplete"), "{made}");
    let offline = ["zone", "sign", "cap.toml", "--offline", "--key", "regulator.key"];
    let said = ok(&offline, zone.path);
    assert!(said.contains("forbids prices above EUR 0.7"), "{said}");
    assert!(said.contains("an agent was not asked"), "{said}");
    assert!(refused(&offline, zone.path, 1).contains("has signed this proposal already"));
    let shown = json(&["zone", "propose", "shown.toml", "--key", "0.key", "bond", "5"], zone.path);
    assert_eq!((&shown["complete"], &shown["needs"][0]["who"]), (&true.into(), &"the sender".into()));
}

fn price_cap(zone: &Zone<'_>) {
    zone.refuse("0.key", &["price-cap"], 2);
    zone.refuse("0.key", &["price-cap", "1", "--none"], 2);
    zone.refuse("0.key", &["price-cap", "x"], 2);
    for price in ["-1", "0"] {
        let said = zone.refuse("0.key", &["price-cap", "--", price], 1);
        assert!(said.contains("is 1 or more"), "{said}");
    }
    // Whoever lifts a cap that there is not decides something all the same.
    assert!(zone.propose("none.toml", "0.key", &["price-cap", "--none"]).contains("lifts the price cap"));
    let early = zone.refuse("0.key", &["price-cap", "600000", "--from", "2026-01-01T00:00Z"], 1);
    assert!(early.contains("--from 2026-01-01") && early.contains("is too early"), "{early}");
    zone.refuse("0.key", &["price-cap", "600000", "--from", "tomorrow"], 2);

    let before = zone.status();
    let made = zone.propose("cap.toml", "0.key", &["price-cap", "650000"]);
    assert!(made.contains("forbids prices above EUR 0.650000/kWh "), "{made}");
    let unsigned = zone.not_taken("cap.toml");
    assert!(unsigned.contains("regulators"), "{unsigned}");
    let useless = refused(&["zone", "sign", "cap.toml", "--key", "treasurer.key"], zone.path, 1);
    assert!(useless.contains("counts for nothing"), "{useless}");
    assert_eq!(zone.status()["price_caps"], before["price_caps"], "nothing has changed");
    assert_eq!(before["price_caps"].as_array().map(Vec::len), Some(1));
    assert!(zone.sign("cap.toml", "regulator.key").contains("complete "));
    let done = zone.submit("cap.toml");
    assert!(done.contains("price cap  none from") && done.contains("price cap  0.650000/kWh from"), "{done}");
    zone.submit("cap.toml"); // The same transaction: it applies once.
    // Only one change may wait for its day.
    let third = zone.refuse("0.key", &["price-cap", "--none"], 1);
    assert!(third.contains("another price cap is decided already"), "{third}");
}

fn rules(zone: &Zone<'_>) {
    assert!(zone.refuse("0.key", &["rules"], 1).contains("nothing changes"));
    assert!(zone.refuse("0.key", &["rules", "--fee", "0"], 1).contains("nothing changes"));
    for words in [&["rules", "--fee=-1"][..], &["rules", "--bond=-1"], &["rules", "--epoch-seconds", "0"]] {
        let said = zone.refuse("0.key", words, 1);
        assert!(
            said.contains("rules") || said.contains("epoch") || said.contains("bond"),
            "{words:?}: {said}"
        );
    }
    zone.refuse("0.key", &["rules", "--fee", "much"], 2);
    let made = zone.propose("rules.toml", "distributor.key", &["rules", "--bond", "10"]);
    assert!(made.contains("validators by stake: 0 of 1; not signed by a0"), "{made}");
    zone.not_taken("rules.toml");
    let made = zone.propose("rules.toml", "0.key", &["rules", "--bond", "10"]);
    assert!(made.contains("bond for each unit of stake 0.000010 (WAS 0.000000)"), "{made}");
    assert!(made.contains("complete "), "{made}");
    assert!(zone.submit("rules.toml").contains("rules      version 1 from the next epoch on"));
    let made = zone.propose("newer.toml", "0.key", &["rules", "--version", "2"]);
    assert!(made.contains("agents that know only version 1 stop then"), "{made}");
    assert!(made.contains("bond for each unit of stake 0.000010"), "what is decided already stays: {made}");
}

fn circuit(zone: &Zone<'_>) {
    let sender = AccountId::of(&zone.key("0").public());
    let station = StationId::of(&sender, 1).to_string();
    assert!(zone.refuse("0.key", &["circuit", &station, "7"], 1).contains("only the distributor"));
    zone.refuse("distributor.key", &["circuit", "7"], 2);
    zone.refuse("distributor.key", &["circuit", &station], 2);
    zone.refuse("distributor.key", &["circuit", &station, "-7"], 2);
    zone.refuse("distributor.key", &["circuit", &station, "7", "--none"], 2);
    let unknown = zone.refuse("distributor.key", &["circuit", &station, "7"], 1);
    assert!(unknown.contains(&station) && unknown.contains("no station"), "{unknown}");

    let position = Position::from_e7(525_000_000, 132_000_000).unwrap();
    let (name, award_key) = ("S".to_owned(), Hash([9; 32]));
    zone.apply(vec![("0", Body::RegisterStation { number: 1, name, position, award_key })]);
    let made = zone.propose("circuit.toml", "distributor.key", &["circuit", &station, "7"]);
    assert!(made.contains("is fed by circuit 7") && made.contains("sender     the distributor"), "{made}");
    assert!(zone.submit("circuit.toml").contains("circuit    7"));
    zone.propose("circuit.toml", "distributor.key", &["circuit", &station, "--none"]);
    assert!(zone.submit("circuit.toml").contains("circuit    none"));
}

fn bonds(zone: &Zone<'_>) {
    let to = AccountId::of(&zone.key("0").public());
    for (words, why) in [
        (&["bond", "0"][..], "above 0"),
        (&["bond", "--", "-5"], "above 0"),
        (&["unbond", "0"], "above 0"),
        (&["unbond", "--", "-5"], "above 0"),
    ] {
        let said = zone.refuse("0.key", words, 1);
        assert!(said.contains(why), "{words:?}: {said}");
    }
    zone.refuse("0.key", &["bond", "5.5"], 2);
    zone.propose("bond.toml", "0.key", &["bond", "1000000"]);
    let poor = zone.not_taken("bond.toml");
    assert!(poor.contains("available"), "{poor}");
    let issue = Body::Issue { asset: Asset::Currency, to, amount: 3_000_000, reference: "first".into() };
    zone.apply(vec![("treasurer", issue)]);
    let made = zone.propose("bond.toml", "0.key", &["bond", "1000000"]);
    assert!(made.contains("puts 1.000000 EUR of the sender's money behind its votes"), "{made}");
    let done = zone.submit("bond.toml");
    assert!(done.contains("bonded     1.000000\n"), "{done}");
    assert_eq!(zone.submit("bond.toml").matches("bonded     1.000000\n").count(), 1, "once");

    zone.propose("more.toml", "0.key", &["unbond", "1000001"]);
    zone.not_taken("more.toml");
    let made = zone.propose("unbond.toml", "0.key", &["unbond", "400000"]);
    assert!(made.contains("asks 0.400000 EUR of the sender's bond back, free after 28 days"), "{made}");
    let done = zone.submit("unbond.toml");
    assert!(
        done.contains("bonded     0.600000\n") && done.contains("leaving    0.400000, free at "),
        "{done}"
    );
    let leaving_too = zone.propose("rest.toml", "0.key", &["unbond", "600001"]);
    assert!(leaving_too.contains("complete "), "{leaving_too}");
    zone.not_taken("rest.toml");
}

fn resolve(zone: &Zone<'_>) {
    zone.refuse("0.key", &["resolve", "7", "1000"], 2);
    let contract = Hash([7; 32]).to_string();
    zone.refuse("0.key", &["resolve", &contract, "-1000"], 2);
    let said = zone.refuse("0.key", &["resolve", &contract, "1000"], 1);
    assert!(said.contains("shows no contract") && said.contains(&contract), "{said}");
}

fn validators(zone: &Zone<'_>) {
    let (own, other) = (shown(zone.path, "0"), shown(zone.path, "1"));
    let propose = |words: &[&str], code| zone.refuse("0.key", &[&["validators"], words].concat(), code);
    assert!(propose(&["--remove", "a9"], 1).contains("there are a0"));
    assert!(propose(&["--restake", "a9=2"], 1).contains("there are a0"));
    assert!(propose(&["--remove", "a0"], 1).contains("0 validators"));
    assert!(propose(&["--restake", "a0=0"], 1).contains("stake is at least 1"));
    assert!(propose(&["--restake", "a0=1"], 1).contains("nothing changes"));
    for text in ["a0", "a0=", "a0=-1", "a0=x"] {
        assert!(propose(&["--restake", text], 2).contains("STAKE"), "{text}");
    }
    let line = |name: &str, key: &str, vote: &str| format!("{name},{key},{vote},1,127.0.0.1:1");
    let small = "0100000000000000000000000000000000000000000000000000000000000000";
    for (line, why) in [
        (line("a0", &other, &own), "there is a validator of this name"),
        (line("A0", &other, &own), "there is a validator of this name"),
        (line("b", &own, &other), "twice"),
        (line("b", &other, &zone.file().zone.validators.at(0).unwrap().vote.to_string()), "twice"),
        (line("", &other, &own), "name"),
        (line("b", small, &own), "validator"),
    ] {
        let said = propose(&["--add", &line], 1);
        assert!(said.contains(why), "{line}: {said}");
    }
    assert!(propose(&["--add", "b,x,y,1,h:1"], 2).contains("KEY"));

    // One that was made before the epoch ended is good no more.
    let made = zone.propose("late.toml", "0.key", &["validators", "--restake", "a0=5"]);
    assert!(made.contains("STAKE 1 TO 5"), "{made}");
    let made = zone.propose("restake.toml", "0.key", &["validators", "--restake", "a0=2"]);
    assert!(made.contains("STAKE 1 TO 2") && made.contains("complete "), "{made}");
    let done = zone.submit("restake.toml"); // Its bond is there for the stake that it gets.
    assert!(done.contains("epoch      1 has begun") && done.contains("validator  a0  stake 2"), "{done}");
    let height = zone.status()["height"].as_u64();
    let goes_on = |found: &Value| found["height"].as_u64() > height && found["epoch"] == 1;
    let found = until("no block in epoch 1", zone.path, &["ledger", "status"], goes_on);
    assert_eq!(found["rules"]["bond"], 10, "the rules that were decided for the next epoch hold: {found}");
    let late = refused(&["zone", "sign", "late.toml", "--key", "1.key"], zone.path, 1);
    assert!(late.contains("is for epoch 0, and epoch 1 has begun: make it again"), "{late}");
    zone.not_taken("late.toml");
}
