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
//!  State::manifest, ::chunk.. --> Restore::add.. --> the same State (snapshots: whoever lost its disk, from anybody)
//! ```
//!
//! # Transactions
//!
//! The sender signs every one. Legs are named by journal; "burns" is a leg from the energy journal to nowhere. Where the
//! rules ask for fees, what the sender pays beside these legs is its transaction's paid weight times the fee, burned in
//! the energy journal in the same group ([`Body::paid_weight`]); rows marked * are free, because what they belong to has
//! paid for them, or the ledger needs them.
//!
//! | name | sent by, also signed by | legs | ends by itself | errors beside the common ones |
//! |---|---|---|---|---|
//! | `OpenAccount`* | the new account | none | never | `AccountExists`, `NotOwnAccount`, `Key`, `FreeAccounts` |
//! | `OpenAccountFor` | anybody, the new owner | none | never | `AccountExists`, `Key` |
//! | `Issue`* | anybody, k treasurers | energy: outside -> `to` | never | `Treasurers`, `NotPositive`, `Text` |
//! | `Burn` | the payer, k treasurers | energy: sender -> outside | never | `Treasurers`, `NotPositive`, `Text`, `Insufficient` |
//! | `Transfer` | the payer of every leg | 1 to 16, one group | never | `NotThePayer`, `ToItself`, `NotPositive`, `Legs`, `Insufficient` |
//! | `Pend` | the payer | none; holds `amount` | at `timeout`, at most 30 days: back to the payer | `Timeout`, `ToItself`, `NotPositive`, `PendingExists`, `Insufficient` |
//! | `PendSale` | the buyer | none; holds price x energy | at `timeout`, at most 30 days: back to the buyer | `NoEvse`, `Timeout`, `ToItself`, `NotPositive`, `BelowTariff`, `AboveCap`, `TooMuchEnergy`, `PendingExists`, `Insufficient` |
//! | `Post` | the payee | energy: payer -> payee | - | `NoPending`, `NotThePayee`, `OtherKind`, `NotPositive`, `MoreThanHeld` |
//! | `PostSale` | the seller, the meter | energy: buyer -> seller price x Wh; seller crosses tariff x Wh to grid; grid: seller -> distributor tariff x Wh; all at the hold's terms | - | `NoPending`, `NotThePayee`, `OtherKind`, `MoreThanHeld`, `MeterRegister`, `MeterGone` |
//! | `Void` | the payee | none; releases | - | `NoPending`, `NotThePayee` |
//! | `RegisterStation` | the operator | none | never | `Text`, `AwardKey` |
//! | `RegisterEvse` | the operator; inside: the meter | none | never | `NoStation`, `NotTheOwner`, `Key`, `MeterNotInstalled`, `MeterBound`, `EmptyEvse` |
//! | `KeyDeal`*, `KeyHandout`*, `KeyBlinding`*, `KeyComplaint`* | the validator it names | none | a step at 60 s: next attempt without the silent; the whole when other validators come: given up | `NoGeneration`, `NotTheValidator`, `Generation` |
//! | `KeySolo`* | the only shareholder | none | never | `NoGeneration`, `NotTheValidator`, `NotAlone` |
//! | `AuctionOpen` | the account that answers for the buyer | none; holds its deposit | 120 s after the deadline: void, all deposits back | `NoEpochKey`, `OldEpochKey`, `NoArea`, `Deadline`, `AboveCap`, `NoRenewableCertificates`, `AuctionExists`, `BuyerKeyUsed`, `Intent`, `Insufficient` |
//! | `AuctionBid` | the station's owner | none; holds its deposit | - | `NoAuction`, `NoStation`, `NotTheOwner`, `NoEvse`, `UnfitEvse`, `AuctionStep`, `BidTwice`, `NoArea`, `Bid`, `Insufficient` |
//! | `AuctionRelease`* | the validator it names, of the key's holders | none | opened, then 300 s: burns the buyer's deposit, the others back | `NoAuction`, `NotTheValidator`, `AuctionStep`, `Release` |
//! | `AuctionOutcome`* | the buyer's account | none; nobody eligible: all deposits back | awarded, then 120 s: burns the winner's deposit; 300 s for the next best | `NoAuction`, `NotTheBuyer`, `AuctionStep`, `Outcome` |
//! | `AuctionAccept`* | the winner | none | accepted, then 600 s: burns the buyer's deposit, the others back | `NoAuction`, `NotTheAward` |
//! | `AuctionUnreadable`* | the winner | burns the buyer's deposit; the others back | - | `NoAuction`, `NotTheAward`, `Award` |
//! | `AuctionDemand`* | the buyer's account | none | demanded, then 120 s: burns the winner's deposit; 300 s for the next best | `NoAuction`, `AuctionStep`, `NoEvse`, `ContractTerms`, `Contract` |
//! | `AuctionOffer`* | the winner; inside: the seller | none | offered, then 600 s: burns the buyer's deposit, the others back | `NoAuction`, `AuctionStep`, `NotTheAward`, `NoEvse`, `ContractTerms`, `Contract` |
//! | `ContractOpen` | the buyer's account; inside: seller, then buyer | none; holds the escrow; all deposits of the auction back | at its expiry: all of it back | `NoAuction`, `AuctionStep`, `NoEvse`, `ContractTerms`, `ContractExists`, `Contract`, `Insufficient` |
//! | `ContractStart`* | anybody; inside: the buyer | none | - | `NoContract`, `Contract` |
//! | `ContractSettle`* | the seller, or anybody with both signatures; inside: the meter | as `PostSale`, at the contract's terms; the rest of the escrow back; a claim: none yet | a claim after 24 h: paid as `PostSale` | `NoContract`, `MeterRegister`, `MeterGone`, `Contract` |
//! | `ContractWaive`* | the seller; inside: the seller | none; releases | - | `NoContract`, `NotThePayee`, `Contract` |
//! | `ContractDispute`* | the buyer's account | none | after 7 days: the claim is paid | `NoContract`, `Contract` |
//! | `ContractLower` | the seller | none; the claim is less | - | `NoContract`, `Contract` |
//! | `ContractResolve`* | anybody; buyer and seller, or of a disputed claim k regulators | as `PostSale`, at most the claim; the rest of the escrow back | - | `NoContract`, `NotResolved`, `Contract` |
//! | `SetValidators` | anybody, validators with more than 2/3 of the stake | none | with its block, which ends the epoch | `OtherEpoch`, `Stake`, `BondTooSmall`, `VoteKeyUsed`, `Validators` |
//! | `Upgrade` | anybody, validators with more than 2/3 of the stake | none | in force from the next epoch on | `OtherEpoch`, `Stake`, `Rules` |
//! | `VoteKey`* | a validator of the next epoch, the key | none | with the next epoch | `OtherEpoch`, `Key`, `NoValidator`, `VoteKeys`, `VoteKeyUsed` |
//! | `Bond` | anybody | none; holds `amount` | never | `NotPositive`, `Insufficient` |
//! | `Unbond` | the bond's owner | none | after 28 days: free | `NotPositive`, `NoBond`, `BondTooSmall`, `Full` |
//! | `Convict`* | anybody | burns all of the culprit's bond, what leaves included | with its block the culprit's seat; the epoch's memory 28 days after its end | `NoEpoch`, `NoContradiction`, `ConvictedAlready` |
//! | `SetTariff` | the distributor | none | in force from its time on, 24 h ahead or more | `NotTheDistributor`, `NotPositive`, `Notice` |
//! | `SetPriceCap` | anybody, k regulators | none | in force from its time on, 24 h ahead or more | `Regulators`, `NotPositive`, `Notice` |
//! | `SetAuditKey` | anybody, k regulators | none | never | `Regulators`, `Key` |
//! | `SetCircuit` | the distributor | none | when the station moves | `NotTheDistributor`, `NoStation` |
//!
//! # When somebody fails in an auction
//!
//! What the rules want as deposits when it is opened is held until it ends. Who fails the others loses its own, and it is
//! burned: validators bid too, and could earn from it by leaving a transaction out.
//!
//! | what happens | the ledger's step | deposits |
//! |---|---|---|
//! | a bid's bytes are garbage | it is refused (`Bid`), as its proofs are checked when it comes | none was taken |
//! | the buyer vanishes before the release | the validators release all the same; then as below | |
//! | the buyer vanishes after the release, or publishes nothing | [`End::BuyerFailed`] | the buyer's burned |
//! | fewer shares than a quorum come | [`End::TimedOut`]; the bids stay sealed | all back |
//! | the winner does not accept | its bid is struck out; the buyer proves the next best by the same opening | the winner's burned |
//! | the award cannot be read | the winner shows so: [`End::Unreadable`] | the buyer's burned |
//! | the winner accepts and makes no offer | the buyer demands it on the ledger; no answer: as not accepted | the winner's burned |
//! | the buyer does not open the contract | [`End::BuyerFailed`] | the buyer's burned |
//! | [`Auction::NO_SHOWS_MAX`] winners did not come, or nobody is left | [`End::NobodyCame`] | the others' and the buyer's back |
//! | the chain stands still (a partition) | the time does not count ([`Totals::halted_ms`]) | none |
//! | the validators change | those who hold the key's shares release | none |
//! | the contract is open and the car or the outlet is not there | see the contract: all of the escrow back | all were back |
//!
//! An area that holds fewer than twenty stations is the phone's to widen: the ledger takes any area of the zone file.
//!
//! Common to all: `OtherZone`, `WrongSignature`, `TooManySignatures`, `NotSigned`, `NoAccount`, `AlreadyApplied`,
//! `OtherContent`, `Expired`, `ValidTooLong`, `Overflow`, `Full`, `Weight`, and `Fee` of those that are paid for. A block
//! that holds a transaction which cannot apply is refused as a whole; whoever proposes leaves such a one out.
//!
//! # What is burned
//!
//! What `Burn` pays out of the zone, every fee, the deposits above, and the bond of a validator that contradicted itself: so that nobody who
//! orders transactions earns by filling blocks or by framing others. Nothing else leaves but by `Burn`.
//!
//! # Epochs, validators, bonds
//!
//! An epoch ends with the first block at or after its time, or with the block that decided on other validators. Vote keys
//! are never used by a second validator, nor a second time by the same one: each leaves a mark for ever when its first
//! epoch begins. What the genesis
//! gave a validator as stake needs no bond until it is convicted; then it may come back, if more than two thirds of the
//! stake say so, with a bond for all of its stake and a new vote key. The only validator of a zone keeps its seat when it
//! is convicted: nobody else could make the next block. A rise of the bond binds whoever is named from then on.
//!
//! # The meter's register
//!
//! A contract's record, as the `PostSale` of a hold, says from where to where the lifetime register of its meter ran.
//! The outlet remembers the highest end that was sold and at most [`Evse::GAPS_MAX`] unsold parts below it; a record
//! may take a part of one of those, or begin at or after the end, and is refused if any of it was sold before
//! (`MeterRegister`). So two sales of one outlet settle in any order, and no Wh twice, be it by a contract or by a
//! hold. When there are too many unsold parts, the lowest can be sold no more. An outlet that changes its meter keeps
//! this of the meter before, and of no earlier one (`MeterGone`).
//!
//! # What no test can tell from the original
//!
//! Of 1,383 mutants (`cargo mutants`) nine survive the tests, each because it changes nothing that can be seen:
//!
//! - `register::overlap`, `<` or `>` for its neighbour: unsold parts never touch, so no part begins where another ends.
//! - the weight of an acceptance left out: it is that of the default arm.
//! - `tree`, the neighbour of an odd place, and the top level visited once more: the one is only compared with the
//!   width, the other has a single node without a neighbour.
//! - `validators::stride` that also tries a step of 0: it is coprime to a stake of 1 alone, where 1 is tried first.
//! - a tariff from exactly now, kept twice over: notice keeps two tariffs from one moment.
//! - `money::check_group` left out: it only asserts (I7) what was posted just before.
//!
//! # Invariants checked in release builds too
//!
//! After every block: I1 and I2 over the balances touched, I3, I4 (holds, escrows, bonds), I10. At each sale: I7. At each
//! step of a contract: I5, forward only and one terminal state. At each award: I8, the winner's bid is one of those that
//! were on the ledger before the deadline, and the outcome's proof was checked against all of them. I9 and the whole of I1
//! to I4 by [`State::audit`]. With one validator its operator can censor, roll back and mint: nobody else holds a copy
//! that would contradict.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic, clippy::iter_over_hash_type))]

