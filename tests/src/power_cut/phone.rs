//! A phone's files at work: proofs come in, transactions are signed, things are forgotten.

use super::{Town, below};
use crate::{account, key};
use ohmesh_ledger::{
    Anchor, Answer, Asset, Body, HandOver, Journal, Leg, Proof, ProvenAccount, Query, ZoneFile,
};
use ohmesh_node::{
    Certified, NodeError, OnDamage, Place, Replica, ReplicaError, Sent, Status, Store, Wallet,
};
use ohmesh_units::{Hash, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use station_agent::disk::Memory;
use std::sync::Arc;

/// One thing a phone does to its files; all of it durable when it returns, or none of it after a power cut.
#[derive(Clone, Debug)]
pub enum Op {
    /// Follows the zone into later epochs.
    HandOvers(Vec<HandOver>),
    /// Keeps its account as proven.
    Account(Box<Certified>, Vec<Proof>),
    /// Keeps another's account object as proven.
    Object(Hash, Box<Certified>, Box<Proof>),
    /// Keeps a header.
    Head(Box<Certified>),
    /// Lets go of an object.
    Forget(Hash),
    /// Signs a transaction, with the randomness of this seed.
    Sign(Body, Timestamp, u64),
    /// Notes what an agent says of the oldest open transaction.
    Note(Status),
    /// Brings everything into the main file.
    Checkpoint,
    /// Closes everything and opens it again.
    Reopen,
}

/// Everything that a phone can see in its files.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    epoch: Anchor,
    head: Option<Certified>,
    account: Option<ProvenAccount>,
    objects: Vec<Option<(ohmesh_ledger::Header, ohmesh_ledger::Object)>>,
    sent: Vec<Sent>,
}

/// A wallet and a replica in one store.
pub struct Phone {
    open: Option<Open>,
    place: Place,
    zone: ZoneFile,
}

struct Open {
    store: Arc<Store>,
    replica: Replica,
    wallet: Wallet,
}

impl Phone {
    /// Opens the files at `place`; nothing damaged is accepted.
    ///
    /// Errors: the store's, the replica's, the wallet's.
    pub fn open(place: Place, zone: &ZoneFile) -> Result<Self, NodeError> {
        let mut phone = Self { open: None, place, zone: zone.clone() };
        phone.reopen()?;
        Ok(phone)
    }

    fn reopen(&mut self) -> Result<(), NodeError> {
        self.open = None;
        let store = Store::open(&self.place, &self.zone)?;
        let (replica, _) = Replica::open(store.clone(), OnDamage::Refuse)?;
        let (wallet, _) = Wallet::open(store.clone(), key(PHONE), OnDamage::Refuse)?;
        self.open = Some(Open { store, replica, wallet });
        Ok(())
    }

    fn files(&self) -> &Open {
        self.open.as_ref().expect("it is only closed while it is opened again, and not used after that fails")
    }

    /// Does one thing.
    ///
    /// Errors: the store's, the replica's, the wallet's.
    pub fn perform(&mut self, op: &Op) -> Result<(), NodeError> {
        if matches!(op, Op::Reopen) {
            // In memory, closing would be forgetting.
            return if self.place == Place::Memory { Ok(()) } else { self.reopen() };
        }
        let Open { store, replica, wallet } = self.files();
        match op {
            Op::HandOvers(some) => drop(replica.store_hand_overs(some)?),
            Op::Account(certified, proofs) => {
                replica.store_account(&account(PHONE), certified, proofs)?;
            }
            Op::Object(id, certified, proof) => drop(replica.store_object(id, certified, proof)?),
            Op::Head(certified) => replica.store_head(certified)?,
            Op::Forget(id) => replica.forget_object(id)?,
            Op::Sign(body, now, seed) => {
                wallet.sign(body.clone(), *now, &mut ChaCha20Rng::seed_from_u64(*seed))?;
            }
            Op::Note(status) => {
                if let Some(oldest) = wallet.open_transactions()?.first() {
                    wallet.note(&oldest.id(), status)?;
                }
            }
            Op::Checkpoint => store.checkpoint()?,
            Op::Reopen => unreachable!("done above"),
        }
        Ok(())
    }

