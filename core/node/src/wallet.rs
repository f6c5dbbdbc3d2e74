//! The key of an account, and what it has signed.
//!
//! A transaction is durable here before it is sent, so that a crash between the two can neither lose it nor pay twice:
//! it is sent again under the same id. What an agent says of a transaction is hearsay and marked so
//! ([`Status::Waiting`], [`Status::Refused`], [`Status::Reported`]); what money there is comes from proofs alone, in the
//! [`Replica`](crate::Replica).

mod backing;

use crate::{Damage, OnDamage, Part, Store, StoreError, WalletError};
pub(crate) use backing::{backing_id, is_backed_by};
use ohmesh_ledger::{Body, SignedTransaction, Transaction, Verified};
use ohmesh_units::{AccountId, Canonical, Hash, PublicKey, SigningKey, Timestamp, TransactionId};
use rand_core::CryptoRng;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc, time::Duration};

/// What is known of a transaction. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Status {
    /// Signed and durable; no agent is known to have it.
    Signed,
    /// Hearsay: an agent has taken it and waits for a block.
    Waiting,
    /// Hearsay: every agent that answered refuses it. Until it expires it may still apply.
    Refused {
        /// The last agent's reason, cut to 200 characters.
        reason: String,
    },
    /// Hearsay: an agent says that it has been applied.
    Reported,
    /// Applied: an object that only this transaction makes, or one exactly as it asks for, was proven at this height.
    Proven {
        /// The height of the header of the proof.
        height: u64,
    },
    /// It can no longer apply: a certified header is past its validity, and nobody had said that it applied before.
    Expired {
        /// The height of that header.
        height: u64,
    },
}

impl Status {
    /// Whether it may still change what happens: everything but reported, proven and expired.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Signed | Self::Waiting | Self::Refused { .. })
    }

    /// Whether `next` may follow: hearsay replaces hearsay, nothing replaces proof.
    fn may_become(&self, next: &Self) -> bool {
        match self {
            Self::Signed | Self::Waiting | Self::Refused { .. } => self != next && *next != Self::Signed,
            Self::Reported | Self::Expired { .. } => matches!(next, Self::Proven { .. }),
            Self::Proven { .. } => false,
        }
    }
}

impl Canonical for Status {
    const NAME: &'static str = "transaction status";
    const MAX_BYTES: usize = 1 << 10;
}

/// A transaction that this wallet has signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The transaction.
    pub signed: SignedTransaction,
    /// What is known of it.
    pub status: Status,
}

impl Sent {
    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        self.signed.transaction.id()
    }
}

/// The signing key of one account, and the transactions it has signed. The key is zeroised when this is dropped.
pub struct Wallet {
    store: Arc<Store>,
    key: SigningKey,
    account: AccountId,
}

impl Wallet {
    /// How long a transaction of this wallet may apply after it was signed.
    pub const VALID_FOR: Duration = Duration::from_secs(600);
    /// Open transactions at most: more would not be sent within their validity.
    pub const OPEN_MAX: usize = 256;
    /// Ended transactions kept at most; past it the oldest is forgotten.
    pub const ENDED_MAX: usize = 1_000;

    /// Opens the wallet of `key` in `store`, and checks every signature in it; gives what was dropped.
    ///
    /// Errors: [`WalletError::Damaged`] with [`OnDamage::Refuse`], [`WalletError::Store`].
    pub fn open(
        store: Arc<Store>,
        key: SigningKey,
        on_damage: OnDamage,
    ) -> Result<(Self, Vec<Damage>), WalletError> {
        let damages = store.write(|sql| audit(sql, &store, on_damage))?;
        let account = AccountId::of(&key.public());
        Ok((Self { store, key, account }, damages))
    }

