//! What a node believes about the ledger: only what a certificate and a proof back.
//!
//! Who may certify is followed from an anchor on ([`Replica::anchor`], or the genesis of a young zone), one hand-over an
//! epoch ([`Replica::store_hand_overs`]); no block in between is needed. Neither epoch nor height nor time goes back, and
//! what is trusted is good for [`Anchor::AGE_MAX`].
//!
//! For headers, accounts and objects there are three ways in, and each verifies by itself before it writes. What is read is verified again on the way out:
//! at most 32 signatures and a few hashes, so that not even an edited file shows a balance that nobody certified.

mod audit;
mod epochs;
mod rows;

use crate::{Damage, Freshness, ReplicaError, Store};
use ohmesh_ledger::{
    Anchor, Certificate, Epoch, HandOver, Header, Object, Proof, ProvenAccount, ValidatorSet, Voters,
    proven_object,
};
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

    /// The newest epoch whose voters are trusted, and from where on.
    pub fn epoch(&self) -> Result<Anchor, ReplicaError> {
        self.store.read(|sql| epochs::newest(sql, &self.store))
    }

    /// The hand-over by which `epoch` began, if it is kept: at least the newest is, unless the anchor is in this epoch.
    pub fn hand_over(&self, epoch: u64) -> Result<Option<HandOver>, ReplicaError> {
        self.store.read(|sql| epochs::hand_over(sql, &self.store, epoch))
    }

    /// Whether what is trusted is young enough at `now` to believe anything new by it.
    ///
    /// Errors: [`ReplicaError::AnchorTooOld`] if the newest believed time is more than [`Anchor::AGE_MAX`] ago.
    pub fn check_anchor(&self, now: Timestamp) -> Result<(), ReplicaError> {
        let (mut anchor, head) = (self.epoch()?, self.head()?);
        anchor.time = head.map_or(anchor.time, |head| head.time.max(anchor.time));
        check_age(&anchor, now)
    }

    /// Trusts `anchor` from now on, if it is newer than what is trusted already: the app's word, given with its release
    /// or by two operators who do not know of each other ([`Anchor::agreed`]).
    ///
    /// Errors: [`ReplicaError::AnchorTooOld`], [`ReplicaError::AnchorOfOtherZone`],
    /// [`ReplicaError::AnchorContradicts`] if another set votes in that epoch or the history here is already past it.
    pub fn anchor(&self, anchor: &Anchor, now: Timestamp) -> Result<(), ReplicaError> {
        let expected = *self.store.zone_id();
        if anchor.zone != expected {
            return Err(ReplicaError::AnchorOfOtherZone { expected, found: anchor.zone });
        }
        check_age(anchor, now)?;
        self.store.write(|sql| {
            if !self.is_newer(sql, anchor)? {
                return Ok(());
            }
            epochs::insert_first(sql, &self.store)?;
            epochs::insert(sql, anchor, None)?;
            epochs::trim(sql)
        })
    }

    /// Whether `anchor` is ahead of everything known here; refuses one that contradicts that.
    fn is_newer(&self, sql: &Connection, anchor: &Anchor) -> Result<bool, ReplicaError> {
        let contradicts = Err(ReplicaError::AnchorContradicts { epoch: anchor.epoch });
        let known = epochs::at(sql, &self.store, anchor.epoch)?;
        let others = known.is_some_and(|known| known.voters != anchor.voters);
        if others || anchor.epoch == 0 && anchor.voters != *self.store.zone().validators.voters() {
            return contradicts;
        }
        let Anchor { mut epoch, mut height, mut time, .. } = epochs::newest(sql, &self.store)?;
        if let Some(newest) = rows::newest_height(sql)?
            && let Some((head, _)) = rows::certified(sql, &self.store, newest)?
            && head.height >= height
        {
            (epoch, height, time) = (head.epoch.max(epoch), head.height, head.time);
        }
        if anchor.epoch < epoch || anchor.epoch == epoch && anchor.height <= height {
            return Ok(false);
        }
        if anchor.height <= height || anchor.time <= time { contradicts } else { Ok(true) }
    }

    /// Follows the zone from the newest epoch known through `hand_overs`, and keeps all of them or none, in one write with
    /// the last header that they make believable.
    ///
    /// Errors: [`ReplicaError::HandOver`] if one does not lead on, [`ReplicaError::Fork`] if one contradicts what is
    /// known (kept), [`ReplicaError::Store`].
    pub fn store_hand_overs(&self, hand_overs: &[HandOver]) -> Result<Anchor, ReplicaError> {
        let mut at = self.epoch()?;
        let mut steps = Vec::with_capacity(hand_overs.len());
        for hand_over in hand_overs {
            at = match at.follow(hand_over) {
                Ok(next) => next,
                Err(error) => {
                    self.seek_fork(&(hand_over.header.clone(), hand_over.certificate.clone()))?;
                    return Err(error.into());
                }
            };
            steps.push((at.clone(), hand_over));
        }
        let fork = self.store.write(|sql| {
            epochs::insert_first(sql, &self.store)?;
            for (anchor, hand_over) in &steps {
                let certified = (hand_over.header.clone(), hand_over.certificate.clone());
                if let Some(fork) = self.fork_by(sql, &certified)? {
                    return Ok(Some(fork));
                }
                epochs::insert(sql, anchor, Some(hand_over))?;
                if rows::newest_height(sql)?.is_none_or(|have| have < anchor.height) {
                    rows::insert_header(sql, &certified)?;
                }
            }
            rows::trim_headers(sql)?;
            epochs::trim(sql)?;
            Ok::<_, ReplicaError>(None)
        })?;
        fork.map_or(Ok(at), Err)
    }

    /// The validators of the newest epoch of which they have been proven, and that epoch; and those of epochs before it
    /// that are still kept, newest first.
    pub(crate) fn validators(&self) -> Result<Vec<(u64, ValidatorSet)>, ReplicaError> {
        self.store.read(|sql| {
            let mut sets = Vec::new();
            for number in epochs::numbers(sql)? {
                if let Some((_, Object::Epoch(epoch))) = rows::object(sql, &self.store, &Epoch::id(number))? {
                    sets.push((number, epoch.validators));
                }
            }
            Ok(sets)
        })
    }

    /// Takes a newer header.
    ///
    /// Errors: [`ReplicaError::Ledger`] if the certificate does not hold, [`ReplicaError::Epoch`] if it is of an epoch
    /// whose voters are not known here, [`ReplicaError::Older`], [`ReplicaError::Fork`] (kept),
    /// [`ReplicaError::Store`].
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
        let voters = self.voters(&certified.0)?;
        let proven = verify_account(&self.store, &voters, id, certified, proofs)?;
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
        let voters = self.voters(&certified.0)?;
        let object = verify_object(&self.store, &voters, id, certified, proof)?;
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

    fn voters(&self, header: &Header) -> Result<Voters, ReplicaError> {
        self.store.read(|sql| epochs::voters(sql, &self.store, header))
    }

    fn verify(&self, (header, certificate): &Certified) -> Result<(), ReplicaError> {
        Ok(certificate.verify_header(header, self.store.zone_id(), &self.voters(header)?)?)
    }

    /// One transaction: the header, then what `with_it` writes. A fork is written, and then refused.
    fn admit(
        &self,
        certified: &Certified,
        with_it: impl FnOnce(&Connection) -> Result<(), ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let header = &certified.0;
        let fork = self.store.write(|sql| {
            if let Some(fork) = self.fork_by(sql, certified)? {
                return Ok(Some(fork));
            }
            let (anchor, newest) = (epochs::newest(sql, &self.store)?, rows::newest_height(sql)?);
            let have = newest.map_or(anchor.height, |height| height.max(anchor.height));
            // Whatever an older epoch could still truly say lies below the anchor.
            if header.epoch < anchor.epoch && header.height > anchor.height {
                let (epoch, height) = (header.epoch, header.height);
                return Err(ReplicaError::OldKeys { epoch, height, anchor: anchor.epoch });
            }
            if have > header.height {
                return Err(ReplicaError::Older { have, offered: header.height });
            }
            rows::insert_header(sql, certified)?;
            with_it(sql)?;
            rows::trim_headers(sql)?;
            Ok(None)
        })?;
        fork.map_or(Ok(()), Err)
    }

    /// Looks whether something that is of no use is at least evidence of a fork.
    fn seek_fork(&self, certified: &Certified) -> Result<(), ReplicaError> {
        if self.verify(certified).is_err() {
            return Ok(());
        }
        let fork = self.store.write(|sql| self.fork_by(sql, certified))?;
        fork.map_or(Ok(()), Err)
    }

    /// Keeps the evidence if `certified`, which has been verified, contradicts what is known.
    fn fork_by(&self, sql: &Connection, certified: &Certified) -> Result<Option<ReplicaError>, ReplicaError> {
        let Some(known) = contradicting(sql, &self.store, &certified.0)? else { return Ok(None) };
        rows::insert_fork(sql, &known, certified)?;
        Ok(Some(ReplicaError::Fork { one: known.0.height, other: certified.0.height }))
    }
}

