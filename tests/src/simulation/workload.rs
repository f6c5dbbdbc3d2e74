//! What the people of a simulated zone do: accounts, money, holds and metered sales, and now and then what they must not.

use super::{Dice, books::Secret, market::Market};
use crate::zone::{DISTRIBUTOR, TREASURER, account, address, key, vote_key};
use ohmesh_ledger::{
    Asset, Body, Governance, Journal, Leg, Object, Pending, SignedTransaction, State, Transaction, Validator,
    ValidatorSet,
};
use ohmesh_units::{AccountId, Energy, EvseId, Hash, Position, Power, Price, StationId, Timestamp};
use std::time::Duration;

/// The people of the zone.
pub struct Workload {
    dice: Dice,
    numbers: u128,
    /// What the operator's meter has counted.
    counted: u64,
    /// Those who hold auctions, if somebody does.
    market: Option<Market>,
    /// Agents that are to become validators, by participant.
    newcomers: Vec<u8>,
}

/// A transaction, and whether it may ever apply.
pub struct Wish {
    /// The transaction.
    pub signed: SignedTransaction,
    /// Whether it breaks a rule, so that it must never be in a block.
    pub is_bad: bool,
    /// What it hides.
    pub secret: Option<Secret>,
}

impl Workload {
    /// The people of a seed's zone.
    pub fn new(seed: u64, has_market: bool, newcomers: Vec<u8>) -> Self {
        let market = has_market.then(|| Market::new(seed));
        Self { dice: Dice::new(seed, "workload", 0), numbers: 0, counted: 0, market, newcomers }
    }

    /// Whether all sales have come to their end.
    pub fn is_over(&self) -> bool {
        self.market.as_ref().is_none_or(Market::is_over)
    }

    /// What somebody wants next, given what the agent that is asked knows.
    pub fn next(&mut self, state: &State, now: Timestamp) -> Wish {
        let now = now.max(state.head().time);
        if self.dice.chance(70) {
            return self.bad(state, now);
        }
        let has_turn = self.dice.chance(700);
        if let Some(step) =
            self.market.as_mut().filter(|_| has_turn).and_then(|market| market.next(state, now))
        {
            let signed = self.sign(state, now, step.sender, step.body, &step.also);
            return Wish { signed, is_bad: step.is_bad, secret: step.secret };
        }
        let (sender, body, also) = self.good(state, now);
        Wish { signed: self.sign(state, now, sender, body, &also), is_bad: false, secret: None }
    }

    /// Something that the rules allow, unless somebody else was quicker.
    fn good(&mut self, state: &State, now: Timestamp) -> (u8, Body, Vec<u8>) {
        let driver = *self.dice.pick(&DRIVERS);
        if let Some(missing) = [OPERATOR, driver].into_iter().find(|n| state.account(&account(*n)).is_none())
        {
            return (missing, Body::OpenAccount { owner: key(missing).public() }, vec![]);
        }
        if let Some(body) = registration(state) {
            return (OPERATOR, body, vec![]);
        }
        if let Some(admission) = self.admission(state) {
            return admission;
        }
        if self.dice.chance(15) {
            return self.decision(state, now);
        }
        let available = state.balance(Journal::Energy, &account(driver));
        if available.is_none_or(|(_, balance)| balance.of(Asset::Currency).available() < LEAST) {
            let (asset, to) = (Asset::Currency, account(driver));
            let reference = "simulated".into();
            return (TREASURER, Body::Issue { asset, to, amount: 20 * LEAST, reference }, vec![]);
        }
        match self.dice.below(20) {
            0..=6 => (driver, self.transfer(driver), vec![]),
            7..=9 => (driver, self.pend(now), vec![]),
            10..=12 => (driver, self.pend_sale(now), vec![]),
            13 => match self.dice.below(3) {
                0 => (driver, burn(), vec![TREASURER]),
                1 => (driver, Body::Unbond { amount: 10 }, vec![]),
                _ => (driver, Body::Bond { amount: self.amount() }, vec![]),
            },
            _ => self.end_a_hold(state).unwrap_or_else(|| (driver, self.transfer(driver), vec![])),
        }
    }

    /// What the zone's people decide: its validators in another order, or another tariff for some later day.
    fn decision(&mut self, state: &State, now: Timestamp) -> (u8, Body, Vec<u8>) {
        if self.dice.chance(300) {
            let from = now.checked_add(Governance::NOTICE * 2).unwrap_or(now);
            let price = Price::from_micro_per_kwh(90_000);
            return (DISTRIBUTOR, Body::SetTariff { price, from }, vec![]);
        }
        let mut validators = state.validators().all().to_vec();
        validators.rotate_left(1);
        set_validators(state, validators)
    }

    /// The next newcomer gets an account, and now and then becomes a validator.
    fn admission(&mut self, state: &State) -> Option<(u8, Body, Vec<u8>)> {
        let mut keys = self.newcomers.iter().map(|n| (*n, key(*n).public()));
        let (n, owner) = keys.find(|(_, key)| state.validators().index_of(key).is_none())?;
        if state.account(&account(n)).is_none() {
            return Some((n, Body::OpenAccount { owner }, vec![]));
        }
        if !self.dice.chance(60) || state.governance().next_validators.is_some() {
            return None;
        }
        let (name, address) = (format!("agent {n}"), address(n).to_string());
        let mut validators = state.validators().all().to_vec();
        validators.push(Validator { name, key: owner, vote: vote_key(n), stake: 10, address });
        Some(set_validators(state, validators))
    }

    fn amount(&mut self) -> i64 {
        i64::try_from(self.dice.between(1, 50_000)).expect("far below 2^63")
    }

