//! One agent as a machine: events in, effects out. It executes blocks, keeps its logs, and answers phones; it knows no
//! socket, no clock and no task. The daemon and the simulations run the same one.
//!
//! ```text
//!  Event::Wire, Elapsed, Fetched --> Agent::handle --> Effect::Publish, Send, SetTimer, Fetch, Decided
//!  Query -----------------------> Agent::answer --> Answer (+ effects: a submitted transaction is passed on)
//!        committee: Append, Sync, Judge, Commit --> Disk (write-ahead log, block log)
//! ```
//!
//! Order that must hold: a record is durable before the vote it speaks of leaves; a block is durable before a vote for it
//! leaves; a decided block is durable before it is applied, and applied before anybody is told.
//!
//! Nothing leaves but as an effect, and effects are handed out at the end. So whatever the write-ahead log has to remember
//! of one event is synced once, before they are (`hand_out`); and of a height that is decided meanwhile nothing,
//! because the decision is durable. One of several validators syncs three times a block: with its prevote, which carries the
//! block and, if it proposes, the proposal; with its precommit; and with the decision. Each of them leaves only after the
//! others' answer to the one before has come, so they cannot be made one. An only validator syncs the decision and nothing
//! else.

mod block_log;
mod duties;
mod epochs;
mod evidence;
mod hand_overs;
mod kept;
mod mempool;
mod perform;
mod query;
mod selling;
mod signer;
mod snapshots;
mod waking;

pub use block_log::BlockLog;
pub use kept::Keep;
pub use mempool::Mempool;
pub(crate) use snapshots::{Written, counted};

use crate::{
    disk::Disk,
    record_log::{LogError, RecordLog},
    seller::{self, CommandTag, Seller, SellerError, SellerEvent, SellerTimer, Setup},
    vote_keys::VoteKeys,
    wire::Wire,
};
use duties::Duties;
use epochs::Early;
use evidence::EvidenceBox;
use hand_overs::HandOvers;
use kept::Kept;
use ohmesh_committee::{
    Action, BlockBytes, Committee, CommitteeError, Evidence, Input, Pace, Rejected, Timeouts, Timer,
    WalRecord,
};
use ohmesh_ledger::{
    Answer, Applied, Block, Certificate, Header, LedgerError, Query, SignedTransaction, State,
    TransactionError, ValidatorSet, Verified, Zone,
};
use ohmesh_ocpp::{ChargerName, session::Command};
use ohmesh_units::{
    BlockId, Canonical, DecodeError, Domain, Hash, Money, PublicKey, Reader, SigningKey, Timestamp,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use signer::Signer;
use snapshots::{Rebuild, Served};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use waking::Waking;

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
    /// No snapshot reads, the blocks before this height have been removed, and nobody else has them.
    #[error(
        "no snapshot reads, and the blocks before {first} have been removed: there is nothing to start from"
    )]
    Lost {
        /// The first height of which there is a block.
        first: u64,
    },
    /// The only validator has voted after blocks that are not there any more: going on would contradict what it has told.
    #[error("this agent has voted at height {voted}, but has blocks only up to {height}")]
    Rolled {
        /// The height of its write-ahead log.
        voted: u64,
        /// The newest block that is there.
        height: u64,
    },
    /// The data folder of a validator that decides alone was put back from a copy: what it has voted since is not in it.
    #[error(
        "this data folder is a copy, as wal.log shows, and its agent decides alone: what it has decided since is not in it. \
         If there is no newer one, `station-agent ledger adopt` lets it go on"
    )]
    Copied,
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
    /// What came of [`Effect::Ask`].
    Answered {
        /// Who was asked.
        from: PublicKey,
        /// What it was asked.
        query: Box<Query>,
        /// Its answer; none if it could not be asked or gave none.
        answer: Option<Box<Answer>>,
    },
}

