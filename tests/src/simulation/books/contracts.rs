//! Contracts: forward only, one end (I5); what is paid is the price and the tariff of the energy (I7), never more
//! than was contracted (I10).

use super::{Books, Read, breach, cost, money::Paid, must, unknown};
use ohmesh_contract::{Agreement, MeterRecord, State as ContractState, Terms};
use ohmesh_ledger::{Asset, Body, End, Object, SignedTransaction, State};
use ohmesh_units::{ContractId, Energy, Hash, Timestamp};
use std::time::Duration;

/// One contract.
pub(super) struct ContractBook {
    terms: Terms,
    /// The how manieth contract of the zone it is.
    order: usize,
    stage: Stage,
    /// When its stage is over.
    deadline: Timestamp,
    started: Option<Timestamp>,
    claim: Energy,
}

/// Where a contract stands; never further back than before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    Agreed,
    Charging,
    Claimed,
    Disputed,
    Ended(EndBook),
}

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum EndBook {
    Paid,
    Waived,
    Expired,
}

impl ContractBook {
    /// I5: from one of `from`, forward, and never from an end.
    fn go(&mut self, from: &[Stage], to: Stage) -> Read {
        let (id, stage) = (self.terms.id(), self.stage);
        let forward = from.contains(&stage) && stage <= to && !matches!(stage, Stage::Ended(_));
        must(forward, "I5", || format!("contract {id} goes from {stage:?} to {to:?}"))?;
        self.stage = to;
        Ok(())
    }
}

impl Books {
    pub(super) fn contract(&mut self, signed: &SignedTransaction) -> Read {
        let transaction = &signed.transaction;
        let (now, sender) = (self.now, transaction.sender);
        match &transaction.body {
            Body::ContractOpen(agreement) => self.open_contract(agreement),
            Body::ContractStart(start) => {
                let contract = self.live(start.body.contract)?;
                contract.started = Some(start.body.at);
                contract.go(&[Stage::Agreed], Stage::Charging)
            }
            Body::ContractSettle { record, start, checkpoint } => {
                let contract = self.live(record.body.contract)?;
                if let (Stage::Agreed, Some(start)) = (contract.stage, start) {
                    contract.started = Some(start.body.at);
                    contract.go(&[Stage::Agreed], Stage::Charging)?;
                }
                self.settle(&record.body, checkpoint.as_ref().map(|checkpoint| &checkpoint.record.body))
            }
            Body::ContractWaive(waiver) => {
                let id = waiver.body.contract;
                let contract = self.live(id)?;
                must(contract.terms.seller == sender, "I5", || format!("{sender} waives {id}"))?;
                self.give_back(id, &[Stage::Agreed], EndBook::Waived)
            }
            Body::ContractDispute { contract: id } => {
                let contract = self.live(*id)?;
                must(contract.terms.buyer == sender, "I5", || format!("{sender} disputes {id}"))?;
                contract.go(&[Stage::Claimed], Stage::Disputed)?;
                contract.deadline = now.checked_add(DISPUTE).expect("a time of this century");
                self.counts.disputed += 1;
                Ok(())
            }
            Body::ContractLower { contract: id, energy } => {
                let contract = self.live(*id)?;
                let (stage, claim) = (contract.stage, contract.claim);
                must(contract.terms.seller == sender, "I5", || format!("{sender} lowers {id}"))?;
                must(*energy < claim, "I10", || format!("a claim of {claim} is raised to {energy}"))?;
                contract.claim = *energy;
                contract.go(&[Stage::Claimed, Stage::Disputed], stage)
            }
            Body::ContractResolve { contract, energy } => self.resolve(signed, *contract, *energy),
            other => breach("books", format!("{other:?} is no part of a contract")),
        }
    }

