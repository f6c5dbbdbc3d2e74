//! Auctions: intent, sealed bids, releases, the proven outcome, the acceptance. What each proves is `ohmesh-auction`'s to
//! say; here is who may send it, when, and what the registry knows.

use super::{governance::within_cap, key::validator, money};
use crate::{
    Asset, Auction, Award, Bidder, Demand, End, Finished, Object, TransactionError, Voters, state::Draft,
};
use ohmesh_auction::{
    BIDS_MAX,
    award::{Accept, Unreadable},
    bid::{Bid, BidError},
    intent::{Commitments, Intent},
    key::EpochKey,
    outcome::{Outcome, Verdict},
    release::{Opening, Release, ReleaseError},
    seal::SealKey,
};
use ohmesh_units::{AccountId, AuctionId, Domain, EvseId, Hash, Money, Timestamp, to_postcard};
use std::time::Duration;

/// Opens an auction.
pub(super) fn open(draft: &mut Draft<'_>, buyer: AccountId, intent: &Intent) -> Result<(), TransactionError> {
    let terms = &intent.terms;
    let id = intent.id();
    let key = epoch_key(draft, terms.key_epoch)?;
    let now = draft.now;
    let epoch = terms.key_epoch;
    match draft.governance().key_serves_until(epoch) {
        Some(until) if now > until => return Err(TransactionError::OldEpochKey { epoch, until, now }),
        _ => {}
    }
    let zone = draft.state.zone();
    zone.frame(terms.area).ok_or(TransactionError::NoArea(terms.area))?;
    let blocks_needed = blocks_needed(draft.epoch().validators.voters(), height(draft));
    let in_time =
        terms.deadline > now && now.checked_add(BIDDING_MAX).is_some_and(|limit| terms.deadline <= limit);
    if !in_time || terms.blocks_min < blocks_needed || terms.blocks_min > BLOCKS_MAX {
        let (deadline, blocks) = (terms.deadline, terms.blocks_min);
        return Err(TransactionError::Deadline { deadline, blocks, now, blocks_needed });
    }
    within_cap(draft, terms.price_cap())?;
    if terms.renewable_min.get() > 0 {
        return Err(TransactionError::NoRenewableCertificates(id));
    }
    if draft.object(&id.into()).is_some() {
        return Err(TransactionError::AuctionExists(id));
    }
    let intent = intent.verify(key)?;
    let used = used_key(intent.commitments());
    if draft.object(&used.id).is_some() {
        return Err(TransactionError::BuyerKeyUsed(id));
    }
    draft.add_object(Object::Finished(used))?;
    let deposits = draft.governance().rules.deposits;
    deposit(draft, buyer, deposits.buyer)?;
    let auction = Auction {
        buyer,
        height: height(draft),
        bids: Vec::new(),
        bidders: Vec::new(),
        deposits,
        no_shows: Vec::new(),
        releases: Vec::new(),
        opening: None,
        award: None,
        deadline: later(intent.terms().deadline, RELEASE_TIME),
        halted_ms: draft.totals.halted_ms,
        intent,
    };
    draft.add_object(Object::Auction(Box::new(auction)))?;
    Ok(())
}

/// Takes a sealed bid.
pub(super) fn bid(
    draft: &mut Draft<'_>,
    sender: AccountId,
    bid: &Bid,
    evse: EvseId,
) -> Result<(), TransactionError> {
    let (slot, mut auction) = running(draft, bid.auction)?;
    let terms = auction.intent.terms();
    let Some((_, Object::Station(station))) = draft.object(&bid.station.into()) else {
        return Err(TransactionError::NoStation(bid.station));
    };
    if station.owner != sender {
        return Err(TransactionError::NotTheOwner(bid.station));
    }
    match draft.object(&evse.into()) {
        Some((_, Object::Evse(outlet)))
            if outlet.station == bid.station
                && outlet.connectors & terms.connectors.bits() != 0
                && outlet.power >= terms.power_min => {}
        Some(_) => return Err(TransactionError::UnfitEvse(evse)),
        None => return Err(TransactionError::NoEvse(evse)),
    }
    if is_due(draft, &auction) || draft.now >= terms.deadline {
        return Err(TransactionError::AuctionStep(bid.auction));
    }
    if auction.bids.iter().any(|other| other.station == bid.station) {
        return Err(TransactionError::BidTwice(bid.station));
    }
    if auction.bids.len() >= BIDS_MAX {
        return Err(BidError::Full(bid.auction).into());
    }
    let bidder = Bidder { account: sender, award_key: SealKey::from_bytes(station.award_key.0) };
    let frame = draft.state.zone().frame(terms.area).ok_or(TransactionError::NoArea(terms.area))?;
    let position = frame.locate(station.position).ok_or(TransactionError::NoArea(terms.area))?;
    let ledgered = bid.verify(&auction.intent, epoch_key(draft, terms.key_epoch)?, position)?;
    auction.bids.push(ledgered);
    auction.bidders.push(bidder);
    deposit(draft, sender, auction.deposits.bid)?;
    draft.set_object(slot, Object::Auction(Box::new(auction)));
    Ok(())
}