/// A question and what came of it.
struct Asked {
    query: Query,
    answer: Option<Answer>,
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
    /// Ask this validator, and tell with [`Event::Answered`] what it says.
    Ask {
        /// Whom.
        from: PublicKey,
        /// What.
        query: Box<Query>,
    },
    /// For the log: something is not as it should be, and what the agent does about it.
    Warning(Warning),
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

/// What an operator should know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Warning {
    /// A snapshot does not make a state: it has been removed, and the agent starts from what was before it.
    #[error("the snapshot of height {height} is removed: {reason}")]
    Snapshot {
        /// Its height.
        height: u64,
        /// Why it does not read.
        reason: String,
    },
    /// The block log does not join the state that there is: it begins anew, and peers are asked for what is missing.
    #[error("the block log does not join height {height} and begins anew; what is missing comes from peers")]
    Blocks {
        /// The height of the state.
        height: u64,
    },
    /// The agent fetches a whole state from peers.
    #[error("at height {height} and far behind: fetching a state from peers")]
    Rebuilding {
        /// Where it is.
        height: u64,
    },
    /// The agent goes on from a state that it has fetched.
    #[error("rebuilt at height {height} from peers, the last part from {from}")]
    Rebuilt {
        /// The height.
        height: u64,
        /// Who sent the last chunk.
        from: PublicKey,
    },
    /// The data folder was put back from a copy.
    #[error(
        "this data folder is a copy: its vote keys are erased, as they may have signed what is not in it"
    )]
    Copied,
    /// A peer answered something false.
    #[error("{peer} is not asked again for this snapshot: {reason}")]
    Peer {
        /// Who.
        peer: PublicKey,
        /// What was false.
        reason: String,
    },
    /// The seller cannot be shown these blocks; it may have seen some of them before it was stopped.
    #[error(
        "the seller cannot be shown blocks {from} to {to}: what it would have bid in those it had not seen is lost"
    )]
    SellerMissed {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
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
    /// The time to ask whether there are blocks that nobody told of.
    Follow,
    /// The time to ask again how far the others are.
    Heads,
    /// The time of the question of this number, of an agent that fetches a state, is over.
    Rebuild(u64),
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
    /// What it keeps of its past.
    pub keep: Keep,
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
    /// What came of the next epoch before this agent was in it.
    early: Early,
    random: ChaCha20Rng,
    timeouts: Timeouts,
    pace: Pace,
    disk: D,
    wal: RecordLog,
    /// What waits in the write-ahead log is to be durable before the effects are handed out.
    must_sync: bool,
    blocks: BlockLog,
    hand_overs: HandOvers,
    keep: Keep,
    kept: Kept,
    /// Snapshots that peers may ask for, by height.
    served: BTreeMap<u64, Served>,
    /// A state that is being fetched.
    rebuild: Option<Rebuild>,
    /// It does not vote yet.
    waking: Option<Waking>,
    /// The heights that validators have told.
    told: BTreeMap<PublicKey, u64>,
    /// When validators that said they were far ahead turned out to have no newer state.
    dismissed: BTreeMap<PublicKey, Timestamp>,
    pub(crate) mempool: Mempool,
    head: Option<(Header, Certificate)>,
    /// Undecided blocks that executed on the head, with what they change.
    drafts: BTreeMap<BlockId, (Block, Applied)>,
    /// The height that waits for its time, if none runs.
    next: Option<u64>,
    /// A validator's part in auctions.
    duties: Duties,
    evidence: EvidenceBox,
    signer: Signer,
    seller: Option<Seller>,
    effects: Vec<Effect>,
}