    fn transfer(&mut self, from: u8) -> Body {
        let to = if self.dice.chance(500) { DISTRIBUTOR } else { OPERATOR };
        let (from, to, amount) = (account(from), account(to), self.amount());
        let (journal, asset) = (Journal::Energy, Asset::Currency);
        Body::Transfer { legs: vec![Leg::Move { journal, asset, from, to, amount }] }
    }

    fn soon(&mut self, now: Timestamp) -> Timestamp {
        let wait = Duration::from_millis(self.dice.between(2_000, 30_000));
        now.checked_add(wait).unwrap_or(now)
    }

    fn pend(&mut self, now: Timestamp) -> Body {
        let (asset, amount, timeout) = (Asset::Currency, self.amount(), self.soon(now));
        Body::Pend { to: account(OPERATOR), asset, amount, timeout }
    }

    fn pend_sale(&mut self, now: Timestamp) -> Body {
        let price = Price::from_micro_per_kwh(300_000);
        let energy = Energy::from_wh(self.dice.between(100, 2_000));
        Body::PendSale { evse: evse(), price, energy, timeout: self.soon(now) }
    }

    /// Ends one of the open holds, by paying it or by giving it up.
    fn end_a_hold(&mut self, state: &State) -> Option<(u8, Body, Vec<u8>)> {
        let open: Vec<&Pending> = state
            .objects()
            .filter_map(|object| match object {
                Object::Pending(pending) if pending.to == account(OPERATOR) => Some(pending),
                _ => None,
            })
            .collect();
        if open.is_empty() {
            return None;
        }
        let hold = *self.dice.pick(&open);
        let pending = hold.id;
        Some(match (&hold.sale, self.dice.below(4)) {
            (_, 0) => (OPERATOR, Body::Void { pending }, vec![]),
            (Some(sale), _) => {
                let energy = Energy::from_wh(self.dice.between(1, sale.energy.as_wh()));
                let register_start = Energy::from_wh(self.counted);
                self.counted += energy.as_wh();
                (OPERATOR, Body::PostSale { pending, energy, register_start }, vec![METER])
            }
            (None, _) => (OPERATOR, Body::Post { pending, amount: hold.amount }, vec![]),
        })
    }

    /// Something that no rule allows.
    fn bad(&mut self, state: &State, now: Timestamp) -> Wish {
        let driver = *self.dice.pick(&DRIVERS);
        let mut body = self.transfer(driver);
        let mut forged_key = None;
        match self.dice.below(3) {
            // More than there is.
            0 => {
                let Body::Transfer { legs } = &mut body else { unreachable!("made just now") };
                let Leg::Move { amount, .. } = &mut legs[0] else { unreachable!("made just now") };
                *amount = i64::MAX / 4;
            }
            // Somebody else's money, with one's own signature.
            1 => forged_key = Some(METER),
            // Money out of nothing: the treasurer has not signed.
            _ => {
                let (asset, to, reference) = (Asset::Currency, account(driver), "forged".into());
                body = Body::Issue { asset, to, amount: LEAST, reference };
            }
        }
        let mut signed = self.sign(state, now, driver, body, &[]);
        if let Some(forger) = forged_key {
            signed = signed.transaction.sign(&[&key(forger)]);
        }
        Wish { signed, is_bad: true, secret: None }
    }

    fn sign(
        &mut self,
        state: &State,
        now: Timestamp,
        sender: u8,
        body: Body,
        also: &[u8],
    ) -> SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: *state.zone_id(),
            sender: account(sender),
            number: self.numbers,
            valid_until: now.checked_add(Duration::from_secs(120)).unwrap_or(now),
            body,
        };
        let keys: Vec<_> = std::iter::once(sender).chain(also.iter().copied()).map(key).collect();
        transaction.sign(&keys.iter().collect::<Vec<_>>())
    }
}

/// The operator's station and outlet, as long as they are not registered.
fn registration(state: &State) -> Option<Body> {
    if state.object(&Hash::from(station())).is_none() {
        let position = Position::from_e7(525_100_000, 133_600_000).expect("a place in Berlin");
        let (name, award_key) = ("a station".to_owned(), Hash([9; 32]));
        return Some(Body::RegisterStation { number: 1, name, position, award_key });
    }
    if state.object(&Hash::from(evse())).is_none() {
        let (owner, plugs) = (account(OPERATOR), (1, Power::from_w(22_000)));
        let meter = key(METER);
        return Some(Body::register_evse(state.zone_id(), &owner, (station(), 1), plugs, &meter));
    }
    None
}

/// What all of today's validators sign.
fn set_validators(state: &State, validators: Vec<Validator>) -> (u8, Body, Vec<u8>) {
    let voting = (1u8..=32).filter(|n| state.validators().index_of(&key(*n).public()).is_some()).collect();
    let validators = ValidatorSet::new(validators).expect("those of a checked list");
    let epoch = state.governance().epoch;
    (DISTRIBUTOR, Body::SetValidators { epoch, validators: Box::new(validators) }, voting)
}

fn burn() -> Body {
    Body::Burn { asset: Asset::Currency, amount: 10, reference: "simulated".into() }
}

fn station() -> StationId {
    StationId::of(&AccountId::of(&key(OPERATOR).public()), 1)
}

fn evse() -> EvseId {
    EvseId::of(&station(), 1)
}

/// Drivers, one who sells, and the key of the seller's meter.
pub const DRIVERS: [u8; 4] = [110, 111, 112, 113];
const OPERATOR: u8 = 120;
const METER: u8 = 121;
/// Who has less gets more.
const LEAST: i64 = 1_000_000;
