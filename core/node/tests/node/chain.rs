//! A zone of any size whose vote keys change every day, and its agents on a simulated network.

use crate::town::{BUYER, DISTRIBUTOR, SELLER, TREASURER, account, key, pay};
use ohmesh_ledger::*;
use ohmesh_mesh::{
    Endpoint, Inbound, Limits,
    sim::{Faults, SimClock, SimNet},
};
use ohmesh_node::{Builder, Certified, Place};
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

pub const METER: u8 = 90;
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// The lasting key of validator `n`.
pub fn identity(n: usize) -> SigningKey {
    let mut seed = [3; 32];
    seed[0] = u8::try_from(n).unwrap();
    SigningKey::from_seed(seed)
}

/// The key with which validator `n` votes in `epoch`. Another `history` is what somebody else could have chosen.
pub fn vote(n: usize, epoch: u64, history: u8) -> SigningKey {
    let mut seed = [history; 32];
    seed[0] = u8::try_from(n).unwrap();
    seed[1..9].copy_from_slice(&epoch.to_be_bytes());
    SigningKey::from_seed(seed)
}

/// The only history there should be.
pub const TRUE: u8 = 4;

pub fn outlet_of(number: u16) -> EvseId {
    EvseId::of(&StationId::of(&account(SELLER), 1), number)
}

pub struct Chain {
    pub file: ZoneFile,
    pub state: State,
    pub now: Timestamp,
    pub head: Certified,
    pub hand_overs: Vec<HandOver>,
    /// The last epoch of which the true validators have chosen the vote keys; who chose those after it.
    fork: (u64, u8),
    numbers: u128,
}

impl Chain {
    pub fn new(validators: usize) -> Self {
        let file = zone_of(validators);
        let zone = file.sealed().unwrap().clone();
        let (now, state) = (zone.created, State::genesis(zone));
        let proposed = state.propose(now.checked_add(Duration::from_secs(1)).unwrap(), 0, &[]);
        let head = certified(&proposed.block.header, state.validators(), 0, TRUE);
        let mut chain = Self { file, state, now, head, hand_overs: Vec::new(), fork: (0, TRUE), numbers: 0 };
        for who in [BUYER, SELLER] {
            let open = chain.signed(&key(who), Body::OpenAccount { owner: key(who).public() }, &[]);
            chain.numbers += 1;
            let (asset, to, reference) = (Asset::Currency, account(who), "bank 1".into());
            let issue = Body::Issue { asset, to, amount: 100_000_000, reference };
            let issue = chain.signed(&key(TREASURER), issue, &[]);
            chain.block(Duration::from_secs(1), vec![open]);
            chain.block(Duration::from_secs(1), vec![issue]);
        }
        chain
    }

    /// A chain of four validators that is `days` old.
    pub fn days(days: u64) -> Self {
        Self::forked(days, days, TRUE)
    }

    /// The same, but those who held the vote keys of epoch `last` have signed others, those of `history`, for the next.
    pub fn forked(days: u64, last: u64, history: u8) -> Self {
        let mut chain = Self::new(4);
        chain.fork = (last, history);
        (0..days).for_each(|_| chain.day());
        chain
    }

    fn history(&self, epoch: u64) -> u8 {
        if epoch <= self.fork.0 { TRUE } else { self.fork.1 }
    }

