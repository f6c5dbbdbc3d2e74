//! What a validator owes the auctions: its part in making the epoch's key, and the release of bids after each deadline.
//!
//! All of it is read off the state after each block, so that a restart needs nothing but the key shares, which are durable
//! before anybody hears of them. A validator that restarts in the middle of a key generation stays silent in that attempt.
//!
//! Shares are erased, from memory and from their file, when no auction can need them any more: what a quorum has erased
//! nobody can be made to hand over. Erasing replaces the file; what a disk keeps of replaced blocks is the disk's.

use super::{Agent, AgentError};
use crate::{
    disk::{Disk, Memory},
    record_log::{LogError, RecordLog},
};
use ohmesh_auction::{
    key::{
        EpochKey, KeyShares, ValidatorIndex,
        generation::{Action, Dealer},
        solo,
    },
    role::{Block as BlockAt, Validator, ValidatorAction},
};
use ohmesh_ledger::{Auction, Block, Body, KeyGeneration, KeyHolders, Object, epoch_key_id};
use ohmesh_units::{AccountId, AuctionId, Hash, Reader, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::{BTreeMap, BTreeSet};
use zeroize::{Zeroize, Zeroizing};

/// The duties of one validator.
pub(super) struct Duties {
    me: AccountId,
    /// The zone that the file is bound to.
    zone: Hash,
    rng: ChaCha20Rng,
    shares: RecordLog,
    role: Validator,
    /// The attempt this process takes part in, and how many of the ledger's messages the dealer has seen.
    dealing: Option<Dealing>,
    /// Attempts in which this process can no longer take part.
    given_up: Option<Hash>,
    /// Auctions whose bids are still sealed, with the height at which this validator last sent its release.
    sealed: BTreeMap<AuctionId, Option<u64>>,
    /// What is in the file: shares with which it releases, and such as wait for their key to be on the ledger.
    stored: Vec<KeyShares>,
    /// The epochs of the keys with which it releases.
    taken: BTreeSet<u64>,
}

struct Dealing {
    id: Hash,
    dealer: Dealer,
    deals: usize,
    handouts: usize,
}

impl Duties {
    /// Opens the duties of the agent `me`, with the shares it keeps on disk.
    pub(super) fn open(
        disk: &mut dyn Disk,
        zone: Hash,
        me: AccountId,
        seed: [u8; 32],
    ) -> Result<Self, AgentError> {
        let (shares, frames) = RecordLog::open(disk, SHARES, zone)?;
        let mut stored = Vec::new();
        for (extent, payload) in frames {
            let payload = Zeroizing::new(payload);
            let shares = Reader::new(&payload).record().and_then(|bytes| KeyShares::from_bytes(bytes).ok());
            stored.push(shares.ok_or(LogError::Damaged { file: SHARES, offset: extent.offset })?);
        }
        Ok(Self {
            me,
            zone,
            rng: ChaCha20Rng::from_seed(seed),
            shares,
            role: Validator::default(),
            dealing: None,
            given_up: None,
            sealed: BTreeMap::new(),
            stored,
            taken: BTreeSet::new(),
        })
    }

    /// Whether auctions wait for blocks to reach their deadline or to carry releases.
    pub(super) fn is_busy(&self) -> bool {
        !self.sealed.is_empty() || self.dealing.is_some()
    }

    /// Notes the auctions that a decided block opened.
    pub(super) fn note(&mut self, block: &Block) {
        for signed in &block.transactions {
            if let Body::AuctionOpen(intent) = &signed.transaction.body {
                self.sealed.insert(intent.id(), None);
            }
        }
    }

    /// Notes every auction of a state, after a restart.
    pub(super) fn note_all<'o>(&mut self, objects: impl Iterator<Item = &'o Object>) {
        for object in objects {
            if let Object::Auction(auction) = object {
                self.sealed.insert(auction.intent.id(), None);
            }
        }
    }

    /// What is owed after the newest block; shares are durable when this returns.
    fn due(&mut self, disk: &mut dyn Disk, state: &ohmesh_ledger::State) -> Result<Vec<Body>, AgentError> {
        let mut owed = Vec::new();
        for holders in &state.governance().keys {
            let Some(me) = self.index_in(holders) else { continue };
            match state.object(&epoch_key_id(holders.epoch)) {
                Some((_, Object::Generation(generation))) => self.deal(disk, me, generation, &mut owed)?,
                Some((_, Object::EpochKey(key))) => self.take_key(disk, key)?,
                _ => {}
            }
        }
        let head = BlockAt { height: state.head().height, time: state.head().time };
        let auctions: Vec<AuctionId> = self.sealed.keys().copied().collect();
        let mut open = BTreeSet::new();
        for id in auctions {
            match state.object(&id.into()) {
                Some((_, Object::Auction(auction)))
                    if auction.opening.is_none() && auction.award.is_none() =>
                {
                    let epoch = auction.intent.terms().key_epoch;
                    open.insert(epoch);
                    let me = state.governance().holders(epoch).and_then(|holders| self.index_in(holders));
                    owed.extend(me.and_then(|me| self.release(me, auction, head)));
                }
                _ => {
                    self.sealed.remove(&id);
                }
            }
        }
        self.retire(disk, state, &open)?;
        Ok(owed)
    }

    /// The index that this agent has among the holders of a key.
    fn index_in(&self, holders: &KeyHolders) -> Option<ValidatorIndex> {
        let at = holders.accounts.iter().position(|account| *account == self.me)?;
        u16::try_from(at).ok().map(ValidatorIndex)
    }

    /// Takes part in the running attempt.
    fn deal(
        &mut self,
        disk: &mut dyn Disk,
        me: ValidatorIndex,
        generation: &KeyGeneration,
        owed: &mut Vec<Body>,
    ) -> Result<(), AgentError> {
        let id = generation.generation.id();
        if generation.generation.holding.indices_of(me).next().is_none() || self.given_up == Some(id) {
            self.dealing = None;
            return Ok(());
        }
        if generation.generation.holding.shares() == 1 {
            return self.make_alone(disk, me, generation, owed);
        }
        if self.dealing.as_ref().is_none_or(|dealing| dealing.id != id) {
            self.dealing = None;
            if generation.deals.iter().any(|deal| deal.validator == me) {
                self.given_up = Some(id);
                return Ok(());
            }
            let Ok((dealer, Action::Deal(deal))) =
                Dealer::start(generation.generation.clone(), me, &mut self.rng)
            else {
                self.given_up = Some(id);
                return Ok(());
            };
            owed.push(Body::KeyDeal(Box::new(deal)));
            self.dealing = Some(Dealing { id, dealer, deals: 0, handouts: 0 });
        }
        let Some(dealing) = &mut self.dealing else { return Ok(()) };
        let mut actions = Vec::new();
        let mut failed = false;
        for deal in &generation.deals[dealing.deals..] {
            dealing.deals += 1;
            match dealing.dealer.on_deal(deal.clone(), &mut self.rng) {
                Ok(more) => actions.extend(more),
                Err(_) => failed = true,
            }
        }
        for handout in &generation.handouts[dealing.handouts..] {
            dealing.handouts += 1;
            match dealing.dealer.on_handout(handout.clone(), &mut self.rng) {
                Ok(more) => actions.extend(more),
                Err(_) => failed = true,
            }
        }
        if failed {
            self.given_up = Some(id);
            self.dealing = None;
        }
        for action in actions {
            owed.push(match action {
                Action::Deal(deal) => Body::KeyDeal(Box::new(deal)),
                Action::Handout(handout) => Body::KeyHandout(Box::new(handout)),
                Action::Complain(complaint) => Body::KeyComplaint(Box::new(complaint)),
                Action::Keep(shares, blinding) => {
                    self.keep(disk, *shares)?;
                    Body::KeyBlinding(Box::new(blinding))
                }
            });
        }
        Ok(())
    }

    /// The only validator of a zone makes the key by itself, once.
    fn make_alone(
        &mut self,
        disk: &mut dyn Disk,
        me: ValidatorIndex,
        generation: &KeyGeneration,
        owed: &mut Vec<Body>,
    ) -> Result<(), AgentError> {
        let about = &generation.generation;
        let (key, shares) = solo(about.zone, about.epoch, me, &mut self.rng);
        self.given_up = Some(about.id());
        self.keep(disk, shares)?;
        owed.push(Body::KeySolo(Box::new(key)));
        Ok(())
    }

    fn keep(&mut self, disk: &mut dyn Disk, shares: KeyShares) -> Result<(), AgentError> {
        self.shares.push(&shares.to_bytes());
        self.shares.sync(disk)?;
        self.stored.push(shares);
        Ok(())
    }

    /// The key is on the ledger: with this validator's shares it can release. Those of void attempts at it are erased.
    fn take_key(&mut self, disk: &mut dyn Disk, key: &EpochKey) -> Result<(), AgentError> {
        self.dealing = None;
        let epoch = key.epoch();
        if self.taken.contains(&epoch) || self.stored.iter().all(|shares| shares.epoch() != epoch) {
            return Ok(());
        }
        self.erase(disk, |shares| shares.epoch() == epoch && !shares.belong_to(key))?;
        if let Some(shares) = self.stored.iter().find(|shares| shares.epoch() == epoch) {
            // It fits, and no more keys count than a role holds.
            if self.role.on_key(key.clone(), shares.clone()).is_ok() {
                self.taken.insert(epoch);
            }
        }
        Ok(())
    }

    /// Erases the shares that no auction can need any more; `open` are the key epochs of auctions that are still sealed.
    fn retire(
        &mut self,
        disk: &mut dyn Disk,
        state: &ohmesh_ledger::State,
        open: &BTreeSet<u64>,
    ) -> Result<(), AgentError> {
        let now = state.head().time;
        let governance = state.governance();
        let is_over = |epoch: &u64| {
            // The time of blocks only grows: no later one takes an auction that this one would refuse.
            let is_outlived = governance.key_serves_until(*epoch).is_some_and(|until| until < now);
            let is_given_up = matches!(state.object(&epoch_key_id(*epoch)), Some((_, Object::Finished(_))));
            let counts = governance.holders(*epoch).is_some();
            !counts || is_given_up || (is_outlived && !open.contains(epoch))
        };
        let over: BTreeSet<u64> = self.stored.iter().map(KeyShares::epoch).filter(is_over).collect();
        if over.is_empty() {
            return Ok(());
        }
        self.erase(disk, |shares| over.contains(&shares.epoch()))?;
        for epoch in over {
            if self.taken.remove(&epoch) {
                // It was taken up, so it is there.
                let _ = self.role.on_retire(epoch);
            }
        }
        Ok(())
    }

    /// Replaces the file by one without the shares that `is_gone` names: after a crash it holds all or only the others.
    fn erase(&mut self, disk: &mut dyn Disk, is_gone: impl Fn(&KeyShares) -> bool) -> Result<(), AgentError> {
        if !self.stored.iter().any(&is_gone) {
            return Ok(());
        }
        let mut written = Memory::default();
        let (mut log, _) = RecordLog::open(&mut written, SHARES, self.zone)?;
        for shares in self.stored.iter().filter(|shares| !is_gone(shares)) {
            log.push(&shares.to_bytes());
            log.sync(&mut written)?;
        }
        let failed = |error| LogError::Disk { file: SHARES, error };
        let bytes = Zeroizing::new(written.read(SHARES).map_err(failed)?);
        written.edit(SHARES, Zeroize::zeroize);
        disk.replace(SHARES, &bytes).map_err(failed)?;
        self.shares = log;
        self.stored.retain(|shares| !is_gone(shares));
        Ok(())
    }

    /// The release of an auction whose bidding is over *in the newest block*: no later block can take another bid.
    fn release(&mut self, me: ValidatorIndex, auction: &Auction, head: BlockAt) -> Option<Body> {
        let id = auction.intent.id();
        let sent = self.sealed.get_mut(&id)?;
        if auction.releases.iter().any(|(validator, _)| *validator == me)
            || sent.is_some_and(|height| head.height < height + RESEND_BLOCKS)
        {
            return None;
        }
        let actions =
            self.role.on_due(&auction.intent, auction.height, head, &auction.bids, &mut self.rng).ok()?;
        let ValidatorAction::Release(release) = actions.into_iter().next()?;
        *sent = Some(head.height);
        Some(Body::AuctionRelease(release))
    }
}

impl<D: Disk> Agent<D> {
    /// Does what this validator owes after the newest block.
    pub(super) fn do_duties(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let owed = self.duties.due(&mut self.disk, &self.state)?;
        self.submit_own(now, owed);
        Ok(())
    }
}

/// The file of key shares.
const SHARES: &str = "auction-keys.log";
/// After how many blocks a release that has had no effect is sent again.
const RESEND_BLOCKS: u64 = 5;
