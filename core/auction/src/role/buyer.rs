//! The buyer: asks, opens, decides, proves.

use super::RoleError;
use crate::{
    award::{Accept, Award},
    bid::LedgeredBid,
    intent::{BuyerSecret, Choice, Intent, Reserve, RoadDetour, Terms, VerifiedIntent},
    key::{EpochKey, ValidatorIndex},
    outcome::{Offer, Outcome},
    release::{Opening, Release, ReleaseError, VerifiedRelease},
    seal::SealKey,
};
use ohmesh_units::{Hash, InCell, StationId};
use rand_core::CryptoRng;
use std::{collections::BTreeMap, fmt};

/// A ledgered bid and the key its station registered for awards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The bid.
    pub bid: LedgeredBid,
    /// Where an award is sealed to.
    pub seal: SealKey,
}

/// What a buyer asks its host to do.
#[derive(Debug)]
pub enum BuyerAction {
    /// Store the secret durably, then put the intent on the ledger.
    PublishIntent(Box<Intent>),
    /// Show the opened bids, best first; in an auction of own choice ask which.
    Offers(Vec<Offer>),
    /// Store the award and [`Outcome::hash`] durably, then put the outcome on the ledger.
    PublishOutcome(Box<Outcome>),
    /// The winner accepted: meet there, under this key. Erase the stored secret.
    Meet(StationId, Award),
    /// Nobody was eligible: erase the stored secret.
    Ended,
}

/// One auction, from the buyer's side.
///
/// `Debug` shows the auction and the step, nothing else.
pub struct Buyer {
    key: EpochKey,
    intent: VerifiedIntent,
    stage: Stage,
}

enum Stage {
    Asked {
        secret: BuyerSecret,
    },
    Closed {
        secret: BuyerSecret,
        candidates: Vec<Candidate>,
        releases: BTreeMap<ValidatorIndex, VerifiedRelease>,
    },
    Opened {
        secret: BuyerSecret,
        candidates: Vec<Candidate>,
        opening: Opening,
        offers: Vec<Offer>,
    },
    Decided {
        station: StationId,
        outcome: Hash,
        award: Award,
    },
    Over,
}

impl Buyer {
    /// Asks for energy: makes the intent. The secret is in [`Buyer::secret`] until the outcome is made.
    pub fn ask(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        key: EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, BuyerAction), RoleError> {
        let (intent, secret) = Intent::create(terms, position, reserve, &key, rng)?;
        let verified = intent.verify(&key)?;
        let buyer = Self::resume(verified, secret, key);
        Ok((buyer, BuyerAction::PublishIntent(Box::new(intent))))
    }

    /// Asks for energy where detours count by road: makes the intent with the table of `roads`, stations ascending.
    pub fn ask_by_road(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        roads: &[(StationId, RoadDetour)],
        key: EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, BuyerAction), RoleError> {
        let (intent, secret) = Intent::create_by_road(terms, position, reserve, roads, &key, rng)?;
        let verified = intent.verify(&key)?;
        let buyer = Self::resume(verified, secret, key);
        Ok((buyer, BuyerAction::PublishIntent(Box::new(intent))))
    }

    /// Takes up an auction after a restart, with the secret that was stored.
    pub fn resume(intent: VerifiedIntent, secret: BuyerSecret, key: EpochKey) -> Self {
        Self { key, intent, stage: Stage::Asked { secret } }
    }

    /// Takes up an auction after a restart whose outcome is on its way: the winner, the outcome's hash, and the award
    /// that was stored.
    pub fn resume_decided(
        intent: VerifiedIntent,
        key: EpochKey,
        station: StationId,
        outcome: Hash,
        award: Award,
    ) -> Self {
        Self { key, intent, stage: Stage::Decided { station, outcome, award } }
    }

    /// The auction's intent.
    pub fn intent(&self) -> &VerifiedIntent {
        &self.intent
    }

    /// What must survive a restart, while the auction needs it.
    pub fn secret(&self) -> Option<&BuyerSecret> {
        match &self.stage {
            Stage::Asked { secret } | Stage::Closed { secret, .. } | Stage::Opened { secret, .. } => {
                Some(secret)
            }
            Stage::Decided { .. } | Stage::Over => None,
        }
    }

