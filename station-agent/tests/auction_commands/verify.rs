//! `auction verify` on every end that an auction can have, on wrong arguments, and on folders that were changed.

use crate::{
    json,
    market::{Market, station},
    ok, refused,
};
use ohmesh_auction::intent::{Choice, Pricing, RoadDetour, Terms};
use ohmesh_ledger::{Block, Certificate};
use ohmesh_units::AuctionId;
use std::path::Path;

fn verify(id: &str) -> [&str; 3] {
    ["auction", "verify", id]
}

fn written(market: &Market) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    market.chain.write(folder.path());
    folder
}

fn shown(id: AuctionId, folder: &Path) -> serde_json::Value {
    json(&verify(&id.to_string()), folder)
}

#[test]
fn a_sale_is_recomputed_from_the_blocks_while_the_folder_is_in_use() {
    let mut market = Market::new(5);
    let tick = market.terms().tick;
    let id = market.sold(&[40_000, 31_000, 30_000, 30_000, 50_000]);
    let folder = written(&market);
    let path = folder.path();
    let lock = std::fs::OpenOptions::new().write(true).open(path.join("data/lock")).unwrap();
    lock.lock().unwrap();
    let before = std::fs::read(path.join("data/blocks.log")).unwrap();
    let found = shown(id, path);
    assert_eq!((&found["ok"], &found["came"]), (&true.into(), &"won".into()));
    assert_eq!(found["auction"], id.to_string());
    // Of the two that ask the least the nearer: the detour counts.
    assert_eq!(found["winner"]["station"], station(2).to_string());
    assert_eq!(found["winner"]["bid"], 2);
    let price = i64::from(tick.as_micro_per_kwh()) * 30_000;
    assert_eq!(found["winner"]["price_micro_per_kwh"], price);
    assert_eq!(found["bids"].as_array().unwrap().len(), 5);
    assert_eq!(found["left_out"].as_array().unwrap().len(), 0);
    assert_eq!((&found["shares"], &found["threshold"]), (&4.into(), &3.into()));
    let released: Vec<_> =
        found["released"].as_array().unwrap().iter().map(|one| &one["validator"]).collect();
    assert_eq!(released, [0, 2, 3]);
    assert_eq!(found["is_accepted"], true);
    assert_eq!(found["height"], market.chain.height());

    let text = ok(&verify(&id.to_string()), path);
    assert!(text.starts_with("OK: the winner is proven to be the best of 5 bids\n"), "{text}");
    for line in [
        format!("auction    {id}"),
        "rules      the best by straight line wins, provably; the winner is paid what it bid".to_owned(),
        "key        epoch 0: 3 of 4 shares open".to_owned(),
        format!("bid 2      height 20, station {} at (50, 58)", station(2)),
        "released   height 31, validator 3, 1 share".to_owned(),
        format!(
            "winner     bid 2, station {}, at EUR 0.300000/kWh; outcome at height 32, accepted",
            station(2)
        ),
    ] {
        assert!(text.contains(&format!("\n{line}")), "{line} is not in\n{text}");
    }
    // The first digits will do, in either case.
    let prefix = id.to_string()[..8].to_uppercase();
    assert_eq!(json(&verify(&prefix), path)["auction"], id.to_string());
    assert_eq!(std::fs::read(path.join("data/blocks.log")).unwrap(), before, "the folder is only read");
}

