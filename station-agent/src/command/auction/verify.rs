//! `station-agent auction verify`.

use super::{
    Found, Source,
    recount::{LeftOut, Recount, Released, recount},
    trail::Trail,
};
use crate::command::{ledger::Bad, print};
use clap::Args;
use eyre::bail;
use ohmesh_auction::{
    intent::{Choice, Pricing, Terms},
    outcome::Verdict,
};
use ohmesh_ledger::End;
use ohmesh_units::{AccountId, AuctionId, Currency, Price, StationId, Timestamp};
use serde::Serialize;

#[derive(Args)]
pub(in crate::command) struct Verify {
    #[command(flatten)]
    source: Source,
}

/// What came of an auction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Came {
    /// It goes on.
    Open,
    /// The best bid won.
    Won,
    /// The buyer chose, as its intent had said.
    WonByOwnChoice,
    /// Nobody bid within the reserve.
    NobodyEligible,
    /// A step was not taken in time; there may have been a winner before.
    Void,
}

#[derive(Serialize)]
struct Shown {
    ok: bool,
    auction: AuctionId,
    came: Came,
    opened_height: u64,
    opened: Timestamp,
    buyer: AccountId,
    terms: Terms,
    shares: usize,
    threshold: usize,
    bids: Vec<Counted>,
    left_out: Vec<LeftOut>,
    released: Vec<Released>,
    outcome_height: Option<u64>,
    /// Winners before that did not come.
    no_shows: Vec<StationId>,
    winner: Option<Winner>,
    is_accepted: bool,
    currency: Currency,
    height: u64,
    first_bad: Option<Bad>,
}

/// A bid that counts.
#[derive(Serialize)]
struct Counted {
    height: u64,
    station: StationId,
    x: i32,
    y: i32,
}

#[derive(Serialize)]
struct Winner {
    bid: usize,
    station: StationId,
    price_micro_per_kwh: i64,
    proven_best: bool,
}

pub(super) fn run(args: &Verify, json: bool) -> eyre::Result<()> {
    let shown = shown(args.source.find(json)?);
    print(json, &shown, || text(&shown))?;
    if let Some(bad) = &shown.first_bad {
        bail!("auction {} does not verify at height {}", shown.auction, bad.height);
    }
    if shown.came == Came::Open {
        bail!("auction {} is still open: nobody has won yet", shown.auction);
    }
    Ok(())
}

fn shown(Found { zone, trail, replay }: Found) -> Shown {
    let Recount { bids, left_out, released, verdict, bad } = recount(&trail);
    let first_bad = [bad, replay.bad].into_iter().flatten().min_by_key(|bad| bad.height);
    let came = came(&trail, verdict);
    let counted = bids.into_iter().map(|(at, bid)| Counted {
        height: trail.bids[at].height,
        station: bid.station,
        x: bid.position.x,
        y: bid.position.y,
    });
    let counted = counted.collect();
    let holding = trail.key.as_ref().map(|key| key.holding());
    Shown {
        ok: first_bad.is_none() && came != Came::Open,
        auction: trail.id,
        came,
        opened_height: trail.intent.height,
        opened: trail.intent.time,
        buyer: trail.buyer,
        terms: trail.intent.message.terms.clone(),
        shares: holding.map_or(0, |holding| holding.shares()),
        threshold: holding.map_or(0, |holding| holding.threshold()),
        bids: counted,
        left_out,
        released,
        outcome_height: trail.outcome.as_ref().map(|outcome| outcome.height),
        no_shows: trail.no_shows().to_vec(),
        winner: verdict.and_then(winner),
        is_accepted: trail.contract.is_some()
            || trail.auction.and_then(|auction| auction.award).is_some_and(|award| award.is_accepted),
        currency: zone.currency,
        height: replay.state.head().height,
        first_bad,
    }
}

fn winner(verdict: Verdict) -> Option<Winner> {
    let Verdict::Won { bid, station, price, proven_best } = verdict else { return None };
    Some(Winner { bid, station, price_micro_per_kwh: price.as_micro_per_kwh(), proven_best })
}

fn came(trail: &Trail, verdict: Option<Verdict>) -> Came {
    match (trail.end, verdict) {
        (Some(End::NobodyEligible), _) => Came::NobodyEligible,
        (None | Some(End::Contracted(_)), Some(Verdict::Won { proven_best: true, .. })) => Came::Won,
        (None | Some(End::Contracted(_)), Some(Verdict::Won { proven_best: false, .. })) => {
            Came::WonByOwnChoice
        }
        (None, _) => Came::Open,
        _ => Came::Void,
    }
}

