//! The agent's own transactions: signed with its key under fresh numbers.

use ohmesh_ledger::{Body, SignedTransaction, Transaction};
use ohmesh_units::{AccountId, SigningKey, Timestamp, ZoneId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::time::Duration;

/// Signs what the agent sends in its own name.
pub(super) struct Signer {
    zone: ZoneId,
    key: SigningKey,
    numbers: ChaCha20Rng,
}

impl Signer {
    pub(super) fn new(zone: ZoneId, key: SigningKey, seed: [u8; 32]) -> Self {
        Self { zone, key, numbers: ChaCha20Rng::from_seed(seed) }
    }

    /// The account in whose name it signs.
    pub(super) fn account(&self) -> AccountId {
        AccountId::of(&self.key.public())
    }

    /// Signs `body`, valid for [`VALID_FOR`] after `now`.
    pub(super) fn sign(&mut self, now: Timestamp, body: Body) -> SignedTransaction {
        self.sign_with(now, body, &[])
    }

    /// As [`Signer::sign`], with the keys of `others` too.
    pub(super) fn sign_with(
        &mut self,
        now: Timestamp,
        body: Body,
        others: &[&SigningKey],
    ) -> SignedTransaction {
        let mut number = [0; 16];
        self.numbers.fill_bytes(&mut number);
        let transaction = Transaction {
            zone: self.zone,
            sender: self.account(),
            number: u128::from_be_bytes(number),
            valid_until: now.checked_add(VALID_FOR).unwrap_or(now),
            body,
        };
        transaction.sign(&[&[&self.key], others].concat())
    }
}

/// How long the agent's own transactions are valid.
const VALID_FOR: Duration = Duration::from_secs(600);
