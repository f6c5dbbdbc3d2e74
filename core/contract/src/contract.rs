//! The contract as the ledger holds it: opened, started, settled, disputed or expired by block time.

use crate::{
    Bill, CHALLENGE_WINDOW, CLOCK_SKEW, DISPUTE_WINDOW, OPEN_AHEAD_MAX, Refused, State, Terms, Trigger,
    VerifiedAgreement, VerifiedCheckpoint, VerifiedRecord, VerifiedRelease, VerifiedStart,
    billing::energy_billable, state::after,
};
use ohmesh_units::{AccountId, Canonical, ContractId, Energy, Money, Timestamp};
use serde::{Deserialize, Serialize};

/// One contract on the ledger. It moves only by the table of [`crate::state`]; what it refuses changes nothing.
///
/// The ledger learns of a contract when it is agreed, and takes several rows at once where the two sessions took them
/// one by one: a start is Arm and Start, a settlement is Stop, Close and Settle (or Stop and Submit).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contract {
    terms: Terms,
    state: State,
    deadline: Timestamp,
    started: Option<Timestamp>,
    claim: Option<Bill>,
}

/// What a settlement does to the money in escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// Both signed: post the bill's legs now.
    Paid(Bill),
    /// The buyer has not signed: nothing moves until `until`, then [`Contract::conclude`] posts the bill, unless the
    /// buyer has disputed it before.
    Claimed {
        /// The bill that is claimed.
        bill: Bill,
        /// The end of the time in which the buyer may dispute it.
        until: Timestamp,
    },
}

impl Contract {
    /// The contract of `agreement`, whose escrow the caller locks in the same transaction.
    ///
    /// Refuses an offer that is no longer valid, a contract that begins more than [`OPEN_AHEAD_MAX`] ahead, and one
    /// with no time left to charge. That its id is new is the caller's to check.
    pub fn open(agreement: &VerifiedAgreement, now: Timestamp) -> Result<Self, Refused> {
        let (contract, terms) = (agreement.id(), agreement.terms().clone());
        let valid_until = agreement.agreement().offer.valid_until;
        State::Offered.next(Trigger::Agree, contract, valid_until, now).map_err(|refused| match refused {
            Refused::DeadlinePassed { .. } => Refused::OfferExpired { contract, valid_until, now },
            other => other,
        })?;
        let not_before = terms.not_before;
        if not_before.since(now).is_some_and(|ahead| ahead > OPEN_AHEAD_MAX) {
            return Err(Refused::TooFarAhead { contract, not_before, now });
        }
        if now >= terms.charge_until() {
            return Err(Refused::TooLate { contract, expiry: terms.expiry });
        }
        Ok(Self { deadline: terms.expiry, terms, state: State::Agreed, started: None, claim: None })
    }

    /// Takes the buyer's start, which the seller may bring at once or together with the settlement.
    ///
    /// Refuses one that is signed for a time outside the contract, or more than [`CLOCK_SKEW`] ahead of `now`.
    pub fn start(&mut self, start: &VerifiedStart, now: Timestamp) -> Result<(), Refused> {
        let (contract, at) = (self.id(), start.start().at);
        self.same(start.start().contract)?;
        let state = self.walk(&[Trigger::Arm, Trigger::Start], now)?;
        let early = at < self.terms.not_before || at.since(now).is_some_and(|ahead| ahead > CLOCK_SKEW);
        if early || at >= self.terms.charge_until() {
            return Err(Refused::StartTime { contract, at, now });
        }
        self.state = state;
        self.started = Some(at);
        Ok(())
    }

