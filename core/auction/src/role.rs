//! The three parts in an auction as state machines: an input comes in, actions go out. What an action asks for is the
//! host's to do; the host decides nothing.
//!
//! ```text
//!   Buyer      ask ->PublishIntent   on_closed   on_release ->Offers   on_decide ->PublishOutcome   on_accept ->Meet
//!   Bidder     on_intent ->Bid | Pass            on_outcome ->Accept, Meet | Lost
//!   Validator  on_key   on_due ->Release   on_retire
//!
//!   without infrastructure (see `crate::v2v`)
//!   V2vBuyer   ask ->SendIntent   on_pledge   on_time ->SendRoster   on_entry ->Offers   on_decide ->SendProceedings
//!   V2vBidder  on_intent ->SendPledge   on_roster ->SendEntry | Report   on_entry   on_proceedings ->Accept, Meet | Lost
//! ```

mod bidder;
mod buyer;
mod v2v_bidder;
mod v2v_buyer;
mod validator;

pub use bidder::{Bidder, BidderAction, PassReason, Site};
pub use buyer::{Buyer, BuyerAction, Candidate};
pub use v2v_bidder::{V2vBidder, V2vBidderAction, V2vSeller};
pub use v2v_buyer::{V2vBuyer, V2vBuyerAction};
pub use validator::{Block, Validator, ValidatorAction};

use crate::{
    award::AwardError, bid::BidError, intent::IntentError, key::ValidatorIndex, outcome::OutcomeError,
    release::ReleaseError, v2v::V2vError,
};
use ohmesh_units::AuctionId;

/// Why a role refuses an input. Its state is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// The input belongs to another auction.
    #[error("this belongs to auction {found}, not {expected}")]
    OtherAuction {
        /// The auction the role is in.
        expected: AuctionId,
        /// The auction the input names.
        found: AuctionId,
    },
    /// The input comes too early or too late.
    #[error("auction {0} is not at the step for this")]
    WrongStep(AuctionId),
    /// A second release of one validator.
    #[error("validator {0} has released already")]
    ReleasedTwice(ValidatorIndex),
    /// The buyer chose where the intent promised the best, or did not where it promised a choice.
    #[error("auction {0} does not leave this choice")]
    ChoiceRule(AuctionId),
    /// The bid that was chosen does not exist.
    #[error("auction {auction} has no bid {bid}")]
    NoSuchBid {
        /// The auction.
        auction: AuctionId,
        /// Position in ledger order.
        bid: usize,
    },
    /// The station has already bid in this auction.
    #[error("already bid in auction {0}")]
    BidTwice(AuctionId),
    /// The station does not know of a bid of its own in this auction.
    #[error("no bid of this station is open in auction {0}")]
    NoBid(AuctionId),
    /// The outcome names another price than this station bid, or a second score that pays less.
    #[error("the outcome of auction {0} names another price than was bid")]
    OtherPrice(AuctionId),
    /// The station has as many open bids as it may.
    #[error("{0} bids are open, which is the most")]
    TooManyOpenBids(usize),
    /// The deadline of the auction is not over: nothing is released.
    #[error("auction {0} still takes bids")]
    NotDue(AuctionId),
    /// The validator does not hold a share of that epoch's key.
    #[error("no share of the key of epoch {0}")]
    NoKey(u64),
    /// The validator holds as many epochs' shares as it may.
    #[error("shares of {0} epochs are held, which is the most: retire one")]
    TooManyKeys(usize),
    /// The intent cannot be made.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// The bid cannot be made.
    #[error(transparent)]
    Bid(#[from] BidError),
    /// The release is wrong.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The outcome cannot be made.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// The award cannot be made or read.
    #[error(transparent)]
    Award(#[from] AwardError),
    /// A message of an auction without infrastructure is wrong.
    #[error(transparent)]
    V2v(#[from] V2vError),
}
