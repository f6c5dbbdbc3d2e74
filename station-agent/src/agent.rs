//! One agent as a machine: events in, effects out. It executes blocks, keeps its logs, and answers phones; it knows no
//! socket, no clock and no task. The daemon and the simulations run the same one.
//!
//! ```text
//!  Event::Wire, Elapsed, Fetched --> Agent::handle --> Effect::Publish, Send, SetTimer, Fetch, Decided
//!  Query -----------------------> Agent::answer --> Answer (+ effects: a submitted transaction is passed on)
//!        committee: Append, Sync, Judge, Commit --> Disk (write-ahead log, block log)
//! ```
//!
//! Order that must hold: a record is durable before the vote it speaks of leaves; a block is durable before it is voted
//! for; a decided block is durable before it is applied, and applied before anybody is told.

mod block_log;
mod duties;
mod epochs;
mod hand_overs;
mod mempool;
mod perform;
mod query;
mod selling;
mod signer;

pub use block_log::BlockLog;
pub use mempool::Mempool;

use crate::{
    disk::Disk,
    record_log::{LogError, RecordLog},
    seller::{self, CommandTag, Seller, SellerError, SellerEvent, SellerTimer, Setup},
    vote_keys::VoteKeys,
    wire::Wire,
};
use duties::Duties;
use hand_overs::HandOvers;
use ohmesh_committee::{
    Action, Committee, CommitteeError, Evidence, Input, Pace, Rejected, Timeouts, Timer, WalRecord,
};
use ohmesh_ledger::{
    Applied, Block, Certificate, Header, LedgerError, SignedTransaction, State, ValidatorSet, Verified, Zone,
};
use ohmesh_ocpp::{ChargerName, session::Command};
use ohmesh_units::{BlockId, Canonical, DecodeError, Domain, Hash, PublicKey, Reader, SigningKey, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use signer::Signer;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Why an agent cannot go on. Each of these stops it: going on would risk what it has acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A log cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What a log holds is not what this agent writes.
    #[error("{file}: {error}")]
    Stored {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A stored or decided block does not execute: this replica is not what its zone agreed on.
    #[error("this replica has diverged from its zone: {0}")]
    Diverged(LedgerError),
    /// The zone has passed to rules that this program does not know: a newer one goes on where this one stops.
    #[error("a newer station-agent is needed: {0}")]
    Rules(LedgerError),
    /// The committee cannot go on.
    #[error(transparent)]
    Committee(CommitteeError),
    /// The seller cannot be opened.
    #[error(transparent)]
    Seller(#[from] SellerError),
}

/// What happened to the agent from outside.
pub enum Event {
    /// An agent sent a message.
    Wire {
        /// The key its connection was authenticated with.
        from: PublicKey,
        /// The message.
        wire: Wire,
    },
    /// This validator can be reached now; it may have blocks that were decided meanwhile.
    Connected(PublicKey),
    /// Something for the seller that this agent hosts.
    Seller(seller::Input<'static>),
    /// A timer has run out.
    Elapsed(AgentTimer),
    /// An agent answered [`Effect::Fetch`].
    Fetched {
        /// Who answered.
        from: PublicKey,
        /// Decided blocks with their certificates, in order.
        blocks: Vec<(Vec<u8>, Certificate)>,
    },
}

/// Who asks a question.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The key its connection was authenticated with.
    pub key: PublicKey,
    /// The connection's TLS exporter: 32 bytes that only its two ends know.
    pub exporter: [u8; 32],
}

/// What the agent wants done.
pub enum Effect {
    /// Send to every other validator.
    Publish(Wire),
    /// Send to one validator.
    Send(PublicKey, Wire),
    /// Feed [`Event::Elapsed`] after the duration; replaces an equal timer.
    SetTimer(AgentTimer, Duration),
    /// Forget a timer.
    CancelTimer(AgentTimer),
    /// Forget all timers of the committee.
    CancelCommitteeTimers,
    /// Ask this validator for decided blocks from `height` on.
    Fetch {
        /// Whom.
        from: PublicKey,
        /// The first height wanted.
        height: u64,
    },
    /// Tell a charger, and say with [`seller::Input::CommandDone`] how it ended.
    Charger {
        /// The charger.
        charger: ChargerName,
        /// What to tell it.
        command: Box<Command>,
        /// Names it until it ends.
        tag: CommandTag,
    },
    /// For the log: what the seller does.
    Sale(Box<SellerEvent>),
    /// A block is final, durable and applied.
    Decided(Box<Decided>),
    /// A peer's message was refused.
    Refused {
        /// Who sent it.
        from: PublicKey,
        /// Why.
        reason: Rejected,
    },
    /// A validator contradicted itself, provably.
    Equivocation(Evidence),
    /// An epoch has begun: these are its validators.
    Validators(ValidatorSet),
    /// This agent's vote key has signed what this agent has no record of: it votes no more until the next epoch gives it
    /// another key.
    Forgetful {
        /// The height of the vote.
        height: u64,
    },
}

/// A block that has become final here.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Its header.
    pub header: Header,
    /// Its certificate.
    pub certificate: Certificate,
    /// Holds that ended by their timeout.
    pub expired: Vec<Hash>,
}

/// What an agent may wait for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AgentTimer {
    /// The committee's.
    Committee(Timer),
    /// The time to start this height.
    NextHeight(u64),
    /// The seller's.
    Seller(SellerTimer),
}

