//! A reverse auction for energy in which losing bids stay sealed for good.
//!
//! What it is: the five messages of a sale (intent, bid, release, outcome, accept), the proofs inside them, the
//! committee's key they hang on, the three roles as state machines, and sellers' strategies.
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
//! # Notation
//!
//! Everything is in ristretto255 (RFC 9496). `G` is the standard base; `A` ([`group::base_a`]) a hash to the group. The
//! committee shares `t`; `T_j = t_j*G`, `A_j = t_j*A`, and `H = t*A` is the base of blindings ([`key`]). The buyer's
//! key is `b`, `pk = b^-1*A`. A bid of `v` ticks is `C = v*G + r*H`, `D = r*pk`. The committee answers
//! `W = t*D = r*t*b^-1*A`, so `b*W = r*H` and `C - b*W = v*G`, 16 bits of which the buyer finds. Since nobody knows
//! `log_G A`, nobody knows `log_G H`, a quorum included: commitments bind everybody.
//!
//! With energy `e`, weight `k`, station `i` at `(a_i, c_i)` and the buyer at `(x, y)`, the score is
//! `s_i = e*v_i + k*((x - a_i)^2 + (y - c_i)^2)`; [`score`] shows why nothing wraps. The intent commits `X`, `Y` to `x`,
//! `y`, `Q` to `q = x^2 + y^2` and `M` to the reserve `m`. As `k*(q - 2*a_i*x - 2*c_i*y + a_i^2 + c_i^2)` is linear,
//! anybody computes the commitment to any station's detour, `K_i = k*(Q - 2*a_i*X - 2*c_i*Y + (a_i^2 + c_i^2)*G)`; the
//! buyer cannot move after it has seen the bids.
//!
//! # Statements
//!
//! Linear proofs ([`group::LinearProof`]) are 32 bytes of challenge and 32 for each secret. Range proofs
//! ([`group::RangeProof`]) are Bulletproofs+ over the same transcript, continued after the linear proof.
//!
//! | proof | prover knows | such that | ranges |
//! |---|---|---|---|
//! | blinding share | `t_j` | `T_j = t_j*G`, `A_j = t_j*A` | |
//! | deal (FROST) | `a_0` | first coefficient `= a_0*G` | |
//! | intent | `b, x, r_x, y, r_y, z` | `A = b*pk`, `X = x*G + r_x*H`, `Y = y*G + r_y*H`, `Q = x*X + y*Y + z*H` | X, Y: 8 bits; M: 32 bits |
//! | bid | `v, r` | `C = v*G + r*H`, `D = r*pk` | C: 16 bits |
//! | release, each share | `t_j` | `T_j = t_j*G`, `sum p^i*W_ij = t_j * sum p^i*D_i` | |
//! | outcome | `b, z` | `A = b*pk`, `L = b*B + z*H`, and if somebody won `C_w - v_w*G = b*W_w` | each `V_n`: 32 bits |
//!
//! `p` is a challenge drawn when all that it multiplies is in the transcript; its powers start at 1. In an outcome each
//! `V_n` commits to a difference that must not be negative:
//!
//! | decision | differences, in order |
//! |---|---|
//! | best | `s_i - s_w` for each other bid in ledger order, one less where `i < w`; then `m - s_w` |
//! | own choice | none |
//! | no eligible bid | `s_i - m - 1` for each bid |
//!
//! and `L = sum p^n*(difference n over e*C_i + K_i, M, G, minus V_n)`, `B = sum p^n*(the same over e*W_i)`. If one
//! `V_n` hid anything else, `L - b*B` would have a part along `G` for all but few `p`.
//!
//! # Transcripts
//!
//! Merlin, `ohmesh/auction/1`, then these messages (label: content), integers as Merlin's `u64` unless said otherwise:
//!
//! - all but the blinding share: `proof`: kind; `zone`: 32 bytes; `epoch`; `H`: 32 bytes; `buyer`: its signing key;
//!   `auction`: its id; `prover`: the last column below.
//! - blinding share: `proof`, `zone`, `epoch`, `share`, `T`, `A` (`H` does not exist yet).
//!
//! | kind | then | prover |
//! |---|---|---|
//! | `intent` | nothing: in place of the id stands the hash of terms and commitments | the buyer's key |
//! | `bid` | `C`, `D` | the station |
//! | `release` | `T`, `bids`: their number, for each `D`, `W`; challenge `rho` | validator (2 bytes, big-endian) and share (1 byte) |
//! | `outcome` | `decision`: postcard, award included; `bids`, for each `station`, `x`, `y` (4 bytes, big-endian), `C`, `D`, `W`; `differences`, for each `V`; challenge `rho` | the buyer's key |
//!
//! A linear proof appends `announcement` for each relation in the order of the table and draws `challenge`. A chunk of
//! range proofs continues a copy with `range bits` and `range chunk` (from 0). The deal's proof is that of the
//! key generation library, hashed by its rule (share and points, not the zone); what binds it is the ledger's
//! transaction and the dealer's need to know the polynomial for its handout.
//!
//! # Left to others
//!
//! The ledger: who may send what, deposits and admission, one bid for a station, filters, renewable certificates, a `pk`
//! that is new, time. Not built here yet: second-score pricing, the hand-over of a key to another set of validators,
//! another outcome without a winner that did not show up, and the proof that an award cannot be decrypted; the enums
//! they extend say that variants are only appended.
//!
//! Not hidden: the buyer sees all prices after release and could publish them; every losing bidder learns an inequality
//! about the position. Not provable: that the position is true; that bidders did not collude. Bids that are recorded
//! today open to whoever breaks the group tomorrow, with a quantum computer too. The composition of the parts has no
//! published security proof.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

pub mod award;
pub mod bid;
pub mod group;
pub mod intent;
pub mod key;
pub mod outcome;
pub mod release;
pub mod role;
pub mod score;
pub mod seal;
pub mod strategy;

#[cfg(test)]
mod testing;

/// The most bids an auction takes: bounds every release and outcome, and what a replica works for one auction.
pub const BIDS_MAX: usize = 256;
