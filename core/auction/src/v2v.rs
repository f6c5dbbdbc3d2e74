//! Auctions without infrastructure: a buyer and its neighbours, no ledger, no committee.
//!
//! The key's secret is 1 ([`key::in_the_open`](crate::key::in_the_open)), so `H = A` and whoever knows `b` opens a
//! bid at once. What keeps the buyer from telling a friend the best price is therefore the order of things:
//!
//! ```text
//!   buyer                                            bidders
//!   Intent ----------------------------------------> make a bid, keep it
//!          <---------------------------------Pledge- hash of the entry (bid, place, key), signed
//!   ........ deadline ........
//!   SignedRoster (every pledge that came in time) -> on it, and only one roster? else send nothing
//!          <----------------------------------Entry- to the buyer and to all on the roster
//!   Proceedings (roster, entries, outcome) --------> recompute everything; the winner accepts
//! ```
//!
//! The set of bids is fixed before any is seen, and nobody can change its own. There is no forced opening: a bidder
//! that does not send its entry is left out, openly, and a buyer that stops answering has wasted everybody's time.
//! Entries go to all and are passed on, so a buyer that "did not get" one is refused by whoever did; nothing but the
//! end of the auction follows from that, because who lies cannot be proven. Two rosters of one auction are proof of
//! fraud that anybody can check later ([`DoubleRoster`]).
//!
//! Because bids can be withheld, only first prices are paid: a buyer that bids under other names could otherwise send
//! just the bid that lowers the second score.
//!
//! A bidder is known by its key: its [`StationId`] is the key's bytes. Where it stands is its own word, given before
//! any bid is seen. That a buyer bids under other names nobody can rule out; such a bid is as blind as all others.

use crate::{
    bid::{Bid, BidError, LedgeredBid},
    intent::{Intent, Pricing, VerifiedIntent},
    key::EpochKey,
    outcome::{Outcome, OutcomeError, Verdict},
    release::{Opening, ReleaseError},
    seal::SealKey,
};
use ohmesh_units::{
    AuctionId, Canonical, Domain, Hash, InCell, PublicKey, Signature, SigningKey, StationId, Timestamp,
    to_postcard,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most bidders of an auction without infrastructure: those within reach of a radio.
pub const BIDDERS_MAX: usize = 16;
/// How long after the deadline a bidder waits for the roster.
pub const ROSTER_TIME: Duration = Duration::from_secs(10);
/// How long after its roster the buyer waits for entries.
pub const ENTRY_TIME: Duration = Duration::from_secs(20);
/// How long after the deadline a bidder waits for the outcome: a person may have to choose.
pub const DECIDE_TIME: Duration = Duration::from_secs(300);

/// Why a message of an auction without infrastructure is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum V2vError {
    /// The message belongs to another auction.
    #[error("this belongs to auction {found}, not {expected}")]
    OtherAuction {
        /// The auction it was handed to.
        expected: AuctionId,
        /// The auction it names.
        found: AuctionId,
    },
    /// The second score is not paid without infrastructure: see the module's docs.
    #[error("auction {0} pays the second score, which takes bids that cannot be withheld")]
    SecondScore(AuctionId),
    /// The pledge came after the deadline.
    #[error("the pledge of {bidder} came at {now}, bidding was over at {deadline}")]
    LatePledge {
        /// Who pledges.
        bidder: PublicKey,
        /// When it came.
        now: Timestamp,
        /// When bidding was over.
        deadline: Timestamp,
    },
    /// The pledge is not signed by the bidder it names.
    #[error("the pledge of {0} is not signed by it")]
    PledgeSignature(PublicKey),
    /// A bidder has pledged two entries, or is on the roster twice.
    #[error("{0} pledged twice")]
    PledgedTwice(PublicKey),
    /// More bidders than an auction may have.
    #[error("{found} bidders, {BIDDERS_MAX} is the most")]
    TooManyBidders {
        /// Bidders that were given.
        found: usize,
    },
    /// The roster is not signed by the auction's buyer.
    #[error("the roster of auction {0} is not signed by its buyer")]
    RosterSignature(AuctionId),
    /// The roster leaves out a pledge that was made: its bidder sends nothing.
    #[error("the roster of auction {auction} leaves out the pledge of {bidder}")]
    LeftOffRoster {
        /// The auction.
        auction: AuctionId,
        /// Who is missing.
        bidder: PublicKey,
    },
    /// The buyer has signed two rosters: the evidence is in the answer, and nothing is sent.
    #[error("the buyer of auction {0} signed two rosters")]
    TwoRosters(AuctionId),
    /// Two copies of one roster prove nothing.
    #[error("the two rosters of auction {0} are the same")]
    SameRoster(AuctionId),
    /// The bidder of an entry is not on the roster.
    #[error("{bidder} is not on the roster of auction {auction}")]
    NotOnRoster {
        /// The auction.
        auction: AuctionId,
        /// Whose entry it is.
        bidder: StationId,
    },
    /// The entry is not the one that was pledged.
    #[error("{bidder} changed its bid after it had pledged another")]
    ChangedBid {
        /// Whose entry it is.
        bidder: StationId,
    },
    /// The proceedings do not have one place for each pledge of the roster.
    #[error("proceedings with {found} places for {expected} pledges")]
    EntryCount {
        /// Pledges on the roster.
        expected: usize,
        /// Places that were given.
        found: usize,
    },
    /// The proceedings leave out an entry that was sent.
    #[error("the proceedings of auction {auction} leave out the entry of {bidder}")]
    LeftOut {
        /// The auction.
        auction: AuctionId,
        /// Whose entry is missing.
        bidder: StationId,
    },
    /// The buyer sent no roster in time.
    #[error("the buyer of auction {0} refuses to sign a roster")]
    NoRoster(AuctionId),
    /// The buyer sent no outcome in time.
    #[error("the buyer of auction {0} refuses to say who won")]
    NoOutcome(AuctionId),
    /// The bid of an entry is wrong.
    #[error(transparent)]
    Bid(#[from] BidError),
    /// The key is not the one without a committee.
    #[error(transparent)]
    Key(#[from] ReleaseError),
    /// The outcome is wrong.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
}

/// Checks that an intent is for an auction without infrastructure.
pub(crate) fn check_intent(intent: &VerifiedIntent, key: &EpochKey) -> Result<(), V2vError> {
    let auction = intent.id();
    if !key.is_in_the_open() || !intent.is_under(key) {
        return Err(ReleaseError::OtherKey(auction).into());
    }
    match intent.terms().pricing {
        Pricing::FirstPrice => Ok(()),
        Pricing::SecondScore => Err(V2vError::SecondScore(auction)),
    }
}

/// The name under which the owner of `key` bids.
pub fn bidder_id(key: &PublicKey) -> StationId {
    StationId(key.to_bytes())
}

/// What a bidder keeps behind its hash until the roster is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The bid; its station is [`bidder_id`].
    pub bid: Bid,
    /// Where the bidder stands in the frame of the intent's area.
    pub position: InCell,
    /// Where an award is sealed to.
    pub seal: SealKey,
}

impl Canonical for Entry {
    const NAME: &'static str = "v2v entry";
    const MAX_BYTES: usize = Bid::MAX_BYTES + 10 + 32;
}

impl Entry {
    /// The hash that is pledged. The commitment in the bid is random, so the hash tells nothing.
    pub fn hash(&self) -> Hash {
        const ENTRY: Domain = Domain::new("ohmesh/1 v2v entry");
        ENTRY.hash(&[&self.encode()])
    }
}

/// "My bid is the one with this hash", signed by the bidder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pledge {
    /// The auction.
    pub auction: AuctionId,
    /// Who bids.
    pub bidder: PublicKey,
    /// [`Entry::hash`] of what will be sent.
    pub entry: Hash,
    signature: Signature,
}

