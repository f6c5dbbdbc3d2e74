//! What agents send each other. Enum tags are postcard's variant order: variants are only ever appended.

use crate::{
    Rejected,
    context::{
        Address, Candidate, Ctx, Height, from_core_block, from_core_kind, from_core_round, to_core_kind,
    },
};
use arc_malachitebft_core_types as malachite;
use malachite::{NilOrVal, PolkaSignature, Round, RoundCertificateType, RoundSignature};
use ohmesh_ledger::{Block, Proposal, ValidatorSet, Vote, VoteKind};
use ohmesh_units::{BlockId, Canonical, PublicKey, Signature, SignatureCheck, ZoneId, verify_batch};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, ops::Deref, sync::Arc};

/// One message between agents. Zone and epoch are in the clear so that a stray message is named as one; the
/// signatures bind them too.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The zone it belongs to.
    pub zone: ZoneId,
    /// The epoch it belongs to.
    pub epoch: u64,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// A vote and its signature by the validator named in it.
    Vote(Vote, Signature),
    /// A proposal, its signature by the proposer named in it, and the proposed block.
    Proposal(Proposal, Signature, BlockBytes),
    /// Proof that a block had a quorum of prevotes in a round.
    Polka(PolkaCertificate),
    /// Proof that a round may be entered.
    Round(RoundCertificate),
}

impl Body {
    /// The height and round that it is of.
    pub fn at(&self) -> (u64, u32) {
        match self {
            Self::Vote(vote, _) => (vote.height, vote.round),
            Self::Proposal(proposal, ..) => (proposal.height, proposal.round),
            Self::Polka(certificate) => (certificate.height, certificate.round),
            Self::Round(certificate) => (certificate.height, certificate.round),
        }
    }
}

impl Canonical for Message {
    const NAME: &'static str = "committee message";
    /// A block and 1 KiB, which is also more than the longest certificate has.
    const MAX_BYTES: usize = BlockBytes::MAX + 1024;
}

/// A block's bytes, shared rather than copied. At most [`BlockBytes::MAX`] of them are accepted from peers.
#[derive(Clone, PartialEq, Eq)]
pub struct BlockBytes(Arc<[u8]>);

impl BlockBytes {
    /// Bytes of a block at most: the ledger's own bound.
    pub const MAX: usize = Block::MAX_BYTES;
}

impl From<Vec<u8>> for BlockBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Deref for BlockBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BlockBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBytes({})", self.len())
    }
}

impl Serialize for BlockBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for BlockBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl de::Visitor<'_> for Bytes {
            type Value = BlockBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {} bytes", BlockBytes::MAX)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<BlockBytes, E> {
                if bytes.len() > BlockBytes::MAX {
                    return Err(E::invalid_length(bytes.len(), &self));
                }
                Ok(BlockBytes(bytes.into()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}

/// More than two thirds of the stake prevoted for one block in one round. Lets a validator that missed those prevotes
/// accept the block when it is proposed again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolkaCertificate {
    /// The height of the prevotes.
    pub height: u64,
    /// The round of the prevotes.
    pub round: u32,
    /// The block they are for.
    pub block: BlockId,
    /// Prevotes by validator index, ascending.
    pub signatures: Vec<(u16, Signature)>,
}

impl PolkaCertificate {
    /// Checks that distinct validators with more than two thirds of the stake signed.
    pub fn verify(&self, zone: &ZoneId, epoch: u64, set: &ValidatorSet) -> Result<(), Rejected> {
        let votes: Vec<(Vote, Signature)> = self
            .signatures
            .iter()
            .map(|(validator, signature)| {
                let vote = Vote {
                    kind: VoteKind::Prevote,
                    height: self.height,
                    round: self.round,
                    block: Some(self.block),
                    validator: *validator,
                };
                (vote, *signature)
            })
            .collect();
        let stake = verify_votes(&votes, zone, epoch, set)?;
        if !set.is_quorum(stake) {
            return Err(Rejected::NoQuorum { stake, total: set.stake() });
        }
        Ok(())
    }

    pub(crate) fn from_core(certificate: &malachite::PolkaCertificate<Ctx>) -> Self {
        let mut signatures: Vec<(u16, Signature)> =
            certificate.polka_signatures.iter().map(|s| (s.address.0, s.signature)).collect();
        signatures.sort_unstable();
        signatures.dedup_by_key(|(validator, _)| *validator);
        Self {
            height: certificate.height.0,
            round: from_core_round(certificate.round),
            block: certificate.value_id,
            signatures,
        }
    }

    pub(crate) fn to_core(&self) -> malachite::PolkaCertificate<Ctx> {
        malachite::PolkaCertificate {
            height: Height(self.height),
            round: Round::new(self.round),
            value_id: malachite::Value::id(&Candidate(self.block)),
            polka_signatures: self
                .signatures
                .iter()
                .map(|(validator, signature)| PolkaSignature::new(Address(*validator), *signature))
                .collect(),
        }
    }
}

