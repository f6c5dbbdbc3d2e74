//! Transfers committed by four validators in one process, each of them checking every signature, as a share of what this
//! machine can check at all.
//!
//! One thread, disks in memory, messages handed over at once: what is measured is the CPU that a transfer costs, four times.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::{
    Asset, Body, Distributor, Journal, KeyGroup, Leg, Rules, SignedTransaction, Transaction, Validator,
    ValidatorSet, Zone,
};
use ohmesh_tests::{account, key};
use ohmesh_units::{
    AccountId, Canonical, Position, Price, SignatureCheck, SigningKey, Timestamp, ZoneId, verify_batch,
};
use station_agent::{
    agent::{Agent, AgentTimer, Effect, Event, Settings},
    disk::Memory,
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

const VALIDATORS: u8 = 4;
const SENDERS: u64 = 500;
const ROUNDS: usize = 5;

fn main() {
    println!("four validators in one process, one thread, disks in memory");
    for per_block in [100usize, 1_000, 4_000] {
        let mut world = World::new();
        let senders: Vec<SigningKey> = (0..SENDERS).map(sender).collect();
        world.fund(&senders);
        let mut spent = Duration::ZERO;
        let mut committed = 0;
        let mut checks = Vec::new();
        let mut latencies = Vec::new();
        for round in 0..ROUNDS {
            let transfers: Vec<SignedTransaction> = (0..per_block)
                .map(|n| {
                    let from = n % senders.len();
                    let body = pay(&senders[from], &senders[(from + 1) % senders.len()]);
                    world.sign(&senders[from], (round * per_block + n + 1_000_000) as u128, body, &[])
                })
                .collect();
            checks.extend(transfers.iter().map(|signed| (signed.transaction.encode(), signed.signatures[0])));
            let before = world.applied();
            let start = Instant::now();
            world.submit(&transfers);
            world.run_until(before + per_block);
            let took = start.elapsed();
            latencies.push(took.as_secs_f64() * 1e3);
            spent += took;
            committed += per_block;
        }
        let raw: Vec<SignatureCheck<'_>> = checks
            .iter()
            .map(|(message, one)| SignatureCheck {
                key: one.key,
                domain: Transaction::DOMAIN,
                message,
                signature: one.signature,
            })
            .collect();
        let start = Instant::now();
        raw.chunks(1024).for_each(|batch| verify_batch(batch).unwrap());
        let raw_rate = raw.len() as f64 / start.elapsed().as_secs_f64();
        let rate = f64::from(committed as u32) / spent.as_secs_f64();
        latencies.sort_by(f64::total_cmp);
        println!(
            "{per_block:5} a block: {rate:7.0} transfers/s committed by all four; raw batch checks {raw_rate:7.0}/s; \
             share of it spent on the four checks {:.2}; submit to final p50 {:.0} ms",
            rate * f64::from(VALIDATORS) / raw_rate,
            latencies[latencies.len() / 2],
        );
    }
}

fn sender(n: u64) -> SigningKey {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_seed(seed)
}

fn pay(from: &SigningKey, to: &SigningKey) -> Body {
    let (journal, asset) = (Journal::Energy, Asset::Currency);
    let [from, to] = [from, to].map(|key| AccountId::of(&key.public()));
    Body::Transfer { legs: vec![Leg::Move { journal, asset, from, to, amount: 1 }] }
}

struct World {
    agents: Vec<Agent<Memory>>,
    timers: Vec<BTreeMap<AgentTimer, u64>>,
    inbox: VecDeque<(usize, Event)>,
    now_ms: u64,
    zone: ZoneId,
    applied: usize,
}

impl World {
    fn new() -> Self {
        let validators = (1..=VALIDATORS)
            .map(|n| Validator {
                name: format!("v{n}"),
                key: key(n).public(),
                vote: key(n + 150).public(),
                stake: 1,
                address: String::new(),
            })
            .collect();
        let corner = |lat, lon| Position::from_e7(lat, lon).unwrap();
        let now_ms = 1_800_000_000_000;
        let zone = Zone {
            name: "bench".into(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::from_millis(now_ms),
            polygon: vec![corner(0, 0), corner(0, 1), corner(1, 0)],
            regulators: None,
            rules: Rules::default(),
            treasury: KeyGroup { threshold: 1, keys: vec![key(100).public()] },
            distributor: Distributor { key: key(101).public(), tariff: Price::from_micro_per_kwh(0) },
            areas: Vec::new(),
            validators: ValidatorSet::new(validators).unwrap(),
        };
        let mut world = Self {
            agents: Vec::new(),
            timers: vec![BTreeMap::new(); usize::from(VALIDATORS)],
            inbox: VecDeque::new(),
            now_ms,
            zone: zone.id(),
            applied: 0,
        };
        for n in 1..=VALIDATORS {
            let settings = Settings {
                key: key(n),
                pace: Pace::default(),
                timeouts: Timeouts::default(),
                seed: [n; 32],
                seller: None,
            };
            let mut disk = Memory::default();
            VoteKeys::first(&mut disk, [n + 150; 32]).unwrap();
            let (agent, effects) =
                Agent::open(zone.clone(), settings, disk, Timestamp::from_millis(now_ms)).unwrap();
            world.agents.push(agent);
            world.perform(usize::from(n) - 1, effects);
        }
        world
    }

    fn sign(&self, sender: &SigningKey, number: u128, body: Body, also: &[&SigningKey]) -> SignedTransaction {
        let transaction = Transaction {
            zone: self.zone,
            sender: AccountId::of(&sender.public()),
            number,
            valid_until: Timestamp::from_millis(self.now_ms + 3_600_000),
            body,
        };
        let keys: Vec<&SigningKey> = std::iter::once(sender).chain(also.iter().copied()).collect();
        transaction.sign(&keys)
    }

    fn fund(&mut self, senders: &[SigningKey]) {
        let before = self.applied();
        let opens: Vec<SignedTransaction> = senders
            .iter()
            .map(|key| self.sign(key, 1, Body::OpenAccount { owner: key.public() }, &[]))
            .collect();
        self.submit(&opens);
        self.run_until(before + senders.len());
        let treasurer = key(100);
        let issues: Vec<SignedTransaction> = (1u128..)
            .zip(senders)
            .map(|(n, to)| {
                let to = AccountId::of(&to.public());
                let (asset, reference) = (Asset::Currency, "bench".to_owned());
                self.sign(&treasurer, n, Body::Issue { asset, to, amount: 1_000_000, reference }, &[])
            })
            .collect();
        self.submit(&issues);
        self.run_until(before + 2 * senders.len());
        let _ = account(1);
    }

    /// Hands transactions to every validator, as gossip does.
    fn submit(&mut self, signed: &[SignedTransaction]) {
        for chunk in signed.chunks(Wire::TRANSACTIONS_MAX) {
            for to in 0..self.agents.len() {
                let from = key(if to == 0 { 2 } else { 1 }).public();
                self.inbox.push_back((to, Event::Wire { from, wire: Wire::Transactions(chunk.to_vec()) }));
            }
        }
    }

    /// Transactions in blocks that the last validator has applied.
    fn applied(&self) -> usize {
        self.applied
    }

    fn run_until(&mut self, applied: usize) {
        while self.applied < applied {
            let (to, event) = match self.inbox.pop_front() {
                Some(next) => next,
                None => self.next_timer(),
            };
            let effects = self.agents[to].handle(Timestamp::from_millis(self.now_ms), event).unwrap();
            self.perform(to, effects);
        }
    }

    fn next_timer(&mut self) -> (usize, Event) {
        let (at, to, timer) = (0..self.timers.len())
            .flat_map(|to| self.timers[to].iter().map(move |(timer, at)| (*at, to, *timer)))
            .min()
            .expect("somebody waits for something");
        self.timers[to].remove(&timer);
        self.now_ms = self.now_ms.max(at);
        (to, Event::Elapsed(timer))
    }

    fn perform(&mut self, me: usize, effects: Vec<Effect>) {
        let from = key(u8::try_from(me).unwrap() + 1).public();
        for effect in effects {
            match effect {
                Effect::Publish(wire) => {
                    for to in (0..usize::from(VALIDATORS)).filter(|to| *to != me) {
                        self.inbox.push_back((to, Event::Wire { from, wire: wire.clone() }));
                    }
                }
                Effect::SetTimer(timer, wait) => {
                    let at = self.now_ms + u64::try_from(wait.as_millis()).unwrap();
                    self.timers[me].insert(timer, at);
                }
                Effect::CancelTimer(timer) => {
                    self.timers[me].remove(&timer);
                }
                Effect::CancelCommitteeTimers => {
                    self.timers[me].retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                }
                Effect::Decided(decided) if me + 1 == usize::from(VALIDATORS) => {
                    self.applied += decided.header.transaction_count as usize;
                }
                Effect::Charger { .. }
                | Effect::Sale(_)
                | Effect::Send(..)
                | Effect::Fetch { .. }
                | Effect::Decided(_)
                | Effect::Refused { .. }
                | Effect::Validators(_)
                | Effect::Forgetful { .. }
                | Effect::Equivocation(_) => {}
            }
        }
    }
}
