//! Performing what a purchase asks for: looking at the ledger, speaking with the seller's agent, keeping, telling.

use super::{
    BuyError, PurchaseReceipt, Settings, rows,
    trade::{Seen, Step, Trade, Want},
};
use crate::{
    AgentFault, Event, Node, NodeError, ReplicaError, Status, node::Trouble, replica::Certified,
    timer::within,
};
use ohmesh_ledger::{Answer, Evse, Object, Proof, Query};
use ohmesh_units::{EvseId, Hash, StationId, Timestamp};
use rand_chacha::ChaCha20Rng;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A purchase and the node that runs it.
pub(super) struct Shared {
    node: Node,
    settings: Settings,
    trade: Mutex<Trade>,
    /// The app said something.
    said: Notify,
    /// One run at a time.
    running: tokio::sync::Mutex<()>,
}

/// What it means that an agent proves no such object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Absence {
    /// The object has been proven before: the agent withholds it.
    Withheld,
    /// Every agent is asked before it is believed.
    Doubted,
    /// It is believed up to this ledger time; from then on every agent is asked.
    BelievedUntil(Timestamp),
}

/// The newest answer about one object: the same again needs no second check.
pub(crate) type Checked = Option<(Certified, Proof, Object)>;

/// What one run remembers between two looks.
struct Run {
    auction: Checked,
    contract: Checked,
    /// When an agent last proved anything.
    proven: Timestamp,
    /// When the ledger is looked at again while nothing is about to happen.
    look_at: Timestamp,
    /// Whether the seller's agent answered the last time.
    is_answering: bool,
}

