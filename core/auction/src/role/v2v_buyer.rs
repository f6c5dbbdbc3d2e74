//! The buyer without infrastructure: gathers pledges, signs one roster, opens what comes, decides, proves.

use crate::{
    award::{Accept, Award},
    bid::LedgeredBid,
    intent::{BuyerSecret, Choice, Intent, Reserve, Terms, VerifiedIntent},
    key::EpochKey,
    outcome::{Offer, Outcome},
    release::Opening,
    role::RoleError,
    v2v::{BIDDERS_MAX, ENTRY_TIME, Entry, Pledge, Proceedings, SignedRoster, V2vError, check_intent},
};
use ohmesh_units::{Hash, InCell, SigningKey, StationId, Timestamp};
use rand_core::CryptoRng;
use std::fmt;

/// What a buyer without infrastructure asks its host to do.
#[derive(Debug)]
pub enum V2vBuyerAction {
    /// Send the intent to all neighbours.
    SendIntent(Box<Intent>),
    /// Store the roster and [`V2vBuyer::secret`] durably, then send it to all on it. Never sign another for this
    /// auction, also after a restart.
    SendRoster(Box<SignedRoster>),
    /// Show the opened bids, best first; in an auction of own choice ask which.
    Offers(Vec<Offer>),
    /// Send the proceedings to all on the roster.
    SendProceedings(Box<Proceedings>),
    /// The winner accepted: meet there, under this key.
    Meet(StationId, Award),
    /// Nobody was eligible.
    Ended,
}

/// One auction without infrastructure, from the buyer's side. At most [`BIDDERS_MAX`] pledges and entries.
///
/// `Debug` shows the auction and the step, nothing else.
pub struct V2vBuyer {
    key: EpochKey,
    intent: VerifiedIntent,
    signer: SigningKey,
    stage: Stage,
}

enum Stage {
    Gathering { secret: BuyerSecret, pledges: Vec<Pledge> },
    Rostered { secret: BuyerSecret, roster: SignedRoster, entries: Entries, until: Timestamp },
    Opened { secret: BuyerSecret, roster: SignedRoster, entries: Vec<Option<Entry>>, bids: Bids },
    Decided { station: StationId, outcome: Hash, award: Award },
    Over,
}

type Entries = Vec<Option<(Entry, LedgeredBid)>>;

struct Bids {
    bids: Vec<LedgeredBid>,
    opening: Opening,
    offers: Vec<Offer>,
}

impl V2vBuyer {
    /// Asks for energy. `signer` is the one-time key that the terms name, and `key` the one without a committee.
    pub fn ask(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        key: EpochKey,
        signer: SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, V2vBuyerAction), RoleError> {
        let (intent, secret) = Intent::create(terms, position, reserve, &key, rng)?;
        let verified = intent.verify(&key)?;
        check_intent(&verified, &key)?;
        if signer.public() != verified.terms().buyer {
            return Err(V2vError::RosterSignature(verified.id()).into());
        }
        let stage = Stage::Gathering { secret, pledges: Vec::new() };
        let buyer = Self { key, intent: verified, signer, stage };
        Ok((buyer, V2vBuyerAction::SendIntent(Box::new(intent))))
    }

    /// Takes up an auction after a restart, with the roster that was stored. What was gathered before a roster is
    /// gone.
    pub fn resume(
        intent: VerifiedIntent,
        secret: BuyerSecret,
        key: EpochKey,
        signer: SigningKey,
        roster: SignedRoster,
        now: Timestamp,
    ) -> Result<Self, RoleError> {
        roster.verify(&intent)?;
        let entries = vec![None; roster.pledges.len()];
        let stage = Stage::Rostered { secret, roster, entries, until: entries_until(now) };
        Ok(Self { key, intent, signer, stage })
    }

    /// What must survive a restart, while the auction needs it.
    pub fn secret(&self) -> Option<&BuyerSecret> {
        match &self.stage {
            Stage::Gathering { secret, .. }
            | Stage::Rostered { secret, .. }
            | Stage::Opened { secret, .. } => Some(secret),
            Stage::Decided { .. } | Stage::Over => None,
        }
    }

    /// The auction's intent.
    pub fn intent(&self) -> &VerifiedIntent {
        &self.intent
    }

