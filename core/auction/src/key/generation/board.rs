//! What the ledger keeps of one attempt: every message that was accepted, and who has yet to send.

use super::{Complaint, Deal, Generation, GenerationError, Handout, at, open_parcel};
use crate::{
    group::Point,
    key::{Blinding, EpochKey, ValidatorIndex},
    seal::{SealSecret, Sealed},
};
use curve25519_dalek::{ristretto::RistrettoPoint, traits::Identity};
use ohmesh_units::{Canonical, Hash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The step an attempt is at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Waits for deals.
    Deals,
    /// Waits for handouts.
    Handouts,
    /// Waits for blinding shares or complaints.
    Blindings,
    /// Every blinding share is there.
    Complete,
    /// A complaint was decided.
    Void,
}

/// The public record of one attempt. All replicas that apply the same messages in the same order agree on it.
///
/// Decoding one checks its form only: decode what your own ledger state holds, not what a stranger sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Board {
    generation: Generation,
    id: Hash,
    deals: BTreeMap<ValidatorIndex, Deal>,
    handouts: BTreeMap<ValidatorIndex, Handout>,
    blindings: BTreeMap<ValidatorIndex, Blinding>,
    culprit: Option<ValidatorIndex>,
}

impl Canonical for Board {
    const NAME: &'static str = "key generation board";
    /// 32 validators with a share each take the most: 27 KB of deals, 82 KB of handouts, 5 KB of blindings.
    const MAX_BYTES: usize = 128 * 1024;
}

impl Board {
    /// An attempt nobody has sent anything for.
    pub fn new(generation: Generation) -> Self {
        let id = generation.id();
        let (deals, handouts, blindings) = Default::default();
        Self { generation, id, deals, handouts, blindings, culprit: None }
    }

    /// What the attempt is about.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The step the attempt is at.
    pub fn step(&self) -> Step {
        let dealers = self.generation.holding.validators().len();
        match self.culprit {
            Some(_) => Step::Void,
            None if self.deals.len() < dealers => Step::Deals,
            None if self.handouts.len() < dealers => Step::Handouts,
            None if self.blindings.len() < dealers => Step::Blindings,
            None => Step::Complete,
        }
    }

    /// Who has yet to send at this step: when its time is over, the next attempt is without them.
    pub fn missing(&self) -> Vec<ValidatorIndex> {
        let mut missing = self.generation.holding.validators();
        match self.step() {
            Step::Deals => missing.retain(|v| !self.deals.contains_key(v)),
            Step::Handouts => missing.retain(|v| !self.handouts.contains_key(v)),
            Step::Blindings => missing.retain(|v| !self.blindings.contains_key(v)),
            Step::Complete | Step::Void => missing.clear(),
        }
        missing
    }

    /// Who made the attempt void, if anybody did.
    pub fn culprit(&self) -> Option<ValidatorIndex> {
        self.culprit
    }

    /// Takes a deal whose sender the ledger has authenticated.
    pub fn on_deal(&mut self, deal: Deal) -> Result<(), GenerationError> {
        let dealer = deal.validator;
        self.expect(dealer, &deal.generation, Step::Deals, self.deals.contains_key(&dealer))?;
        let indices: Vec<u8> = self.generation.holding.indices_of(dealer).collect();
        let threshold = self.generation.holding.threshold();
        let degrees = deal.polynomials.iter().all(|polynomial| polynomial.coefficients.len() == threshold);
        if deal.polynomials.len() != indices.len() || !degrees {
            return Err(GenerationError::DealShape(dealer));
        }
        deal.seal.is_registrable().map_err(|_| GenerationError::DealShape(dealer))?;
        for (share, polynomial) in indices.into_iter().zip(&deal.polynomials) {
            if !polynomial.is_proven(share) {
                return Err(GenerationError::ProofOfKnowledge { validator: dealer, share });
            }
        }
        self.deals.insert(dealer, deal);
        Ok(())
    }

    /// Takes a handout whose sender the ledger has authenticated.
    pub fn on_handout(&mut self, handout: Handout) -> Result<(), GenerationError> {
        let dealer = handout.validator;
        self.expect(dealer, &handout.generation, Step::Handouts, self.handouts.contains_key(&dealer))?;
        let receivers = self.receivers_of(dealer);
        let fits = |(receiver, parcel): (&ValidatorIndex, &Sealed)| {
            parcel.ciphertext_len() == self.generation.parcel_bytes(dealer, *receiver) + Sealed::TAG_BYTES
        };
        if receivers.len() != handout.parcels.len() || !receivers.iter().zip(&handout.parcels).all(fits) {
            return Err(GenerationError::HandoutShape(dealer));
        }
        self.handouts.insert(dealer, handout);
        Ok(())
    }

