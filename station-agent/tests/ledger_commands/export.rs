//! `ledger order` and `ledger export`.

use crate::{
    chain::{CREATED_MS, Chain, SLOT_MS, auditor, buyer},
    json, ok, refused,
};
use ohmesh_units::Timestamp;
use station_agent::key_file;
use std::path::Path;

/// The beginning of slot `n` after the zone was made, as people write it.
fn slot(n: u64) -> String {
    Timestamp::from_millis(CREATED_MS + n * SLOT_MS).to_string()
}

/// Four sales in the first slot, six in the second, five in the third; the fourth is over.
fn written(with_audit_key: bool) -> (Chain, tempfile::TempDir) {
    let mut chain = Chain::new("Berlin");
    chain.found(with_audit_key);
    chain.sell(2_000, 4);
    chain.sell(SLOT_MS + 1_000, 6);
    chain.sell(2 * SLOT_MS + 1_000, 3);
    chain.sell(3 * SLOT_MS - 2, 2); // The last are paid in the last millisecond of their slot.
    chain.block(4 * SLOT_MS, Vec::new());
    let folder = tempfile::tempdir().unwrap();
    chain.write(folder.path());
    key_file::write(&folder.path().join("audit.key"), &auditor()).unwrap();
    key_file::write(&folder.path().join("other.key"), &buyer()).unwrap();
    (chain, folder)
}

/// Makes and signs an order, and exports by it.
fn order(path: &Path, file: &str, from: &str, to: &str, more: &[&str]) {
    let new = ["ledger", "order", "new", file, "--force", "--from", from, "--to", to];
    ok(&[&new[..], more].concat(), path);
    ok(&["ledger", "order", "sign", file, "--key", "audit.key"], path);
}

const EXPORT: [&str; 4] = ["ledger", "export", "--order", "order.toml"];

