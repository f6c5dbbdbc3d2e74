//! Randomness by seed: one stream for each use, so that a fault that is switched off changes nothing else.

use ohmesh_units::Domain;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// One stream of random choices.
#[derive(Clone)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream of `seed` for one use, and within the use for number `of`.
    pub fn new(seed: u64, usage: &str, of: usize) -> Self {
        const DICE: Domain = Domain::new("ohmesh/1 simulation dice");
        let hash = DICE.hash(&[&seed.to_be_bytes(), &(of as u64).to_be_bytes(), usage.as_bytes()]);
        Self(ChaCha8Rng::from_seed(hash.0))
    }

    /// A number below `bound`, which is at least 1. (Its bias, at most `bound` in 2^64, is of no concern here.)
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// An index below `length`, which is at least 1.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a usize")
    }

    /// Whether something happens that happens `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of `choices`, of which there is at least one.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.index(choices.len())]
    }

    /// Random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A seed for somebody else's randomness.
    pub fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.0.fill_bytes(&mut seed);
        seed
    }
}
