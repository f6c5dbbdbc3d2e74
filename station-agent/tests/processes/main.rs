//! Real processes: four `station-agent run`, a real network, real files, and kill -9.

#![allow(clippy::unwrap_used)]

mod hardship;
mod town;

use ohmesh_ledger::{Asset, Body};
use ohmesh_units::{AccountId, SigningKey};
use station_agent::key_file;
use town::{Client, Town, agent, ok, public, refused};

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
        assert_eq!(
            client.balance(&driver.public()).await,
            acknowledged,
            "agent {n}: nothing acknowledged is lost"
        );
    }
    // The same root at the same height, whichever heights they are at by now.
    let top = headers.iter().map(|header| header.height).max().unwrap();
    let mut ids = Vec::new();
    for n in 0..4 {
        ids.push(Client::new(town, SigningKey::from_seed([202; 32]), n).block_id(top).await);
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