impl Canonical for Pledge {
    const NAME: &'static str = "v2v pledge";
    const MAX_BYTES: usize = 1 + 3 * 32 + 64;
}

impl Pledge {
    /// The pledge of `entry` by the owner of `bidder`.
    pub fn sign(entry: &Entry, bidder: &SigningKey) -> Self {
        let (auction, key, hash) = (entry.bid.auction, bidder.public(), entry.hash());
        let signature = bidder.sign(PLEDGE, &to_postcard(&(auction, key, hash)));
        Self { auction, bidder: key, entry: hash, signature }
    }

    /// Checks that the pledge is of this auction and signed by the bidder it names.
    pub fn verify(&self, auction: AuctionId) -> Result<(), V2vError> {
        if self.auction != auction {
            return Err(V2vError::OtherAuction { expected: auction, found: self.auction });
        }
        let Self { auction, bidder, entry, signature } = self;
        let signed = bidder.is_registrable().is_ok()
            && bidder.verify(PLEDGE, &to_postcard(&(auction, bidder, entry)), signature);
        if signed { Ok(()) } else { Err(V2vError::PledgeSignature(*bidder)) }
    }
}

/// Every pledge that came in time, in the order that breaks ties, signed by the buyer before any bid is sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedRoster {
    /// The auction.
    pub auction: AuctionId,
    /// The pledges.
    pub pledges: Vec<Pledge>,
    signature: Signature,
}

impl Canonical for SignedRoster {
    const NAME: &'static str = "v2v roster";
    const MAX_BYTES: usize = 1 + 32 + 1 + BIDDERS_MAX * Pledge::MAX_BYTES + 64;
}

impl SignedRoster {
    /// Signs a roster with the buyer's one-time key. Sign one for each auction: two are [`DoubleRoster`].
    pub fn sign(auction: AuctionId, pledges: Vec<Pledge>, buyer: &SigningKey) -> Self {
        let signature = buyer.sign(ROSTER, &to_postcard(&(auction, &pledges)));
        Self { auction, pledges, signature }
    }

