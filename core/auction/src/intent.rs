//! First message: what a buyer wants, in public, and commitments to what it keeps to itself.

mod road;
mod secret;
mod terms;

pub use road::{ROADS_MAX, RoadDetour, RoadError};
pub use secret::{BuyerSecret, BuyerSecretError};
pub use terms::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, TermError, Terms};

use crate::{
    group::{
        CHUNK, G, LinearProof, Point, ProofFailed, RangeBatch, RangeError, RangeProof, Relation, Width,
        base_a, commit,
    },
    key::EpochKey,
    wire,
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use ohmesh_units::{AuctionId, Canonical, Domain, InCell, StationId, ZoneId, to_postcard};
use rand_core::CryptoRng;
use road::{ENTRY_BYTES, RoadEntry, RoadTable, Roads};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tari_merlin::Transcript;
use zeroize::Zeroizing;

/// Why an intent is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IntentError {
    /// The intent belongs to another zone's ledger.
    #[error("the intent is for zone {found}, not {expected}")]
    Zone {
        /// The zone of the key.
        expected: ZoneId,
        /// The zone the intent names.
        found: ZoneId,
    },
    /// The intent names another epoch than the key's.
    #[error("the intent names key epoch {found}, not {expected}")]
    Epoch {
        /// The epoch of the key.
        expected: u64,
        /// The epoch the intent names.
        found: u64,
    },
    /// The second score is paid only where the best is promised.
    #[error("the intent pays the second score, but does not promise the best")]
    PricingRule,
    /// The table of road detours is wrong.
    #[error(transparent)]
    Road(#[from] RoadError),
    /// The buyer stands outside its area.
    #[error("the position lies outside the intent's area")]
    OutsideArea,
    /// The buyer does not know its key `b`, or `Q` is not the square of the position, or a field was changed.
    #[error("the intent's proof does not hold: it was changed, or its maker does not know its secrets")]
    Proof(#[from] ProofFailed),
    /// The committed position is not proven to lie inside the area.
    #[error("the position in the intent: {0}")]
    PositionRange(RangeError),
    /// The committed reserve is not proven to have 32 bits.
    #[error("the reserve in the intent: {0}")]
    ReserveRange(RangeError),
}

/// The buyer's key and commitments of one auction.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Commitments {
    /// `pk = b^-1 * A`.
    pub(crate) pk: Point,
    /// To the coordinate x.
    pub(crate) x: Point,
    /// To the coordinate y.
    pub(crate) y: Point,
    /// To `x^2 + y^2`.
    pub(crate) q: Point,
    /// To the reserve.
    pub(crate) reserve: Point,
}

impl Commitments {
    /// The buyer's one-time key `pk`. The ledger refuses one it has seen before.
    pub fn buyer_point(&self) -> Point {
        self.pk
    }
}

/// The intent as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// What all may read.
    pub terms: Terms,
    commitments: Commitments,
    proof: LinearProof<6>,
    position: RangeProof,
    reserve: RangeProof,
    /// If and only if the winner is the best by road.
    road: Option<RoadTable>,
}

impl Canonical for Intent {
    const NAME: &'static str = "intent";
    const MAX_BYTES: usize = 1600 + (1 + ROADS_MAX * ENTRY_BYTES) + (2 + 705 * ROADS_MAX.div_ceil(CHUNK));
}

/// The fields in order; the last only if the choice is by road.
impl Serialize for Intent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { terms, commitments, proof, position, reserve, road } = self;
        wire::serialize(serializer, &(terms, commitments, proof, position, reserve), road.as_ref())
    }
}

impl<'de> Deserialize<'de> for Intent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Head = (Terms, Commitments, LinearProof<6>, RangeProof, RangeProof);
        let by_road = |(terms, ..): &Head| terms.choice == Choice::BestByRoad;
        let ((terms, commitments, proof, position, reserve), road) =
            wire::deserialize(deserializer, by_road)?;
        Ok(Self { terms, commitments, proof, position, reserve, road })
    }
}

impl Intent {
    /// Makes an intent for a buyer at `position` (in the frame of the intent's area), and the secret that goes with it.
    pub fn create(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        key: &EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, BuyerSecret), IntentError> {
        Self::create_with(terms, position, reserve, None, key, rng)
    }

    /// Makes an intent that chooses by road: `roads` are the detours to at most [`ROADS_MAX`] stations, ascending.
    /// The secret opens them again.
    pub fn create_by_road(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        roads: &[(StationId, RoadDetour)],
        key: &EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, BuyerSecret), IntentError> {
        Self::create_with(terms, position, reserve, Some(roads), key, rng)
    }

