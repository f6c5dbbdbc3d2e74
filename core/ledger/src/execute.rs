//! Execution: transactions in, a draft of the next state out. Integers only; no clock, no randomness, no map order (I11).
//!
//! One file for each family of transactions; every handler checks before it writes, and what a failing one wrote is
//! taken back.

mod auction;
mod bond;
mod contract;
mod epoch;
mod governance;
mod hold;
mod key;
mod money;
mod registry;
mod timeout;

pub use auction::blocks_needed;
pub(crate) use key::first_generation;

use crate::{
    Applied, Block, Body, Canonical as _, Header, LedgerError, Object, SignedTransaction, State, Transaction,
    TransactionError, Verified, Voters, state::Draft, transaction::Encoded, tree,
};
use ohmesh_units::{AccountId, BlockId, Hash, PublicKey, Timestamp, TransactionId};

/// A block that this agent proposes, with what it changes.
#[derive(Debug)]
pub struct Proposed {
    /// The block.
    pub block: Block,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// Its changes, to be applied once it is decided.
    pub applied: Applied,
    /// Candidates that cannot apply now, with the reason; they are not in the block. Those that had only no room in it
    /// are in neither.
    pub refused: Vec<(TransactionId, TransactionError)>,
}

impl State {
    /// Builds the next block out of `candidates`, in order, as many as fit. `time` must be after the head's, and this
    /// program must know the rules in force ([`State::known_rules`]).
    pub fn propose<'c>(
        &self,
        time: Timestamp,
        proposer: u16,
        candidates: impl IntoIterator<Item = &'c Verified>,
    ) -> Proposed {
        let mut draft = Draft::new(self, time);
        timeout::run(&mut draft);
        let mut refused = Vec::new();
        let mut taken: Vec<&Verified> = Vec::new();
        let mut bytes = Header::MAX_BYTES;
        for candidate in candidates {
            let size = candidate.encoded().len();
            if taken.len() == Block::TRANSACTIONS_MAX || bytes + size > Block::MAX_BYTES {
                break;
            }
            match run(&mut draft, candidate) {
                Ok(()) => {
                    bytes += size;
                    taken.push(candidate);
                }
                // It has its turn in a later block.
                Err(TransactionError::Weight { weight, .. }) if weight <= Block::WEIGHT_MAX => break,
                Err(TransactionError::FreeAccounts) => {}
                Err(reason) => refused.push((candidate.transaction().id(), reason)),
            }
        }
        let height = self.head().height + 1;
        let next = epoch::close(&mut draft, height);
        let mut applied = draft.finish(height);
        let header = Header {
            zone: *self.zone_id(),
            height,
            epoch: self.epoch().number,
            time,
            parent: self.head().block,
            proposer,
            transactions: tree::root_of(&leaves_of(taken.iter().copied())),
            transaction_count: u32::try_from(taken.len()).expect("at most TRANSACTIONS_MAX"),
            state: *applied.roots(),
            voters: self.epoch().validators.voters().hash(),
            rules: self.governance().rules.version,
            next_voters: next.as_ref().map(Voters::hash),
        };
        applied.head.block = header.id().into();
        let bytes = Block::encode_with(&header, &taken);
        let transactions = taken.into_iter().map(|verified| verified.signed().clone()).collect();
        Proposed { block: Block { header, transactions }, bytes, applied, refused }
    }

    /// Executes a block that somebody else built: every transaction must apply, and the header must state exactly what
    /// comes out. `transactions` are the block's, with their signatures checked ([`Verified::all`]).
    pub fn execute(&self, block: &Block, transactions: &[Verified]) -> Result<Applied, LedgerError> {
        let header = &block.header;
        self.follows(header)?;
        block.verify_leaves(&leaves_of(transactions))?;
        let same = transactions.len() == block.transactions.len()
            && transactions.iter().zip(&block.transactions).all(|(verified, own)| verified.signed() == own);
        let bad = |reason: String| LedgerError::Block { height: header.height, reason };
        if !same {
            return Err(bad("the checked transactions are not the block's".into()));
        }
        let mut draft = Draft::new(self, header.time);
        timeout::run(&mut draft);
        for transaction in transactions {
            run(&mut draft, transaction)
                .map_err(|reason| LedgerError::Transaction { id: transaction.transaction().id(), reason })?;
        }
        let next = epoch::close(&mut draft, header.height);
        let mut applied = draft.finish(header.height);
        if next.as_ref().map(Voters::hash) != header.next_voters {
            return Err(bad("it hands the zone over to others than its transactions decided".into()));
        }
        if *applied.roots() != header.state {
            return Err(bad("executing it gives another state than its header states".into()));
        }
        applied.head.block = header.id().into();
        Ok(applied)
    }

    /// Why `transaction` could not be in the next block, if that block were built at `now`; nothing changes.
    pub fn try_transaction(&self, now: Timestamp, transaction: &Verified) -> Result<(), TransactionError> {
        self.try_each(now, [transaction]).remove(0)
    }

    /// As [`State::try_transaction`], of each of many by itself.
    pub fn try_each<'c>(
        &self,
        now: Timestamp,
        transactions: impl IntoIterator<Item = &'c Verified>,
    ) -> Vec<Result<(), TransactionError>> {
        let mut draft = Draft::new(self, now.max(self.head().time));
        let tried = transactions.into_iter().map(|transaction| {
            let result = step(&mut draft, transaction);
            draft.take_back();
            result
        });
        tried.collect()
    }

    /// Whether this program can execute the next block: it cannot if an upgrade to a later version has begun.
    pub fn known_rules(&self) -> Result<(), LedgerError> {
        self.governance().rules.check()
    }

    /// Checks that a header is for the block after the head.
    fn follows(&self, header: &Header) -> Result<(), LedgerError> {
        let head = self.head();
        let bad = |reason: String| Err(LedgerError::Block { height: header.height, reason });
        if header.zone != *self.zone_id() {
            return bad(format!("it is of zone {}", header.zone));
        }
        if header.height != head.height + 1 || header.parent != head.block {
            return bad(format!(
                "it does not follow block {} of height {}",
                BlockId::from(head.block),
                head.height
            ));
        }
        let epoch = self.epoch();
        if header.epoch != epoch.number {
            return bad(format!("it is of epoch {}, this is epoch {}", header.epoch, epoch.number));
        }
        self.known_rules()?;
        let rules = self.governance().rules.version;
        if header.rules != rules {
            return bad(format!("it is by rules {}, those in force are {rules}", header.rules));
        }
        if header.time <= head.time {
            return bad(format!("its time {} is not after its parent's {}", header.time, head.time));
        }
        if header.voters != epoch.validators.voters().hash() || epoch.validators.at(header.proposer).is_none()
        {
            return bad("it names other validators".into());
        }
        Ok(())
    }
}

