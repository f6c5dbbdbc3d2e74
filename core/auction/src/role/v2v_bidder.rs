//! The bidder without infrastructure: pledges, sends its bid to who is on the one roster, checks what comes of it.

use super::bidder::{PassReason, Site, ask_price};
use crate::{
    award::{Accept, Award},
    bid::Bid,
    intent::{Intent, VerifiedIntent},
    key::EpochKey,
    outcome::Verdict,
    role::RoleError,
    seal::SealSecret,
    strategy::Strategy,
    v2v::{
        DECIDE_TIME, DoubleRoster, Entry, Pledge, Proceedings, ROSTER_TIME, SignedRoster, V2vError,
        bidder_id, check_intent,
    },
};
use ohmesh_units::{InCell, PriceTick, SigningKey, StationId, Timestamp};
use rand_core::CryptoRng;
use std::{collections::BTreeSet, fmt};

/// What a bidder without infrastructure asks its host to do.
#[derive(Debug)]
pub enum V2vBidderAction {
    /// Send the pledge to the buyer.
    SendPledge(Pledge),
    /// Send the entry to the buyer and to all on the roster.
    SendEntry(Box<Entry>),
    /// Send a rival's entry to the buyer, in case it did not get it.
    PassOn(Box<Entry>),
    /// Keep the proof that the buyer signed two rosters, and give it to a ledger when there is one. Send nothing.
    Report(Box<DoubleRoster>),
    /// Send the acceptance to the buyer.
    Accept(Accept),
    /// Expect the buyer there, under this key.
    Meet(Award),
    /// Somebody else won, or nobody.
    Lost,
    /// The buyer refuses to go on: this is over.
    GiveUp(V2vError),
}

/// Who bids, and from where.
#[derive(Clone, Debug)]
pub struct V2vSeller {
    /// The key a bidder is known by.
    pub signer: SigningKey,
    /// Reads awards.
    pub seal: SealSecret,
    /// Where it stands in the frame of the intent's area.
    pub position: InCell,
}

/// One auction without infrastructure, from a bidder's side. Holds one roster and who on it sent an entry.
///
/// `Debug` shows the auction and the step, nothing else.
pub struct V2vBidder {
    key: EpochKey,
    intent: Intent,
    verified: VerifiedIntent,
    seal: SealSecret,
    pledge: Pledge,
    price: PriceTick,
    /// The first that came.
    roster: Option<SignedRoster>,
    stage: Stage,
}

enum Stage {
    Pledged { entry: Box<Entry> },
    Sent { seen: BTreeSet<StationId> },
    Over,
}

impl V2vBidder {
    /// A neighbour's intent: pledges a bid, or stays out.
    pub fn on_intent(
        intent: Intent,
        key: EpochKey,
        seller: V2vSeller,
        strategy: &impl Strategy,
        site: &Site,
        rng: &mut impl CryptoRng,
    ) -> Result<Result<(Self, V2vBidderAction), PassReason>, RoleError> {
        let verified = intent.verify(&key)?;
        check_intent(&verified, &key)?;
        let price = match ask_price(strategy, verified.terms(), site) {
            Ok(price) => price,
            Err(reason) => return Ok(Err(reason)),
        };
        let V2vSeller { signer, seal, position } = seller;
        let bid = Bid::create(&verified, &key, bidder_id(&signer.public()), price, rng)?;
        bid.verify(&verified, &key, position)?;
        let entry = Entry { bid, position, seal: seal.public() };
        let pledge = Pledge::sign(&entry, &signer);
        let stage = Stage::Pledged { entry: Box::new(entry) };
        let bidder = Self { key, intent, verified, seal, pledge, price, roster: None, stage };
        Ok(Ok((bidder, V2vBidderAction::SendPledge(pledge))))
    }

    /// The price that was bid.
    pub fn price(&self) -> PriceTick {
        self.price
    }

    /// When [`V2vBidder::on_time`] is due next.
    pub fn next_time(&self) -> Option<Timestamp> {
        let deadline = self.verified.terms().deadline;
        match self.stage {
            Stage::Pledged { .. } => deadline.checked_add(ROSTER_TIME),
            Stage::Sent { .. } => deadline.checked_add(DECIDE_TIME),
            Stage::Over => None,
        }
    }

