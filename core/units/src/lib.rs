//! The words every other crate speaks: money, energy, power, price, time, place, keys, ids, canonical bytes.
//!
//! What it is: newtypes over integers, so that a price cannot be added to an energy; one rounding rule; one
//! signature rule; one hash with a domain for each use; one encoding.
//!
//! What it never does: I/O. It holds no clock, no random source, no float in anything that is signed, hashed or
//! executed. A secret key is zeroised when dropped and prints as `SigningKey(..)`.
//!
//! How data moves:
//!
//! ```text
//!   outside bytes --Canonical::decode--> value   (version byte, then postcard; must re-encode to the same bytes)
//!   value --Canonical::encode--> bytes --Domain::hash--> Hash (ids)     --SigningKey::sign--> Signature
//!   Price x Energy --round_half_away--> Money                           --verify_batch------> yes | no
//! ```
//!
//! Arithmetic that can overflow answers `Option`: nothing wraps, nothing saturates.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

mod canonical;
mod energy;
mod hash;
mod hex;
mod id;
mod key;
mod money;
mod place;
mod time;

pub use canonical::{Canonical, DecodeError, Reader, append_postcard, from_postcard, to_postcard};
pub use energy::{Energy, Power};
pub use hash::{Domain, Hash, Hasher};
pub use hex::{HexError, from_hex, to_hex};
pub use id::{AccountId, AuctionId, BlockId, ContractId, EvseId, StationId, TransactionId, ZoneId};
pub use key::{KeyError, PublicKey, Signature, SignatureCheck, SigningKey, verify_batch};
pub use money::{Currency, CurrencyError, Money, Price, PriceTick, TickSize, round_half_away};
pub use place::{Area, AreaError, Frame, InCell, Position, PositionError};
pub use time::Timestamp;