#[test]
fn cells_of_five_sessions_are_told_and_smaller_ones_are_not() {
    let (chain, folder) = written(true);
    let path = folder.path();
    order(path, "order.toml", &slot(0), &slot(4), &[]);
    let csv = ok(&EXPORT, path);
    let (paid, fee) = chain.paid_each();
    let line = |n: u64, sessions: i64| {
        let (paid, fee) = (paid.as_micro() * sessions, fee.as_micro() * sessions);
        format!("7,{},15,{sessions},{},{paid},{fee}", slot(n), sessions * 1_000)
    };
    let names = "circuit,slot_start_utc,slot_minutes,sessions,energy_wh,paid_micro_eur,grid_fee_micro_eur";
    assert_eq!(csv.lines().collect::<Vec<_>>(), [names, &line(1, 6), &line(2, 5)]);

    let exported = json(&EXPORT, path);
    assert_eq!(
        exported,
        serde_json::from_str::<serde_json::Value>(&ok(&[&EXPORT[..], &["--format", "json"]].concat(), path))
            .unwrap()
    );
    assert_eq!(exported["height"], chain.height());
    assert_eq!(exported["sessions_min"], 5);
    assert_eq!(exported["currency"], "EUR");
    let cells = exported["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 2);
    assert_eq!(cells[0]["sessions"], 6);
    assert_eq!(cells[0]["circuit"], 7);
    assert_eq!(cells[0]["paid_micro"], 6 * paid.as_micro());
    assert!(!csv.contains(&slot(0)) && !exported.to_string().contains("\"sessions\":4"), "four are not told");

    order(path, "order.toml", &slot(0), &slot(4), &["--circuit", "8"]);
    assert_eq!(ok(&EXPORT, path).lines().count(), 1, "nothing on another circuit");
    order(path, "order.toml", &slot(0), &slot(4), &["--circuit", "7", "--circuit", "8"]);
    assert_eq!(ok(&EXPORT, path), csv);
}

#[test]
fn no_pair_of_orders_isolates_a_session() {
    let (_, folder) = written(true);
    let path = folder.path();
    let mut told = Vec::new();
    for from in 0..4 {
        for to in from + 1..=4 {
            order(path, "order.toml", &slot(from), &slot(to), &[]);
            let exported = json(&EXPORT, path);
            let cells = exported["cells"].as_array().unwrap().clone();
            told.push(cells.iter().map(|cell| cell["sessions"].as_u64().unwrap()).sum::<u64>());
        }
    }
    for (a, b) in told.iter().flat_map(|a| told.iter().map(move |b| (a, b))) {
        let left = a.abs_diff(*b);
        // 6 and 5 may stand side by side in two orders; one as the other's part leaves 5 or 6.
        assert!(left == 0 || left >= 5 || (*a, *b) == (5, 6) || (*a, *b) == (6, 5), "{a} and {b}");
    }
    assert_eq!(told.iter().max(), Some(&11));
    // And a slot cannot be cut.
    let within = Timestamp::from_millis(CREATED_MS + SLOT_MS + 60_000).to_string();
    let new = ["ledger", "order", "new", "cut.toml", "--from", &within, "--to", &slot(4)];
    assert!(refused(&new, path, 1).contains("whole quarter of an hour"));
}

#[test]
fn without_the_audit_keys_word_nothing_is_exported() {
    let (_, folder) = written(true);
    let path = folder.path();
    ok(&["ledger", "order", "new", "order.toml", "--from", &slot(0), "--to", &slot(4)], path);
    assert!(refused(&EXPORT, path, 1).contains("not signed"));
    ok(&["ledger", "order", "sign", "order.toml", "--key", "other.key"], path);
    assert!(refused(&EXPORT, path, 1).contains("not signed by the zone's audit key"));
    ok(&["ledger", "order", "sign", "order.toml", "--key", "audit.key"], path);
    ok(&EXPORT, path);
    // The signature is over the whole order.
    let text = std::fs::read_to_string(path.join("order.toml")).unwrap();
    std::fs::write(path.join("order.toml"), text.replace(&slot(0), &slot(1))).unwrap();
    assert!(refused(&EXPORT, path, 1).contains("not signed by the zone's audit key"));
    std::fs::write(path.join("order.toml"), format!("surprise = 1\n{text}")).unwrap();
    assert!(refused(&EXPORT, path, 1).contains("surprise"));
    // A slot that is not over would tell one session by two exports.
    order(path, "order.toml", &slot(0), &slot(5), &[]);
    assert!(refused(&EXPORT, path, 1).contains("only slots that are over"));
    // The order of another zone.
    let other = tempfile::tempdir().unwrap();
    Chain::new("Potsdam").write(other.path());
    let zone = other.path().join("zone.toml");
    order(path, "order.toml", &slot(0), &slot(4), &["--zone", zone.to_str().unwrap()]);
    assert!(refused(&EXPORT, path, 1).contains("the order is for zone"));
    assert!(refused(&["ledger", "export", "--order", "none.toml"], path, 1).contains("none.toml"));
    let new = ["ledger", "order", "new", "new.toml", "--from", "yesterday", "--to", &slot(4)];
    assert!(refused(&new, path, 2).contains("yesterday"));
}

#[test]
fn a_zone_without_an_audit_key_says_so_and_a_bad_log_is_not_exported() {
    let (chain, folder) = written(false);
    let path = folder.path();
    order(path, "order.toml", &slot(0), &slot(4), &[]);
    assert!(refused(&EXPORT, path, 1).contains("the zone has no audit key at its newest block"));

    let (with_key, folder) = written(true);
    let path = folder.path();
    order(path, "order.toml", &slot(0), &slot(4), &[]);
    let mut blocks = with_key.blocks.clone();
    blocks.remove(3);
    with_key.write_log(path, &blocks);
    assert!(refused(&EXPORT, path, 1).contains("does not verify at height 4"));
    assert_eq!(chain.height(), with_key.height());
}
