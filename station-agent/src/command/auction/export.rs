//! `station-agent auction export`.

use super::{
    Found, Source,
    recount::recount,
    trail::{Ledgered, Trail},
};
use crate::command::{fresh, print, say};
use clap::Args;
use eyre::{Context, bail, eyre};
use ohmesh_auction::{
    bid::LedgeredBid,
    group::{Point, base_a},
    intent::{Commitments, RoadDetour, Terms},
    key::{EpochKey, ValidatorIndex},
    outcome::{Payment, Verdict},
};
use ohmesh_units::{AccountId, AuctionId, Canonical, StationId, Timestamp, ZoneId, to_hex};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::command) struct Export {
    #[command(flatten)]
    source: Source,
    /// Write it to this file, not to standard output.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Overwrite the file.
    #[arg(long, requires = "out")]
    force: bool,
}

/// Bytes in hex, or the bytes of a message with the block that holds it.
#[derive(Serialize)]
struct Message {
    height: u64,
    time: Timestamp,
    bytes: String,
}

impl<T: Canonical> From<&Ledgered<T>> for Message {
    fn from(Ledgered { height, time, message }: &Ledgered<T>) -> Self {
        Self { height: *height, time: *time, bytes: to_hex(&message.encode()) }
    }
}

/// What a second verifier needs. Points and bytes in hex; times in Unix milliseconds.
#[derive(Serialize)]
struct Exported {
    format: &'static str,
    zone: ZoneId,
    auction: AuctionId,
    buyer: AccountId,
    key: Key,
    score: Score,
    intent: Intent,
    bids: Vec<Bid>,
    releases: Vec<Message>,
    /// Outcomes whose winners did not come, and those stations, in order: each is struck out of the bids.
    earlier: Vec<Message>,
    no_shows: Vec<StationId>,
    outcome: Option<Message>,
    ledger: Ledger,
}

#[derive(Serialize)]
struct Key {
    epoch: u64,
    /// The base of buyers' keys.
    #[serde(rename = "A")]
    base: String,
    /// The base of blindings.
    #[serde(rename = "H")]
    blinding: String,
    threshold: usize,
    shares: Vec<Share>,
    bytes: String,
}

#[derive(Serialize)]
struct Share {
    index: u8,
    validator: ValidatorIndex,
    /// The verifying share.
    #[serde(rename = "T")]
    verifying: Option<String>,
    /// The blinding share; none if its validator stayed silent.
    #[serde(rename = "A")]
    blinding: Option<String>,
}

/// The integers that scores are made of.
#[derive(Serialize)]
struct Score {
    energy_kwh: u16,
    tick_micro_per_kwh: u32,
    price_max_ticks: u16,
    detour_weight: u16,
    road_squares: u16,
    second_score_step: u32,
}

#[derive(Serialize)]
struct Intent {
    #[serde(flatten)]
    message: Message,
    terms: Terms,
    commitments: Commitments,
}

#[derive(Serialize)]
struct Bid {
    #[serde(flatten)]
    message: Message,
    /// As execution used it, the place in the area's frame included.
    ledgered: LedgeredBid,
}

/// What the ledger says came of it.
#[derive(Serialize)]
struct Ledger {
    /// The last block that was executed.
    height: u64,
    winner: Option<Winner>,
    nobody_eligible: bool,
}

#[derive(Serialize)]
struct Winner {
    bid: usize,
    station: StationId,
    price_micro_per_kwh: i64,
}

#[derive(Serialize)]
struct Done {
    auction: AuctionId,
    out: String,
    bytes: usize,
    bids: usize,
}

pub(super) fn run(args: &Export, json: bool) -> eyre::Result<()> {
    if let Some(out) = &args.out {
        fresh(out, args.force)?;
    }
    let exported = exported(&args.source.find(true)?)?;
    let text = serde_json::to_string(&exported)?;
    let Some(out) = &args.out else {
        return say(&text);
    };
    std::fs::write(out, text.as_bytes()).with_context(|| format!("file {}", out.display()))?;
    let (bytes, bids) = (text.len(), exported.bids.len());
    let done = Done { auction: exported.auction, out: out.display().to_string(), bytes, bids };
    print(json, &done, || {
        format!("exported   auction {}, {bids} bids, {bytes} bytes to {}", done.auction, done.out)
    })
}

/// Only what verifies is exported: whoever wants to see a verifier refuse changes a copy.
fn exported(Found { trail, replay, .. }: &Found) -> eyre::Result<Exported> {
    let recount = recount(trail);
    if let Some(bad) = [&recount.bad, &replay.bad].into_iter().flatten().min_by_key(|bad| bad.height) {
        bail!("auction {} does not verify at height {}: {}", trail.id, bad.height, bad.reason);
    }
    let key = trail.key.as_ref().ok_or_else(|| eyre!("auction {} has no key", trail.id))?;
    let terms = &trail.intent.message.terms;
    let bids = recount.bids.iter();
    let bids =
        bids.map(|(at, ledgered)| Bid { message: (&trail.bids[*at]).into(), ledgered: ledgered.clone() });
    Ok(Exported {
        format: FORMAT,
        zone: terms.zone,
        auction: trail.id,
        buyer: trail.buyer,
        key: shown_key(key),
        score: score(terms),
        intent: intent(trail, key)?,
        bids: bids.collect(),
        releases: trail.releases.iter().map(Message::from).collect(),
        earlier: trail.earlier.iter().map(Message::from).collect(),
        no_shows: trail.no_shows().to_vec(),
        outcome: trail.outcome.as_ref().map(Message::from),
        ledger: Ledger {
            height: replay.state.head().height,
            winner: recount.verdict.and_then(winner),
            nobody_eligible: recount.verdict == Some(Verdict::NoEligibleBid),
        },
    })
}

fn shown_key(key: &EpochKey) -> Key {
    let hex = |point: Point| to_hex(&point.to_bytes());
    let holding = key.holding();
    let share = |index| {
        let validator = holding.owner(index)?;
        let (verifying, blinding) = (key.verifying_share(index).map(hex), key.blinding_share(index).map(hex));
        Some(Share { index, validator, verifying, blinding })
    };
    Key {
        epoch: key.epoch(),
        base: hex(base_a()),
        blinding: hex(key.h()),
        threshold: holding.threshold(),
        shares: holding.indices().filter_map(share).collect(),
        bytes: to_hex(&key.encode()),
    }
}

fn score(terms: &Terms) -> Score {
    Score {
        energy_kwh: terms.energy.as_kwh(),
        tick_micro_per_kwh: terms.tick.as_micro_per_kwh(),
        price_max_ticks: u16::MAX,
        detour_weight: terms.kappa.weight(),
        road_squares: RoadDetour::SQUARES,
        second_score_step: Payment::STEP,
    }
}

fn intent(trail: &Trail, key: &EpochKey) -> eyre::Result<Intent> {
    let verified = trail.intent.message.verify(key)?;
    let (terms, commitments) = (verified.terms().clone(), verified.commitments().clone());
    Ok(Intent { message: (&trail.intent).into(), terms, commitments })
}

fn winner(verdict: Verdict) -> Option<Winner> {
    let Verdict::Won { bid, station, price, .. } = verdict else { return None };
    Some(Winner { bid, station, price_micro_per_kwh: price.as_micro_per_kwh() })
}

/// The name of this format; another one has another.
const FORMAT: &str = "ohmesh auction 1";