/// A block from bytes, with every signature in it checked.
pub fn open_block(state: &State, bytes: &[u8]) -> Result<(Block, Vec<Verified>), LedgerError> {
    open_block_knowing(state, bytes, |_| None)
}

/// As [`open_block`], but a transaction that `known` has checked before, signatures and all, is not checked again.
pub fn open_block_knowing<'k>(
    state: &State,
    bytes: &[u8],
    known: impl Fn(&SignedTransaction) -> Option<&'k Verified>,
) -> Result<(Block, Vec<Verified>), LedgerError> {
    let block = Block::decode(bytes)?;
    let is_known = |signed: &SignedTransaction| known(signed).filter(|verified| verified.signed() == signed);
    let mut unknown = Vec::new();
    let mut leaves = Vec::with_capacity(block.transactions.len());
    let transactions: Vec<Option<&Verified>> = block.transactions.iter().map(is_known).collect();
    for (signed, known) in block.transactions.iter().zip(&transactions) {
        leaves.push(match known {
            Some(verified) => verified.leaf(),
            None => {
                unknown.push(Encoded::new(signed.clone()));
                unknown[unknown.len() - 1].leaf()
            }
        });
    }
    block.verify_leaves(&leaves)?;
    // Before the signatures, which are what weighs.
    let weight = block.transactions.iter().fold(0u32, |sum, signed| sum.saturating_add(signed.weight()));
    if weight > Block::WEIGHT_MAX {
        let reason = format!("its transactions weigh {weight}, at most {} are allowed", Block::WEIGHT_MAX);
        return Err(LedgerError::Block { height: block.header.height, reason });
    }
    let mut checked = Verified::check(state.zone_id(), unknown)?.into_iter();
    let mut next = || checked.next().expect("as many were checked as were unknown");
    let transactions = transactions.into_iter().map(|known| known.cloned().unwrap_or_else(&mut next));
    let transactions = transactions.collect();
    Ok((block, transactions))
}

