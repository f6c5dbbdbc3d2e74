//! `charging.log`: what chargers said about money, durable before they are told that it was heard.
//!
//! Each frame that carries money is kept as it came, then what it changed: an open transaction as it now is, or its end.
//! Frames that departed from the standard are kept with what was odd. A restart reads it from the first record, so that
//! transactions go on; it is never cut, as it is the evidence for bills.
//!
//! One writer serves all chargers: whatever waits when the disk is free goes in one frame with one sync.

use crate::{
    disk::Disk,
    record_log::{LogError, RecordLog},
};
use ohmesh_ocpp::{
    ChargerName,
    session::{SignedRecord, Transaction, TransactionKey},
};
use ohmesh_units::{Canonical, DecodeError, Energy, Hash, Reader, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::{mpsc, oneshot};

/// Why the journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed, or the file is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A whole record that this program cannot read.
    #[error("{LOG}: {0}")]
    Record(#[from] DecodeError),
}

/// One record. The order of variants is the encoding: only append.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// A frame that carries money, as it came.
    Frame {
        /// From whom.
        charger: String,
        /// When it was heard.
        at: Timestamp,
        /// The frame.
        text: String,
    },
    /// A frame, or time itself, was odd.
    Deviation {
        /// At whom.
        charger: String,
        /// When it was heard.
        at: Timestamp,
        /// What was odd: at most 16, each cut to 200 characters.
        oddities: Vec<String>,
        /// The frame; empty if it carries money (then it stands before) or if time caused it.
        raw: String,
    },
    /// An open transaction, as it now is.
    Open {
        /// Whose.
        charger: String,
        /// The transaction.
        transaction: Transaction,
    },
    /// A transaction ended.
    Ended {
        /// Whose.
        charger: String,
        /// How.
        transaction: EndedTransaction,
    },
    /// The first record: whose journal this is. Only what stands before another frame is told from an unfinished write, so
    /// without it the first record of another zone's journal would be cut off as one.
    Begins {
        /// The agent's zone.
        zone: ZoneId,
    },
}

impl Canonical for Record {
    const NAME: &'static str = "charging record";
    /// A frame twice (a signed record is part of its frame) and room for names.
    const MAX_BYTES: usize = 1024 * 1024;
}

/// A transaction that is over, and what it is billed on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndedTransaction {
    /// Its id at its charger.
    pub key: TransactionKey,
    /// Where it ran.
    pub evse: u16,
    /// Who charged.
    pub token: Option<String>,
    /// Whether a grant covered it.
    pub authorized: bool,
    /// What is billed.
    pub energy: Energy,
    /// The register at the end as reported.
    pub register: Option<Energy>,
    /// When, by the charger, or when it was heard.
    pub at: Timestamp,
    /// Why, in the standard's word, or `Superseded` or `Ghost`.
    pub reason: String,
    /// Signed records of the last message, verbatim.
    pub signed: Vec<SignedRecord>,
}

/// What the journal says of one charger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Past {
    /// Transactions that are open.
    pub open: BTreeMap<TransactionKey, Transaction>,
    /// The newest that ended, oldest first; at most [`ENDED_KEPT`].
    pub ended: VecDeque<EndedTransaction>,
    /// How many deviations there were.
    pub deviations: u64,
}

impl Past {
    /// Takes in one record of this charger.
    pub(super) fn add(&mut self, record: Record) {
        match record {
            Record::Frame { .. } | Record::Begins { .. } => {}
            Record::Deviation { .. } => self.deviations += 1,
            Record::Open { transaction, .. } => {
                self.open.insert(transaction.key.clone(), transaction);
            }
            Record::Ended { transaction, .. } => {
                self.open.remove(&transaction.key);
                if self.ended.len() >= ENDED_KEPT {
                    self.ended.pop_front();
                }
                self.ended.push_back(transaction);
            }
        }
    }
}

/// An open journal.
pub struct Journal<D> {
    log: RecordLog,
    disk: D,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal of an agent of `zone` and reads what it says of each charger, by name.
    pub fn open(mut disk: D, zone: ZoneId) -> Result<(Self, BTreeMap<ChargerName, Past>), JournalError> {
        let (mut log, frames) = RecordLog::open(&mut disk, LOG, Hash::from(zone))?;
        if frames.is_empty() {
            log.push(&Record::Begins { zone }.encode());
            log.sync(&mut disk)?;
        }
        let mut past: BTreeMap<ChargerName, Past> = BTreeMap::new();
        for (_, payload) in frames {
            let mut reader = Reader::new(&payload);
            while let Some(bytes) = reader.record() {
                let record = Record::decode(bytes)?;
                if let Some(name) = record.charger().and_then(|name| ChargerName::new(name).ok()) {
                    past.entry(name).or_default().add(record);
                }
            }
        }
        Ok((Self { log, disk }, past))
    }

    /// Starts the one writer. It ends when every [`Keep`] is gone, or when the disk fails.
    pub(super) fn start(self) -> (Keep, tokio::task::JoinHandle<Result<(), JournalError>>) {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        (Keep(sender), tokio::spawn(self.run(batches)))
    }

    async fn run(mut self, mut batches: mpsc::Receiver<Batch>) -> Result<(), JournalError> {
        let mut waiting = Vec::new();
        while batches.recv_many(&mut waiting, BATCHES_MAX).await > 0 {
            let mut asked = Vec::new();
            for batch in waiting.drain(..) {
                batch.records.iter().for_each(|record| self.log.push(record));
                asked.extend(batch.durable);
            }
            if asked.is_empty() {
                continue;
            }
            // A sync may take long on a bad disk; everything else goes on meanwhile.
            let written = tokio::task::spawn_blocking(move || {
                let result = self.log.sync(&mut self.disk);
                (self, result)
            });
            let (journal, result) =
                written.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
            self = journal;
            result?;
            // Whoever asked may have gone with its charger's task; the record stands.
            for durable in asked {
                let _ = durable.send(());
            }
        }
        self.log.sync(&mut self.disk)?;
        Ok(())
    }
}

