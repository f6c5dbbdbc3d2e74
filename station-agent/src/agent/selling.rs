//! The seller that this agent hosts: it sees every block, answers buyers, and speaks to chargers through the daemon.

use super::{Agent, AgentError, AgentTimer, Effect};
use crate::{
    disk::Disk,
    record_log::LogError,
    seller::{self, Seller, Setup},
};
use ohmesh_contract::Message;
use ohmesh_ledger::Body;
use ohmesh_units::Timestamp;

impl<D: Disk> Agent<D> {
    /// Opens the seller from its snapshot, and shows it the blocks it has not seen.
    pub(super) fn open_seller(&mut self, now: Timestamp, setup: Setup) -> Result<(), AgentError> {
        let failed = |error| LogError::Disk { file: SNAPSHOT, error };
        let snapshot = Some(self.disk.read(SNAPSHOT).map_err(failed)?).filter(|bytes| !bytes.is_empty());
        let (seller, effects) = Seller::open(setup, &self.state, snapshot.as_deref(), now)?;
        let missed = seller.height() + 1..=self.state.head().height;
        self.seller = Some(seller);
        self.perform_sales(now, effects)?;
        self.tell_what_the_seller_missed();
        for height in missed {
            let block = self.blocks.block(&self.disk, &self.kept, height)?;
            let Some((bytes, _)) = block else { continue };
            let (block, _) = ohmesh_ledger::open_block(&self.state, &bytes).map_err(AgentError::Diverged)?;
            self.show_block(now, &block)?;
        }
        Ok(())
    }

    /// Says which blocks the seller will never see, if there are any: they were cut off, or skipped by a snapshot. What
    /// they did to auctions, contracts and holds it still finds in the state; bids that it might have made are lost.
    pub(super) fn tell_what_the_seller_missed(&mut self) {
        let Some(seller) = &self.seller else { return };
        let (from, first) =
            (seller.height() + 1, self.kept.closed.first().map_or(self.kept.open, |one| one.first));
        if from < first {
            self.effects.push(Effect::Warning(super::Warning::SellerMissed { from, to: first - 1 }));
        }
    }

    /// Shows the seller a decided block.
    pub(super) fn show_block(
        &mut self,
        now: Timestamp,
        block: &ohmesh_ledger::Block,
    ) -> Result<(), AgentError> {
        let Some(seller) = &mut self.seller else { return Ok(()) };
        let effects = seller.handle(now, seller::Input::Block { block, state: &self.state });
        self.perform_sales(now, effects).map(drop)
    }

    /// Tells the seller what happened; gives what it answers, if it was asked.
    pub(super) fn tell_seller(
        &mut self,
        now: Timestamp,
        input: seller::Input<'_>,
    ) -> Result<Option<Vec<Message>>, AgentError> {
        let Some(seller) = &mut self.seller else { return Ok(None) };
        let effects = seller.handle(now, input);
        self.perform_sales(now, effects)
    }

    fn perform_sales(
        &mut self,
        now: Timestamp,
        effects: Vec<seller::Effect>,
    ) -> Result<Option<Vec<Message>>, AgentError> {
        let mut answer = None;
        for effect in effects {
            match effect {
                seller::Effect::Persist(bytes) => {
                    let failed = |error| LogError::Disk { file: SNAPSHOT, error };
                    self.disk.replace(SNAPSHOT, &bytes).map_err(failed)?;
                }
                seller::Effect::Submit(body) => self.submit_own(now, vec![*body]),
                seller::Effect::Reply(messages) => answer = Some(messages),
                seller::Effect::Command { charger, command, tag } => {
                    self.effects.push(Effect::Charger { charger, command: Box::new(command), tag });
                }
                seller::Effect::SetTimer(timer, wait) => {
                    self.effects.push(Effect::SetTimer(AgentTimer::Seller(timer), wait));
                }
                seller::Effect::Note(event) => self.effects.push(Effect::Sale(Box::new(event))),
            }
        }
        Ok(answer)
    }

    /// Signs transactions of this agent's own, takes them for a block and passes them on. One that cannot apply now is
    /// dropped: whoever owes it looks again after the next block.
    pub(super) fn submit_own(&mut self, now: Timestamp, bodies: Vec<Body>) {
        let now = now.max(self.state.head().time);
        for body in bodies {
            let signed = self.signer.sign(now, body);
            self.submit_signed(now, signed);
        }
    }

    /// Takes a transaction that this agent has just signed.
    pub(super) fn submit_signed(&mut self, now: Timestamp, signed: ohmesh_ledger::SignedTransaction) {
        let verified = ohmesh_ledger::Verified::one(self.state.zone_id(), signed);
        let verified = verified.expect("signed just now for this zone");
        let tried = self.state.try_transaction(now, &verified);
        if self.admit(now, verified.clone(), &tried) {
            self.pass_on(&[verified]);
        }
    }
}

/// The file of the seller's newest snapshot.
const SNAPSHOT: &str = "seller.snapshot";