mod block;
mod certificate;
mod error;
mod evidence;
mod execute;
mod governance;
mod hand_over;
mod installation;
mod object;
mod proof;
mod register;
mod rules;
mod sale;
mod snapshot;
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
pub use governance::{Bond, Epoch, Governance, KeyHolders, NextVote, PriceCap, Tariff};
pub use hand_over::{Anchor, HandOver, HandOverError};
pub use installation::Installation;
pub use object::{
    Account, Auction, Award, Balance, Bidder, Children, Demand, Deposits, End, Evse, Finished, Holding,
    KeyGeneration, Object, Pending, Sale, Station, epoch_key_id,
};
pub use proof::{Answer, Proof, ProvenAccount, Query, proven_object};
pub use register::{Gap, OldMeter};
pub use rules::Rules;
pub use sale::SaleRecord;
pub use snapshot::{Chunk, Manifest, Part, SnapshotError};
pub use state::{
    Applied, Flow, Head, JournalRoots, Posting, Restore, State, StateRoots, Totals, TreeName, postings_root,
};
pub use transaction::{
    Amount, Asset, Body, Journal, KeySignature, Leg, SignedTransaction, Transaction, Verified,
};
pub use validators::{Validator, ValidatorSet, Voter, Voters};
pub use zone::{Distributor, KeyGroup, Zone, ZoneArea, ZoneFile};

pub(crate) use ohmesh_units::Canonical;