    /// Takes a complaint and decides it: the culprit is the dealer if its parcel is wrong, else the complainer. The
    /// attempt is void.
    pub fn on_complaint(&mut self, complaint: &Complaint) -> Result<ValidatorIndex, GenerationError> {
        let (receiver, dealer) = (complaint.validator, complaint.dealer);
        self.expect(
            receiver,
            &complaint.generation,
            Step::Blindings,
            self.blindings.contains_key(&receiver),
        )?;
        let secret = SealSecret::from_bytes(complaint.secret.0);
        let parcel = self.parcel(dealer, receiver).ok_or(GenerationError::EmptyComplaint(receiver))?;
        if self.deals[&receiver].seal != secret.public() {
            return Err(GenerationError::EmptyComplaint(receiver));
        }
        let good = open_parcel(&self.generation, &self.deals[&dealer], receiver, &secret, parcel).is_some();
        let culprit = if good { receiver } else { dealer };
        self.culprit = Some(culprit);
        Ok(culprit)
    }

    /// Takes the blinding shares of one validator, whom the ledger has authenticated.
    pub fn on_blinding(&mut self, blinding: Blinding) -> Result<(), GenerationError> {
        let validator = blinding.validator;
        self.expect(validator, &self.id.clone(), Step::Blindings, self.blindings.contains_key(&validator))?;
        let Generation { zone, epoch, holding, .. } = &self.generation;
        blinding.verify(zone, *epoch, holding, &self.verifying_shares()?)?;
        self.blindings.insert(validator, blinding);
        Ok(())
    }

    /// The key, once all blinding shares are there, or those of a threshold when the time for them is over.
    pub fn finish(&self) -> Result<EpochKey, GenerationError> {
        match self.step() {
            Step::Void => return Err(GenerationError::Void),
            Step::Deals | Step::Handouts => return Err(GenerationError::Incomplete),
            Step::Blindings | Step::Complete => {}
        }
        let Generation { zone, epoch, holding, .. } = self.generation.clone();
        let blindings: Vec<Blinding> = self.blindings.values().cloned().collect();
        Ok(EpochKey::assemble(zone, epoch, holding, self.verifying_shares()?, &blindings)?)
    }

    pub(super) fn deals(&self) -> impl Iterator<Item = &Deal> {
        self.deals.values()
    }

    /// The parcel from `dealer` to `receiver`.
    pub(super) fn parcel(&self, dealer: ValidatorIndex, receiver: ValidatorIndex) -> Option<&Sealed> {
        let at = self.receivers_of(dealer).iter().position(|other| *other == receiver)?;
        self.handouts.get(&dealer)?.parcels.get(at)
    }

    /// Every other validator with shares, ascending.
    pub(super) fn receivers_of(&self, dealer: ValidatorIndex) -> Vec<ValidatorIndex> {
        let mut receivers = self.generation.holding.validators();
        receivers.retain(|validator| *validator != dealer);
        receivers
    }

    /// `T_j` of every share: the sum of all dealt polynomials, at `j`.
    fn verifying_shares(&self) -> Result<Vec<Point>, GenerationError> {
        let holding = &self.generation.holding;
        // Summed by coefficient first, so that each share costs one multiplication of `threshold` terms.
        let mut sum = vec![RistrettoPoint::identity(); holding.threshold()];
        for polynomial in self.deals.values().flat_map(|deal| &deal.polynomials) {
            for (sum, coefficient) in sum.iter_mut().zip(&polynomial.coefficients) {
                *sum += coefficient.point();
            }
        }
        // A share that is zero is as unlikely as guessing one.
        let shares = holding.indices().map(|index| Point::new(at(&sum, index)));
        shares.collect::<Result<_, _>>().map_err(|_| GenerationError::Library)
    }

    fn expect(
        &self,
        validator: ValidatorIndex,
        generation: &Hash,
        step: Step,
        twice: bool,
    ) -> Result<(), GenerationError> {
        if *generation != self.id {
            Err(GenerationError::OtherGeneration(validator))
        } else if self.generation.holding.indices_of(validator).next().is_none() {
            Err(GenerationError::NoShare(validator))
        } else if self.step() == Step::Void {
            Err(GenerationError::Void)
        } else if twice {
            Err(GenerationError::Twice(validator))
        } else if self.step() != step {
            Err(GenerationError::WrongStep(validator))
        } else {
            Ok(())
        }
    }
}
