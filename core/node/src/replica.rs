//! What a node believes about the ledger: only what a certificate and a proof back.
//!
//! There are three ways in, and each verifies by itself before it writes. What is read is verified again on the way out:
//! at most 32 signatures and a few hashes, so that not even an edited file shows a balance that nobody certified.

mod audit;
mod rows;

use crate::{Damage, Freshness, ReplicaError, Store};
use ohmesh_ledger::{Certificate, Header, Object, Proof, ProvenAccount, proven_object};
use ohmesh_units::{AccountId, Hash, Timestamp};
use rusqlite::Connection;
use std::sync::Arc;

/// A header that is final, and what makes it so.
pub type Certified = (Header, Certificate);

/// Two certified headers that cannot both be: evidence against whoever signed both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    /// The one that was known.
    pub one: Certified,
    /// The one that was offered.
    pub other: Certified,
}

/// What to do about stored things that no longer verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnDamage {
    /// Refuse to open and name the first.
    Refuse,
    /// Drop them and say which. Headers and proofs can be fetched again; a transaction that only this file had, cannot.
    Drop,
}

/// The node's copy of the newest header, and of the accounts and objects it follows. A handle: clones share the store.
#[derive(Clone, Debug)]
pub struct Replica {
    store: Arc<Store>,
}

impl Replica {
    /// Objects kept at most, own accounts aside; past it the one proven longest ago is dropped.
    pub const OBJECTS_MAX: usize = 4_096;
    /// Forks kept as evidence at most: one is enough to act on.
    pub const FORKS_MAX: usize = 16;

    /// Opens the replica in `store` and verifies everything in it; gives what was dropped.
    ///
    /// Errors: [`ReplicaError::Damaged`] with [`OnDamage::Refuse`], [`ReplicaError::Store`].
    pub fn open(store: Arc<Store>, on_damage: OnDamage) -> Result<(Self, Vec<Damage>), ReplicaError> {
        let replica = Self { store };
        let damages = match on_damage {
            OnDamage::Refuse => match replica.audit()?.into_iter().next() {
                Some(first) => return Err(first.into()),
                None => Vec::new(),
            },
            OnDamage::Drop => replica.store.write(|sql| audit::audit(sql, &replica.store, OnDamage::Drop))?,
        };
        Ok((replica, damages))
    }

    /// Verifies everything stored, and gives what does not hold; empty is the only good answer.
    pub fn audit(&self) -> Result<Vec<Damage>, ReplicaError> {
        self.store.read(|sql| audit::audit(sql, &self.store, OnDamage::Refuse))
    }

    /// Takes a newer header.
    ///
    /// Errors: [`ReplicaError::Ledger`] if the certificate does not hold, [`ReplicaError::Older`],
    /// [`ReplicaError::Fork`] (kept), [`ReplicaError::Store`].
    pub fn store_head(&self, certified: &Certified) -> Result<(), ReplicaError> {
        self.verify(certified)?;
        self.admit(certified, |_| Ok(()))
    }

    /// Takes an account with its balances, all proven against one header that is not older than the newest here.
    ///
    /// Errors: as [`Replica::store_head`], [`ReplicaError::Ledger`] also if a proof does not hold or is of another
    /// account, [`ReplicaError::Parts`] if there are more proofs than parts.
    pub fn store_account(
        &self,
        id: &AccountId,
        certified: &Certified,
        proofs: &[Proof],
    ) -> Result<ProvenAccount, ReplicaError> {
        let proven = verify_account(&self.store, id, certified, proofs)?;
        self.admit(certified, |sql| {
            let id = Hash::from(*id);
            sql.prepare_cached("DELETE FROM proofs WHERE view = ?1 AND id = ?2")?
                .execute((rows::ACCOUNT, &id.0[..]))?;
            for proof in proofs {
                rows::insert_proof(sql, rows::ACCOUNT, &id, proof, certified.0.height)?;
            }
            Ok(())
        })?;
        Ok(proven)
    }

    /// Takes one object, proven against a header that is not older than the newest here.
    ///
    /// Errors: as [`Replica::store_account`].
    pub fn store_object(
        &self,
        id: &Hash,
        certified: &Certified,
        proof: &Proof,
    ) -> Result<Object, ReplicaError> {
        let object = verify_object(&self.store, id, certified, proof)?;
        self.admit(certified, |sql| {
            rows::insert_proof(sql, rows::OBJECT, id, proof, certified.0.height)?;
            rows::trim_objects(sql)
        })?;
        Ok(object)
    }

    /// The newest header; `None` before the first.
    pub fn head(&self) -> Result<Option<Header>, ReplicaError> {
        Ok(self.certified_head()?.map(|(header, _)| header))
    }

