//! The keys with which this agent votes: one an epoch, made here, kept with the logs of what they signed, erased when their
//! epoch is over.
//!
//! They live in the data folder and nowhere else, and no backup should hold them: who has lost the folder has lost the
//! record of what it signed, and must not be able to sign again. Such an agent follows until a new key of its is on the
//! ledger and the next epoch has begun. Erasing replaces the file; what a disk keeps of replaced blocks is the disk's.
//!
//! So the keys are bound to the file in which what they sign is recorded, by the time at which that file was made: `cp`,
//! `tar`, `rsync` and every backup that puts files back make a new one, and in a folder that was put back the keys are
//! erased ([`VoteKeys::is_copied`]). What this does not see: a file system that was set back as a whole (an image, a
//! snapshot of a volume or of a machine), a file that was written over in place, and file systems that keep no such times.
//! Whoever does that runs `station-agent ledger forget-votes` before the agent starts again.

use crate::{disk::Disk, record_log::LogError};
use ohmesh_ledger::ValidatorSet;
use ohmesh_units::{Canonical, PublicKey, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The vote keys of one agent.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct VoteKeys {
    keys: Vec<VoteKey>,
    /// When the file in which their votes are recorded was made; none while there is none.
    record_made: Option<u128>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct VoteKey {
    /// The epoch for which it was made; it serves on while no later one is on the ledger.
    epoch: u64,
    seed: [u8; 32],
    /// Whether it has ever been the key to vote with. One that has not, has signed nothing.
    has_served: bool,
}

impl VoteKey {
    fn key(&self) -> SigningKey {
        SigningKey::from_seed(self.seed)
    }
}

impl Canonical for VoteKeys {
    const NAME: &'static str = "vote keys";
    const MAX_BYTES: usize = 36 + KEYS_MAX * 43;
}

impl VoteKeys {
    /// The file in the data folder.
    pub const FILE: &'static str = "vote.keys";

    /// Reads the keys; none, if there is no file.
    pub fn open(disk: &dyn Disk) -> Result<Self, LogError> {
        let bytes = disk.read(Self::FILE).map_err(|error| LogError::Disk { file: Self::FILE, error })?;
        let bytes = Zeroizing::new(bytes);
        if bytes.is_empty() {
            return Ok(Self { keys: Vec::new(), record_made: None });
        }
        let keys = Self::decode(&bytes).ok().filter(|keys| keys.keys.len() <= KEYS_MAX);
        keys.ok_or(LogError::Damaged { file: Self::FILE, offset: 0 })
    }

    /// The key that a zone's genesis names for this agent, made of `seed` if there is none yet.
    pub fn first(disk: &mut dyn Disk, seed: [u8; 32]) -> Result<PublicKey, LogError> {
        let mut keys = Self::open(disk)?;
        Ok(keys.make(disk, 0, seed)?.public())
    }

    /// The key for `epoch`, made of `seed` and durable if there is none yet.
    pub fn make(&mut self, disk: &mut dyn Disk, epoch: u64, seed: [u8; 32]) -> Result<SigningKey, LogError> {
        if let Some(key) = self.keys.iter().find(|key| key.epoch == epoch) {
            return Ok(key.key());
        }
        if self.keys.len() == KEYS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(VoteKey { epoch, seed, has_served: false });
        self.write(disk)?;
        Ok(SigningKey::from_seed(seed))
    }

    /// The newest key that has never been the one to vote with, if there is one: it has signed nothing.
    pub fn unused(&self) -> Option<PublicKey> {
        self.keys.iter().rev().find(|key| !key.has_served).map(|key| key.key().public())
    }

    /// The key made for `epoch`, if there is one.
    pub fn made_for(&self, epoch: u64) -> Option<SigningKey> {
        self.keys.iter().find(|key| key.epoch == epoch).map(VoteKey::key)
    }

    /// The key with which the agent `me` votes among `validators`; none if it is not one of them, or has lost its key.
    pub fn signer(&self, validators: &ValidatorSet, me: &PublicKey) -> Option<SigningKey> {
        let index = validators.index_of(me)?;
        let vote = validators.at(index)?.vote;
        self.keys.iter().map(VoteKey::key).find(|key| key.public() == vote)
    }

    /// Whether one of them is `vote`.
    pub fn has(&self, vote: &PublicKey) -> bool {
        self.keys.iter().any(|key| key.key().public() == *vote)
    }

    /// Whether `record`, the file in which their votes are recorded, is not the one that they are bound to: the folder was
    /// put back, and what they have signed since it was copied is not in it. Keys that are not bound yet, and those that
    /// will be made where there are none, are bound to it now.
    pub fn is_copied(&mut self, disk: &mut dyn Disk, record: &'static str) -> Result<bool, LogError> {
        let made = disk.made(record).map_err(|error| LogError::Disk { file: record, error })?;
        if self.record_made.is_some() && !self.keys.is_empty() {
            return Ok(made.is_some() && made != self.record_made);
        }
        self.adopt(disk, record)?;
        Ok(false)
    }

    /// Binds them to the record that is there from now on, whatever they have signed. Only for who knows that it is the
    /// newest one, or that they have signed nothing.
    pub fn adopt(&mut self, disk: &mut dyn Disk, record: &'static str) -> Result<(), LogError> {
        let made = disk.made(record).map_err(|error| LogError::Disk { file: record, error })?;
        if self.record_made != made {
            self.record_made = made;
            self.write(disk)?;
        }
        Ok(())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// `epoch` has begun or goes on, `vote` being the key to vote with: erases all others but those for later epochs and,
    /// while there is none to vote with, those that never were: their agent may yet be made a validator.
    pub fn begin(
        &mut self,
        disk: &mut dyn Disk,
        epoch: u64,
        vote: Option<PublicKey>,
    ) -> Result<(), LogError> {
        let mut is_changed = false;
        for key in &mut self.keys {
            let serves = Some(key.key().public()) == vote;
            is_changed |= serves && !key.has_served;
            key.has_served |= serves;
        }
        let before = self.keys.len();
        self.keys.retain(|key| {
            let may_serve = key.epoch > epoch || (vote.is_none() && !key.has_served);
            may_serve || Some(key.key().public()) == vote
        });
        if is_changed || self.keys.len() != before { self.write(disk) } else { Ok(()) }
    }

    /// Erases every key: this agent cannot know any more what they have signed.
    pub fn forget(&mut self, disk: &mut dyn Disk) -> Result<(), LogError> {
        self.keys.clear();
        self.write(disk)
    }

    fn write(&self, disk: &mut dyn Disk) -> Result<(), LogError> {
        let bytes = Zeroizing::new(self.encode());
        disk.replace(Self::FILE, &bytes).map_err(|error| LogError::Disk { file: Self::FILE, error })
    }
}

/// Keys at a time at most: this epoch's, the next one's, and those of epochs that ended without a later one.
const KEYS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;
    use ohmesh_ledger::Validator;

    #[test]
    fn a_key_is_made_once_found_by_its_public_part_and_erased() {
        let mut disk = Memory::default();
        let mut keys = VoteKeys::open(&disk).unwrap();
        let vote = keys.make(&mut disk, 0, [1; 32]).unwrap().public();
        assert_eq!(keys.make(&mut disk, 0, [2; 32]).unwrap().public(), vote, "the first one stays");
        let me = SigningKey::from_seed([9; 32]).public();
        let validator = Validator { name: "v".into(), key: me, vote, stake: 1, address: String::new() };
        let set = ValidatorSet::new(vec![validator]).unwrap();
        let mut again = VoteKeys::open(&disk).unwrap();
        assert_eq!(again.signer(&set, &me).unwrap().public(), vote);
        assert!(again.signer(&set, &vote).is_none(), "not a validator");

        again.begin(&mut disk, 7, None).unwrap();
        assert!(
            again.made_for(0).is_some(),
            "an agent that is no validator yet keeps the key it will be admitted with"
        );
        again.begin(&mut disk, 0, Some(vote)).unwrap();
        let next = again.make(&mut disk, 1, [3; 32]).unwrap().public();
        again.begin(&mut disk, 1, Some(next)).unwrap();
        let third = VoteKeys::open(&disk).unwrap();
        assert!(third.signer(&set, &me).is_none() && third.made_for(0).is_none(), "its epoch is over");
        assert_eq!(third.made_for(1).unwrap().public(), next);
        let bytes = disk.everything();
        assert!(!bytes.windows(32).any(|window| window == [1; 32]), "the old seed is in no file");
    }

    #[test]
    fn keys_are_bound_to_the_record_of_their_votes() {
        const RECORD: &str = "record.log";
        let mut disk = Memory::default();
        let mut keys = VoteKeys::open(&disk).unwrap();
        keys.make(&mut disk, 0, [1; 32]).unwrap();
        assert!(!keys.is_copied(&mut disk, RECORD).unwrap(), "there is no record yet");
        disk.edit(RECORD, |bytes| bytes.push(1));
        assert!(!keys.is_copied(&mut disk, RECORD).unwrap(), "bound to it now");
        let is_copied = |disk: &Memory| {
            let mut disk = disk.clone();
            VoteKeys::open(&disk).unwrap().is_copied(&mut disk, RECORD).unwrap()
        };
        assert!(!is_copied(&disk) && !is_copied(&disk.image()));
        let mut copy = disk.copy();
        assert!(is_copied(&copy) && is_copied(&copy), "as often as one looks");
        let mut kept = VoteKeys::open(&copy).unwrap();
        kept.forget(&mut copy).unwrap();
        assert!(!is_copied(&copy), "there is no key that could sign");
        kept.adopt(&mut copy, RECORD).unwrap();
        kept.make(&mut copy, 1, [2; 32]).unwrap();
        assert!(!is_copied(&copy) && is_copied(&copy.copy()));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let disk = Memory::default();
        disk.edit(VoteKeys::FILE, |bytes| bytes.extend([1, 2, 3]));
        assert!(matches!(VoteKeys::open(&disk), Err(LogError::Damaged { file: VoteKeys::FILE, .. })));
    }
}
