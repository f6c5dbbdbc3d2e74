//! Everything stored, verified again: who votes first, then headers, because all else hangs on them.

use super::{OnDamage, epochs, rows};
use crate::{Damage, Part, ReplicaError, Store};
use ohmesh_units::{AccountId, Hash};
use rusqlite::Connection;

/// Verifies every row, and drops the ones that do not hold if told to.
pub(super) fn audit(
    sql: &Connection,
    store: &Store,
    on_damage: OnDamage,
) -> Result<Vec<Damage>, ReplicaError> {
    let mut audit = Audit { sql, is_dropping: on_damage == OnDamage::Drop, damages: Vec::new() };
    audit.epochs(store)?;
    audit.headers(store)?;
    audit.proofs(store)?;
    audit.forks(store)?;
    if audit.is_dropping {
        rows::trim_headers(sql)?;
    }
    Ok(audit.damages)
}

struct Audit<'a> {
    sql: &'a Connection,
    is_dropping: bool,
    damages: Vec<Damage>,
}

impl Audit<'_> {
    fn epochs(&mut self, store: &Store) -> Result<(), ReplicaError> {
        for number in self.column::<i64>("SELECT number FROM epochs ORDER BY number")? {
            let result = epochs::check(self.sql, store, number);
            if self.is_damaged(result)? {
                self.sql.execute("DELETE FROM epochs WHERE number = ?1", [number])?;
            }
        }
        Ok(())
    }

    fn headers(&mut self, store: &Store) -> Result<(), ReplicaError> {
        for key in self.column::<i64>("SELECT height FROM headers ORDER BY height")? {
            let result = rows::height_of(key)
                .map_err(ReplicaError::from)
                .and_then(|height| rows::certified(self.sql, store, height).map(drop));
            if self.is_damaged(result)? {
                self.sql.execute("DELETE FROM headers WHERE height = ?1", [key])?;
            }
        }
        Ok(())
    }

    fn proofs(&mut self, store: &Store) -> Result<(), ReplicaError> {
        let mut select = self.sql.prepare("SELECT DISTINCT view, id FROM proofs ORDER BY view, id")?;
        let keys = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let keys: Vec<(i64, Vec<u8>)> = keys.collect::<Result<_, _>>()?;
        for (view, id) in keys {
            let result = match (view, <[u8; 32]>::try_from(&id[..])) {
                (rows::ACCOUNT, Ok(id)) => rows::account(self.sql, store, &AccountId(id)).map(drop),
                (rows::OBJECT, Ok(id)) => rows::object(self.sql, store, &Hash(id)).map(drop),
                _ => Err(Damage::new(Part::Row { table: "proofs" }, "its view or id is unknown").into()),
            };
            if self.is_damaged(result)? {
                self.sql.execute("DELETE FROM proofs WHERE view = ?1 AND id = ?2", (view, id))?;
            }
        }
        Ok(())
    }

    fn forks(&mut self, store: &Store) -> Result<(), ReplicaError> {
        let mut select =
            self.sql.prepare("SELECT rowid, one, one_certificate, other, other_certificate FROM forks")?;
        let forks = select
            .query_map([], |row| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?])))?;
        let forks: Vec<(i64, [Vec<u8>; 4])> = forks.collect::<Result<_, _>>()?;
        for (key, cells) in forks {
            let result = rows::fork_of(self.sql, store, &cells).map(drop);
            if self.is_damaged(result)? {
                self.sql.execute("DELETE FROM forks WHERE rowid = ?1", [key])?;
            }
        }
        Ok(())
    }

    /// Notes damage, and says whether the row is to be dropped; any other error ends the audit.
    fn is_damaged(&mut self, result: Result<(), ReplicaError>) -> Result<bool, ReplicaError> {
        match result {
            Ok(()) => Ok(false),
            Err(ReplicaError::Damaged(damage)) => {
                self.damages.push(damage);
                Ok(self.is_dropping)
            }
            Err(other) => Err(other),
        }
    }

    fn column<T: rusqlite::types::FromSql>(&self, select: &str) -> Result<Vec<T>, ReplicaError> {
        let mut select = self.sql.prepare(select)?;
        let values = select.query_map([], |row| row.get(0))?;
        Ok(values.collect::<Result<_, _>>()?)
    }
}
