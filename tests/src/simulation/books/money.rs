//! Accounts, holds and bonds.

use super::{Books, Read, breach, cost, must, unknown};
use ohmesh_ledger::{Asset, Balance, Body, Holding, Journal, Leg, Posting, Rules, State, Transaction};
use ohmesh_units::{AccountId, Energy, EvseId, Hash, Price, PublicKey, Timestamp};
use std::collections::BTreeMap;

/// What everybody has.
#[derive(Default)]
pub(super) struct Purses {
    /// By account, asset and journal.
    posted: BTreeMap<(AccountId, Asset, Journal), i64>,
    held: BTreeMap<(AccountId, Asset), i64>,
    sold: BTreeMap<AccountId, u64>,
    bought: BTreeMap<AccountId, u64>,
    /// Issued less burned, by asset.
    issued: BTreeMap<Asset, i64>,
}

/// Money that is held for somebody.
pub(super) struct HoldBook {
    from: AccountId,
    to: AccountId,
    asset: Asset,
    amount: i64,
    timeout: Timestamp,
    sale: Option<SaleBook>,
}

struct SaleBook {
    evse: EvseId,
    meter: PublicKey,
    price: Price,
    tariff: Price,
    energy: Energy,
}

/// A bond, and the parts of it that leave.
#[derive(Default)]
pub(super) struct BondBook {
    bonded: i64,
    leaving: Vec<(Timestamp, i64)>,
}

/// A sale that is paid now.
pub(super) struct Paid {
    pub(super) buyer: AccountId,
    pub(super) seller: AccountId,
    pub(super) energy: Energy,
    pub(super) price: i64,
    pub(super) fee: i64,
}

impl Purses {
    fn add(&mut self, journal: Journal, asset: Asset, account: AccountId, amount: i64) {
        *self.posted.entry((account, asset, journal)).or_default() += amount;
    }

    fn available(&self, asset: Asset, account: AccountId) -> i64 {
        let posted = self.posted.get(&(account, asset, Journal::Energy)).copied().unwrap_or(0);
        posted - self.held.get(&(account, asset)).copied().unwrap_or(0)
    }

    /// I1, I2 and I10 from the books' side, and that the agent has the same.
    pub(super) fn compare<'a>(&self, accounts: impl Iterator<Item = &'a AccountId>, state: &State) -> Read {
        for account in accounts {
            for journal in Journal::ALL {
                let found = state.balance(journal, account).map(|(_, balance)| *balance);
                let found = found.unwrap_or(Balance::empty(*account));
                let expected = self.balance(journal, *account);
                must(found == expected, "I1", || {
                    format!("{journal:?}: {found:?}, by the books {expected:?}")
                })?;
            }
        }
        for asset in Asset::ALL {
            let posted = self.posted.iter().filter(|((_, of, _), _)| *of == asset);
            let sum: i64 = posted.map(|(_, amount)| amount).sum();
            let issued = self.issued.get(&asset).copied().unwrap_or(0);
            must(sum == issued, "I1", || format!("{sum} of {asset:?} in both journals, {issued} issued"))?;
        }
        let (sold, bought) = (self.sold.values().sum::<u64>(), self.bought.values().sum::<u64>());
        must(sold == bought, "I10", || format!("{sold} Wh sold, {bought} Wh bought"))
    }

    fn balance(&self, journal: Journal, account: AccountId) -> Balance {
        let mut balance = Balance::empty(account);
        for asset in Asset::ALL {
            let posted = self.posted.get(&(account, asset, journal)).copied().unwrap_or(0);
            let held = self.held.get(&(account, asset)).copied().filter(|_| journal == Journal::Energy);
            balance.holdings[asset as usize] = Holding { posted, held: held.unwrap_or(0) };
        }
        if journal == Journal::Energy {
            let wh = |counts: &BTreeMap<AccountId, u64>| {
                Energy::from_wh(counts.get(&account).copied().unwrap_or(0))
            };
            (balance.sold, balance.bought) = (wh(&self.sold), wh(&self.bought));
        }
        balance
    }
}

