//! What a seller brings into a session: the sale it won, and its keys.

use crate::{GridTariff, Refused, Terms};
use ohmesh_units::{AccountId, AuctionId, Energy, EvseId, Power, Price, PublicKey, SigningKey, ZoneId};

/// What the seller won in the auction and is ready to sign; a draft may ask for less energy, and for nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The zone.
    pub zone: ZoneId,
    /// The auction.
    pub auction: AuctionId,
    /// The buyer's one-time key, from the intent.
    pub buyer_key: PublicKey,
    /// The account that is paid.
    pub seller: AccountId,
    /// The outlet.
    pub evse: EvseId,
    /// The price of the award.
    pub price: Price,
    /// The energy of the award.
    pub energy_max: Energy,
    /// The registered rated power of the outlet.
    pub power_rated: Power,
    /// The tariff in force.
    pub grid: GridTariff,
}

impl Sale {
    /// Refuses a draft that is not this sale, naming the first field that differs.
    pub(super) fn matches(&self, keys: &SellerKeys, draft: &Terms) -> Result<(), Refused> {
        let fields = [
            ("zone", draft.zone == self.zone),
            ("auction", draft.auction == self.auction),
            ("buyer's key", draft.buyer_key == self.buyer_key),
            ("seller", draft.seller == self.seller),
            ("seller's key", draft.seller_key == keys.seller.public()),
            ("EVSE", draft.evse == self.evse),
            ("meter key", draft.meter_key == keys.meter.public()),
            ("price", draft.price == self.price),
            ("energy", draft.energy_max <= self.energy_max),
            ("rated power", draft.power_rated == self.power_rated),
            ("grid tariff", draft.grid == self.grid),
        ];
        match fields.into_iter().find(|(_, is_same)| !is_same) {
            Some((field, _)) => Err(Refused::AnotherDeal { auction: self.auction, field }),
            None => Ok(()),
        }
    }
}

/// The two keys a seller signs with. Zeroised when dropped.
#[derive(Clone, Debug)]
pub struct SellerKeys {
    /// Signs the offer and the release.
    pub seller: SigningKey,
    /// The outlet's registered meter key.
    pub meter: SigningKey,
}
