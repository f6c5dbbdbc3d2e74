//! The world: a heap of things that will happen, virtual time, and everybody in it.

mod troubles;

use super::{
    Cut, Dice, Fault, Outcome, Scenario, SimDisk,
    checker::{Checker, panic_text},
    host::{Host, error_name, participant},
    liar::Liar,
    market::REGULATOR,
    network::Network,
    plan::{self, Trouble},
    workload::{Wish, Workload},
};
use crate::zone::{key, lay_vote_key, zone_file};
use ohmesh_ledger::{Answer, KeyGroup, Query, Rules, SignedTransaction, ValidatorSet, Zone};
use ohmesh_units::{Canonical, Domain, Hasher, PublicKey, Timestamp};
use station_agent::{
    agent::{AgentError, AgentTimer, Asker, Decided, Effect, Event, Keep, Warning},
    wire::Wire,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Runs a scenario to its end or to the first breach of a rule. With `tells`, the outcome has the story.
pub fn run(scenario: &Scenario, tells: bool) -> Outcome {
    let mut world = World::new(scenario, tells);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        world.checker.breach("panic", panic_text(panic.as_ref()));
    }
    world.finish()
}

struct World {
    scenario: Scenario,
    zone: Zone,
    keys: Vec<PublicKey>,
    hosts: Vec<Host>,
    liars: BTreeMap<usize, Liar>,
    network: Network,
    workload: Workload,
    checker: Checker,
    dice: Dice,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    coming: BTreeMap<u64, Happening>,
    sequence: u64,
    now_us: u64,
    /// The height that every honest agent must reach once the faults have ended.
    goal: Option<u64>,
    newest_us: u64,
    /// How long everything was off, and the night that is still to come.
    slept_ms: u64,
    night_ms: Option<u64>,
    /// When all had gained their heights, and by when all must have.
    healed_us: Option<u64>,
    end_us: u64,
    trace: Hasher,
    outcome: Outcome,
    tells: bool,
}

/// What happens at some instant.
enum Happening {
    Boot { host: usize },
    Trouble(Trouble),
    Heal,
    Deliver { to: usize, from: usize, bytes: Arc<[u8]> },
    Ask { of: usize, from: usize, life: u64, query: Box<Query> },
    Answered { to: usize, life: u64, from: usize, query: Box<Query>, bytes: Option<Vec<u8>> },
    Elapsed { host: usize, life: u64, timer: AgentTimer, setting: u64 },
    Dial { host: usize, life: u64, to: usize, pause_us: u64 },
    Wish,
    Poll { wish: Box<Wish>, tries: u32 },
}

