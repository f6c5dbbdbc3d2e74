//! What a driver keeps of a sale.

use crate::{Bill, State, StopReason, Terms};
use ohmesh_units::{AccountId, AuctionId, Canonical, ContractId, Energy, EvseId, Price, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};

/// The end of one sale, as the buyer or the seller keeps it; the amounts are those that the ledger posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The zone whose ledger settled.
    pub zone: ZoneId,
    /// The contract.
    pub contract: ContractId,
    /// The auction that led to it.
    pub auction: AuctionId,
    /// The account that paid.
    pub buyer: AccountId,
    /// The account that was paid.
    pub seller: AccountId,
    /// The outlet.
    pub evse: EvseId,
    /// How it ended: Settled, Expired or Void.
    pub end: State,
    /// Why charging stopped, if this side knows.
    pub stop: Option<StopReason>,
    /// Price of a kWh, grid tariff included.
    pub price: Price,
    /// The grid tariff's number.
    pub tariff_version: u32,
    /// The amounts: what was paid, the distributor's part of it, what came back.
    pub bill: Bill,
    /// The most energy that this side has signed or seen signed by the registered meter.
    pub energy_metered: Energy,
    /// When the start was signed, if there was one.
    pub started: Option<Timestamp>,
    /// When this side learned of the end.
    pub ended: Timestamp,
}

impl Receipt {
    /// Whether more energy was billed than this side's copy of the meter's records shows: worth a dispute.
    pub fn is_overbilled(&self) -> bool {
        self.bill.energy > self.energy_metered
    }

    pub(crate) fn new(terms: &Terms, end: State, bill: Bill, ended: Timestamp) -> Self {
        Self {
            zone: terms.zone,
            contract: terms.id(),
            auction: terms.auction,
            buyer: terms.buyer,
            seller: terms.seller,
            evse: terms.evse,
            end,
            stop: None,
            price: terms.price,
            tariff_version: terms.grid.version,
            bill,
            energy_metered: Energy::ZERO,
            started: None,
            ended,
        }
    }
}

impl Canonical for Receipt {
    const NAME: &'static str = "contract receipt";
    const MAX_BYTES: usize = 1 + 6 * 32 + 1 + 2 + 10 + 5 + Bill::MAX_BYTES + 10 + 11 + 10;
}
