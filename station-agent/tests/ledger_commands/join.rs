//! Agents that run: decisions by files, and a second agent that joins without the first one being restarted.

use crate::{agent, json, ok, output, refused};
use serde_json::Value;
use std::{
    net::{SocketAddr, UdpSocket},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

/// Long enough for a machine that does ten other things; nothing here is measured in time.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn start(folder: &Path, n: usize) -> Self {
        let log = std::fs::File::create(folder.join(format!("{n}.log"))).unwrap();
        let config = format!("{n}.toml");
        let run = ["run", "--config", &config];
        Self(agent().args(run).current_dir(folder).stderr(Stdio::from(log)).spawn().unwrap())
    }
}

/// Asks again until the answer is good.
pub(crate) fn until(what: &str, folder: &Path, args: &[&str], good: impl Fn(&Value) -> bool) -> Value {
    let start = Instant::now();
    let mut last = String::new();
    while start.elapsed() < PATIENCE {
        let output = output(&[args, &["--json"]].concat(), folder);
        if let Ok(found) = serde_json::from_slice(&output.stdout)
            && good(&found)
        {
            return found;
        }
        last = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    }
    panic!("{what}: {last}");
}

/// Keys, configurations and a zone of one validator; where the two agents listen.
pub(crate) fn town(path: &Path) -> Vec<SocketAddr> {
    town_with(path, &[])
}

/// The same, and what more there is to say of the zone.
pub(crate) fn town_with(path: &Path, more: &[&str]) -> Vec<SocketAddr> {
    let sockets: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    for (n, address) in addresses.iter().enumerate() {
        let config = format!(
            "key_file = \"{n}.key\"\ndata_dir = \"data{n}\"\nlisten = \"{address}\"\n\
             block_ms = 100\nidle_block_ms = 1000\nclock_factor = 4\nlog = \"info\"\n"
        );
        std::fs::write(path.join(format!("{n}.toml")), config).unwrap();
    }
    let [_, _, treasurer, distributor, regulator, _] =
        ["0", "1", "treasurer", "distributor", "regulator", "audit"].map(|name| public(path, name));
    let address = addresses[0].to_string();
    let mut new = vec!["zone", "new", "zone.toml", "--name", "Berlin", "--key", "0.key", "--data", "data0"];
    new.extend(["--agent-name", "a0", "--address", &address, "--tariff", "80000"]);
    new.extend(["--treasurer", &treasurer, "--distributor", &distributor, "--regulator", &regulator]);
    new.extend(["--corner", "52.3,13.0", "--corner", "52.7,13.0", "--corner", "52.5,13.8"]);
    new.extend(more);
    ok(&new, path);
    addresses
}

/// Makes a key file and gives its public key.
pub(crate) fn public(path: &Path, name: &str) -> String {
    json(&["key", "new", &format!("{name}.key")], path)["public_key"].as_str().unwrap().to_owned()
}

pub(crate) fn shown(path: &Path, name: &str) -> String {
    json(&["key", "show", &format!("{name}.key")], path)["public_key"].as_str().unwrap().to_owned()
}

#[test]
fn decisions_are_carried_as_files_and_a_second_agent_joins_the_first_that_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let addresses = town(path);
    let mut first = Running::start(path, 0);
    let status = ["ledger", "status"];
    let found = until("no block", path, &status, |found| found["height"].as_u64() >= Some(1));
    assert_eq!((&found["epoch"], &found["rules"]["version"]), (&0.into(), &1.into()));
    assert_eq!(found["validators"][0]["name"], "a0");
    assert_eq!(found["validators"][0]["voted"], true);
    assert!(found["age_ms"].is_u64());

    audit_key(path);
    tariff(path);
    join(path, &addresses[1]);

    assert!(first.0.try_wait().unwrap().is_none(), "the first was never stopped");
    let logs = std::fs::read_to_string(path.join("0.log")).unwrap();
    assert!(!logs.contains("panicked"), "{logs}");
}

