//! What the zone's people decide together: who validates in which epoch, by which rules, at which tariff, under which cap;
//! and the bonds that stand behind votes. Each is an object of the state, so that it is under the root and can be proven.

use crate::{Amount, End, Finished, LedgerError, Rules, Validator, ValidatorSet, zone::Zone};
use ohmesh_units::{AccountId, Domain, Hash, Price, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One epoch: the validators whose certificates count from one height on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Epoch {
    /// 0 for the first.
    pub number: u64,
    /// The height of its first block.
    pub first_height: u64,
    /// The time of the last block before it; the zone's creation for the first.
    pub began: Timestamp,
    /// Its last block's height and time, once it is over.
    pub ended: Option<(u64, Timestamp)>,
    /// Who validates, and with which keys.
    pub validators: ValidatorSet,
    /// Indices of those that were convicted of contradicting themselves in it, ascending.
    pub convicted: Vec<u16>,
}

impl Epoch {
    /// The id under which an epoch is found.
    pub fn id(number: u64) -> Hash {
        const EPOCH: Domain = Domain::new("ohmesh/1 epoch");
        EPOCH.hash(&[&number.to_be_bytes()])
    }

    /// When nothing that was signed in it can be punished any more, and its object ends; none while it runs.
    pub fn forgotten(&self) -> Option<Timestamp> {
        let (_, ended) = self.ended?;
        Some(ended.checked_add(Rules::UNBONDING).unwrap_or(Timestamp::from_millis(u64::MAX)))
    }
}

/// The grid fee from some time on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tariff {
    /// 0 for the zone file's; each later one is one more.
    pub version: u32,
    /// What a kWh costs.
    pub price: Price,
    /// From when it holds, in block time.
    pub from: Timestamp,
}

/// The highest price that may be asked or paid from some time on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PriceCap {
    /// The cap for a kWh; none: anything goes.
    pub cap: Option<Price>,
    /// From when it holds, in block time.
    pub from: Timestamp,
}

/// The validators that hold the shares of one auction key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyHolders {
    /// The epoch of the key: that in which its making began.
    pub epoch: u64,
    /// Their accounts, by the index they had then.
    pub accounts: Vec<AccountId>,
    /// When the key was made, in block time; none while it is in the making or was given up.
    pub made: Option<Timestamp>,
}

impl KeyHolders {
    pub(crate) fn of(epoch: u64, validators: &ValidatorSet) -> Self {
        Self { epoch, accounts: validators.all().iter().map(Validator::account).collect(), made: None }
    }
}

/// The key with which a validator will vote in the next epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NextVote {
    /// Whose.
    pub account: AccountId,
    /// The key that it made known last.
    pub key: PublicKey,
    /// How many it has made known in this epoch; 1 to [`Governance::VOTE_KEYS_MAX`].
    pub count: u8,
}

/// What holds now and what has been decided for later. There is one in a zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Governance {
    /// The running epoch.
    pub epoch: u64,
    /// The rules of the running epoch.
    pub rules: Rules,
    /// The rules of the next epoch, if they are to change.
    pub next_rules: Option<Rules>,
    /// The validators of the next epoch, if they are to change; the epoch ends with the block that decided so.
    pub next_validators: Option<ValidatorSet>,
    /// The keys with which validators will vote in the next epoch, by account, ascending; who has made none known keeps
    /// its key.
    pub next_votes: Vec<NextVote>,
    /// Tariffs in the order of their times: the one in force first, then at most one to come.
    pub tariffs: Vec<Tariff>,
    /// Price caps in the order of their times: the one in force first, then at most one to come.
    pub caps: Vec<PriceCap>,
    /// Whose shares make up the auction keys: a new key whenever the validators or their stakes change; newest last, at
    /// most [`Governance::KEYS_MAX`].
    pub keys: Vec<KeyHolders>,
    /// The key whose word lets the ledger's totals be exported.
    pub audit_key: Option<PublicKey>,
}

impl Governance {
    /// Auction keys whose shares still count at most: an auction lasts an hour or two, and so many set changes in that
    /// time would void it.
    pub const KEYS_MAX: usize = 4;

    /// How long before it holds a tariff or a price cap must be on the ledger: longer than any auction, so that whoever
    /// asks or bids knows what will hold when the contract is opened. An auction keeps the cap of its opening to its end,
    /// a contract or hold the tariff of its opening.
    pub const NOTICE: Duration = Duration::from_secs(24 * 3600);

    /// How long after a newer key is made an auction may still be opened under the one before: a phone may have signed its
    /// intent just before, and be slow to send it. Afterwards the holders erase their shares, once its last auction is open.
    pub const KEY_GRACE: Duration = Duration::from_secs(600);

