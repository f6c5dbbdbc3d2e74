//! Targets of a station's agent: what other agents send, and what it finds on its disk.

use crate::{
    KIB, MIB, Target, Verdict, decode,
    world::{Chain, STREET, certify, key_of, zone_file},
};
use ohmesh_committee::{
    Action, BlockBytes, Body, Committee, Config, Input, Message, Pace, Timeouts, WalRecord, identify_block,
};
use ohmesh_ledger::{Header, Rules, State, Vote, Zone, ZoneFile};
use ohmesh_mesh::sim::Faults;
use ohmesh_tests::{Committee as Agents, key, simulate, zone::lay_vote_key};
use ohmesh_units::{Canonical, Hash, Reader, SigningKey, Timestamp};
use station_agent::{
    agent::{Agent, AgentError, AgentTimer, Effect, Event, Keep, Settings},
    disk::{Disk, Memory},
    record_log::{LogError, RecordLog},
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Range,
    sync::LazyLock,
    time::Duration,
};

pub const ZONE_TOML: Target = Target {
    name: "zone_toml",
    run: zone_toml,
    seeds: || {
        let text = |n| toml::to_string(&zone_file(n)).expect("a zone file is TOML").into_bytes();
        vec![("one".into(), text(1)), ("four".into(), text(4))]
    },
    words: &[],
    memory_max: 4 * MIB,
    cost: 4,
};

pub const WIRE: Target =
    Target { name: "wire", run: wire, seeds: wire_seeds, words: &[], memory_max: 32 * MIB, cost: 40 };

pub const COMMITTEE_MESSAGE: Target = Target {
    name: "committee_message",
    run: committee_message,
    seeds: committee_seeds,
    words: &[],
    memory_max: 16 * MIB,
    cost: 8,
};

pub const WAL_RECORD: Target = Target {
    name: "wal_record",
    run: wal_record,
    seeds: wal_seeds,
    words: &["write-ahead"],
    memory_max: 16 * MIB,
    cost: 12,
};

pub const RECORD_LOG: Target = Target {
    name: "record_log",
    run: record_log,
    seeds: || vec![("six".into(), LOG.bytes.clone())],
    words: &[LOG_FILE],
    memory_max: MIB,
    cost: 1,
};

pub const VOTE_KEYS: Target = Target {
    name: "vote_keys",
    run: vote_keys,
    seeds: vote_keys_seeds,
    words: &[VoteKeys::FILE],
    memory_max: 64 * KIB,
    cost: 15,
};

pub const AGENT_DISK: Target = Target {
    name: "agent_disk",
    run: agent_disk,
    seeds: agent_disk_seeds,
    words: &["log", "block", "keys", "chain.index"],
    memory_max: 32 * MIB,
    cost: 80,
};

/// A zone file as people keep it.
fn zone_toml(bytes: &[u8]) -> Verdict {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => return Verdict::Refused("not UTF-8".into()),
    };
    match toml::from_str::<ZoneFile>(text) {
        Ok(file) => Verdict::of(file.check()),
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

/// A message from another agent, given to an agent of four that has just started; again, signed anew.
fn wire(bytes: &[u8]) -> Verdict {
    let wire: Wire = match decode(bytes) {
        Ok(wire) => wire,
        Err(words) => return Verdict::Refused(words),
    };
    let again = match &wire {
        Wire::Committee(message) => Some(Wire::Committee(vote_anew(message))),
        Wire::Transactions(transactions) => {
            Some(Wire::Transactions(transactions.iter().map(crate::world::sign_anew).collect()))
        }
        Wire::Certified(..) => None,
    };
    let now = FOUR.begins.checked_add(Duration::from_secs(2)).expect("far from the end of time");
    for wire in std::iter::once(wire).chain(again) {
        let settings = settings(1);
        let disk = Memory::default();
        disk.edit(VoteKeys::FILE, |file| file.clone_from(&FOUR.vote_keys));
        let opened = Agent::open(FOUR.file.zone.clone(), settings, disk, FOUR.begins);
        let (mut agent, _) = opened.expect("an empty disk opens");
        let handled = agent.handle(now, Event::Wire { from: key(2).public(), wire });
        assert!(handled.is_ok(), "a message stops the agent: {:?}", handled.err());
    }
    Verdict::Taken
}

fn settings(n: u8) -> Settings {
    Settings {
        key: key(n),
        pace: Pace::default(),
        timeouts: Timeouts::default(),
        seed: [n; 32],
        seller: None,
        keep: Keep::default(),
    }
}

fn wire_seeds() -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<(String, Wire)> = FOUR
        .messages
        .iter()
        .map(|(name, message)| (name.clone(), Wire::Committee(message.clone())))
        .collect();
    let transactions = STREET.transactions.iter().map(|(_, signed)| signed.clone()).take(4).collect();
    list.push(("transactions".into(), Wire::Transactions(transactions)));
    let certificate = certify(&FOUR.header, FOUR.file.zone.validators.voters());
    list.push(("certified".into(), Wire::Certified(FOUR.block.clone(), certificate)));
    list.into_iter().map(|(name, wire)| (name, wire.encode())).collect()
}