/// An export is refused until the regulators have named an audit key, and goes by its word from then on.
fn audit_key(path: &Path) {
    let new = ["ledger", "order", "new", "order.toml"];
    let times = ["--from", "2026-01-01T00:00Z", "--to", "2026-01-02T00:00Z"];
    ok(&[&new[..], &times[..]].concat(), path);
    ok(&["ledger", "order", "sign", "order.toml", "--key", "audit.key"], path);
    let export = ["ledger", "export", "--data", "data0", "--order", "order.toml"];
    assert!(refused(&export, path, 1).contains("no audit key"));

    let audit = shown(path, "audit");
    let made = ok(&["zone", "propose", "audit.toml", "--key", "0.key", "audit-key", &audit], path);
    assert!(made.contains(&audit) && made.contains("regulators: 0 of 1"), "{made}");
    assert!(made.contains("incomplete"), "{made}");
    assert!(
        refused(&["zone", "propose", "audit.toml", "--key", "0.key", "audit-key", &audit], path, 1)
            .contains("--force")
    );
    let early = refused(&["zone", "submit", "audit.toml"], path, 1);
    assert!(early.contains("regulators"), "{early}");
    let nobody = refused(&["zone", "sign", "audit.toml", "--key", "audit.key"], path, 1);
    assert!(nobody.contains("counts for nothing"), "{nobody}");
    let again = refused(&["zone", "sign", "audit.toml", "--key", "0.key"], path, 1);
    assert!(again.contains("has signed this proposal already"), "{again}");
    let signed = ok(&["zone", "sign", "audit.toml", "--key", "regulator.key"], path);
    assert!(signed.contains("regulators: 1 of 1") && signed.contains("complete "), "{signed}");
    let done = ok(&["zone", "submit", "audit.toml"], path);
    assert!(done.starts_with("applied") && done.contains(&audit), "{done}");
    // Once more is the same transaction: it applies once.
    ok(&["zone", "submit", "audit.toml"], path);
    assert_eq!(ok(&export, path).lines().count(), 1, "nothing was sold: a line of names");
    assert_eq!(json(&["ledger", "status"], path)["audit_key"], audit);

    // What is carried is what is signed.
    let text = std::fs::read_to_string(path.join("audit.toml")).unwrap();
    let at = text.find("= \"").unwrap() + 60;
    let other = if &text[at..=at] == "A" { "B" } else { "A" };
    std::fs::write(path.join("changed.toml"), format!("{}{other}{}", &text[..at], &text[at + 1..])).unwrap();
    assert!(refused(&["zone", "submit", "changed.toml"], path, 1).contains("changed.toml"));
}

fn tariff(path: &Path) {
    let propose = |key: &'static str| ["zone", "propose", "tariff.toml", "--key", key, "tariff", "90000"];
    let said = refused(&propose("0.key"), path, 1);
    assert!(said.contains("only the distributor"), "{said}");
    let soon = ["zone", "propose", "soon.toml", "--key", "distributor.key", "tariff", "1"];
    let soon = [&soon[..], &["--from", "2026-01-01T00:00Z"]].concat();
    let said = refused(&soon, path, 1);
    assert!(said.contains("--from 2026-01-01") && said.contains("is too early"), "{said}");
    let negative = ["zone", "propose", "soon.toml", "--key", "distributor.key", "tariff", "--", "-1"];
    assert!(refused(&negative, path, 1).contains("0 or more"));
    let made = ok(&propose("distributor.key"), path);
    assert!(made.contains("sets the grid fee to EUR 0.09") && made.contains("complete "), "{made}");
    let done = ok(&["zone", "submit", "tariff.toml"], path);
    assert!(done.contains("grid fee   0.08") && done.contains("grid fee   0.09"), "{done}");
    let tariffs = json(&["ledger", "status"], path)["tariffs"].clone();
    assert_eq!(tariffs.as_array().unwrap().len(), 2);
    assert_eq!(tariffs[1]["price"], 90_000);
    let third = ["zone", "propose", "third.toml", "--key", "distributor.key", "tariff", "1"];
    assert!(refused(&third, path, 1).contains("another grid fee is decided already"));
}