    /// Keys for the next epoch that a validator may make known at most, as that costs it nothing: one, and three more for
    /// disks that are lost and messages that cross.
    pub const VOTE_KEYS_MAX: u8 = 4;

    /// The id of the only one.
    pub fn id() -> Hash {
        const GOVERNANCE: Domain = Domain::new("ohmesh/1 governance");
        GOVERNANCE.hash(&[])
    }

    /// What a zone begins with.
    pub(crate) fn first(zone: &Zone) -> Self {
        let (tariff, created) = (zone.distributor.tariff, zone.created);
        Self {
            epoch: 0,
            rules: zone.rules,
            next_rules: None,
            next_validators: None,
            next_votes: Vec::new(),
            tariffs: vec![Tariff { version: 0, price: tariff, from: created }],
            caps: vec![PriceCap { cap: None, from: created }],
            keys: vec![KeyHolders::of(0, &zone.validators)],
            audit_key: None,
        }
    }

    /// The holders of the auction key of `epoch`, if they still count.
    pub fn holders(&self, epoch: u64) -> Option<&KeyHolders> {
        self.keys.iter().find(|holders| holders.epoch == epoch)
    }

    /// The epoch of the newest auction key, in the making or made.
    pub fn key_epoch(&self) -> u64 {
        self.keys.last().map_or(0, |holders| holders.epoch)
    }

    /// Until when an auction may be opened under the key of `epoch`; none while no newer key is made.
    pub fn key_serves_until(&self, epoch: u64) -> Option<Timestamp> {
        let newer = self.keys.iter().filter(|holders| holders.epoch > epoch);
        let made = newer.filter_map(|holders| holders.made).min()?;
        Some(made.checked_add(Self::KEY_GRACE).unwrap_or(Timestamp::from_millis(u64::MAX)))
    }

    /// Takes up the holders of a key that is to be made. The oldest are let go beyond [`Governance::KEYS_MAX`], but never
    /// the newest that is made: it serves until another is.
    pub(crate) fn begin_key(&mut self, holders: KeyHolders) {
        if self.keys.len() == Self::KEYS_MAX {
            let serving = self.keys.iter().rposition(|holders| holders.made.is_some());
            self.keys.remove(usize::from(serving == Some(0)));
        }
        self.keys.push(holders);
    }

    /// The tariff in force at `now`.
    pub fn tariff(&self, now: Timestamp) -> Tariff {
        let mut in_force = self.tariffs.iter().filter(|tariff| tariff.from <= now);
        *in_force.next_back().unwrap_or(&self.tariffs[0])
    }

    /// The price cap in force at `now`.
    pub fn cap(&self, now: Timestamp) -> Option<Price> {
        let mut in_force = self.caps.iter().filter(|cap| cap.from <= now);
        in_force.next_back().and_then(|cap| cap.cap)
    }

    /// The validators of the next epoch as they are decided so far, given those of this one.
    pub fn next_epoch(&self, current: &ValidatorSet) -> Result<ValidatorSet, LedgerError> {
        let mut validators = self.next_validators.as_ref().unwrap_or(current).all().to_vec();
        for validator in &mut validators {
            let account = validator.account();
            if let Ok(at) = self.next_votes.binary_search_by_key(&account, |next| next.account) {
                validator.vote = self.next_votes[at].key;
            }
        }
        ValidatorSet::new(validators)
    }
}

/// Money of a validator that is burned if it contradicts itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bond {
    /// Whose.
    pub owner: AccountId,
    /// How much stands behind its votes, in micro-units of the currency.
    pub bonded: Amount,
    /// What its owner has asked back, and when it is free, ascending; at most [`Bond::LEAVING_MAX`].
    pub leaving: Vec<(Timestamp, Amount)>,
    /// The epoch that was running when its owner was last convicted, if it ever was: what the genesis gave it no longer
    /// counts, and the key it voted with then never again.
    pub convicted: Option<u64>,
}

impl Bond {
    /// Parts that leave at a time at most.
    pub const LEAVING_MAX: usize = 16;

    /// The id of an account's bond.
    pub fn id(owner: &AccountId) -> Hash {
        const BOND: Domain = Domain::new("ohmesh/1 bond");
        BOND.hash(&[&owner.0])
    }

    /// All of it, what leaves included: so much is held in its owner's balance.
    pub fn held(&self) -> Amount {
        self.leaving.iter().fold(self.bonded, |sum, (_, amount)| sum.saturating_add(*amount))
    }
}

/// The mark that a vote key leaves for ever: nobody is made to answer for what another, or it itself long ago, has
/// signed with it.
pub(crate) fn used_vote_key(key: &PublicKey) -> Finished {
    const VOTE_KEY: Domain = Domain::new("ohmesh/1 vote key used");
    Finished { id: VOTE_KEY.hash(&[&key.to_bytes()]), end: End::Used, content: Hash::ZERO }
}
