//! The validator: releases when bidding is over, never before.

use super::RoleError;
use crate::{
    bid::LedgeredBid,
    intent::VerifiedIntent,
    key::{EpochKey, KeyShares},
    release::Release,
};
use ohmesh_units::Timestamp;
use rand_core::CryptoRng;
use std::collections::BTreeMap;

/// A certified block, as far as deadlines care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The block's number.
    pub height: u64,
    /// The block's time.
    pub time: Timestamp,
}

/// What a validator asks its host to do.
#[derive(Debug)]
pub enum ValidatorAction {
    /// Put the release on the ledger.
    Release(Box<Release>),
}

/// One validator's shares of the current epoch's key and of older ones whose auctions have not ended.
#[derive(Debug, Default)]
pub struct Validator {
    keys: BTreeMap<u64, (EpochKey, KeyShares)>,
}

impl Validator {
    /// The most epochs held at a time: the current one, the one before, the one being made, and one to spare.
    pub const KEYS_MAX: usize = 4;

    /// Takes up the shares of an epoch's key.
    pub fn on_key(&mut self, key: EpochKey, shares: KeyShares) -> Result<(), RoleError> {
        if !shares.belong_to(&key) {
            return Err(RoleError::NoKey(key.epoch()));
        }
        if self.keys.len() >= Self::KEYS_MAX && !self.keys.contains_key(&key.epoch()) {
            return Err(RoleError::TooManyKeys(Self::KEYS_MAX));
        }
        self.keys.insert(key.epoch(), (key, shares));
        Ok(())
    }

    /// A certified `block` closed an auction whose intent is in block `intent_height`; `bids` are all it has on the
    /// ledger. Refused while the auction takes bids, so that no host's mistake opens a bid early. An auction without
    /// bids needs no release.
    pub fn on_due(
        &self,
        intent: &VerifiedIntent,
        intent_height: u64,
        block: Block,
        bids: &[LedgeredBid],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<ValidatorAction>, RoleError> {
        let blocks = block.height.checked_sub(intent_height).ok_or(RoleError::NotDue(intent.id()))?;
        if !intent.terms().is_due(block.time, blocks) {
            return Err(RoleError::NotDue(intent.id()));
        }
        if bids.is_empty() {
            return Ok(Vec::new());
        }
        let epoch = intent.terms().key_epoch;
        let (key, shares) = self.keys.get(&epoch).ok_or(RoleError::NoKey(epoch))?;
        let release = Release::create(shares, key, intent, bids, rng)?;
        Ok(vec![ValidatorAction::Release(Box::new(release))])
    }

    /// The last auction of an epoch has ended: its shares are dropped, which zeroises them. The host erases the file.
    pub fn on_retire(&mut self, epoch: u64) -> Result<(), RoleError> {
        self.keys.remove(&epoch).map(|_| ()).ok_or(RoleError::NoKey(epoch))
    }
}