fn join(path: &Path, address: &SocketAddr) {
    let address = address.to_string();
    let apply = ["zone", "apply", "--key", "1.key", "--data", "data1", "--agent-name", "a1"];
    assert!(refused(&apply, path, 1).contains("--address"));
    let applied = json(&[&apply[..], &["--address", &address]].concat(), path);
    let line = applied["line"].as_str().unwrap();
    assert_eq!(json(&[&apply[..], &["--address", &address]].concat(), path)["line"], line, "the same again");

    let _second = Running::start(path, 1);
    let second = format!("{}@{address}", shown(path, "1"));
    let status = ["ledger", "status"];
    let there = ["ledger", "status", "--agent", &second];
    let height = json(&status, path)["height"].as_u64();
    until("it does not follow", path, &there, |found| found["height"].as_u64() >= height);

    let propose = ["zone", "propose", "join.toml", "--force", "--key", "0.key", "validators"];
    let said = refused(&[&propose[..], &["--remove", "a9"]].concat(), path, 1);
    assert!(said.contains("--remove a9") && said.contains("a0"), "{said}");
    assert!(
        refused(&[&propose[..], &["--add", "a1,x"]].concat(), path, 2)
            .contains("NAME,KEY,VOTE,STAKE,ADDRESS")
    );
    assert!(refused(&propose, path, 1).contains("nothing changes"));
    let made = ok(&[&propose[..], &["--add", line]].concat(), path);
    assert!(
        made.contains("NEW  a1") && made.contains("stake 1 of 2") && made.contains("complete "),
        "{made}"
    );
    let done = ok(&["zone", "submit", "join.toml"], path);
    assert!(done.contains("epoch      1 has begun") && done.contains("validator  a1"), "{done}");

    // Two of two must vote: blocks go on only if the second one does.
    let both = |found: &Value| {
        let votes = found["validators"].as_array().unwrap();
        found["epoch"] == 1 && votes.len() == 2 && votes.iter().all(|one| one["voted"] == true)
    };
    let height = until("no common block", path, &status, both)["height"].as_u64();
    let far = height.map(|height| height + 2);
    until("the second is not there", path, &there, |found| both(found) && found["height"].as_u64() >= far);
    let mut roots = None;
    let same = |found: &Value| (found["height"].clone(), found["objects_root"].clone());
    let start = Instant::now();
    while roots.is_none() && start.elapsed() < PATIENCE {
        let (one, other) = (same(&json(&status, path)), same(&json(&there, path)));
        roots = (one.0 == other.0).then_some((one, other));
    }
    let (one, other) = roots.expect("they are at the same height now and then");
    assert_eq!(one, other, "equal roots");

    // Both folders verify while their agents write to them.
    for data in ["data0", "data1"] {
        let found = json(&["ledger", "verify", "--data", data], path);
        assert_eq!((&found["ok"], &found["epoch"]), (&true.into(), &1.into()));
        assert_eq!(found["hand_overs"], 1);
    }
    let named = ["ledger", "status", "--agent", "a9"];
    assert!(refused(&named, path, 1).contains("a0"), "the agents there are, are named");
    assert!(
        refused(&[&apply[..], &["--address", &address]].concat(), path, 1)
            .contains("there is nothing to apply for")
    );
    part(path, &there);
}

/// The second is let go: both have to sign, and the first goes on alone while the second follows.
fn part(path: &Path, there: &[&str]) {
    let status = ["ledger", "status"];
    let propose = ["zone", "propose", "part.toml", "--key", "0.key", "validators", "--remove", "a1"];
    let made = ok(&propose, path);
    assert!(made.contains("REMOVED    a1  stake 1") && made.contains("not signed by a1"), "{made}");
    assert!(made.contains("incomplete"), "{made}");
    let early = refused(&["zone", "submit", "part.toml"], path, 1);
    assert!(early.contains("refuses"), "{early}");
    assert!(ok(&["zone", "sign", "part.toml", "--key", "1.key"], path).contains("complete "));
    let done = ok(&["zone", "submit", "part.toml"], path);
    assert!(done.contains("epoch      2 has begun") && !done.contains("validator  a1"), "{done}");
    let height = json(&status, path)["height"].as_u64().map(|height| height + 2);
    let alone = |found: &Value| {
        found["validators"].as_array().unwrap().len() == 1 && found["height"].as_u64() >= height
    };
    until("the first does not go on", path, &status, alone);
    until("the second does not follow", path, there, alone);
}
