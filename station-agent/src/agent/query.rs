//! What phones ask.

use super::{Agent, AgentError, Asker, Effect};
use crate::{disk::Disk, seller};
use ohmesh_ledger::{Answer, Block, LedgerError, Proof, Query, TransactionError, Verified, epoch_key_id};
use ohmesh_units::{AccountId, Hash, Timestamp};

impl<D: Disk> Agent<D> {
    /// Answers a question at `now`. Only the disk can fail here; a question that makes no sense is refused in the answer.
    pub fn answer(
        &mut self,
        now: Timestamp,
        asker: Asker,
        query: Query,
    ) -> Result<(Answer, Vec<Effect>), AgentError> {
        let (mut answers, effects) = self.answer_all(now, vec![(asker, query)])?;
        Ok((answers.remove(0), effects))
    }

    /// Answers questions that came together, in their order, each as it would have been answered by itself. The signatures
    /// of all transactions among them are checked as one batch, so the caller bounds how many there are.
    pub fn answer_all(
        &mut self,
        now: Timestamp,
        questions: Vec<(Asker, Query)>,
    ) -> Result<(Vec<Answer>, Vec<Effect>), AgentError> {
        let mut submitted = Vec::new();
        let mut others = Vec::with_capacity(questions.len());
        for (asker, query) in questions {
            others.push(match query {
                Query::Submit(signed) => {
                    submitted.push(*signed);
                    None
                }
                query => Some((asker, query)),
            });
        }
        let verified = Verified::each(self.state.zone_id(), submitted);
        // No block becomes final in between, so what comes of each does not depend on those before it.
        let tried = self.state.try_each(now, verified.iter().flatten());
        let (mut verified, mut tried) = (verified.into_iter(), tried.into_iter());
        let mut news = Vec::new();
        let mut answers = Vec::with_capacity(others.len());
        for other in others {
            answers.push(match other {
                Some((asker, query)) => self.answer_one(now, asker, query)?,
                None => match verified.next().expect("each that was submitted") {
                    Ok(verified) => {
                        let tried = tried.next().expect("each that is rightly signed");
                        self.submit(now, verified, tried, &mut news)
                    }
                    Err(LedgerError::Transaction { reason, .. }) => Answer::Refused(reason.to_string()),
                    Err(error) => Answer::Refused(error.to_string()),
                },
            });
        }
        self.pass_on(&news);
        Ok((answers, self.hand_out()?))
    }

    fn answer_one(&mut self, now: Timestamp, asker: Asker, query: Query) -> Result<Answer, AgentError> {
        Ok(match query {
            Query::Head => Answer::Head(self.head.clone().map(Box::new)),
            Query::Account(id) => self.proofs(self.account(&id)),
            Query::Object(id) => self.proofs(self.state.prove_object(&id).into_iter().collect()),
            Query::Transaction(id) => match (self.state.applied(&id), self.mempool.refusal(&id)) {
                (Some(content), _) => Answer::Applied(content),
                (None, _) if self.mempool.holds_id(&id) => Answer::Waiting,
                (None, Some(reason)) => Answer::Refused(reason.to_string()),
                (None, None) => Answer::Unknown,
            },
            Query::EpochKey(epoch) => {
                self.proofs(self.state.prove_object(&epoch_key_id(epoch)).into_iter().collect())
            }
            Query::Sale { auction, messages } => {
                let Asker { key: from, exporter } = asker;
                let input = seller::Input::Sale { auction, from, exporter, messages };
                match self.tell_seller(now, input)? {
                    Some(messages) => Answer::Sale(messages),
                    None => Answer::Refused("this agent sells nothing".into()),
                }
            }
            Query::HandOvers { from } => Answer::HandOvers(self.hand_overs.from(from)),
            Query::Several { account, objects } => {
                let mut proofs = self.account(&account);
                let objects = objects.iter().take(Query::SEVERAL_MAX);
                proofs.extend(objects.filter_map(|id| self.state.prove_object(id)));
                self.proofs(proofs)
            }
            Query::Snapshot => self.snapshot_manifest(),
            Query::SnapshotChunk { height, part, from } => self.snapshot_chunk(height, part, from),
            Query::Blocks { from } => Answer::Blocks(self.blocks_from(from)?),
            Query::Submit(_) => unreachable!("transactions are checked together"),
        })
    }

    /// The account and its balances, for whoever knows its key.
    fn account(&self, id: &AccountId) -> Vec<Proof> {
        let proofs = self.state.prove_account(id).unwrap_or_default();
        proofs.into_iter().map(Proof::without_owner).collect()
    }

    fn proofs(&self, proofs: Vec<Proof>) -> Answer {
        match &self.head {
            Some(head) => Answer::Proofs(Box::new(head.clone()), proofs),
            None => Answer::Refused("there is no block yet".into()),
        }
    }

    /// Takes a rightly signed transaction for a block, `tried` being what would come of it now, and says where it stands.
    /// It is to be passed on if it is `news`.
    fn submit(
        &mut self,
        now: Timestamp,
        verified: Verified,
        tried: Result<(), TransactionError>,
        news: &mut Vec<Verified>,
    ) -> Answer {
        if self.mempool.holds(&verified) {
            return Answer::Waiting;
        }
        match &tried {
            Ok(()) => {}
            Err(TransactionError::AlreadyApplied) => return Answer::Applied(verified.content()),
            Err(reason) => return Answer::Refused(reason.to_string()),
        }
        if !self.admit(now, verified.clone(), &tried) {
            return Answer::Refused("too many transactions wait; try again".into());
        }
        news.push(verified);
        Answer::Waiting
    }

    /// Decided blocks from a height on, at least one if there is one, and no more than fit an answer.
    fn blocks_from(&mut self, from: u64) -> Result<Vec<(Vec<u8>, ohmesh_ledger::Certificate)>, AgentError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let mut height = from;
        while blocks.len() < BLOCKS_MAX {
            let Some(block) = self.blocks.block(&self.disk, &self.kept, height)? else { break };
            bytes += block.0.len();
            if !blocks.is_empty() && bytes > BLOCKS_BYTES_MAX {
                break;
            }
            blocks.push(block);
            height += 1;
        }
        Ok(blocks)
    }

    /// The newest state root, for people who compare.
    pub fn root(&self) -> Hash {
        self.state.roots().objects.hash
    }
}

/// Blocks in one answer at most.
const BLOCKS_MAX: usize = 256;
/// Bytes of all blocks but the first in one answer at most; the first may be as long as a block may be.
const BLOCKS_BYTES_MAX: usize = Block::MAX_BYTES / 4;

use ohmesh_units::Canonical as _;