#[test]
fn each_rule_and_each_end_is_named() {
    let mut market = Market::new(4);
    let by_choice = Terms { choice: Choice::OwnChoice, ..market.terms() };
    let chosen = market.sold_with(by_choice, &[40_000, 30_000], &[]);
    let by_second = Terms { pricing: Pricing::SecondScore, ..market.terms() };
    let second = market.sold_with(by_second, &[40_000, 30_000, 35_000], &[]);
    let by_road = Terms { choice: Choice::BestByRoad, ..market.terms() };
    let mut roads = [(station(0), RoadDetour::of_steps(2)), (station(1), RoadDetour::of_steps(700))];
    roads.sort_by_key(|(station, _)| *station);
    let road = market.sold_with(by_road, &[30_000, 30_000], &roads);

    let mut nobody = market.ask(market.terms(), 10, &[]);
    market.bid(&nobody, &[(0, 40_000)]);
    market.close(&mut nobody, &[0]);
    let outcome = market.release(&mut nobody, &[0, 1, 2]).unwrap();
    market.publish(&outcome);

    let mut without = market.ask(market.terms(), 10, &[]);
    let outcome = market.close(&mut without, &[]).unwrap();
    market.publish(&outcome);

    let mut sealed = market.ask(market.terms(), u32::MAX, &[]);
    market.bid(&sealed, &[(1, 40_000), (0, 50_000)]);
    market.close(&mut sealed, &[1, 0]);
    market.release(&mut sealed, &[1]);
    let mut undecided = market.ask(market.terms(), u32::MAX, &[]);
    market.bid(&undecided, &[(1, 40_000)]);
    market.close(&mut undecided, &[1]);
    market.release(&mut undecided, &[0, 1, 2]);
    let mut declined = market.ask(market.terms(), u32::MAX, &[]);
    market.bid(&declined, &[(1, 40_000)]);
    market.close(&mut declined, &[1]);
    market.release(&mut declined, &[0, 1, 2]);
    let outcome = market.decide(&mut declined, None);
    market.publish(&outcome);

    let open = market.ask(market.terms(), u32::MAX, &[]);
    market.bid(&open, &[(3, 1)]);
    let folder = written(&market);
    let said = refused(&verify(&open.id.to_string()), folder.path(), 1);
    assert!(said.starts_with("OPEN: 1 bid so far; no share has been released"), "{said}");
    assert!(said.contains("is still open: nobody has won yet"), "{said}");
    let declined_yet = shown(declined.id, folder.path());
    assert_eq!((&declined_yet["came"], &declined_yet["is_accepted"]), (&"won".into(), &false.into()));

    let second_yet = shown(second, folder.path());

    market.wait();
    let folder = written(&market);
    let path = folder.path();
    for (id, came, first_line) in [
        (chosen, "won_by_own_choice", "OK: won by own choice among 2 bids, as the intent said"),
        (
            second,
            "void",
            "OK: void, no winner among 3 bids: a winner did not come, and the buyer did not decide again",
        ),
        (road, "won", "OK: the winner is proven to be the best of 2 bids"),
        (nobody.id, "nobody_eligible", "OK: no winner: none of 1 bid is within the buyer's reserve, proven"),
        (without.id, "nobody_eligible", "OK: no winner: none of 0 bids is within"),
        (sealed.id, "void", "OK: void, no winner among 2 bids: too few shares were released"),
        (undecided.id, "void", "OK: void, no winner among 1 bid: the buyer has published no outcome"),
        (
            declined.id,
            "void",
            "OK: void: the best of 1 bid was proven, but the winner did not accept in time",
        ),
        (open.id, "void", "OK: void, no winner among 1 bid: too few shares were released"),
    ] {
        let (found, text) = (shown(id, path), ok(&verify(&id.to_string()), path));
        assert_eq!(found["came"], came);
        assert!(text.starts_with(first_line), "{text}");
    }
    assert_eq!(shown(chosen, path)["winner"]["proven_best"], false);
    assert_eq!(shown(road, path)["winner"]["station"], station(0).to_string());
    // Paid by the second score: more than the winner bid, not more than the next asked, up to the rounding.
    let paid = second_yet["winner"]["price_micro_per_kwh"].as_i64().unwrap();
    let tick = i64::from(market.terms().tick.as_micro_per_kwh());
    assert!((30_000 * tick..=36_000 * tick).contains(&paid), "{paid}");
}

#[test]
fn a_beginning_that_several_auctions_share_names_them() {
    let mut market = Market::new(0);
    // One more than there are digits.
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < 17 {
        let terms = market.terms();
        ids.push(market.ask(terms, 10, &[]).id.to_string());
    }
    let folder = written(&market);
    let path = folder.path();
    let shared = ids.iter().map(|id| &id[..1]).find(|first| of(&ids, first).len() > 1).unwrap();
    let said = refused(&verify(shared), path, 1);
    let named = of(&ids, shared);
    assert!(said.contains(&format!("several auctions' ids begin with {shared}: ")), "{said}");
    assert!(named.iter().all(|id| said.contains(&id[..])), "{said}");
    let said = refused(&["auction", "export", shared], path, 1);
    assert!(said.contains("several auctions"), "{said}");
}

/// The ids that begin so.
fn of(ids: &[String], first: &str) -> Vec<String> {
    ids.iter().filter(|id| id.starts_with(first)).cloned().collect()
}

#[test]
fn wrong_arguments_are_named() {
    let mut market = Market::new(2);
    let id = market.sold(&[40_000, 30_000]);
    let folder = written(&market);
    let path = folder.path();
    let unknown = "0123456789abcdef";
    let said = refused(&verify(unknown), path, 1);
    assert!(said.contains("no auction 0123456789abcdef in data, up to height"), "{said}");
    for (bad, why) in [
        ("", "1 to 64 hex digits are an auction's id, found 0"),
        (&format!("{id}0")[..], "found 65"),
        ("0123456g", "not a hex digit at position 7"),
        ("ärger", "not a hex digit at position 0"),
    ] {
        let said = refused(&verify(bad), path, 2);
        assert!(said.contains(why), "{bad}: {said}");
    }
    refused(&["auction", "verify"], path, 2);
    refused(&["auction"], path, 2);
    let id = id.to_string();
    let elsewhere = [&verify(&id)[..], &["--data", "elsewhere"]].concat();
    assert!(refused(&elsewhere, path, 1).contains("elsewhere"));
    let no_zone = [&verify(&id)[..], &["--zone", "none.toml"]].concat();
    assert!(refused(&no_zone, path, 1).contains("none.toml"));
    std::fs::create_dir(path.join("empty")).unwrap();
    let empty = [&verify(&id)[..], &["--data", "empty"]].concat();
    assert!(refused(&empty, path, 1).contains("not the data folder of an agent"));

    let mut other = Market::new(1);
    other.chain = crate::chain::Chain::new("Potsdam");
    let foreign = written(&other);
    let zone = foreign.path().join("zone.toml");
    let said = refused(&[&verify(&id)[..], &["--zone", zone.to_str().unwrap()]].concat(), path, 1);
    assert!(said.contains("blocks.log"), "{said}");
}