impl Record {
    fn charger(&self) -> Option<&str> {
        match self {
            Self::Frame { charger, .. }
            | Self::Deviation { charger, .. }
            | Self::Open { charger, .. }
            | Self::Ended { charger, .. } => Some(charger),
            Self::Begins { .. } => None,
        }
    }
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Keep(mpsc::Sender<Batch>);

struct Batch {
    records: Vec<Vec<u8>>,
    durable: Option<oneshot::Sender<()>>,
}

/// The journal has ended: nothing may be acknowledged any more.
pub(super) struct JournalGone;

impl Keep {
    /// Returns when the records, and all handed in before, are durable.
    pub(super) async fn durably(&self, records: &[Record]) -> Result<(), JournalGone> {
        let (durable, heard) = oneshot::channel();
        let records = records.iter().map(Record::encode).collect();
        self.0.send(Batch { records, durable: Some(durable) }).await.map_err(|_| JournalGone)?;
        heard.await.map_err(|_| JournalGone)
    }

    /// Hands in records that become durable with the next that somebody waits for.
    pub(super) async fn soon(&self, record: &Record) -> Result<(), JournalGone> {
        let batch = Batch { records: vec![record.encode()], durable: None };
        self.0.send(batch).await.map_err(|_| JournalGone)
    }
}

/// The file.
pub const LOG: &str = "charging.log";
/// How many ended transactions of a charger are told.
pub const ENDED_KEPT: usize = 32;
/// The most oddities of one deviation that are kept as text; the frame is kept whole.
pub const ODDITIES_MAX: usize = 16;
/// The most characters of one.
pub const ODDITY_CHARS_MAX: usize = 200;
/// The most batches that wait; beyond, chargers wait for their answers.
const BATCHES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    fn zone() -> ZoneId {
        ZoneId([7; 32])
    }

    fn ended(key: &str) -> Record {
        Record::Ended {
            charger: "CP1".into(),
            transaction: EndedTransaction {
                key: TransactionKey(key.into()),
                evse: 1,
                token: Some("T".into()),
                authorized: true,
                energy: Energy::from_wh(41),
                register: None,
                at: Timestamp::from_millis(9),
                reason: "Local".into(),
                signed: Vec::new(),
            },
        }
    }

    #[tokio::test]
    async fn what_was_waited_for_survives_a_power_cut() {
        let disk = Memory::default();
        let (journal, past) = Journal::open(disk.clone(), zone()).unwrap();
        assert!(past.is_empty());
        let (keep, writer) = journal.start();
        let frame =
            Record::Frame { charger: "CP1".into(), at: Timestamp::from_millis(1), text: "[2]".into() };
        assert!(keep.soon(&frame).await.is_ok());
        assert!(keep.durably(&[ended("a")]).await.is_ok());
        disk.lose_unsynced();
        let (_, past) = Journal::open(disk.clone(), zone()).unwrap();
        let past = &past[&ChargerName::new("CP1").unwrap()];
        assert_eq!(past.ended.len(), 1);
        assert_eq!(past.ended[0].energy, Energy::from_wh(41));
        drop(keep);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_newest_ended_are_kept() {
        let mut past = Past::default();
        (0..40).for_each(|n| past.add(ended(&n.to_string())));
        assert_eq!(past.ended.len(), ENDED_KEPT);
        assert_eq!(past.ended.back().unwrap().key.0, "39");
    }

    #[test]
    fn the_bytes_of_a_record_stay() {
        let frame =
            Record::Frame { charger: "CP1".into(), at: Timestamp::from_millis(1), text: "[2]".into() };
        assert_eq!(frame.encode(), [1, 0, 3, b'C', b'P', b'1', 1, 3, b'[', b'2', b']']);
        let ended_bytes = [1, 3, 3, b'C', b'P', b'1', 1, b'a', 1, 1, 1, b'T', 1, 41, 0, 9, 5];
        assert_eq!(ended("a").encode(), [&ended_bytes[..], b"Local", &[0]].concat());
        assert_eq!(Record::Begins { zone: zone() }.encode(), [&[1, 4][..], &[7; 32]].concat());
        let open = Record::Open {
            charger: "CP1".into(),
            transaction: serde_json::from_value(serde_json::json!({
                "key": "a", "evse": 1, "token": null, "authorized": true, "claimed_start": null,
                "heard_start": 2, "floor": 3, "reported_start": null, "start": 5, "known_before": null,
                "energy": 6, "readings": 7, "sequence": 8,
            }))
            .unwrap(),
        };
        let open_bytes = [1, 2, 3, b'C', b'P', b'1', 1, b'a', 1, 0, 1, 0, 2, 3, 0, 1, 5, 0, 6, 7, 1, 16];
        assert_eq!(open.encode(), open_bytes);
        assert_eq!(Record::decode(&open_bytes).unwrap(), open);
    }

    #[test]
    fn another_zones_journal_does_not_open() {
        let mut disk = Memory::default();
        drop(Journal::open(disk.clone(), zone()).unwrap());
        let (mut log, _) = RecordLog::open(&mut disk, LOG, Hash::from(zone())).unwrap();
        log.push(&ended("a").encode());
        log.sync(&mut disk).unwrap();
        assert!(Journal::open(disk.clone(), zone()).is_ok());
        assert!(matches!(Journal::open(disk, ZoneId([8; 32])), Err(JournalError::Log(_))));
    }
}
