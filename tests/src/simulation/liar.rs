//! What a dishonest validator makes of what its agent says. The agent itself is a real one; the lies are made on the way out.

use super::{Dice, Fault};
use ohmesh_committee::{BlockBytes, Body, Message, RoundCertificate, RoundKind, RoundVote, identify_block};
use ohmesh_ledger::{
    Answer, Asset, Block, Body as Content, Certificate, Journal, Leg, Proposal, SignedTransaction, State,
    Transaction, Vote, VoteKind, transactions_root,
};
use ohmesh_units::{AccountId, BlockId, Canonical, Hash, Signature, SigningKey, Timestamp};
use station_agent::wire::Wire;
use std::{collections::BTreeMap, time::Duration};

/// One dishonest validator.
pub struct Liar {
    validator: u16,
    /// The key of its votes in this epoch.
    key: SigningKey,
    /// The key of its account.
    own: SigningKey,
    lies: Vec<Fault>,
    dice: Dice,
    /// Which others are lied to: one bit for each validator.
    victims: u64,
    /// What it withholds: proposals, votes, transactions and blocks, one bit each.
    withheld: u64,
    /// The other proposal of each height and round.
    others: BTreeMap<(u64, u32), (Proposal, Signature, BlockBytes)>,
    /// The wrong block that stands for a right one, and votes for it too.
    wrong: BTreeMap<BlockId, BlockId>,
    /// Whether it says nothing at all.
    is_mute: bool,
    /// Messages of the past, to be sent again.
    stash: Vec<Vec<u8>>,
    /// How often it has lied, by the kind of lie.
    pub told: BTreeMap<Fault, u64>,
}

