//! Real processes: four `station-agent run`, a real network on loopback, real files, and kill -9.

#![allow(clippy::unwrap_used)]

use ohmesh_ledger::{Answer, Asset, Body, Header, Journal, ProvenAccount, Query, Transaction, ZoneFile};
use ohmesh_mesh::{Clock, Endpoint, Peer, SystemClock};
use ohmesh_units::{AccountId, Canonical, SigningKey};
use station_agent::{daemon::limits, key_file, zone_file};
use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Long enough for a machine that does ten other things; nothing here is measured in time.
const PATIENCE: Duration = Duration::from_secs(90);

fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_station-agent"))
}

fn output(args: &[&str], folder: &Path) -> Output {
    agent().args(args).current_dir(folder).output().unwrap()
}

fn ok(args: &[&str], folder: &Path) -> String {
    let output = output(args, folder);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str], folder: &Path, code: i32) -> String {
    let output = output(args, folder);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(!error.contains("panicked"), "{args:?}: {error}");
    error
}

/// A folder with four agents' keys, one zone that all have signed, and their configurations.
struct Town {
    folder: tempfile::TempDir,
    running: Vec<Option<Child>>,
    addresses: Vec<SocketAddr>,
}

impl Drop for Town {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Town {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sockets: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let path = folder.path();
        for (n, address) in addresses.iter().enumerate() {
            ok(&["key", "new", &format!("{n}.key")], path);
            let config = format!(
                "zone_file = \"zone.toml\"\nkey_file = \"{n}.key\"\ndata_dir = \"data{n}\"\nlisten = \"{address}\"\n\
                 block_ms = 100\nidle_block_ms = 1000\nclock_factor = 4\nlog = \"warn\"\n"
            );
            std::fs::write(path.join(format!("{n}.toml")), config).unwrap();
        }
        let treasurer = public(&key_file::read(&path.join("0.key")).unwrap());
        let corners = ["--corner", "52.3,13.0", "--corner", "52.7,13.0", "--corner", "52.5,13.8"];
        let address = addresses[0].to_string();
        let mut new =
            vec!["zone", "new", "zone.toml", "--name", "Berlin", "--key", "0.key", "--data", "data0"];
        new.extend(["--agent-name", "a0"]);
        new.extend([
            "--treasurer",
            &treasurer,
            "--distributor",
            &treasurer,
            "--tariff",
            "80000",
            "--address",
            &address,
        ]);
        new.extend(corners);
        ok(&new, path);
        for round in 0..2 {
            for (n, address) in addresses.iter().enumerate() {
                let data = format!("data{n}");
                let (key, name, address) = (format!("{n}.key"), format!("a{n}"), address.to_string());
                if round == 0 && n == 0 {
                    continue;
                }
                ok(
                    &[
                        "zone",
                        "join",
                        "zone.toml",
                        "--key",
                        &key,
                        "--data",
                        &data,
                        "--agent-name",
                        &name,
                        "--address",
                        &address,
                    ],
                    path,
                );
            }
        }
        Self { folder, running: (0..4).map(|_| None).collect(), addresses }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self, n: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{n}.log")))
            .unwrap();
        let child = agent()
            .args(["run", "--config", &format!("{n}.toml")])
            .current_dir(self.folder.path())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.running[n] = Some(child);
    }

    fn kill_9(&mut self, n: usize) {
        let mut child = self.running[n].take().unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }

    fn zone(&self) -> ZoneFile {
        zone_file::read(&self.path("zone.toml")).unwrap()
    }

