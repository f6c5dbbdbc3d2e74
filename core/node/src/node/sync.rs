//! Synchronising: ask, verify, store, and only then tell.

use super::{Node, Synced, presentable};
use crate::{
    AgentFault, Event, Freshness, NodeError, ReplicaError, Status,
    buyer::followed,
    replica::Certified,
    wallet::{Sent, backing_id, content_of, is_backed_by},
};
use ohmesh_ledger::{Answer, Asset, Header, Holding, Journal, Object, Proof, ProvenAccount, Query, TreeName};
use ohmesh_units::{AccountId, Canonical, Hash, Timestamp};

/// Whose fault it is.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The agent's: name it, try the next.
    Agent(AgentFault),
    /// This node's own: its disk, say. Asking somebody else does not help.
    Own(NodeError),
}

impl Node {
    /// Asks agents, in an order drawn by lot, for the newest header, the own account, the contracts of open purchases and
    /// what became of open transactions, until one has given something fresh. What does not hold is dropped, its agent
    /// named in [`Event::AgentFailed`].
    ///
    /// At most 8 agents are asked. That there is no account yet is believed only as long as no agent proves one. After a
    /// week offline with five settlements this costs less than 32 kB with up to 7 validators.
    ///
    /// Errors: [`NodeError::NoAgent`] if no answer holds; [`ReplicaError::AnchorTooOld`] in [`NodeError::Replica`] if
    /// this node has to be anchored again, and nobody is asked; [`NodeError::Replica`] and [`NodeError::Wallet`] if
    /// this node's own store fails.
    pub async fn sync(&self) -> Result<Synced, NodeError> {
        self.sync_with(&[]).await
    }

    /// As [`Node::sync`], and has these objects proven in the same answers: [`Replica::object`](crate::Replica::object)
    /// gives them then. At most 12; what is more waits for [`Node::sync`] of its own.
    pub async fn sync_with(&self, objects: &[Hash]) -> Result<Synced, NodeError> {
        let _alone = self.0.syncing.lock().await;
        self.check_anchor(self.now())?;
        let mut followed = followed(self.store())?;
        followed.extend(objects.iter().take(OBJECTS_ASKED_MAX));
        let order = self.order();
        let mut is_any_good = false;
        for &agent in &order {
            match self.sync_account(agent, &followed).await {
                Ok((header, is_account_proven)) => {
                    is_any_good = true;
                    match self.ask_for_transactions(agent, header.time).await {
                        Ok(()) => {}
                        Err(Trouble::Agent(fault)) => self.failed(agent, fault),
                        Err(Trouble::Own(error)) => return Err(error),
                    }
                    let freshness = Freshness::of(header.time, self.0.clock.now());
                    if is_account_proven && !matches!(freshness, Freshness::Stale { .. }) {
                        break;
                    }
                }
                Err(Trouble::Agent(fault)) => self.failed(agent, fault),
                Err(Trouble::Own(error)) => return Err(error),
            }
        }
        let head = self.0.replica.head()?.filter(|_| is_any_good);
        let Some(Header { height, time, .. }) = head else {
            return Err(NodeError::NoAgent { asked: order.len() });
        };
        self.expire(height, time)?;
        self.0.events.emit(Event::Synced { height, time });
        let freshness = Freshness::of(time, self.0.clock.now());
        Ok(Synced { height, time, freshness, account: self.account()? })
    }

