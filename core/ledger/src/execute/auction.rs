//! Auctions: intent, sealed bids, releases, the proven outcome, the acceptance. What each proves is `ohmesh-auction`'s to
//! say; here is who may send it, when, and what the registry knows.

use super::{governance::within_cap, key::validator};
use crate::{Auction, Award, End, Finished, Object, TransactionError, Voters, state::Draft};
use ohmesh_auction::{
    BIDS_MAX,
    award::Accept,
    bid::{Bid, BidError},
    intent::{Commitments, Intent},
    key::EpochKey,
    outcome::{Outcome, Verdict},
    release::{Opening, Release, ReleaseError},
};
use ohmesh_units::{AccountId, AuctionId, Domain, EvseId, Hash, Timestamp, to_postcard};
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
    let deadline = later(intent.terms().deadline, RELEASE_TIME);
    let auction = Auction {
        buyer,
        height: height(draft),
        bids: Vec::new(),
        releases: Vec::new(),
        opening: None,
        award: None,
        deadline,
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
    let frame = draft.state.zone().frame(terms.area).ok_or(TransactionError::NoArea(terms.area))?;
    let position = frame.locate(station.position).ok_or(TransactionError::NoArea(terms.area))?;
    let ledgered = bid.verify(&auction.intent, epoch_key(draft, terms.key_epoch)?, position)?;
    auction.bids.push(ledgered);
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
            auction.deadline = later(draft.now, DECIDE_TIME);
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
            let Some((_, Object::Station(winner))) = draft.object(&station.into()) else {
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
                seller: winner.owner,
                price,
                outcome: outcome.hash(),
                is_proven_best: proven_best,
                is_accepted: false,
            });
            auction.deadline = later(draft.now, ACCEPT_TIME);
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
    auction.deadline = later(draft.now, CONTRACT_TIME);
    draft.set_object(slot, Object::Auction(Box::new(auction)));
    Ok(())
}

/// The time of a step is over: the auction is void. Nobody has paid a deposit yet, so no money moves.
pub(super) fn time_over(draft: &mut Draft<'_>, slot: u32, auction: Auction) {
    end(draft, slot, auction, End::TimedOut);
}

/// Ends an auction by `end`.
pub(super) fn end(draft: &mut Draft<'_>, slot: u32, auction: Auction, end: End) {
    let finished = Finished::of(&Object::Auction(Box::new(auction)), end);
    draft.set_object(slot, Object::Finished(finished));
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
const CONTRACT_TIME: Duration = Duration::from_secs(600);