/// Takes a validator's release; with a threshold of shares the bids are open to the buyer.
pub(super) fn release(
    draft: &mut Draft<'_>,
    sender: AccountId,
    release: &Release,
) -> Result<(), TransactionError> {
    let (slot, mut auction) = running(draft, release.auction)?;
    validator(draft, sender, release.validator, auction.intent.terms().key_epoch)?;
    if !is_due(draft, &auction) || auction.opening.is_some() || auction.award.is_some() {
        return Err(TransactionError::AuctionStep(release.auction));
    }
    if auction.releases.iter().any(|(other, _)| *other == release.validator) {
        return Err(TransactionError::AuctionStep(release.auction));
    }
    let key = epoch_key(draft, auction.intent.terms().key_epoch)?;
    let verified = release.verify(key, &auction.intent, &auction.bids)?;
    auction.releases.push((release.validator, verified));
    let releases: Vec<_> = auction.releases.iter().map(|(_, release)| release.clone()).collect();
    match Opening::combine(key, &auction.intent, &auction.bids, &releases) {
        Ok(opening) => {
            auction.opening = Some(opening);
            auction.releases.clear();
            step(draft, &mut auction, DECIDE_TIME);
        }
        Err(ReleaseError::TooFewShares { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    draft.set_object(slot, Object::Auction(Box::new(auction)));
    Ok(())
}

/// Takes the buyer's decision: a winner, or the proof that nobody was eligible, which ends the auction.
pub(super) fn outcome(
    draft: &mut Draft<'_>,
    sender: AccountId,
    outcome: &Outcome,
) -> Result<(), TransactionError> {
    let (slot, mut auction) = running(draft, outcome.auction)?;
    if auction.buyer != sender {
        return Err(TransactionError::NotTheBuyer(outcome.auction));
    }
    if !is_due(draft, &auction) || auction.award.is_some() {
        return Err(TransactionError::AuctionStep(outcome.auction));
    }
    let key = epoch_key(draft, auction.intent.terms().key_epoch)?;
    let opening = match &auction.opening {
        Some(opening) => opening.clone(),
        None if auction.bids.is_empty() => Opening::combine(key, &auction.intent, &[], &[])?,
        None => return Err(TransactionError::AuctionStep(outcome.auction)),
    };
    match outcome.verify(key, &auction.intent, &auction.bids, &opening)? {
        Verdict::Won { bid, station, price, proven_best } => {
            let (Some(winner), Some(win)) = (auction.bidders.get(bid), outcome.decision.win()) else {
                return Err(TransactionError::NoStation(station));
            };
            // No bid is taken once bidding is over, and each was on the ledger before: see `bid`.
            let is_ledgered = auction.bids.get(bid).is_some_and(|ledgered| ledgered.station == station);
            assert!(is_ledgered, "I8 the winner was committed before the deadline");
            let cap = auction.intent.terms().price_cap();
            assert!(price <= cap, "the range proof of a bid is the proof that it keeps the cap");
            auction.award = Some(Award {
                bid: u16::try_from(bid).map_err(|_| TransactionError::Full)?,
                station,
                seller: winner.account,
                price,
                outcome: outcome.hash(),
                is_proven_best: proven_best,
                sealed: win.award.clone(),
                is_accepted: false,
                demand: None,
            });
            step(draft, &mut auction, ACCEPT_TIME);
            draft.set_object(slot, Object::Auction(Box::new(auction)));
        }
        Verdict::NoEligibleBid => end(draft, slot, auction, End::NobodyEligible),
    }
    Ok(())
}

/// The winner takes the award.
pub(super) fn accept(
    draft: &mut Draft<'_>,
    sender: AccountId,
    accept: &Accept,
) -> Result<(), TransactionError> {
    let (slot, mut auction) = running(draft, accept.auction)?;
    match &mut auction.award {
        Some(award)
            if award.seller == sender
                && award.station == accept.station
                && award.outcome == accept.outcome
                && !award.is_accepted =>
        {
            award.is_accepted = true;
        }
        _ => return Err(TransactionError::NotTheAward(accept.auction)),
    }
    step(draft, &mut auction, CONTRACT_TIME);
    draft.set_object(slot, Object::Auction(Box::new(auction)));
    Ok(())
}

/// The winner shows that nobody can read its award, which is the buyer's fault.
pub(super) fn unreadable(
    draft: &mut Draft<'_>,
    sender: AccountId,
    shown: &Unreadable,
) -> Result<(), TransactionError> {
    let (slot, auction) = running(draft, shown.auction)?;
    let award = auction.award.as_ref().filter(|award| {
        award.seller == sender
            && award.station == shown.station
            && award.outcome == shown.outcome
            && !award.is_accepted
    });
    let award = award.ok_or(TransactionError::NotTheAward(shown.auction))?;
    let winner = auction.bidders[usize::from(award.bid)];
    shown.verify(&award.sealed, &auction.intent, &winner.award_key)?;
    buyer_failed(draft, slot, auction, End::Unreadable);
    Ok(())
}

/// The buyer's demand that the winner, which has accepted, signs these terms.
pub(super) fn demanded(draft: &mut Draft<'_>, slot: u32, mut auction: Auction, demand: Demand) {
    let time = match &demand {
        Demand::Asked(_) => ANSWER_TIME,
        Demand::Answered(_) => CONTRACT_TIME,
    };
    auction.award.as_mut().expect("only what was awarded is demanded").demand = Some(demand);
    step(draft, &mut auction, time);
    draft.set_object(slot, Object::Auction(Box::new(auction)));
}

/// The time of a step is over, unless the chain stood still meanwhile: somebody has failed. See the crate's table.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, mut auction: Auction) {
    let halted_ms = draft.totals.halted_ms;
    let lost = Duration::from_millis(halted_ms - auction.halted_ms);
    (auction.deadline, auction.halted_ms) = (later(auction.deadline, lost), halted_ms);
    if auction.deadline > draft.now {
        return draft.set_object(slot, Object::Auction(Box::new(auction)));
    }
    match &auction.award {
        None if auction.opening.is_none() => end(draft, slot, auction, End::TimedOut),
        None => buyer_failed(draft, slot, auction, End::BuyerFailed),
        Some(Award { is_accepted: false, .. } | Award { demand: Some(Demand::Asked(_)), .. }) => {
            no_show(draft, slot, auction);
        }
        Some(_) => buyer_failed(draft, slot, auction, End::BuyerFailed),
    }
}

/// The winner did not come: its bid no longer counts, and its deposit is burned. The bids stay open to the buyer, who
/// proves the next best.
fn no_show(draft: &mut Draft<'_>, slot: u32, mut auction: Auction) {
    let award = auction.award.take().expect("somebody won");
    let at = usize::from(award.bid);
    auction.bids.remove(at);
    let bidder = auction.bidders.remove(at);
    auction.opening = auction.opening.take().map(|opening| opening.without(at));
    auction.no_shows.push(award.station);
    forfeit(draft, bidder.account, auction.deposits.bid);
    if auction.bids.is_empty() || auction.no_shows.len() >= Auction::NO_SHOWS_MAX {
        return end(draft, slot, auction, End::NobodyCame);
    }
    step(draft, &mut auction, DECIDE_TIME);
    draft.set_object(slot, Object::Auction(Box::new(auction)));
}

/// Ends an auction by the buyer's fault.
fn buyer_failed(draft: &mut Draft<'_>, slot: u32, mut auction: Auction, how: End) {
    forfeit(draft, auction.buyer, auction.deposits.buyer);
    auction.deposits.buyer = Money::ZERO;
    end(draft, slot, auction, how);
}

/// Ends an auction by `end`; what it still holds goes back.
pub(super) fn end(draft: &mut Draft<'_>, slot: u32, auction: Auction, end: End) {
    for (owner, amount) in auction.deposited() {
        money::release(draft, Asset::Currency, owner, amount).expect("whoever holds has a balance");
        draft.totals.hold_ended(End::Voided);
    }
    let finished = Finished::of(&Object::Auction(Box::new(auction)), end);
    draft.set_object(slot, Object::Finished(finished));
}

/// Holds a deposit, if there is to be one.
fn deposit(draft: &mut Draft<'_>, owner: AccountId, amount: Money) -> Result<(), TransactionError> {
    if amount > Money::ZERO {
        money::hold(draft, Asset::Currency, owner, amount.as_micro())?;
        draft.totals.pendings_opened += 1;
    }
    Ok(())
}

/// Burns a deposit, if there was one. Never shared out: whoever orders transactions bids too, and could earn it by leaving
/// some out.
fn forfeit(draft: &mut Draft<'_>, owner: AccountId, amount: Money) {
    if amount > Money::ZERO {
        let burned = money::forfeit(draft, Asset::Currency, owner, amount.as_micro());
        burned.expect("whoever holds has a balance");
        draft.totals.hold_ended(End::Slashed);
    }
}

/// A step begins, and lasts for `time` at most.
fn step(draft: &Draft<'_>, auction: &mut Auction, time: Duration) {
    auction.deadline = later(draft.now, time);
    auction.halted_ms = draft.totals.halted_ms;
}

/// The running auction with `id`.
pub(super) fn running(draft: &Draft<'_>, id: AuctionId) -> Result<(u32, Auction), TransactionError> {
    match draft.object(&id.into()) {
        Some((slot, Object::Auction(auction))) if auction.deadline > draft.now => {
            Ok((slot, (**auction).clone()))
        }
        _ => Err(TransactionError::NoAuction(id)),
    }
}

fn is_due(draft: &Draft<'_>, auction: &Auction) -> bool {
    auction.intent.terms().is_due(draft.now, height(draft) - auction.height)
}

fn height(draft: &Draft<'_>) -> u64 {
    draft.state.head().height + 1
}

fn epoch_key<'s>(draft: &Draft<'s>, epoch: u64) -> Result<&'s EpochKey, TransactionError> {
    draft.state.epoch_key(epoch).ok_or(TransactionError::NoEpochKey(epoch))
}

