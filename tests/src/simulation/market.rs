//! Who buys and sells in the zone: drivers who ask, stations that bid and sell, from the intent to the end of the
//! contract, each step read off the state of whatever agent they ask, sent again if nothing comes of it; and cheats
//! on the way.

mod trade;

use super::{Dice, books::Secret};
use crate::zone::{account, key};
use ohmesh_auction::seal::SealSecret;
use ohmesh_ledger::Object;
use ohmesh_ledger::{Body, State, epoch_key_id};
use ohmesh_units::{EvseId, Hash, Position, Power, StationId, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use trade::Trade;

/// The people of the market.
pub struct Market {
    tools: Tools,
    trades: Vec<Trade>,
}

/// What somebody sends next.
pub struct Step {
    /// Who.
    pub sender: u8,
    /// What.
    pub body: Body,
    /// Who signs too.
    pub also: Vec<u8>,
    /// Whether it breaks a rule.
    pub is_bad: bool,
    /// What it hides.
    pub secret: Option<Secret>,
}

impl Step {
    fn of(sender: u8, body: Body) -> Self {
        Self { sender, body, also: Vec::new(), is_bad: false, secret: None }
    }

    fn signed_by(mut self, also: &[u8]) -> Self {
        self.also = also.to_vec();
        self
    }

    fn hiding(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    fn bad(mut self) -> Self {
        self.is_bad = true;
        self
    }
}

/// What all trades share.
struct Tools {
    dice: Dice,
    random: ChaCha20Rng,
    /// What each seller's meter has counted.
    registers: BTreeMap<u8, u64>,
    /// When each step was last sent, by trade and name.
    sent: BTreeMap<(usize, &'static str, u8), Timestamp>,
}

impl Tools {
    /// Whether to send something now that may have been sent before.
    fn may_send(&mut self, trade: usize, what: &'static str, who: u8, now: Timestamp) -> bool {
        let before = self.sent.get(&(trade, what, who));
        let may = before.is_none_or(|before| now.as_millis() >= before.as_millis() + AGAIN_MS);
        if may {
            self.sent.insert((trade, what, who), now);
        }
        may
    }
}

impl Market {
    /// The market of a seed's zone.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed, "market", 0);
        let random = ChaCha20Rng::from_seed(dice.seed());
        let trades = (0..TRADES).map(|at| Trade::new(at, &mut dice)).collect();
        let (registers, sent) = (BTreeMap::new(), BTreeMap::new());
        Self { tools: Tools { dice, random, registers, sent }, trades }
    }

    /// What somebody does next, given what the agent that is asked knows; none if all wait for others.
    pub fn next(&mut self, state: &State, now: Timestamp) -> Option<Step> {
        if let Some(step) = self.set_up(state, now) {
            return Some(step);
        }
        let tools = &mut self.tools;
        self.trades.iter_mut().find_map(|trade| trade.step(tools, state, now))
    }

    /// Whether nobody wants anything any more.
    pub fn is_over(&self) -> bool {
        self.trades.iter().all(Trade::is_over)
    }

    /// Accounts, stations and outlets of the sellers.
    fn set_up(&mut self, state: &State, now: Timestamp) -> Option<Step> {
        for n in SELLERS {
            let (what, body) = match missing(state, n) {
                Some(missing) => missing,
                None => continue,
            };
            if self.tools.may_send(TRADES, what, n, now) {
                return Some(Step::of(n, body));
            }
        }
        None
    }
}

/// What seller `n` lacks: its account, its station, its outlet.
fn missing(state: &State, n: u8) -> Option<(&'static str, Body)> {
    if state.account(&account(n)).is_none() {
        return Some(("account", Body::OpenAccount { owner: key(n).public() }));
    }
    if state.object(&Hash::from(station_of(n))).is_none() {
        let north = i32::from(n - SELLERS[0]) * 200_000;
        let position = Position::from_e7(525_200_000 + north, 134_050_000).expect("a place in Berlin");
        let award_key = Hash(seal_of(n).public().to_bytes());
        return Some((
            "station",
            Body::RegisterStation { number: 1, name: format!("station {n}"), position, award_key },
        ));
    }
    if state.object(&Hash::from(evse_of(n))).is_none() {
        let (owner, plugs) = (account(n), (CONNECTORS, RATED));
        let body = Body::register_evse(state.zone_id(), &owner, (station_of(n), 1), plugs, &key(meter_of(n)));
        return Some(("outlet", body));
    }
    None
}

/// The newest auction key that is made.
fn newest_key(state: &State) -> Option<u64> {
    let keys = state.governance().keys.iter().rev();
    keys.map(|holders| holders.epoch)
        .find(|epoch| matches!(state.object(&epoch_key_id(*epoch)), Some((_, Object::EpochKey(_)))))
}

fn station_of(n: u8) -> StationId {
    StationId::of(&account(n), 1)
}

fn evse_of(n: u8) -> EvseId {
    EvseId::of(&station_of(n), 1)
}

/// The key of a seller's meter.
fn meter_of(n: u8) -> u8 {
    n + 10
}

fn seal_of(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// Sales that are tried in one history.
const TRADES: usize = 2;
/// Those who sell; their meters' keys follow ten later.
const SELLERS: [u8; 3] = [122, 123, 124];
/// Whoever decides disputes.
pub const REGULATOR: u8 = 102;
/// What their outlets are.
const CONNECTORS: u16 = 2;
const RATED: Power = Power::from_w(22_000);
/// After how long something that has had no effect is sent again.
const AGAIN_MS: u64 = 4_000;
