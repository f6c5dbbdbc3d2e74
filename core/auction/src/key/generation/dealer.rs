//! One validator's part in an attempt.

use super::{
    Board, Complaint, Deal, Generation, GenerationError, Handout, Polynomial, Response, Step, identifier,
    open_parcel,
};
use crate::{
    group::Point,
    key::{Blinding, KeyShares, Share, ValidatorIndex},
    seal::SealSecret,
};
use curve25519_dalek::scalar::Scalar;
use frost_ristretto255::{
    Identifier, Signature,
    keys::{
        SigningShare, VerifiableSecretSharingCommitment,
        dkg::{self, round1, round2},
    },
    rand_core as frost_rand,
};
use ohmesh_units::Hash;
use rand_core::CryptoRng;
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// What a dealer asks its host to do.
#[derive(Debug)]
pub enum Action {
    /// Put the deal on the ledger.
    Deal(Deal),
    /// Put the handout on the ledger.
    Handout(Handout),
    /// Put the complaint on the ledger: it makes the attempt void.
    Complain(Complaint),
    /// Store the shares durably, *then* put the blinding shares on the ledger.
    Keep(Box<KeyShares>, Blinding),
}

/// One validator's secrets of one attempt. `Debug` does not show them; they go when it is dropped.
pub struct Dealer {
    me: ValidatorIndex,
    board: Board,
    seal: SealSecret,
    /// One for each share of mine, by share.
    first: BTreeMap<u8, round1::SecretPackage>,
    second: BTreeMap<u8, round2::SecretPackage>,
    /// Values handed to me: (receiver's share, dealer's share).
    values: BTreeMap<(u8, u8), Zeroizing<Scalar>>,
}

impl Dealer {
    /// Joins an attempt: samples one polynomial for each share of `me`. Answers [`Action::Deal`].
    /// Refused for a validator without shares, and for one that is alone: it calls [`solo`](crate::key::solo).
    pub fn start(
        generation: Generation,
        me: ValidatorIndex,
        rng: &mut impl CryptoRng,
    ) -> Result<(Self, Action), GenerationError> {
        let holding = &generation.holding;
        let indices: Vec<u8> = holding.indices_of(me).collect();
        if indices.is_empty() || holding.shares() == 1 {
            return Err(GenerationError::NoShare(me));
        }
        let count = |n: usize| u16::try_from(n).expect("at most SHARES_MAX");
        let (shares, threshold) = (count(holding.shares()), count(holding.threshold()));
        let (mut first, mut polynomials) = (BTreeMap::new(), Vec::new());
        for index in indices {
            let (secret, package) = dkg::part1(identifier(index), shares, threshold, FrostRng(&mut *rng))
                .map_err(|_| GenerationError::Library)?;
            first.insert(index, secret);
            polynomials.push(Polynomial::from_frost(&package)?);
        }
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let seal = SealSecret::from_seed(&seed);
        let deal = Deal { generation: generation.id(), validator: me, seal: seal.public(), polynomials };
        let board = Board::new(generation);
        let dealer = Self { me, board, seal, first, second: BTreeMap::new(), values: BTreeMap::new() };
        Ok((dealer, Action::Deal(deal)))
    }

    /// The attempt as this validator sees it.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// A deal that the ledger accepted, this validator's own included. The last one answers [`Action::Handout`].
    pub fn on_deal(&mut self, deal: Deal, rng: &mut impl CryptoRng) -> Result<Vec<Action>, GenerationError> {
        self.board.on_deal(deal)?;
        if self.board.step() != Step::Handouts {
            return Ok(Vec::new());
        }
        let packages = self.packages()?;
        let mut dealt: BTreeMap<(u8, u8), Zeroizing<Scalar>> = BTreeMap::new();
        for (index, secret) in std::mem::take(&mut self.first) {
            let (second, handed) =
                dkg::part2(secret, &others(&packages, index)).map_err(|_| GenerationError::Library)?;
            self.second.insert(index, second);
            for other in self.board.generation().holding.indices().filter(|other| *other != index) {
                let package = handed.get(&identifier(other)).ok_or(GenerationError::Library)?;
                let bytes = Zeroizing::new(package.signing_share().serialize());
                dealt.insert((index, other), scalar(&bytes)?);
            }
        }
        let (generation, deals) = (self.board.generation(), &self.board);
        let mine: Vec<u8> = generation.holding.indices_of(self.me).collect();
        let mut parcels = Vec::new();
        for deal in deals.deals().filter(|deal| deal.validator != self.me) {
            let receiver = deal.validator;
            let mut plaintext =
                Zeroizing::new(Vec::with_capacity(generation.parcel_bytes(self.me, receiver)));
            for index in &mine {
                for theirs in generation.holding.indices_of(receiver) {
                    plaintext.extend_from_slice(dealt[&(*index, theirs)].as_bytes());
                }
            }
            let purpose = generation.purpose(self.me, receiver);
            let parcel = deal.seal.seal(&purpose, &plaintext, rng);
            parcels.push(parcel.map_err(|_| GenerationError::WrongShares(receiver))?);
        }
        for from in &mine {
            for to in mine.iter().filter(|to| *to != from) {
                self.values.insert((*to, *from), dealt[&(*from, *to)].clone());
            }
        }
        Ok(vec![Action::Handout(Handout { generation: generation.id(), validator: self.me, parcels })])
    }