impl World {
    fn new(scenario: &Scenario, tells: bool) -> Self {
        const TRACE: Domain = Domain::new("ohmesh/1 simulation trace");
        // Epochs as short as they may be: keys change hands in every history.
        let rules = Rules { epoch_ms: Rules::EPOCH_MIN_MS, ..Rules::default() };
        let mut zone = zone_file(&scenario.stakes, rules, START).zone;
        zone.regulators = Some(KeyGroup { threshold: 1, keys: vec![key(REGULATOR).public()] });
        let newcomers: Vec<u8> = (scenario.stakes.len()..machines(scenario)).map(participant).collect();
        let hosts = hosts(scenario);
        let faulty = scenario.liars.iter().copied().chain(scenario.damaged).collect();
        let mut world = Self {
            keys: (0..machines(scenario)).map(|v| key(participant(v)).public()).collect(),
            liars: liars(scenario, &hosts),
            network: Network::new(scenario, hosts.len()),
            workload: Workload::new(scenario.seed, scenario.has_market, newcomers),
            checker: Checker::new(zone.clone(), faulty),
            dice: Dice::new(scenario.seed, "world", 0),
            queue: BinaryHeap::new(),
            coming: BTreeMap::new(),
            sequence: 0,
            now_us: 0,
            goal: None,
            newest_us: 0,
            slept_ms: 0,
            night_ms: scenario.night_ms,
            healed_us: None,
            end_us: (scenario.trouble_ms + scenario.healing_ms) * 1_000,
            trace: TRACE.hasher(),
            outcome: Outcome {
                seed: scenario.seed,
                faults: scenario.faults.iter().copied().collect(),
                validators: scenario.stakes.len(),
                trouble_ms: scenario.trouble_ms,
                ..Outcome::default()
            },
            scenario: scenario.clone(),
            zone,
            hosts,
            tells,
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for host in 0..self.hosts.len() {
            lay_vote_key(participant(self.hosts[host].validator), &mut self.hosts[host].disk);
            self.hosts[host].disk.set_lying(self.scenario.disks_lie);
            let validators = self.scenario.stakes.len();
            let is_newcomer = self.hosts[host].validator >= validators;
            let joins_us = if is_newcomer { self.dice.between(4_000_000, 12_000_000) } else { 0 };
            self.at(joins_us + host as u64 * 10_000, Happening::Boot { host });
        }
        for (at_us, trouble) in plan::troubles(&self.scenario, self.hosts.len()) {
            self.at(at_us, Happening::Trouble(trouble));
        }
        self.at(self.scenario.trouble_ms * 1_000, Happening::Heal);
        self.at(300_000, Happening::Wish);
    }

    fn at(&mut self, at_us: u64, happening: Happening) {
        self.sequence += 1;
        self.coming.insert(self.sequence, happening);
        self.queue.push(Reverse((at_us, self.sequence)));
    }

    fn after(&mut self, wait_us: u64, happening: Happening) {
        self.at(self.now_us + wait_us, happening);
    }

    fn run(&mut self) {
        while let Some(Reverse((at_us, sequence))) = self.queue.pop() {
            self.now_us = at_us;
            self.checker.at(at_us / 1_000);
            if self.checker.violation().is_some() || self.is_healed() && self.is_the_end() {
                break;
            }
            if at_us > self.end_us {
                let slow = self.honest().filter(|host| Some(self.hosts[*host].told) < self.goal);
                let slow: Vec<_> = slow.map(|h| (&self.hosts[h].name, self.hosts[h].told)).collect();
                let seen = format!("{slow:?} have not reached height {:?}", self.goal.unwrap_or(0));
                self.checker.breach("liveness", seen);
                break;
            }
            let happening = self.coming.remove(&sequence).expect("each is taken once");
            self.happen(happening);
        }
        if self.checker.violation().is_none() {
            self.look_back();
        }
    }

    /// Whether every honest agent has gained its heights after the faults.
    fn is_healed(&self) -> bool {
        self.goal.is_some_and(|goal| self.honest().all(|host| self.hosts[host].told >= goal))
    }

    /// All is well: the end, unless somebody still sells and there is time for it, or a night is to come, after which
    /// all must go on.
    fn is_the_end(&mut self) -> bool {
        if self.healed_us.is_none() {
            self.healed_us = Some(self.now_us);
        }
        let most = self.goal.unwrap_or(0) + SALES_HEIGHTS;
        if !self.workload.is_over() && self.checker.height() < most && self.now_us < self.end_us {
            return false;
        }
        let Some(ms) = self.night_ms.take() else { return true };
        self.night(ms);
        self.goal = Some(self.checker.height() + self.scenario.gain);
        self.end_us = self.now_us + self.scenario.healing_ms * 1_000;
        false
    }

    /// What must hold at the end: nothing acknowledged is missing, and what is on disk is what was decided.
    fn look_back(&mut self) {
        let time = self.time(0);
        for at in self.honest().collect::<Vec<_>>() {
            let host = &mut self.hosts[at];
            if let Some(agent) = &host.agent {
                self.checker.nothing_lost(&host.name, agent.state());
            }
            host.end();
            host.disk.restart(Cut::Clean);
            match host.open(&self.zone, [0; 32], time) {
                Ok((mut agent, _)) => {
                    let state = agent.state();
                    self.checker.opened(&host.name, state.head().height, host.told, state);
                    self.checker.nothing_lost(&host.name, state);
                    let asked = agent.answer(time, ASKER, Query::HandOvers { from: 0 });
                    if let Ok((Answer::HandOvers(hand_overs), _)) = asked {
                        self.checker.hand_overs(&host.name, &hand_overs);
                    }
                }
                Err(error) => self.checker.breach("stopped", format!("{} does not open: {error}", host.name)),
            }
        }
    }

    fn finish(self) -> Outcome {
        let mut outcome = self.outcome;
        let mut trace = self.trace;
        for host in &self.hosts {
            trace.update(&host.disk.trace().0);
            let counts = host.disk.counts();
            outcome.disks.operations += counts.operations;
            outcome.disks.torn += counts.torn;
            outcome.disks.misdirected += counts.misdirected;
            outcome.disks.lost += counts.lost;
            outcome.disks.full += counts.full;
            outcome.disks.sync_errors += counts.sync_errors;
            outcome.disks.put_back += counts.put_back;
        }
        for liar in self.liars.values() {
            for (lie, times) in &liar.told {
                *outcome.lies.entry(*lie).or_default() += times;
            }
        }
        outcome.network = self.network.counts;
        let healed_us = self.healed_us.filter(|_| self.checker.violation().is_none());
        outcome.healed_ms = healed_us.map_or(0, |us| us / 1_000 - self.scenario.trouble_ms);
        outcome.height = self.checker.height();
        outcome.epochs = self.checker.epochs();
        outcome.acknowledged = self.checker.acknowledged();
        let (books, height) = (self.checker.books(), self.checker.height());
        (outcome.read, outcome.unread) = (books.height(), height - books.height());
        outcome.books = books.counts;
        outcome.seated = self.checker.seated(&self.keys[self.scenario.stakes.len()..]);
        outcome.violation = self.checker.violation().cloned();
        outcome.trace = Some(trace.finish());
        outcome
    }

    fn honest(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|host| self.is_honest(*host))
    }

