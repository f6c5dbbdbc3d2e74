//! Somebody who trusts nobody: takes an agent's blocks, checks every certificate, executes everything from genesis, and
//! compares what comes out with what agents and phones say.

use eyre::{Context, Result, bail, ensure, eyre};
use ohmesh_ledger::{Asset, Block, Body, Certificate, Journal, Object, State, Zone, ZoneFile, open_block};
use ohmesh_node::{OnDamage, Place, Replica, Store};
use ohmesh_units::{AccountId, AuctionId, BlockId, Canonical, Hash, Price, StationId};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// A ledger executed again from its genesis.
pub(super) struct Replay {
    state: State,
    /// Ids by height, from 1.
    blocks: Vec<BlockId>,
    accounts: BTreeSet<AccountId>,
    /// Currency issued less burned, as the transactions say.
    issued: i128,
    transactions: u64,
    auctions: BTreeMap<AuctionId, Auctioned>,
    bids: u64,
}

/// What the ledger's own execution says of an auction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Auctioned {
    /// Who has won at which price, once somebody has.
    award: Option<(StationId, Price)>,
    /// Whether that it is the best price is proven.
    is_proven_best: bool,
}

impl Replay {
    /// The ledger before its first block.
    pub(super) fn genesis(zone: Zone) -> Self {
        let mut keys = vec![zone.distributor.key];
        keys.extend(&zone.treasury.keys);
        keys.extend(zone.validators.all().iter().map(|validator| validator.key));
        Self {
            accounts: keys.iter().map(AccountId::of).collect(),
            state: State::genesis(zone),
            blocks: Vec::new(),
            issued: 0,
            transactions: 0,
            auctions: BTreeMap::new(),
            bids: 0,
        }
    }