    /// The buyer's roster. If this bidder's pledge is not on it, it sends nothing and is out. Another roster than the
    /// first is evidence, whenever it comes.
    pub fn on_roster(&mut self, roster: SignedRoster) -> Result<Vec<V2vBidderAction>, RoleError> {
        roster.verify(&self.verified)?;
        match &self.roster {
            Some(first) if first.pledges == roster.pledges => return Ok(Vec::new()),
            Some(first) => return Ok(self.report(first.clone(), roster)),
            None => {}
        }
        let Stage::Pledged { entry } = &self.stage else { return Err(self.wrong_step()) };
        let send = V2vBidderAction::SendEntry(entry.clone());
        let is_on_it = roster.pledges.contains(&self.pledge);
        self.roster = Some(roster);
        if !is_on_it {
            let (auction, bidder) = (self.verified.id(), self.pledge.bidder);
            self.stage = Stage::Over;
            return Err(V2vError::LeftOffRoster { auction, bidder }.into());
        }
        self.stage = Stage::Sent { seen: BTreeSet::from([bidder_id(&self.pledge.bidder)]) };
        Ok(vec![send])
    }

    /// A rival's entry: that it was sent, and that it keeps its pledge. Which price it hides only the buyer can see.
    pub fn on_entry(&mut self, entry: &Entry) -> Result<Vec<V2vBidderAction>, RoleError> {
        let wrong_step = self.wrong_step();
        let Self { key, verified, roster: Some(roster), stage: Stage::Sent { seen }, .. } = self else {
            return Err(wrong_step);
        };
        roster.check(key, verified, entry)?;
        // Bounded: one for each pledge on the roster.
        let is_new = seen.insert(entry.bid.station);
        Ok(is_new.then(|| V2vBidderAction::PassOn(Box::new(entry.clone()))).into_iter().collect())
    }

    /// What the buyer decided. Refused if it leaves out an entry that this bidder sent or saw; the auction is then
    /// over.
    pub fn on_proceedings(&mut self, proceedings: &Proceedings) -> Result<Vec<V2vBidderAction>, RoleError> {
        let (Stage::Sent { seen }, Some(roster)) = (&self.stage, &self.roster) else {
            return Err(self.wrong_step());
        };
        let auction = self.verified.id();
        proceedings.roster.verify(&self.verified)?;
        if proceedings.roster.pledges != roster.pledges {
            return Ok(self.report(roster.clone(), proceedings.roster.clone()));
        }
        let verdict = proceedings.verify(&self.key, &self.verified)?;
        if let Some(bidder) = seen.iter().copied().find(|bidder| proceedings.leaves_out(*bidder)) {
            self.stage = Stage::Over;
            return Err(V2vError::LeftOut { auction, bidder }.into());
        }
        let own = bidder_id(&self.pledge.bidder);
        let actions = match (verdict, proceedings.outcome.decision.win()) {
            (Verdict::Won { station, .. }, Some(win)) if station == own => {
                let award = Award::open(win.award, &self.verified, own, &self.seal)?;
                let accept = Accept::of(&proceedings.outcome, own);
                vec![V2vBidderAction::Accept(accept), V2vBidderAction::Meet(award)]
            }
            _ => vec![V2vBidderAction::Lost],
        };
        self.stage = Stage::Over;
        Ok(actions)
    }

    /// Time has passed: a buyer that does not answer is given up.
    pub fn on_time(&mut self, now: Timestamp) -> Vec<V2vBidderAction> {
        if self.next_time().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let auction = self.verified.id();
        let reason = match self.stage {
            Stage::Pledged { .. } => V2vError::NoRoster(auction),
            Stage::Sent { .. } | Stage::Over => V2vError::NoOutcome(auction),
        };
        self.stage = Stage::Over;
        vec![V2vBidderAction::GiveUp(reason)]
    }

    fn report(&mut self, first: SignedRoster, second: SignedRoster) -> Vec<V2vBidderAction> {
        self.stage = Stage::Over;
        let proof = DoubleRoster { intent: self.intent.clone(), first, second };
        let reason = V2vError::TwoRosters(self.verified.id());
        vec![V2vBidderAction::Report(Box::new(proof)), V2vBidderAction::GiveUp(reason)]
    }

    fn wrong_step(&self) -> RoleError {
        RoleError::WrongStep(self.verified.id())
    }
}

impl fmt::Debug for V2vBidder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.stage {
            Stage::Pledged { .. } => "pledged",
            Stage::Sent { .. } => "sent",
            Stage::Over => "over",
        };
        write!(f, "V2vBidder(auction {}, {step}, ..)", self.verified.id())
    }
}