/// The header here that cannot be if `offered` is: another one at its height, a neighbour that is not its parent or
/// child, the newest if time does not grow with height, or one of those that end its epoch and the epoch before.
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
    for began in [offered.epoch, offered.epoch.saturating_add(1)] {
        let Some(hand_over) = epochs::hand_over(sql, store, began)? else { continue };
        if contradict(&hand_over.header, offered) {
            return Ok(Some((hand_over.header, hand_over.certificate)));
        }
    }
    Ok(None)
}

/// Refuses to trust what is older than an anchor may be.
fn check_age(anchor: &Anchor, now: Timestamp) -> Result<(), ReplicaError> {
    let (age, limit) = (anchor.age(now), Anchor::AGE_MAX);
    if age > limit { Err(ReplicaError::AnchorTooOld { age, limit }) } else { Ok(()) }
}

/// Whether two headers of one zone cannot both be final.
fn contradict(one: &Header, other: &Header) -> bool {
    if one.height == other.height {
        return one.id() != other.id();
    }
    let (parent, child) = if one.height < other.height { (one, other) } else { (other, one) };
    let is_next = child.height - parent.height == 1;
    let is_over = parent.next_voters.is_some();
    parent.time >= child.time
        || is_next && child.parent != Hash::from(parent.id())
        || parent.epoch > child.epoch
        || is_over && parent.epoch == child.epoch
}

/// Checks an account in every part, and that there is nothing beside.
fn verify_account(
    store: &Store,
    voters: &Voters,
    id: &AccountId,
    certified: &Certified,
    proofs: &[Proof],
) -> Result<ProvenAccount, ReplicaError> {
    let proven = ProvenAccount::verify(store.zone_id(), voters, id, certified.clone(), proofs)?;
    let expected = 1 + proven.balances.iter().flatten().count();
    if proofs.len() != expected {
        return Err(ReplicaError::Parts { id: (*id).into(), expected, found: proofs.len() });
    }
    Ok(proven)
}

/// Checks an object and that it is the one asked for.
fn verify_object(
    store: &Store,
    voters: &Voters,
    id: &Hash,
    (header, certificate): &Certified,
    proof: &Proof,
) -> Result<Object, ReplicaError> {
    certificate.verify_header(header, store.zone_id(), voters)?;
    let object = proven_object(proof, header)?;
    if object.id() != *id {
        let (asked, found) = (*id, object.id());
        return Err(ohmesh_ledger::LedgerError::OtherObject { asked, found }.into());
    }
    Ok(object)
}
