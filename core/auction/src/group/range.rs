//! Range proofs: Bulletproofs+ (Chung, Han, Ju, Kim, Seo 2020) of `tari_bulletproofs_plus`, in chunks of 16
//! commitments, verified in batches.
//!
//! One proof over 256 commitments verifies about twelve times slower than chunks of 16 and saves few bytes. A chunk
//! whose length is no power of two is filled up by repeating its last commitment (the library refuses zeros).
//! Proving is not constant time in the committed values: it runs on the prover's own device.

use super::Point;
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::OnceLock};
use tari_bulletproofs_plus::{
    commitment_opening::CommitmentOpening,
    generators::pedersen_gens::ExtensionDegree,
    range_parameters::RangeParameters,
    range_proof::VerifyAction,
    range_statement::RangeStatement,
    range_witness::RangeWitness,
    ristretto::{RistrettoRangeProof, create_pedersen_gens_with_extension_degree},
};
use tari_merlin::Transcript;

/// The most commitments in one range proof.
pub const CHUNK: usize = 16;

/// Why a range proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The proof has another length than its statement needs.
    #[error("a range proof for this many values has {expected} bytes, found {found}")]
    Length {
        /// Bytes the statement needs.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// A scalar of the proof is not canonical.
    #[error("the range proof is malformed")]
    Malformed,
    /// A value lies outside its range, or the proof belongs to another statement.
    #[error("the range proof does not hold: a value is out of range, or the proof is for another statement")]
    Failed,
}

/// Bytes of the range proofs of one statement, chunk after chunk. Their number follows from the statement.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeProof(Vec<u8>);

impl RangeProof {
    /// No proof, for a statement about no value.
    pub(crate) const NONE: Self = Self(Vec::new());

    /// Bytes on the wire, without the length prefix.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this proves nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Proves that each `commitments[i]` commits to `values[i].0` under the blinding `values[i].1`, within `width`.
    /// Fails if one does not, or is out of range.
    pub(crate) fn prove(
        ranges: &Ranges,
        width: Width,
        commitments: &[RistrettoPoint],
        values: &[(u64, Scalar)],
        transcript: &Transcript,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, RangeError> {
        let parameters = ranges.get(width);
        let mut bytes = Vec::new();
        let chunks = commitments.chunks(width.chunk()).zip(values.chunks(width.chunk()));
        for (at, (points, values)) in chunks.enumerate() {
            let statement = statement(parameters, points)?;
            let openings =
                values.iter().map(|(value, blinding)| CommitmentOpening::new(*value, vec![*blinding]));
            let witness = RangeWitness::init(padded(openings.collect())).map_err(|_| RangeError::Failed)?;
            let mut transcript = chunk_transcript(transcript, width, at);
            let proof = RistrettoRangeProof::prove_with_rng(&mut transcript, &statement, &witness, rng)
                .map_err(|_| RangeError::Failed)?;
            bytes.extend(proof.to_bytes());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for RangeProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangeProof({} bytes)", self.0.len())
    }
}

/// Range proofs of one width under one `H`, checked together: the cost of the generators is paid once.
///
/// The weights of the batch are derived from the transcripts, so every replica answers alike.
pub(crate) struct RangeBatch<'a> {
    parameters: &'a RangeParameters<RistrettoPoint>,
    width: Width,
    transcripts: Vec<Transcript>,
    statements: Vec<RangeStatement<RistrettoPoint>>,
    proofs: Vec<RistrettoRangeProof>,
}

impl<'a> RangeBatch<'a> {
    pub(crate) fn new(ranges: &'a Ranges, width: Width) -> Self {
        let parameters = ranges.get(width);
        Self { parameters, width, transcripts: Vec::new(), statements: Vec::new(), proofs: Vec::new() }
    }

    /// Adds one statement and its proof; refuses bytes that cannot be a proof of it, and is then as before.
    pub(crate) fn add(
        &mut self,
        commitments: &[RistrettoPoint],
        proof: &RangeProof,
        transcript: &Transcript,
    ) -> Result<(), RangeError> {
        let before = self.proofs.len();
        let added = self.add_chunks(commitments, proof, transcript);
        if added.is_err() {
            self.transcripts.truncate(before);
            self.statements.truncate(before);
            self.proofs.truncate(before);
        }
        added
    }

