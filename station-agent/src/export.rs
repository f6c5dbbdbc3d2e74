//! What a regulator may learn of a zone's sales: totals for each circuit and quarter of an hour, by a signed order, and
//! never of fewer than five sessions.
//!
//! A *cell* is one circuit in one slot. A slot begins at a whole quarter of an hour of Unix time and belongs to the block
//! time at which a sale was paid, so that a slot that is over never changes: an order speaks of whole slots that are over,
//! and every order gives the same numbers for the same cell. A cell of fewer than [`SESSIONS_MIN`] sessions is left out,
//! and so is one of none: nobody learns which of the two it was. There are no sums over cells. So two orders, whatever
//! their ranges, circuits and times, differ by whole cells, each of at least five sessions, and never by a single one.
//!
//! What remains: who knows four of a cell's five sessions, its own among them, can subtract them; who pays for sessions of
//! its own can lift a cell over the threshold and subtract those; a cell of one large session and four small ones
//! tells about the large one. And the order binds those who obey it: whoever has an agent's data folder can read every
//! settlement in it, by one-time account.

use ohmesh_units::{Canonical, Domain, Energy, Money, PublicKey, Signature, SigningKey, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map::Entry};

/// Why nothing is exported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExportError {
    /// A time of the order is not the beginning of a slot.
    #[error("{0} is not a whole quarter of an hour: an order speaks of whole slots")]
    NotASlot(Timestamp),
    /// The order ends before it begins, or asks for too much at once.
    #[error("from {from} to {to} is not 1 to {SLOTS_MAX} slots of 15 minutes")]
    Range {
        /// Its first slot.
        from: Timestamp,
        /// The end of its last slot.
        to: Timestamp,
    },
    /// The circuits are not a list of distinct ones in ascending order.
    #[error("an order names 1 to {CIRCUITS_MAX} circuits, ascending, each once; or all")]
    Circuits,
    /// The order is for another ledger.
    #[error("the order is for zone {ordered}, this is zone {zone}")]
    OtherZone {
        /// The order's.
        ordered: ZoneId,
        /// This one.
        zone: ZoneId,
    },
    /// The zone's regulators have named no audit key.
    #[error(
        "the zone has no audit key at its newest block: nothing may be exported until the regulators set one"
    )]
    NoAuditKey,
    /// The order is not signed by the audit key that holds now.
    #[error("the order is not signed by the zone's audit key {0}")]
    WrongSignature(PublicKey),
    /// The last slots are not over yet: what is told of them now could be compared with what is told later.
    #[error("the order ends at {to}, the newest block is of {now}: only slots that are over are exported")]
    NotOver {
        /// The end of the order.
        to: Timestamp,
        /// The newest block's time.
        now: Timestamp,
    },
    /// A total does not fit its type.
    #[error("the totals of circuit {circuit:?} at {slot} overflow")]
    Overflow {
        /// The circuit.
        circuit: Option<u32>,
        /// The beginning of the slot.
        slot: Timestamp,
    },
}

/// What is to be exported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExportOrder {
    /// Of which ledger.
    pub zone: ZoneId,
    /// Of which circuits, ascending, at most [`CIRCUITS_MAX`]; none: all, those of unknown circuit included.
    pub circuits: Option<Vec<u32>>,
    /// The beginning of the first slot.
    pub from: Timestamp,
    /// The end of the last slot.
    pub to: Timestamp,
}

impl Canonical for ExportOrder {
    const NAME: &'static str = "export order";
    const MAX_BYTES: usize = 64 + CIRCUITS_MAX * 5;
}

impl ExportOrder {
    const DOMAIN: Domain = Domain::new("ohmesh/1 export order");

    /// Checks that it speaks of whole slots, at least one and at most [`SLOTS_MAX`], and of distinct circuits.
    pub fn check(&self) -> Result<(), ExportError> {
        if let Some(at) = [self.from, self.to].into_iter().find(|at| slot_of(*at) != *at) {
            return Err(ExportError::NotASlot(at));
        }
        let slots = self.to.as_millis().saturating_sub(self.from.as_millis()) / SLOT_MS;
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(ExportError::Range { from: self.from, to: self.to });
        }
        match &self.circuits {
            Some(some) if some.is_empty() || some.len() > CIRCUITS_MAX => Err(ExportError::Circuits),
            Some(some) if !some.is_sorted_by(|a, b| a < b) => Err(ExportError::Circuits),
            _ => Ok(()),
        }
    }

    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(Self::DOMAIN, &self.encode())
    }

    /// Whether `signature` lets this be exported from the ledger of `zone`, whose audit key is `audit_key`.
    pub fn authorize(
        &self,
        signature: &Signature,
        zone: ZoneId,
        audit_key: Option<PublicKey>,
    ) -> Result<(), ExportError> {
        self.check()?;
        if self.zone != zone {
            return Err(ExportError::OtherZone { ordered: self.zone, zone });
        }
        let key = audit_key.ok_or(ExportError::NoAuditKey)?;
        if !key.verify(Self::DOMAIN, &self.encode(), signature) {
            return Err(ExportError::WrongSignature(key));
        }
        Ok(())
    }

    fn wants(&self, session: &Session) -> bool {
        let circuit = match (&self.circuits, session.circuit) {
            (None, _) => true,
            (Some(circuits), Some(circuit)) => circuits.binary_search(&circuit).is_ok(),
            (Some(_), None) => false,
        };
        circuit && (self.from..self.to).contains(&session.paid_at)
    }
}