    pub fn signed(&mut self, sender: &SigningKey, body: Body, also: &[SigningKey]) -> SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: AccountId::of(&sender.public()),
            number: self.numbers,
            valid_until: self.now.checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        let mut keys = vec![sender];
        keys.extend(also);
        transaction.sign(&keys)
    }

    pub fn block(&mut self, later: Duration, transactions: Vec<SignedTransaction>) {
        let candidates = Verified::all(self.state.zone_id(), transactions).unwrap();
        let time = self.now.checked_add(later).unwrap();
        let proposed = self.state.propose(time, 0, &candidates);
        assert_eq!(proposed.refused, vec![]);
        let header = proposed.block.header;
        self.now = header.time;
        self.head = certified(&header, self.state.validators(), header.epoch, self.history(header.epoch));
        self.state.apply(proposed.applied);
        if header.next_voters.is_some() {
            let (header, certificate) = self.head.clone();
            let voters = self.state.validators().voters().clone();
            self.hand_overs.push(HandOver { header, certificate, voters });
        }
    }

    /// A day: a payment, the vote keys of the next epoch, and its end.
    pub fn day(&mut self) {
        self.block(DAY / 2, vec![]);
        let payment = self.signed(&key(BUYER), pay(BUYER, SELLER, 1_000), &[]);
        self.block(Duration::from_secs(1), vec![payment]);
        let epoch = self.state.epoch().number + 1;
        let validators = self.state.validators().all().len();
        let keys: Vec<SignedTransaction> = (0..validators)
            .map(|n| {
                let vote = vote(n, epoch, self.history(epoch));
                self.signed(&identity(n), Body::VoteKey { epoch, key: vote.public() }, &[vote])
            })
            .collect();
        self.block(Duration::from_secs(1), keys);
        self.block(DAY / 2, vec![]);
        assert_eq!(self.state.epoch().number, epoch);
        self.block(Duration::from_secs(1), vec![]);
    }

    pub fn proofs(&self, who: u8) -> Vec<Proof> {
        self.state.prove_account(&account(who)).unwrap_or_default()
    }

    /// Five outlets, and the buyer's money held for a sale at each: the ids of the holds.
    pub fn open_sales(&mut self) -> Vec<Hash> {
        let position = Position::from_e7(525_200_000, 134_050_000).unwrap();
        let (number, name, award_key) = (1, "Station".to_owned(), Hash([9; 32]));
        let station =
            self.signed(&key(SELLER), Body::RegisterStation { number, name, position, award_key }, &[]);
        self.block(Duration::from_secs(1), vec![station]);
        let mut holds = Vec::new();
        for number in 1..=5 {
            let (station, plugs) = (StationId::of(&account(SELLER), 1), (1, Power::from_w(22_000)));
            let meter = key(METER + u8::try_from(number).unwrap());
            let (zone, owner) = (self.state.zone_id(), account(SELLER));
            let outlet = Body::register_evse(zone, &owner, (station, number), plugs, &meter);
            let outlet = self.signed(&key(SELLER), outlet, &[]);
            self.block(Duration::from_secs(1), vec![outlet]);
            let timeout = self.now.checked_add(Duration::from_secs(12 * 3600)).unwrap();
            let (price, energy) = (Price::from_micro_per_kwh(300_000), Energy::from_wh(10_000));
            let body = Body::PendSale { evse: outlet_of(number), price, energy, timeout };
            let hold = self.signed(&key(BUYER), body, &[]);
            holds.push(hold.transaction.pending_id());
            self.block(Duration::from_secs(1), vec![hold]);
        }
        holds
    }

    /// The sales of [`Chain::open_sales`] are paid.
    pub fn settle(&mut self, holds: &[Hash]) {
        for (number, pending) in (1u8..).zip(holds) {
            let (energy, register_start) = (Energy::from_wh(9_000), Energy::ZERO);
            let body = Body::PostSale { pending: *pending, energy, register_start };
            let post = self.signed(&key(SELLER), body, &[key(METER + number)]);
            self.block(Duration::from_secs(60), vec![post]);
        }
    }

    fn account(&self, id: &AccountId) -> Vec<Proof> {
        let proofs = self.state.prove_account(id).unwrap_or_default();
        proofs.into_iter().map(Proof::without_owner).collect()
    }

    fn answer(&self, query: &Query) -> Answer {
        let head = Box::new(self.head.clone());
        match query {
            Query::Head => Answer::Head(Some(head)),
            Query::Account(id) => Answer::Proofs(head, self.account(id)),
            Query::Object(id) => Answer::Proofs(head, self.state.prove_object(id).into_iter().collect()),
            Query::Several { account, objects } => {
                let mut proofs = self.account(account);
                proofs.extend(objects.iter().filter_map(|id| self.state.prove_object(id)));
                Answer::Proofs(head, proofs)
            }
            Query::HandOvers { from } => {
                let from = usize::try_from(*from).unwrap_or(usize::MAX).min(self.hand_overs.len());
                let some = self.hand_overs[from..].iter().take(HandOver::ANSWER_MAX);
                Answer::HandOvers(some.cloned().collect())
            }
            Query::Transaction(_) => Answer::Unknown,
            _ => Answer::Refused("not here".into()),
        }
    }
}

fn zone_of(validators: usize) -> ZoneFile {
    let validator = |n: usize| Validator {
        name: format!("agent {n}"),
        key: identity(n).public(),
        vote: vote(n, 0, TRUE).public(),
        stake: 10,
        address: address(n).to_string(),
    };
    let zone = Zone {
        name: "dayville".into(),
        currency: "EUR".parse().unwrap(),
        created: Timestamp::from_millis(1_800_000_000_000),
        polygon: [(525, 134), (526, 134), (526, 135)]
            .map(|(lat, lon)| Position::from_e7(lat * 1_000_000, lon * 1_000_000).unwrap())
            .to_vec(),
        regulators: None,
        rules: Rules::default(),
        treasury: KeyGroup { threshold: 1, keys: vec![key(TREASURER).public()] },
        distributor: Distributor {
            key: key(DISTRIBUTOR).public(),
            tariff: Price::from_micro_per_kwh(80_000),
        },
        areas: Vec::new(),
        validators: ValidatorSet::new((0..validators).map(validator).collect()).unwrap(),
    };
    let mut file = ZoneFile::new(zone).unwrap();
    (0..validators).for_each(|n| file.sign(&identity(n)).unwrap());
    file
}

pub fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, u8::try_from(n).unwrap()], 4433))
}

/// `header` with a certificate by as few of `validators` as suffice, as a committee makes it.
pub fn certified(header: &Header, validators: &ValidatorSet, epoch: u64, history: u8) -> Certified {
    let quorum = validators.all().len() * 2 / 3 + 1;
    certified_by(header, quorum, epoch, history)
}

