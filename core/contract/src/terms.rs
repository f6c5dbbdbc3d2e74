//! What the two sides agree on.

use crate::TermsError;
use ohmesh_units::{
    AccountId, AuctionId, Canonical, ContractId, Domain, Energy, EvseId, Money, Power, Price, PublicKey,
    Timestamp, ZoneId,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The terms of one sale at one outlet. Their hash is the contract's id.
///
/// The ledger checks beside what [`crate::Offer::verify`] checks: that the keys may act for their accounts, that the
/// outlet, its meter key and rated power are registered to the seller, that the tariff version holds, and that the
/// auction awarded this sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The zone whose ledger settles.
    pub zone: ZoneId,
    /// The auction that the seller won.
    pub auction: AuctionId,
    /// The account that pays.
    pub buyer: AccountId,
    /// The buyer's one-time key, which signs the agreement, the start and the checkpoints.
    pub buyer_key: PublicKey,
    /// The account that is paid.
    pub seller: AccountId,
    /// The seller's key, which signs the offer and the release.
    pub seller_key: PublicKey,
    /// The outlet.
    pub evse: EvseId,
    /// The outlet's registered meter key, which signs the records.
    pub meter_key: PublicKey,
    /// Price of a kWh, grid tariff included. Zero or more: see [`TermsError::NegativePrice`].
    pub price: Price,
    /// The most energy that is sold.
    pub energy_max: Energy,
    /// Registered rated power of the outlet: bounds what can be billed without a checkpoint.
    pub power_rated: Power,
    /// The grid tariff that the seller pays to the distributor out of the proceeds.
    pub grid: GridTariff,
    /// What the buyer locks: at least `price` times `energy_max`.
    pub escrow: Money,
    /// First moment at which charging may start.
    pub not_before: Timestamp,
    /// Moment from which an unsettled escrow goes back to the buyer.
    pub expiry: Timestamp,
    /// The buyer's own number, so that two equal sales are two contracts.
    pub number: u128,
}

/// The distributor's tariff as it stood when the contract was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GridTariff {
    /// The ledger's number of this tariff.
    pub version: u32,
    /// Grid fee of a kWh; zero or more.
    pub price: Price,
}

impl Terms {
    /// The contract's id: the hash of the terms, signatures excluded.
    pub fn id(&self) -> ContractId {
        const CONTRACT: Domain = Domain::new("ohmesh/1 contract");
        CONTRACT.hash(&[&self.encode()]).into()
    }

    /// The last moment (excluded) at which energy may flow: [`SETTLE_MARGIN`] before the expiry, so that the seller
    /// can still bring its record to the ledger.
    pub fn charge_until(&self) -> Timestamp {
        let margin =
            u64::try_from(SETTLE_MARGIN.as_millis()).expect("15 minutes fit 64 bits of milliseconds");
        Timestamp::from_millis(self.expiry.as_millis().saturating_sub(margin))
    }

    /// Whether these terms can be a contract.
    pub fn check(&self) -> Result<(), TermsError> {
        for (role, key) in [("buyer", self.buyer_key), ("seller", self.seller_key), ("meter", self.meter_key)]
        {
            key.is_registrable().map_err(|error| TermsError::Key { role, error })?;
        }
        if self.buyer == self.seller {
            return Err(TermsError::SameAccount(self.buyer));
        }
        if self.buyer_key == self.seller_key || self.buyer_key == self.meter_key {
            return Err(TermsError::SameKey(self.buyer_key));
        }
        if self.energy_max == Energy::ZERO {
            return Err(TermsError::NoEnergy);
        }
        if self.power_rated.as_w() == 0 {
            return Err(TermsError::NoPower);
        }
        self.check_prices()?;
        let needed = self.cost(self.price, self.energy_max)?;
        if self.escrow < needed {
            return Err(TermsError::EscrowTooSmall { needed, found: self.escrow });
        }
        match self.expiry.since(self.not_before) {
            Some(duration) if duration > SETTLE_MARGIN && duration <= DURATION_MAX => Ok(()),
            _ => Err(TermsError::Duration { not_before: self.not_before, expiry: self.expiry }),
        }
    }

    /// Whether the price and the tariff are ones that the escrow can secure.
    pub(crate) fn check_prices(&self) -> Result<(), TermsError> {
        if self.price < Price::default() {
            return Err(TermsError::NegativePrice(self.price));
        }
        if self.grid.price < Price::default() {
            return Err(TermsError::NegativeTariff(self.grid.price));
        }
        if self.price < self.grid.price {
            return Err(TermsError::PriceBelowTariff { price: self.price, tariff: self.grid.price });
        }
        Ok(())
    }

    /// What `energy` costs at `price`, rounded once.
    pub(crate) fn cost(&self, price: Price, energy: Energy) -> Result<Money, TermsError> {
        price.times(energy).ok_or(TermsError::Overflow { price, energy })
    }
}

impl Canonical for Terms {
    const NAME: &'static str = "contract terms";
    const MAX_BYTES: usize = 352;
}

/// How long before the expiry charging stops, for the settlement to reach the ledger.
pub const SETTLE_MARGIN: Duration = Duration::from_secs(15 * 60);

/// The longest a contract may last, so that a lost phone's escrow is free again after three days.
pub const DURATION_MAX: Duration = Duration::from_secs(72 * 3600);