impl Books {
    /// Money that comes, goes, moves or is bonded.
    pub(super) fn money(&mut self, sender: AccountId, body: &Body) -> Read {
        match body {
            Body::Issue { asset, to, amount, .. } => {
                self.purses.add(Journal::Energy, *asset, *to, *amount);
                *self.purses.issued.entry(*asset).or_default() += amount;
                self.post(Journal::Energy, *asset, (*to, *to), *amount);
                Ok(())
            }
            Body::Burn { asset, amount, .. } => {
                self.take(*asset, sender, *amount)?;
                *self.purses.issued.entry(*asset).or_default() -= amount;
                self.post(Journal::Energy, *asset, (sender, sender), *amount);
                Ok(())
            }
            Body::Transfer { legs } => legs.iter().try_for_each(|leg| self.leg(leg)),
            Body::Bond { amount } => {
                self.lock(Asset::Currency, sender, *amount)?;
                self.bonds.entry(sender).or_default().bonded += amount;
                Ok(())
            }
            Body::Unbond { amount } => {
                let free = self.now.checked_add(Rules::UNBONDING).expect("a time of this century");
                let bond = self.bonds.entry(sender).or_default();
                bond.bonded -= amount;
                bond.leaving.push((free, *amount));
                let left = bond.bonded;
                must(left >= 0, "I4", || format!("{sender} takes back {amount} more than it has bonded"))
            }
            other => breach("books", format!("{other:?} is no payment")),
        }
    }

    fn leg(&mut self, leg: &Leg) -> Read {
        match *leg {
            Leg::Move { journal, asset, from, to, amount } => self.pay(journal, asset, (from, to), amount),
            Leg::Cross { asset, account, from, amount } => self.cross(asset, account, from, amount),
        }
    }

    fn pay(
        &mut self,
        journal: Journal,
        asset: Asset,
        (from, to): (AccountId, AccountId),
        amount: i64,
    ) -> Read {
        match journal {
            Journal::Energy => self.take(asset, from, amount)?,
            Journal::Grid => self.purses.add(journal, asset, from, -amount),
        }
        self.purses.add(journal, asset, to, amount);
        self.post(journal, asset, (from, to), amount);
        Ok(())
    }

    fn cross(&mut self, asset: Asset, account: AccountId, from: Journal, amount: i64) -> Read {
        let into = if from == Journal::Energy { Journal::Grid } else { Journal::Energy };
        match from {
            Journal::Energy => self.take(asset, account, amount)?,
            Journal::Grid => self.purses.add(from, asset, account, -amount),
        }
        self.purses.add(into, asset, account, amount);
        self.post(from, asset, (account, account), amount);
        self.post(into, asset, (account, account), amount);
        Ok(())
    }

    /// I2: what is spent is there and not held.
    fn take(&mut self, asset: Asset, from: AccountId, amount: i64) -> Read {
        let available = self.purses.available(asset, from);
        must(available >= amount, "I2", || format!("{from} spends {amount} of {available}"))?;
        self.purses.add(Journal::Energy, asset, from, -amount);
        Ok(())
    }

    fn post(&mut self, journal: Journal, asset: Asset, (from, to): (AccountId, AccountId), amount: i64) {
        let group = self.group;
        self.postings[journal as usize].push(Posting { group, asset, from, to, amount });
    }

    /// Holds what is there.
    pub(super) fn lock(&mut self, asset: Asset, from: AccountId, amount: i64) -> Read {
        let available = self.purses.available(asset, from);
        must(available >= amount, "I2", || format!("{amount} of {available} of {from} are held"))?;
        *self.purses.held.entry((from, asset)).or_default() += amount;
        Ok(())
    }

    /// Gives back what was held.
    pub(super) fn unlock(&mut self, asset: Asset, from: AccountId, amount: i64) -> Read {
        let held = self.purses.held.entry((from, asset)).or_default();
        *held -= amount;
        let left = *held;
        must(left >= 0, "I4", || format!("{from} gets back {amount}, {} more than is held", -left))
    }