impl Shared {
    pub(super) fn new(node: Node, trade: Trade, settings: Settings) -> Self {
        let (said, running) = (Notify::new(), tokio::sync::Mutex::default());
        Self { node, settings, trade: Mutex::new(trade), said, running }
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Trade) -> T) -> T {
        look(&self.trade())
    }

    /// Hands in what the app says; a run performs what follows.
    pub(super) fn tell<T>(
        &self,
        tell: impl FnOnce(&mut Trade, Timestamp, &mut ChaCha20Rng) -> Result<T, BuyError>,
    ) -> Result<T, BuyError> {
        let told = self.hand_in(tell);
        self.said.notify_one();
        told
    }

    pub(super) async fn run(&self) -> Result<PurchaseReceipt, BuyError> {
        let _alone = self.running.lock().await;
        let now = self.node.now();
        let mut run = Run { auction: None, contract: None, proven: now, look_at: now, is_answering: true };
        self.trade().start(now);
        loop {
            self.perform().await?;
            if let Some(result) = self.look(Trade::result) {
                self.forget(&run);
                return Ok(result?);
            }
            let want = self.look(Trade::want);
            if let Err(error) = self.bring(&want, &mut run).await {
                // Nobody answered this time; how long that may last is bounded below.
                if !matches!(error, BuyError::Node(NodeError::NoAgent { .. })) {
                    return Err(error);
                }
            }
            self.trade().on_time(self.node.now());
            self.perform().await?;
            if self.node.now().since(run.proven).is_some_and(|since| since >= self.settings.silence_max) {
                return Err(BuyError::Stalled(self.settings.silence_max));
            }
            if self.look(|trade| trade.want() == want && !trade.has_messages()) {
                let _ = within(self.node.runtime(), self.settings.poll, self.said.notified()).await;
            }
        }
    }

    /// Performs what waits, in order.
    async fn perform(&self) -> Result<(), BuyError> {
        loop {
            let Some(step) = self.trade().take_step() else { return Ok(()) };
            match step {
                Step::Save => {
                    let trade = self.trade();
                    rows::save(self.node.store(), trade.saved())?;
                }
                Step::Submit(body) => {
                    if let Status::Refused { reason } = self.node.submit(*body).await?.status {
                        self.trade().on_refused(reason);
                    }
                }
                Step::Tell(news) => {
                    let auction = self.look(Trade::id);
                    self.node.emit(Event::Purchase { auction, news });
                }
                Step::Fault(refused) => {
                    if let Want::Sale { agent, .. } = self.look(Trade::want) {
                        self.node.agent_failed(agent, AgentFault::Sale(refused));
                    }
                }
            }
        }
    }

    async fn bring(&self, want: &Want, run: &mut Run) -> Result<(), BuyError> {
        match want {
            Want::Auction => self.bring_auction(run).await,
            Want::Outlets(station) => {
                let outlets = self.node.outlets(station).await?;
                run.proven = self.node.now();
                self.hand_in(|trade, now, _| {
                    trade.on_outlets(outlets, now);
                    Ok(())
                })
            }
            Want::Sale { agent, contract, is_urgent } => {
                if let Some(seen) = contract.as_ref().map(|id| self.node.finished(id)).transpose()?.flatten()
                {
                    run.proven = self.node.now();
                    return self.hand_in(|trade, now, _| {
                        trade.on_contract(seen, now);
                        Ok(())
                    });
                }
                self.exchange(*agent, run).await?;
                let now = self.node.now();
                if !is_urgent && now < run.look_at {
                    return Ok(());
                }
                run.look_at = now.checked_add(self.settings.poll_calm).ok_or(BuyError::Clock)?;
                match contract {
                    Some(id) => self.bring_contract(id, run).await,
                    None => self.bring_auction(run).await,
                }
            }
            Want::Register(evse) => {
                let id = Hash::from(*evse);
                let object = match self.node.outlet_after(self.look(|trade| trade.saved().follows()))? {
                    Some(outlet) => Some(outlet),
                    None => {
                        self.node.look(&Query::Object(id), &id, Absence::Withheld, &mut None).await?.object
                    }
                };
                run.proven = self.node.now();
                let Some(Object::Evse(outlet)) = object else { return Ok(()) };
                self.hand_in(|trade, now, _| {
                    trade.on_register(&outlet, now);
                    Ok(())
                })
            }
            Want::Nothing => Ok(()),
        }
    }

    async fn bring_auction(&self, run: &mut Run) -> Result<(), BuyError> {
        let id = Hash::from(self.look(Trade::id));
        let absence = self.look(Trade::absence);
        let seen = self.node.look(&Query::Object(id), &id, absence, &mut run.auction).await?;
        run.proven = self.node.now();
        self.hand_in(|trade, now, rng| trade.on_auction(seen, now, rng))
    }

    async fn bring_contract(&self, id: &Hash, run: &mut Run) -> Result<(), BuyError> {
        let seen = self.node.look(&Query::Object(*id), id, Absence::Withheld, &mut run.contract).await?;
        run.proven = self.node.now();
        self.hand_in(|trade, now, _| {
            trade.on_contract(seen, now);
            Ok(())
        })
    }

    /// Says to the seller's agent what waits, and takes what it has to say.
    async fn exchange(&self, agent: usize, run: &mut Run) -> Result<(), BuyError> {
        let fault = match self.speak(agent).await? {
            Ok(()) => {
                run.is_answering = true;
                return Ok(());
            }
            Err(fault) => fault,
        };
        self.trade().on_unheard();
        if let AgentFault::Refused(reason) = &fault {
            self.trade().on_refused(reason.clone());
        }
        // Told once: a seller may be out of reach for hours.
        if std::mem::replace(&mut run.is_answering, false) {
            self.node.agent_failed(agent, fault);
        }
        Ok(())
    }

    async fn speak(&self, agent: usize) -> Result<Result<(), AgentFault>, BuyError> {
        let agents = self.node.agents();
        let peer = match agents.link(agent).await {
            Ok(peer) => peer,
            Err(fault) => return Ok(Err(fault)),
        };
        self.hand_in(|trade, now, rng| trade.on_linked(peer.exporter(), now, rng))?;
        // What is said has to be durable first.
        self.perform().await?;
        let (auction, messages) =
            (self.look(Trade::id), self.trade().take_messages(Query::SALE_MESSAGES_MAX));
        Ok(match agents.ask_over(agent, &peer, &Query::Sale { auction, messages }).await {
            Ok(Answer::Sale(messages)) if messages.len() <= Query::SALE_MESSAGES_MAX => {
                self.hand_in(|trade, now, _| {
                    trade.on_messages(messages, now);
                    Ok(())
                })?;
                Ok(())
            }
            Ok(Answer::Refused(reason)) => Err(AgentFault::Refused(crate::node::presentable(&reason))),
            Ok(_) => Err(AgentFault::OtherAnswer),
            Err(fault) => Err(fault),
        })
    }

    fn hand_in<T>(
        &self,
        input: impl FnOnce(&mut Trade, Timestamp, &mut ChaCha20Rng) -> Result<T, BuyError>,
    ) -> Result<T, BuyError> {
        let (now, mut rng) = (self.node.now(), self.node.draw_rng());
        input(&mut self.trade(), now, &mut rng)
    }

    /// Lets go of what only this purchase followed.
    fn forget(&self, run: &Run) {
        for (_, _, object) in run.auction.iter().chain(&run.contract) {
            // A leftover costs a row, which the replica's own bound drops.
            let _ = self.node.replica().forget_object(&object.id());
        }
    }

    /// A panic in a step leaves a trade that its saved form repairs at the next start.
    fn trade(&self) -> MutexGuard<'_, Trade> {
        self.trade.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Asks agents, in an order drawn by lot, for the object with `id` until one has proven it, or its absence is
    /// believed. What does not hold is dropped, its agent named.
    ///
    /// Errors: [`NodeError::NoAgent`] if no answer holds, and this node's own, [`ReplicaError::AnchorTooOld`] among them.
    pub(crate) async fn look(
        &self,
        query: &Query,
        id: &Hash,
        absence: Absence,
        checked: &mut Checked,
    ) -> Result<Seen, NodeError> {
        self.check_anchor(self.now())?;
        let order = self.asking_order();
        let asked = order.len();
        let mut absent: Option<Seen> = None;
        for agent in order {
            let (certified, proofs) = match self.agents().ask(agent, query).await {
                Ok(Answer::Proofs(certified, proofs)) => (*certified, proofs),
                Ok(Answer::Refused(reason)) => {
                    self.agent_failed(agent, AgentFault::Refused(crate::node::presentable(&reason)));
                    continue;
                }
                Ok(Answer::Head(None)) => {
                    self.agent_failed(agent, AgentFault::NoBlock);
                    continue;
                }
                Ok(_) => {
                    self.agent_failed(agent, AgentFault::OtherAnswer);
                    continue;
                }
                Err(fault) => {
                    self.agent_failed(agent, fault);
                    continue;
                }
            };
            match self.reach(agent, certified.0.epoch).await {
                Ok(()) => {}
                Err(Trouble::Agent(fault)) => {
                    self.agent_failed(agent, fault);
                    continue;
                }
                Err(Trouble::Own(error)) => return Err(error),
            }
            match self.check(id, certified, proofs, checked) {
                Ok(seen) if seen.object.is_some() => return Ok(seen),
                Ok(seen) => match absence {
                    Absence::Withheld => self.agent_failed(agent, AgentFault::Withheld),
                    Absence::BelievedUntil(until) if seen.time < until => return Ok(seen),
                    _ if absent.as_ref().is_none_or(|other| other.height < seen.height) => {
                        absent = Some(seen)
                    }
                    _ => {}
                },
                // An agent that is a block behind is no liar.
                Err(ReplicaError::Older { .. }) => {}
                Err(error @ (ReplicaError::Store(_) | ReplicaError::Damaged(_))) => return Err(error.into()),
                Err(error) => {
                    if let ReplicaError::Fork { one, other } = error {
                        self.emit(Event::Forked { one, other });
                    }
                    self.agent_failed(agent, AgentFault::Answer(error));
                }
            }
        }
        absent.ok_or(NodeError::NoAgent { asked })
    }

    /// Checks an answer about one object and keeps it, unless it is the one checked before.
    fn check(
        &self,
        id: &Hash,
        certified: Certified,
        proofs: Vec<Proof>,
        checked: &mut Checked,
    ) -> Result<Seen, ReplicaError> {
        let (height, time) = (certified.0.height, certified.0.time);
        let Some(proof) = proofs.into_iter().next() else {
            self.replica().store_head(&certified)?;
            return Ok(Seen { height, time, object: None });
        };
        if let Some((known, same, object)) = checked
            && (&*known, &*same) == (&certified, &proof)
        {
            return Ok(Seen { height, time, object: Some(object.clone()) });
        }
        let object = self.replica().store_object(id, &certified, &proof)?;
        *checked = Some((certified, proof, object.clone()));
        Ok(Seen { height, time, object: Some(object) })
    }

    /// What is left of the object with `id`, if this node has had it proven: it never changes again, so that nobody has to
    /// be asked or spoken with once more.
    fn finished(&self, id: &Hash) -> Result<Option<Seen>, NodeError> {
        let known = self.replica().object(id)?;
        Ok(known.filter(|(_, object)| matches!(object, Object::Finished(_))).map(|(header, object)| Seen {
            height: header.height,
            time: header.time,
            object: Some(object),
        }))
    }

    /// The outlet of a contract, if it has been proven as it was when the contract had ended, or later.
    fn outlet_after(&self, followed: Option<[Hash; 2]>) -> Result<Option<Object>, NodeError> {
        let Some([contract, outlet]) = followed else { return Ok(None) };
        let (ended, outlet) = (self.replica().object(&contract)?, self.replica().object(&outlet)?);
        let ended = ended.filter(|(_, object)| matches!(object, Object::Finished(_)));
        Ok(ended.zip(outlet).filter(|(ended, outlet)| outlet.0.height >= ended.0.height).map(|(_, (_, o))| o))
    }

    /// The outlets of a station with the numbers 1 to 8, up to the first that is missing.
    async fn outlets(&self, station: &StationId) -> Result<Vec<Evse>, NodeError> {
        let mut outlets = Vec::new();
        for number in 1..=OUTLET_NUMBER_MAX {
            let id = Hash::from(EvseId::of(station, number));
            match self.look(&Query::Object(id), &id, Absence::Doubted, &mut None).await?.object {
                Some(Object::Evse(outlet)) => outlets.push(outlet),
                _ if outlets.is_empty() => {}
                _ => break,
            }
        }
        Ok(outlets)
    }
}

/// The highest number under which an outlet is looked for.
const OUTLET_NUMBER_MAX: u16 = 8;