    fn logs(&self) -> String {
        (0..4)
            .map(|n| std::fs::read_to_string(self.path(&format!("{n}.log"))).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn public(key: &SigningKey) -> String {
    key.public().to_string()
}

/// Somebody with a key who talks to one agent, and dials again when it was away.
struct Client {
    key: SigningKey,
    endpoint: Endpoint,
    zone: ZoneFile,
    address: SocketAddr,
    agent: usize,
    peer: Option<Peer>,
    numbers: u128,
}

impl Client {
    fn new(town: &Town, key: SigningKey, agent: usize) -> Self {
        let bind = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::builder(key.clone()).bind(bind).limits(limits()).start().unwrap();
        let (zone, address) = (town.zone(), town.addresses[agent]);
        Self { key, endpoint, zone, address, agent, peer: None, numbers: 0 }
    }

    async fn ask(&mut self, query: &Query) -> Option<Answer> {
        if self.peer.as_ref().is_none_or(|peer| peer.close_reason().is_some()) {
            let index = u16::try_from(self.agent).unwrap();
            let key = self.zone.zone.validators.at(index).unwrap().key;
            self.peer = self.endpoint.connect(self.address, key).await.ok();
        }
        let bytes = self.peer.as_ref()?.request(&query.encode()).await.ok()?;
        Some(Answer::decode(&bytes).unwrap())
    }

    /// Asks until the answer is good; panics when patience ends.
    async fn until<T>(&mut self, query: &Query, what: &str, good: impl Fn(&Answer) -> Option<T>) -> T {
        let start = Instant::now();
        let mut last = None;
        while start.elapsed() < PATIENCE {
            last = self.ask(query).await;
            if let Some(found) = last.as_ref().and_then(&good) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("agent {}: {what}; last answer {last:?}", self.agent);
    }

    fn sign(&mut self, body: Body) -> ohmesh_ledger::SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: self.zone.zone.id(),
            sender: AccountId::of(&self.key.public()),
            number: self.numbers,
            valid_until: SystemClock.now().checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        transaction.sign(&[&self.key])
    }

    /// Sends and waits until the agent acknowledges that it has been applied.
    async fn apply(&mut self, body: Body) {
        let signed = self.sign(body);
        let id = signed.transaction.id();
        let submit = Query::Submit(Box::new(signed));
        self.until(&submit, "not taken", |answer| {
            matches!(answer, Answer::Waiting | Answer::Applied(_)).then_some(())
        })
        .await;
        self.until(&Query::Transaction(id), "not applied", |answer| {
            matches!(answer, Answer::Applied(_)).then_some(())
        })
        .await;
    }

    async fn header(&mut self, at_least: u64) -> Header {
        let zone = self.zone.zone.clone();
        self.until(&Query::Head, &format!("not at height {at_least}"), |answer| match answer {
            Answer::Head(Some(head)) if head.0.height >= at_least => {
                head.1.verify_header(&head.0, &zone.id(), zone.validators.voters()).unwrap();
                Some(head.0.clone())
            }
            _ => None,
        })
        .await
    }

    async fn balance(&mut self, account: AccountId) -> i64 {
        let zone = self.zone.zone.clone();
        self.until(&Query::Account(account), "no account", |answer| match answer {
            Answer::Proofs(head, proofs) if !proofs.is_empty() => {
                let head = (**head).clone();
                let proven =
                    ProvenAccount::verify(&zone.id(), zone.validators.voters(), &account, head, proofs)
                        .unwrap();
                Some(proven.balances[Journal::Energy as usize].map_or(0, |b| b.of(Asset::Currency).posted))
            }
            _ => None,
        })
        .await
    }
}

#[test]
fn one_of_four_is_killed_under_load_and_comes_back() {
    let mut town = Town::new();
    (0..4).for_each(|n| town.start(n));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(load(&mut town))));
    if let Err(panic) = result {
        eprintln!("agents' logs:\n{}", town.logs());
        std::panic::resume_unwind(panic);
    }
    assert!(!town.logs().contains("panicked"), "{}", town.logs());
}

async fn load(town: &mut Town) {
    let driver = SigningKey::from_seed([200; 32]);
    let account = AccountId::of(&driver.public());
    let mut opener = Client::new(town, driver.clone(), 1);
    opener.apply(Body::OpenAccount { owner: driver.public() }).await;
    let height = opener.header(1).await.height;
    let treasurer = key_file::read(&town.path("0.key")).unwrap();
    let mut treasurer = Client::new(town, treasurer, 0);
    treasurer.header(height).await;
    let issue =
        |amount| Body::Issue { asset: Asset::Currency, to: account, amount, reference: "load".to_owned() };
    let mut acknowledged = 0;
    for round in 0..30 {
        treasurer.apply(issue(1_000)).await;
        acknowledged += 1_000;
        if round == 10 {
            town.kill_9(3);
        }
        if round == 20 {
            town.start(3);
        }
    }
    let height = treasurer.header(1).await.height;
    let mut headers = Vec::new();
    for n in 0..4 {
        let mut client = Client::new(town, SigningKey::from_seed([201; 32]), n);
        headers.push(client.header(height).await);
        assert_eq!(client.balance(account).await, acknowledged, "agent {n}: nothing acknowledged is lost");
    }
    // The same root at the same height, whichever heights they are at by now.
    let top = headers.iter().map(|header| header.height).max().unwrap();
    let blocks = Query::Blocks { from: top };
    let mut ids = Vec::new();
    for n in 0..4 {
        let mut client = Client::new(town, SigningKey::from_seed([202; 32]), n);
        let id = client.until(&blocks, "no block", |answer| match answer {
            Answer::Blocks(blocks) => blocks.first().map(|(_, certificate)| certificate.block),
            _ => None,
        });
        ids.push(id.await);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "equal roots: {ids:?}");
}

#[test]
fn commands_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    assert!(refused(&["run"], path, 1).contains("agent.toml"));
    assert!(refused(&["run", "--nonsense"], path, 2).contains("--nonsense"));
    assert!(refused(&["key", "show", "none.key"], path, 1).contains("none.key"));
    ok(&["key", "new", "agent.key"], path);
    assert!(refused(&["key", "new", "agent.key"], path, 1).contains("agent.key"));
    let shown = ok(&["key", "show", "agent.key", "--json"], path);
    let seed = std::fs::read_to_string(path.join("agent.key")).unwrap();
    assert!(!shown.contains(seed.trim()), "the secret is not shown");
    std::fs::write(path.join("open.key"), &seed).unwrap();
    assert!(refused(&["key", "show", "open.key"], path, 1).contains("can be read by others"));

