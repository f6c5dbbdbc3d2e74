//! Proofs of single leaves against a header, and the questions a phone asks an agent.

use crate::{
    Account, Balance, Certificate, Header, Journal, LedgerError, Manifest, Object, Part, SignedTransaction,
    State, StateRoots, TreeName, Voters, tree::TreeRoot,
};
use ohmesh_units::{AccountId, AuctionId, Canonical, Hash, PublicKey, TransactionId, ZoneId};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// One leaf and the way from it to a root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// Which tree.
    pub tree: TreeName,
    /// Which slot.
    pub slot: u32,
    /// The canonical bytes of what is there.
    pub content: Vec<u8>,
    /// Sibling hashes from the bottom up; at most 32.
    pub path: Vec<Hash>,
}

impl Canonical for Proof {
    const NAME: &'static str = "proof";
    const MAX_BYTES: usize = Object::MAX_BYTES + 32 * 33 + 16;
}

impl Proof {
    /// Checks the proof against the state of `header`.
    pub fn verify(&self, header: &Header) -> Result<(), LedgerError> {
        let leaf = self.tree.leaf(self.slot, &self.content);
        if !root(&header.state, self.tree).proves(self.slot, leaf, &self.path) {
            let what = match self.tree {
                TreeName::Objects => "an object",
                TreeName::EnergyBalances => "an energy balance",
                TreeName::GridBalances => "a grid balance",
            };
            return Err(LedgerError::Proof { what, slot: self.slot, height: header.height });
        }
        Ok(())
    }

    /// An account's proof as it is sent: without its owner's key, which whoever asks for its own account knows. Of anything
    /// else nothing is left out.
    #[must_use]
    pub fn without_owner(mut self) -> Self {
        if self.tree == TreeName::Objects && matches!(Object::decode(&self.content), Ok(Object::Account(_))) {
            self.content.drain(OWNER);
        }
        self
    }

    /// With `owner`'s key where [`Proof::without_owner`] left it out. Bytes from elsewhere stay what they are: no proof.
    #[must_use]
    pub fn with_owner(mut self, owner: &PublicKey) -> Self {
        // Without a key an account is shorter than any whole one, so that the two are never taken for one another.
        let is_whole = Object::decode(&self.content).is_ok();
        if self.tree == TreeName::Objects && !is_whole && self.content.len() >= OWNER.start {
            self.content.splice(OWNER.start..OWNER.start, owner.to_bytes());
        }
        self
    }
}

/// Where the encoding of an account has its owner's key: behind the version and the tag.
const OWNER: Range<usize> = 2..34;

fn root(roots: &StateRoots, tree: TreeName) -> TreeRoot {
    match tree {
        TreeName::Objects => roots.objects,
        TreeName::EnergyBalances => roots.energy.balances,
        TreeName::GridBalances => roots.grid.balances,
    }
}

impl State {
    /// The proof of the object with `id`, against the newest header.
    pub fn prove_object(&self, id: &Hash) -> Option<Proof> {
        let (slot, object) = self.object(id)?;
        let tree = TreeName::Objects;
        Some(Proof { tree, slot, content: object.encode(), path: self.path(tree, slot)? })
    }

    /// The proof of an account's balance in a journal, if it has been used there.
    pub fn prove_balance(&self, journal: Journal, account: &AccountId) -> Option<Proof> {
        let (slot, balance) = self.balance(journal, account)?;
        let tree = TreeName::balances(journal);
        Some(Proof { tree, slot, content: balance.encode(), path: self.path(tree, slot)? })
    }

    /// Everything that an account needs to know of itself, against the newest header.
    pub fn prove_account(&self, id: &AccountId) -> Option<Vec<Proof>> {
        let mut proofs = vec![self.prove_object(&Hash::from(*id))?];
        proofs.extend(Journal::ALL.iter().filter_map(|journal| self.prove_balance(*journal, id)));
        Some(proofs)
    }
}