    /// Everything in the files that can be seen; what is read is verified on its way out.
    ///
    /// Errors: the replica's, the wallet's.
    pub fn seen(&self) -> Result<Seen, NodeError> {
        let Open { replica, wallet, .. } = self.files();
        let objects = OTHERS.map(|n| replica.object(&account(n).into()));
        Ok(Seen {
            epoch: replica.epoch()?,
            head: replica.certified_head()?,
            account: replica.account(&account(PHONE))?,
            objects: objects.into_iter().collect::<Result<_, ReplicaError>>()?,
            sent: wallet.history(Wallet::ENDED_MAX)?,
        })
    }
}

/// What a phone does in a day, by seed: at least `ops` things, and the zone they belong to.
pub fn script(seed: u64, ops: usize) -> (ZoneFile, Vec<Op>) {
    let mut disks = vec![Memory::default()];
    let zone = Town::found(&mut disks);
    let opened = Town::open(&zone, disks, (seed, 0, zone.zone.created), |_| ());
    let mut town = opened.expect("memory does not fail");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut script = Vec::new();
    let mut epoch = 0;
    town.work(3).expect("memory does not fail");
    while script.len() < ops {
        town.work(1).expect("memory does not fail");
        script.extend(signs(&town, &mut rng));
        let hand_overs = hand_overs(&mut town, epoch);
        if let Some(newest) = hand_overs.last() {
            epoch = newest.epoch();
            script.push(Op::HandOvers(hand_overs));
        }
        let (certified, proofs) = proofs(&mut town, Query::Account(account(PHONE)));
        let proofs = proofs.into_iter().map(|proof| proof.with_owner(&key(PHONE).public())).collect();
        script.push(Op::Account(certified, proofs));
        let other = OTHERS[below(&mut rng, OTHERS.len())];
        let id = account(other).into();
        let (certified, proofs) = proofs_of(&mut town, id);
        script.push(match below(&mut rng, 8) {
            0 => Op::Forget(id),
            1 => Op::Head(certified),
            _ => Op::Object(id, certified, Box::new(proofs)),
        });
        script.extend(match below(&mut rng, 30) {
            0 | 1 => Some(Op::Checkpoint),
            2 | 3 => Some(Op::Reopen),
            _ => None,
        });
    }
    (zone, script)
}

fn signs(town: &Town<Memory>, rng: &mut ChaCha20Rng) -> Vec<Op> {
    let legs = (0..=below(rng, 8)).map(|_| Leg::Move {
        journal: Journal::Energy,
        asset: Asset::Currency,
        from: account(PHONE),
        to: account(11),
        amount: 1,
    });
    let seed = below(rng, usize::MAX) as u64;
    let sign = Op::Sign(Body::Transfer { legs: legs.collect() }, town.now(), seed);
    let note = Op::Note(match below(rng, 4) {
        0 => Status::Waiting,
        1 => Status::Refused { reason: "no".repeat(below(rng, 90)) },
        _ => Status::Reported,
    });
    vec![sign, note]
}

/// Those that lead from `epoch` to the newest.
fn hand_overs(town: &mut Town<Memory>, epoch: u64) -> Vec<HandOver> {
    match town.ask(0, Query::HandOvers { from: epoch }).expect("memory does not fail") {
        Answer::HandOvers(some) => some,
        other => panic!("{other:?}"),
    }
}

fn proofs_of(town: &mut Town<Memory>, id: Hash) -> (Box<Certified>, Proof) {
    let (certified, mut proofs) = proofs(town, Query::Object(id));
    (certified, proofs.pop().expect("the account is open"))
}

fn proofs(town: &mut Town<Memory>, query: Query) -> (Box<Certified>, Vec<Proof>) {
    match town.ask(0, query).expect("memory does not fail") {
        Answer::Proofs(certified, proofs) => (certified, proofs),
        other => panic!("{other:?}"),
    }
}

/// Who holds the phone.
const PHONE: u8 = 10;
/// Whose accounts it follows.
const OTHERS: [u8; 3] = [11, 12, 10];
