//! Malachite's view of our types: wrappers that only this crate sees, and the way there and back.

use arc_malachitebft_core_types as malachite;
use malachite::{NilOrVal, Round, SignedMessage, VoteType};
use ohmesh_ledger::{Proposal, ValidatorSet, Vote, VoteKind};
use ohmesh_units::{BlockId, PublicKey, Signature, SigningKey};
use std::{fmt, sync::Arc};

/// Binds Malachite's core to our types.
#[derive(Clone, Debug)]
pub(crate) struct Ctx;

/// A validator's index in its set. An observer has [`Address::OBSERVER`], which no set reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Address(pub(crate) u16);

impl Address {
    pub(crate) const OBSERVER: Self = Self(u16::MAX);
}

/// A height.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(crate) struct Height(pub(crate) u64);

/// What is decided on: the id of a block. The block itself stays outside of the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Candidate(pub(crate) BlockId);

/// A vote, in the core's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CoreVote {
    kind: VoteType,
    height: Height,
    round: Round,
    block: NilOrVal<BlockId>,
    validator: Address,
}

/// A proposal, in the core's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CoreProposal {
    height: Height,
    round: Round,
    pol_round: Round,
    block: Candidate,
    validator: Address,
}

/// A validator, in the core's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    address: Address,
    key: PublicKey,
    stake: u64,
}

/// The validators of an epoch; cheap to clone, which the core does often.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Members(Arc<(ValidatorSet, Vec<Member>)>);

impl Members {
    pub(crate) fn new(set: ValidatorSet) -> Self {
        let members = (0u16..)
            .zip(set.all())
            .map(|(index, v)| Member { address: Address(index), key: v.vote, stake: v.stake })
            .collect();
        Self(Arc::new((set, members)))
    }

    pub(crate) fn set(&self) -> &ValidatorSet {
        &self.0.0
    }
}

/// Ed25519 as `ohmesh-units` has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scheme;

pub(crate) type SignedVote = SignedMessage<Ctx, CoreVote>;
pub(crate) type SignedProposal = SignedMessage<Ctx, CoreProposal>;

/// The core's vote with its signature, from ours.
pub(crate) fn to_core_vote(vote: &Vote, signature: Signature) -> SignedVote {
    let vote = CoreVote {
        kind: to_core_kind(vote.kind),
        height: Height(vote.height),
        round: Round::new(vote.round),
        block: vote.block.map_or(NilOrVal::Nil, NilOrVal::Val),
        validator: Address(vote.validator),
    };
    SignedMessage::new(vote, signature)
}

/// Our vote, from the core's.
pub(crate) fn from_core_vote(vote: &CoreVote) -> Vote {
    Vote {
        kind: from_core_kind(vote.kind),
        height: vote.height.0,
        round: from_core_round(vote.round),
        block: from_core_block(&vote.block),
        validator: vote.validator.0,
    }
}

/// The core's proposal with its signature, from ours.
pub(crate) fn to_core_proposal(proposal: &Proposal, signature: Signature) -> SignedProposal {
    let proposal = CoreProposal {
        height: Height(proposal.height),
        round: Round::new(proposal.round),
        pol_round: Round::from(proposal.pol_round),
        block: Candidate(proposal.block),
        validator: Address(proposal.validator),
    };
    SignedMessage::new(proposal, signature)
}

/// Our proposal, from the core's.
pub(crate) fn from_core_proposal(proposal: &CoreProposal) -> Proposal {
    Proposal {
        height: proposal.height.0,
        round: from_core_round(proposal.round),
        pol_round: proposal.pol_round.as_u32(),
        block: proposal.block.0,
        validator: proposal.validator.0,
    }
}

/// The core's kind of vote, from ours.
pub(crate) fn to_core_kind(kind: VoteKind) -> VoteType {
    match kind {
        VoteKind::Prevote => VoteType::Prevote,
        VoteKind::Precommit => VoteType::Precommit,
    }
}

/// Our kind of vote, from the core's.
pub(crate) fn from_core_kind(kind: VoteType) -> VoteKind {
    match kind {
        VoteType::Prevote => VoteKind::Prevote,
        VoteType::Precommit => VoteKind::Precommit,
    }
}

/// Our round, from the core's, which has one more before the first: nothing is signed, timed or certified in that one.
pub(crate) fn from_core_round(round: Round) -> u32 {
    round.as_u32().unwrap_or(0)
}

/// The voted block or none, from the core's.
pub(crate) fn from_core_block(block: &NilOrVal<BlockId>) -> Option<BlockId> {
    match block {
        NilOrVal::Nil => None,
        NilOrVal::Val(block) => Some(*block),
    }
}

impl malachite::Context for Ctx {
    type Address = Address;
    type Height = Height;
    type ProposalPart = NoParts;
    type Proposal = CoreProposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = malachite::LinearTimeouts;
    type Value = Candidate;
    type Vote = CoreVote;
    type Extension = Vec<u8>;
    type SigningScheme = Scheme;

    fn select_proposer<'a>(&self, members: &'a Members, height: Height, round: Round) -> &'a Member {
        let index = members.set().proposer(height.0, from_core_round(round));
        &members.0.1[usize::from(index)]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        block: Candidate,
        pol_round: Round,
        validator: Address,
    ) -> CoreProposal {
        CoreProposal { height, round, pol_round, block, validator }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        block: NilOrVal<BlockId>,
        validator: Address,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Prevote, height, round, block, validator }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        block: NilOrVal<BlockId>,
        validator: Address,
    ) -> CoreVote {
        CoreVote { kind: VoteType::Precommit, height, round, block, validator }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "validator {}", self.0)
    }
}

impl malachite::Address for Address {}

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl malachite::Value for Candidate {
    type Id = BlockId;

    fn id(&self) -> BlockId {
        self.0
    }
}

impl malachite::Vote<Ctx> for CoreVote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.block
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.block
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    fn extension(&self) -> Option<&malachite::SignedExtension<Ctx>> {
        None
    }

    fn take_extension(&mut self) -> Option<malachite::SignedExtension<Ctx>> {
        None
    }

    /// Extensions are switched off at every height, so the core has none to give.
    fn extend(self, _: malachite::SignedExtension<Ctx>) -> Self {
        self
    }
}

impl malachite::Proposal<Ctx> for CoreProposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Candidate {
        &self.block
    }

    fn take_value(self) -> Candidate {
        self.block
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }
}

impl malachite::Validator<Ctx> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn voting_power(&self) -> u64 {
        self.stake
    }
}

impl malachite::ValidatorSet<Ctx> for Members {
    fn count(&self) -> usize {
        self.0.1.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.set().stake()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.0.1.get(usize::from(address.0))
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.1.get(index)
    }
}

/// A block travels whole, with its proposal: there are no parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum NoParts {}

impl malachite::ProposalPart<Ctx> for NoParts {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// Bytes of the wrong length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrongLength;

impl fmt::Display for WrongLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key has 32 bytes, a signature 64")
    }
}

impl malachite::SigningScheme for Scheme {
    type DecodingError = WrongLength;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = SigningKey;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, WrongLength> {
        bytes.try_into().map(Signature::from_bytes).map_err(|_| WrongLength)
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.to_bytes().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, WrongLength> {
        bytes.try_into().map(PublicKey::from_bytes).map_err(|_| WrongLength)
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.to_bytes().to_vec()
    }
}
