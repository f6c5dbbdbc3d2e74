//! The replica's rows. Whatever comes out has been verified, or is named as damaged.

use super::{Certified, Fork, Replica, contradict, epochs, verify_account, verify_object};
use crate::{Damage, Part, ReplicaError, Store};
use ohmesh_ledger::{Certificate, Header, Object, Proof, ProvenAccount, TreeName};
use ohmesh_units::{AccountId, Canonical, Hash};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeSet;

/// `proofs.view`: one object alone.
pub(super) const OBJECT: i64 = 0;
/// `proofs.view`: a part of an account whose parts share a header.
pub(super) const ACCOUNT: i64 = 1;

/// The greatest height there is a header of.
pub(super) fn newest_height(sql: &Connection) -> Result<Option<u64>, ReplicaError> {
    let height: Option<i64> =
        sql.prepare_cached("SELECT max(height) FROM headers")?.query_row([], |row| row.get(0))?;
    height.map(|height| height_of(height).map_err(ReplicaError::from)).transpose()
}

/// The header of `height` and its certificate.
pub(super) fn certified(
    sql: &Connection,
    store: &Store,
    height: u64,
) -> Result<Option<Certified>, ReplicaError> {
    let Ok(key) = i64::try_from(height) else { return Ok(None) };
    let row: Option<(Vec<u8>, Vec<u8>)> = sql
        .prepare_cached("SELECT header, certificate FROM headers WHERE height = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((header, certificate)) = row else { return Ok(None) };
    let certified = certified_of(sql, store, height, &header, &certificate)?;
    if certified.0.height != height {
        return Err(Damage::new(Part::Header { height }, "it is of another height").into());
    }
    Ok(Some(certified))
}

/// A header and a certificate from their bytes, checked by the voters of their epoch; `height` names them in errors.
fn certified_of(
    sql: &Connection,
    store: &Store,
    height: u64,
    header: &[u8],
    certificate: &[u8],
) -> Result<Certified, ReplicaError> {
    let zone = store.zone_id();
    let bad_certificate =
        |reason: &dyn ToString| Damage::new(Part::Certificate { height }, reason.to_string());
    let bad_header = |reason: &dyn ToString| Damage::new(Part::Header { height }, reason.to_string());
    let certificate = Certificate::decode(certificate).map_err(|e| bad_certificate(&e))?;
    let epoch = certificate.epoch;
    let anchor = epochs::at(sql, store, epoch)?;
    let voters =
        anchor.ok_or_else(|| bad_certificate(&format!("nobody is known to vote in epoch {epoch}")))?;
    // By its own epoch first: if that holds, what does not fit is the header.
    certificate.verify(zone, epoch, &voters.voters).map_err(|e| bad_certificate(&e))?;
    let header = Header::decode(header).map_err(|e| bad_header(&e))?;
    certificate.verify_header(&header, zone, &voters.voters).map_err(|e| bad_header(&e))?;
    Ok((header, certificate))
}

/// The account with `id`, every part checked against the one header they share.
pub(super) fn account(
    sql: &Connection,
    store: &Store,
    id: &AccountId,
) -> Result<Option<ProvenAccount>, ReplicaError> {
    let key = Hash::from(*id);
    let proofs = proofs(sql, ACCOUNT, &key)?;
    let Some((_, height)) = proofs.first() else { return Ok(None) };
    let damaged = |reason: &dyn ToString| Damage::new(Part::Account { id: key }, reason.to_string());
    if proofs.iter().any(|(_, other)| other != height) {
        return Err(damaged(&"its parts are of different heights").into());
    }
    let certified = certified(sql, store, *height)?.ok_or_else(|| damaged(&no_header(*height)))?;
    for (proof, _) in &proofs {
        leads_to_root(proof, &key, &certified.0)?;
    }
    let proofs: Vec<Proof> = proofs.into_iter().map(|(proof, _)| proof).collect();
    let voters = epochs::voters(sql, store, &certified.0)?;
    Ok(Some(verify_account(store, &voters, id, &certified, &proofs).map_err(|e| damaged(&e))?))
}

/// The object with `id` and its header.
pub(super) fn object(
    sql: &Connection,
    store: &Store,
    id: &Hash,
) -> Result<Option<(Header, Object)>, ReplicaError> {
    let proofs = proofs(sql, OBJECT, id)?;
    let Some((proof, height)) = proofs.first() else { return Ok(None) };
    let damaged =
        |reason: &dyn ToString| Damage::new(Part::Proof { tree: proof.tree, id: *id }, reason.to_string());
    if proofs.len() != 1 {
        return Err(damaged(&"it is not the only proof").into());
    }
    let certified = certified(sql, store, *height)?.ok_or_else(|| damaged(&no_header(*height)))?;
    leads_to_root(proof, id, &certified.0)?;
    let voters = epochs::voters(sql, store, &certified.0)?;
    let object = verify_object(store, &voters, id, &certified, proof).map_err(|e| damaged(&e))?;
    Ok(Some((certified.0, object)))
}

fn leads_to_root(proof: &Proof, id: &Hash, header: &Header) -> Result<(), Damage> {
    proof.verify(header).map_err(|e| Damage::new(Part::Proof { tree: proof.tree, id: *id }, e))
}

fn no_header(height: u64) -> String {
    format!("there is no header of height {height}")
}

/// The proofs kept for `id` in `view`, by tree, each with its height.
fn proofs(sql: &Connection, view: i64, id: &Hash) -> Result<Vec<(Proof, u64)>, ReplicaError> {
    let mut select = sql.prepare_cached(
        "SELECT tree, slot, content, path, height FROM proofs WHERE view = ?1 AND id = ?2 ORDER BY tree LIMIT ?3",
    )?;
    let mut rows = select.query((view, &id.0[..], PARTS_MAX))?;
    let mut proofs = Vec::new();
    while let Some(row) = rows.next()? {
        proofs.push(proof_of(row, id)?);
    }
    Ok(proofs)
}

fn proof_of(row: &Row<'_>, id: &Hash) -> Result<(Proof, u64), ReplicaError> {
    let tree: i64 = row.get(0)?;
    let Some(tree) = TREES.into_iter().find(|known| tree_number(*known) == tree) else {
        return Err(Damage::new(Part::Account { id: *id }, format!("there is no tree {tree}")).into());
    };
    let damaged = |reason: &str| Damage::new(Part::Proof { tree, id: *id }, reason);
    let slot = u32::try_from(row.get::<_, i64>(1)?).map_err(|_| damaged("its slot is out of range"))?;
    let content = row.get(2)?;
    let path: Vec<u8> = row.get(3)?;
    let (hashes, rest) = path.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(damaged("its path is cut off").into());
    }
    let path = hashes.iter().copied().map(Hash).collect();
    let height = height_of(row.get(4)?)?;
    Ok((Proof { tree, slot, content, path }, height))
}