/// A message given to a committee that has just started; again, signed anew.
fn committee_message(bytes: &[u8]) -> Verdict {
    let message: Message = match decode(bytes) {
        Ok(message) => message,
        Err(words) => return Verdict::Refused(words),
    };
    let mut refusal = None;
    for message in [message.clone(), vote_anew(&message)] {
        let mut committee = Committee::new(FOUR.config(1), 1);
        committee.handle(Input::Start { height: 1 });
        for action in committee.handle(Input::Message { from: key(2).public(), message }) {
            match action {
                Action::Reject { reason, .. } => refusal = refusal.or(Some(reason.to_string())),
                Action::Fault(fault) => panic!("a message stops the committee: {fault}"),
                _ => {}
            }
        }
    }
    refusal.map_or(Verdict::Taken, Verdict::Refused)
}

/// A vote or a proposal with the signature of whom it names, unless that is who is asked to take it: a validator that
/// sees its own signature under what it has not logged stops, and is right.
fn vote_anew(message: &Message) -> Message {
    let (zone, epoch) = (&message.zone, message.epoch);
    let signer = |index: u16| if index == 0 { None } else { FOUR.vote_key(index) };
    let body = match &message.body {
        Body::Vote(vote, old) => {
            let sign = |key: SigningKey| vote.sign(zone, epoch, &key);
            Body::Vote(*vote, signer(vote.validator).map_or(*old, sign))
        }
        Body::Proposal(proposal, old, bytes) => {
            let sign = |key: SigningKey| proposal.sign(zone, epoch, &key);
            Body::Proposal(*proposal, signer(proposal.validator).map_or(*old, sign), bytes.clone())
        }
        other => other.clone(),
    };
    Message { body, ..message.clone() }
}

fn committee_seeds() -> Vec<(String, Vec<u8>)> {
    FOUR.messages.iter().map(|(name, message)| (name.clone(), message.encode())).collect()
}

/// Records of a write-ahead log, each with its length, replayed as after a crash.
fn wal_record(bytes: &[u8]) -> Verdict {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while let Some(record) = reader.record() {
        match decode::<WalRecord>(record) {
            Ok(record) => records.push(record),
            Err(words) => return Verdict::Refused(words),
        }
    }
    let blocks = vec![BlockBytes::from(FOUR.block.clone())];
    Verdict::of(Committee::replay(FOUR.config(FOUR.logged), 1, records, blocks))
}

fn wal_seeds() -> Vec<(String, Vec<u8>)> {
    let framed = |records: &[WalRecord]| {
        let frame = |record: &WalRecord| {
            let record = record.encode();
            let length = u32::try_from(record.len()).expect("records are short");
            [&length.to_be_bytes()[..], &record].concat()
        };
        records.iter().flat_map(frame).collect::<Vec<u8>>()
    };
    vec![("height".into(), framed(&FOUR.records)), ("begun".into(), framed(&FOUR.records[..2]))]
}

/// Four validators that have decided one block, with all that was said and logged.
struct Four {
    file: ZoneFile,
    begins: Timestamp,
    /// The file of the first agent's vote keys.
    vote_keys: Vec<u8>,
    block: Vec<u8>,
    header: Header,
    messages: Vec<(String, Message)>,
    /// The log of the validator with this key.
    logged: u8,
    records: Vec<WalRecord>,
}

