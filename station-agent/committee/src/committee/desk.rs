//! Turns what the core wants done into actions, signs and verifies for it, and keeps what that needs.

use crate::{
    Action, BlockBytes, Body, CommitteeError, Config, Evidence, Message, PolkaCertificate, Rejected,
    RoundCertificate, Timeouts, Timer, TimerKind, WalRecord,
    context::{
        Ctx, Members, SignedProposal, SignedVote, from_core_proposal, from_core_round, from_core_vote,
        to_core_proposal, to_core_vote,
    },
    wal::from_core_timeout,
};
use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types as malachite;
use core::{ConsensusMsg, Effect, LivenessMsg, Resumable, Resume, SignedConsensusMsg};
use malachite::CertificateError;
use ohmesh_ledger::{Certificate, Proposal, ValidatorSet, Vote, VoteKind};
use ohmesh_units::{BlockId, Canonical, PublicKey, Signature, SigningKey, ZoneId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The desk at which one validator's committee work is done.
pub(super) struct Desk {
    pub(super) zone: ZoneId,
    pub(super) epoch: u64,
    pub(super) members: Members,
    pub(super) timeouts: Timeouts,
    /// The height that runs or is to start next.
    pub(super) height: u64,
    /// What this call answers.
    pub(super) actions: Vec<Action>,
    /// Whom to blame for what the core finds wrong.
    pub(super) from: Option<PublicKey>,
    /// Undecided blocks of the height.
    pub(super) blocks: BTreeMap<BlockId, Held>,
    /// Timers that run.
    pub(super) armed: BTreeSet<Timer>,
    /// The decision of the height, once there is one.
    pub(super) decision: Option<Certificate>,
    /// The round in which a precommit for a block just left, or in which the wait for precommits just began.
    pub(super) contested: Option<u32>,
    /// While the log is replayed, its records: they are not appended again.
    pub(super) replayed: Option<BTreeSet<Vec<u8>>>,
    /// This validator's index and key; none for an observer.
    signer: Option<(u16, SigningKey)>,
    /// All that this validator has signed at the height. The core must not double-sign; this makes sure.
    votes: BTreeMap<(VoteKind, u32), (Vote, Signature)>,
    proposals: BTreeMap<u32, (Proposal, Signature)>,
    /// Whether records were appended since the last sync.
    unsynced: bool,
}

/// A block that is not decided.
pub(super) struct Held {
    pub(super) bytes: BlockBytes,
    /// The round in which it was last proposed.
    pub(super) round: u32,
    pub(super) proposer: u16,
    pub(super) verdict: Verdict,
}

/// What the host says of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pending,
    Valid,
    Invalid,
}

impl Desk {
    pub(super) fn new(config: Config, height: u64) -> Self {
        let signer = config.key.and_then(|key| Some((config.validators.voter_index(&key.public())?, key)));
        Self {
            zone: config.zone,
            epoch: config.epoch,
            members: Members::new(config.validators),
            timeouts: config.timeouts,
            height,
            actions: Vec::new(),
            from: None,
            blocks: BTreeMap::new(),
            armed: BTreeSet::new(),
            decision: None,
            contested: None,
            replayed: None,
            signer,
            votes: BTreeMap::new(),
            proposals: BTreeMap::new(),
            unsynced: false,
        }
    }

    pub(super) fn set(&self) -> &ValidatorSet {
        self.members.set()
    }

    /// This validator's index.
    pub(super) fn index(&self) -> Option<u16> {
        self.signer.as_ref().map(|(index, _)| *index)
    }

