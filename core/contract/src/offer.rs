//! Offer and agreement: the seller signs first, and the buyer signs what the seller has signed.

use crate::{Claim, Refused, Terms};
use ohmesh_units::{Canonical, ContractId, Domain, Signature, SigningKey, Timestamp};
use serde::{Deserialize, Serialize};

/// The keying material that both ends of one TLS connection export under [`EXPORTER_LABEL`] (RFC 8446, 7.5): equal
/// on both ends, different on every other connection.
pub type Exporter = [u8; 32];

/// The exporter of an offer that was made on the ledger: of no connection.
pub const NO_EXPORTER: Exporter = [0; 32];

/// Terms that the seller has signed for one connection and a short time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What is offered.
    pub terms: Terms,
    /// The connection on which it is offered.
    pub exporter: Exporter,
    /// The first moment at which the ledger no longer opens it.
    pub valid_until: Timestamp,
    /// The seller's signature over contract id, exporter and `valid_until`.
    pub signature: Signature,
}

impl Offer {
    /// Signs `terms` with the seller's key.
    pub fn sign(terms: Terms, exporter: Exporter, valid_until: Timestamp, seller: &SigningKey) -> Self {
        let signature = seller.sign(OFFER, &offer_bytes(&terms.id(), &exporter, valid_until));
        Self { terms, exporter, valid_until, signature }
    }

    /// The seller's signature, to be checked.
    pub fn claim(&self) -> Claim {
        Claim {
            key: self.terms.seller_key,
            domain: OFFER,
            message: offer_bytes(&self.terms.id(), &self.exporter, self.valid_until),
            signature: self.signature,
        }
    }

    /// The offer, if its terms can be a contract and the seller signed it.
    pub fn verify(self) -> Result<VerifiedOffer, Refused> {
        let claim = self.claim();
        let verified = self.verify_after_batch()?;
        if !claim.holds() {
            return Err(Refused::Signature { contract: verified.id, what: Offer::NAME, key: claim.key });
        }
        Ok(verified)
    }

    /// As [`Offer::verify`], for a caller that has checked [`Offer::claim`] in a batch.
    pub fn verify_after_batch(self) -> Result<VerifiedOffer, Refused> {
        let contract = self.terms.id();
        self.terms.check().map_err(|error| Refused::Terms { contract, error })?;
        Ok(VerifiedOffer { id: contract, offer: self })
    }
}

impl Canonical for Offer {
    const NAME: &'static str = "contract offer";
    const MAX_BYTES: usize = Terms::MAX_BYTES + 32 + 10 + 64;
}

/// An offer whose terms can be a contract and whose signature is the seller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOffer {
    id: ContractId,
    offer: Offer,
}

impl VerifiedOffer {
    /// The contract's id.
    pub fn id(&self) -> ContractId {
        self.id
    }

    /// The offer.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// The buyer's signature under it.
    pub fn agree(self, buyer: &SigningKey) -> Agreement {
        let signature = buyer.sign(AGREEMENT, &agreement_bytes(&self.id, &self.offer.signature));
        Agreement { offer: self.offer, signature }
    }
}

/// An offer that the buyer has signed too. Two signed agreements on the same terms are one contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// What the seller offered.
    pub offer: Offer,
    /// The buyer's signature over the contract id and the seller's signature, so that it cannot be made first.
    pub signature: Signature,
}

impl Agreement {
    /// The seller's and the buyer's signature, to be checked.
    pub fn claims(&self) -> [Claim; 2] {
        let terms = &self.offer.terms;
        let buyer = Claim {
            key: terms.buyer_key,
            domain: AGREEMENT,
            message: agreement_bytes(&terms.id(), &self.offer.signature),
            signature: self.signature,
        };
        [self.offer.claim(), buyer]
    }

    /// The agreement, if its terms can be a contract and both have signed, the seller first.
    pub fn verify(self) -> Result<VerifiedAgreement, Refused> {
        let [_, buyer] = self.claims();
        let VerifiedOffer { id, offer } = self.offer.verify()?;
        if !buyer.holds() {
            return Err(Refused::Signature { contract: id, what: Agreement::NAME, key: buyer.key });
        }
        Ok(VerifiedAgreement { id, agreement: Agreement { offer, signature: self.signature } })
    }

    /// As [`Agreement::verify`], for a caller that has checked [`Agreement::claims`] in a batch.
    pub fn verify_after_batch(self) -> Result<VerifiedAgreement, Refused> {
        let VerifiedOffer { id, offer } = self.offer.verify_after_batch()?;
        Ok(VerifiedAgreement { id, agreement: Agreement { offer, signature: self.signature } })
    }
}

impl Canonical for Agreement {
    const NAME: &'static str = "contract agreement";
    const MAX_BYTES: usize = Offer::MAX_BYTES + 64;
}

/// An agreement whose terms can be a contract and that both sides have signed, the seller first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedAgreement {
    id: ContractId,
    agreement: Agreement,
}

impl VerifiedAgreement {
    /// The contract's id.
    pub fn id(&self) -> ContractId {
        self.id
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.agreement.offer.terms
    }

    /// The agreement as it was signed.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }
}

fn offer_bytes(id: &ContractId, exporter: &Exporter, valid_until: Timestamp) -> Vec<u8> {
    [&id.0[..], exporter, &valid_until.as_millis().to_be_bytes()].concat()
}

fn agreement_bytes(id: &ContractId, seller: &Signature) -> Vec<u8> {
    [&id.0[..], &seller.to_bytes()].concat()
}

/// The label under which both ends export the keying material of their connection.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-ohmesh-contract";

const OFFER: Domain = Domain::new("ohmesh/1 contract offer");
const AGREEMENT: Domain = Domain::new("ohmesh/1 contract agreement");
