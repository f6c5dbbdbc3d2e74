//! Transactions that wait for a block.

use ohmesh_ledger::{Block, Body, SignedTransaction, TransactionError, Verified};
use ohmesh_units::{AccountId, Canonical, Timestamp, TransactionId};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Checked transactions in the order of their arrival, bounded in number and bytes. What validators owe the ledger comes
/// first, and has room that nobody else can fill.
#[derive(Default)]
pub struct Mempool {
    waiting: BTreeMap<Place, Verified>,
    places: HashMap<TransactionId, Place>,
    arrivals: u64,
    /// What all but duties take up.
    open: Room,
    /// What each validator's duties take up.
    duties: BTreeMap<AccountId, Room>,
    /// Accounts that are to be opened by their owners.
    opening: usize,
    /// Why the newest refused ones were refused, so that their senders can be told.
    refused: VecDeque<(TransactionId, TransactionError)>,
}

/// Where a transaction waits: those of a lane in the order of their arrival.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    lane: Lane,
    arrival: u64,
}

/// In the order in which they come into a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Duty,
    Open,
}

/// How much room is taken.
#[derive(Clone, Copy, Default)]
struct Room {
    count: usize,
    bytes: usize,
}

impl Mempool {
    /// Transactions at most, duties aside: four full blocks.
    pub const MAX: usize = 4 * Block::TRANSACTIONS_MAX;
    /// Bytes at most, duties aside.
    pub const BYTES_MAX: usize = 4 * Block::MAX_BYTES;
    /// Duties of one validator that have room of their own: a release for each of so many auctions.
    pub const DUTIES_MAX: usize = 256;
    /// Their bytes: three releases of the longest kind.
    pub const DUTIES_BYTES_MAX: usize = Block::MAX_BYTES / 4;
    /// Refused ones that are remembered.
    pub const REFUSED_MAX: usize = 1_000;

    /// Takes a transaction; whether it is new and there was room. `is_duty`: its sender is a validator who owes it to the
    /// ledger.
    pub fn insert(&mut self, verified: Verified, is_duty: bool) -> bool {
        let id = verified.transaction().id();
        let size = verified.encoded().len();
        if self.places.contains_key(&id) {
            return false;
        }
        let own = self.duties.get(&id.sender).copied().unwrap_or_default();
        let lane = if is_duty && own.has_room(size, Self::DUTIES_MAX, Self::DUTIES_BYTES_MAX) {
            Lane::Duty
        } else if self.open.has_room(size, Self::MAX, Self::BYTES_MAX) {
            Lane::Open
        } else {
            return false;
        };
        let place = Place { lane, arrival: self.arrivals };
        self.arrivals += 1;
        self.room(lane, id.sender).take(size);
        self.opening += usize::from(opens_account(&verified));
        self.places.insert(id, place);
        self.waiting.insert(place, verified);
        true
    }

    /// Whether this very content waits.
    pub fn holds(&self, verified: &Verified) -> bool {
        self.waiting(&verified.transaction().id()).is_some_and(|other| other.content() == verified.content())
    }

    /// The waiting transaction with the id of `signed`, whose signatures have been checked.
    pub fn known(&self, signed: &SignedTransaction) -> Option<&Verified> {
        self.waiting(&signed.transaction.id())
    }

    /// Whether a transaction of this id waits.
    pub fn holds_id(&self, id: &TransactionId) -> bool {
        self.places.contains_key(id)
    }

    /// Duties first, then in the order of their arrival.
    pub fn candidates(&self) -> impl Iterator<Item = &Verified> {
        self.waiting.values()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many accounts are to be opened by their owners.
    pub fn opening(&self) -> usize {
        self.opening
    }

    /// Drops one that cannot apply, and remembers why.
    pub fn refuse(&mut self, id: &TransactionId, reason: TransactionError) {
        self.remove(id);
        if self.refused.len() == Self::REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((*id, reason));
    }

    /// Why a transaction was refused, if that is still remembered.
    pub fn refusal(&self, id: &TransactionId) -> Option<&TransactionError> {
        self.refused.iter().rev().find(|(refused, _)| refused == id).map(|(_, reason)| reason)
    }

    /// Drops those of a decided block, and those whose time is over.
    pub fn applied(&mut self, block: &Block, now: Timestamp) {
        for signed in &block.transactions {
            self.remove(&signed.transaction.id());
        }
        let over: Vec<(TransactionId, Timestamp)> = self
            .waiting
            .values()
            .map(|waiting| (waiting.transaction().id(), waiting.transaction().valid_until))
            .filter(|(_, valid_until)| *valid_until <= now)
            .collect();
        for (id, valid_until) in over {
            self.refuse(&id, TransactionError::Expired { valid_until, now });
        }
    }

    fn waiting(&self, id: &TransactionId) -> Option<&Verified> {
        self.places.get(id).and_then(|place| self.waiting.get(place))
    }

    fn remove(&mut self, id: &TransactionId) {
        let Some(place) = self.places.remove(id) else { return };
        let gone = self.waiting.remove(&place).expect("what has a place waits there");
        self.opening -= usize::from(opens_account(&gone));
        let room = self.room(place.lane, id.sender);
        room.give_back(gone.encoded().len());
        if place.lane == Lane::Duty && room.count == 0 {
            self.duties.remove(&id.sender);
        }
    }

    fn room(&mut self, lane: Lane, sender: AccountId) -> &mut Room {
        match lane {
            Lane::Duty => self.duties.entry(sender).or_default(),
            Lane::Open => &mut self.open,
        }
    }
}

impl Room {
    fn has_room(self, size: usize, count_max: usize, bytes_max: usize) -> bool {
        self.count < count_max && self.bytes + size <= bytes_max
    }