/// Why a round may be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RoundKind {
    /// More than a third of the stake votes in this round already, so at least one honest validator does: enter it.
    Skip,
    /// More than two thirds of the stake precommitted in this round, if not to one block: enter the next.
    Precommit,
}

/// One vote of a [`RoundCertificate`], which names height and round once for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RoundVote {
    /// Who voted, by index.
    pub validator: u16,
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The block, or none.
    pub block: Option<BlockId>,
    /// The vote's signature.
    pub signature: Signature,
}

/// Proof that a round may be entered. Keeps validators in one round, whatever the network lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoundCertificate {
    /// The height of the votes.
    pub height: u64,
    /// The round of the votes.
    pub round: u32,
    /// What the votes show.
    pub kind: RoundKind,
    /// One vote a validator, by index, ascending.
    pub votes: Vec<RoundVote>,
}

impl RoundCertificate {
    /// Checks that distinct validators with enough stake for its kind signed.
    pub fn verify(&self, zone: &ZoneId, epoch: u64, set: &ValidatorSet) -> Result<(), Rejected> {
        if self.kind == RoundKind::Precommit
            && let Some(vote) = self.votes.iter().find(|vote| vote.kind != VoteKind::Precommit)
        {
            return Err(Rejected::NotPrecommit { validator: vote.validator });
        }
        let votes: Vec<(Vote, Signature)> = self
            .votes
            .iter()
            .map(|v| {
                let RoundVote { validator, kind, block, signature } = *v;
                (Vote { kind, height: self.height, round: self.round, block, validator }, signature)
            })
            .collect();
        let stake = verify_votes(&votes, zone, epoch, set)?;
        let enough = match self.kind {
            RoundKind::Precommit => set.is_quorum(stake),
            RoundKind::Skip => u128::from(stake) * 3 > u128::from(set.stake()),
        };
        if !enough {
            return Err(Rejected::NoQuorum { stake, total: set.stake() });
        }
        Ok(())
    }

    pub(crate) fn from_core(certificate: &malachite::RoundCertificate<Ctx>) -> Self {
        let mut votes: Vec<RoundVote> = certificate
            .round_signatures
            .iter()
            .map(|s| RoundVote {
                validator: s.address.0,
                kind: from_core_kind(s.vote_type),
                block: from_core_block(&s.value_id),
                signature: s.signature,
            })
            .collect();
        votes.sort_unstable();
        votes.dedup_by_key(|vote| vote.validator);
        Self {
            height: certificate.height.0,
            round: from_core_round(certificate.round),
            kind: match certificate.cert_type {
                RoundCertificateType::Skip => RoundKind::Skip,
                RoundCertificateType::Precommit => RoundKind::Precommit,
            },
            votes,
        }
    }

    pub(crate) fn to_core(&self) -> malachite::RoundCertificate<Ctx> {
        malachite::RoundCertificate {
            height: Height(self.height),
            round: Round::new(self.round),
            cert_type: match self.kind {
                RoundKind::Skip => RoundCertificateType::Skip,
                RoundKind::Precommit => RoundCertificateType::Precommit,
            },
            round_signatures: self
                .votes
                .iter()
                .map(|v| {
                    let block = v.block.map_or(NilOrVal::Nil, NilOrVal::Val);
                    RoundSignature::new(to_core_kind(v.kind), block, Address(v.validator), v.signature)
                })
                .collect(),
        }
    }
}

/// The stake behind votes of distinct validators in ascending order, all signatures checked as one batch.
fn verify_votes(
    votes: &[(Vote, Signature)],
    zone: &ZoneId,
    epoch: u64,
    set: &ValidatorSet,
) -> Result<u64, Rejected> {
    if !votes.is_sorted_by(|(a, _), (b, _)| a.validator < b.validator) {
        return Err(Rejected::Unordered);
    }
    let mut stake = 0;
    let mut signed: Vec<(PublicKey, Vec<u8>)> = Vec::with_capacity(votes.len().min(ValidatorSet::MAX));
    for (vote, _) in votes {
        let unknown = Rejected::UnknownValidator { validator: vote.validator };
        let validator = set.at(vote.validator).ok_or(unknown)?;
        stake += validator.stake;
        signed.push((validator.vote, vote.message(zone, epoch)));
    }
    let checks: Vec<SignatureCheck<'_>> = signed
        .iter()
        .zip(votes)
        .map(|((key, message), (_, signature))| SignatureCheck {
            key: *key,
            domain: Vote::DOMAIN,
            message,
            signature: *signature,
        })
        .collect();
    match verify_batch(&checks) {
        Ok(()) => Ok(stake),
        Err(wrong) => Err(Rejected::WrongSignature {
            validator: wrong.first().map_or(u16::MAX, |at| votes[*at].0.validator),
        }),
    }
}
