//! Ids: 256-bit hashes with a type, so that a station's id cannot be passed for an auction's.

use crate::{Domain, Hash, PublicKey, hex::hex_newtype};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);
        hex_newtype!($name, 32);

        impl From<Hash> for $name {
            fn from(hash: Hash) -> Self {
                Self(hash.0)
            }
        }

        impl From<$name> for Hash {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }
    };
}

id!(
    /// A zone: the hash of its sealed zone file's body.
    ZoneId
);
id!(
    /// An account: the hash of the key that opened it.
    AccountId
);
id!(
    /// A charging station: the hash of its owner and of the number the owner gave it.
    StationId
);
id!(
    /// One outlet that can serve one car: the hash of its station and its number there.
    EvseId
);
id!(
    /// An auction: the hash of the whole intent.
    AuctionId
);
id!(
    /// A contract: the hash of its agreed terms.
    ContractId
);
id!(
    /// A block: the hash of its header.
    BlockId
);

impl AccountId {
    /// The account of `owner`. One key opens one account.
    pub fn of(owner: &PublicKey) -> Self {
        const ACCOUNT: Domain = Domain::new("ohmesh/1 account");
        ACCOUNT.hash(&[&owner.to_bytes()]).into()
    }
}

impl StationId {
    /// The station that `owner` registers under `number`.
    pub fn of(owner: &AccountId, number: u32) -> Self {
        const STATION: Domain = Domain::new("ohmesh/1 station");
        STATION.hash(&[&owner.0, &number.to_be_bytes()]).into()
    }
}

impl EvseId {
    /// The outlet `number` of `station`.
    pub fn of(station: &StationId, number: u16) -> Self {
        const EVSE: Domain = Domain::new("ohmesh/1 evse");
        EVSE.hash(&[&station.0, &number.to_be_bytes()]).into()
    }
}

/// A transaction: who sent it, and a number that the sender never uses twice while the first may still apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TransactionId {
    /// The account that sends and answers for the transaction.
    pub sender: AccountId,
    /// The sender's own 128-bit number, usually random.
    pub number: u128,
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{:032x}", self.sender, self.number)
    }
}
