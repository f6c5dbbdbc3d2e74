//! An auction recomputed from its messages: which bids count, what the shares open, who won, and whether the ledger
//! says the same.
//!
//! Who may send what (owners, outlets, accounts) was checked when the blocks were executed; here it is the auction
//! itself.

use super::trail::{Ledgered, Trail};
use crate::command::ledger::Bad;
use ohmesh_auction::{
    bid::{Bid, LedgeredBid},
    intent::VerifiedIntent,
    key::{EpochKey, ValidatorIndex},
    outcome::{Outcome, Verdict},
    release::{Opening, ReleaseError, VerifiedRelease},
};
use ohmesh_ledger::{Award, End};
use ohmesh_units::{InCell, StationId, Timestamp};
use serde::Serialize;

/// What came out, as far as it is good.
#[derive(Default)]
pub(super) struct Recount {
    /// The bids that count, in ledger order, each with its place among all bids of the trail.
    pub(super) bids: Vec<(usize, LedgeredBid)>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) released: Vec<Released>,
    /// Who won, if there is an outcome.
    pub(super) verdict: Option<Verdict>,
    /// The first thing that is wrong.
    pub(super) bad: Option<Bad>,
}

/// A ledgered bid that does not count.
#[derive(Serialize)]
pub(super) struct LeftOut {
    pub(super) height: u64,
    pub(super) station: StationId,
    pub(super) why: String,
}

/// A validator whose shares came.
#[derive(Serialize)]
pub(super) struct Released {
    pub(super) height: u64,
    pub(super) validator: ValidatorIndex,
    pub(super) shares: usize,
}

/// Recomputes the auction, up to the first thing that is wrong.
pub(super) fn recount(trail: &Trail) -> Recount {
    let mut recount = Recount::default();
    recount.bad = recount.run(trail).err();
    recount
}

impl Recount {
    fn run(&mut self, trail: &Trail) -> Result<(), Bad> {
        let opened = trail.intent.height;
        let key = trail.key.as_ref().ok_or_else(|| {
            bad(opened, format!("the ledger has no key of epoch {}", trail.intent.message.terms.key_epoch))
        })?;
        let intent =
            trail.intent.message.verify(key).map_err(|error| bad(opened, format!("intent: {error}")))?;
        self.count(trail, &intent, key)?;
        let bids: Vec<LedgeredBid> = self.bids.iter().map(|(_, bid)| bid.clone()).collect();
        let releases = self.releases(trail, &intent, key, &bids)?;
        let opening = match Opening::combine(key, &intent, &bids, &releases) {
            Ok(opening) => Some(opening),
            Err(ReleaseError::TooFewShares { .. }) => None,
            Err(error) => return Err(bad(opened, format!("opening: {error}"))),
        };
        self.decide(trail, &intent, key, (bids, opening))?;
        self.compare(trail)
    }

    /// Checks every outcome over the bids that stood when it came: each winner that did not come was struck out.
    fn decide(
        &mut self,
        trail: &Trail,
        intent: &VerifiedIntent,
        key: &EpochKey,
        (mut bids, mut opening): (Vec<LedgeredBid>, Option<Opening>),
    ) -> Result<(), Bad> {
        let mut no_shows = trail.no_shows().iter();
        for outcome in trail.earlier.iter().chain(&trail.outcome) {
            is_due(trail, outcome, "the outcome")?;
            let opened = opening
                .as_ref()
                .ok_or_else(|| bad(outcome.height, "the outcome came before the shares".into()))?;
            let verdict = outcome.message.verify(key, intent, &bids, opened);
            let verdict = verdict.map_err(|error| bad(outcome.height, format!("outcome: {error}")))?;
            let Some(absent) = no_shows.next() else {
                self.verdict = Some(verdict);
                continue;
            };
            match verdict {
                Verdict::Won { bid, station, .. } if station == *absent => {
                    bids.remove(bid);
                    opening = opening.map(|opening| opening.without(bid));
                }
                _ => {
                    return Err(bad(
                        outcome.height,
                        format!("the ledger strikes out {absent}, which had not won"),
                    ));
                }
            }
        }
        match no_shows.next() {
            Some(absent) => {
                Err(bad(trail.intent.height, format!("the ledger strikes out {absent}, which had not won")))
            }
            None => Ok(()),
        }
    }

