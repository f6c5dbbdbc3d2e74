//! What the phone and the station send to each other over their connection.

use crate::{Agreement, Checkpoint, MeterRecord, Offer, Release, Signed, Start, Stop, Terms};
use ohmesh_units::{Canonical, ContractId, EvseId};
use serde::{Deserialize, Serialize};

/// One message. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Buyer: the terms it wants signed.
    Draft(Box<Terms>),
    /// Seller: the same terms, signed.
    Offer(Box<Offer>),
    /// Buyer: the offer, signed.
    Agreement(Box<Agreement>),
    /// Seller: a car was plugged in at the outlet after the agreement.
    Armed {
        /// The contract.
        contract: ContractId,
        /// The outlet.
        evse: EvseId,
    },
    /// Buyer: start charging.
    Start(Signed<Start>),
    /// Seller: a tick, or the last record.
    Record(Signed<MeterRecord>),
    /// Buyer: a record, signed.
    Checkpoint(Checkpoint),
    /// Either: charging ends.
    Stop(Signed<Stop>),
    /// Seller: the contract is waived.
    Release(Signed<Release>),
}

impl Message {
    /// The name of the message, for refusals and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draft(_) => "draft",
            Self::Offer(_) => "offer",
            Self::Agreement(_) => "agreement",
            Self::Armed { .. } => "armed",
            Self::Start(_) => "start",
            Self::Record(_) => "record",
            Self::Checkpoint(_) => "checkpoint",
            Self::Stop(_) => "stop",
            Self::Release(_) => "release",
        }
    }
}

impl Canonical for Message {
    const NAME: &'static str = "contract message";
    const MAX_BYTES: usize = Agreement::MAX_BYTES + 1;
}
