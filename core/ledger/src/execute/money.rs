//! Moving money: issue, burn, transfers in linked groups. Every change of a balance in the ledger goes through here.

use crate::{
    Amount, Asset, Journal, Leg, Object, SaleRecord, TransactionError,
    state::{Draft, Posting},
};
use ohmesh_units::{AccountId, Energy, EvseId, Hash, Money, Timestamp};

/// Money enters the energy journal from outside.
pub(super) fn issue(
    draft: &mut Draft<'_>,
    asset: Asset,
    to: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    positive(amount)?;
    credit(draft, Journal::Energy, asset, to, amount)?;
    let flow = draft.totals.flow_mut(Journal::Energy, asset);
    flow.issued = flow.issued.checked_add(amount).ok_or(TransactionError::Overflow(to))?;
    post(draft, Journal::Energy, asset, to, to, amount);
    Ok(())
}

/// Money leaves the energy journal.
pub(super) fn burn(
    draft: &mut Draft<'_>,
    asset: Asset,
    from: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    positive(amount)?;
    debit(draft, Journal::Energy, asset, from, amount)?;
    let flow = draft.totals.flow_mut(Journal::Energy, asset);
    flow.burned = flow.burned.checked_add(amount).ok_or(TransactionError::Overflow(from))?;
    post(draft, Journal::Energy, asset, from, from, amount);
    Ok(())
}

/// The sender pays for its transaction: the fee leaves the energy journal.
pub(super) fn fee(draft: &mut Draft<'_>, from: AccountId, fee: Amount) -> Result<(), TransactionError> {
    burn(draft, Asset::Currency, from, fee).map_err(|reason| match reason {
        TransactionError::Insufficient { account, available, .. } => {
            TransactionError::Fee { account, available, fee }
        }
        other => other,
    })
}

/// All legs in order, or none.
pub(super) fn transfer(
    draft: &mut Draft<'_>,
    sender: AccountId,
    legs: &[Leg],
) -> Result<(), TransactionError> {
    if legs.is_empty() || legs.len() > LEGS_MAX {
        return Err(TransactionError::Legs(legs.len()));
    }
    for leg in legs {
        let payer = match leg {
            Leg::Move { from, .. } => *from,
            Leg::Cross { account, .. } => *account,
        };
        if payer != sender {
            return Err(TransactionError::NotThePayer(payer));
        }
        post_leg(draft, leg)?;
    }
    Ok(())
}

/// Posts one leg. The caller has made sure that the payer agreed to it.
pub(super) fn post_leg(draft: &mut Draft<'_>, leg: &Leg) -> Result<(), TransactionError> {
    match *leg {
        Leg::Move { journal, asset, from, to, amount } => {
            positive(amount)?;
            if from == to {
                return Err(TransactionError::ToItself(from));
            }
            debit(draft, journal, asset, from, amount)?;
            credit(draft, journal, asset, to, amount)?;
            post(draft, journal, asset, from, to, amount);
        }
        Leg::Cross { asset, account, from, amount } => {
            positive(amount)?;
            let into = match from {
                Journal::Energy => Journal::Grid,
                Journal::Grid => Journal::Energy,
            };
            debit(draft, from, asset, account, amount)?;
            credit(draft, into, asset, account, amount)?;
            let overflow = TransactionError::Overflow(account);
            let out = draft.totals.flow_mut(from, asset);
            out.crossed = out.crossed.checked_sub(amount).ok_or(overflow.clone())?;
            let enter = draft.totals.flow_mut(into, asset);
            enter.crossed = enter.crossed.checked_add(amount).ok_or(overflow)?;
            post(draft, from, asset, account, account, amount);
            post(draft, into, asset, account, account, amount);
        }
    }
    Ok(())
}

/// Holds part of what is available: it stays posted, but only its hold can spend it.
pub(super) fn hold(
    draft: &mut Draft<'_>,
    asset: Asset,
    from: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    positive(amount)?;
    let (slot, mut balance) = draft.balance(Journal::Energy, &from)?;
    sufficient(Journal::Energy, asset, from, balance.of(asset).available(), amount)?;
    balance.of_mut(asset).held += amount;
    draft.set_balance(Journal::Energy, slot, balance);
    Ok(())
}

/// Gives back what was held.
pub(super) fn release(
    draft: &mut Draft<'_>,
    asset: Asset,
    from: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    let (slot, mut balance) = draft.balance(Journal::Energy, &from)?;
    let held = &mut balance.of_mut(asset).held;
    *held -= amount;
    assert!(*held >= 0, "I4: account {from} releases more than it holds");
    draft.set_balance(Journal::Energy, slot, balance);
    Ok(())
}

/// Burns what was held. Should the counter of what was burned be full, it is given back: a timeout must not stop the chain.
pub(super) fn forfeit(
    draft: &mut Draft<'_>,
    asset: Asset,
    from: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    release(draft, asset, from, amount)?;
    let burned = draft.totals.flow_mut(Journal::Energy, asset).burned;
    match burned.checked_add(amount) {
        Some(_) => burn(draft, asset, from, amount),
        None => Ok(()),
    }
}

/// What a sale pays, and where it was.
pub(super) struct SaleLegs {
    /// The contract or hold it is paid from.
    pub(super) id: Hash,
    /// The outlet.
    pub(super) evse: EvseId,
    /// When the energy began to flow, if a buyer said so.
    pub(super) started: Option<Timestamp>,
    /// Who pays the price.
    pub(super) buyer: AccountId,
    /// Who is paid, and owes the grid fee.
    pub(super) seller: AccountId,
    /// What was sold.
    pub(super) energy: Energy,
    /// The price of all of it.
    pub(super) price: Amount,
    /// The grid fee of all of it; at most the price.
    pub(super) fee: Amount,
}