    /// Forgets what belonged to the height before, records included that no sync has brought to disk: what was said at a
    /// decided height is of no use to anybody once the decision is durable.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.votes.clear();
        self.proposals.clear();
        self.unsynced = false;
        self.cancel_all();
    }

    /// Remembers what the log says was signed.
    pub(super) fn remember(&mut self, record: &WalRecord) {
        match record {
            WalRecord::Vote(vote, signature) if Some(vote.validator) == self.index() => {
                self.votes.entry((vote.kind, vote.round)).or_insert((*vote, *signature));
            }
            WalRecord::Proposal(proposal, signature) if Some(proposal.validator) == self.index() => {
                self.proposals.entry(proposal.round).or_insert((*proposal, *signature));
            }
            _ => (),
        }
    }

    /// Whether this validator signed exactly this vote.
    pub(super) fn has_cast(&self, vote: &Vote) -> bool {
        self.votes.get(&(vote.kind, vote.round)).is_some_and(|(cast, _)| cast == vote)
    }

    /// The block for which this validator precommitted in `round` while others did not: the wait for the remaining
    /// precommits has begun there.
    pub(super) fn lock_contested(&self, round: u32) -> Option<BlockId> {
        let wait = Timer { height: self.height, round, kind: TimerKind::Precommit };
        let (vote, _) = self.votes.get(&(VoteKind::Precommit, round))?;
        vote.block.filter(|_| self.armed.contains(&wait))
    }

    /// What this validator proposed in `round`.
    pub(super) fn proposed(&self, round: u32) -> Option<(Proposal, Signature)> {
        self.proposals.get(&round).copied()
    }

    pub(super) fn verify_vote(&self, vote: &Vote, signature: &Signature) -> Result<(), Rejected> {
        let validator = vote.validator;
        let key = self.set().at(validator).ok_or(Rejected::UnknownValidator { validator })?.vote;
        let message = vote.message(&self.zone, self.epoch);
        if !key.verify(Vote::DOMAIN, &message, signature) {
            return Err(Rejected::WrongSignature { validator });
        }
        Ok(())
    }

    pub(super) fn verify_proposal(&self, proposal: &Proposal, signature: &Signature) -> Result<(), Rejected> {
        let Proposal { validator, height, round, pol_round, .. } = *proposal;
        let key = self.set().at(validator).ok_or(Rejected::UnknownValidator { validator })?.vote;
        if self.set().proposer(height, round) != validator {
            return Err(Rejected::NotProposer { validator, height, round });
        }
        if let Some(pol_round) = pol_round
            && pol_round >= round
        {
            return Err(Rejected::PolRound { round, pol_round });
        }
        let message = proposal.message(&self.zone, self.epoch);
        if !key.verify(Proposal::DOMAIN, &message, signature) {
            return Err(Rejected::WrongSignature { validator });
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, from: PublicKey, reason: Rejected) {
        self.actions.push(Action::Reject { from, reason });
    }

    pub(super) fn fault(&mut self, error: CommitteeError) {
        self.actions.push(Action::Fault(error));
    }

    pub(super) fn cancel_all(&mut self) {
        if !self.armed.is_empty() {
            self.armed.clear();
            self.actions.push(Action::CancelAllTimers);
        }
    }

    pub(super) fn cancel(&mut self, timer: Timer) {
        if self.armed.remove(&timer) {
            self.actions.push(Action::CancelTimer(timer));
        }
    }

    /// Sends a message; whatever was logged before is durable first.
    pub(super) fn publish(&mut self, body: Body) {
        self.sync();
        self.actions.push(Action::Publish(Message { zone: self.zone, epoch: self.epoch, body }));
    }

    /// Sends a proposal together with its block.
    pub(super) fn publish_proposal(&mut self, proposal: Proposal, signature: Signature) {
        // A block whose bytes were dropped for want of room is not sent again; the next round has another.
        if let Some(held) = self.blocks.get(&proposal.block) {
            let bytes = held.bytes.clone();
            self.publish(Body::Proposal(proposal, signature, bytes));
        }
    }

    fn sync(&mut self) {
        if self.unsynced {
            self.unsynced = false;
            self.actions.push(Action::Sync);
        }
    }

    fn append(&mut self, record: WalRecord) {
        // Only who signs needs to remember.
        if self.signer.is_none() || self.replayed.as_ref().is_some_and(|log| log.contains(&record.encode())) {
            return;
        }
        self.unsynced = true;
        self.actions.push(Action::Append(record));
    }

    fn sign_vote(&mut self, vote: Vote) -> Result<Signature, Refused> {
        let (_, key) = self.signer.as_ref().ok_or(Refused::Observer)?;
        match self.votes.get(&(vote.kind, vote.round)) {
            Some((cast, signature)) if *cast == vote => Ok(*signature),
            Some(_) => Err(self.refuse(vote.round)),
            None => {
                let signature = vote.sign(&self.zone, self.epoch, key);
                self.votes.insert((vote.kind, vote.round), (vote, signature));
                Ok(signature)
            }
        }
    }

    fn sign_proposal(&mut self, proposal: Proposal) -> Result<Signature, Refused> {
        let (_, key) = self.signer.as_ref().ok_or(Refused::Observer)?;
        match self.proposals.get(&proposal.round) {
            Some((made, signature)) if *made == proposal => Ok(*signature),
            Some(_) => Err(self.refuse(proposal.round)),
            None => {
                let signature = proposal.sign(&self.zone, self.epoch, key);
                self.proposals.insert(proposal.round, (proposal, signature));
                Ok(signature)
            }
        }
    }

    fn refuse(&mut self, round: u32) -> Refused {
        let height = self.height;
        self.fault(CommitteeError::DoubleSign { height, round });
        Refused::Twice
    }

    /// Answers the core whether a certificate verifies, and blames its sender if not.
    fn judge_certificate(&mut self, result: Result<(), Rejected>) -> Result<(), CertificateError<Ctx>> {
        result.map_err(|reason| {
            if let Some(from) = self.from {
                self.reject(from, reason);
            }
            CertificateError::VerificationError(None)
        })
    }

    /// The ledger's certificate with the fewest signatures that make a quorum.
    fn certificate(&self, certificate: &malachite::CommitCertificate<Ctx>) -> Certificate {
        let mut signatures: Vec<(u16, Signature)> =
            certificate.commit_signatures.iter().map(|s| (s.address.0, s.signature)).collect();
        let stake_of = |index: u16| self.set().at(index).map_or(0, |validator| validator.stake);
        signatures.sort_unstable_by_key(|(index, _)| (Reverse(stake_of(*index)), *index));
        let mut stake = 0;
        let enough = signatures.iter().position(|(index, _)| {
            stake += stake_of(*index);
            self.set().is_quorum(stake)
        });
        signatures.truncate(enough.map_or(signatures.len(), |last| last + 1));
        signatures.sort_unstable();
        Certificate {
            height: certificate.height.0,
            round: from_core_round(certificate.round),
            epoch: self.epoch,
            block: certificate.value_id,
            signatures,
        }
    }

    fn decide(&mut self, certificate: &malachite::CommitCertificate<Ctx>) {
        let certificate = self.certificate(certificate);
        match certificate.verify(&self.zone, self.epoch, self.set().voters()) {
            Ok(()) => self.decision = Some(certificate),
            Err(error) => self.fault(CommitteeError::Core { height: self.height, reason: error.to_string() }),
        }
    }

    pub(super) fn report(&mut self, evidence: core::MisbehaviorEvidence<Ctx>) {
        let votes = evidence.votes.iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
            let ours = |vote: &SignedVote| (from_core_vote(&vote.message), vote.signature);
            Evidence::Votes([ours(first), ours(second)])
        });
        let proposals = evidence.proposals.iter().flat_map(|(_, pairs)| pairs).map(|(first, second)| {
            let ours =
                |proposal: &SignedProposal| (from_core_proposal(&proposal.message), proposal.signature);
            Evidence::Proposals([ours(first), ours(second)])
        });
        self.actions.extend(votes.chain(proposals).map(Action::Equivocation));
    }

    /// Performs one effect of the core. An error makes the core drop what it was doing.
    pub(super) fn perform(&mut self, effect: Effect<Ctx>) -> Result<Resume<Ctx>, Refused> {
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.cancel_all();
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                if let Some(timer) = from_core_timeout(self.height, timeout) {
                    self.cancel(timer);
                }
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                if let Some(timer) = from_core_timeout(self.height, timeout) {
                    self.armed.insert(timer);
                    if timer.kind == TimerKind::Precommit {
                        self.contested = Some(timer.round);
                    }
                    self.actions.push(Action::SetTimer(timer, self.timeouts.duration(timer)));
                }
                resume.resume_with(())
            }
            Effect::StartRound(_, _, _, _, resume) => {
                self.sync();
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                match message {
                    SignedConsensusMsg::Vote(vote) => {
                        let (vote, signature) = (from_core_vote(&vote.message), vote.signature);
                        if vote.kind == VoteKind::Precommit {
                            self.contested = Some(vote.round);
                        }
                        self.publish(Body::Vote(vote, signature));
                    }
                    SignedConsensusMsg::Proposal(proposal) => {
                        self.publish_proposal(from_core_proposal(&proposal.message), proposal.signature);
                    }
                }
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                self.publish(match message {
                    LivenessMsg::Vote(vote) => Body::Vote(from_core_vote(&vote.message), vote.signature),
                    LivenessMsg::PolkaCertificate(certificate) => {
                        Body::Polka(PolkaCertificate::from_core(&certificate))
                    }
                    LivenessMsg::SkipRoundCertificate(certificate) => {
                        Body::Round(RoundCertificate::from_core(&certificate))
                    }
                });
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                self.publish(Body::Vote(from_core_vote(&vote.message), vote.signature));
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.publish(Body::Round(RoundCertificate::from_core(&certificate)));
                resume.resume_with(())
            }
            Effect::GetValue(height, round, timeout, resume) => {
                let (height, round) = (height.0, from_core_round(round));
                if let Some(timer) = from_core_timeout(height, timeout) {
                    self.actions.push(Action::Build { height, round, within: self.timeouts.duration(timer) });
                }
                resume.resume_with(())
            }
            // The proposal is published right after, and ours carries its block.
            Effect::RestreamProposal(_, _, _, _, _, resume) => resume.resume_with(()),
            Effect::Decide(certificate, _, resume) => {
                self.decide(&certificate);
                resume.resume_with(())
            }
            Effect::Finalize(_, _, evidence, resume) => {
                self.report(evidence);
                resume.resume_with(())
            }
            Effect::SignVote(vote, resume) => {
                let ours = from_core_vote(&vote);
                let signature = self.sign_vote(ours)?;
                resume.resume_with(to_core_vote(&ours, signature))
            }
            Effect::SignProposal(proposal, resume) => {
                let ours = from_core_proposal(&proposal);
                let signature = self.sign_proposal(ours)?;
                resume.resume_with(to_core_proposal(&ours, signature))
            }
            Effect::VerifySignature(message, _, resume) => {
                let result = match &message.message {
                    ConsensusMsg::Vote(vote) => {
                        self.verify_core_vote(&from_core_vote(vote), &message.signature)
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        self.verify_core_proposal(&from_core_proposal(proposal), &message.signature)
                    }
                };
                resume.resume_with(self.judge_certificate(result).is_ok())
            }
            // Each of its votes was verified when it came; `decide` verifies what leaves. A failure here would panic.
            Effect::VerifyCommitCertificate(_, _, _, resume) => resume.resume_with(Ok(())),
            // Certified blocks do not go through the core.
            Effect::VerifyExtendedCommitCertificate(_, _, _, _, resume) => {
                resume.resume_with(Err(CertificateError::VerificationError(None)))
            }
            Effect::CertVerifiedSyncValue(_, _, resume) => resume.resume_with(()),
            Effect::CertRejectedSyncValue(_, _, _, resume) => resume.resume_with(()),
            Effect::VerifyPolkaCertificate(certificate, _, _, resume) => {
                let ours = PolkaCertificate::from_core(&certificate);
                let result = ours.verify(&self.zone, self.epoch, self.set());
                resume.resume_with(self.judge_certificate(result))
            }
            Effect::VerifyRoundCertificate(certificate, _, _, resume) => {
                let ours = RoundCertificate::from_core(&certificate);
                let result = ours.verify(&self.zone, self.epoch, self.set());
                resume.resume_with(self.judge_certificate(result))
            }
            Effect::WalAppend(height, input, resume) => {
                if let Some(record) = WalRecord::from_core(height.0, &input) {
                    self.append(record);
                }
                resume.resume_with(())
            }
            // Vote extensions are switched off at every height.
            Effect::ExtendVote(_, _, _, _, resume) => resume.resume_with(None),
            Effect::VerifyVoteExtension(_, _, _, _, _, _, resume) => {
                resume.resume_with(Err(core::VoteExtensionError::InvalidVoteExtension))
            }
        })
    }

    /// As [`Desk::verify_vote`], but what this validator just signed needs no second look.
    fn verify_core_vote(&self, vote: &Vote, signature: &Signature) -> Result<(), Rejected> {
        if self.votes.get(&(vote.kind, vote.round)) == Some(&(*vote, *signature)) {
            return Ok(());
        }
        self.verify_vote(vote, signature)
    }

    /// As [`Desk::verify_proposal`], but what this validator just signed needs no second look.
    fn verify_core_proposal(&self, proposal: &Proposal, signature: &Signature) -> Result<(), Rejected> {
        if self.proposals.get(&proposal.round) == Some(&(*proposal, *signature)) {
            return Ok(());
        }
        self.verify_proposal(proposal, signature)
    }
}

/// Why the desk did not sign.
#[derive(Debug)]
pub(super) enum Refused {
    /// It would have been a second, different signature.
    Twice,
    /// Observers do not sign.
    Observer,
}