    /// A handout that the ledger accepted. The last one answers [`Action::Keep`], or [`Action::Complain`] about the
    /// first dealer whose parcel to this validator is wrong.
    pub fn on_handout(
        &mut self,
        handout: Handout,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<Action>, GenerationError> {
        self.board.on_handout(handout)?;
        if self.board.step() != Step::Blindings {
            return Ok(Vec::new());
        }
        let generation = self.board.generation().clone();
        for deal in self.board.deals().filter(|deal| deal.validator != self.me) {
            let dealer = deal.validator;
            let parcel = self.board.parcel(dealer, self.me).ok_or(GenerationError::Incomplete)?;
            let Some(values) = open_parcel(&generation, deal, self.me, &self.seal, parcel) else {
                let secret = Hash(*self.seal.to_bytes());
                let complaint = Complaint { generation: generation.id(), validator: self.me, dealer, secret };
                return Ok(vec![Action::Complain(complaint)]);
            };
            for (from, values) in generation.holding.indices_of(dealer).zip(values) {
                for (to, value) in generation.holding.indices_of(self.me).zip(values) {
                    self.values.insert((to, from), value);
                }
            }
        }
        let shares = self.shares()?;
        let blinding = Blinding::new(&shares, rng);
        Ok(vec![Action::Keep(Box::new(shares), blinding)])
    }

    /// Others' blinding shares and complaints only matter to the ledger's [`Board`]; this keeps the dealer's copy.
    pub fn on_blinding(&mut self, blinding: Blinding) -> Result<(), GenerationError> {
        self.board.on_blinding(blinding)
    }

    fn shares(&self) -> Result<KeyShares, GenerationError> {
        let packages = self.packages()?;
        let mut shares = Vec::new();
        for (index, second) in &self.second {
            let mut handed = BTreeMap::new();
            for ((_, from), value) in self.values.range((*index, 0)..=(*index, u8::MAX)) {
                let share =
                    SigningShare::deserialize(value.as_bytes()).map_err(|_| GenerationError::Library)?;
                handed.insert(identifier(*from), round2::Package::new(share));
            }
            let (package, _) = dkg::part3(second, &others(&packages, *index), &handed)
                .map_err(|_| GenerationError::Library)?;
            let bytes = Zeroizing::new(package.signing_share().serialize());
            shares.push(Share::new(*index, *scalar(&bytes)?));
        }
        let Generation { zone, epoch, .. } = self.board.generation();
        Ok(KeyShares::new(*zone, *epoch, self.me, shares))
    }

    /// Every share's deal as the library wants it.
    fn packages(&self) -> Result<BTreeMap<u8, round1::Package>, GenerationError> {
        let mut packages = BTreeMap::new();
        for deal in self.board.deals() {
            let indices = self.board.generation().holding.indices_of(deal.validator);
            for (index, polynomial) in indices.zip(&deal.polynomials) {
                packages.insert(index, polynomial.to_frost()?);
            }
        }
        Ok(packages)
    }
}

impl fmt::Debug for Dealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dealer(validator {}, at {:?}, ..)", self.me, self.board.step())
    }
}

impl Polynomial {
    fn from_frost(package: &round1::Package) -> Result<Self, GenerationError> {
        let lost = |_| GenerationError::Library;
        let point = |bytes: &[u8]| {
            let bytes = bytes.try_into().map_err(|_| GenerationError::Library)?;
            Point::from_bytes(bytes).map_err(|_| GenerationError::Library)
        };
        let coefficients = package.commitment().serialize().map_err(lost)?;
        let coefficients = coefficients.iter().map(|bytes| point(bytes)).collect::<Result<_, _>>()?;
        let proof = package.proof_of_knowledge().serialize().map_err(lost)?;
        let (announcement, response) = proof.split_at_checked(32).ok_or(GenerationError::Library)?;
        Ok(Self { coefficients, announcement: point(announcement)?, response: Response(*scalar(response)?) })
    }

    fn to_frost(&self) -> Result<round1::Package, GenerationError> {
        let lost = |_| GenerationError::Library;
        let coefficients = self.coefficients.iter().map(Point::to_bytes);
        let commitment = VerifiableSecretSharingCommitment::deserialize(coefficients).map_err(lost)?;
        let proof = [self.announcement.to_bytes(), self.response.0.to_bytes()].concat();
        Ok(round1::Package::new(commitment, Signature::deserialize(&proof).map_err(lost)?))
    }
}

fn scalar(bytes: &[u8]) -> Result<Zeroizing<Scalar>, GenerationError> {
    let bytes = Zeroizing::new(<[u8; 32]>::try_from(bytes).map_err(|_| GenerationError::Library)?);
    let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes));
    scalar.map(Zeroizing::new).ok_or(GenerationError::Library)
}

/// The packages of all participants but `me`, by the library's names.
fn others(packages: &BTreeMap<u8, round1::Package>, me: u8) -> BTreeMap<Identifier, round1::Package> {
    let others = packages.iter().filter(|(index, _)| **index != me);
    others.map(|(index, package)| (identifier(*index), package.clone())).collect()
}

/// Our random source under the names of the older `rand_core` that the library uses.
struct FrostRng<'a, R>(&'a mut R);

impl<R: CryptoRng> frost_rand::RngCore for FrostRng<'_, R> {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), frost_rand::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl<R: CryptoRng> frost_rand::CryptoRng for FrostRng<'_, R> {}
