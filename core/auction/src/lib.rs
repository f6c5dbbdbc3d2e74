//! A reverse auction for energy in which losing bids stay sealed for good.
//!
//! What it is: the five messages of a sale (intent, bid, release, outcome, accept), the proofs inside them, the
//! committee's key they hang on, the roles as state machines, and sellers' strategies.
//!
//! What it never does: I/O. It owns no clock, socket, file or random source; randomness is an argument, actions are
//! values. It moves no money, checks no registry and knows no block: the ledger does, and each `verify` says what is left
//! to it. A secret is zeroised when dropped and `Debug` does not show it.
//!
//! How data moves:
//!
//! ```text
//!   buyer                        ledger                                   stations, validators
//!   Intent::create --Intent----> verify -> VerifiedIntent --------------> Bidder::on_intent
//!                                verify -> LedgeredBid   <-----Bid------- Bid::create        (then may go offline)
//!                                ........ deadline ........
//!                                verify -> VerifiedRelease <--Release---- Release::create    (each validator)
//!                                Opening::combine  (a threshold of shares)
//!   Offer::open <--------------- Opening
//!   Outcome::create --Outcome--> verify -> Verdict ---------------------> Bidder::on_outcome
//!                                          Accept  <--------------------- the winner, who alone reads the Award
//! ```
//!
//! Nobody opens a bid early, not the buyer, not the validators: opening takes both. No bidder can refuse to open late:
//! the bid carries its own decryption. Whether the winner is the best, anybody can check without seeing the others.
//!
//! ```
//! use ohmesh_auction::{award::Award, bid::Bid, intent::*, key, outcome::*, release::*, seal::SealSecret};
//! use ohmesh_units::*;
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # let rng = &mut ChaCha20Rng::from_seed([1; 32]);
//! let zone = ZoneId([9; 32]);
//! let (key, shares) = key::solo(zone, 0, key::ValidatorIndex(0), rng); // a validator that is alone
//! let terms = Terms {
//!     zone,
//!     key_epoch: 0,
//!     area: "85283473fffffff".parse().unwrap(),
//!     energy: EnergyKwh::exactly(Energy::from_wh(40_000)).unwrap(),
//!     deadline: Timestamp::from_millis(1_795_300_500_000),
//!     blocks_min: 3,
//!     kappa: Kappa::try_from(2).unwrap(),
//!     renewable_min: Percent::default(),
//!     connectors: Connectors::try_from(0b1).unwrap(),
//!     power_min: Power::from_w(50_000),
//!     tick: TickSize::for_cap(Price::from_micro_per_kwh(790_000)).unwrap(),
//!     pricing: Pricing::FirstPrice,
//!     choice: Choice::BestProvable,
//!     buyer: SigningKey::from_seed([5; 32]).public(),
//! };
//! let reserve = terms.reserve_of(Money::from_micro(30_000_000)).unwrap();
//! let (intent, secret) = Intent::create(terms, InCell { x: 120, y: 77 }, reserve, &key, rng).unwrap();
//! let intent = intent.verify(&key).unwrap();
//!
//! let (station, at) = (StationId([1; 32]), InCell { x: 100, y: 90 });
//! let bid = Bid::create(&intent, &key, station, PriceTick(30_000), rng).unwrap();
//! let bids = [bid.verify(&intent, &key, at).unwrap()];
//!
//! let release = Release::create(&shares, &key, &intent, &bids, rng).unwrap();
//! let release = release.verify(&key, &intent, &bids).unwrap();
//! let opening = Opening::combine(&key, &intent, &bids, &[release]).unwrap();
//!
//! let best = Offer::open(&intent, &secret, &bids, &opening).unwrap()[0];
//! let winner_reads = SealSecret::from_seed(&[7; 32]);
//! let award = Award::new(b"bay 3", rng).unwrap().seal(&intent, station, &winner_reads.public(), rng).unwrap();
//! let outcome = Outcome::create(&key, &intent, &secret, &bids, &opening, Some((&best, award)), rng).unwrap();
//!
//! let price = Price::from_micro_per_kwh(390_000);
//! let won = Verdict::Won { bid: 0, station, price, proven_best: true };
//! assert_eq!(outcome.verify(&key, &intent, &bids, &opening), Ok(won));
//! ```
//!
//! What every proof states and hashes, who learns what, what nobody can prove, and where a reviewer should look
//! first: [`protocol`]. Two rules are options of the intent, off by default: the second score is paid
//! ([`intent::Pricing`]), and detours count by road ([`intent::Choice`]). Without infrastructure, car to car, the
//! same proofs run over other messages: [`v2v`].
//!
//! # Left to others
//!
//! The ledger: who may send what, deposits and admission, one bid for a station, filters, renewable certificates, a
//! `pk` that is new, time, who failed and what it costs. A key is not handed over to other validators: its holders keep
//! their shares until its last auction is open.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

pub mod award;
pub mod bid;
pub mod group;
pub mod intent;
pub mod key;
pub mod outcome;
pub mod protocol;
pub mod release;
pub mod role;
pub mod score;
pub mod seal;
pub mod strategy;
pub mod v2v;

mod wire;

#[cfg(test)]
mod testing;

/// The most bids an auction takes: bounds every release and outcome, and what a replica works for one auction.
pub const BIDS_MAX: usize = 256;