impl Liar {
    /// A validator that sends transactions as `own` and tells `lies`.
    pub fn new(own: SigningKey, lies: Vec<Fault>, mut dice: Dice) -> Self {
        Self {
            validator: u16::MAX,
            key: own.clone(),
            own,
            lies,
            // Now and then everybody is a victim.
            victims: if dice.chance(300) { u64::MAX } else { dice.below(1 << 32) },
            withheld: 1 + dice.below(15),
            dice,
            others: BTreeMap::new(),
            wrong: BTreeMap::new(),
            is_mute: false,
            stash: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Says nothing from now on.
    pub fn fall_silent(&mut self) {
        self.is_mute = true;
    }

    /// It votes as this validator with this key now.
    pub fn votes_as(&mut self, validator: u16, key: SigningKey) {
        (self.validator, self.key) = (validator, key);
    }

    /// What really leaves for validator `to` when the agent says `wire`.
    pub fn says(&mut self, to: usize, wire: &Wire, state: &State) -> Vec<Vec<u8>> {
        let is_victim = self.victims >> to & 1 == 1;
        if self.is_mute || is_victim && self.withholds(wire) {
            return Vec::new();
        }
        let wire = match wire {
            Wire::Committee(message) => Wire::Committee(self.twist(message.clone(), is_victim, state)),
            Wire::Certified(bytes, certificate) if self.tells(Fault::PoisonedSnapshot) => {
                let mut poisoned = self.poison(vec![(bytes.clone(), certificate.clone())]);
                match poisoned.pop() {
                    Some((bytes, certificate)) => Wire::Certified(bytes, certificate),
                    None => return Vec::new(),
                }
            }
            other => other.clone(),
        };
        let bytes = wire.encode();
        let mut leaving = vec![bytes.clone()];
        if self.lies.contains(&Fault::Garbage) && self.dice.chance(250) {
            leaving.push(self.garbage(&bytes, &wire, state));
        }
        leaving
    }

    /// What really answers a question.
    pub fn answers(&mut self, answer: Answer) -> Option<Vec<u8>> {
        if self.withheld & 8 == 8 && self.lies.contains(&Fault::Withholding) && self.dice.chance(700) {
            self.note(Fault::Withholding);
            return None;
        }
        if self.lies.contains(&Fault::Garbage) && self.dice.chance(300) {
            self.note(Fault::Garbage);
            let length = self.dice.index(400);
            return Some(self.dice.bytes(length));
        }
        match answer {
            Answer::Blocks(blocks) if self.tells(Fault::PoisonedSnapshot) => {
                Some(Answer::Blocks(self.poison(blocks)).encode())
            }
            Answer::SnapshotChunk(Some(mut chunk)) if self.tells(Fault::PoisonedSnapshot) => {
                let at = self.dice.index(chunk.len());
                chunk[at] ^= 1 << self.dice.below(8);
                Some(Answer::SnapshotChunk(Some(chunk)).encode())
            }
            Answer::Snapshot(Some(mut manifest)) if self.tells(Fault::PoisonedSnapshot) => {
                match self.dice.below(3) {
                    0 => manifest.totals.pendings_opened += 1,
                    1 => manifest.header.state.objects.hash.0[0] ^= 1,
                    _ => manifest.certificate.signatures.truncate(1),
                }
                Some(Answer::Snapshot(Some(manifest)).encode())
            }
            Answer::Head(Some(mut head)) if self.tells(Fault::PoisonedSnapshot) => {
                head.0.height += self.dice.below(5_000);
                Some(Answer::Head(Some(head)).encode())
            }
            other => Some(other.encode()),
        }
    }

    fn note(&mut self, lie: Fault) {
        *self.told.entry(lie).or_default() += 1;
    }

    /// Whether it tells this lie now, most of the time if it is its kind.
    fn tells(&mut self, lie: Fault) -> bool {
        let tells = self.lies.contains(&lie) && self.dice.chance(700);
        if tells {
            self.note(lie);
        }
        tells
    }

    fn withholds(&mut self, wire: &Wire) -> bool {
        let kind = match wire {
            Wire::Committee(Message { body: Body::Proposal(..), .. }) => 1,
            Wire::Committee(_) => 2,
            Wire::Transactions(_) => 4,
            _ => 8,
        };
        let is_withheld = self.lies.contains(&Fault::Withholding) && self.withheld & kind == kind;
        if is_withheld {
            self.note(Fault::Withholding);
        }
        is_withheld
    }

    /// A message of the committee as this recipient gets it.
    fn twist(&mut self, mut message: Message, is_victim: bool, state: &State) -> Message {
        let (zone, epoch) = (message.zone, message.epoch);
        match &mut message.body {
            Body::Vote(vote, signature) if vote.validator == self.validator => {
                let before = *vote;
                if let Some(wrong) = vote.block.and_then(|block| self.wrong.get(&block)) {
                    vote.block = Some(*wrong);
                }
                if is_victim && self.lies.contains(&Fault::Equivocation) {
                    self.note(Fault::Equivocation);
                    let other = self.others.get(&(vote.height, vote.round)).map(|other| other.0.block);
                    vote.block = match vote.block {
                        Some(_) if self.dice.chance(500) => None,
                        Some(_) => other,
                        None => Some(other.unwrap_or(BlockId([7; 32]))),
                    };
                }
                if *vote != before {
                    *signature = vote.sign(&zone, epoch, &self.key);
                }
            }
            Body::Proposal(proposal, signature, bytes) if proposal.validator == self.validator => {
                if is_victim && self.lies.contains(&Fault::Equivocation) {
                    self.note(Fault::Equivocation);
                    let at = (proposal.height, proposal.round);
                    let key = self.key.clone();
                    let other = self.others.entry(at).or_insert_with(|| {
                        other_proposal(*proposal, bytes, state, |p| p.sign(&zone, epoch, &key))
                    });
                    (*proposal, *signature, *bytes) = other.clone();
                } else if let Some((wrong, wrong_bytes)) = self.wrong_block(bytes, state) {
                    self.wrong.insert(proposal.block, wrong);
                    proposal.block = wrong;
                    *bytes = wrong_bytes;
                    *signature = proposal.sign(&zone, epoch, &self.key);
                }
            }
            _ => {}
        }
        message
    }

    /// A block that nobody may vote for, in place of a right one.
    fn wrong_block(&mut self, bytes: &BlockBytes, state: &State) -> Option<(BlockId, BlockBytes)> {
        if !self.tells(Fault::WrongBlock) {
            return None;
        }
        let mut block = Block::decode(bytes).ok()?;
        let header = &mut block.header;
        match self.dice.below(11) {
            0 => header.state.objects.hash.0[5] ^= 1,
            1 => header.time = header.time.checked_add(Duration::from_secs(3_600))?,
            2 => header.parent.0[0] ^= 1,
            3 => header.height += 1,
            4 => header.proposer = u16::MAX,
            5 => header.epoch += 1,
            6 => header.time = state.head().time,
            7 => header.next_voters = Some(Hash([1; 32])),
            8 => header.rules += 1,
            9 => {
                let stolen = self.impossible(state);
                block.transactions.push(stolen);
            }
            _ => {
                let mut forged = self.impossible(state);
                forged.signatures[0].key = state.zone().distributor.key;
                block.transactions.push(forged);
            }
        }
        block.header.transactions = transactions_root(&block.transactions);
        block.header.transaction_count = u32::try_from(block.transactions.len()).ok()?;
        let bytes = block.encode();
        Some((identify_block(&bytes)?, bytes.into()))
    }

    /// A transaction that cannot apply: more than there is.
    fn impossible(&mut self, state: &State) -> SignedTransaction {
        let sender = AccountId::of(&self.own.public());
        let to = AccountId::of(&state.zone().distributor.key);
        let leg = Leg::Move {
            journal: Journal::Energy,
            asset: Asset::Currency,
            from: sender,
            to,
            amount: i64::MAX / 2,
        };
        let transaction = Transaction {
            zone: *state.zone_id(),
            sender,
            number: u128::from(self.dice.below(u64::MAX)),
            valid_until: later(state.head().time),
            body: Content::Transfer { legs: vec![leg] },
        };
        transaction.sign(&[&self.own])
    }

    /// Decided blocks as a poisoner tells them.
    fn poison(&mut self, mut blocks: Vec<(Vec<u8>, Certificate)>) -> Vec<(Vec<u8>, Certificate)> {
        let at = self.dice.index(blocks.len().max(1));
        let Some((bytes, certificate)) = blocks.get_mut(at) else { return blocks };
        match self.dice.below(7) {
            0 => {
                let flipped = self.dice.index(bytes.len());
                bytes[flipped] ^= 0x10;
            }
            1 => certificate.signatures.truncate(1),
            2 => {
                let mine = certificate.signatures.first().map(|one| one.1);
                certificate.signatures.iter_mut().for_each(|one| one.1 = mine.unwrap_or(one.1));
            }
            3 => certificate.height += 1,
            4 => certificate.epoch += 1,
            5 => {
                blocks.remove(at);
            }
            _ => {
                if let Some((forged_bytes, forged)) = self.forge(bytes, certificate) {
                    (*bytes, *certificate) = (forged_bytes, forged);
                }
            }
        }
        blocks
    }

    /// Another block of that height, which nobody but this validator has signed, in everybody's name.
    fn forge(&self, bytes: &[u8], certificate: &Certificate) -> Option<(Vec<u8>, Certificate)> {
        let mut block = Block::decode(bytes).ok()?;
        block.header.time = block.header.time.checked_add(Duration::from_millis(1))?;
        let mut forged = certificate.clone();
        forged.block = block.id();
        for (validator, signature) in &mut forged.signatures {
            let vote = Vote {
                kind: VoteKind::Precommit,
                height: forged.height,
                round: forged.round,
                block: Some(forged.block),
                validator: *validator,
            };
            *signature = vote.sign(&block.header.zone, forged.epoch, &self.key);
        }
        Some((block.encode(), forged))
    }

    /// Bytes that mean nothing, or a message that means what it must not.
    fn garbage(&mut self, bytes: &[u8], wire: &Wire, state: &State) -> Vec<u8> {
        self.note(Fault::Garbage);
        self.stash.truncate(STASH);
        self.stash.insert(0, bytes.to_vec());
        match self.dice.below(6) {
            0 => {
                let length = self.dice.index(600);
                self.dice.bytes(length)
            }
            1 => {
                let mut flipped = bytes.to_vec();
                let at = self.dice.index(flipped.len());
                flipped[at] ^= 1 << self.dice.below(8);
                flipped
            }
            2 => bytes[..self.dice.index(bytes.len())].to_vec(),
            3 => self.dice.pick(&self.stash).clone(),
            4 => {
                let flood = self.impossible(state);
                let count = if self.dice.chance(100) { Wire::TRANSACTIONS_MAX + 1 } else { 3 };
                Wire::Transactions(vec![flood; count]).encode()
            }
            _ => match wire {
                Wire::Committee(message) => Wire::Committee(self.out_of_place(message.clone())).encode(),
                other => other.encode(),
            },
        }
    }

    /// A message of the committee that is far away, of somebody else, or of another epoch or zone.
    fn out_of_place(&mut self, mut message: Message) -> Message {
        let height = match &message.body {
            Body::Vote(vote, _) => vote.height,
            Body::Proposal(proposal, ..) => proposal.height,
            Body::Polka(polka) => polka.height,
            Body::Round(round) => round.height,
        };
        let mut vote =
            Vote { kind: VoteKind::Prevote, height, round: 0, block: None, validator: self.validator };
        match self.dice.below(6) {
            0 => vote.height += self.dice.between(2, 1_000_000),
            1 => vote.round = u32::MAX,
            2 => vote.validator = vote.validator.wrapping_add(1),
            3 => message.epoch += 1,
            4 => message.zone.0[0] ^= 1,
            _ => {
                let one = RoundVote {
                    validator: self.validator,
                    kind: VoteKind::Precommit,
                    block: None,
                    signature: vote.sign(&message.zone, message.epoch, &self.key),
                };
                let votes = vec![one; 4];
                message.body =
                    Body::Round(RoundCertificate { height, round: 3, kind: RoundKind::Precommit, votes });
                return message;
            }
        }
        let signature = vote.sign(&message.zone, message.epoch, &self.key);
        message.body = Body::Vote(vote, signature);
        message
    }
}

/// Another block for the same height and round, just as valid: without transactions, a moment later.
fn other_proposal(
    mut proposal: Proposal,
    bytes: &BlockBytes,
    state: &State,
    sign: impl Fn(&Proposal) -> Signature,
) -> (Proposal, Signature, BlockBytes) {
    let time = Block::decode(bytes).map_or(state.head().time, |block| block.header.time);
    let time = time.max(state.head().time).checked_add(Duration::from_millis(1)).unwrap_or(time);
    let other = state.propose(time, proposal.validator, []).block;
    proposal.block = other.id();
    (proposal, sign(&proposal), other.encode().into())
}

fn later(now: Timestamp) -> Timestamp {
    now.checked_add(Duration::from_secs(600)).unwrap_or(now)
}

/// Messages that are kept to be sent again.
const STASH: usize = 32;
