//! What a block sold, for whoever is to be told: the audit's exports, and an operator's books. Never under a root: every
//! replica that executes the blocks gets the same.

use ohmesh_units::{AccountId, Energy, EvseId, Hash, Money, StationId, Timestamp};

/// One sale whose legs a block has posted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaleRecord {
    /// The contract or the hold that it was paid from.
    pub id: Hash,
    /// The outlet.
    pub evse: EvseId,
    /// Its station.
    pub station: StationId,
    /// The circuit that feeds the station, as the distributor had it when the block was made.
    pub circuit: Option<u32>,
    /// Who sold.
    pub seller: AccountId,
    /// How much; at least 1 Wh.
    pub energy: Energy,
    /// What the buyer paid for all of it.
    pub price: Money,
    /// The grid fee of all of it; the distributor itself pays none.
    pub grid: Money,
    /// When the energy began to flow, by the buyer's start; none for a hold.
    pub started: Option<Timestamp>,
    /// The time of the block.
    pub at: Timestamp,
}