fn text(shown: &Shown) -> String {
    let mut lines = vec![match &shown.first_bad {
        Some(bad) => format!("BAD at height {}: {}", bad.height, bad.reason),
        None => first_line(shown),
    }];
    let terms = &shown.terms;
    lines.push(format!("auction    {}", shown.auction));
    lines.push(format!(
        "asked      {} by account {}, at height {}, {}",
        terms.energy.energy(),
        shown.buyer,
        shown.opened_height,
        shown.opened
    ));
    lines.push(format!(
        "terms      area {}, until {} and {} blocks, connectors {:#b}, {} or more, at most {}",
        terms.area,
        terms.deadline,
        terms.blocks_min,
        terms.connectors.bits(),
        terms.power_min,
        price(terms.price_cap(), shown.currency)
    ));
    lines.push(format!("rules      {}", rules(terms)));
    lines.push(format!(
        "key        epoch {}: {} of {} shares open",
        terms.key_epoch, shown.threshold, shown.shares
    ));
    for (at, bid) in shown.bids.iter().enumerate() {
        lines.push(format!(
            "bid {at:<6} height {}, station {} at ({}, {})",
            bid.height, bid.station, bid.x, bid.y
        ));
    }
    for bid in &shown.left_out {
        lines.push(format!("left out   height {}, station {}: {}", bid.height, bid.station, bid.why));
    }
    for one in &shown.released {
        let shares = if one.shares == 1 { "1 share".to_owned() } else { format!("{} shares", one.shares) };
        lines.push(format!("released   height {}, validator {}, {shares}", one.height, one.validator));
    }
    for station in &shown.no_shows {
        lines.push(format!("no show    station {station} won and did not come"));
    }
    if let (Some(winner), Some(height)) = (&shown.winner, shown.outcome_height) {
        lines.push(format!(
            "winner     bid {}, station {}, at {}; outcome at height {height}, {}",
            winner.bid,
            winner.station,
            price(Price::from_micro_per_kwh(winner.price_micro_per_kwh), shown.currency),
            if shown.is_accepted { "accepted" } else { "not accepted" }
        ));
    }
    lines.push(format!("executed   every block up to height {}", shown.height));
    lines.join("\n")
}

/// What came of an auction in which nothing is wrong.
fn first_line(shown: &Shown) -> String {
    let bids = match shown.bids.len() {
        1 => "1 bid".to_owned(),
        count => format!("{count} bids"),
    };
    match shown.came {
        Came::Open => format!("OPEN: {bids} so far; {}", waits_for(shown)),
        Came::Won => format!("OK: the winner is proven to be the best of {bids}"),
        Came::WonByOwnChoice => {
            format!("OK: won by own choice among {bids}, as the intent said: only the price is proven")
        }
        Came::NobodyEligible => {
            format!("OK: no winner: none of {bids} is within the buyer's reserve, proven")
        }
        Came::Void if shown.winner.is_some() => {
            format!("OK: void: the best of {bids} was proven, but {}", waits_for(shown))
        }
        Came::Void => format!("OK: void, no winner among {bids}: {}", waits_for(shown)),
    }
}

/// The step that has not been taken.
fn waits_for(shown: &Shown) -> &'static str {
    let released: usize = shown.released.iter().map(|one| one.shares).sum();
    if shown.is_accepted {
        "no contract was opened in time"
    } else if shown.winner.is_some() {
        "the winner did not accept in time"
    } else if released == 0 && shown.came == Came::Open {
        "no share has been released"
    } else if !shown.no_shows.is_empty() {
        "a winner did not come, and the buyer did not decide again"
    } else if released < shown.threshold && !shown.bids.is_empty() {
        "too few shares were released"
    } else {
        "the buyer has published no outcome"
    }
}

fn rules(terms: &Terms) -> String {
    let pricing = match terms.pricing {
        Pricing::FirstPrice => "the winner is paid what it bid",
        Pricing::SecondScore => "the winner is paid by the second score",
    };
    let choice = match terms.choice {
        Choice::BestProvable => "the best by straight line wins, provably",
        Choice::BestByRoad => "the best by road wins, provably",
        Choice::OwnChoice => "the buyer chooses",
    };
    format!("{choice}; {pricing}; a square step of detour weighs {}", terms.kappa.weight())
}

fn price(price: Price, currency: Currency) -> String {
    format!("{currency} {price}")
}