/// `header` with a certificate by the first `signers` validators of `epoch`.
pub fn certified_by(header: &Header, signers: usize, epoch: u64, history: u8) -> Certified {
    let (height, block) = (header.height, header.id());
    let signature = |n: usize| {
        let validator = u16::try_from(n).unwrap();
        let ballot = Vote { kind: VoteKind::Precommit, height, round: 0, block: Some(block), validator };
        (validator, ballot.sign(&header.zone, epoch, &vote(n, epoch, history)))
    };
    let signatures = (0..signers).map(signature).collect();
    (header.clone(), Certificate { height, round: 0, epoch, block, signatures })
}

/// What has been asked and answered.
#[derive(Default, Debug, Clone)]
pub struct Counted {
    pub questions: Vec<String>,
    pub bytes: usize,
    /// What the paths of all proofs would have more with a million objects in the ledger.
    pub more: usize,
}

type Cheat = Box<dyn Fn(&Query) -> Option<Answer> + Send>;

/// The agents of a chain. Each may cheat.
pub struct Land {
    pub net: SimNet,
    pub chain: Arc<Mutex<Chain>>,
    pub clock: Arc<SimClock>,
    pub cheat: Arc<Mutex<Option<Cheat>>>,
    pub counted: Arc<Mutex<Counted>>,
    agents: Mutex<Vec<Endpoint>>,
}

impl Land {
    /// Must run inside [`crate::agent::simulate`].
    pub fn new(chain: Chain) -> Self {
        let (net, clock) = (SimNet::new(1, Faults::default()), SimClock::new(chain.now));
        let validators = chain.file.zone.validators.all().len();
        let chain = Arc::new(Mutex::new(chain));
        let (cheat, counted) = (Arc::default(), Arc::default());
        let land = Self { net, chain, clock, cheat, counted, agents: Mutex::default() };
        (0..validators).for_each(|n| land.start_as(identity(n), address(n)));
        land
    }

    /// An agent with this key, at this address.
    pub fn start_as(&self, identity: SigningKey, address: SocketAddr) {
        let agent = self.endpoint(identity, address, Limits::default());
        let (chain, cheat, counted) = (self.chain.clone(), self.cheat.clone(), self.counted.clone());
        self.agents.lock().unwrap().push(agent.clone());
        tokio::spawn(async move {
            while let Some(caller) = agent.accept().await {
                let (chain, cheat, counted) = (chain.clone(), cheat.clone(), counted.clone());
                let caller = caller.unwrap();
                tokio::spawn(async move {
                    while let Ok(Inbound::Request { bytes, reply }) = caller.next().await {
                        let query = Query::decode(&bytes).unwrap();
                        let lie = cheat.lock().unwrap().as_ref().and_then(|cheat| cheat(&query));
                        let answer = lie.unwrap_or_else(|| chain.lock().unwrap().answer(&query));
                        counted.lock().unwrap().count(&query, &answer);
                        let _ = reply.send(&answer.encode()).await;
                    }
                });
            }
        });
    }

    fn endpoint(&self, key: SigningKey, address: SocketAddr, limits: Limits) -> Endpoint {
        Endpoint::builder(key)
            .socket(self.net.bind(address))
            .seed([7; 32])
            .clock(self.clock.clone())
            .limits(limits)
            .start()
            .unwrap()
    }

    pub fn phone(&self, place: Place, seed: u8) -> Builder {
        let address = SocketAddr::from(([10, 0, 2, seed], 4433));
        Builder::new(self.chain(|chain| chain.file.clone()), key(BUYER))
            .endpoint(self.endpoint(key(100 + seed), address, Limits::phone()))
            .store(place)
            .random(ChaCha20Rng::from_seed([seed; 32]))
    }

    pub fn chain<T>(&self, act: impl FnOnce(&mut Chain) -> T) -> T {
        act(&mut self.chain.lock().unwrap())
    }

    /// The phone's clock shows the newest block's time.
    pub fn catch_up(&self) {
        use ohmesh_mesh::Clock;
        let (now, clock) = (self.chain(|chain| chain.now), self.clock.now());
        let ahead = now.as_millis().saturating_sub(clock.as_millis());
        self.clock.jump(i64::try_from(ahead).unwrap());
    }

    pub fn lie(&self, cheat: impl Fn(&Query) -> Option<Answer> + Send + 'static) {
        *self.cheat.lock().unwrap() = Some(Box::new(cheat));
    }
}

impl Counted {
    fn count(&mut self, query: &Query, answer: &Answer) {
        let name = format!("{query:?}");
        let name = name.split([' ', '(', '{']).next().unwrap().to_owned();
        let bytes = query.encode().len() + answer.encode().len();
        self.questions.push(format!("{name} {bytes}"));
        self.bytes += bytes;
        if let Answer::Proofs(_, proofs) = answer {
            let missing = |proof: &Proof| 32 * 20usize.saturating_sub(proof.path.len());
            self.more += proofs.iter().map(missing).sum::<usize>();
        }
    }
}
