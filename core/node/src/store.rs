//! One SQLite file: how it is opened, what tables it has, and what its errors mean.
//!
//! Cost: a write is one transaction and one fsync, on the caller's thread; a read is one page or a few.

use crate::StoreError;
use ohmesh_ledger::{Zone, ZoneFile};
use ohmesh_units::{Hash, ZoneId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, config::DbConfig};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Where a node keeps what it knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A file of its own, made if it is missing. SQLite keeps a journal beside it (`-wal`).
    File(PathBuf),
    /// Memory: gone when the last handle is.
    Memory,
}

/// An open store, pinned to one zone and held by this process alone. What it holds is reached through a
/// [`Replica`](crate::Replica) and a [`Wallet`](crate::Wallet).
pub struct Store {
    connection: Mutex<Connection>,
    zone: Zone,
    zone_id: ZoneId,
}

impl Store {
    /// Opens the store at `place` for the zone of `zone_file`, or makes it.
    ///
    /// Errors: [`StoreError::Zone`] if the zone file is not whole and signed by every validator,
    /// [`StoreError::OtherZone`] if the store was made for another zone, [`StoreError::NewerSchema`],
    /// [`StoreError::NotOurs`], [`StoreError::Locked`] if another node has it open, and what the disk says.
    pub fn open(place: &Place, zone_file: &ZoneFile) -> Result<Arc<Self>, StoreError> {
        let zone = zone_file.sealed().map_err(StoreError::Zone)?.clone();
        let zone_id = zone.id();
        let mut connection = match place {
            Place::Memory => Connection::open_in_memory()?,
            // No URI flag: a path is a path, whatever it begins with.
            Place::File(path) => Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE
                    | OpenFlags::SQLITE_OPEN_CREATE
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?,
        };
        configure(&connection)?;
        migrate(&mut connection, &zone_id)?;
        Ok(Arc::new(Self { connection: Mutex::new(connection), zone, zone_id }))
    }

    /// The zone this store is pinned to.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The id of that zone.
    pub fn zone_id(&self) -> &ZoneId {
        &self.zone_id
    }

    /// Brings everything into the main file, so that it can be copied without its journal.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        Ok(self.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// Runs `change` as one transaction: all of it is durable when this returns `Ok`, none of it on `Err`.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(StoreError::from)?;
        let result = change(&transaction)?;
        transaction.commit().map_err(StoreError::from)?;
        Ok(result)
    }

    /// Runs `look` on one snapshot.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(StoreError::from)?;
        look(&transaction)
    }

    /// A panic inside a transaction rolls it back while unwinding, so the connection is whole.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("zone", &self.zone_id).finish_non_exhaustive()
    }
}

/// Durable on every commit, alone on the file, and deaf to code that somebody may have put into it.
fn configure(connection: &Connection) -> Result<(), StoreError> {
    // Whoever else has the file open is another node: waiting for it would not help.
    connection.busy_timeout(Duration::ZERO)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // On Apple's systems fsync does not reach the disk; this does. Elsewhere it changes nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // What an ended purchase had to keep secret is overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(())
}