#[test]
fn a_changed_folder_is_named_with_its_height() {
    let mut market = Market::new(3);
    let id = market.sold(&[40_000, 30_000, 35_000]).to_string();
    market.block(Vec::new());
    let folder = written(&market);
    let path = folder.path();
    let good = std::fs::read(path.join("data/blocks.log")).unwrap();
    // Any byte: the log names its place, and the command the height.
    for at in (100..good.len()).step_by(good.len() / 12) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        std::fs::write(path.join("data/blocks.log"), bytes).unwrap();
        let said = refused(&verify(&id), path, 1);
        assert!(said.contains("at height "), "byte {at}: {said}");
    }
    // Blocks whose checks and certificates fit, and whose content does not.
    let changed = |blocks: &[(Block, Certificate)]| {
        market.chain.write_log(path, blocks);
        refused(&verify(&id), path, 1)
    };
    let holds = |name: &str| {
        let is_of = |block: &Block| block.transactions.iter().any(|one| kind(one) == name);
        market.chain.blocks.iter().position(|(block, _)| is_of(block)).unwrap()
    };
    let (bid, outcome) = (holds("bid"), holds("outcome"));
    let mut unordered = market.chain.blocks.clone();
    unordered[bid].0.transactions.swap(0, 1);
    unordered[bid].1 = market.chain.certify(&unordered[bid].0.header, &[0, 1, 2, 3]);
    assert!(changed(&unordered).contains(&format!("does not verify at height {}", bid + 1)));

    let mut forged = market.chain.blocks.clone();
    let transaction = &mut forged[outcome].0.transactions[0].transaction;
    if let ohmesh_ledger::Body::AuctionOutcome(outcome) = &mut transaction.body {
        let ohmesh_auction::outcome::Decision::Best(win) = &mut outcome.decision else { panic!("it is") };
        win.price.0 += 1;
    }
    forged[outcome].0.header.transactions = ohmesh_ledger::transactions_root(&forged[outcome].0.transactions);
    forged[outcome].1 = market.chain.certify(&forged[outcome].0.header, &[0, 1, 2, 3]);
    let said = changed(&forged);
    assert!(said.starts_with(&format!("BAD at height {}: ", outcome + 1)), "{said}");
    assert!(said.contains(&format!("auction {id} does not verify at height {}", outcome + 1)), "{said}");

    let mut uncertified = market.chain.blocks.clone();
    uncertified[outcome].1.signatures.truncate(2);
    let said = changed(&uncertified);
    assert!(said.contains("not more than two thirds"), "{said}");

    // Cut before the outcome, it is an auction that goes on.
    market.chain.write_log(path, &market.chain.blocks[..outcome]);
    let said = refused(&verify(&id), path, 1);
    assert!(said.starts_with("OPEN: 3 bids so far; the buyer has published no outcome"), "{said}");
}

/// What a transaction is to an auction.
fn kind(signed: &ohmesh_ledger::SignedTransaction) -> &'static str {
    match signed.transaction.body {
        ohmesh_ledger::Body::AuctionBid { .. } => "bid",
        ohmesh_ledger::Body::AuctionOutcome(_) => "outcome",
        _ => "other",
    }
}

#[test]
fn an_auction_before_the_blocks_that_are_kept_is_not_mistaken_for_an_unknown_one() {
    let mut market = Market::new(2);
    let early = market.sold(&[40_000, 30_000]);
    let folder = written(&market);
    let path = folder.path();
    market.chain.write_snapshot(path);
    let first = usize::try_from(market.chain.height()).unwrap() + 1;
    let late = market.sold(&[30_000, 40_000]);
    market.chain.write(path);
    market.chain.write_from(path, first);
    assert_eq!(shown(late, path)["winner"]["station"], station(0).to_string());
    let said = refused(&verify(&early.to_string()), path, 1);
    assert!(said.contains("was opened before the blocks in data"), "{said}");
    let said = refused(&verify("0123456789abcdef"), path, 1);
    assert!(said.contains("the earlier ones are gone"), "{said}");
}