    /// One agent's word on the account and what is followed, checked: its header, and whether it has proven the own
    /// account.
    async fn sync_account(&self, agent: usize, followed: &[Hash]) -> Result<(Header, bool), Trouble> {
        self.reach_if_over(agent).await?;
        let (account, epoch) = (self.id(), self.0.replica.epoch().map_err(trouble)?.epoch);
        let mut objects = followed.to_vec();
        objects.extend(self.epoch_wanted(epoch));
        let query = match objects.is_empty() {
            true => Query::Account(account),
            false => Query::Several { account, objects: objects.clone() },
        };
        let (certified, mut proofs) = self.proofs(agent, &query).await?;
        if !proofs.is_empty() {
            let first = proofs.remove(0).with_owner(&self.0.wallet.public());
            proofs.insert(0, first);
        }
        self.reach(agent, certified.0.epoch).await?;
        let (parts, proofs) = match objects.is_empty() {
            true => (&proofs[..], &[][..]),
            false => split_account(&account, &proofs),
        };
        let before = self.0.replica.account(&account).map_err(trouble)?;
        match (&before, parts.is_empty()) {
            (_, false) => {
                let now = self.0.replica.store_account(&account, &certified, parts);
                self.tell_account(before.as_ref(), &now.map_err(|e| self.told(e))?);
            }
            (None, true) => self.0.replica.store_head(&certified).map_err(|e| self.told(e))?,
            (Some(_), true) => return Err(Trouble::Agent(AgentFault::Withheld)),
        }
        self.take_objects(&objects, &certified, proofs)?;
        if let Some(wanted) = self.epoch_wanted(certified.0.epoch) {
            let (certified, proofs) = self.proofs(agent, &Query::Object(wanted)).await?;
            self.reach(agent, certified.0.epoch).await?;
            self.take_objects(&[wanted], &certified, &proofs)?;
        }
        Ok((certified.0, !parts.is_empty()))
    }

    /// Keeps the objects that were asked for as far as they are proven, in order. One that was proven before cannot be
    /// missing.
    fn take_objects(&self, asked: &[Hash], certified: &Certified, proofs: &[Proof]) -> Result<(), Trouble> {
        let mut proofs = proofs.iter().peekable();
        for id in asked {
            let is_next =
                |proof: &&Proof| Object::decode(&proof.content).is_ok_and(|object| object.id() == *id);
            match proofs.next_if(is_next) {
                Some(proof) => {
                    let object =
                        self.0.replica.store_object(id, certified, proof).map_err(|e| self.told(e))?;
                    self.learn_agents(&object);
                }
                None if self.0.replica.object(id).map_err(trouble)?.is_some() => {
                    return Err(Trouble::Agent(AgentFault::Withheld));
                }
                None => {}
            }
        }
        match proofs.next() {
            Some(_) => Err(Trouble::Agent(AgentFault::OtherAnswer)),
            None => Ok(()),
        }
    }

    /// Asks an agent what became of the transactions that are not settled. Where it begins is drawn by lot, so that
    /// none is for ever behind others.
    async fn ask_for_transactions(&self, agent: usize, now: Timestamp) -> Result<(), Trouble> {
        let mut unsettled = self.0.wallet.unsettled(now).map_err(own)?;
        if unsettled.len() > TRANSACTIONS_ASKED_MAX {
            let drawn = self.with_random(|random| random.next_u32());
            let first = usize::try_from(drawn).unwrap_or(0) % unsettled.len();
            unsettled.rotate_left(first);
        }
        for sent in unsettled.into_iter().take(TRANSACTIONS_ASKED_MAX) {
            if !self.is_proven_by(agent, &sent).await? && sent.status.is_open() {
                self.ask_for_hearsay(agent, &sent).await?;
            }
        }
        Ok(())
    }