/// One sale as it was paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The circuit that fed the station then, if it was known.
    pub circuit: Option<u32>,
    /// The time of the block that paid it.
    pub paid_at: Timestamp,
    /// What was sold.
    pub energy: Energy,
    /// What the buyer paid.
    pub paid: Money,
    /// What of it the distributor got.
    pub grid_fee: Money,
}

/// The totals of one cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    /// The circuit; none: unknown.
    pub circuit: Option<u32>,
    /// The beginning of the slot.
    pub slot: Timestamp,
    /// How many sales; at least [`SESSIONS_MIN`].
    pub sessions: u64,
    /// What they sold together.
    pub energy: Energy,
    /// What their buyers paid together.
    pub paid: Money,
    /// What the distributor got together.
    pub grid_fee: Money,
}

/// Sales on their way to totals: memory follows the cells, not the sales.
pub struct Totals {
    order: ExportOrder,
    cells: BTreeMap<(Timestamp, Option<u32>), Cell>,
}

impl Totals {
    /// Nothing counted yet.
    pub fn new(order: ExportOrder) -> Self {
        Self { order, cells: BTreeMap::new() }
    }

    /// Counts a sale, if it is ordered.
    pub fn add(&mut self, session: &Session) -> Result<(), ExportError> {
        if !self.order.wants(session) {
            return Ok(());
        }
        let (circuit, slot) = (session.circuit, slot_of(session.paid_at));
        match self.cells.entry((slot, circuit)) {
            Entry::Vacant(cell) => {
                let Session { energy, paid, grid_fee, .. } = *session;
                cell.insert(Cell { circuit, slot, sessions: 1, energy, paid, grid_fee });
            }
            Entry::Occupied(mut cell) => {
                let sum = cell.get().with(session).ok_or(ExportError::Overflow { circuit, slot })?;
                cell.insert(sum);
            }
        }
        Ok(())
    }

    /// The cells that may be told, by slot, then circuit; `now` is the newest block's time.
    pub fn cells(self, now: Timestamp) -> Result<Vec<Cell>, ExportError> {
        let to = self.order.to;
        if to > now {
            return Err(ExportError::NotOver { to, now });
        }
        Ok(self.cells.into_values().filter(|cell| cell.sessions >= SESSIONS_MIN).collect())
    }
}

impl Cell {
    fn with(&self, session: &Session) -> Option<Self> {
        Some(Self {
            sessions: self.sessions.checked_add(1)?,
            energy: self.energy.checked_add(session.energy)?,
            paid: self.paid.checked_add(session.paid)?,
            grid_fee: self.grid_fee.checked_add(session.grid_fee)?,
            ..*self
        })
    }
}

/// The beginning of the slot in which `at` lies.
pub fn slot_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis() / SLOT_MS * SLOT_MS)
}