/// What a phone asks an agent. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// The newest header and its certificate.
    Head,
    /// The account with its balances; the account's own proof comes as [`Proof::without_owner`].
    Account(AccountId),
    /// Any one object by id.
    Object(Hash),
    /// Take this transaction for a block.
    Submit(Box<SignedTransaction>),
    /// What became of a transaction.
    Transaction(TransactionId),
    /// Decided blocks from this height on, for an agent that catches up.
    Blocks {
        /// The first height wanted.
        from: u64,
    },
    /// The key of an epoch's auctions, or how far its making is; proven as [`Query::Object`].
    EpochKey(u64),
    /// A buyer speaks with the seller of an auction that it awarded: hands over its messages and takes those that wait
    /// for it. No messages: only asks. The connection's TLS exporter is the session's.
    Sale {
        /// The auction.
        auction: AuctionId,
        /// At most [`Query::SALE_MESSAGES_MAX`], in order.
        messages: Vec<ohmesh_contract::Message>,
    },
    /// How the zone passed from epoch to epoch, beginning with the end of this one.
    HandOvers {
        /// The first epoch whose end is wanted.
        from: u64,
    },
    /// As [`Query::Account`], and then each of these objects that there is, in order: one header for all of them.
    Several {
        /// The account.
        account: AccountId,
        /// At most [`Query::SEVERAL_MAX`].
        objects: Vec<Hash>,
    },
    /// What the newest snapshot that the agent serves is of.
    Snapshot,
    /// A part of a snapshot.
    SnapshotChunk {
        /// The height of the snapshot, from its manifest.
        height: u64,
        /// Which part of the state.
        part: Part,
        /// The slot that the chunk begins with: where the one before it ended.
        from: u32,
    },
}

impl Query {
    /// Contract messages in one question or answer at most.
    pub const SALE_MESSAGES_MAX: usize = 16;
    /// Objects in one question for several at most: two for each purchase that a phone may have open, and a few more.
    pub const SEVERAL_MAX: usize = 48;
}

impl Canonical for Query {
    const NAME: &'static str = "query";
    const MAX_BYTES: usize = SignedTransaction::MAX_BYTES + 8;
}

/// What an agent answers. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The newest header; none before the first block.
    Head(Option<Box<(Header, Certificate)>>),
    /// Proofs against this header; no proofs if there is no such account or object.
    Proofs(Box<(Header, Certificate)>, Vec<Proof>),
    /// The transaction waits for a block.
    Waiting,
    /// The transaction has been applied, with this content.
    Applied(Hash),
    /// The agent does not know the transaction.
    Unknown,
    /// The agent does not take the transaction, or cannot answer; the reason is for people.
    Refused(String),
    /// Decided blocks in order, each with its certificate; none if the agent has no more.
    Blocks(Vec<(Vec<u8>, Certificate)>),
    /// Contract messages for the buyer that asked, in order; none if none wait.
    Sale(Vec<ohmesh_contract::Message>),
    /// Hand-overs in order; none if that epoch has not ended.
    HandOvers(Vec<crate::HandOver>),
    /// The manifest of the newest snapshot; none before the first.
    Snapshot(Option<Box<Manifest>>),
    /// The canonical bytes of a [`Chunk`](crate::Chunk); none if the agent has no chunk that begins there, or no longer has
    /// that snapshot.
    SnapshotChunk(Option<Vec<u8>>),
}

impl Canonical for Answer {
    const NAME: &'static str = "answer";
    const MAX_BYTES: usize = 8 << 20;
}

/// An account as a phone has checked it: every part is backed by the same certified header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenAccount {
    /// The header it was proven against.
    pub header: Header,
    /// The account.
    pub account: Account,
    /// Its balances in the energy and the grid journal, where it has been used there.
    pub balances: [Option<Balance>; 2],
}

impl ProvenAccount {
    /// Checks certificate and proofs, and that they are of `id` and leave nothing of it out.
    pub fn verify(
        zone: &ZoneId,
        voters: &Voters,
        id: &AccountId,
        (header, certificate): (Header, Certificate),
        proofs: &[Proof],
    ) -> Result<Self, LedgerError> {
        certificate.verify_header(&header, zone, voters)?;
        let asked = Hash::from(*id);
        let missing = LedgerError::OtherObject { asked, found: Hash::ZERO };
        let (first, rest) = proofs.split_first().ok_or(missing.clone())?;
        let account = match proven_object(first, &header)? {
            Object::Account(account) if Hash::from(account.id()) == asked => account,
            other => return Err(LedgerError::OtherObject { asked, found: other.id() }),
        };
        let mut balances = [None, None];
        let mut rest = rest.iter();
        for journal in Journal::ALL {
            let Some(slot) = account.balances[journal as usize] else { continue };
            let proof = rest.next().ok_or(missing.clone())?;
            proof.verify(&header)?;
            if proof.tree != TreeName::balances(journal) || proof.slot != slot {
                let what = "a balance";
                return Err(LedgerError::Proof { what, slot: proof.slot, height: header.height });
            }
            balances[journal as usize] = Some(Balance::decode(&proof.content)?);
        }
        Ok(Self { header, account, balances })
    }
}

/// The object that `proof` proves against `header`.
pub fn proven_object(proof: &Proof, header: &Header) -> Result<Object, LedgerError> {
    proof.verify(header)?;
    if proof.tree != TreeName::Objects {
        return Err(LedgerError::Proof { what: "an object", slot: proof.slot, height: header.height });
    }
    Ok(Object::decode(&proof.content)?)
}