fn leaves_of<'v>(transactions: impl IntoIterator<Item = &'v Verified>) -> Vec<Hash> {
    transactions.into_iter().map(Verified::leaf).collect()
}

/// Runs one transaction on the draft: all of it, or nothing.
fn run(draft: &mut Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let result = step(draft, verified);
    match result {
        Ok(()) => draft.keep(Some((verified.transaction().id(), verified.content()))),
        Err(_) => draft.take_back(),
    }
    result
}

/// What one transaction does to the draft, to be kept or taken back.
fn step(draft: &mut Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    admit(draft, verified)?;
    charge(draft, verified)?;
    dispatch(draft, verified)
}

/// What holds for every transaction: not over, not too far ahead, not seen before, signed by its sender.
fn admit(draft: &Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let transaction = verified.transaction();
    let (now, valid_until) = (draft.now, transaction.valid_until);
    if transaction.zone != *draft.state.zone_id() {
        return Err(TransactionError::OtherZone(transaction.zone));
    }
    match draft.applied(&transaction.id()) {
        Some(content) if content == verified.content() => return Err(TransactionError::AlreadyApplied),
        Some(content) => return Err(TransactionError::OtherContent(content)),
        None => {}
    }
    if valid_until <= now {
        return Err(TransactionError::Expired { valid_until, now });
    }
    if now.checked_add(Transaction::VALID_MAX).is_none_or(|limit| valid_until > limit) {
        return Err(TransactionError::ValidTooLong { valid_until, now });
    }
    let owner = match &transaction.body {
        Body::OpenAccount { owner } => *owner,
        _ => draft.account(&transaction.sender)?.1.owner,
    };
    signed_by(verified, &owner)
}

/// The block has room for what the transaction weighs, and its sender pays for it; fees are burned, so that whoever
/// orders transactions gains nothing by filling blocks.
fn charge(draft: &mut Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let body = &verified.transaction().body;
    draft.weigh(verified.signed().weight())?;
    let each = draft.governance().rules.fee.as_micro();
    if each == 0 {
        return Ok(());
    }
    if matches!(body, Body::OpenAccount { .. }) {
        return draft.open_for_nothing();
    }
    let weight = body.paid_weight(verified.signed().signatures.len());
    let fee = i64::from(weight).saturating_mul(each);
    if fee == 0 { Ok(()) } else { money::fee(draft, verified.transaction().sender, fee) }
}