    /// The contract whose time is not over.
    fn live(&mut self, id: ContractId) -> Read<&mut ContractBook> {
        let now = self.now;
        let contract = self.contracts.get_mut(&id).ok_or_else(|| unknown("contract", &id))?;
        let (stage, deadline) = (contract.stage, contract.deadline);
        let is_live = !matches!(stage, Stage::Ended(_)) && now < deadline;
        must(is_live, "I5", || format!("contract {id} goes on at {now}, being {stage:?} until {deadline}"))?;
        Ok(contract)
    }

    /// It is what the auction awarded, at the tariff of today.
    fn open_contract(&mut self, agreement: &Agreement) -> Read {
        let terms = agreement.offer.terms.clone();
        let (id, tariff) = (terms.id(), self.tariff());
        let order = self.contracts.len();
        let auction = self.running(terms.auction)?;
        let award = auction.award.as_ref().filter(|award| award.is_accepted);
        let award = award.ok_or_else(|| unknown("accepted award of auction", &terms.auction))?;
        let most = auction.intent().terms().energy.energy();
        let fits = terms.buyer == auction.buyer
            && terms.buyer_key == auction.intent().terms().buyer
            && terms.seller == award.seller
            && terms.price == award.price
            && terms.energy_max <= most
            && terms.escrow.as_micro() >= cost(terms.price, terms.energy_max);
        must(fits, "I8", || format!("contract {id} is not what auction {} awarded", terms.auction))?;
        must(terms.grid.price == tariff, "I7", || {
            format!("contract {id} pays another tariff than {tariff}")
        })?;
        auction.end = Some(End::Contracted(id));
        self.lock(Asset::Currency, terms.buyer, terms.escrow.as_micro())?;
        let (stage, deadline) = (Stage::Agreed, terms.expiry);
        let book = ContractBook { terms, order, stage, deadline, started: None, claim: Energy::ZERO };
        let before = self.contracts.insert(id, book);
        must(before.is_none(), "I5", || format!("contract {id} is opened twice"))
    }

    fn settle(&mut self, record: &MeterRecord, checkpoint: Option<&MeterRecord>) -> Read {
        let (now, id) = (self.now, record.contract);
        let contract = self.live(id)?;
        let (evse, meter) = (contract.terms.evse, contract.terms.meter_key);
        if checkpoint == Some(record) {
            contract.go(&[Stage::Charging], Stage::Charging)?;
            self.sell_register(&evse, meter, record.register_start, record.energy)?;
            return self.pay_contract(id, record.energy);
        }
        // Without the buyer's word at most what the outlet can give in the time since it last had one.
        let started = contract.started.ok_or_else(|| unknown("start of contract", &id))?;
        let (signed, since) = checkpoint.map_or((0, started), |last| (last.energy.as_wh(), last.at));
        let ms = record.at.min(now).as_millis().saturating_sub(since.as_millis());
        let most = signed + u64::from(contract.terms.power_rated.as_w()) * ms / 3_600_000;
        let claim = record.energy.as_wh().min(most).min(contract.terms.energy_max.as_wh());
        contract.claim = Energy::from_wh(claim);
        contract.go(&[Stage::Charging], Stage::Claimed)?;
        contract.deadline = now.checked_add(CHALLENGE).expect("a time of this century");
        self.sell_register(&evse, meter, record.register_start, record.energy)
    }

    fn resolve(&mut self, signed: &SignedTransaction, id: ContractId, energy: Energy) -> Read {
        let contract = self.live(id)?;
        let (stage, claim) = (contract.stage, contract.claim);
        let parties = [contract.terms.buyer, contract.terms.seller];
        let has_signed = |key| signed.signatures.iter().any(|signature| signature.key == key);
        let agreed =
            parties.iter().all(|party| self.owners.get(party).is_some_and(|owner| has_signed(*owner)));
        let decided = stage == Stage::Disputed
            && self.zone.regulators.as_ref().is_some_and(|group| {
                let found = group.keys.iter().filter(|key| has_signed(**key)).count();
                found >= usize::from(group.threshold)
            });
        must(agreed || decided, "I5", || format!("nobody who may has resolved {id}"))?;
        must(energy <= claim, "I10", || format!("{energy} are found, {claim} were claimed"))?;
        self.live(id)?.go(&[Stage::Claimed, Stage::Disputed], stage)?;
        self.counts.resolved += 1;
        self.pay_contract(id, energy)
    }