    /// Checks that the roster is of this auction, signed by its buyer, and of sound pledges, one for each bidder.
    pub fn verify(&self, intent: &VerifiedIntent) -> Result<(), V2vError> {
        self.verify_signature(intent.id(), &intent.terms().buyer)?;
        let found = self.pledges.len();
        if found > BIDDERS_MAX {
            return Err(V2vError::TooManyBidders { found });
        }
        for (at, pledge) in self.pledges.iter().enumerate() {
            pledge.verify(self.auction)?;
            if self.pledges[..at].iter().any(|other| other.bidder == pledge.bidder) {
                return Err(V2vError::PledgedTwice(pledge.bidder));
            }
        }
        Ok(())
    }

    /// Checks an entry against its pledge, and its bid; answers its place on the roster and the bid as it counts.
    pub fn check(
        &self,
        key: &EpochKey,
        intent: &VerifiedIntent,
        entry: &Entry,
    ) -> Result<(usize, LedgeredBid), V2vError> {
        let (auction, bidder) = (self.auction, entry.bid.station);
        let place = self.pledges.iter().position(|pledge| bidder_id(&pledge.bidder) == bidder);
        let place = place.ok_or(V2vError::NotOnRoster { auction, bidder })?;
        if self.pledges[place].entry != entry.hash() {
            return Err(V2vError::ChangedBid { bidder });
        }
        Ok((place, entry.bid.verify(intent, key, entry.position)?))
    }

    fn verify_signature(&self, auction: AuctionId, buyer: &PublicKey) -> Result<(), V2vError> {
        if self.auction != auction {
            return Err(V2vError::OtherAuction { expected: auction, found: self.auction });
        }
        let signed = buyer.verify(ROSTER, &to_postcard(&(self.auction, &self.pledges)), &self.signature);
        if signed { Ok(()) } else { Err(V2vError::RosterSignature(auction)) }
    }
}

/// Proof that a buyer signed two rosters for one auction. It needs nothing but itself to check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DoubleRoster {
    /// The auction's intent; it names the buyer.
    pub intent: Intent,
    /// One roster.
    pub first: SignedRoster,
    /// Another.
    pub second: SignedRoster,
}

impl Canonical for DoubleRoster {
    const NAME: &'static str = "v2v double roster";
    const MAX_BYTES: usize = Intent::MAX_BYTES + 2 * SignedRoster::MAX_BYTES;
}

impl DoubleRoster {
    /// Checks the proof; answers the key that signed both. Whatever the rosters hold, an honest buyer signs one.
    pub fn verify(&self) -> Result<PublicKey, V2vError> {
        let (auction, buyer) = (self.intent.id(), self.intent.terms.buyer);
        self.first.verify_signature(auction, &buyer)?;
        self.second.verify_signature(auction, &buyer)?;
        if self.first.pledges == self.second.pledges {
            return Err(V2vError::SameRoster(auction));
        }
        Ok(buyer)
    }
}

/// All there is to an auction without infrastructure: whoever has it and the intent recomputes the winner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proceedings {
    /// The roster.
    pub roster: SignedRoster,
    /// The entry of each pledge, in the roster's order; `None` if none came.
    pub entries: Vec<Option<Entry>>,
    /// What the buyer decided over the entries that came.
    pub outcome: Outcome,
}

impl Canonical for Proceedings {
    const NAME: &'static str = "v2v proceedings";
    const MAX_BYTES: usize =
        SignedRoster::MAX_BYTES + BIDDERS_MAX * (1 + Entry::MAX_BYTES) + Outcome::MAX_BYTES;
}

impl Proceedings {
    /// Checks roster, entries and outcome; answers the verdict, its bids counted over the entries that came. Which
    /// entries should have come only those know who sent or saw them: [`Proceedings::leaves_out`].
    pub fn verify(&self, key: &EpochKey, intent: &VerifiedIntent) -> Result<Verdict, V2vError> {
        check_intent(intent, key)?;
        self.roster.verify(intent)?;
        let (expected, found) = (self.roster.pledges.len(), self.entries.len());
        if expected != found {
            return Err(V2vError::EntryCount { expected, found });
        }
        let mut bids = Vec::new();
        for (place, entry) in self.entries.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let (pledged, bid) = self.roster.check(key, intent, entry)?;
            if pledged != place {
                return Err(V2vError::ChangedBid { bidder: bid.station });
            }
            bids.push(bid);
        }
        let opening = Opening::in_the_open(key, intent, &bids)?;
        Ok(self.outcome.verify(key, intent, &bids, &opening)?)
    }

    /// Whether the entry that `bidder` sent is missing.
    pub fn leaves_out(&self, bidder: StationId) -> bool {
        !self.entries.iter().flatten().any(|entry| entry.bid.station == bidder)
    }
}

const PLEDGE: Domain = Domain::new("ohmesh/1 v2v pledge");
const ROSTER: Domain = Domain::new("ohmesh/1 v2v roster");
