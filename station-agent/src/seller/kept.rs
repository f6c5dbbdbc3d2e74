//! What of a seller survives a restart.

use super::{Seller, outbox::Outgoing, sale::Kept};
use ohmesh_contract::SellerSnapshot;
use ohmesh_units::{AccountId, AuctionId, Canonical, EvseId, PriceTick, StationId, ZoneId};
use serde::{Deserialize, Serialize};

/// All that is durable. Never shown: it holds the prices of open bids.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Snapshot {
    pub(super) zone: ZoneId,
    pub(super) account: AccountId,
    /// The newest block whose every consequence is in here.
    pub(super) height: u64,
    pub(super) bids: Vec<KeptBid>,
    pub(super) sales: Vec<KeptSale>,
    pub(super) outbox: Vec<Outgoing>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptBid {
    pub(super) auction: AuctionId,
    pub(super) station: StationId,
    pub(super) evse: EvseId,
    pub(super) price: PriceTick,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptSale {
    kept: Kept,
    session: Option<SellerSnapshot>,
}

impl std::ops::Deref for KeptSale {
    type Target = Kept;

    fn deref(&self) -> &Kept {
        &self.kept
    }
}

impl KeptSale {
    pub(super) fn split(self) -> (Kept, Option<SellerSnapshot>) {
        (self.kept, self.session)
    }
}

impl Canonical for Snapshot {
    const NAME: &'static str = "seller's snapshot";
    /// 8 bids an outlet with their transactions, 1,024 sales with session and settlement: a few kB each.
    const MAX_BYTES: usize = 32 << 20;
}

impl Seller {
    pub(super) fn snapshot(&self) -> Snapshot {
        let bid = |(&(auction, station), &evse): (&(AuctionId, StationId), &EvseId)| {
            let price = self.desks.get(&station)?.bidder.price_of(&auction)?;
            Some(KeptBid { auction, station, evse, price })
        };
        Snapshot {
            zone: self.zone,
            account: self.account,
            height: self.height,
            bids: self.bids.iter().filter_map(bid).collect(),
            sales: self
                .sales
                .values()
                .map(|sale| KeptSale {
                    kept: sale.kept.clone(),
                    session: sale.session.as_ref().map(|session| session.snapshot().clone()),
                })
                .collect(),
            outbox: self.outbox.clone(),
        }
    }
}