static FOUR: LazyLock<Four> = LazyLock::new(Four::new);

impl Four {
    fn new() -> Self {
        let file = zone_file(4);
        let mut chain = Chain::of(&file);
        let begins = chain.state.head().time;
        let proposer = file.zone.validators.proposer(1, 0);
        let state = State::genesis(file.zone.clone());
        let later = begins.checked_add(Duration::from_secs(1)).expect("far from the end of time");
        let block = state.propose(later, proposer, &[]).block;
        let logged = u8::try_from(proposer).expect("one of four") + 1;
        chain.block(Duration::from_secs(1), Vec::new());
        let mut four = Self {
            file,
            begins,
            vote_keys: simulate(async {
                let agents = Agents::new(1, 4, Faults::default());
                agents.disk(1).read(VoteKeys::FILE).expect("memory does not fail")
            }),
            block: block.encode(),
            header: block.header,
            messages: Vec::new(),
            logged,
            records: Vec::new(),
        };
        four.decide();
        four
    }

    fn config(&self, n: u8) -> Config {
        Config {
            zone: self.file.zone.id(),
            epoch: 0,
            validators: self.file.zone.validators.clone(),
            key: self.vote_key(u16::from(n) - 1),
            timeouts: Timeouts::default(),
            identify: identify_block,
        }
    }

    fn vote_key(&self, index: u16) -> Option<SigningKey> {
        key_of(&self.file.zone.validators.at(index)?.vote)
    }

    /// Everybody hears everything, in order.
    fn decide(&mut self) {
        let mut said: BTreeMap<String, Message> = BTreeMap::new();
        let mut committees: Vec<Committee> = (1..=4).map(|n| Committee::new(self.config(n), 1)).collect();
        let mut inputs: VecDeque<(usize, Input)> =
            (0..4).map(|at| (at, Input::Start { height: 1 })).collect();
        while let Some((at, input)) = inputs.pop_front() {
            for action in committees[at].handle(input) {
                match action {
                    Action::Publish(message) => {
                        said.entry(name_of(&message)).or_insert_with(|| message.clone());
                        let from = key(u8::try_from(at).expect("four") + 1).public();
                        let others = (0..4).filter(|other| *other != at);
                        inputs
                            .extend(others.map(|to| (to, Input::Message { from, message: message.clone() })));
                    }
                    Action::Build { height, round, .. } => {
                        let block = identify_block(&self.block).expect("it is a block");
                        let bytes = self.block.clone().into();
                        inputs.push_back((at, Input::Built { height, round, block, bytes }));
                    }
                    Action::Judge { block, .. } => {
                        inputs.push_back((at, Input::Judged { block, valid: true }));
                    }
                    Action::Append(record) if at + 1 == usize::from(self.logged) => self.records.push(record),
                    Action::Fault(fault) => panic!("{fault}"),
                    _ => {}
                }
            }
        }
        self.messages = said.into_iter().collect();
        assert!(self.records.len() > 4, "a height was decided");
    }
}

fn name_of(message: &Message) -> String {
    match &message.body {
        Body::Vote(Vote { kind, .. }, _) => format!("{kind:?}").to_ascii_lowercase(),
        Body::Proposal(..) => "proposal".into(),
        Body::Polka(_) => "polka".into(),
        Body::Round(_) => "round".into(),
    }
}

const LOG_FILE: &str = "fuzz.log";
const LOG_SEED: Hash = Hash([6; 32]);

/// A log of six acknowledged frames.
struct Log {
    bytes: Vec<u8>,
    payloads: Vec<Vec<u8>>,
    /// Where each frame begins and ends.
    places: Vec<Range<usize>>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let mut disk = Memory::default();
    let (mut log, _) = RecordLog::open(&mut disk, LOG_FILE, LOG_SEED).expect("an empty disk opens");
    let mut places = Vec::new();
    for length in [1, 30, 200, 5, 64, 3] {
        let begin = disk.read(LOG_FILE).expect("memory does not fail").len();
        log.push(&vec![0xa5; length]);
        log.sync(&mut disk).expect("memory does not fail");
        places.push(begin..disk.read(LOG_FILE).expect("memory does not fail").len());
    }
    let (_, frames) = RecordLog::open(&mut disk, LOG_FILE, LOG_SEED).expect("it was just written");
    let payloads = frames.into_iter().map(|(_, payload)| payload).collect();
    Log { bytes: disk.read(LOG_FILE).expect("memory does not fail"), payloads, places }
});