/// The mark that a buyer's one-time key leaves for ever.
fn used_key(commitments: &Commitments) -> Finished {
    const BUYER_KEY: Domain = Domain::new("ohmesh/1 buyer key used");
    let id = BUYER_KEY.hash(&[&to_postcard(&commitments.buyer_point())]);
    Finished { id, end: End::Used, content: Hash::ZERO }
}

/// How many blocks after `height` it takes until proposers with more than a third of the stake have had a turn: no
/// smaller group can keep a bid out.
pub fn blocks_needed(voters: &Voters, height: u64) -> u16 {
    let mut seen = Vec::new();
    let mut stake = 0u64;
    for (blocks, height) in (1u16..=BLOCKS_MAX).zip(height + 1..) {
        let proposer = voters.proposer(height, 0);
        if !seen.contains(&proposer) {
            seen.push(proposer);
            stake += voters.at(proposer).map_or(0, |voter| voter.stake);
        }
        if u128::from(stake) * 3 > u128::from(voters.stake()) {
            return blocks;
        }
    }
    BLOCKS_MAX
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::from_millis(u64::MAX))
}

/// How far ahead the deadline of an auction may be.
const BIDDING_MAX: Duration = Duration::from_secs(3600);
/// The most blocks an intent may demand before its deadline counts.
const BLOCKS_MAX: u16 = 1_000;
/// How long after the deadline the validators have to release.
const RELEASE_TIME: Duration = Duration::from_secs(120);
/// How long the buyer has to decide, from the opening on.
const DECIDE_TIME: Duration = Duration::from_secs(300);
/// How long the winner has to accept.
const ACCEPT_TIME: Duration = Duration::from_secs(120);
/// How long the two have to open the contract.
pub(super) const CONTRACT_TIME: Duration = Duration::from_secs(600);
/// How long the winner has to answer a demand.
const ANSWER_TIME: Duration = Duration::from_secs(120);