    fn take(&mut self, size: usize) {
        self.count += 1;
        self.bytes += size;
    }

    fn give_back(&mut self, size: usize) {
        self.count -= 1;
        self.bytes -= size;
    }
}

/// Whether it opens the account of who signs it.
pub(super) fn opens_account(verified: &Verified) -> bool {
    matches!(verified.transaction().body, Body::OpenAccount { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_ledger::Transaction;
    use ohmesh_units::{SigningKey, ZoneId};

    const ZONE: ZoneId = ZoneId([1; 32]);

    fn transactions(sender: u8, count: usize) -> Vec<Verified> {
        let key = SigningKey::from_seed([sender; 32]);
        let sign = |number| {
            let transaction = Transaction {
                zone: ZONE,
                sender: AccountId::of(&key.public()),
                number,
                valid_until: Timestamp::from_millis(1_000),
                body: Body::OpenAccount { owner: key.public() },
            };
            transaction.sign(&[&key])
        };
        Verified::all(&ZONE, (0..count as u128).map(sign).collect()).unwrap()
    }

    fn fill(mempool: &mut Mempool, all: &[Verified], is_duty: bool) -> usize {
        all.iter().filter(|one| mempool.insert((*one).clone(), is_duty)).count()
    }

    #[test]
    fn a_validator_fills_its_own_room_and_then_everybodys() {
        let mut mempool = Mempool::default();
        let strangers = transactions(1, Mempool::MAX + 1);
        let [one, other] = [2, 3].map(|sender| transactions(sender, Mempool::DUTIES_MAX + 1));
        assert_eq!(fill(&mut mempool, &strangers, false), Mempool::MAX);
        assert_eq!(
            fill(&mut mempool, &one, true),
            Mempool::DUTIES_MAX,
            "what one owes takes no more than its room"
        );
        assert_eq!(fill(&mut mempool, &other, true), Mempool::DUTIES_MAX, "and nothing of another's");
        assert_eq!(mempool.len(), Mempool::MAX + 2 * Mempool::DUTIES_MAX);
        assert_eq!(mempool.opening(), mempool.len());
        let first: Vec<&Verified> = mempool.candidates().take(2 * Mempool::DUTIES_MAX).collect();
        let duties = one[..Mempool::DUTIES_MAX].iter().chain(&other[..Mempool::DUTIES_MAX]);
        assert!(first.into_iter().eq(duties), "duties first, in the order of their arrival");
        assert!(mempool.candidates().skip(2 * Mempool::DUTIES_MAX).eq(&strangers[..Mempool::MAX]));

        mempool.refuse(&strangers[0].transaction().id(), TransactionError::AlreadyApplied);
        assert_eq!(
            fill(&mut mempool, &one, true),
            1,
            "where there is room for anybody's, there is for duties"
        );
        mempool.refuse(&one[0].transaction().id(), TransactionError::AlreadyApplied);
        assert!(mempool.insert(one[0].clone(), true) && !mempool.insert(strangers[0].clone(), false));
    }

    #[test]
    fn what_goes_gives_its_room_back() {
        let mut mempool = Mempool::default();
        let (mine, others) = (transactions(1, 5), transactions(2, 5));
        fill(&mut mempool, &mine, true);
        fill(&mut mempool, &others, false);
        mempool.applied(
            &Block { header: header(), transactions: vec![mine[0].signed().clone()] },
            Timestamp::EPOCH,
        );
        assert_eq!((mempool.len(), mempool.opening()), (9, 9));
        mempool.applied(&Block { header: header(), transactions: Vec::new() }, Timestamp::from_millis(1_000));
        assert_eq!((mempool.len(), mempool.opening()), (0, 0), "their time is over");
        assert_eq!((mempool.open.count, mempool.open.bytes, mempool.duties.len()), (0, 0, 0));
    }

    fn header() -> ohmesh_ledger::Header {
        ohmesh_ledger::Header {
            zone: ZONE,
            height: 1,
            epoch: 0,
            time: Timestamp::EPOCH,
            parent: ohmesh_units::Hash::ZERO,
            proposer: 0,
            transactions: ohmesh_units::Hash::ZERO,
            transaction_count: 0,
            state: Default::default(),
            voters: ohmesh_units::Hash::ZERO,
            rules: 1,
            next_voters: None,
        }
    }
}