    fn is_honest(&self, host: usize) -> bool {
        self.is_correct(host) && self.scenario.damaged != Some(self.hosts[host].validator)
    }

    /// Whether the agent does what it should; its disk may do what it likes.
    fn is_correct(&self, host: usize) -> bool {
        !self.scenario.liars.contains(&self.hosts[host].validator)
    }

    fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.tells {
            let line = line(self);
            let ms = self.now_us / 1_000;
            self.outcome.story.push(format!("{:>3}.{:03} {line}", ms / 1_000, ms % 1_000));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Boot { host } => self.boot(host),
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Heal => self.heal(),
            Happening::Deliver { to, from, bytes } => {
                if let Ok(wire) = Wire::decode(&bytes) {
                    self.handle(to, Event::Wire { from: self.keys[from], wire });
                }
            }
            Happening::Ask { of, from, life, query } => self.asked(of, from, life, query),
            Happening::Answered { to, life, from, query, bytes } => {
                self.answer_came(to, life, from, *query, bytes.as_deref());
            }
            Happening::Elapsed { host, life, timer, setting } => {
                if self.hosts[host].life == life && self.hosts[host].timers.get(&timer) == Some(&setting) {
                    self.hosts[host].timers.remove(&timer);
                    self.handle(host, Event::Elapsed(timer));
                }
            }
            Happening::Dial { host, life, to, pause_us } => self.dial(host, life, to, pause_us),
            Happening::Wish => self.wish(),
            Happening::Poll { wish, tries } => self.poll(wish, tries),
        }
    }

    fn clock(&self, host: usize) -> Timestamp {
        self.time(self.hosts[host].skew_ms)
    }

    /// What a clock shows that is wrong by `skew_ms`.
    fn time(&self, skew_ms: i64) -> Timestamp {
        let passed_ms = self.now_us / 1_000 + self.slept_ms;
        Timestamp::from_millis(START.as_millis().saturating_add(passed_ms).saturating_add_signed(skew_ms))
    }

    /// Starts a process, if it does not run.
    fn boot(&mut self, at: usize) {
        let (seed, now) = (self.dice.seed(), self.clock(at));
        let (is_correct, is_honest) = (self.is_correct(at), self.is_honest(at));
        let host = &mut self.hosts[at];
        if host.agent.is_some() || host.is_retired || host.is_away {
            return;
        }
        host.life += 1;
        let (agent, effects) = match host.open(&self.zone, seed, now) {
            Ok(opened) => opened,
            Err(error) => return self.stopped(at, &error),
        };
        let height = agent.state().head().height;
        host.epoch = (agent.state().epoch().number, false);
        if is_honest {
            self.checker.opened(&host.name, height, host.told, agent.state());
        } else if is_correct {
            self.checker.replayed(&host.name, agent.state());
            self.outcome.forgot += u64::from(height < host.told);
        }
        host.told = height;
        host.agent = Some(agent);
        self.read_blocks(at);
        self.tell(|world| format!("{} starts at {height}", world.hosts[at].name));
        self.perform(at, effects);
        for other in 0..self.hosts.len() {
            self.start_dialling(at, other);
            self.start_dialling(other, at);
        }
    }

    fn start_dialling(&mut self, host: usize, to: usize) {
        let apart = self.hosts[host].validator != self.hosts[to].validator;
        if apart && self.hosts[host].agent.is_some() && self.hosts[host].dialling.insert(to) {
            let life = self.hosts[host].life;
            self.after(30_000, Happening::Dial { host, life, to, pause_us: REDIAL_MIN_US });
        }
    }

    /// Tries to reach another agent, as the daemon's links do.
    fn dial(&mut self, host: usize, life: u64, to: usize, pause_us: u64) {
        if self.hosts[host].life != life {
            return;
        }
        let is_heard = |a, b| self.network.is_open(self.now_us, a, b);
        let is_linked = self.is_validator_of(host, self.hosts[to].validator);
        if is_linked && self.hosts[to].agent.is_some() && is_heard(host, to) && is_heard(to, host) {
            self.hosts[host].dialling.remove(&to);
            let peer = self.keys[self.hosts[to].validator];
            return self.handle(host, Event::Connected(peer));
        }
        let next_us = (pause_us * 2).min(REDIAL_MAX_US);
        self.after(pause_us, Happening::Dial { host, life, to, pause_us: next_us });
    }

    /// Whether an agent keeps a link to `other`: it does to the validators that it knows of.
    fn is_validator_of(&self, at: usize, other: usize) -> bool {
        let agent = self.hosts[at].agent.as_ref();
        agent.is_some_and(|agent| agent.state().validators().index_of(&self.keys[other]).is_some())
    }

    fn handle(&mut self, at: usize, event: Event) {
        let now = self.clock(at);
        let Some(agent) = &mut self.hosts[at].agent else { return };
        match agent.handle(now, event) {
            Ok(effects) => self.perform(at, effects),
            Err(error) => self.stopped(at, &error),
        }
    }

    /// An agent has stopped: its power failed, its disk did, or it found that going on would be wrong.
    fn stopped(&mut self, at: usize, error: &AgentError) {
        let (is_correct, is_honest) = (self.is_correct(at), self.is_honest(at));
        let loses = self.scenario.has(Fault::Crash) || self.scenario.disks_lie;
        let cut = Host::cut(&mut self.dice, loses, self.scenario.has(Fault::TornWrites));
        let down_us = self.dice.between(50_000, 2_000_000);
        self.tell(|world| format!("{} stops: {error}", world.hosts[at].name));
        let host = &mut self.hosts[at];
        host.end();
        if host.disk.is_off() {
            self.outcome.crashes += 1;
            host.disk.restart(cut);
            return self.after(down_us, Happening::Boot { host: at });
        }
        let name = error_name(error);
        *self.outcome.stops.entry(name.clone()).or_default() += 1;
        if host.disk.is_failing() && name == "disk" {
            // What could not be synced is not on the medium, whatever the cache shows.
            host.disk.restart(if self.scenario.has(Fault::TornWrites) { Cut::Torn } else { Cut::Clean });
            return self.after(down_us, Happening::Boot { host: at });
        }
        if is_honest {
            let seen = format!("{} stops without a fault of its disk: {error}", host.name);
            self.checker.breach("stopped", seen);
        } else if is_correct {
            host.is_retired = true;
        } else {
            self.after(down_us, Happening::Boot { host: at });
        }
    }

    fn perform(&mut self, at: usize, effects: Vec<Effect>) {
        let (life, is_correct, is_honest) = (self.hosts[at].life, self.is_correct(at), self.is_honest(at));
        let speaks = effects.iter().any(|e| !matches!(e, Effect::SetTimer(..) | Effect::CancelTimer(_)));
        if is_correct && speaks {
            self.checker.leaves(&self.hosts[at].name, self.hosts[at].disk.unsynced_bytes());
        }
        for effect in effects {
            match effect {
                Effect::Publish(wire) => self.publish(at, &wire),
                Effect::Send(key, wire) => {
                    if let Some(to) = self.keys.iter().position(|other| *other == key) {
                        self.send(at, to, &wire);
                    }
                }
                Effect::SetTimer(timer, wait) => self.set_timer(at, life, timer, wait),
                Effect::CancelTimer(timer) => {
                    self.hosts[at].timers.remove(&timer);
                }
                Effect::CancelCommitteeTimers => {
                    self.hosts[at].timers.retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                }
                Effect::Fetch { from, height } => {
                    self.ask(at, life, &from, Box::new(Query::Blocks { from: height }));
                }
                Effect::Ask { from, query } => self.ask(at, life, &from, query),
                Effect::Warning(warning) => {
                    self.tell(|world| format!("{} warns: {warning}", world.hosts[at].name));
                    if let Warning::Rebuilt { height, .. } = warning {
                        self.outcome.rebuilt += 1;
                        let poison = self.scenario.has(Fault::PoisonedSnapshot);
                        self.outcome.rebuilt_among_liars += u64::from(poison);
                        self.hosts[at].told = height;
                    }
                }
                Effect::Decided(decided) => self.decided(at, &decided),
                Effect::Refused { from, reason } => {
                    self.tell(|world| format!("{} refuses: {reason}", world.hosts[at].name));
                    if reason.is_fault() {
                        self.outcome.refusals += 1;
                        if is_honest {
                            self.checker.refuses(&self.hosts[at].name, &from, &reason.to_string());
                        }
                    }
                }
                Effect::Equivocation(evidence) => {
                    self.outcome.equivocations += 1;
                    if is_honest {
                        let host = &self.hosts[at];
                        self.checker.accuses(&host.name, &evidence, host.epoch.0);
                    }
                }
                Effect::Validators(validators) => self.begins(at, &validators),
                Effect::Forgetful { height } => {
                    self.outcome.forgetful += 1;
                    if is_honest && self.scenario.restored != Some(self.hosts[at].validator) {
                        let seen = format!("{} does not remember its vote at {height}", self.hosts[at].name);
                        self.checker.breach("forgetful", seen);
                    }
                }
                Effect::Charger { .. } | Effect::Sale(_) => {}
            }
        }
    }

    fn set_timer(&mut self, at: usize, life: u64, timer: AgentTimer, wait: Duration) {
        let setting = self.sequence;
        self.hosts[at].timers.insert(timer, setting);
        let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX / 4);
        self.after(wait_us, Happening::Elapsed { host: at, life, timer, setting });
    }

    /// An agent has another committee: of the next epoch if the newest block ended one.
    fn begins(&mut self, at: usize, validators: &ValidatorSet) {
        let is_correct = self.is_correct(at);
        let host = &mut self.hosts[at];
        if std::mem::take(&mut host.epoch.1) {
            host.epoch.0 += 1;
            if is_correct {
                self.checker.begins(&host.name, host.epoch.0, validators);
            }
            return;
        }
        if let Some(agent) = &host.agent {
            host.epoch.0 = agent.state().epoch().number;
        }
        if is_correct {
            self.checker.joins(&host.name, host.epoch.0, validators);
        }
    }

    fn decided(&mut self, at: usize, decided: &Decided) {
        let height = decided.header.height;
        self.tell(|world| {
            let round = decided.certificate.round;
            format!(
                "{} decides {height}, round {round}, by {}",
                world.hosts[at].name, decided.header.proposer
            )
        });
        self.hosts[at].told = height;
        self.hosts[at].epoch = (decided.header.epoch, decided.header.next_voters.is_some());
        if !self.is_correct(at) {
            return;
        }
        let is_first = height > self.checker.height();
        if is_first {
            self.outcome.late_rounds += u64::from(decided.certificate.round > 0);
            self.outcome.round_max = self.outcome.round_max.max(decided.certificate.round);
            let gap_ms = (self.now_us - self.newest_us) / 1_000;
            self.outcome.gap_ms_max = self.outcome.gap_ms_max.max(gap_ms);
            self.newest_us = self.now_us;
        }
        // A validator alone has nobody to say that its clock is wrong.
        let alone = self.keys.len() == 1;
        let furthest = self.honest().map(|host| self.clock(host)).max().filter(|_| !alone);
        let furthest = furthest.unwrap_or(Timestamp::from_millis(u64::MAX / 2));
        let host = &mut self.hosts[at];
        let Some(agent) = &mut host.agent else { return };
        self.trace.update(&self.now_us.to_be_bytes()).update(&decided.header.id().0);
        self.checker.decided(&host.name, decided, agent.state(), furthest);
        self.read_blocks(at);
    }

    /// Shows the checker the blocks that it has not seen yet. One may be durable of which nobody was told before a
    /// crash.
    fn read_blocks(&mut self, at: usize) {
        let (is_honest, now) = (self.is_honest(at), self.clock(at));
        let Some(agent) = self.hosts[at].agent.as_mut().filter(|_| is_honest) else { return };
        loop {
            let from = self.checker.books().height() + 1;
            let shown = if from <= agent.state().head().height {
                agent.answer(now, ASKER, Query::Blocks { from })
            } else {
                return;
            };
            // None, where a snapshot has taken their place: another agent has them.
            let Ok((Answer::Blocks(blocks), _)) = shown else { return };
            for (bytes, _) in &blocks {
                self.checker.block(bytes, agent.state());
            }
            if blocks.is_empty() || self.checker.violation().is_some() {
                return;
            }
        }
    }

    fn publish(&mut self, at: usize, wire: &Wire) {
        if self.is_honest(at)
            && let Wire::Committee(message) = wire
        {
            let key = self.keys[self.hosts[at].validator];
            self.checker.says(&self.hosts[at].name, key, message);
        }
        let own = self.hosts[at].validator;
        if self.hosts.iter().filter(|host| host.validator == own).count() > 1 {
            *self.outcome.lies.entry(Fault::Equivocation).or_default() += 1;
        }
        let others = (0..self.keys.len()).filter(|to| *to != own && self.is_validator_of(at, *to));
        for to in others.collect::<Vec<_>>() {
            self.send(at, to, wire);
        }
    }

    /// Sends to every machine of a validator what the sender, or the liar that it is, has to say.
    fn send(&mut self, at: usize, to: usize, wire: &Wire) {
        let from = self.hosts[at].validator;
        if self.hosts[at].audience >> to & 1 == 0 {
            return;
        }
        if let (Some(liar), Some((index, key))) = (self.liars.get_mut(&from), self.hosts[at].voter()) {
            liar.votes_as(index, key);
        }
        let leaving = match (self.liars.get_mut(&from), &self.hosts[at].agent) {
            (Some(liar), Some(agent)) => liar.says(to, wire, agent.state()),
            _ => vec![wire.encode()],
        };
        for bytes in leaving {
            let bytes: Arc<[u8]> = bytes.into();
            self.trace
                .update(&self.now_us.to_be_bytes())
                .update(&[participant(at), participant(to)])
                .update(&bytes);
            for machine in (0..self.hosts.len())
                .filter(|machine| self.hosts[*machine].validator == to)
                .collect::<Vec<_>>()
            {
                for at_us in self.network.arrivals(self.now_us, at, machine) {
                    self.at(at_us, Happening::Deliver { to: machine, from, bytes: bytes.clone() });
                }
            }
        }
    }

    /// Asks a validator; one of its machines hears it, or none.
    fn ask(&mut self, at: usize, life: u64, of: &PublicKey, query: Box<Query>) {
        let Some(from) = self.keys.iter().position(|key| key == of) else { return };
        let machines: Vec<usize> =
            (0..self.hosts.len()).filter(|other| self.hosts[*other].validator == from).collect();
        let machine = *self.dice.pick(&machines);
        self.trace.update(&self.now_us.to_be_bytes()).update(&query.encode());
        match self.network.arrivals(self.now_us, at, machine).first() {
            Some(at_us) => self.at(*at_us, Happening::Ask { of: machine, from: at, life, query }),
            None => self.no_answer(at, life, from, query),
        }
    }

    /// Nobody answers, and the mesh says so when it has waited.
    fn no_answer(&mut self, to: usize, life: u64, from: usize, query: Box<Query>) {
        self.after(NO_ANSWER_US, Happening::Answered { to, life, from, query, bytes: None });
    }

    fn asked(&mut self, of: usize, from: usize, life: u64, query: Box<Query>) {
        let validator = self.hosts[of].validator;
        let answer = self.question(of, (*query).clone());
        let bytes = answer.and_then(|answer| match self.liars.get_mut(&validator) {
            Some(liar) => liar.answers(answer),
            None => Some(answer.encode()),
        });
        self.trace.update(&self.now_us.to_be_bytes()).update(bytes.as_deref().unwrap_or_default());
        let arrives = match bytes {
            Some(_) => self.network.arrivals(self.now_us, of, from).first().copied(),
            None => None,
        };
        match arrives {
            Some(at_us) => {
                self.at(at_us, Happening::Answered { to: from, life, from: validator, query, bytes });
            }
            None => self.no_answer(from, life, validator, query),
        }
    }

    /// What the daemon makes of an answer, or of none.
    fn answer_came(&mut self, to: usize, life: u64, from: usize, query: Query, bytes: Option<&[u8]>) {
        if self.hosts[to].life != life {
            return;
        }
        let from = self.keys[from];
        let answer = bytes.and_then(|bytes| Answer::decode(bytes).ok());
        match (query, answer) {
            (Query::Blocks { .. }, Some(Answer::Blocks(blocks))) => {
                self.handle(to, Event::Fetched { from, blocks });
            }
            (Query::Blocks { .. }, _) => {}
            (query, answer) => {
                let (query, answer) = (Box::new(query), answer.map(Box::new));
                self.handle(to, Event::Answered { from, query, answer });
            }
        }
    }

    /// What an agent answers, if it runs.
    fn question(&mut self, of: usize, query: Query) -> Option<Answer> {
        let now = self.clock(of);
        match self.hosts[of].agent.as_mut()?.answer(now, ASKER, query) {
            Ok((answer, effects)) => {
                self.perform(of, effects);
                Some(answer)
            }
            Err(error) => {
                self.stopped(of, &error);
                None
            }
        }
    }

    /// Somebody wants something and asks any agent that runs.
    fn wish(&mut self) {
        let wait_us = self.dice.between(150_000, 450_000);
        self.after(wait_us, Happening::Wish);
        let now = self.time(0);
        if let Some(host) = self.running() {
            let agent = self.hosts[host].agent.as_ref().expect("it runs");
            let wish = self.workload.next(agent.state(), now);
            wish.secret.iter().for_each(|secret| self.checker.learn(*secret));
            if wish.is_bad {
                self.checker.sent_bad(wish.signed.transaction.content());
            }
            self.submit(host, Box::new(wish), 0);
        }
    }

    fn running(&mut self) -> Option<usize> {
        let running: Vec<usize> = (0..self.hosts.len()).filter(|h| self.hosts[*h].agent.is_some()).collect();
        (!running.is_empty()).then(|| *self.dice.pick(&running))
    }

    fn submit(&mut self, host: usize, wish: Box<Wish>, tries: u32) {
        let signed: SignedTransaction = wish.signed.clone();
        let answer = self.question(host, Query::Submit(Box::new(signed)));
        self.answered(host, answer, wish, tries);
    }

    /// Asks some agent what has become of a transaction.
    fn poll(&mut self, wish: Box<Wish>, tries: u32) {
        let Some(host) = self.running() else {
            return self.after(500_000, Happening::Poll { wish, tries });
        };
        match self.question(host, Query::Transaction(wish.signed.transaction.id())) {
            Some(Answer::Unknown) => self.submit(host, wish, tries),
            answer => self.answered(host, answer, wish, tries),
        }
    }

    fn answered(&mut self, host: usize, answer: Option<Answer>, wish: Box<Wish>, tries: u32) {
        match answer {
            Some(Answer::Applied(content)) if self.is_honest(host) => {
                let height = self.hosts[host].height();
                self.checker.told_applied(wish.signed.transaction.id(), content, height);
            }
            Some(Answer::Refused(_)) => self.outcome.refused += 1,
            _ if tries < TRIES => {
                self.after(1_200_000, Happening::Poll { wish, tries: tries + 1 });
            }
            _ => self.outcome.refused += 1,
        }
    }
}