    /// Settles with the registered meter's `record` and the newest `checkpoint` there is.
    ///
    /// A checkpoint of that very record settles at once. Without, the energy is at most the checkpoint's (none: zero)
    /// plus rated power times the time since (none: since the start), and the buyer may dispute for
    /// [`CHALLENGE_WINDOW`]. Refuses a second settlement, one before the start, one at or after the expiry, a record
    /// that contradicts the checkpoint, and anything but a final record signed by both from a `sender` who is not
    /// the seller.
    pub fn settle(
        &mut self,
        sender: AccountId,
        record: &VerifiedRecord,
        checkpoint: Option<&VerifiedCheckpoint>,
        now: Timestamp,
    ) -> Result<Settlement, Refused> {
        let (contract, record) = (self.id(), record.record());
        let checkpoint = checkpoint.map(VerifiedCheckpoint::record);
        self.same(record.contract)?;
        if let Some(earlier) = checkpoint {
            self.same(earlier.contract)?;
            if !is_consistent(earlier, record) {
                let (record, checkpoint) = (record.sequence, earlier.sequence);
                return Err(Refused::Contradiction { contract, record, checkpoint });
            }
        }
        let closed = checkpoint == Some(record);
        if sender != self.terms.seller && !(closed && record.is_final) {
            return Err(Refused::SellerOnly { contract, sequence: record.sequence, sender });
        }
        let path: &[_] = if closed {
            &[Trigger::Stop, Trigger::Close, Trigger::Settle]
        } else {
            &[Trigger::Stop, Trigger::Submit]
        };
        let state = self.walk(path, now)?;
        let started = self.started.expect("only a contract with a start has a row for Stop");
        let energy = if closed {
            record.energy
        } else {
            energy_billable(&self.terms, started, record, checkpoint, now)
        };
        let bill = self.bill(energy)?;
        self.state = state;
        if closed {
            return Ok(Settlement::Paid(bill));
        }
        let until = after(now, CHALLENGE_WINDOW);
        self.deadline = until;
        self.claim = Some(bill);
        Ok(Settlement::Claimed { bill, until })
    }

    /// Disputes the claim: for [`DISPUTE_WINDOW`] from `now` it may be decided on, and then it holds as submitted.
    ///
    /// Refuses a `sender` who is not the buyer, a second dispute, and one at or after [`Contract::deadline`].
    pub fn dispute(&mut self, sender: AccountId, now: Timestamp) -> Result<(), Refused> {
        let state = self.walk(&[Trigger::Dispute], now)?;
        if sender != self.terms.buyer {
            return Err(Refused::BuyerOnly { contract: self.id(), sender });
        }
        self.state = state;
        self.deadline = after(now, DISPUTE_WINDOW);
        Ok(())
    }

    /// Takes something off the claim, disputed or not; the deadline stays. The buyer may still dispute what is left.
    ///
    /// Refuses a `sender` who is not the seller, an `energy` that is not below the claim's, and a claim whose deadline
    /// has passed.
    pub fn lower(&mut self, sender: AccountId, energy: Energy, now: Timestamp) -> Result<(), Refused> {
        let contract = self.id();
        let state = self.walk(&[Trigger::Lower], now)?;
        if sender != self.terms.seller {
            return Err(Refused::NotTheClaimant { contract, sender });
        }
        let claimed = self.claimed().energy;
        if energy >= claimed {
            return Err(Refused::ClaimRaised { contract, claimed, found: energy });
        }
        let bill = self.bill(energy)?;
        self.state = state;
        self.claim = Some(bill);
        Ok(())
    }

    /// Decides a dispute on `energy`: the bill to post now, which [`Contract::claim`] is from then on. Who may decide
    /// is the caller's rule: both sides together, or the arbiters.
    ///
    /// Refuses more energy than is claimed, a claim that is not disputed, and a decision at or after
    /// [`Contract::deadline`].
    pub fn resolve(&mut self, energy: Energy, now: Timestamp) -> Result<Bill, Refused> {
        let state = self.walk(&[Trigger::Resolve], now)?;
        let claimed = self.claimed().energy;
        if energy > claimed {
            return Err(Refused::ClaimRaised { contract: self.id(), claimed, found: energy });
        }
        let bill = self.bill(energy)?;
        self.end_in(state);
        self.claim = Some(bill);
        Ok(bill)
    }