/// Posts a sale as one group: the buyer pays the seller in the energy journal, the seller pays the distributor in the
/// grid journal, and the energy is counted on both sides.
pub(super) fn sell(draft: &mut Draft<'_>, sale: &SaleLegs) -> Result<(), TransactionError> {
    let SaleLegs { buyer, seller, energy, price, fee, .. } = *sale;
    let asset = Asset::Currency;
    count_energy(draft, buyer, seller, energy)?;
    if price > 0 {
        post_leg(
            draft,
            &Leg::Move { journal: Journal::Energy, asset, from: buyer, to: seller, amount: price },
        )?;
    }
    let distributor = AccountId::of(&draft.state.zone().distributor.key);
    if fee > 0 && seller != distributor {
        post_leg(draft, &Leg::Cross { asset, account: seller, from: Journal::Energy, amount: fee })?;
        post_leg(
            draft,
            &Leg::Move { journal: Journal::Grid, asset, from: seller, to: distributor, amount: fee },
        )?;
    }
    check_group(draft, sale, distributor);
    record(draft, sale, distributor);
    Ok(())
}

/// Keeps what was sold for those who export it; a sale of nothing is none.
fn record(draft: &mut Draft<'_>, sale: &SaleLegs, distributor: AccountId) {
    let SaleLegs { id, evse, started, seller, energy, price, fee, .. } = *sale;
    if energy == Energy::ZERO {
        return;
    }
    let Some((_, Object::Evse(outlet))) = draft.object(&evse.into()) else {
        unreachable!("an outlet that was registered stays: {evse}");
    };
    let station = outlet.station;
    let circuit = match draft.object(&station.into()) {
        Some((_, Object::Station(found))) => found.circuit,
        _ => unreachable!("the station of a registered outlet stays: {station}"),
    };
    let grid = Money::from_micro(if seller == distributor { 0 } else { fee });
    let (price, at) = (Money::from_micro(price), draft.now);
    draft.sales.push(SaleRecord { id, evse, station, circuit, seller, energy, price, grid, started, at });
}

/// I7: the group that has just been posted pays the seller the price and the distributor the tariff, in both books.
fn check_group(draft: &Draft<'_>, sale: &SaleLegs, distributor: AccountId) {
    let paid = |journal: Journal, to: AccountId| -> Amount {
        draft.postings[journal as usize]
            .iter()
            .skip(draft.group_start(journal))
            .filter(|posting| posting.to == to && posting.from != to)
            .map(|posting| posting.amount)
            .sum()
    };
    assert_eq!(paid(Journal::Energy, sale.seller), sale.price, "I7 the energy legs are the price");
    if sale.seller != distributor {
        assert_eq!(paid(Journal::Grid, distributor), sale.fee, "I7 the grid legs are the tariff");
    }
}

/// Counts energy sold and bought, the same on both sides (I10).
fn count_energy(
    draft: &mut Draft<'_>,
    buyer: AccountId,
    seller: AccountId,
    energy: Energy,
) -> Result<(), TransactionError> {
    let add = |sum: Energy, who| sum.checked_add(energy).ok_or(TransactionError::Overflow(who));
    let (slot, mut balance) = draft.balance(Journal::Energy, &buyer)?;
    balance.bought = add(balance.bought, buyer)?;
    draft.set_balance(Journal::Energy, slot, balance);
    let (slot, mut balance) = draft.balance(Journal::Energy, &seller)?;
    balance.sold = add(balance.sold, seller)?;
    draft.set_balance(Journal::Energy, slot, balance);
    draft.totals.bought = add(draft.totals.bought, buyer)?;
    draft.totals.sold = add(draft.totals.sold, seller)?;
    Ok(())
}

fn debit(
    draft: &mut Draft<'_>,
    journal: Journal,
    asset: Asset,
    from: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    let (slot, mut balance) = draft.balance(journal, &from)?;
    sufficient(journal, asset, from, balance.of(asset).available(), amount)?;
    balance.of_mut(asset).posted -= amount;
    draft.set_balance(journal, slot, balance);
    Ok(())
}

fn credit(
    draft: &mut Draft<'_>,
    journal: Journal,
    asset: Asset,
    to: AccountId,
    amount: Amount,
) -> Result<(), TransactionError> {
    let (slot, mut balance) = draft.balance(journal, &to)?;
    let posted = &mut balance.of_mut(asset).posted;
    *posted = posted.checked_add(amount).ok_or(TransactionError::Overflow(to))?;
    draft.set_balance(journal, slot, balance);
    Ok(())
}

fn post(
    draft: &mut Draft<'_>,
    journal: Journal,
    asset: Asset,
    from: AccountId,
    to: AccountId,
    amount: Amount,
) {
    let group = draft.group;
    draft.post(journal, Posting { group, asset, from, to, amount });
}

fn positive(amount: Amount) -> Result<(), TransactionError> {
    if amount > 0 { Ok(()) } else { Err(TransactionError::NotPositive(amount)) }
}

fn sufficient(
    journal: Journal,
    asset: Asset,
    account: AccountId,
    available: Amount,
    needed: Amount,
) -> Result<(), TransactionError> {
    if available >= needed {
        return Ok(());
    }
    Err(TransactionError::Insufficient { account, journal, asset, available, needed })
}

/// Legs of one transfer at most.
const LEGS_MAX: usize = 16;
