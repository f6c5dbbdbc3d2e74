//! Four agents as processes, and a client that verifies what they say.

use ohmesh_ledger::{
    Answer, Asset, Body, Certificate, Header, Journal, Proof, ProvenAccount, Query, Transaction, Voters,
    ZoneFile,
};
use ohmesh_mesh::{Clock, Endpoint, Peer, SystemClock};
use ohmesh_units::{AccountId, BlockId, Canonical, PublicKey, SigningKey};
use station_agent::{daemon::limits, key_file, zone_file};
use std::{
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// Long enough for a machine that does ten other things; nothing here is measured in time.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_station-agent"))
}

pub fn output(args: &[&str], folder: &Path) -> Output {
    agent().args(args).current_dir(folder).output().unwrap()
}

pub fn ok(args: &[&str], folder: &Path) -> String {
    let output = output(args, folder);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn refused(args: &[&str], folder: &Path, code: i32) -> String {
    let output = output(args, folder);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(!error.contains("panicked"), "{args:?}: {error}");
    error
}

/// A folder with four agents' keys, one zone that all have signed, and their configurations.
pub struct Town {
    pub folder: tempfile::TempDir,
    running: Vec<Option<Child>>,
    pub addresses: Vec<SocketAddr>,
    /// The network namespace of an agent that is not on the loopback.
    pub namespaces: [Option<String>; 4],
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
    pub fn new() -> Self {
        let sockets: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        drop(sockets);
        Self::at(addresses, 24 * 3600)
    }

    /// Four agents at these addresses, with epochs of so many seconds.
    pub fn at(addresses: Vec<SocketAddr>, epoch_seconds: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
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
        let epoch_seconds = epoch_seconds.to_string();
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
            "--epoch-seconds",
            &epoch_seconds,
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
        let namespaces = Default::default();
        Self { folder, running: (0..4).map(|_| None).collect(), addresses, namespaces }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start(&mut self, n: usize) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{n}.log")))
            .unwrap();
        let mut command = match &self.namespaces[n] {
            None => agent(),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, env!("CARGO_BIN_EXE_station-agent")]);
                command
            }
        };
        let child = command
            .args(["run", "--config", &format!("{n}.toml")])
            .current_dir(self.folder.path())
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.running[n] = Some(child);
    }

    pub fn kill_9(&mut self, n: usize) {
        let mut child = self.running[n].take().unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }

    pub fn zone(&self) -> ZoneFile {
        zone_file::read(&self.path("zone.toml")).unwrap()
    }

    pub fn logs(&self) -> String {
        (0..4)
            .map(|n| std::fs::read_to_string(self.path(&format!("{n}.log"))).unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

pub fn public(key: &SigningKey) -> String {
    key.public().to_string()
}

/// Somebody with a key who talks to one agent, and dials again when it was away.
pub struct Client {
    key: SigningKey,
    endpoint: Endpoint,
    zone: ZoneFile,
    /// The epoch whose voters it knows.
    epoch: u64,
    voters: Voters,
    address: SocketAddr,
    agent: usize,
    peer: Option<Peer>,
    numbers: u128,
}

impl Client {
    pub fn new(town: &Town, key: SigningKey, agent: usize) -> Self {
        let bind = SocketAddr::from(([0, 0, 0, 0], 0));
        let endpoint = Endpoint::builder(key.clone()).bind(bind).limits(limits()).start().unwrap();
        let (zone, address) = (town.zone(), town.addresses[agent]);
        let voters = zone.zone.validators.voters().clone();
        Self { key, endpoint, zone, epoch: 0, voters, address, agent, peer: None, numbers: 0 }
    }

    pub async fn ask(&mut self, query: &Query) -> Option<Answer> {
        if self.peer.as_ref().is_none_or(|peer| peer.close_reason().is_some()) {
            let index = u16::try_from(self.agent).unwrap();
            let key = self.zone.zone.validators.at(index).unwrap().key;
            self.peer = self.endpoint.connect(self.address, key).await.ok();
        }
        let bytes = self.peer.as_ref()?.request(&query.encode()).await.ok()?;
        Some(Answer::decode(&bytes).unwrap())
    }

    /// Asks until the answer is good; panics when patience ends.
    pub async fn until<T>(&mut self, query: &Query, what: &str, good: impl Fn(&Answer) -> Option<T>) -> T {
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

    pub fn sign(&mut self, body: Body) -> ohmesh_ledger::SignedTransaction {
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
    pub async fn apply(&mut self, body: Body) {
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

    /// A certified head of at least this height, checked with the voters to whom the zone was handed over.
    pub async fn head(&mut self, at_least: u64) -> (Header, Certificate) {
        let head = self
            .until(&Query::Head, &format!("not at height {at_least}"), |answer| match answer {
                Answer::Head(Some(head)) if head.0.height >= at_least => Some((**head).clone()),
                _ => None,
            })
            .await;
        self.check(&head).await;
        head
    }

    async fn check(&mut self, (header, certificate): &(Header, Certificate)) {
        let zone = self.zone.zone.id();
        while self.epoch < header.epoch {
            let from = self.epoch;
            let steps = self
                .until(&Query::HandOvers { from }, "no hand-over", |answer| match answer {
                    Answer::HandOvers(steps) if !steps.is_empty() => Some(steps.clone()),
                    _ => None,
                })
                .await;
            for step in steps {
                self.voters = step.verify(&zone, self.epoch, &self.voters).unwrap().clone();
                self.epoch += 1;
            }
        }
        // An answer of the epoch before, asked for again by whoever needs it.
        if header.epoch == self.epoch {
            certificate.verify_header(header, &zone, &self.voters).unwrap();
        }
    }

    pub async fn header(&mut self, at_least: u64) -> Header {
        self.head(at_least).await.0
    }

    /// The balance of an account in the energy journal, proven.
    pub async fn balance(&mut self, owner: &PublicKey) -> i64 {
        let account = AccountId::of(owner);
        let (head, proofs) = self
            .until(&Query::Account(account), "no account", |answer| match answer {
                Answer::Proofs(head, proofs) if !proofs.is_empty() => {
                    Some(((**head).clone(), proofs.clone()))
                }
                _ => None,
            })
            .await;
        self.check(&head).await;
        let zone = self.zone.zone.id();
        let proofs: Vec<Proof> = proofs.into_iter().map(|proof| proof.with_owner(owner)).collect();
        let proven = ProvenAccount::verify(&zone, &self.voters, &account, head, &proofs).unwrap();
        proven.balances[Journal::Energy as usize].map_or(0, |b| b.of(Asset::Currency).posted)
    }

    /// The id of the block of this height.
    pub async fn block_id(&mut self, height: u64) -> BlockId {
        self.until(&Query::Blocks { from: height }, "no block", |answer| match answer {
            Answer::Blocks(blocks) => blocks.first().map(|(_, certificate)| certificate.block),
            _ => None,
        })
        .await
    }
}