    /// When [`V2vBuyer::on_time`] is due next.
    pub fn next_time(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Gathering { .. } => Some(self.intent.terms().deadline),
            Stage::Rostered { until, .. } => Some(until),
            _ => None,
        }
    }

    /// A bidder's pledge. The same pledge again changes nothing; a late one is refused.
    pub fn on_pledge(&mut self, pledge: Pledge, now: Timestamp) -> Result<(), RoleError> {
        let (auction, deadline) = (self.intent.id(), self.intent.terms().deadline);
        pledge.verify(auction)?;
        let bidder = pledge.bidder;
        let Stage::Gathering { pledges, .. } = &mut self.stage else {
            return Err(V2vError::LatePledge { bidder, now, deadline }.into());
        };
        if now >= deadline {
            return Err(V2vError::LatePledge { bidder, now, deadline }.into());
        }
        match pledges.iter().find(|other| other.bidder == bidder) {
            Some(other) if *other == pledge => return Ok(()),
            Some(_) => return Err(V2vError::PledgedTwice(bidder).into()),
            None => {}
        }
        if pledges.len() >= BIDDERS_MAX {
            return Err(V2vError::TooManyBidders { found: pledges.len() + 1 }.into());
        }
        pledges.push(pledge);
        Ok(())
    }

    /// Time has passed: at the deadline signs the roster, later stops waiting for entries.
    pub fn on_time(
        &mut self,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<V2vBuyerAction>, RoleError> {
        if self.next_time().is_none_or(|due| now < due) {
            return Ok(Vec::new());
        }
        if let Stage::Gathering { secret, pledges } = &mut self.stage {
            let (secret, pledges) = (secret.clone(), std::mem::take(pledges));
            let entries = vec![None; pledges.len()];
            let roster = SignedRoster::sign(self.intent.id(), pledges, &self.signer);
            let send = V2vBuyerAction::SendRoster(Box::new(roster.clone()));
            let is_empty = entries.is_empty();
            self.stage = Stage::Rostered { secret, roster, entries, until: entries_until(now) };
            let mut actions = vec![send];
            if is_empty {
                actions.extend(self.close(rng)?);
            }
            return Ok(actions);
        }
        self.close(rng)
    }

    /// A bidder's entry; once all are there, opens them.
    pub fn on_entry(
        &mut self,
        entry: Entry,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<V2vBuyerAction>, RoleError> {
        let Self { key, intent, stage: Stage::Rostered { roster, entries, .. }, .. } = self else {
            return Err(self.wrong_step());
        };
        let (place, bid) = roster.check(key, intent, &entry)?;
        entries[place] = Some((entry, bid));
        if entries.iter().all(Option::is_some) { self.close(rng) } else { Ok(Vec::new()) }
    }

    /// Decides as [`super::Buyer::on_decide`] does.
    pub fn on_decide(
        &mut self,
        choice: Option<usize>,
        award: Award,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<V2vBuyerAction>, RoleError> {
        let auction = self.intent.id();
        let Stage::Opened { secret, roster, entries, bids } = &self.stage else {
            return Err(self.wrong_step());
        };
        let offer = match (self.intent.terms().choice, choice) {
            (Choice::OwnChoice, Some(bid)) => bids.offers.iter().find(|offer| offer.bid == bid),
            (Choice::OwnChoice, None) | (_, Some(_)) => return Err(RoleError::ChoiceRule(auction)),
            (_, None) => bids.offers.first(),
        };
        let offer = offer.ok_or(RoleError::NoSuchBid { auction, bid: choice.unwrap_or(0) })?;
        let entry = entries.iter().flatten().find(|entry| entry.bid.station == offer.station);
        let seal = entry.expect("every offer is of an entry").seal;
        let sealed = award.seal(&self.intent, offer.station, &seal, rng)?;
        let Bids { bids, opening, .. } = bids;
        let winner = Some((offer, sealed));
        let outcome = Outcome::create(&self.key, &self.intent, secret, bids, opening, winner, rng)?;
        let (station, hash) = (offer.station, outcome.hash());
        let proceedings = Proceedings { roster: roster.clone(), entries: entries.clone(), outcome };
        self.stage = Stage::Decided { station, outcome: hash, award };
        Ok(vec![V2vBuyerAction::SendProceedings(Box::new(proceedings))])
    }

    /// The winner accepted, over a connection that is its own.
    pub fn on_accept(&mut self, accept: &Accept) -> Result<Vec<V2vBuyerAction>, RoleError> {
        let Stage::Decided { station, outcome, award } = &self.stage else { return Err(self.wrong_step()) };
        if accept.auction != self.intent.id() || accept.outcome != *outcome || accept.station != *station {
            let (expected, found) = (self.intent.id(), accept.auction);
            return Err(RoleError::OtherAuction { expected, found });
        }
        let meet = V2vBuyerAction::Meet(*station, award.clone());
        self.stage = Stage::Over;
        Ok(vec![meet])
    }

    /// Opens the entries that came.
    fn close(&mut self, rng: &mut impl CryptoRng) -> Result<Vec<V2vBuyerAction>, RoleError> {
        let Stage::Rostered { secret, roster, entries, .. } = &self.stage else {
            return Err(self.wrong_step());
        };
        let (secret, roster) = (secret.clone(), roster.clone());
        let bids: Vec<LedgeredBid> = entries.iter().flatten().map(|(_, bid)| bid.clone()).collect();
        let entries = entries.iter().map(|entry| entry.as_ref().map(|(entry, _)| entry.clone())).collect();
        let opening = Opening::in_the_open(&self.key, &self.intent, &bids)?;
        let offers = Offer::open(&self.intent, &secret, &bids, &opening)?;
        if offers.iter().any(|offer| offer.within_reserve) {
            let shown = offers.clone();
            let bids = Bids { bids, opening, offers };
            self.stage = Stage::Opened { secret, roster, entries, bids };
            return Ok(vec![V2vBuyerAction::Offers(shown)]);
        }
        let outcome = Outcome::create(&self.key, &self.intent, &secret, &bids, &opening, None, rng)?;
        let proceedings = Proceedings { roster, entries, outcome };
        self.stage = Stage::Over;
        Ok(vec![V2vBuyerAction::SendProceedings(Box::new(proceedings)), V2vBuyerAction::Ended])
    }

    fn wrong_step(&self) -> RoleError {
        RoleError::WrongStep(self.intent.id())
    }
}

fn entries_until(now: Timestamp) -> Timestamp {
    now.checked_add(ENTRY_TIME).unwrap_or(now)
}

impl fmt::Debug for V2vBuyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Gathering { .. } => "gathering",
            Stage::Rostered { .. } => "rostered",
            Stage::Opened { .. } => "opened",
            Stage::Decided { .. } => "decided",
            Stage::Over => "over",
        };
        write!(f, "V2vBuyer(auction {}, {step}, ..)", self.intent.id())
    }
}
