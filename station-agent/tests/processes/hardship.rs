//! What happens to agents in the field: killed again and again, a disk gone, cut off from the others.

use crate::town::{Client, Town};
use ohmesh_ledger::{Asset, Body};
use ohmesh_units::{AccountId, PublicKey, SigningKey};
use station_agent::{key_file, vote_keys::VoteKeys};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
};

/// Money that was acknowledged to somebody, and who waits for it to stay so.
struct Ledgered {
    treasurer: Client,
    owner: PublicKey,
    acknowledged: i64,
}

impl Ledgered {
    async fn open(town: &Town) -> Self {
        let driver = SigningKey::from_seed([200; 32]);
        let owner = driver.public();
        let mut opener = Client::new(town, driver.clone(), 1);
        opener.apply(Body::OpenAccount { owner: driver.public() }).await;
        let height = opener.header(1).await.height;
        let mut treasurer = Client::new(town, key_file::read(&town.path("0.key")).unwrap(), 0);
        treasurer.header(height).await;
        Self { treasurer, owner, acknowledged: 0 }
    }

    /// One more payment, acknowledged.
    async fn pay(&mut self) {
        let (asset, to, amount) = (Asset::Currency, AccountId::of(&self.owner), 1_000);
        self.treasurer.apply(Body::Issue { asset, to, amount, reference: "load".to_owned() }).await;
        self.acknowledged += amount;
    }

    /// Every agent has everything that was acknowledged, and the same block at the same height.
    async fn check(&mut self, town: &Town) {
        let height = self.treasurer.header(1).await.height;
        let mut ids = Vec::new();
        for n in 0..4 {
            let mut client = Client::new(town, SigningKey::from_seed([201; 32]), n);
            client.header(height).await;
            let balance = client.balance(&self.owner).await;
            assert_eq!(balance, self.acknowledged, "agent {n}: nothing acknowledged is lost");
            ids.push(client.block_id(height).await);
        }
        assert!(ids.iter().all(|id| *id == ids[0]), "equal roots at height {height}: {ids:?}");
    }
}

/// Runs `story` on started agents; shows their logs if it fails.
fn run(mut town: Town, story: impl AsyncFnOnce(&mut Town)) {
    (0..4).for_each(|n| town.start(n));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let told = std::panic::AssertUnwindSafe(|| runtime.block_on(story(&mut town)));
    if let Err(panic) = std::panic::catch_unwind(told) {
        eprintln!("agents' logs:\n{}", town.logs());
        std::panic::resume_unwind(panic);
    }
    assert!(!town.logs().contains("panicked"), "{}", town.logs());
    assert!(!town.logs().contains("exclude each other"), "nobody signed twice: {}", town.logs());
}

fn loopback() -> Vec<SocketAddr> {
    let sockets: Vec<UdpSocket> = (0..4).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
}

/// Each agent in turn is killed with -9 while the others go on; then all at once. Epochs pass meanwhile.
#[test]
fn killed_again_and_again() {
    run(Town::at(loopback(), 10), async |town| {
        let mut ledgered = Ledgered::open(town).await;
        for round in 0..8 {
            let victim = 1 + round % 3;
            town.kill_9(victim);
            ledgered.pay().await;
            town.start(victim);
            ledgered.pay().await;
        }
        (0..4).for_each(|n| town.kill_9(n));
        (0..4).for_each(|n| town.start(n));
        ledgered.pay().await;
        ledgered.check(town).await;
    });
}

/// An agent whose data folder is gone rebuilds it from the others, signs nothing with its old key, and votes again with a
/// new one when the next epoch has begun.
#[test]
fn a_lost_disk_is_rebuilt() {
    run(Town::at(loopback(), 10), async |town| {
        let mut ledgered = Ledgered::open(town).await;
        for _ in 0..5 {
            ledgered.pay().await;
        }
        town.kill_9(2);
        std::fs::remove_dir_all(town.path("data2")).unwrap();
        ledgered.pay().await;
        town.start(2);
        ledgered.pay().await;
        ledgered.check(town).await;
        // It votes again: a certificate of a later epoch holds its signature.
        let mut client = Client::new(town, SigningKey::from_seed([203; 32]), 2);
        let mut height = 1;
        loop {
            let (header, certificate) = client.head(height).await;
            height = header.height + 1;
            if certificate.signatures.iter().any(|(validator, _)| *validator == 2) {
                break;
            }
            ledgered.pay().await;
        }
        assert!(std::fs::metadata(town.path("data2").join(VoteKeys::FILE)).is_ok());
        ledgered.check(town).await;
    });
}

/// One agent behind a link that can be cut, where this machine allows it.
struct Namespace {
    name: String,
    link: String,
}

impl Namespace {
    const HERE: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 213, 77, 2);

    /// None, with the reason, if this machine does not let us.
    fn new() -> Result<Self, String> {
        let id = std::process::id();
        let one = Self { name: format!("ohmesh{id}"), link: format!("ohm{}", id % 100_000) };
        let (name, here, there) = (one.name.as_str(), one.link.as_str(), format!("{}p", one.link));
        ip(&["netns", "add", name])?;
        ip(&["link", "add", here, "type", "veth", "peer", "name", &there])?;
        ip(&["link", "set", &there, "netns", name])?;
        ip(&["addr", "add", &format!("{}/30", Self::HERE), "dev", here])?;
        ip(&["link", "set", here, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{}/30", Self::THERE), "dev", &there])?;
        ip(&["-n", name, "link", "set", &there, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(one)
    }

    fn cut(&self, is_cut: bool) {
        ip(&["link", "set", &self.link, if is_cut { "down" } else { "up" }]).unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
        let _ = ip(&["link", "del", &self.link]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// An agent that is cut off stops deciding; when the link is back it catches up, across an epoch that it missed.
#[test]
fn cut_off_and_back() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(reason) => {
            // Said aloud, and only where the machine itself forbids it: CI runs as root.
            assert_ne!(
                std::env::var("USER").as_deref(),
                Ok("root"),
                "root can make a network namespace: {reason}"
            );
            eprintln!("not run, a network namespace cannot be made here: {reason}");
            return;
        }
    };
    let here = IpAddr::V4(Namespace::HERE);
    let sockets: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind((here, 0)).unwrap()).collect();
    let mut addresses: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
    drop(sockets);
    addresses.push(SocketAddr::from((Namespace::THERE, 7700)));
    let mut town = Town::at(addresses, 10);
    town.namespaces[3] = Some(namespace.name.clone());
    run(town, async |town| {
        let mut ledgered = Ledgered::open(town).await;
        ledgered.pay().await;
        ledgered.check(town).await;
        let epoch = ledgered.treasurer.header(1).await.epoch;
        namespace.cut(true);
        while ledgered.treasurer.header(1).await.epoch < epoch + 2 {
            ledgered.pay().await;
        }
        namespace.cut(false);
        ledgered.pay().await;
        ledgered.check(town).await;
    });
}
