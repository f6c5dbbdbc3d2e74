//! Signed statements: a body, and a signature over its canonical bytes in the statement's own domain.

use ohmesh_units::{Canonical, Domain, PublicKey, Signature, SignatureCheck, SigningKey};
use serde::{Deserialize, Serialize};

/// A body that somebody signs. Its domain keeps a signature from meaning anything elsewhere.
pub trait Statement: Canonical {
    /// The domain of the signature.
    const DOMAIN: Domain;
}

/// A statement with a signature that has not been checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<T> {
    /// What is stated.
    pub body: T,
    /// The signature over `body`'s canonical bytes in its domain.
    pub signature: Signature,
}

impl<T: Statement> Signed<T> {
    /// Signs `body` with `key`.
    pub fn new(body: T, key: &SigningKey) -> Self {
        let signature = key.sign(T::DOMAIN, &body.encode());
        Self { body, signature }
    }

    /// What has to be checked for this to be a statement of `key`.
    pub fn claim(&self, key: PublicKey) -> Claim {
        Claim { key, domain: T::DOMAIN, message: self.body.encode(), signature: self.signature }
    }
}

impl<T: Statement> Canonical for Signed<T> {
    const NAME: &'static str = T::NAME;
    const MAX_BYTES: usize = T::MAX_BYTES + 64;
}

/// One signature that is claimed and not yet checked, so that a block's signatures can be checked together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// In which domain.
    pub domain: Domain,
    /// What is said to have been signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

impl Claim {
    /// Whether the signature is the key's, by ZIP-215.
    pub fn holds(&self) -> bool {
        self.key.verify(self.domain, &self.message, &self.signature)
    }

    /// This claim as one of many for [`ohmesh_units::verify_batch`].
    pub fn as_check(&self) -> SignatureCheck<'_> {
        SignatureCheck {
            key: self.key,
            domain: self.domain,
            message: &self.message,
            signature: self.signature,
        }
    }
}
