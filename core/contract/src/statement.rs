//! What is signed while a contract runs: start, meter record, checkpoint, stop, release.

use crate::{Claim, Exporter, Refused, Signed, Statement, Terms};
use ohmesh_units::{Canonical, ContractId, Domain, Energy, EvseId, Signature, SigningKey, Timestamp};
use serde::{Deserialize, Serialize};

/// The buyer's order to start charging at one outlet, over one connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The contract.
    pub contract: ContractId,
    /// The outlet whose code the user confirmed.
    pub evse: EvseId,
    /// The connection over which it is sent: on any other it means nothing to a station.
    pub exporter: Exporter,
    /// When the buyer signed; what is billed without a checkpoint is bounded from here.
    pub at: Timestamp,
}

impl Statement for Start {
    const DOMAIN: Domain = Domain::new("ohmesh/1 contract start");
}

impl Canonical for Start {
    const NAME: &'static str = "contract start";
    const MAX_BYTES: usize = 107;
}

/// A start that the buyer signed for the contract's own outlet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedStart(Signed<Start>);

impl Signed<Start> {
    /// The start, if it is of this contract and outlet and signed by its buyer.
    pub fn verify(self, terms: &Terms) -> Result<VerifiedStart, Refused> {
        let claim = self.claim(terms.buyer_key);
        let verified = self.verify_after_batch(terms)?;
        hold(claim, terms, Start::NAME)?;
        Ok(verified)
    }

    /// As [`Signed::<Start>::verify`], for a caller that has checked the claim of the buyer's key in a batch.
    pub fn verify_after_batch(self, terms: &Terms) -> Result<VerifiedStart, Refused> {
        same_contract(terms, self.body.contract)?;
        same_evse(terms, self.body.evse)?;
        Ok(VerifiedStart(self))
    }
}

impl VerifiedStart {
    /// What was signed.
    pub fn start(&self) -> &Start {
        &self.0.body
    }

    /// The start with its signature.
    pub fn signed(&self) -> &Signed<Start> {
        &self.0
    }
}

/// One reading of the registered meter, numbered within the contract: a tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterRecord {
    /// The contract.
    pub contract: ContractId,
    /// The outlet.
    pub evse: EvseId,
    /// 1 for the contract's first record, then one more each.
    pub sequence: u32,
    /// The meter's lifetime register when the car was plugged in.
    pub register_start: Energy,
    /// Energy since then.
    pub energy: Energy,
    /// When the meter was read.
    pub at: Timestamp,
    /// Whether the outlet is switched off and nothing follows.
    pub is_final: bool,
}

impl MeterRecord {
    /// The meter's lifetime register at this record. The ledger refuses a contract of the same meter that starts
    /// below it, so that no energy is sold twice.
    pub fn register_end(&self) -> Option<Energy> {
        self.register_start.checked_add(self.energy)
    }
}

impl Statement for MeterRecord {
    const DOMAIN: Domain = Domain::new("ohmesh/1 meter record");
}

impl Canonical for MeterRecord {
    const NAME: &'static str = "meter record";
    const MAX_BYTES: usize = 101;
}

/// A record of the contract's outlet that its registered meter signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRecord(Signed<MeterRecord>);

impl Signed<MeterRecord> {
    /// The record, if it is of this contract and outlet and signed by its registered meter.
    pub fn verify(self, terms: &Terms) -> Result<VerifiedRecord, Refused> {
        let claim = self.claim(terms.meter_key);
        let verified = self.verify_after_batch(terms)?;
        hold(claim, terms, MeterRecord::NAME)?;
        Ok(verified)
    }

    /// As [`Signed::<MeterRecord>::verify`], for a caller that has checked the claim of the meter key in a batch.
    pub fn verify_after_batch(self, terms: &Terms) -> Result<VerifiedRecord, Refused> {
        let record = &self.body;
        same_contract(terms, record.contract)?;
        same_evse(terms, record.evse)?;
        if record.register_end().is_none() {
            return Err(Refused::Register {
                contract: record.contract,
                register_start: record.register_start,
                energy: record.energy,
            });
        }
        Ok(VerifiedRecord(self))
    }
}

impl VerifiedRecord {
    /// What was signed.
    pub fn record(&self) -> &MeterRecord {
        &self.0.body
    }

    /// The record with its signature.
    pub fn signed(&self) -> &Signed<MeterRecord> {
        &self.0
    }
}

/// A meter's record that the buyer has signed too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The record of the registered meter.
    pub record: Signed<MeterRecord>,
    /// The buyer's signature over the record's canonical bytes.
    pub signature: Signature,
}

impl Checkpoint {
    /// The buyer's signature under `record`.
    pub fn sign(record: &VerifiedRecord, buyer: &SigningKey) -> Self {
        let signature = buyer.sign(CHECKPOINT, &record.record().encode());
        Self { record: record.signed().clone(), signature }
    }

    /// The meter's and the buyer's signature, to be checked.
    pub fn claims(&self, terms: &Terms) -> [Claim; 2] {
        let message = self.record.body.encode();
        let buyer = Claim { key: terms.buyer_key, domain: CHECKPOINT, message, signature: self.signature };
        [self.record.claim(terms.meter_key), buyer]
    }

