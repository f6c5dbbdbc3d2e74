//! The one thing of an epoch that everybody has to see: its last header, which names the voters of the next.

use crate::{Certificate, Header, LedgerError, Voters};
use ohmesh_units::{Canonical, ZoneId};
use serde::{Deserialize, Serialize};

/// How the zone passed from the voters of one epoch to those of the next: the certified last header of the epoch, and the
/// voters whose hash it carries. Whoever trusts the former can trust the latter, and needs no block in between.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    /// The last header of its epoch.
    pub header: Header,
    /// Its certificate, by the voters of its epoch.
    pub certificate: Certificate,
    /// The voters of the next epoch.
    pub voters: Voters,
}

impl HandOver {
    /// The epoch that begins.
    pub fn epoch(&self) -> u64 {
        self.header.epoch.saturating_add(1)
    }

    /// Checks it against the voters of the epoch that ends, and gives those of the epoch that begins.
    pub fn verify(&self, zone: &ZoneId, epoch: u64, voters: &Voters) -> Result<&Voters, LedgerError> {
        let bad = |reason: String| LedgerError::HandOver { epoch, reason };
        if self.header.epoch != epoch {
            return Err(bad(format!("it ends epoch {}", self.header.epoch)));
        }
        self.certificate.verify_header(&self.header, zone, voters)?;
        match self.header.next_voters {
            None => Err(bad("its header is not the last of its epoch".into())),
            Some(next) if next != self.voters.hash() => Err(bad("its header names other voters".into())),
            Some(_) => Ok(&self.voters),
        }
    }
}

impl Canonical for HandOver {
    const NAME: &'static str = "hand-over";
    const MAX_BYTES: usize = Header::MAX_BYTES + Certificate::MAX_BYTES + Voters::MAX_BYTES + 16;
}