/// What an agent is told once.
pub struct Settings {
    /// The key that it is known by; an agent whose key is no validator's follows and serves phones. What it votes with is
    /// on its disk ([`VoteKeys`]).
    pub key: SigningKey,
    /// How often there is a block.
    pub pace: Pace,
    /// How long to wait for others.
    pub timeouts: Timeouts,
    /// Where the agent's randomness comes from: fresh from the system, or a simulation's.
    pub seed: [u8; 32],
    /// What it sells, if it does.
    pub seller: Option<Setup>,
}

/// One agent.
pub struct Agent<D> {
    pub(crate) state: State,
    committee: Committee,
    /// The key that this agent is known by.
    identity: PublicKey,
    /// Its index among the validators, if it votes in this epoch.
    me: Option<u16>,
    votes: VoteKeys,
    /// The newest height at which it has voted.
    voted: Option<u64>,
    /// Its key has signed what it does not know of: it must not vote with it.
    is_forgetful: bool,
    /// The height at which it last sent its key for the next epoch.
    vote_key_sent: Option<u64>,
    random: ChaCha20Rng,
    timeouts: Timeouts,
    pace: Pace,
    disk: D,
    wal: RecordLog,
    blocks: BlockLog,
    hand_overs: HandOvers,
    pub(crate) mempool: Mempool,
    head: Option<(Header, Certificate)>,
    /// Undecided blocks that executed on the head, with what they change.
    drafts: BTreeMap<BlockId, (Block, Applied)>,
    /// The height that waits for its time, if none runs.
    next: Option<u64>,
    /// A validator's part in auctions.
    duties: Duties,
    signer: Signer,
    seller: Option<Seller>,
    effects: Vec<Effect>,
}

