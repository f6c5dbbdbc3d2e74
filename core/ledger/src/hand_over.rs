//! The one thing of an epoch that everybody has to see: its last header, which names the voters of the next. And where a
//! phone begins to follow: an anchor.
//!
//! ```text
//!   Anchor (genesis, or a recent one) --follow(HandOver)--> Anchor --follow--> ... --> the voters of the newest header
//! ```
//!
//! Cost: a hand-over of 4 validators has about 0.8 kB, one of 32 about 3 kB; following it checks one certificate.

use crate::{Certificate, Header, LedgerError, Voters, Zone};
use ohmesh_units::{Canonical, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

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
    /// Hand-overs in one answer at most: three weeks of daily epochs, and a few changes of validators.
    pub const ANSWER_MAX: usize = 32;

    /// The epoch that begins.
    pub fn epoch(&self) -> u64 {
        self.header.epoch.saturating_add(1)
    }

    /// Checks it against the voters of the epoch that ends, and gives those of the epoch that begins.
    pub fn verify(&self, zone: &ZoneId, epoch: u64, voters: &Voters) -> Result<&Voters, LedgerError> {
        self.check(zone, epoch, voters).map_err(|error| match error {
            HandOverError::Certificate(error) => error,
            other => LedgerError::HandOver { epoch, reason: other.to_string() },
        })
    }

    fn check(&self, zone: &ZoneId, epoch: u64, voters: &Voters) -> Result<&Voters, HandOverError> {
        let Header { height, zone: found, epoch: ends, next_voters, .. } = &self.header;
        if found != zone {
            return Err(HandOverError::OtherZone { expected: *zone, found: *found });
        }
        if *ends != epoch {
            return Err(HandOverError::OtherEpoch { expected: epoch, found: *ends });
        }
        self.certificate.verify_header(&self.header, zone, voters)?;
        match next_voters {
            None => Err(HandOverError::NotLast { epoch, height: *height }),
            Some(next) if *next != self.voters.hash() => {
                Err(HandOverError::OtherVoters { epoch, height: *height })
            }
            Some(_) => Ok(&self.voters),
        }
    }
}

impl Canonical for HandOver {
    const NAME: &'static str = "hand-over";
    const MAX_BYTES: usize = Header::MAX_BYTES + Certificate::MAX_BYTES + Voters::MAX_BYTES + 16;
}

/// Why a hand-over does not lead from one epoch to the next.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandOverError {
    /// It is of another zone.
    #[error("it is of zone {found}, not of {expected}")]
    OtherZone {
        /// The zone that is followed.
        expected: ZoneId,
        /// The zone it is of.
        found: ZoneId,
    },
    /// It ends another epoch: it comes too early, too late, or once more.
    #[error("it ends epoch {found}, not {expected}")]
    OtherEpoch {
        /// The epoch that has to end.
        expected: u64,
        /// The epoch it ends.
        found: u64,
    },
    /// Its header ends no epoch.
    #[error("the header of height {height} is not the last of epoch {epoch}")]
    NotLast {
        /// The epoch.
        epoch: u64,
        /// The height.
        height: u64,
    },
    /// Its voters are not those whose hash the header carries.
    #[error("the header of height {height}, the last of epoch {epoch}, names other voters")]
    OtherVoters {
        /// The epoch that ends.
        epoch: u64,
        /// The height.
        height: u64,
    },
    /// Its height or time is not after where its epoch began.
    #[error(
        "it ends epoch {epoch} at height {height}, {time}, which is not after {from_height}, {from_time}"
    )]
    Backwards {
        /// The epoch that ends.
        epoch: u64,
        /// The height of its header.
        height: u64,
        /// The time of its header.
        time: Timestamp,
        /// The height that is trusted already.
        from_height: u64,
        /// The time that is trusted already.
        from_time: Timestamp,
    },
    /// Its certificate does not hold: a signature is wrong, or the signers have too little stake.
    #[error(transparent)]
    Certificate(#[from] LedgerError),
}

/// A place in the history of a zone from which somebody follows it: who votes there, and from which height and time on
/// nothing older is believed.
///
/// Old vote keys are worth nothing to whoever holds a younger anchor: a history signed with them branches off before it.
/// That is why an anchor ages. Past [`Anchor::AGE_MAX`] those who signed back then may have taken their bonds away
/// ([`Rules::UNBONDING`](crate::Rules::UNBONDING) is a week longer), and lose nothing by signing once more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The zone.
    pub zone: ZoneId,
    /// The epoch.
    pub epoch: u64,
    /// Who votes in it.
    pub voters: Voters,
    /// A height that is final: of this epoch, or the last of the epoch before.
    pub height: u64,
    /// Ledger time there.
    pub time: Timestamp,
}

impl Anchor {
    /// How old what is trusted may be; older means to anchor again.
    pub const AGE_MAX: Duration = Duration::from_secs(21 * 24 * 3600);

    /// The beginning of a zone.
    pub fn genesis(zone: &Zone) -> Self {
        let voters = zone.validators.voters().clone();
        Self { zone: zone.id(), epoch: 0, voters, height: 0, time: zone.created }
    }

    /// Where `head`, which these voters have certified, stands in the history.
    ///
    /// Errors: [`LedgerError::Certificate`] if they have not.
    pub fn at((header, certificate): &(Header, Certificate), voters: &Voters) -> Result<Self, LedgerError> {
        certificate.verify_header(header, &header.zone, voters)?;
        let Header { zone, epoch, height, time, .. } = *header;
        Ok(Self { zone, epoch, voters: voters.clone(), height, time })
    }

    /// What two that do not know of each other say together: the older of their words, if they name the same voters of
    /// the same epoch.
    pub fn agreed(one: &Self, other: &Self) -> Option<Self> {
        let is_same = (one.zone, one.epoch, &one.voters) == (other.zone, other.epoch, &other.voters);
        let older = if one.height <= other.height { one } else { other };
        is_same.then(|| older.clone())
    }

    /// The anchor in the next epoch, to which `hand_over` passes.
    pub fn follow(&self, hand_over: &HandOver) -> Result<Self, HandOverError> {
        let voters = hand_over.check(&self.zone, self.epoch, &self.voters)?.clone();
        let Header { height, time, .. } = hand_over.header;
        // The anchor itself may be that last header: then both are equal.
        let is_same = (height, time) == (self.height, self.time);
        if !is_same && (height <= self.height || time <= self.time) {
            let (epoch, from_height, from_time) = (self.epoch, self.height, self.time);
            return Err(HandOverError::Backwards { epoch, height, time, from_height, from_time });
        }
        Ok(Self { zone: self.zone, epoch: hand_over.epoch(), voters, height, time })
    }

    /// How old it is at `now`; zero if that is before it.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.time).unwrap_or_default()
    }
}

impl Canonical for Anchor {
    const NAME: &'static str = "anchor";
    const MAX_BYTES: usize = Voters::MAX_BYTES + 80;
}