pub(super) fn insert_header(sql: &Connection, (header, certificate): &Certified) -> Result<(), ReplicaError> {
    let height = key_of(header.height)?;
    sql.prepare_cached("INSERT OR IGNORE INTO headers (height, header, certificate) VALUES (?1, ?2, ?3)")?
        .execute((height, header.encode(), certificate.encode()))?;
    Ok(())
}

pub(super) fn insert_proof(
    sql: &Connection,
    view: i64,
    id: &Hash,
    proof: &Proof,
    height: u64,
) -> Result<(), ReplicaError> {
    let path: Vec<u8> = proof.path.iter().flat_map(|hash| hash.0).collect();
    sql.prepare_cached(
        "INSERT OR REPLACE INTO proofs (view, id, tree, slot, content, path, height)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        view,
        &id.0[..],
        tree_number(proof.tree),
        proof.slot,
        &proof.content,
        path,
        key_of(height)?,
    ))?;
    Ok(())
}

pub(super) fn insert_fork(sql: &Connection, one: &Certified, other: &Certified) -> Result<(), ReplicaError> {
    let kept: i64 = sql.query_row("SELECT count(*) FROM forks", [], |row| row.get(0))?;
    if usize::try_from(kept).is_ok_and(|kept| kept < Replica::FORKS_MAX) {
        sql.execute(
            "INSERT OR IGNORE INTO forks (one, one_certificate, other, other_certificate) VALUES (?1, ?2, ?3, ?4)",
            (one.0.encode(), one.1.encode(), other.0.encode(), other.1.encode()),
        )?;
    }
    Ok(())
}