    fn add_chunks(
        &mut self,
        commitments: &[RistrettoPoint],
        proof: &RangeProof,
        transcript: &Transcript,
    ) -> Result<(), RangeError> {
        let (expected, found) = (bytes_of(self.width, commitments.len()), proof.0.len());
        if expected != found {
            return Err(RangeError::Length { expected, found });
        }
        let mut rest = &proof.0[..];
        for (at, points) in commitments.chunks(self.width.chunk()).enumerate() {
            let (chunk, tail) = rest.split_at(chunk_bytes(self.width, points.len()));
            rest = tail;
            let proof = RistrettoRangeProof::from_bytes(chunk).map_err(|_| RangeError::Malformed)?;
            if proof.extension_degree() != ExtensionDegree::DefaultPedersen {
                return Err(RangeError::Malformed);
            }
            let statement = statement(self.parameters, points)?;
            self.transcripts.push(chunk_transcript(transcript, self.width, at));
            self.statements.push(statement);
            self.proofs.push(proof);
        }
        Ok(())
    }

    /// Whether all of them hold. An empty batch holds.
    pub(crate) fn verify(mut self) -> Result<(), RangeError> {
        if self.proofs.is_empty() {
            return Ok(());
        }
        RistrettoRangeProof::verify_batch(
            &mut self.transcripts,
            &self.statements,
            &self.proofs,
            VerifyAction::VerifyOnly,
        )
        .map(|_| ())
        .map_err(|_| RangeError::Failed)
    }
}

/// What a range proof speaks of: how many bits, and how many commitments at most share one proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Coordinates in the area: 8 bits, both in one proof.
    Position,
    /// A price in ticks: 16 bits.
    Price,
    /// The reserve in score units: 32 bits.
    Reserve,
    /// Detours by road: 16 bits, [`CHUNK`] to a proof.
    Road,
    /// Differences of scores: 32 bits, [`CHUNK`] to a proof.
    Score,
}

impl Width {
    fn bits(self) -> usize {
        match self {
            Self::Position => 8,
            Self::Price | Self::Road => 16,
            Self::Reserve | Self::Score => 32,
        }
    }

    fn chunk(self) -> usize {
        match self {
            Self::Position => 2,
            Self::Price | Self::Reserve => 1,
            Self::Road | Self::Score => CHUNK,
        }
    }
}

/// The generators of every width under one `H`, built when first used and kept as long as the epoch's key.
/// The largest, [`Width::Score`], takes some 8 MB and tens of milliseconds.
pub(crate) struct Ranges {
    h: Point,
    position: OnceLock<RangeParameters<RistrettoPoint>>,
    price: OnceLock<RangeParameters<RistrettoPoint>>,
    reserve: OnceLock<RangeParameters<RistrettoPoint>>,
    road: OnceLock<RangeParameters<RistrettoPoint>>,
    score: OnceLock<RangeParameters<RistrettoPoint>>,
}

impl Ranges {
    pub(crate) fn new(h: Point) -> Self {
        let (position, price, reserve, road, score) = Default::default();
        Self { h, position, price, reserve, road, score }
    }

    fn get(&self, width: Width) -> &RangeParameters<RistrettoPoint> {
        let slot = match width {
            Width::Position => &self.position,
            Width::Price => &self.price,
            Width::Reserve => &self.reserve,
            Width::Road => &self.road,
            Width::Score => &self.score,
        };
        slot.get_or_init(|| {
            // The library calls the base of values h and the base of blindings g; ours are G and H.
            let mut bases = create_pedersen_gens_with_extension_degree(ExtensionDegree::DefaultPedersen);
            bases.g_base_vec = vec![self.h.point()];
            bases.g_base_compressed_vec = vec![self.h.compressed()];
            RangeParameters::init(width.bits(), width.chunk(), bases)
                .expect("every width has a power of two of bits, at most 64, and of commitments")
        })
    }
}

/// Bytes of the proofs for `count` commitments.
pub(crate) fn bytes_of(width: Width, count: usize) -> usize {
    let (full, rest) = (count / width.chunk(), count % width.chunk());
    full * chunk_bytes(width, width.chunk()) + if rest == 0 { 0 } else { chunk_bytes(width, rest) }
}

/// One byte for the degree, six elements, and two more for each halving.
fn chunk_bytes(width: Width, count: usize) -> usize {
    let rounds = (width.bits() * count.next_power_of_two()).ilog2() as usize;
    1 + 32 * (6 + 2 * rounds)
}

fn chunk_transcript(transcript: &Transcript, width: Width, at: usize) -> Transcript {
    let mut transcript = transcript.clone();
    transcript.append_u64(b"range bits", width.bits() as u64);
    transcript.append_u64(b"range chunk", at as u64);
    transcript
}