    fn create_with(
        terms: Terms,
        position: InCell,
        reserve: Reserve,
        roads: Option<&[(StationId, RoadDetour)]>,
        key: &EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, BuyerSecret), IntentError> {
        check_key(&terms, key)?;
        check_road(&terms, roads.is_some())?;
        check_pricing(&terms)?;
        let inside = |coordinate| u8::try_from(coordinate).map_err(|_| IntentError::OutsideArea);
        let secret = BuyerSecret::sample(inside(position.x)?, inside(position.y)?, reserve, rng);
        let (x, y) = (secret.x.into(), secret.y.into());
        let intent = Self::commit(terms, (x, y), roads, &secret, key, rng)?;
        Ok((intent, secret))
    }

    /// Commits to a position that the secret does not have to agree with: honest callers pass the secret's own.
    fn commit(
        terms: Terms,
        (x, y): (u64, u64),
        roads: Option<&[(StationId, RoadDetour)]>,
        secret: &BuyerSecret,
        key: &EpochKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, IntentError> {
        let h = key.h();
        let point = |point| Point::new(point).expect("a random blinding or key does not give the identity");
        let committed = |value, blinding: &Scalar| point(commit(value, blinding, &h));
        let commitments = Commitments {
            pk: point(secret.b.invert() * base_a().point()),
            x: committed(x, &secret.blind_x),
            y: committed(y, &secret.blind_y),
            q: committed(x * x + y * y, &secret.blind_q),
            reserve: committed(secret.reserve.into(), &secret.blind_reserve),
        };
        let entries = roads.map(|roads| road::commit_to(roads, secret, key)).transpose()?;
        let mut transcript = transcript(key, &terms, &commitments, entries.as_deref());
        let (sx, sy) = (Scalar::from(x), Scalar::from(y));
        let rest = secret.blind_q - sx * secret.blind_x - sy * secret.blind_y;
        let witness = Zeroizing::new([secret.b, sx, secret.blind_x, sy, secret.blind_y, rest]);
        let relations = relations(&commitments, h.point());
        let proof = LinearProof::prove(&mut transcript, &relations, &witness, rng);
        let points = [commitments.x.point(), commitments.y.point()];
        let values = Zeroizing::new([(x, secret.blind_x), (y, secret.blind_y)]);
        let position = RangeProof::prove(key.ranges(), Width::Position, &points, &*values, &transcript, rng)
            .map_err(IntentError::PositionRange)?;
        let points = [commitments.reserve.point()];
        let values = Zeroizing::new([(secret.reserve.into(), secret.blind_reserve)]);
        let reserve = RangeProof::prove(key.ranges(), Width::Reserve, &points, &*values, &transcript, rng)
            .map_err(IntentError::ReserveRange)?;
        let table = |(entries, roads)| RoadTable::prove(entries, roads, secret, key, &transcript, rng);
        let road = entries.zip(roads).map(table).transpose()?;
        Ok(Self { terms, commitments, proof, position, reserve, road })
    }

    /// The auction's id: the hash of the whole intent, proofs included.
    pub fn id(&self) -> AuctionId {
        const AUCTION: Domain = Domain::new("ohmesh/1 auction");
        AUCTION.hash(&[&self.encode()]).into()
    }

    /// Checks the intent under the key of its epoch.
    ///
    /// The ledger checks besides: that the area is one of the zone's, the deadline far enough ahead and
    /// [`Terms::blocks_min`] large enough, that [`Commitments::buyer_point`] is new, that admission and deposit are paid.
    pub fn verify(&self, key: &EpochKey) -> Result<VerifiedIntent, IntentError> {
        check_key(&self.terms, key)?;
        check_pricing(&self.terms)?;
        check_road(&self.terms, self.road.is_some())?;
        let Commitments { x, y, reserve, .. } = &self.commitments;
        let entries = self.road.as_ref().map(|table| &table.entries[..]);
        let mut transcript = transcript(key, &self.terms, &self.commitments, entries);
        self.proof.verify(&mut transcript, &relations(&self.commitments, key.h().point()))?;
        let ranges = |width, points: &[RistrettoPoint], proof| {
            let mut batch = RangeBatch::new(key.ranges(), width);
            batch.add(points, proof, &transcript)?;
            batch.verify()
        };
        ranges(Width::Position, &[x.point(), y.point()], &self.position)
            .map_err(IntentError::PositionRange)?;
        ranges(Width::Reserve, &[reserve.point()], &self.reserve).map_err(IntentError::ReserveRange)?;
        let roads = self.road.as_ref().map(|table| table.verify(key, &transcript)).transpose()?;
        let (terms, commitments) = (self.terms.clone(), self.commitments.clone());
        Ok(VerifiedIntent { id: self.id(), terms, commitments, roads })
    }
}

/// An intent whose proofs held: what the ledger keeps, and what every later message is checked against.
///
/// Decoding one checks its form only: decode what your own ledger state holds, not what a stranger sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedIntent {
    id: AuctionId,
    terms: Terms,
    commitments: Commitments,
    /// If and only if the winner is the best by road.
    roads: Option<Roads>,
}