    /// Whether the object that backs a transaction is proven, here already or by the agent.
    async fn is_proven_by(&self, agent: usize, sent: &Sent) -> Result<bool, Trouble> {
        let transaction = &sent.signed.transaction;
        let Some(id) = backing_id(transaction) else { return Ok(false) };
        let (header, object) = if id == Hash::from(self.id()) {
            let Some(account) = self.0.replica.account(&self.id()).map_err(trouble)? else {
                return Ok(false);
            };
            (account.header, Object::Account(account.account))
        } else {
            let (certified, proofs) = self.proofs(agent, &Query::Object(id)).await?;
            self.reach(agent, certified.0.epoch).await?;
            let [proof] = &proofs[..] else { return Ok(false) };
            let object = self.0.replica.store_object(&id, &certified, proof).map_err(|e| self.told(e))?;
            (certified.0, object)
        };
        if is_backed_by(transaction, &object) {
            self.note(sent.id(), Status::Proven { height: header.height }).map_err(Trouble::Own)?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn ask_for_hearsay(&self, agent: usize, sent: &Sent) -> Result<(), Trouble> {
        let status = match self.ask(agent, &Query::Transaction(sent.id())).await? {
            Answer::Applied(found) if found == content_of(&sent.signed) => Status::Reported,
            Answer::Applied(found) => return Err(Trouble::Agent(AgentFault::OtherContent(found))),
            Answer::Waiting => Status::Waiting,
            Answer::Unknown | Answer::Refused(_) => return Ok(()),
            _ => return Err(Trouble::Agent(AgentFault::OtherAnswer)),
        };
        self.note(sent.id(), status).map_err(Trouble::Own)
    }

    /// Open transactions whose validity a certified header has passed can no longer apply.
    fn expire(&self, height: u64, time: Timestamp) -> Result<(), NodeError> {
        for sent in self.0.wallet.open_transactions()? {
            if sent.signed.transaction.valid_until < time {
                self.note(sent.id(), Status::Expired { height })?;
            }
        }
        Ok(())
    }

    /// An answer that should be proofs.
    async fn proofs(&self, agent: usize, query: &Query) -> Result<(Certified, Vec<Proof>), Trouble> {
        match self.ask(agent, query).await? {
            Answer::Proofs(certified, proofs) => Ok((*certified, proofs)),
            Answer::Head(None) => Err(Trouble::Agent(AgentFault::NoBlock)),
            Answer::Refused(reason) => Err(Trouble::Agent(AgentFault::Refused(presentable(&reason)))),
            _ => Err(Trouble::Agent(AgentFault::OtherAnswer)),
        }
    }

    async fn ask(&self, agent: usize, query: &Query) -> Result<Answer, Trouble> {
        self.0.agents.ask(agent, query).await.map_err(Trouble::Agent)
    }

    /// What changed of the own account, now that it is durable.
    fn tell_account(&self, before: Option<&ProvenAccount>, now: &ProvenAccount) {
        let height = now.header.height;
        if before.is_none() {
            self.0.events.emit(Event::AccountProven { height });
        }
        for journal in Journal::ALL {
            for asset in Asset::ALL {
                let holding = |account: &ProvenAccount| {
                    account.balances[journal as usize]
                        .map_or(Holding::default(), |balance| *balance.of(asset))
                };
                let (before, after) = (before.map(holding).unwrap_or_default(), holding(now));
                if before != after {
                    self.0.events.emit(Event::BalanceChanged { journal, asset, before, after, height });
                }
            }
        }
    }

    /// [`trouble`], and a fork is told.
    pub(super) fn told(&self, error: ReplicaError) -> Trouble {
        if let ReplicaError::Fork { one, other } = error {
            self.0.events.emit(Event::Forked { one, other });
        }
        trouble(error)
    }
}

/// The proofs of the account at the front of an answer to [`Query::Several`], and those of objects behind it.
fn split_account<'a>(account: &AccountId, proofs: &'a [Proof]) -> (&'a [Proof], &'a [Proof]) {
    let is_object = |proof: &Proof| proof.tree == TreeName::Objects;
    let is_account = |proof: &Proof| {
        Object::decode(&proof.content).is_ok_and(|object| object.id() == Hash::from(*account))
    };
    let parts = match proofs.split_first() {
        Some((first, rest)) if is_account(first) => 1 + rest.iter().take_while(|one| !is_object(one)).count(),
        _ => 0,
    };
    proofs.split_at(parts)
}

/// The store's errors are this node's own; what does not hold is the agent's.
pub(crate) fn trouble(error: ReplicaError) -> Trouble {
    match error {
        ReplicaError::Store(_)
        | ReplicaError::Damaged(_)
        | ReplicaError::AnchorTooOld { .. }
        | ReplicaError::AnchorOfOtherZone { .. }
        | ReplicaError::AnchorContradicts { .. } => Trouble::Own(error.into()),
        ReplicaError::Ledger(_)
        | ReplicaError::Epoch { .. }
        | ReplicaError::HandOver(_)
        | ReplicaError::Older { .. }
        | ReplicaError::OldKeys { .. }
        | ReplicaError::Fork { .. }
        | ReplicaError::Parts { .. }
        | ReplicaError::Height(_) => Trouble::Agent(AgentFault::Answer(error)),
    }
}

fn own(error: impl Into<NodeError>) -> Trouble {
    Trouble::Own(error.into())
}

/// Objects that are asked for besides what this node follows by itself.
const OBJECTS_ASKED_MAX: usize = 12;
/// Transactions one agent is asked about in one go: the rest in the next.
const TRANSACTIONS_ASKED_MAX: usize = 16;