fn dispatch(draft: &mut Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let transaction = verified.transaction();
    let sender = transaction.sender;
    match &transaction.body {
        Body::OpenAccount { owner } => registry::open_account(draft, sender, *owner),
        Body::Issue { asset, to, amount, reference } => {
            treasurers(draft, verified)?;
            text("reference", reference)?;
            money::issue(draft, *asset, *to, *amount)
        }
        Body::Burn { asset, amount, reference } => {
            treasurers(draft, verified)?;
            text("reference", reference)?;
            money::burn(draft, *asset, sender, *amount)
        }
        Body::Transfer { legs } => money::transfer(draft, sender, legs),
        Body::Pend { to, asset, amount, timeout } => {
            hold::pend(draft, transaction, *to, (*asset, *amount), *timeout)
        }
        Body::PendSale { evse, price, energy, timeout } => {
            hold::pend_sale(draft, transaction, *evse, *price, *energy, *timeout)
        }
        Body::Post { pending, amount } => hold::post(draft, sender, *pending, *amount),
        Body::PostSale { pending, energy, register_start } => {
            hold::post_sale(draft, verified, *pending, (*register_start, *energy))
        }
        Body::Void { pending } => hold::void(draft, sender, *pending),
        Body::RegisterStation { number, name, position, award_key } => {
            registry::station(draft, sender, *number, name, *position, *award_key)
        }
        Body::KeyDeal(deal) => key::deal(draft, sender, deal),
        Body::KeyHandout(handout) => key::handout(draft, sender, handout),
        Body::KeyBlinding(blinding) => key::blinding(draft, sender, blinding),
        Body::KeyComplaint(complaint) => key::complaint(draft, sender, complaint),
        Body::KeySolo(solo) => key::solo(draft, sender, solo),
        Body::AuctionOpen(intent) => auction::open(draft, sender, intent),
        Body::AuctionBid { bid, evse } => auction::bid(draft, sender, bid, *evse),
        Body::AuctionRelease(release) => auction::release(draft, sender, release),
        Body::AuctionOutcome(outcome) => auction::outcome(draft, sender, outcome),
        Body::AuctionAccept(accept) => auction::accept(draft, sender, accept),
        Body::AuctionUnreadable(shown) => auction::unreadable(draft, sender, shown),
        Body::AuctionDemand(terms) => contract::demand(draft, sender, terms),
        Body::AuctionOffer(offer) => contract::offer(draft, sender, offer),
        Body::ContractOpen(agreement) => contract::open(draft, sender, agreement),
        Body::ContractStart(start) => contract::start(draft, start),
        Body::ContractSettle { record, start, checkpoint } => {
            contract::settle(draft, sender, record, start.as_deref(), checkpoint.as_deref())
        }
        Body::ContractWaive(waiver) => contract::waive(draft, sender, waiver),
        Body::OpenAccountFor { owner } => registry::open_account_for(draft, verified, *owner),
        Body::ContractDispute { contract } => contract::dispute(draft, sender, *contract),
        Body::ContractResolve { contract, energy } => contract::resolve(draft, verified, *contract, *energy),
        Body::SetValidators { epoch, validators } => {
            governance::set_validators(draft, verified, *epoch, validators)
        }
        Body::Upgrade { epoch, rules } => governance::upgrade(draft, verified, *epoch, *rules),
        Body::VoteKey { epoch, key } => governance::vote_key(draft, verified, *epoch, *key),
        Body::Bond { amount } => bond::bond(draft, sender, *amount),
        Body::Unbond { amount } => bond::unbond(draft, sender, *amount),
        Body::Convict { epoch, evidence } => bond::convict(draft, *epoch, evidence),
        Body::SetTariff { price, from } => governance::set_tariff(draft, sender, *price, *from),
        Body::SetPriceCap { cap, from } => governance::set_price_cap(draft, verified, *cap, *from),
        Body::SetAuditKey { key } => governance::set_audit_key(draft, verified, *key),
        Body::SetCircuit { station, circuit } => governance::set_circuit(draft, sender, *station, *circuit),
        Body::ContractLower { contract, energy } => contract::lower(draft, sender, *contract, *energy),
        Body::RegisterEvse { station, number, connectors, power, meter, installed } => {
            registry::evse(draft, sender, (*station, *number), (*connectors, *power), (*meter, installed))
        }
    }
}

/// At least as many distinct treasurers signed as the zone demands.
fn treasurers(draft: &Draft<'_>, verified: &Verified) -> Result<(), TransactionError> {
    let treasury = &draft.state.zone().treasury;
    let found = treasury.keys.iter().filter(|key| verified.is_signed_by(key)).count();
    if found < usize::from(treasury.threshold) {
        return Err(TransactionError::Treasurers { found, needed: treasury.threshold });
    }
    Ok(())
}

fn signed_by(verified: &Verified, key: &PublicKey) -> Result<(), TransactionError> {
    if verified.is_signed_by(key) { Ok(()) } else { Err(TransactionError::NotSigned(*key)) }
}

fn text(what: &'static str, text: &str) -> Result<(), TransactionError> {
    match text.len() {
        1..=64 => Ok(()),
        length => Err(TransactionError::Text { what, length }),
    }
}

/// Appends `child` to what hangs on `account`.
fn add_child(draft: &mut Draft<'_>, account: &AccountId, child: Hash) -> Result<(), TransactionError> {
    let (slot, account) = draft.account(account)?;
    let mut account = account.clone();
    account.children = account.children.with(child)?;
    draft.set_object(slot, Object::Account(account));
    Ok(())
}