impl<D: Disk> Agent<D> {
    /// Opens an agent on its disk: executes every stored block again, replays the write-ahead log, and goes on.
    /// The effects are to be performed as those of [`Agent::handle`].
    pub fn open(
        zone: Zone,
        settings: Settings,
        mut disk: D,
        now: Timestamp,
    ) -> Result<(Self, Vec<Effect>), AgentError> {
        let mut state = State::genesis(zone);
        let seed = Hash::from(*state.zone_id());
        let mut hand_overs = HandOvers::open(&mut disk, seed)?;
        let (blocks, head) = BlockLog::open(&mut disk, &mut state, &mut hand_overs)?;
        let (wal, frames) = RecordLog::open(&mut disk, WAL, seed)?;
        let (records, undecided) = read_wal(frames)?;
        let height = state.head().height + 1;
        state.known_rules().map_err(AgentError::Rules)?;
        let identity = settings.key.public();
        let votes = VoteKeys::open(&disk)?;
        let config = epochs::config(&state, votes.signer(state.validators(), &identity), settings.timeouts);
        let signer = Signer::new(*state.zone_id(), settings.key.clone(), derive(&settings.seed, b"sign"));
        let mut duties = Duties::open(&mut disk, seed, signer.account(), derive(&settings.seed, b"duty"))?;
        duties.note_all(state.objects());
        let was_running = records.iter().any(|record| record.height() == height);
        let (committee, actions) = if was_running {
            let bytes = undecided.iter().map(|bytes| bytes.clone().into()).collect();
            Committee::replay(config, height, records, bytes).map_err(AgentError::Committee)?
        } else {
            (Committee::new(config, height), Vec::new())
        };
        let mut agent = Self {
            identity,
            me: committee.validator(),
            votes,
            voted: was_running.then_some(height),
            is_forgetful: false,
            vote_key_sent: None,
            random: ChaCha20Rng::from_seed(derive(&settings.seed, b"vote")),
            timeouts: settings.timeouts,
            state,
            committee,
            pace: settings.pace,
            disk,
            wal,
            blocks,
            hand_overs,
            mempool: Mempool::default(),
            head,
            drafts: BTreeMap::new(),
            next: None,
            duties,
            signer,
            seller: None,
            effects: Vec::new(),
        };
        if was_running {
            for bytes in undecided {
                agent.judge(now, &bytes);
            }
        } else {
            agent.next = Some(height);
            agent.wait_for_next(now);
        }
        agent.perform(now, actions)?;
        agent.do_duties(now)?;
        if let Some(setup) = settings.seller {
            agent.open_seller(now, setup)?;
        }
        let effects = std::mem::take(&mut agent.effects);
        Ok((agent, effects))
    }

    /// The state after the newest final block.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The newest final header and its certificate.
    pub fn head(&self) -> Option<&(Header, Certificate)> {
        self.head.as_ref()
    }

    /// Transactions that wait for a block.
    pub fn waiting(&self) -> usize {
        self.mempool.len()
    }

    /// Takes in what happened at `now`. An error means that the agent must stop; what it acknowledged is on disk.
    pub fn handle(&mut self, now: Timestamp, event: Event) -> Result<Vec<Effect>, AgentError> {
        match event {
            Event::Wire { from, wire } => self.on_wire(now, from, wire)?,
            Event::Connected(from) => {
                let height = self.state.head().height + 1;
                self.effects.push(Effect::Fetch { from, height });
            }
            Event::Elapsed(AgentTimer::Committee(timer)) => self.tell(now, Input::Elapsed(timer))?,
            Event::Elapsed(AgentTimer::NextHeight(height)) => {
                if self.next == Some(height) {
                    self.start_next(now)?;
                }
            }
            Event::Elapsed(AgentTimer::Seller(timer)) => {
                self.tell_seller(now, seller::Input::Timer(timer))?;
            }
            Event::Seller(input) => {
                self.tell_seller(now, input)?;
            }
            Event::Fetched { from, blocks } => self.on_fetched(now, from, blocks)?,
        }
        Ok(std::mem::take(&mut self.effects))
    }

    fn on_wire(&mut self, now: Timestamp, from: PublicKey, wire: Wire) -> Result<(), AgentError> {
        // Only validators speak to one another here; phones ask.
        if self.state.validators().index_of(&from).is_none() {
            return Ok(());
        }
        match wire {
            Wire::Committee(message) => self.tell(now, Input::Message { from, message }),
            Wire::Transactions(signed) => {
                if signed.len() <= Wire::TRANSACTIONS_MAX {
                    for verified in self.check_signatures(signed) {
                        self.admit(now, verified);
                    }
                }
                Ok(())
            }
            Wire::Certified(bytes, certificate) => self.on_fetched(now, from, vec![(bytes, certificate)]),
        }
    }