    let key = public(&key_file::read(&path.join("agent.key")).unwrap());
    let zone = |corners: &[&str], extra: &[&str]| {
        let mut args =
            vec!["zone", "new", "zone.toml", "--name", "z", "--treasurer", &key, "--distributor", &key];
        corners.iter().for_each(|corner| args.extend(["--corner", corner]));
        args.extend(extra);
        args.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    fn strs(args: &[String]) -> Vec<&str> {
        args.iter().map(String::as_str).collect()
    }
    let three = ["1,1", "2,2", "1,2"];
    let address = ["--address", "127.0.0.1:1"];
    assert!(refused(&strs(&zone(&three, &[])), path, 1).contains("--address"));
    assert!(refused(&strs(&zone(&three, &["--address", "here"])), path, 1).contains("here"));
    assert!(refused(&strs(&zone(&three[..2], &address)), path, 1).contains("corners"));
    let crossed = ["0,0", "1,1", "0,1", "1,0"];
    assert!(refused(&strs(&zone(&crossed, &address)), path, 1).contains("cross"));
    std::fs::write(path.join("bad.csv"), "no register\n").unwrap();
    let register = ["--address", "127.0.0.1:1", "--register", "bad.csv"];
    assert!(refused(&strs(&zone(&three, &register)), path, 1).contains("bad.csv"));
    assert!(refused(&strs(&zone(&["99,0"], &address)), path, 2).contains("99,0"));
    ok(&strs(&zone(&three, &address)), path);
    assert!(refused(&strs(&zone(&three, &address)), path, 1).contains("--force"));

    std::fs::write(path.join("agent.toml"), "listen = \"127.0.0.1:0\"\n").unwrap();
    ok(&["check-config"], path);
    let text = std::fs::read_to_string(path.join("zone.toml")).unwrap();
    std::fs::write(path.join("zone.toml"), text.replace("tariff = 0", "tariff = 1")).unwrap();
    let error = refused(&["check-config"], path, 1);
    assert!(error.contains("zone.toml") && error.contains("signature"), "edited after signing: {error}");
    std::fs::write(path.join("zone.toml"), format!("surprise = 1\n{text}")).unwrap();
    assert!(refused(&["check-config"], path, 1).contains("surprise"));
    std::fs::write(path.join("zone.toml"), &text).unwrap();
    std::fs::write(path.join("agent.toml"), "listn = \"127.0.0.1:0\"\n").unwrap();
    assert!(refused(&["run"], path, 1).contains("listn"));
    std::fs::write(path.join("agent.toml"), "data_dir = \"agent.key\"\n").unwrap();
    assert!(refused(&["run"], path, 1).contains("agent.key"), "a file where the data folder should be");
    let output =
        agent().args(["check-config"]).env("OHMESH_BLOCK_MS", "1").current_dir(path).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("block_ms"), "the environment is read");
}

#[test]
fn a_damaged_block_log_stops_the_agent_by_name() {
    let mut town = Town::new();
    (0..4).for_each(|n| town.start(n));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        Client::new(&town, SigningKey::from_seed([203; 32]), 2).header(3).await;
    });
    town.kill_9(2);
    let log = town.path("data2/blocks.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[90] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let error = refused(&["run", "--config", "2.toml"], town.folder.path(), 1);
    assert!(error.contains("blocks.log is damaged at byte 40"), "{error}");
}