/// A cell of fewer sessions is not told.
pub const SESSIONS_MIN: u64 = 5;
/// A slot: 15 minutes, as grids settle.
pub const SLOT_MS: u64 = 15 * 60 * 1000;
/// Slots of one order at most: a leap year.
pub const SLOTS_MAX: u64 = 366 * 24 * 4;
/// Circuits that one order names at most; more are all.
pub const CIRCUITS_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn order(circuits: Option<&[u32]>, from: u64, to: u64) -> ExportOrder {
        let at = |slot| Timestamp::from_millis(slot * SLOT_MS);
        let circuits = circuits.map(<[u32]>::to_vec);
        ExportOrder { zone: ZoneId([7; 32]), circuits, from: at(from), to: at(to) }
    }

    /// A sale `offset_ms` after the beginning of `slot`.
    fn session(circuit: Option<u32>, slot: u64, offset_ms: u64, wh: u64) -> Session {
        Session {
            circuit,
            paid_at: Timestamp::from_millis(slot * SLOT_MS + offset_ms),
            energy: Energy::from_wh(wh),
            paid: Money::from_micro(i64::try_from(wh).unwrap() * 400),
            grid_fee: Money::from_micro(i64::try_from(wh).unwrap() * 80),
        }
    }

    fn export(order: ExportOrder, sessions: &[Session]) -> Vec<Cell> {
        let now = order.to;
        let mut totals = Totals::new(order);
        sessions.iter().for_each(|session| totals.add(session).unwrap());
        totals.cells(now).unwrap()
    }

    #[test]
    fn a_cell_of_four_sessions_is_as_one_of_none_and_five_are_summed() {
        let mut sessions: Vec<Session> = (0..4).map(|n| session(Some(1), 10, n, 1_000)).collect();
        assert_eq!(export(order(None, 10, 11), &sessions), []);
        sessions.push(session(Some(1), 10, SLOT_MS - 1, 500));
        let cells = export(order(None, 10, 11), &sessions);
        let expected = Cell {
            circuit: Some(1),
            slot: Timestamp::from_millis(10 * SLOT_MS),
            sessions: 5,
            energy: Energy::from_wh(4_500),
            paid: Money::from_micro(4_500 * 400),
            grid_fee: Money::from_micro(4_500 * 80),
        };
        assert_eq!(cells, [expected]);
        // One more on another circuit and one more in the next slot change nothing here.
        sessions.push(session(Some(2), 10, 0, 77));
        sessions.push(session(Some(1), 11, 0, 77));
        assert_eq!(export(order(None, 10, 12), &sessions), [expected]);
    }

    /// The attack: take any two orders of any ranges and circuits, subtract their totals, and see what is left.
    #[test]
    fn the_difference_of_any_two_orders_is_of_five_sessions_or_of_none() {
        let mut sessions = Vec::new();
        for slot in 0..6u64 {
            for circuit in [None, Some(1), Some(2)] {
                let count = (slot * 3 + u64::from(circuit.unwrap_or(0))) % 9;
                sessions.extend((0..count).map(|n| session(circuit, slot, n * 1_000, 100 + n)));
            }
        }
        let mut orders = Vec::new();
        for from in 0..6 {
            for to in from + 1..=6 {
                for circuits in [None, Some(&[1][..]), Some(&[2][..]), Some(&[1, 2][..])] {
                    orders.push(order(circuits, from, to));
                }
            }
        }
        let told: Vec<Vec<Cell>> = orders.iter().map(|order| export(order.clone(), &sessions)).collect();
        let mut differing = 0;
        for (a, b) in told.iter().flat_map(|a| told.iter().map(move |b| (a, b))) {
            for cell in a {
                assert!(cell.sessions >= SESSIONS_MIN);
                let same = b.iter().find(|other| (other.slot, other.circuit) == (cell.slot, cell.circuit));
                assert!(same.is_none_or(|same| same == cell), "a cell is told the same in every order");
                differing += u32::from(same.is_none());
            }
            let sum = |cells: &[Cell]| cells.iter().map(|cell| cell.sessions).sum::<u64>();
            let common: u64 = a.iter().filter(|cell| b.contains(cell)).map(|cell| cell.sessions).sum();
            for left in [sum(a) - common, sum(b) - common] {
                assert!(left == 0 || left >= SESSIONS_MIN, "{left} sessions are isolated");
            }
        }
        assert!(differing > 0, "the orders do differ");
    }

    #[test]
    fn a_slot_is_told_only_when_it_is_over_so_that_no_later_order_adds_one_session() {
        let order = order(None, 3, 5);
        let end = order.to.as_millis();
        let early = Totals::new(order.clone()).cells(Timestamp::from_millis(end - 1));
        assert!(matches!(early, Err(ExportError::NotOver { .. })));
        assert_eq!(Totals::new(order).cells(Timestamp::from_millis(end)), Ok(Vec::new()));
    }

    #[test]
    fn an_order_that_splits_a_slot_or_is_not_the_auditors_is_refused() {
        let key = SigningKey::from_seed([1; 32]);
        let (zone, audit) = (ZoneId([7; 32]), Some(key.public()));
        let good = order(Some(&[1, 2]), 4, 8);
        let signature = good.sign(&key);
        assert_eq!(good.authorize(&signature, zone, audit), Ok(()));

        let split = ExportOrder { from: Timestamp::from_millis(4 * SLOT_MS + 1), ..good.clone() };
        assert_eq!(split.authorize(&split.sign(&key), zone, audit), Err(ExportError::NotASlot(split.from)));
        let backwards = order(None, 8, 8);
        assert!(matches!(backwards.check(), Err(ExportError::Range { .. })));
        assert!(matches!(order(None, 0, SLOTS_MAX + 1).check(), Err(ExportError::Range { .. })));
        for circuits in [&[][..], &[2, 1], &[1, 1]] {
            assert_eq!(order(Some(circuits), 4, 8).check(), Err(ExportError::Circuits));
        }
        let longer = ExportOrder { to: Timestamp::from_millis(9 * SLOT_MS), ..good.clone() };
        let wrong = ExportError::WrongSignature(key.public());
        assert_eq!(longer.authorize(&signature, zone, audit), Err(wrong.clone()), "changed after signing");
        let other = SigningKey::from_seed([2; 32]);
        assert_eq!(good.authorize(&good.sign(&other), zone, audit), Err(wrong));
        assert_eq!(good.authorize(&signature, zone, None), Err(ExportError::NoAuditKey));
        let elsewhere = ZoneId([8; 32]);
        let refused = good.authorize(&signature, elsewhere, audit);
        assert_eq!(refused, Err(ExportError::OtherZone { ordered: zone, zone: elsewhere }));
    }
}