    /// The newest header and its certificate, for passing on.
    pub fn certified_head(&self) -> Result<Option<Certified>, ReplicaError> {
        self.store.read(|sql| match rows::newest_height(sql)? {
            Some(height) => rows::certified(sql, &self.store, height),
            None => Ok(None),
        })
    }

    /// The account with `id` and its balances, as last proven; its header says when that was.
    pub fn account(&self, id: &AccountId) -> Result<Option<ProvenAccount>, ReplicaError> {
        self.store.read(|sql| rows::account(sql, &self.store, id))
    }

    /// The object with `id` as last proven, and the header it was proven against.
    pub fn object(&self, id: &Hash) -> Result<Option<(Header, Object)>, ReplicaError> {
        self.store.read(|sql| rows::object(sql, &self.store, id))
    }

    /// Lets go of the object with `id`.
    pub fn forget_object(&self, id: &Hash) -> Result<(), ReplicaError> {
        self.store.write(|sql| {
            sql.execute("DELETE FROM proofs WHERE view = ?1 AND id = ?2", (rows::OBJECT, &id.0[..]))?;
            rows::trim_headers(sql)
        })
    }

    /// How old the newest header is at `now`; `None` before the first.
    pub fn freshness(&self, now: Timestamp) -> Result<Option<Freshness>, ReplicaError> {
        Ok(self.head()?.map(|header| Freshness::of(header.time, now)))
    }

    /// Evidence of forks, at most [`Replica::FORKS_MAX`]. One is reason to trust this zone with nothing more.
    pub fn forks(&self) -> Result<Vec<Fork>, ReplicaError> {
        self.store.read(|sql| rows::forks(sql, &self.store))
    }

    fn verify(&self, (header, certificate): &Certified) -> Result<(), ReplicaError> {
        let store = &self.store;
        Ok(certificate.verify_header(header, store.zone_id(), store.zone().validators.voters())?)
    }

    /// One transaction: the header, then what `with_it` writes. A fork is written, and then refused.
    fn admit(
        &self,
        certified: &Certified,
        with_it: impl FnOnce(&Connection) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let header = &certified.0;
        let fork = self.store.write(|sql| {
            if let Some(known) = contradicting(sql, &self.store, header)? {
                rows::insert_fork(sql, &known, certified)?;
                return Ok(Some(ReplicaError::Fork { one: known.0.height, other: header.height }));
            }
            match rows::newest_height(sql)? {
                Some(have) if have > header.height => {
                    return Err(ReplicaError::Older { have, offered: header.height });
                }
                _ => {}
            }
            rows::insert_header(sql, certified)?;
            with_it(sql)?;
            rows::trim_headers(sql)?;
            Ok(None)
        })?;
        fork.map_or(Ok(()), Err)
    }
}

/// The header here that cannot be if `offered` is: another one at its height, a neighbour that is not its parent or
/// child, or the newest if time does not grow with height.
fn contradicting(
    sql: &Connection,
    store: &Store,
    offered: &Header,
) -> Result<Option<Certified>, ReplicaError> {
    let height = offered.height;
    let mut heights = vec![height.saturating_sub(1), height, height.saturating_add(1)];
    heights.extend(rows::newest_height(sql)?);
    for height in heights {
        let Some(known) = rows::certified(sql, store, height)? else { continue };
        if contradict(&known.0, offered) {
            return Ok(Some(known));
        }
    }
    Ok(None)
}

/// Whether two headers of one zone cannot both be final.
fn contradict(one: &Header, other: &Header) -> bool {
    if one.height == other.height {
        return one.id() != other.id();
    }
    let (parent, child) = if one.height < other.height { (one, other) } else { (other, one) };
    let is_next = child.height - parent.height == 1;
    parent.time >= child.time || is_next && child.parent != Hash::from(parent.id())
}

/// Checks an account in every part, and that there is nothing beside.
fn verify_account(
    store: &Store,
    id: &AccountId,
    certified: &Certified,
    proofs: &[Proof],
) -> Result<ProvenAccount, ReplicaError> {
    let validators = store.zone().validators.voters();
    let proven = ProvenAccount::verify(store.zone_id(), validators, id, certified.clone(), proofs)?;
    let expected = 1 + proven.balances.iter().flatten().count();
    if proofs.len() != expected {
        return Err(ReplicaError::Parts { id: (*id).into(), expected, found: proofs.len() });
    }
    Ok(proven)
}

/// Checks an object and that it is the one asked for.
fn verify_object(
    store: &Store,
    id: &Hash,
    (header, certificate): &Certified,
    proof: &Proof,
) -> Result<Object, ReplicaError> {
    certificate.verify_header(header, store.zone_id(), store.zone().validators.voters())?;
    let object = proven_object(proof, header)?;
    if object.id() != *id {
        let (asked, found) = (*id, object.id());
        return Err(ohmesh_ledger::LedgerError::OtherObject { asked, found }.into());
    }
    Ok(object)
}