/// How many agents there are, newcomers included and twins not.
fn machines(scenario: &Scenario) -> usize {
    scenario.stakes.len() + scenario.newcomers
}

/// The machines: one for each validator, and one more for each that equivocates by running twice.
fn hosts(scenario: &Scenario) -> Vec<Host> {
    let disk = |at: usize| SimDisk::new(Dice::new(scenario.seed, "disk", at));
    let keep = Keep { snapshot_blocks: scenario.snapshot_blocks, blocks_for: BLOCKS_FOR };
    let host = |at: usize, validator: usize, name: String| Host::new(validator, name, keep, disk(at));
    let count = scenario.stakes.len();
    let mut hosts: Vec<Host> = (0..count).map(|v| host(v, v, format!("agent {v}"))).collect();
    hosts.extend((count..machines(scenario)).map(|n| host(n, n, format!("newcomer {n}"))));
    for liar in &scenario.liars {
        let mut dice = Dice::new(scenario.seed, "twins", *liar);
        if scenario.has(Fault::Equivocation) && (scenario.is_split || dice.chance(500)) {
            let mut twin = host(hosts.len(), *liar, format!("twin {liar}"));
            if dice.chance(500) && !scenario.is_split {
                // Each speaks to its own half.
                twin.audience = 0x5555_5555_5555_5555;
                hosts[*liar].audience = !twin.audience;
            }
            hosts.push(twin);
        }
    }
    hosts
}