/// The forks, each checked: two certified headers that contradict each other.
pub(super) fn forks(sql: &Connection, store: &Store) -> Result<Vec<Fork>, ReplicaError> {
    let mut select =
        sql.prepare("SELECT one, one_certificate, other, other_certificate FROM forks LIMIT ?1")?;
    let mut rows = select.query([i64::try_from(Replica::FORKS_MAX).unwrap_or(i64::MAX)])?;
    let mut forks = Vec::new();
    while let Some(row) = rows.next()? {
        let cells: [Vec<u8>; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        forks.push(fork_of(sql, store, &cells)?);
    }
    Ok(forks)
}

/// The epochs whose voters certified the forks: without them nobody could check the evidence any more.
pub(super) fn epochs_of_forks(sql: &Connection) -> Result<BTreeSet<i64>, ReplicaError> {
    let mut select = sql.prepare_cached(
        "SELECT one_certificate FROM forks UNION ALL SELECT other_certificate FROM forks LIMIT ?1",
    )?;
    let certificates = select
        .query_map([i64::try_from(2 * Replica::FORKS_MAX).unwrap_or(i64::MAX)], |row| row.get(0))?
        .collect::<Result<Vec<Vec<u8>>, _>>()?;
    // What does not decode is evidence of nothing: the next audit names it.
    let decoded = certificates.iter().filter_map(|bytes| Certificate::decode(bytes).ok());
    Ok(decoded.filter_map(|certificate| i64::try_from(certificate.epoch).ok()).collect())
}

/// A fork from its bytes.
pub(super) fn fork_of(sql: &Connection, store: &Store, cells: &[Vec<u8>; 4]) -> Result<Fork, ReplicaError> {
    let damaged = |reason: String| Damage::new(Part::Row { table: "forks" }, reason);
    let side = |header, certificate| match certified_of(sql, store, 0, header, certificate) {
        Err(ReplicaError::Damaged(damage)) => Err(damaged(damage.reason).into()),
        other => other,
    };
    let fork = Fork { one: side(&cells[0], &cells[1])?, other: side(&cells[2], &cells[3])? };
    if !contradict(&fork.one.0, &fork.other.0) {
        return Err(damaged("the two headers do not contradict each other".into()).into());
    }
    Ok(fork)
}

/// Lets go of headers that are neither the newest nor needed by a proof.
pub(super) fn trim_headers(sql: &Connection) -> Result<(), ReplicaError> {
    sql.prepare_cached(
        "DELETE FROM headers WHERE height < (SELECT max(height) FROM headers)
         AND NOT EXISTS (SELECT 1 FROM proofs WHERE proofs.height = headers.height)",
    )?
    .execute([])?;
    Ok(())
}

/// Lets go of the objects proven longest ago, past [`Replica::OBJECTS_MAX`].
pub(super) fn trim_objects(sql: &Connection) -> Result<(), ReplicaError> {
    let max = i64::try_from(Replica::OBJECTS_MAX).unwrap_or(i64::MAX);
    sql.prepare_cached(
        "DELETE FROM proofs WHERE view = ?1 AND id IN
         (SELECT id FROM proofs WHERE view = ?1 ORDER BY height DESC, id LIMIT -1 OFFSET ?2)",
    )?
    .execute((OBJECT, max))?;
    Ok(())
}

pub(super) fn height_of(key: i64) -> Result<u64, Damage> {
    u64::try_from(key).map_err(|_| Damage::new(Part::Row { table: "headers" }, "its height is negative"))
}

pub(super) fn key_of(height: u64) -> Result<i64, ReplicaError> {
    i64::try_from(height).map_err(|_| ReplicaError::Height(height))
}

/// The number of a tree in `proofs.tree`; never reused.
fn tree_number(tree: TreeName) -> i64 {
    match tree {
        TreeName::Objects => 0,
        TreeName::EnergyBalances => 1,
        TreeName::GridBalances => 2,
    }
}

const TREES: [TreeName; 3] = [TreeName::Objects, TreeName::EnergyBalances, TreeName::GridBalances];
/// Rows read for one id: one more than an account can have, so that a surplus one is seen.
const PARTS_MAX: i64 = 4;