impl<D: Disk> Agent<D> {
    /// Opens an agent on its disk: takes the newest snapshot that reads, executes every stored block after it, and goes on
    /// with the height of the write-ahead log, once it knows how far the others are. The effects are to be performed as
    /// those of [`Agent::handle`].
    pub fn open(
        zone: Zone,
        settings: Settings,
        mut disk: D,
        now: Timestamp,
    ) -> Result<(Self, Vec<Effect>), AgentError> {
        let seed = Hash::from(zone.id());
        let mut effects = Vec::new();
        let mut hand_overs = HandOvers::open(&mut disk, seed)?;
        let mut kept = Kept::open(&disk)?;
        let identity = settings.key.public();
        let past = snapshots::open(&mut disk, &mut kept, (zone, &identity), &mut hand_overs, &mut effects)?;
        let snapshots::Past { state, head, served, blocks, is_whole } = past;
        let (wal, frames) = RecordLog::open(&mut disk, WAL, seed)?;
        let height = state.head().height + 1;
        let (records, undecided) = read_wal(frames, height)?;
        state.known_rules().map_err(AgentError::Rules)?;
        let mut votes = VoteKeys::open(&disk)?;
        let ahead = records.iter().map(WalRecord::height).find(|logged| *logged > height);
        let is_alone = is_quorum_alone(state.validators(), &identity);
        if let Some(voted) = ahead.filter(|_| is_alone) {
            return Err(AgentError::Rolled { voted, height: height - 1 });
        }
        let is_copied = votes.is_copied(&mut disk, WAL)?;
        if is_copied && is_alone {
            return Err(AgentError::Copied);
        }
        if is_copied {
            effects.push(Effect::Warning(Warning::Copied));
        }
        if ahead.is_some() || !is_whole || is_copied {
            // It has voted after blocks that it no longer has, and of those votes there may be no record.
            votes.forget(&mut disk)?;
            votes.adopt(&mut disk, WAL)?;
            effects.push(Effect::Forgetful { height: ahead.unwrap_or(height) });
        }
        let key = votes.signer(state.validators(), &identity);
        votes.begin(&mut disk, state.epoch().number, key.as_ref().map(SigningKey::public))?;
        let others = state.validators().all().iter().any(|validator| validator.key != identity);
        let must_ask = key.is_some() && others;
        let key = key.filter(|_| !must_ask);
        let config = epochs::config(&state, key, settings.timeouts);
        let signer = Signer::new(*state.zone_id(), settings.key.clone(), derive(&settings.seed, b"sign"));
        let mut duties = Duties::open(&mut disk, seed, signer.account(), derive(&settings.seed, b"duty"))?;
        duties.note_all(state.objects());
        let evidence = EvidenceBox::open(&mut disk, seed)?;
        let index = state.validators().index_of(&identity);
        let own = |record: &WalRecord| record.height() == height && epochs::is_precommit_of(record, index);
        let has_voted = records.iter().any(own);
        let was_running = records.iter().any(|record| record.height() == height);
        let replays_now = was_running && !must_ask;
        let (committee, actions) = if replays_now {
            let (records, blocks) = (records.clone(), undecided.clone());
            Committee::replay(config, height, records, blocks).map_err(AgentError::Committee)?
        } else {
            (Committee::new(config, height), Vec::new())
        };
        let mut agent = Self {
            identity,
            me: committee.validator(),
            votes,
            voted: has_voted.then_some(height),
            is_forgetful: false,
            vote_key_sent: None,
            early: Early::default(),
            random: ChaCha20Rng::from_seed(derive(&settings.seed, b"vote")),
            timeouts: settings.timeouts,
            state,
            committee,
            pace: settings.pace,
            disk,
            wal,
            must_sync: false,
            blocks,
            hand_overs,
            keep: settings.keep,
            kept,
            served,
            rebuild: None,
            waking: None,
            told: BTreeMap::new(),
            dismissed: BTreeMap::new(),
            mempool: Mempool::default(),
            head,
            drafts: BTreeMap::new(),
            next: None,
            duties,
            evidence,
            signer,
            seller: None,
            effects,
        };
        if replays_now {
            for bytes in undecided {
                agent.judge(now, &bytes);
            }
        } else {
            if must_ask {
                let replay = was_running.then_some((height, records, undecided));
                agent.waking = Some(Waking { replay });
            }
            agent.next = Some(height);
            agent.wait_for_next(now);
        }
        agent.perform(now, actions)?;
        agent.do_duties(now)?;
        agent.bring_evidence(now)?;
        if let Some(setup) = settings.seller {
            agent.open_seller(now, setup)?;
        }
        agent.resume_rebuild()?;
        agent.ask_heads();
        agent.wait_to_follow();
        let effects = agent.hand_out()?;
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
            Event::Connected(_)
            | Event::Answered { .. }
            | Event::Elapsed(AgentTimer::Heads | AgentTimer::Rebuild(_)) => self.on_recovery(now, event)?,
            Event::Elapsed(AgentTimer::Committee(timer)) => self.tell(now, Input::Elapsed(timer))?,
            Event::Elapsed(AgentTimer::NextHeight(height)) => {
                if self.next == Some(height) {
                    self.start_next(now)?;
                }
            }
            Event::Elapsed(AgentTimer::Follow) => self.follow(),
            Event::Elapsed(AgentTimer::Seller(timer)) => {
                self.tell_seller(now, seller::Input::Timer(timer))?;
            }
            Event::Seller(input) => {
                self.tell_seller(now, input)?;
            }
            Event::Fetched { from, blocks } => self.on_fetched(now, from, blocks)?,
        }
        self.hand_out()
    }

    fn on_wire(&mut self, now: Timestamp, from: PublicKey, wire: Wire) -> Result<(), AgentError> {
        // Only validators speak to one another here; phones ask.
        if self.state.validators().index_of(&from).is_none() {
            return Ok(());
        }
        match wire {
            Wire::Committee(message) => self.on_committee(now, from, message),
            Wire::Transactions(signed) => {
                if signed.len() <= Wire::TRANSACTIONS_MAX {
                    self.take_in(now, signed);
                }
                Ok(())
            }
            Wire::Certified(bytes, certificate) => self.on_fetched(now, from, vec![(bytes, certificate)]),
        }
    }

    /// Takes transactions from a validator for a block: those that are new here, rightly signed, and could apply now.
    fn take_in(&mut self, now: Timestamp, mut signed: Vec<SignedTransaction>) {
        signed.retain(|one| !self.mempool.holds_id(&one.transaction.id()));
        let verified: Vec<Verified> =
            Verified::each(self.state.zone_id(), signed).into_iter().filter_map(Result::ok).collect();
        let tried = self.state.try_each(now, &verified);
        for (verified, tried) in verified.into_iter().zip(tried) {
            self.admit(now, verified, &tried);
        }
    }

    /// Decided blocks from a peer: each is checked by the committee, committed, and the next one started at once.
    fn on_fetched(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        blocks: Vec<(Vec<u8>, Certificate)>,
    ) -> Result<(), AgentError> {
        let before = self.state.head().height;
        self.early.asked.remove(&from);
        if blocks.is_empty() {
            return self.on_nothing_fetched(now, from);
        }
        for (bytes, certificate) in blocks {
            if certificate.height != self.state.head().height + 1 {
                continue;
            }
            // Before the height starts: a validator whose turn it is would propose at once.
            self.check_memory(&certificate)?;
            if self.next.is_some() {
                self.start_next(now)?;
            }
            let height = certificate.height;
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
        self.tell(now, Input::Start { height })?;
        self.tell_early(now)
    }

    /// Sets the timer by which the waiting height starts.
    fn wait_for_next(&mut self, now: Timestamp) {
        let Some(height) = self.next else { return };
        let is_busy = !self.mempool.is_empty() || self.duties.is_busy();
        let wait = self.pace.wait(now, self.state.head().time, is_busy);
        self.effects.push(Effect::SetTimer(AgentTimer::NextHeight(height), wait));
    }

    /// Takes a checked transaction for a block, `tried` being what would come of it now; whether it is new and could apply,
    /// and there was room.
    fn admit(&mut self, now: Timestamp, verified: Verified, tried: &Result<(), TransactionError>) -> bool {
        if tried.is_err() || self.is_free_and_too_many(&verified) {
            return false;
        }
        let was_idle = self.mempool.is_empty();
        let is_duty = self.is_duty(&verified);
        let is_new = self.mempool.insert(verified, is_duty);
        if was_idle && is_new {
            self.wait_for_next(now);
        }
        is_new
    }

    /// Whether a validator owes it to the ledger: one of this epoch, of the next, or of a key that still counts.
    fn is_duty(&self, verified: &Verified) -> bool {
        let transaction = verified.transaction();
        let governance = self.state.governance();
        let has_sender = |set: &ValidatorSet| set.all().iter().any(|one| one.account() == transaction.sender);
        transaction.body.is_duty()
            && (has_sender(self.state.validators())
                || governance.next_validators.as_ref().is_some_and(has_sender)
                || governance.keys.iter().any(|holders| holders.accounts.contains(&transaction.sender)))
    }

    /// Where transactions cost something, those that cost nothing must not fill the room of the others.
    fn is_free_and_too_many(&self, verified: &Verified) -> bool {
        self.state.governance().rules.fee > Money::ZERO
            && mempool::opens_account(verified)
            && self.mempool.opening() >= FREE_BLOCKS * Block::FREE_ACCOUNTS_MAX as usize
    }

    /// Passes transactions on to the other validators, if there are any.
    fn pass_on(&mut self, news: &[Verified]) {
        if self.others().next().is_none() {
            return;
        }
        let mut rest = news.iter().peekable();
        while rest.peek().is_some() {
            let (mut message, mut bytes) = (Vec::new(), 0);
            while let Some(one) = rest.next_if(|one| {
                bytes += one.encoded().len();
                message.is_empty() || message.len() < Wire::TRANSACTIONS_MAX && bytes <= Block::MAX_BYTES
            }) {
                message.push(one.signed().clone());
            }
            self.effects.push(Effect::Publish(Wire::Transactions(message)));
        }
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
    Block(BlockBytes),
}

impl Canonical for WalEntry {
    const NAME: &'static str = "write-ahead entry";
    const MAX_BYTES: usize = Block::MAX_BYTES + 64;
}

/// What the write-ahead log says of `height` and later heights, and the undecided blocks of `height`. What it still holds of
/// heights that are decided is over.
fn read_wal(
    frames: Vec<crate::record_log::Frame>,
    height: u64,
) -> Result<(Vec<WalRecord>, Vec<BlockBytes>), AgentError> {
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
    records.retain(|record| record.height() >= height);
    blocks.retain(|bytes| Block::decode(bytes).is_ok_and(|block| block.header.height == height));
    Ok((records, blocks))
}

/// Whether this validator decides by itself.
fn is_quorum_alone(validators: &ValidatorSet, me: &PublicKey) -> bool {
    let own = validators.index_of(me).and_then(|index| validators.at(index));
    own.is_some_and(|own| validators.is_quorum(own.stake))
}

/// A seed of its own for one use.
fn derive(seed: &[u8; 32], usage: &[u8; 4]) -> [u8; 32] {
    const SEED: Domain = Domain::new("ohmesh/1 agent randomness");
    SEED.hash(&[seed, usage]).0
}

/// The file of the write-ahead log, in which every vote is recorded.
pub(crate) const WAL: &str = "wal.log";
/// Free accounts that wait at most, in blocks full of them.
const FREE_BLOCKS: usize = 4;
/// How far ahead of this agent's clock a block may be.
const AHEAD_MAX: Duration = Duration::from_secs(2);

type Actions = VecDeque<Action>;