/// Makes the tables in an empty file, or checks that they are ours, of this version and this zone.
fn migrate(connection: &mut Connection, zone: &ZoneId) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i64 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, tables) == (0, 0, 0) {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute_batch(SCHEMA_2)?;
        transaction.execute_batch(SCHEMA_3)?;
        transaction.execute("INSERT INTO zone (one, id) VALUES (1, ?1)", [&zone.0[..]])?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        return Ok(transaction.commit()?);
    }
    if application != APPLICATION || version < 1 {
        return Err(StoreError::NotOurs);
    }
    if version > VERSION {
        return Err(StoreError::NewerSchema { found: version, known: VERSION });
    }
    let found: Option<Vec<u8>> =
        transaction.query_row("SELECT id FROM zone", [], |row| row.get(0)).optional()?;
    let found = found.and_then(|id| id.try_into().ok()).map_or(Hash::ZERO, Hash);
    if found != Hash::from(*zone) {
        return Err(StoreError::OtherZone { store: found.into(), asked: *zone });
    }
    let check: String = transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Err(StoreError::Corrupt { reason: check });
    }
    if version < VERSION {
        if version < 2 {
            transaction.execute_batch(SCHEMA_2)?;
        }
        transaction.execute_batch(SCHEMA_3)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

/// "ohmN": what tells our files from other programs'.
const APPLICATION: i64 = 0x6f68_6d4e;
/// The version of the tables. A change to them is a new version and a step in [`migrate`].
const VERSION: i64 = 3;
/// Values are canonical bytes as they were signed or proven; the other columns only find them and are checked against
/// them. `proofs.view` is 0 for one object alone, 1 for a part of an account whose parts share a header.
const SCHEMA: &str = "
CREATE TABLE zone (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL) STRICT;
CREATE TABLE headers (
    height INTEGER PRIMARY KEY, header BLOB NOT NULL, certificate BLOB NOT NULL
) STRICT;
CREATE TABLE proofs (
    view INTEGER NOT NULL, id BLOB NOT NULL, tree INTEGER NOT NULL, slot INTEGER NOT NULL,
    content BLOB NOT NULL, path BLOB NOT NULL, height INTEGER NOT NULL,
    PRIMARY KEY (view, id, tree)
) STRICT;
CREATE INDEX proofs_by_height ON proofs (height);
CREATE TABLE forks (
    one BLOB NOT NULL, one_certificate BLOB NOT NULL, other BLOB NOT NULL, other_certificate BLOB NOT NULL,
    PRIMARY KEY (one, other)
) STRICT;
CREATE TABLE transactions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, sender BLOB NOT NULL, number BLOB NOT NULL,
    signed BLOB NOT NULL, status BLOB NOT NULL, is_open INTEGER NOT NULL,
    UNIQUE (sender, number)
) STRICT;
";
/// What version 2 adds: purchases, by auction. An open one holds secrets, an ended one none.
const SCHEMA_2: &str = "
CREATE TABLE purchases (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, auction BLOB NOT NULL UNIQUE,
    purchase BLOB NOT NULL, is_open INTEGER NOT NULL
) STRICT;
";
/// What version 3 adds: the epochs whose voters are trusted. The first has no hand-over: it is the anchor.
const SCHEMA_3: &str = "
CREATE TABLE epochs (
    number INTEGER PRIMARY KEY, height INTEGER NOT NULL, anchor BLOB NOT NULL, hand_over BLOB
) STRICT;
";

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_units::Domain;

    /// What is on phones stays readable: a change here needs a new [`VERSION`] and a step in [`migrate`].
    #[test]
    fn the_schema_keeps_its_bytes() {
        let digest = |schema: &str| Domain::new("ohmesh/1 golden").hash(&[schema.as_bytes()]).to_string();
        assert_eq!((VERSION, &digest(SCHEMA)[..16]), (3, "a774cddce00cd314"));
        assert_eq!(&digest(SCHEMA_2)[..16], "2d3852a453354c46");
        assert_eq!(&digest(SCHEMA_3)[..16], "45a031ddf2cc4a3f");
    }

    #[test]
    fn an_older_store_gets_its_new_tables_and_keeps_its_rows() {
        let to_2 = "DROP TABLE epochs; PRAGMA user_version = 2";
        let to_1 = "DROP TABLE epochs; DROP TABLE purchases; PRAGMA user_version = 1";
        for older in [to_1, to_2] {
            let mut connection = connection();
            fill(&mut connection, 3).unwrap();
            connection.execute_batch(older).unwrap();
            for _ in 0..2 {
                migrate(&mut connection, &ZoneId([1; 32])).unwrap();
                let number = |query| connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap();
                assert_eq!(number("SELECT user_version FROM pragma_user_version"), 3);
                assert_eq!(number("SELECT count(*) FROM purchases"), 0);
                assert_eq!((number("SELECT count(*) FROM epochs"), count(&connection)), (0, 3));
            }
        }
    }

    fn connection() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        configure(&connection).unwrap();
        migrate(&mut connection, &ZoneId([1; 32])).unwrap();
        connection
    }

    fn fill(connection: &mut Connection, rows: i64) -> Result<(), StoreError> {
        let transaction = connection.transaction()?;
        for height in 0..rows {
            let row =
                "INSERT INTO headers (height, header, certificate) VALUES (?1, zeroblob(400), zeroblob(900))";
            transaction.execute(row, [height])?;
        }
        Ok(transaction.commit()?)
    }

    fn count(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM headers", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_full_disk_is_named_and_loses_nothing() {
        let mut connection = connection();
        fill(&mut connection, 5).unwrap();
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        connection.execute("DELETE FROM headers WHERE height = 0", []).unwrap();
        connection.execute("UPDATE headers SET height = height + 1000", []).unwrap();
        assert_eq!(fill(&mut connection, 500), Err(StoreError::DiskFull));
        assert_eq!(count(&connection), 4);
    }

    #[test]
    fn a_read_only_store_is_named() {
        let mut connection = connection();
        connection.pragma_update(None, "query_only", true).unwrap();
        assert_eq!(fill(&mut connection, 1), Err(StoreError::ReadOnly));
        assert_eq!(count(&connection), 0);
    }

    #[test]
    fn a_file_is_durable_on_every_commit_and_runs_no_trigger() {
        let folder = tempfile::TempDir::new().unwrap();
        let connection = Connection::open(folder.path().join("node.db")).unwrap();
        configure(&connection).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        let text = |name| connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
        assert_eq!((text("journal_mode"), text("locking_mode")), ("wal".to_owned(), "exclusive".to_owned()));
        assert_eq!((pragma("synchronous"), pragma("fullfsync"), pragma("trusted_schema")), (2, 1, 0));
        assert!(!connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).unwrap());
    }
}