    /// The account that this key owns, open or not.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The public half of the key.
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// Signs a transaction under a fresh number from `random`, valid for [`Wallet::VALID_FOR`] after `now`. When this
    /// returns, it is durable.
    ///
    /// Errors: [`WalletError::TooManyOpen`], [`WalletError::TooLong`], [`WalletError::Clock`], [`WalletError::Store`];
    /// nothing has been signed for anybody to see then.
    pub fn sign(
        &self,
        body: Body,
        now: Timestamp,
        random: &mut dyn CryptoRng,
    ) -> Result<SignedTransaction, WalletError> {
        let mut number = [0; 16];
        random.fill_bytes(&mut number);
        let transaction = Transaction {
            zone: *self.store.zone_id(),
            sender: self.account,
            number: u128::from_be_bytes(number),
            valid_until: now.checked_add(Self::VALID_FOR).ok_or(WalletError::Clock)?,
            body,
        };
        too_long::<Transaction>(transaction.encode().len())?;
        let signed = transaction.sign(&[&self.key]);
        let bytes = signed.encode();
        too_long::<SignedTransaction>(bytes.len())?;
        self.store.write(|sql| {
            let open: i64 = sql.query_row(
                "SELECT count(*) FROM transactions WHERE sender = ?1 AND is_open",
                [&self.account.0[..]],
                |row| row.get(0),
            )?;
            if usize::try_from(open).is_ok_and(|open| open >= Self::OPEN_MAX) {
                return Err(WalletError::TooManyOpen(Self::OPEN_MAX));
            }
            sql.execute(
                "INSERT INTO transactions (sender, number, signed, status, is_open) VALUES (?1, ?2, ?3, ?4, 1)",
                (&self.account.0[..], &number[..], &bytes, Status::Signed.encode()),
            )?;
            Ok(())
        })?;
        Ok(signed)
    }

    /// Notes what has become of a transaction; gives whether that is news. Proof replaces hearsay, hearsay never
    /// replaces proof.
    ///
    /// Errors: [`WalletError::Unknown`] if this wallet has not signed it, [`WalletError::Store`].
    pub fn note(&self, id: &TransactionId, status: &Status) -> Result<bool, WalletError> {
        self.store.write(|sql| {
            let sent = find(sql, id)?.ok_or(WalletError::Unknown(*id))?;
            if !sent.status.may_become(status) {
                return Ok(false);
            }
            sql.execute(
                "UPDATE transactions SET status = ?3, is_open = ?4 WHERE sender = ?1 AND number = ?2",
                (&id.sender.0[..], &id.number.to_be_bytes()[..], status.encode(), status.is_open()),
            )?;
            forget_oldest(sql, &self.account)?;
            Ok(true)
        })
    }

    /// The transaction with `id`, if this wallet has signed it and still knows.
    pub fn transaction(&self, id: &TransactionId) -> Result<Option<Sent>, WalletError> {
        self.store.read(|sql| find(sql, id))
    }

    /// The open transactions, oldest first; at most [`Wallet::OPEN_MAX`].
    pub fn open_transactions(&self) -> Result<Vec<Sent>, WalletError> {
        let select = "SELECT sequence, sender, number, signed, status, is_open FROM transactions
                      WHERE sender = ?1 AND is_open ORDER BY sequence LIMIT ?2";
        self.list(select, Self::OPEN_MAX)
    }

    /// The transactions worth asking about at ledger time `now`: the open ones, and those that are reported and may
    /// still be proven until their validity is over.
    pub fn unsettled(&self, now: Timestamp) -> Result<Vec<Sent>, WalletError> {
        let mut unsettled = self.open_transactions()?;
        unsettled.extend(self.history(Self::OPEN_MAX)?.into_iter().filter(|sent| {
            let transaction = &sent.signed.transaction;
            sent.status == Status::Reported
                && transaction.valid_until >= now
                && backing_id(transaction).is_some()
        }));
        Ok(unsettled)
    }

    /// The newest `count` transactions, newest first, at most [`Wallet::ENDED_MAX`].
    pub fn history(&self, count: usize) -> Result<Vec<Sent>, WalletError> {
        let select = "SELECT sequence, sender, number, signed, status, is_open FROM transactions
                      WHERE sender = ?1 ORDER BY sequence DESC LIMIT ?2";
        self.list(select, count.min(Self::ENDED_MAX))
    }

    fn list(&self, select: &str, count: usize) -> Result<Vec<Sent>, WalletError> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.store.read(|sql| {
            let mut select = sql.prepare_cached(select)?;
            let rows = select.query_map((&self.account.0[..], count), Row::read)?;
            let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
            Ok(rows.iter().map(Row::sent).collect::<Result<_, _>>()?)
        })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("account", &self.account).finish_non_exhaustive()
    }
}

