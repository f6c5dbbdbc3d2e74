//! The table of purchases. An open one holds secrets; an ended one only how it ended.

use super::{BuyError, trade::Saved};
use crate::{Damage, Part, Store, StoreError};
use ohmesh_units::{Canonical, Hash};
use zeroize::Zeroizing;

/// Purchases that may be open at a time: a car, and a few that its driver gave up on.
pub(crate) const OPEN_MAX: usize = 16;
/// Ended purchases kept at most; past it the oldest is forgotten.
pub(crate) const ENDED_MAX: usize = 256;

/// Makes a purchase durable. One that has ended has no secrets left, and never opens again.
pub(crate) fn save(store: &Store, saved: &Saved) -> Result<(), BuyError> {
    let bytes = Zeroizing::new(saved.encode());
    let is_open = saved.is_open();
    let auction = saved.id();
    store.write(|sql| {
        let open: i64 = sql
            .query_row(
                "SELECT count(*) FROM purchases WHERE is_open AND auction <> ?1",
                [&auction.0[..]],
                |row| row.get(0),
            )
            .map_err(StoreError::from)?;
        if is_open && usize::try_from(open).is_ok_and(|open| open >= OPEN_MAX) {
            return Err(BuyError::TooManyOpen(OPEN_MAX));
        }
        sql.execute(
            "INSERT INTO purchases (auction, purchase, is_open) VALUES (?1, ?2, ?3)
             ON CONFLICT (auction) DO UPDATE SET purchase = ?2, is_open = ?3",
            (&auction.0[..], &bytes[..], is_open),
        )
        .map_err(StoreError::from)?;
        sql.execute(
            "DELETE FROM purchases WHERE sequence IN
             (SELECT sequence FROM purchases WHERE NOT is_open ORDER BY sequence DESC LIMIT -1 OFFSET ?1)",
            [i64::try_from(ENDED_MAX).unwrap_or(i64::MAX)],
        )
        .map_err(StoreError::from)?;
        Ok(())
    })
}

/// The purchases that are open, oldest first, or those that have ended, newest first.
pub(crate) fn list(store: &Store, is_open: bool) -> Result<Vec<Saved>, BuyError> {
    stored(store, is_open)?.into_iter().map(|bytes| parse(Zeroizing::new(bytes))).collect()
}

fn stored(store: &Store, is_open: bool) -> Result<Vec<Vec<u8>>, StoreError> {
    let select = if is_open {
        "SELECT purchase FROM purchases WHERE is_open ORDER BY sequence"
    } else {
        "SELECT purchase FROM purchases WHERE NOT is_open ORDER BY sequence DESC"
    };
    store.read(|sql| {
        let mut select = sql.prepare_cached(select)?;
        let rows = select.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<Vec<Vec<u8>>, _>>()?)
    })
}

/// What open purchases wait for on the ledger: the contract of each, and its outlet. A purchase that cannot be read is
/// named when it is to go on.
pub(crate) fn followed(store: &Store) -> Result<Vec<Hash>, StoreError> {
    let follows = |bytes: Vec<u8>| parse(Zeroizing::new(bytes)).ok()?.follows();
    Ok(stored(store, true)?.into_iter().filter_map(follows).flatten().collect())
}

fn parse(bytes: Zeroizing<Vec<u8>>) -> Result<Saved, BuyError> {
    Saved::decode(&bytes).map_err(|error| Damage::new(Part::Row { table: "purchases" }, error).into())
}

impl From<StoreError> for BuyError {
    fn from(error: StoreError) -> Self {
        Self::Node(error.into())
    }
}