/// A log as it lies on a disk, damaged in any way. What opens is the beginning of what was written and goes on from
/// there. It is cut only where no whole frame lies behind, as at a torn end; where one does, the place of the damage is
/// named.
fn record_log(bytes: &[u8]) -> Verdict {
    let mut disk = Memory::default();
    disk.edit(LOG_FILE, |file| *file = bytes.to_vec());
    let frames = match RecordLog::open(&mut disk, LOG_FILE, LOG_SEED) {
        Ok((mut log, frames)) => {
            log.push(b"after");
            log.sync(&mut disk).expect("memory does not fail");
            frames
        }
        Err(error) => {
            if let LogError::Damaged { offset: offset @ 1.., .. } = error {
                let good = LOG.places.iter().take_while(|place| is_whole(bytes, place)).count();
                assert_eq!(u64::try_from(LOG.places[good].start), Ok(offset), "the first bad frame is named");
                assert!(holds_any_of(bytes, &LOG.places[good..]), "a torn end is called damage");
            }
            assert!(!matches!(error, LogError::Disk { .. }), "memory does not fail: {error}");
            let left = disk.read(LOG_FILE).expect("memory does not fail");
            assert_eq!(left, bytes, "a log that does not open is left as it is");
            return Verdict::Refused(error.to_string());
        }
    };
    let found: Vec<&[u8]> = frames.iter().map(|(_, payload)| &payload[..]).collect();
    assert!(found.len() <= LOG.payloads.len(), "more was read than written");
    assert!(found.iter().zip(&LOG.payloads).all(|(found, written)| found == written), "a changed record");
    assert!(!holds_any_of(bytes, &LOG.places[found.len()..]), "acknowledged records are gone");
    let (_, again) = RecordLog::open(&mut disk, LOG_FILE, LOG_SEED).expect("it was just opened and written");
    assert_eq!(again.len(), found.len() + 1, "the log goes on where it was cut");
    Verdict::Taken
}

/// Whether any of the frames of these places lies whole in its own.
fn holds_any_of(bytes: &[u8], places: &[Range<usize>]) -> bool {
    places.iter().any(|place| is_whole(bytes, place))
}

fn is_whole(bytes: &[u8], place: &Range<usize>) -> bool {
    bytes.get(place.clone()) == Some(&LOG.bytes[place.clone()])
}