    /// Pays what was found, and gives the rest of the escrow back.
    fn pay_contract(&mut self, id: ContractId, energy: Energy) -> Read {
        let contract = self.contracts.get_mut(&id).ok_or_else(|| unknown("contract", &id))?;
        let terms = contract.terms.clone();
        let energy = energy.min(terms.energy_max);
        contract.go(&[Stage::Charging, Stage::Claimed, Stage::Disputed], Stage::Ended(EndBook::Paid))?;
        self.counts.paid += 1;
        let (price, fee) = (cost(terms.price, energy), cost(terms.grid.price, energy));
        self.unlock(Asset::Currency, terms.buyer, terms.escrow.as_micro())?;
        self.sell(&Paid { buyer: terms.buyer, seller: terms.seller, energy, price, fee })
    }

    fn give_back(&mut self, id: ContractId, from: &[Stage], end: EndBook) -> Read {
        let contract = self.contracts.get_mut(&id).ok_or_else(|| unknown("contract", &id))?;
        contract.go(from, Stage::Ended(end))?;
        let (buyer, escrow) = (contract.terms.buyer, contract.terms.escrow.as_micro());
        self.counts.lapsed += 1;
        self.unlock(Asset::Currency, buyer, escrow)
    }

    /// Claims are paid when their time is over; what was never claimed goes back.
    pub(super) fn end_contracts(&mut self) -> Read {
        let now = self.now;
        let over = |book: &ContractBook| !matches!(book.stage, Stage::Ended(_)) && book.deadline <= now;
        let mut over: Vec<_> = self
            .contracts
            .iter()
            .filter(|(_, book)| over(book))
            .map(|(id, book)| (book.deadline, book.order, *id, book.stage, book.claim))
            .collect();
        over.sort();
        for (_, _, id, stage, claim) in over {
            match stage {
                Stage::Claimed | Stage::Disputed => self.pay_contract(id, claim)?,
                _ => self.give_back(id, &[Stage::Agreed, Stage::Charging], EndBook::Expired)?,
            }
        }
        Ok(())
    }

    pub(super) fn compare_contracts(&self, state: &State) -> Read {
        for (id, book) in &self.contracts {
            let same = match (state.object(&Hash::from(*id)), book.stage) {
                (Some((_, Object::Finished(finished))), Stage::Ended(end)) => finished.end == ledger_end(end),
                (Some((_, Object::Contract(contract))), stage) => {
                    let claim = contract.claim().map_or(Energy::ZERO, |bill| bill.energy);
                    ledger_state(stage) == Some(contract.state())
                        && contract.deadline() == book.deadline
                        && claim == book.claim
                }
                _ => false,
            };
            must(same, "I5", || {
                format!("an agent's contract {id} is not {:?} as in the blocks", book.stage)
            })?;
        }
        Ok(())
    }
}

fn ledger_end(end: EndBook) -> End {
    match end {
        EndBook::Paid => End::Posted,
        EndBook::Waived => End::Voided,
        EndBook::Expired => End::Expired,
    }
}

fn ledger_state(stage: Stage) -> Option<ContractState> {
    match stage {
        Stage::Agreed => Some(ContractState::Agreed),
        Stage::Charging => Some(ContractState::Charging),
        Stage::Claimed => Some(ContractState::Submitted),
        Stage::Disputed => Some(ContractState::Disputed),
        Stage::Ended(_) => None,
    }
}

/// How long a claim may be disputed, and a dispute be decided.
const CHALLENGE: Duration = Duration::from_secs(24 * 3600);
const DISPUTE: Duration = Duration::from_secs(7 * 24 * 3600);