    /// Finds the bids that count: in time, the station's first, with proofs that hold.
    fn count(&mut self, trail: &Trail, intent: &VerifiedIntent, key: &EpochKey) -> Result<(), Bad> {
        for (at, bid) in trail.bids.iter().enumerate() {
            let (height, station) = (bid.height, bid.message.station);
            match self.counted(trail, bid, intent, key) {
                Ok(ledgered) => self.bids.push((at, ledgered)),
                Err(why) => self.left_out.push(LeftOut { height, station, why }),
            }
        }
        let of_ledger = trail.auction.as_ref().map(|auction| &auction.bids[..]).unwrap_or_default();
        let no_shows = trail.no_shows();
        let standing = self.bids.iter().map(|(_, bid)| bid).filter(|bid| !no_shows.contains(&bid.station));
        if !standing.eq(of_ledger) {
            let height = trail.bids.last().map_or(trail.intent.height, |bid| bid.height);
            let (own, of_ledger) = (self.bids.len(), of_ledger.len());
            let reason =
                format!("{own} bids count by their proofs, and the ledger counts {of_ledger} others");
            return Err(bad(height, reason));
        }
        Ok(())
    }

    /// The bid as it counts, or why it does not.
    fn counted(
        &self,
        trail: &Trail,
        bid: &Ledgered<Bid>,
        intent: &VerifiedIntent,
        key: &EpochKey,
    ) -> Result<LedgeredBid, String> {
        let station = bid.message.station;
        if bid.time >= intent.terms().deadline {
            return Err(format!("its block is of {}, at or after the deadline", bid.time));
        }
        if self.bids.iter().any(|(_, other)| other.station == station) {
            return Err("the station had bid before".to_owned());
        }
        let position = position(trail, station).ok_or("the ledger knows of no such bid")?;
        bid.message.verify(intent, key, position).map_err(|error| error.to_string())
    }

    /// Checks every release.
    fn releases(
        &mut self,
        trail: &Trail,
        intent: &VerifiedIntent,
        key: &EpochKey,
        bids: &[LedgeredBid],
    ) -> Result<Vec<VerifiedRelease>, Bad> {
        let mut verified = Vec::with_capacity(trail.releases.len());
        for release in &trail.releases {
            let (height, validator) = (release.height, release.message.validator);
            is_due(trail, release, "a release")?;
            let one = release.message.verify(key, intent, bids);
            let one = one.map_err(|error| bad(height, format!("release: {error}")))?;
            self.released.push(Released { height, validator, shares: one.shares() });
            verified.push(one);
        }
        Ok(verified)
    }

    /// Whether the ledger says the same.
    fn compare(&self, trail: &Trail) -> Result<(), Bad> {
        let height = trail.outcome.as_ref().map_or(trail.intent.height, |outcome| outcome.height);
        let award = trail.auction.as_ref().and_then(|auction| auction.award.as_ref());
        let nobody = trail.end == Some(End::NobodyEligible);
        let same = match (self.verdict, &trail.outcome) {
            (None, _) => award.is_none() && !nobody && trail.contract.is_none(),
            (Some(Verdict::NoEligibleBid), _) => nobody && award.is_none(),
            (Some(verdict), Some(outcome)) => !nobody && is_awarded(verdict, &outcome.message, trail, award),
            (Some(_), None) => false,
        };
        let reason = || match award {
            Some(award) => format!(
                "the ledger gives it to bid {} of station {} at {}, and its bytes do not",
                award.bid, award.station, award.price
            ),
            None => "the ledger ends it otherwise than its bytes do".to_owned(),
        };
        if same { Ok(()) } else { Err(bad(height, reason())) }
    }
}

/// Whether award and contract, as far as the ledger had them, are what the outcome proves. An award that became a
/// contract in the block of its outcome was in no state between two blocks; its contract names the price.
fn is_awarded(verdict: Verdict, outcome: &Outcome, trail: &Trail, award: Option<&Award>) -> bool {
    let Verdict::Won { bid, station, price, proven_best } = verdict else { return false };
    let by_award = award.is_none_or(|award| {
        usize::from(award.bid) == bid
            && award.station == station
            && award.price == price
            && award.is_proven_best == proven_best
            && award.outcome == outcome.hash()
    });
    let by_contract = trail.contract.as_ref().is_none_or(|terms| terms.price == price);
    by_award && by_contract && (award.is_some() || trail.contract.is_some())
}

/// Where a station stands in the auction's frame, as execution found it.
fn position(trail: &Trail, station: StationId) -> Option<InCell> {
    trail.positions.get(&station).copied()
}

/// Nothing but bids may come before bidding is over.
fn is_due<T>(trail: &Trail, what: &Ledgered<T>, name: &str) -> Result<(), Bad> {
    let (terms, time): (_, Timestamp) = (&trail.intent.message.terms, what.time);
    if terms.is_due(time, what.height - trail.intent.height) {
        return Ok(());
    }
    Err(bad(what.height, format!("{name} is in a block of {time}, before bidding is over")))
}

fn bad(height: u64, reason: String) -> Bad {
    Bad { height, reason }
}

#[cfg(test)]
mod tests;
