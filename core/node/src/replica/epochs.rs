//! The epochs whose voters this node trusts: from its anchor on, each led to by a hand-over that the one before has
//! certified.
//!
//! One row an epoch. Kept are the newest [`EPOCHS_KEPT`], so that a history that branches off within them is seen to be a
//! fork, and those by whose voters a header that is still here, or in the evidence of a fork, was certified.

use super::rows;
use crate::{Damage, Part, ReplicaError, Store};
use ohmesh_ledger::{Anchor, HandOver, Header, Voters};
use ohmesh_units::Canonical;
use rusqlite::{Connection, OptionalExtension};

/// The newest epoch that is trusted; the zone's first before there is another.
pub(super) fn newest(sql: &Connection, store: &Store) -> Result<Anchor, ReplicaError> {
    let number: Option<i64> =
        sql.prepare_cached("SELECT max(number) FROM epochs")?.query_row([], |row| row.get(0))?;
    match number {
        Some(number) => Ok(row(sql, store, number)?.ok_or_else(|| damage(number, "it is gone"))?.0),
        None => Ok(Anchor::genesis(store.zone())),
    }
}

/// The anchor in `epoch`, if that is trusted.
pub(super) fn at(sql: &Connection, store: &Store, epoch: u64) -> Result<Option<Anchor>, ReplicaError> {
    let Ok(number) = i64::try_from(epoch) else { return Ok(None) };
    if let Some((anchor, _)) = row(sql, store, number)? {
        return Ok(Some(anchor));
    }
    let is_first = newest(sql, store)?.epoch == epoch;
    Ok(is_first.then(|| Anchor::genesis(store.zone())))
}

/// Who votes on headers of this one's epoch.
pub(super) fn voters(sql: &Connection, store: &Store, header: &Header) -> Result<Voters, ReplicaError> {
    match at(sql, store, header.epoch)? {
        Some(anchor) => Ok(anchor.voters),
        None => Err(ReplicaError::Epoch { have: newest(sql, store)?.epoch, offered: header.epoch }),
    }
}

/// The hand-over by which `epoch` began, if it is here.
pub(super) fn hand_over(
    sql: &Connection,
    store: &Store,
    epoch: u64,
) -> Result<Option<HandOver>, ReplicaError> {
    let Ok(number) = i64::try_from(epoch) else { return Ok(None) };
    Ok(row(sql, store, number)?.and_then(|(_, hand_over)| hand_over))
}

/// Checks one row by itself and by the one before it, if that is here.
pub(super) fn check(sql: &Connection, store: &Store, number: i64) -> Result<(), ReplicaError> {
    let Some((anchor, hand_over)) = row(sql, store, number)? else { return Ok(()) };
    let before = match anchor.epoch.checked_sub(1) {
        Some(epoch) => at(sql, store, epoch)?,
        None if anchor.voters != *store.zone().validators.voters() => {
            return Err(damage(number, "they are not the zone file's").into());
        }
        None => None,
    };
    let Some(hand_over) = hand_over else { return Ok(()) };
    let Some(before) = before else { return Ok(()) };
    match before.follow(&hand_over) {
        Ok(next) if next == anchor => Ok(()),
        Ok(_) => Err(damage(number, "its hand-over names others").into()),
        Err(error) => Err(damage(number, error).into()),
    }
}

/// Writes down where a zone began, before what follows replaces it.
pub(super) fn insert_first(sql: &Connection, store: &Store) -> Result<(), ReplicaError> {
    let rows: i64 = sql.query_row("SELECT count(*) FROM epochs", [], |row| row.get(0))?;
    if rows == 0 { insert(sql, &Anchor::genesis(store.zone()), None) } else { Ok(()) }
}

/// Keeps an epoch, and the hand-over to it unless it is where trust begins.
pub(super) fn insert(
    sql: &Connection,
    anchor: &Anchor,
    hand_over: Option<&HandOver>,
) -> Result<(), ReplicaError> {
    sql.prepare_cached(
        "INSERT OR REPLACE INTO epochs (number, height, anchor, hand_over) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute((
        rows::key_of(anchor.epoch)?,
        rows::key_of(anchor.height)?,
        anchor.encode(),
        hand_over.map(Canonical::encode),
    ))?;
    Ok(())
}

/// Lets go of epochs that are long past, unless a header of theirs is here or in the evidence of a fork.
pub(super) fn trim(sql: &Connection) -> Result<(), ReplicaError> {
    let mut select = sql.prepare_cached(
        "SELECT number FROM epochs WHERE number <= (SELECT max(number) FROM epochs) - ?1
         AND NOT EXISTS (SELECT 1 FROM headers WHERE headers.height >= epochs.height AND headers.height <=
             (SELECT min(later.height) FROM epochs AS later WHERE later.number > epochs.number))",
    )?;
    let past = select.query_map([EPOCHS_KEPT], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    if past.is_empty() {
        return Ok(());
    }
    let evidence = rows::epochs_of_forks(sql)?;
    for number in past.into_iter().filter(|number| !evidence.contains(number)) {
        sql.prepare_cached("DELETE FROM epochs WHERE number = ?1")?.execute([number])?;
    }
    Ok(())
}

/// The numbers of the epochs here, newest first.
pub(super) fn numbers(sql: &Connection) -> Result<Vec<u64>, ReplicaError> {
    let mut select = sql.prepare_cached("SELECT number FROM epochs ORDER BY number DESC")?;
    let numbers = select.query_map([], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(numbers.into_iter().filter_map(|number| u64::try_from(number).ok()).collect())
}

fn row(
    sql: &Connection,
    store: &Store,
    number: i64,
) -> Result<Option<(Anchor, Option<HandOver>)>, ReplicaError> {
    let row: Option<(Vec<u8>, Option<Vec<u8>>)> = sql
        .prepare_cached("SELECT anchor, hand_over FROM epochs WHERE number = ?1")?
        .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((anchor, hand_over)) = row else { return Ok(None) };
    let anchor = Anchor::decode(&anchor).map_err(|e| damage(number, e))?;
    if u64::try_from(number) != Ok(anchor.epoch) || anchor.zone != *store.zone_id() {
        return Err(damage(number, "it is of another epoch or zone").into());
    }
    let hand_over = hand_over.map(|bytes| HandOver::decode(&bytes)).transpose();
    Ok(Some((anchor, hand_over.map_err(|e| damage(number, e))?)))
}

fn damage(number: i64, reason: impl ToString) -> Damage {
    Damage::new(Part::Epoch { number }, reason)
}

/// Epochs whose hand-overs are kept: as many as an anchor may be days old, and a few changes of validators. At most 3 kB
/// each.
const EPOCHS_KEPT: i64 = 32;