    /// Ends a claim that nobody disputed in time, or whose dispute nobody decided in time: the bill to post now. Anyone
    /// may ask for it.
    pub fn conclude(&mut self, now: Timestamp) -> Result<Bill, Refused> {
        self.end(State::Settled, now)?;
        Ok(*self.claimed())
    }

    /// Ends a contract that was not settled in time: what goes back to the buyer, which is the whole escrow. Anyone
    /// may ask for it.
    pub fn expire(&mut self, now: Timestamp) -> Result<Money, Refused> {
        self.end(State::Expired, now)?;
        Ok(self.terms.escrow)
    }

    /// Ends a contract that the seller waives before the start: what goes back to the buyer, the whole escrow.
    pub fn release(&mut self, release: &VerifiedRelease, now: Timestamp) -> Result<Money, Refused> {
        self.same(release.signed().body.contract)?;
        self.state = self.walk(&[Trigger::Release], now)?;
        Ok(self.terms.escrow)
    }

    /// The contract's id.
    pub fn id(&self) -> ContractId {
        self.terms.id()
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// When its state times out; the expiry again once it is over.
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// When the buyer's start was signed, once the ledger has it.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// The bill that is claimed, if one is or was: what is paid when [`Contract::deadline`] comes, and what was paid
    /// once the contract is settled by it.
    pub fn claim(&self) -> Option<&Bill> {
        self.claim.as_ref()
    }

    /// What the ledger still holds for this contract; zero at every end.
    pub fn locked(&self) -> Money {
        if self.state.is_terminal() { Money::ZERO } else { self.terms.escrow }
    }

    fn end(&mut self, end: State, now: Timestamp) -> Result<(), Refused> {
        let to = self.walk(&[Trigger::Timeout], now)?;
        if to != end {
            let (contract, state) = (self.id(), self.state);
            return Err(Refused::Transition { contract, state, trigger: Trigger::Timeout });
        }
        self.end_in(to);
        Ok(())
    }

    /// No deadline is left: not even that of a dispute, so that how a contract ended does not depend on when its claim was
    /// made or disputed. Whoever knows the terms, the start and the bill knows all of it.
    fn end_in(&mut self, state: State) {
        (self.state, self.deadline) = (state, self.terms.expiry);
    }

    fn bill(&self, energy: Energy) -> Result<Bill, Refused> {
        Bill::of(&self.terms, energy).map_err(|error| Refused::Terms { contract: self.id(), error })
    }

    fn claimed(&self) -> &Bill {
        self.claim.as_ref().expect("only a settlement leads to Submitted, and it claims")
    }

    /// The state after all of `triggers` at `now`.
    fn walk(&self, triggers: &[Trigger], now: Timestamp) -> Result<State, Refused> {
        triggers.iter().try_fold(self.state, |state, t| state.next(*t, self.id(), self.deadline, now))
    }

    fn same(&self, found: ContractId) -> Result<(), Refused> {
        let expected = self.id();
        if found == expected { Ok(()) } else { Err(Refused::AnotherContract { expected, found }) }
    }
}

impl Canonical for Contract {
    const NAME: &'static str = "contract";
    const MAX_BYTES: usize = Terms::MAX_BYTES + 1 + 10 + 11 + 1 + Bill::MAX_BYTES;
}

/// Whether `later` can follow `earlier` on one meter: nothing runs backwards, and nothing follows a final record.
pub(crate) fn is_consistent(earlier: &crate::MeterRecord, later: &crate::MeterRecord) -> bool {
    earlier == later
        || (!earlier.is_final
            && earlier.sequence < later.sequence
            && earlier.register_start == later.register_start
            && earlier.energy <= later.energy
            && earlier.at <= later.at)
}
