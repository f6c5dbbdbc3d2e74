//! The ledger of one zone: two double-entry journals in one chain of blocks, executed the same by everybody.
//!
//! What it is: a state in memory, transactions that change it, blocks that order them, certificates that make blocks final,
//! and proofs by which a phone checks its own few leaves against a certified header.
//!
//! What it never does: I/O. It reads no clock, no random source and no float; it iterates over no hash map (I11). It does
//! not decide who votes what (`ohmesh-committee`), nor store anything (the daemon and `ohmesh-node` do).
//!
//! How data moves:
//!
//! ```text
//!  SignedTransaction --Verified::all (one batch of signatures)--> Verified
//!  Verified.. --State::propose--> Block + Applied        (the proposer)
//!  block bytes --open_block--> Block, Verified.. --State::execute--> Applied   (everybody else, before voting)
//!  Certificate (more than 2/3 of the stake) --> State::apply(Applied)          (everybody, once decided)
//!  State::prove_account --> Proof..  --ProvenAccount::verify(header, certificate)--> what a phone believes
//! ```
//!
//! # Transactions
//!
//! | name | sent by, also signed by | legs (journal: from -> to) | ends by itself | errors beside the common ones |
//! |---|---|---|---|---|
//! | `OpenAccount` | the new account | none | never | `AccountExists`, `NotOwnAccount`, `Key` |
//! | `Issue` | anybody, k treasurers | energy: outside -> `to` | never | `Treasurers`, `NotPositive`, `Text` |
//! | `Burn` | the payer, k treasurers | energy: sender -> outside | never | `Treasurers`, `Insufficient` |
//! | `Transfer` | the payer of every leg | 1 to 16, one group | never | `NotThePayer`, `ToItself`, `Legs`, `Insufficient` |
//! | `Pend` | the payer | none; holds `amount` | at `timeout`, at most 30 days | `Timeout`, `PendingExists`, `Insufficient` |
//! | `PendSale` | the buyer | none; holds price x energy | at `timeout`, at most 30 days | `NoEvse`, `BelowTariff`, `TooMuchEnergy`, `Insufficient` |
//! | `Post` | the payee | energy: payer -> payee | - | `NoPending`, `NotThePayee`, `OtherKind`, `MoreThanHeld` |
//! | `PostSale` | the seller, the meter | energy: buyer -> seller price x Wh; grid: seller -> distributor tariff x Wh | - | as `Post`, `NotSigned` |
//! | `Void` | the payee | none; releases | - | `NoPending`, `NotThePayee` |
//! | `RegisterStation` | the operator | none | never | `Text` |
//! | `RegisterEvse` | the operator | none | never | `NoStation`, `NotTheOwner`, `Key`, `MeterBound`, `EmptyEvse` |
//!
//! | `KeyDeal`, `KeyHandout`, `KeyBlinding`, `KeyComplaint` | the validator it names | none | a step at 60 s: next attempt without the silent | `NoGeneration`, `NotTheValidator`, `Generation` |
//! | `KeySolo` | the only validator | none | never | `NotAlone` |
//! | `AuctionOpen` | the account that answers for the buyer | none | 120 s after the deadline: void | `NoEpochKey`, `NoArea`, `Deadline`, `BuyerKeyUsed`, `Intent` |
//! | `AuctionBid` | the station's owner | none | - | `NoAuction`, `AuctionStep`, `UnfitEvse`, `BidTwice`, `Bid` |
//! | `AuctionRelease` | the validator | none | opened, then 300 s: void | `AuctionStep`, `Release` |
//! | `AuctionOutcome` | the buyer's account | none | awarded, then 120 s: void | `NotTheBuyer`, `AuctionStep`, `Outcome` |
//! | `AuctionAccept` | the winner | none | accepted, then 600 s: void | `NotTheAward` |
//! | `ContractOpen` | the buyer's account; inside: seller, then buyer | none; holds the escrow | at its expiry: all of it back | `ContractTerms`, `ContractExists`, `Contract` |
//! | `ContractStart` | anybody; inside: the buyer | none | - | `NoContract`, `Contract` |
//! | `ContractSettle` | the seller, or anybody with both signatures; inside: the meter | as `PostSale` | a claim after 24 h: paid | `MeterRegister`, `Contract` |
//! | `ContractWaive` | the seller | none; releases | - | `NotThePayee`, `Contract` |
//!
//! Deposits and forfeits of auctions do not exist yet: an auction that runs out of time ends without money moving.
//!
//! Common to all: `OtherZone`, `WrongSignature`, `TooManySignatures`, `NotSigned`, `NoAccount`, `AlreadyApplied`,
//! `OtherContent`, `Expired`, `ValidTooLong`, `Overflow`, `Full`. A block that holds a transaction which cannot apply is
//! refused as a whole; whoever proposes leaves such a one out.
//!
//! Opening an account and paying for a transaction cost nothing yet; what bounds them is the size of a block.
//!
//! # Invariants checked after every block, in release builds too
//!
//! I1 and I2 over the balances touched, I3, I4, I7 (at each sale), I10; I9 and the whole of I1 to I4 by [`State::audit`].
//! With one validator its operator can censor, roll back and mint: nobody else holds a copy that would contradict.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic, clippy::iter_over_hash_type))]

mod block;
mod certificate;
mod error;
mod evidence;
mod execute;
mod governance;
mod hand_over;
mod object;
mod proof;
mod rules;
mod state;
mod transaction;
pub mod tree;
mod validators;
mod zone;

pub use block::{Block, Header, transactions_root};
pub use certificate::{Certificate, Proposal, Vote, VoteKind};
pub use error::{LedgerError, TransactionError};
pub use evidence::Evidence;
pub use execute::{Proposed, blocks_needed, open_block, open_block_knowing};
pub use governance::{Bond, Epoch, Governance, KeyHolders, PriceCap, Tariff};
pub use hand_over::HandOver;
pub use object::{
    Account, Auction, Award, Balance, Children, End, Evse, Finished, Holding, KeyGeneration, Object, Pending,
    Sale, Station, epoch_key_id,
};
pub use proof::{Answer, Proof, ProvenAccount, Query, proven_object};
pub use rules::Rules;
pub use state::{
    Applied, Flow, Head, JournalRoots, Posting, State, StateRoots, Totals, TreeName, postings_root,
};
pub use transaction::{
    Amount, Asset, Body, Journal, KeySignature, Leg, SignedTransaction, Transaction, Verified,
};
pub use validators::{Validator, ValidatorSet, Voter, Voters};
pub use zone::{Distributor, KeyGroup, Zone, ZoneArea, ZoneFile};

pub(crate) use ohmesh_units::Canonical;