    /// Those of `signed` that are new here and rightly signed. They are checked together; if one is bad, one by one, so
    /// that it does not sink the others.
    fn check_signatures(&self, mut signed: Vec<SignedTransaction>) -> Vec<Verified> {
        signed.retain(|one| !self.mempool.holds_id(&one.transaction.id()));
        let zone = self.state.zone_id();
        Verified::all(zone, signed.clone())
            .unwrap_or_else(|_| signed.into_iter().filter_map(|one| Verified::one(zone, one).ok()).collect())
    }

    /// Decided blocks from a peer: each is checked by the committee, committed, and the next one started at once.
    fn on_fetched(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        blocks: Vec<(Vec<u8>, Certificate)>,
    ) -> Result<(), AgentError> {
        let before = self.state.head().height;
        for (bytes, certificate) in blocks {
            if certificate.height != self.state.head().height + 1 {
                continue;
            }
            if self.next.is_some() {
                self.start_next(now)?;
            }
            let height = certificate.height;
            self.check_memory(&certificate)?;
            self.tell(now, Input::Certified { from, bytes: bytes.into(), certificate })?;
            if self.state.head().height < height {
                return Ok(()); // Refused, and reported as such.
            }
        }
        let height = self.state.head().height + 1;
        if height > before + 1 {
            self.effects.push(Effect::Fetch { from, height });
        }
        Ok(())
    }

    /// Starts the height that waits.
    fn start_next(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let Some(height) = self.next.take() else { return Ok(()) };
        if std::mem::take(&mut self.is_forgetful) {
            self.begin_epoch()?;
        }
        self.effects.push(Effect::CancelTimer(AgentTimer::NextHeight(height)));
        self.tell(now, Input::Start { height })
    }

    /// Sets the timer by which the waiting height starts.
    fn wait_for_next(&mut self, now: Timestamp) {
        let Some(height) = self.next else { return };
        let is_busy = !self.mempool.is_empty() || self.duties.is_busy();
        let wait = self.pace.wait(now, self.state.head().time, is_busy);
        self.effects.push(Effect::SetTimer(AgentTimer::NextHeight(height), wait));
    }

    /// Takes a checked transaction for a block; whether it is new and could apply now.
    fn admit(&mut self, now: Timestamp, verified: Verified) -> bool {
        if self.state.try_transaction(now, &verified).is_err() {
            return false;
        }
        let was_idle = self.mempool.is_empty();
        let is_new = self.mempool.insert(verified);
        if was_idle && is_new {
            self.wait_for_next(now);
        }
        is_new
    }

    fn tell(&mut self, now: Timestamp, input: Input) -> Result<(), AgentError> {
        let actions = self.committee.handle(input);
        self.perform(now, actions)
    }
}

/// Records of the write-ahead log: what the committee was told, and undecided blocks. Tags are never reused.
#[derive(serde::Serialize, serde::Deserialize)]
enum WalEntry {
    Record(WalRecord),
    Block(Vec<u8>),
}

impl Canonical for WalEntry {
    const NAME: &'static str = "write-ahead entry";
    const MAX_BYTES: usize = Block::MAX_BYTES + 64;
}

fn read_wal(frames: Vec<crate::record_log::Frame>) -> Result<(Vec<WalRecord>, Vec<Vec<u8>>), AgentError> {
    let (mut records, mut blocks) = (Vec::new(), Vec::new());
    for (_, payload) in frames {
        let mut reader = Reader::new(&payload);
        while let Some(record) = reader.record() {
            match WalEntry::decode(record).map_err(|error| AgentError::Stored { file: WAL, error })? {
                WalEntry::Record(record) => records.push(record),
                WalEntry::Block(bytes) => blocks.push(bytes),
            }
        }
    }
    Ok((records, blocks))
}

/// A seed of its own for one use.
fn derive(seed: &[u8; 32], usage: &[u8; 4]) -> [u8; 32] {
    const SEED: Domain = Domain::new("ohmesh/1 agent randomness");
    SEED.hash(&[seed, usage]).0
}

/// The file of the write-ahead log.
const WAL: &str = "wal.log";
/// How far ahead of this agent's clock a block may be.
const AHEAD_MAX: Duration = Duration::from_secs(2);

type Actions = VecDeque<Action>;
