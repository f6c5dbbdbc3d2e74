//! Mutations of known bytes, each a function of its seed and number.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

/// The most bytes that a mutation adds to what it starts from.
const GROWTH_MAX: usize = 4096;

/// Makes mutations of the files of one corpus.
pub struct Mutator<'c> {
    corpus: &'c [Vec<u8>],
    seed: u64,
}

impl<'c> Mutator<'c> {
    /// Mutates `corpus`, which is not empty.
    pub fn new(corpus: &'c [Vec<u8>], seed: u64) -> Self {
        assert!(!corpus.is_empty(), "there is nothing to mutate");
        Self { corpus, seed }
    }

    /// Mutation number `n`: some file with 1 to 4 changes.
    pub fn mutation(&self, n: u64) -> Vec<u8> {
        let mut dice = Dice(ChaCha20Rng::seed_from_u64(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let mut bytes = self.file(&mut dice).clone();
        let changes = if dice.below(2) == 0 { 1 } else { 1 + dice.below(4) };
        for _ in 0..changes {
            self.change(&mut bytes, &mut dice);
        }
        bytes
    }

    fn file(&self, dice: &mut Dice) -> &'c Vec<u8> {
        &self.corpus[dice.below(self.corpus.len())]
    }

    fn change(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        match dice.below(10) {
            0 | 1 => flip_bit(bytes, dice),
            2 => set_byte(bytes, dice),
            3 => bytes.truncate(dice.below(bytes.len() + 1)),
            4 => cut_out(bytes, dice),
            5 => self.splice(bytes, dice),
            6 => repeat(bytes, dice),
            7 | 8 => number_at_a_bound(bytes, dice),
            _ => digits(bytes, dice),
        }
    }

    /// Puts a piece of another file in place of a piece of this one.
    fn splice(&self, bytes: &mut Vec<u8>, dice: &mut Dice) {
        let other = self.file(dice);
        let piece = dice.range(other.len());
        let piece = &other[piece][..];
        let place = dice.range(bytes.len());
        let piece = &piece[..piece.len().min(GROWTH_MAX)];
        bytes.splice(place, piece.iter().copied());
    }
}

fn flip_bit(bytes: &mut [u8], dice: &mut Dice) {
    if !bytes.is_empty() {
        let at = dice.below(bytes.len());
        bytes[at] ^= 1 << dice.below(8);
    }
}

fn set_byte(bytes: &mut [u8], dice: &mut Dice) {
    const BYTES: [u8; 9] = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'"', b'{', b'\n'];
    if !bytes.is_empty() {
        let at = dice.below(bytes.len());
        bytes[at] = BYTES[dice.below(BYTES.len())];
    }
}

fn cut_out(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let piece = dice.range(bytes.len());
    bytes.drain(piece);
}

/// The same piece again, as lists grow.
fn repeat(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let range = dice.range(bytes.len());
    let piece = bytes[range.clone()].to_vec();
    if piece.is_empty() {
        return;
    }
    let times = 1 + dice.below((GROWTH_MAX / piece.len()).clamp(1, 64));
    let more: Vec<u8> = piece.iter().copied().cycle().take(piece.len() * times).take(GROWTH_MAX).collect();
    bytes.splice(range.end..range.end, more);
}

/// A number at a bound in place of whatever is there: as a fixed width, big- and little-endian, or as the variable
/// length that postcard writes. Lengths and amounts are such numbers.
fn number_at_a_bound(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let near = [0u64, 1, 1 << 7, 1 << 8, 1 << 14, 1 << 16, 1 << 21, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
    let number = near[dice.below(near.len())].wrapping_add(dice.below(3) as u64).wrapping_sub(1);
    let written = match dice.below(6) {
        0 => number.to_be_bytes()[4..].to_vec(),
        1 => number.to_le_bytes()[..2].to_vec(),
        2 => number.to_be_bytes().to_vec(),
        3 => number.to_le_bytes().to_vec(),
        _ => variable_length(number),
    };
    let start = dice.below(bytes.len() + 1);
    // As many bytes as a number of variable length had there, at times as many as are written.
    let old = bytes[start..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
    let width = if dice.below(3) == 0 { written.len() } else { old };
    bytes.splice(start..(start + width).min(bytes.len()), written);
}

fn variable_length(mut number: u64) -> Vec<u8> {
    let mut written = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            written.push(low);
            return written;
        }
        written.push(low | 0x80);
    }
}

/// A number in text, in place of the digits nearest after a place.
fn digits(bytes: &mut Vec<u8>, dice: &mut Dice) {
    const NUMBERS: [&str; 12] = [
        "0",
        "-1",
        "1e400",
        "0.0000000000000000001",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551616",
        "4294967296",
        "65536",
        "NaN",
        "-0",
    ];
    let start = dice.below(bytes.len() + 1);
    let Some(first) = bytes[start..].iter().position(u8::is_ascii_digit) else { return };
    let first = start + first;
    let count = bytes[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(first..first + count, NUMBERS[dice.below(NUMBERS.len())].bytes());
}

/// Random numbers of one mutation.
struct Dice(ChaCha20Rng);

impl Dice {
    /// 0 to `end`, without `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = end.max(1) as u64;
        usize::try_from(self.0.next_u64() % end).expect("it is below a usize")
    }

    /// A piece of something of that length; more often short than long.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(2) == 0 { 16 } else { length };
        let count = self.below((length - start).min(most) + 1);
        start..start + count
    }
}