    /// Bidding is over: all ledgered bids, in ledger order. Without any, answers the outcome at once.
    pub fn on_closed(
        &mut self,
        candidates: Vec<Candidate>,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BuyerAction>, RoleError> {
        let Stage::Asked { secret } = &self.stage else { return Err(self.wrong_step()) };
        if candidates.is_empty() {
            let opening = Opening::combine(&self.key, &self.intent, &[], &[])?;
            return self.end(secret.clone(), &[], &opening, rng);
        }
        let (secret, releases) = (secret.clone(), BTreeMap::new());
        self.stage = Stage::Closed { secret, candidates, releases };
        Ok(Vec::new())
    }

    /// A validator's release. Once a threshold of shares is there, answers the offers; if none is within the reserve,
    /// the outcome that says so.
    pub fn on_release(
        &mut self,
        release: &Release,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BuyerAction>, RoleError> {
        let Stage::Closed { candidates, releases, .. } = &mut self.stage else {
            return Err(self.wrong_step());
        };
        if releases.contains_key(&release.validator) {
            return Err(RoleError::ReleasedTwice(release.validator));
        }
        let bids: Vec<LedgeredBid> = candidates.iter().map(|candidate| candidate.bid.clone()).collect();
        let verified = release.verify(&self.key, &self.intent, &bids)?;
        // Bounded: only validators with shares pass, once each.
        releases.insert(release.validator, verified);
        let released: Vec<VerifiedRelease> = releases.values().cloned().collect();
        let opening = match Opening::combine(&self.key, &self.intent, &bids, &released) {
            Ok(opening) => opening,
            Err(ReleaseError::TooFewShares { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        self.on_opening(opening, rng)
    }

    /// The opening as the ledger has combined it, in place of the releases one by one. Answers as the last release does.
    pub fn on_opening(
        &mut self,
        opening: Opening,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BuyerAction>, RoleError> {
        let Stage::Closed { secret, candidates, .. } = &mut self.stage else {
            return Err(self.wrong_step());
        };
        if opening.auction() != self.intent.id() {
            let (expected, found) = (self.intent.id(), opening.auction());
            return Err(RoleError::OtherAuction { expected, found });
        }
        let bids: Vec<LedgeredBid> = candidates.iter().map(|candidate| candidate.bid.clone()).collect();
        let secret = secret.clone();
        let offers = Offer::open(&self.intent, &secret, &bids, &opening)?;
        if !offers.iter().any(|offer| offer.within_reserve) {
            return self.end(secret, &bids, &opening, rng);
        }
        let candidates = std::mem::take(candidates);
        self.stage = Stage::Opened { secret, candidates, opening, offers: offers.clone() };
        Ok(vec![BuyerAction::Offers(offers)])
    }

    /// Decides: `choice` is the bid the buyer picked (its position in ledger order), or `None` where the intent promised
    /// the best. `award` is what the winner will read. Answers the outcome; the auction's secret is gone then.
    pub fn on_decide(
        &mut self,
        choice: Option<usize>,
        award: Award,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BuyerAction>, RoleError> {
        let auction = self.intent.id();
        let Stage::Opened { secret, candidates, opening, offers } = &self.stage else {
            return Err(self.wrong_step());
        };
        let offer = match (self.intent.terms().choice, choice) {
            (Choice::OwnChoice, Some(bid)) => offers.iter().find(|offer| offer.bid == bid),
            (Choice::OwnChoice, None) | (_, Some(_)) => return Err(RoleError::ChoiceRule(auction)),
            (_, None) => offers.first(),
        };
        let offer = offer.ok_or(RoleError::NoSuchBid { auction, bid: choice.unwrap_or(0) })?;
        let bids: Vec<LedgeredBid> = candidates.iter().map(|candidate| candidate.bid.clone()).collect();
        let sealed = award.seal(&self.intent, offer.station, &candidates[offer.bid].seal, rng)?;
        let winner = Some((offer, sealed));
        let outcome = Outcome::create(&self.key, &self.intent, secret, &bids, opening, winner, rng)?;
        self.stage = Stage::Decided { station: offer.station, outcome: outcome.hash(), award };
        Ok(vec![BuyerAction::PublishOutcome(Box::new(outcome))])
    }

    /// The winner accepted, as the ledger says.
    pub fn on_accept(&mut self, accept: &Accept) -> Result<Vec<BuyerAction>, RoleError> {
        let Stage::Decided { station, outcome, award } = &self.stage else { return Err(self.wrong_step()) };
        if accept.auction != self.intent.id() || accept.outcome != *outcome || accept.station != *station {
            let (expected, found) = (self.intent.id(), accept.auction);
            return Err(RoleError::OtherAuction { expected, found });
        }
        let meet = BuyerAction::Meet(*station, award.clone());
        self.stage = Stage::Over;
        Ok(vec![meet])
    }

    fn end(
        &mut self,
        secret: BuyerSecret,
        bids: &[LedgeredBid],
        opening: &Opening,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BuyerAction>, RoleError> {
        let outcome = Outcome::create(&self.key, &self.intent, &secret, bids, opening, None, rng)?;
        self.stage = Stage::Over;
        Ok(vec![BuyerAction::PublishOutcome(Box::new(outcome)), BuyerAction::Ended])
    }

    fn wrong_step(&self) -> RoleError {
        RoleError::WrongStep(self.intent.id())
    }
}

impl fmt::Debug for Buyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Asked { .. } => "asked",
            Stage::Closed { .. } => "closed",
            Stage::Opened { .. } => "opened",
            Stage::Decided { .. } => "decided",
            Stage::Over => "over",
        };
        write!(f, "Buyer(auction {}, {step}, ..)", self.intent.id())
    }
}