/// Those who lie in what they send. Twins tell the truth, each its own.
fn liars(scenario: &Scenario, hosts: &[Host]) -> BTreeMap<usize, Liar> {
    let mut liars = BTreeMap::new();
    for liar in &scenario.liars {
        let is_twin = hosts.iter().filter(|host| host.validator == *liar).count() > 1;
        let mut lies: BTreeSet<Fault> = Fault::LIES.into_iter().filter(|lie| scenario.has(*lie)).collect();
        if is_twin {
            lies.remove(&Fault::Equivocation);
        }
        let dice = Dice::new(scenario.seed, "liar", *liar);
        let mut liar_of = Liar::new(key(participant(*liar)), lies.into_iter().collect(), dice);
        if scenario.mute {
            liar_of.fall_silent();
        }
        liars.insert(*liar, liar_of);
    }
    liars
}

/// When every history begins.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// First and longest pause before dialling again, as in the daemon.
const REDIAL_MIN_US: u64 = 100_000;
const REDIAL_MAX_US: u64 = 5_000_000;
/// How long the mesh waits for an answer that does not come.
const NO_ANSWER_US: u64 = 5_000_000;
/// How long agents with snapshots keep blocks: so short that who was away needs a snapshot.
const BLOCKS_FOR: Duration = Duration::from_secs(2);
/// Heights that sales may take beyond what everybody has to gain.
const SALES_HEIGHTS: u64 = 24;
/// How often somebody asks what has become of a transaction.
const TRIES: u32 = 12;
/// Somebody who asks.
const ASKER: Asker = Asker { key: PublicKey::from_bytes([0; 32]), exporter: [0; 32] };