fn statement(
    parameters: &RangeParameters<RistrettoPoint>,
    points: &[RistrettoPoint],
) -> Result<RangeStatement<RistrettoPoint>, RangeError> {
    let points = padded(points.to_vec());
    let promises = vec![None; points.len()];
    RangeStatement::init(parameters.clone(), points, promises, None).map_err(|_| RangeError::Malformed)
}

/// Repeats the last item up to the next power of two.
fn padded<T: Clone>(mut items: Vec<T>) -> Vec<T> {
    if let Some(last) = items.last().cloned() {
        items.resize(items.len().next_power_of_two(), last);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{base_a, commit, random_scalar};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    type Opened = (Vec<RistrettoPoint>, Vec<(u64, Scalar)>);

    fn opened(values: impl IntoIterator<Item = u64>, rng: &mut ChaCha20Rng) -> Opened {
        values
            .into_iter()
            .map(|value| {
                let blinding = random_scalar(rng);
                (commit(value, &blinding, &base_a()), (value, blinding))
            })
            .unzip()
    }

    fn verify(
        ranges: &Ranges,
        width: Width,
        points: &[RistrettoPoint],
        proof: &RangeProof,
        label: &'static [u8],
    ) -> Result<(), RangeError> {
        let mut batch = RangeBatch::new(ranges, width);
        batch.add(points, proof, &Transcript::new(label))?;
        batch.verify()
    }

    #[test]
    fn chunks_of_every_length_hold_and_have_the_stated_bytes() {
        let (mut rng, ranges) = (ChaCha20Rng::from_seed([3; 32]), Ranges::new(base_a()));
        for count in [0, 1, 2, 3, 15, 16, 17, 33] {
            let (points, values) = opened((0..count).map(|i| u64::from(u32::MAX) - i), &mut rng);
            let transcript = Transcript::new(b"test");
            let proof =
                RangeProof::prove(&ranges, Width::Score, &points, &values, &transcript, &mut rng).unwrap();
            assert_eq!(proof.len(), bytes_of(Width::Score, points.len()));
            assert_eq!(verify(&ranges, Width::Score, &points, &proof, b"test"), Ok(()));
            if count > 0 {
                let other = verify(&ranges, Width::Score, &points, &proof, b"other");
                assert_eq!(other, Err(RangeError::Failed));
            }
        }
        assert_eq!(bytes_of(Width::Price, 1), 449);
        assert_eq!(bytes_of(Width::Score, 16), 769);
    }

    #[test]
    fn one_past_the_range_has_no_proof() {
        let (mut rng, ranges) = (ChaCha20Rng::from_seed([4; 32]), Ranges::new(base_a()));
        let transcript = Transcript::new(b"test");
        for (width, limit) in
            [(Width::Position, 1u64 << 8), (Width::Price, 1 << 16), (Width::Reserve, 1 << 32)]
        {
            let (points, values) = opened([limit], &mut rng);
            let refused = RangeProof::prove(&ranges, width, &points, &values, &transcript, &mut rng);
            assert_eq!(refused, Err(RangeError::Failed));
            // A proof for the largest value in range does not fit the commitment to one more.
            let (honest, values) = opened([limit - 1], &mut rng);
            let proof = RangeProof::prove(&ranges, width, &honest, &values, &transcript, &mut rng).unwrap();
            assert_eq!(verify(&ranges, width, &points, &proof, b"test"), Err(RangeError::Failed));
            assert_eq!(verify(&ranges, width, &honest, &proof, b"test"), Ok(()));
        }
    }

    #[test]
    fn a_batch_holds_if_every_member_does() {
        let (mut rng, ranges) = (ChaCha20Rng::from_seed([5; 32]), Ranges::new(base_a()));
        let transcript = Transcript::new(b"test");
        let members: Vec<_> = (0..5)
            .map(|i| {
                let (points, values) = opened([i], &mut rng);
                let proof = RangeProof::prove(&ranges, Width::Price, &points, &values, &transcript, &mut rng)
                    .unwrap();
                (points, proof)
            })
            .collect();
        let batch = |swap: bool| {
            let mut batch = RangeBatch::new(&ranges, Width::Price);
            for (at, (points, proof)) in members.iter().enumerate() {
                let proof = if swap && at == 2 { &members[3].1 } else { proof };
                batch.add(points, proof, &transcript).unwrap();
            }
            batch.verify()
        };
        assert_eq!(batch(false), Ok(()));
        assert_eq!(batch(true), Err(RangeError::Failed));
        let mut short = members[0].1.clone();
        short.0.pop();
        let refused = RangeBatch::new(&ranges, Width::Price).add(&members[0].0, &short, &transcript);
        assert_eq!(refused, Err(RangeError::Length { expected: 449, found: 448 }));
    }
}