/// The file of an agent's vote keys: it opens whole, or is named; and another key is added to it all the same.
fn vote_keys(bytes: &[u8]) -> Verdict {
    const NEW: u64 = u64::MAX;
    let mut disk = Memory::default();
    disk.edit(VoteKeys::FILE, |file| *file = bytes.to_vec());
    let mut keys = match VoteKeys::open(&disk) {
        Ok(keys) => keys,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    assert!(bytes.is_empty() || keys.encode() == bytes, "vote keys have two encodings");
    if keys.made_for(NEW).is_some() {
        return Verdict::Taken;
    }
    let made = keys.make(&mut disk, NEW, [9; 32]).expect("memory does not fail").public();
    let again = VoteKeys::open(&disk).expect("it was just written").made_for(NEW).expect("it was just made");
    assert_eq!(again.public(), made);
    keys.begin(&mut disk, NEW, Some(made)).expect("memory does not fail");
    let left = disk.read(VoteKeys::FILE).expect("memory does not fail");
    assert!(left.len() < 64, "keys of epochs that are over are not erased");
    Verdict::Taken
}

fn vote_keys_seeds() -> Vec<(String, Vec<u8>)> {
    let of = |epochs: Range<u8>| {
        let mut disk = Memory::default();
        let mut keys = VoteKeys::open(&disk).expect("an empty disk opens");
        for epoch in epochs {
            keys.make(&mut disk, u64::from(epoch), [epoch; 32]).expect("memory does not fail");
        }
        disk.read(VoteKeys::FILE).expect("memory does not fail")
    };
    vec![("one".into(), of(0..1)), ("eight".into(), of(0..8))]
}

/// The disks of the only agent of a zone whose epochs are short.
struct Stored {
    zone: Zone,
    begins: Timestamp,
    /// With the log in one piece, and with snapshots and the log in segments.
    disks: [(&'static str, Memory); 2],
    /// The newest height, and the ids of all blocks.
    height: u64,
    blocks: BTreeSet<Hash>,
}

static STORED: LazyLock<Stored> = LazyLock::new(|| {
    let mut zone = zone_file(1).zone;
    zone.rules.epoch_ms = Rules::EPOCH_MIN_MS;
    let begins = zone.created;
    let mut stored = Stored { zone, begins, disks: Default::default(), height: 8, blocks: BTreeSet::new() };
    stored.blocks.insert(State::genesis(stored.zone.clone()).head().block);
    let blocks_for = Duration::from_secs(3600);
    let cut = Keep { snapshot_blocks: 3, blocks_for };
    stored.disks = [("whole", stored.live(Keep::default())), ("cut", stored.live(cut))];
    stored
});

impl Stored {
    /// An agent that keeps this lives on a new disk up to the newest height, from timer to timer.
    fn live(&mut self, keep: Keep) -> Memory {
        let mut disk = Memory::default();
        lay_vote_key(1, &mut disk);
        let mut now = self.begins;
        let (mut agent, mut effects) = self.open(&disk, keep, now).expect("a new disk opens");
        let mut timers: BTreeMap<AgentTimer, Timestamp> = BTreeMap::new();
        while agent.state().head().height < self.height {
            for effect in effects {
                match effect {
                    Effect::SetTimer(timer, after) => {
                        timers.insert(timer, now.checked_add(after).expect("far from the end of time"));
                    }
                    Effect::CancelTimer(timer) => drop(timers.remove(&timer)),
                    Effect::CancelCommitteeTimers => {
                        timers.retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                    }
                    _ => {}
                }
            }
            let (timer, at) =
                timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at)).expect("it waits");
            timers.remove(&timer);
            now = now.max(at);
            effects = agent.handle(now, Event::Elapsed(timer)).expect("memory does not fail");
            self.blocks.insert(agent.state().head().block);
        }
        disk
    }

    fn open(
        &self,
        disk: &Memory,
        keep: Keep,
        now: Timestamp,
    ) -> Result<(Agent<Memory>, Vec<Effect>), AgentError> {
        Agent::open(self.zone.clone(), Settings { keep, ..settings(1) }, disk.clone(), now)
    }
}

/// An agent starts on a damaged disk: it stands at a block of its zone, or names the file that it cannot use; and what
/// it has repaired opens again.
fn agent_disk(bytes: &[u8]) -> Verdict {
    let disk = Memory::default();
    let mut reader = Reader::new(bytes);
    while let (Some(name), Some(file)) = (reader.record(), reader.record()) {
        disk.edit(&String::from_utf8_lossy(name), |old| *old = file.to_vec());
    }
    let now = STORED.begins.checked_add(Duration::from_secs(3600)).expect("far from the end of time");
    let agent = match STORED.open(&disk, Keep::default(), now) {
        Ok((agent, _)) => agent,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    let head = agent.state().head();
    // The agent is alone: what it finds undecided in its log it may decide at once.
    assert!(head.height <= STORED.height + 1, "more was read than written");
    assert!(head.height > STORED.height || STORED.blocks.contains(&head.block), "a block of no zone");
    agent.state().audit();
    drop(agent);
    let (again, _) = STORED.open(&disk, Keep::default(), now).expect("it was just opened");
    assert_eq!(again.state().head().height, head.height, "opening again leads elsewhere");
    Verdict::Taken
}

/// Each file as two records: its name, and what is in it.
fn agent_disk_seeds() -> Vec<(String, Vec<u8>)> {
    let framed = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("a short file");
        [&length.to_be_bytes()[..], bytes].concat()
    };
    let file = |disk: &Memory, name: &str| {
        let bytes = disk.read(name).expect("memory does not fail");
        [framed(name.as_bytes()), framed(&bytes)].concat()
    };
    let all = |disk: &Memory| disk.names().iter().flat_map(|name| file(disk, name)).collect();
    STORED.disks.iter().map(|(name, disk)| ((*name).to_owned(), all(disk))).collect()
}