fn too_long<T: Canonical>(found: usize) -> Result<(), WalletError> {
    let max = T::MAX_BYTES;
    if found > max { Err(WalletError::TooLong { found, max }) } else { Ok(()) }
}

/// A row as it lies there, unchecked.
struct Row {
    sequence: i64,
    sender: Vec<u8>,
    number: Vec<u8>,
    signed: Vec<u8>,
    status: Vec<u8>,
    is_open: i64,
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            sender: row.get(1)?,
            number: row.get(2)?,
            signed: row.get(3)?,
            status: row.get(4)?,
            is_open: row.get(5)?,
        })
    }

    /// The row as a transaction: its columns must agree with its bytes.
    fn sent(&self) -> Result<Sent, Damage> {
        let damaged = |reason: String| Damage::new(Part::Transaction { sequence: self.sequence }, reason);
        let signed = SignedTransaction::decode(&self.signed).map_err(|e| damaged(e.to_string()))?;
        let status = Status::decode(&self.status).map_err(|e| damaged(e.to_string()))?;
        let TransactionId { sender, number } = signed.transaction.id();
        if self.sender != sender.0 || self.number != number.to_be_bytes() {
            return Err(damaged(format!("it is transaction {}", signed.transaction.id())));
        }
        if (self.is_open != 0) != status.is_open() {
            return Err(damaged("its status is not the one it is filed under".into()));
        }
        if matches!(status, Status::Proven { .. }) && backing_id(&signed.transaction).is_none() {
            return Err(damaged("its status is proven, but nothing can prove it".into()));
        }
        Ok(Sent { signed, status })
    }

    /// [`Row::sent`], and its sender has signed it for this zone.
    fn verified(&self, store: &Store) -> Result<(), Damage> {
        let damaged = |reason: String| Damage::new(Part::Transaction { sequence: self.sequence }, reason);
        let Sent { signed, .. } = self.sent()?;
        let verified = Verified::one(store.zone_id(), signed).map_err(|e| damaged(e.to_string()))?;
        let sender = verified.transaction().sender;
        let mut keys = verified.signed().signatures.iter().map(|signature| signature.key);
        if !keys.any(|key| AccountId::of(&key) == sender) {
            return Err(damaged("its sender has not signed it".into()));
        }
        Ok(())
    }
}

fn find(sql: &Connection, id: &TransactionId) -> Result<Option<Sent>, WalletError> {
    let row = sql
        .prepare_cached(
            "SELECT sequence, sender, number, signed, status, is_open FROM transactions
             WHERE sender = ?1 AND number = ?2",
        )?
        .query_row((&id.sender.0[..], &id.number.to_be_bytes()[..]), Row::read)
        .optional()?;
    Ok(row.map(|row| row.sent()).transpose()?)
}

fn forget_oldest(sql: &Connection, sender: &AccountId) -> Result<(), StoreError> {
    let max = i64::try_from(Wallet::ENDED_MAX).unwrap_or(i64::MAX);
    sql.execute(
        "DELETE FROM transactions WHERE sequence IN
         (SELECT sequence FROM transactions WHERE sender = ?1 AND NOT is_open
          ORDER BY sequence DESC LIMIT -1 OFFSET ?2)",
        (&sender.0[..], max),
    )?;
    Ok(())
}

/// Verifies every stored transaction; drops what does not hold if told to, else names the first.
fn audit(sql: &Connection, store: &Store, on_damage: OnDamage) -> Result<Vec<Damage>, WalletError> {
    let mut select =
        sql.prepare("SELECT sequence, sender, number, signed, status, is_open FROM transactions")?;
    let rows: Vec<Row> = select.query_map([], Row::read)?.collect::<Result<_, _>>()?;
    let mut damages = Vec::new();
    for row in rows {
        let Err(damage) = row.verified(store) else { continue };
        if on_damage == OnDamage::Refuse {
            return Err(damage.into());
        }
        sql.execute("DELETE FROM transactions WHERE sequence = ?1", [row.sequence])?;
        damages.push(damage);
    }
    Ok(damages)
}

/// The content hash that an agent must name when it says that this transaction was applied.
pub(crate) fn content_of(sent: &SignedTransaction) -> Hash {
    sent.transaction.content()
}