    /// The checkpoint, if its record is this contract's and both the meter and the buyer signed it.
    pub fn verify(self, terms: &Terms) -> Result<VerifiedCheckpoint, Refused> {
        let [meter, buyer] = self.claims(terms);
        let verified = self.verify_after_batch(terms)?;
        hold(meter, terms, MeterRecord::NAME)?;
        hold(buyer, terms, Checkpoint::NAME)?;
        Ok(verified)
    }

    /// As [`Checkpoint::verify`], for a caller that has checked [`Checkpoint::claims`] in a batch.
    pub fn verify_after_batch(self, terms: &Terms) -> Result<VerifiedCheckpoint, Refused> {
        let record = self.record.verify_after_batch(terms)?;
        Ok(VerifiedCheckpoint { record, signature: self.signature })
    }
}

impl Canonical for Checkpoint {
    const NAME: &'static str = "contract checkpoint";
    const MAX_BYTES: usize = MeterRecord::MAX_BYTES + 128;
}

/// A record of the contract's outlet that its meter and its buyer signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    record: VerifiedRecord,
    signature: Signature,
}

impl VerifiedCheckpoint {
    /// What both signed.
    pub fn record(&self) -> &MeterRecord {
        self.record.record()
    }

    /// The checkpoint with its signatures.
    pub fn signed(&self) -> Checkpoint {
        Checkpoint { record: self.record.signed().clone(), signature: self.signature }
    }
}

/// One side's notice that charging ends, signed by that side's contract key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The contract.
    pub contract: ContractId,
    /// Why.
    pub reason: StopReason,
    /// When it was signed.
    pub at: Timestamp,
}

impl Statement for Stop {
    const DOMAIN: Domain = Domain::new("ohmesh/1 contract stop");
}

impl Canonical for Stop {
    const NAME: &'static str = "contract stop";
    const MAX_BYTES: usize = 44;
}

impl Signed<Stop> {
    /// Refuses a stop of another contract or another key than `key`, the sender's.
    pub(crate) fn check(&self, terms: &Terms, key: ohmesh_units::PublicKey) -> Result<(), Refused> {
        same_contract(terms, self.body.contract)?;
        hold(self.claim(key), terms, Stop::NAME)
    }
}

/// Why charging stops. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopReason {
    /// The driver stops, on the phone.
    Driver,
    /// The operator stops, or the charger reports a fault.
    Operator,
    /// The cable was unplugged.
    Unplugged,
    /// All the energy of the contract was delivered.
    EnergyMax,
    /// The contract is about to expire.
    ChargeUntil,
    /// The car or the station suspended the flow for too long.
    Pause,
    /// The register of the meter went down.
    MeterRanBackwards,
    /// A record counts from another register than the records before it.
    RegisterChanged,
    /// The car's meter and the station's differ by more than the tolerance.
    MetersDiffer,
    /// A record says more than the outlet's rated power can deliver.
    AboveRatedPower,
}

/// The seller's waiver: the contract is void and the whole escrow goes back, before anything was charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The contract.
    pub contract: ContractId,
    /// When it was signed.
    pub at: Timestamp,
}

impl Statement for Release {
    const DOMAIN: Domain = Domain::new("ohmesh/1 contract release");
}

impl Canonical for Release {
    const NAME: &'static str = "contract release";
    const MAX_BYTES: usize = 43;
}

/// A release of the contract that its seller signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedRelease(Signed<Release>);

impl Signed<Release> {
    /// The release, if it is of this contract and signed by its seller.
    pub fn verify(self, terms: &Terms) -> Result<VerifiedRelease, Refused> {
        let claim = self.claim(terms.seller_key);
        let verified = self.verify_after_batch(terms)?;
        hold(claim, terms, Release::NAME)?;
        Ok(verified)
    }

    /// As [`Signed::<Release>::verify`], for a caller that has checked the claim of the seller's key in a batch.
    pub fn verify_after_batch(self, terms: &Terms) -> Result<VerifiedRelease, Refused> {
        same_contract(terms, self.body.contract)?;
        Ok(VerifiedRelease(self))
    }
}

impl VerifiedRelease {
    /// The release with its signature.
    pub fn signed(&self) -> &Signed<Release> {
        &self.0
    }
}

/// All that settles a contract: what the seller keeps durable from the start on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The buyer's start.
    pub start: Signed<Start>,
    /// The meter's last record.
    pub record: Signed<MeterRecord>,
    /// The newest record that the buyer signed too, if there is one.
    pub checkpoint: Option<Checkpoint>,
}

impl Canonical for Evidence {
    const NAME: &'static str = "contract evidence";
    const MAX_BYTES: usize = Start::MAX_BYTES + 2 * MeterRecord::MAX_BYTES + 4 * 64;
}

fn hold(claim: Claim, terms: &Terms, what: &'static str) -> Result<(), Refused> {
    if claim.holds() {
        Ok(())
    } else {
        Err(Refused::Signature { contract: terms.id(), what, key: claim.key })
    }
}

fn same_contract(terms: &Terms, found: ContractId) -> Result<(), Refused> {
    let expected = terms.id();
    if found == expected { Ok(()) } else { Err(Refused::AnotherContract { expected, found }) }
}

pub(crate) fn same_evse(terms: &Terms, found: EvseId) -> Result<(), Refused> {
    let expected = terms.evse;
    if found == expected { Ok(()) } else { Err(Refused::AnotherEvse { expected, found }) }
}

const CHECKPOINT: Domain = Domain::new("ohmesh/1 contract checkpoint");