impl Canonical for VerifiedIntent {
    const NAME: &'static str = "verified intent";
    const MAX_BYTES: usize = 400 + 32 + (1 + ROADS_MAX * ENTRY_BYTES);
}

/// The fields in order; the last only if the choice is by road.
impl Serialize for VerifiedIntent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, terms, commitments, roads } = self;
        wire::serialize(serializer, &(id, terms, commitments), roads.as_ref())
    }
}

impl<'de> Deserialize<'de> for VerifiedIntent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Head = (AuctionId, Terms, Commitments);
        let by_road = |(_, terms, _): &Head| terms.choice == Choice::BestByRoad;
        let ((id, terms, commitments), roads) = wire::deserialize(deserializer, by_road)?;
        Ok(Self { id, terms, commitments, roads })
    }
}

impl VerifiedIntent {
    /// The auction's id.
    pub fn id(&self) -> AuctionId {
        self.id
    }

    /// What all may read.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The buyer's key and commitments.
    pub fn commitments(&self) -> &Commitments {
        &self.commitments
    }

    /// The commitment to a station's detour by road, if its table has one; see [`RoadDetour`].
    pub fn road(&self, station: StationId) -> Option<Point> {
        self.roads.as_ref()?.of(station)
    }

    /// The detour that the buyer committed to for a station in its table.
    pub(crate) fn open_road(&self, station: StationId, secret: &BuyerSecret) -> Option<RoadDetour> {
        self.roads.as_ref()?.open(station, secret)
    }

    /// The transcript a proof in this auction starts from.
    pub(crate) fn transcript(&self, key: &EpochKey, proof: &'static [u8], prover: &[u8]) -> Transcript {
        key.transcript(proof, &self.terms.buyer, &self.id.0, prover)
    }

    /// Whether `key` is the one this auction is sealed under.
    pub(crate) fn is_under(&self, key: &EpochKey) -> bool {
        check_key(&self.terms, key).is_ok()
    }
}

fn check_key(terms: &Terms, key: &EpochKey) -> Result<(), IntentError> {
    if terms.zone != key.zone() {
        return Err(IntentError::Zone { expected: key.zone(), found: terms.zone });
    }
    if terms.key_epoch != key.epoch() {
        return Err(IntentError::Epoch { expected: key.epoch(), found: terms.key_epoch });
    }
    Ok(())
}

fn check_pricing(terms: &Terms) -> Result<(), IntentError> {
    match (terms.pricing, terms.choice) {
        (Pricing::SecondScore, Choice::OwnChoice) => Err(IntentError::PricingRule),
        _ => Ok(()),
    }
}

fn check_road(terms: &Terms, has_table: bool) -> Result<(), RoadError> {
    if has_table == (terms.choice == Choice::BestByRoad) { Ok(()) } else { Err(RoadError::Rule) }
}

/// In place of the auction's id, which does not exist yet, the hash of every field but the proofs.
fn transcript(
    key: &EpochKey,
    terms: &Terms,
    commitments: &Commitments,
    roads: Option<&[RoadEntry]>,
) -> Transcript {
    const BODY: Domain = Domain::new("ohmesh/1 intent body");
    let roads = roads.map(to_postcard).unwrap_or_default();
    let body = BODY.hash(&[&to_postcard(&(terms, commitments)), &roads]);
    key.transcript(b"intent", &terms.buyer, &body.0, &terms.buyer.to_bytes())
}

/// Over (b, x, r_x, y, r_y, s): `A = b*pk`, `X = x*G + r_x*H`, `Y = y*G + r_y*H`, `Q = x*X + y*Y + s*H`.
fn relations(commitments: &Commitments, h: RistrettoPoint) -> [Relation; 4] {
    let Commitments { pk, x, y, q, .. } = commitments;
    [
        Relation::new(base_a().point(), [(0, pk.point())]),
        Relation::new(x.point(), [(1, G), (2, h)]),
        Relation::new(y.point(), [(3, G), (4, h)]),
        Relation::new(q.point(), [(1, x.point()), (3, y.point()), (5, h)]),
    ]
}

#[cfg(test)]
mod tests;