    /// I7: the price in the energy journal, the fee in the grid journal, one group; I10: counted on both sides.
    pub(super) fn sell(&mut self, paid: &Paid) -> Read {
        let Paid { buyer, seller, energy, price, fee } = *paid;
        let asset = Asset::Currency;
        *self.purses.sold.entry(seller).or_default() += energy.as_wh();
        *self.purses.bought.entry(buyer).or_default() += energy.as_wh();
        if price > 0 {
            self.pay(Journal::Energy, asset, (buyer, seller), price)?;
        }
        let distributor = AccountId::of(&self.zone.distributor.key);
        if fee > 0 && seller != distributor {
            self.cross(asset, seller, Journal::Energy, fee)?;
            self.pay(Journal::Grid, asset, (seller, distributor), fee)?;
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, transaction: &Transaction) -> Read {
        let from = transaction.sender;
        let hold = match &transaction.body {
            Body::Pend { to, asset, amount, timeout } => {
                HoldBook { from, to: *to, asset: *asset, amount: *amount, timeout: *timeout, sale: None }
            }
            Body::PendSale { evse, price, energy, timeout } => {
                let outlet = self.outlets.get(evse).ok_or_else(|| unknown("outlet", evse))?;
                let (tariff, meter) = (self.tariff(), outlet.meter);
                let sale = SaleBook { evse: *evse, meter, price: *price, tariff, energy: *energy };
                let (to, amount) = (outlet.owner, cost(*price, *energy));
                HoldBook { from, to, asset: Asset::Currency, amount, timeout: *timeout, sale: Some(sale) }
            }
            other => return breach("books", format!("{other:?} is no hold")),
        };
        self.lock(hold.asset, from, hold.amount)?;
        let before = self.holds.insert(transaction.pending_id(), hold);
        must(before.is_none(), "I4", || format!("{} opens a hold again", transaction.id()))
    }

    /// I4: only what is open ends.
    pub(super) fn end_hold(&mut self, sender: AccountId, body: &Body) -> Read {
        let (Body::Post { pending, .. } | Body::PostSale { pending, .. } | Body::Void { pending }) = body
        else {
            return breach("books", format!("{body:?} ends no hold"));
        };
        let hold = self.holds.remove(pending).ok_or_else(|| unknown("open hold", pending))?;
        must(hold.to == sender, "I4", || format!("{sender} ends a hold of {}", hold.to))?;
        self.unlock(hold.asset, hold.from, hold.amount)?;
        match body {
            Body::Post { amount, .. } => {
                must(*amount <= hold.amount, "I4", || format!("{amount} of {} are paid", hold.amount))?;
                self.pay(Journal::Energy, hold.asset, (hold.from, hold.to), *amount)
            }
            Body::PostSale { energy, register_start, .. } => {
                let sale = hold.sale.as_ref().ok_or_else(|| unknown("sale", pending))?;
                let (from, to) = (hold.from, hold.to);
                must(*energy <= sale.energy, "I10", || format!("{energy} of {} are sold", sale.energy))?;
                self.sell_register(&sale.evse, sale.meter, *register_start, *energy)?;
                let (price, fee) = (cost(sale.price, *energy), cost(sale.tariff, *energy));
                self.sell(&Paid { buyer: from, seller: to, energy: *energy, price, fee })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn end_holds(&mut self) -> Read {
        let over = |(id, hold): (&Hash, &HoldBook)| (hold.timeout <= self.now).then_some(*id);
        let over: Vec<Hash> = self.holds.iter().filter_map(over).collect();
        for id in over {
            let hold = self.holds.remove(&id).expect("found just now");
            self.unlock(hold.asset, hold.from, hold.amount)?;
        }
        Ok(())
    }

    pub(super) fn end_bonds(&mut self) -> Read {
        let now = self.now;
        let mut free = Vec::new();
        for (owner, bond) in &mut self.bonds {
            free.extend(
                bond.leaving.extract_if(.., |(at, _)| *at <= now).map(|(_, amount)| (*owner, amount)),
            );
        }
        free.into_iter().try_for_each(|(owner, amount)| self.unlock(Asset::Currency, owner, amount))
    }
}
