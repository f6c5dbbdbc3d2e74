//! `auction export`: what is in it, where it goes, and what is not exported.

use crate::{
    json,
    market::{Market, station},
    ok, refused,
};
use serde_json::Value;

#[test]
fn everything_that_a_second_verifier_needs_is_written() {
    let mut market = Market::new(2);
    let id = market.sold(&[40_000, 30_000]).to_string();
    let terms = market.terms();
    let open = market.ask(terms, 10, &[]).id.to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    market.chain.write(path);
    let export = ["auction", "export", &id];
    let printed = json(&export, path);
    assert_eq!(printed["format"], "ohmesh auction 1");
    assert_eq!((&printed["auction"], &printed["intent"]["terms"]["energy"]), (&id[..].into(), &30.into()));
    let hex = |value: &Value| value.as_str().unwrap().len() / 2;
    assert_eq!(hex(&printed["key"]["A"]), 32);
    assert_ne!(printed["key"]["A"], printed["key"]["H"]);
    let shares = printed["key"]["shares"].as_array().unwrap();
    assert_eq!((shares.len(), &printed["key"]["threshold"]), (4, &3.into()));
    assert!(shares.iter().all(|share| hex(&share["T"]) == 32 && hex(&share["A"]) == 32));
    assert_eq!(printed["bids"].as_array().unwrap().len(), 2);
    assert_eq!(printed["bids"][0]["ledgered"]["position"]["x"], 50);
    assert_eq!(hex(&printed["bids"][0]["bytes"]), 1 + 64 + 64 + 96 + 2 + 449);
    assert_eq!(printed["releases"].as_array().unwrap().len(), 3);
    assert_eq!(printed["score"]["detour_weight"], 4);
    assert_eq!(printed["ledger"]["winner"]["station"], station(1).to_string());

    let to_file = [&export[..], &["--out", "auction.json"]].concat();
    let said = ok(&to_file, path);
    assert!(said.starts_with(&format!("exported   auction {id}, 2 bids, ")), "{said}");
    let written: Value = serde_json::from_slice(&std::fs::read(path.join("auction.json")).unwrap()).unwrap();
    assert_eq!(written, printed);
    assert!(refused(&to_file, path, 1).contains("--force overwrites it"));
    let again = json(&[&to_file[..], &["--force"]].concat(), path);
    assert_eq!((&again["auction"], &again["bids"]), (&id[..].into(), &2.into()));
    refused(&[&export[..], &["--force"]].concat(), path, 2);
    let nowhere = [&export[..], &["--out", "none/auction.json"]].concat();
    assert!(refused(&nowhere, path, 1).contains("none/auction.json"));

    let open = json(&["auction", "export", &open], path);
    assert!(open["outcome"].is_null() && open["ledger"]["winner"].is_null());

    assert!(refused(&["auction", "export", "00"], path, 1).contains("no auction 00"));
    refused(&["auction", "export", "xy"], path, 2);
    let log = path.join("data/blocks.log");
    let mut bytes = std::fs::read(&log).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let said = refused(&export, path, 1);
    assert!(said.contains("does not verify at height"), "{said}");
}