    /// Takes the next block: its certificate must hold, it must follow the block before, every transaction must apply,
    /// and its header must state exactly what comes out.
    pub(super) fn push(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<()> {
        let height = self.height() + 1;
        let place = || format!("block {height}");
        let (block, transactions) = open_block(&self.state, bytes).with_context(place)?;
        let zone = self.state.zone();
        certificate
            .verify_header(&block.header, self.state.zone_id(), zone.validators.voters())
            .with_context(place)?;
        let applied = holds(|| self.state.execute(&block, &transactions).map_err(eyre::Report::from))
            .with_context(place)?;
        self.state.apply(applied.with_context(place)?);
        for signed in &block.transactions {
            match &signed.transaction.body {
                Body::OpenAccount { owner } => {
                    self.accounts.insert(AccountId::of(owner));
                }
                Body::Issue { asset: Asset::Currency, amount, .. } => self.issued += i128::from(*amount),
                Body::Burn { asset: Asset::Currency, amount, .. } => self.issued -= i128::from(*amount),
                Body::AuctionOpen(intent) => drop(self.auctions.insert(intent.id(), Auctioned::default())),
                Body::AuctionBid { .. } => self.bids += 1,
                // The state took it, so its proof holds for the bids that the state has.
                Body::AuctionOutcome(outcome) => self.note_award(&outcome.auction),
                _ => {}
            }
        }
        self.transactions += u64::from(block.header.transaction_count);
        self.blocks.push(block.id());
        Ok(())
    }

    fn note_award(&mut self, auction: &AuctionId) {
        let Some((_, Object::Auction(found))) = self.state.object(&(*auction).into()) else { return };
        let Some(award) = &found.award else { return };
        let noted =
            Auctioned { award: Some((award.station, award.price)), is_proven_best: award.is_proven_best };
        self.auctions.insert(*auction, noted);
    }

    /// Auctions opened.
    pub(super) fn intents(&self) -> usize {
        self.auctions.len()
    }

    /// Bids in all auctions.
    pub(super) fn bids(&self) -> u64 {
        self.bids
    }

    /// Checks what a driver has been told of its auction against the ledger's own execution: who has won, at which price,
    /// and that the price is proven to be the best.
    pub(super) fn check_winner(&self, auction: &AuctionId, station: StationId, price: Price) -> Result<()> {
        let noted =
            self.auctions.get(auction).ok_or_else(|| eyre!("auction {auction} is not in the chain"))?;
        let award = noted.award.ok_or_else(|| eyre!("auction {auction} has no winner"))?;
        ensure!(
            award == (station, price),
            "auction {auction} was won by {} at {}, its driver was told {station} at {price}",
            award.0,
            award.1
        );
        ensure!(noted.is_proven_best, "that the price of auction {auction} is the best is not proven");
        Ok(())
    }

    /// Blocks executed.
    pub(super) fn height(&self) -> u64 {
        self.state.head().height
    }

    /// Transactions executed.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Accounts there are.
    pub(super) fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// The state that came out.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Checks every invariant over the whole state.
    pub(super) fn audit(&self) -> Result<()> {
        holds(|| self.state.audit())
    }

    /// Checks that all accounts together hold what was issued and not burned, and that this is `issued`: no money came
    /// into being, none was lost, and no treasurer issued behind anybody's back.
    pub(super) fn check_money(&self, issued: i64) -> Result<()> {
        let mut sum = 0i128;
        for account in &self.accounts {
            for journal in Journal::ALL {
                let balance = self.state.balance(journal, account);
                sum += balance.map_or(0, |(_, balance)| i128::from(balance.of(Asset::Currency).posted));
            }
        }
        let flows = self.state.totals().flows.map(|journal| journal[Asset::Currency as usize].sum());
        let counted: i128 = flows.iter().sum();
        ensure!(
            self.issued == i128::from(issued),
            "blocks issue {} micro-EUR, the treasurer issued {issued}",
            self.issued
        );
        ensure!(sum == self.issued, "accounts hold {sum} micro-EUR, {} were issued", self.issued);
        ensure!(counted == sum, "the ledger counts {counted} micro-EUR, accounts hold {sum}");
        Ok(())
    }

    /// Checks that an agent's block of the newest height here is the same, down to its state roots.
    pub(super) fn check_agent(&self, bytes: &[u8], certificate: &Certificate) -> Result<()> {
        let header = Block::decode(bytes)?.header;
        let zone = self.state.zone();
        certificate.verify_header(&header, self.state.zone_id(), zone.validators.voters())?;
        ensure!(header.height == self.height(), "it gave height {}", header.height);
        ensure!(header.state == *self.state.roots(), "its state root at height {} differs", header.height);
        ensure!(Hash::from(header.id()) == self.state.head().block, "its block {} differs", header.height);
        Ok(())
    }

    /// Checks the file of a phone: everything in it verifies, its header is one of these blocks, and the account in it
    /// is the account here.
    pub(super) fn check_replica(&self, zone: &ZoneFile, file: &Path, account: &AccountId) -> Result<()> {
        ensure!(file.is_file(), "there is no file {}", file.display());
        let store = Store::open(&Place::File(file.to_owned()), zone)?;
        let (replica, _) = Replica::open(store, OnDamage::Refuse)?;
        if let Some(damage) = replica.audit()?.first() {
            bail!("{damage}");
        }
        let proven = replica.account(account)?.ok_or_else(|| eyre!("it has no proof of its account"))?;
        let height = proven.header.height;
        let at = usize::try_from(height).ok().and_then(|height| height.checked_sub(1));
        let known = at.and_then(|at| self.blocks.get(at));
        ensure!(known == Some(&proven.header.id()), "its header of height {height} is not in the chain");
        ensure!(self.state.account(account) == Some(&proven.account), "its account is not the ledger's");
        for journal in Journal::ALL {
            let here = self.state.balance(journal, account).map(|(_, balance)| *balance);
            ensure!(here == proven.balances[journal as usize], "its {journal:?} balance is not the ledger's");
        }
        Ok(())
    }
}

/// Runs what panics with an invariant's name when that does not hold, and gives the name.
fn holds<T>(check: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        eyre!("{}", text.or_else(|| panic.downcast_ref().copied()).unwrap_or("an invariant does not hold"))
    })
}

#[cfg(test)]
mod tests;
