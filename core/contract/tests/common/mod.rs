//! Keys, terms and signed statements that the tests share.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod world;

use ohmesh_contract::*;
use ohmesh_units::*;

pub const EXPORTER: Exporter = [0xe1; 32];
pub const T0: u64 = 1_795_300_000_000;
pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;
pub const CLAIM_ENDS: u64 = 25 * HOUR;
pub const DISPUTE_ENDS: u64 = (2 + 7 * 24) * HOUR;

/// `millis` after the tests' beginning of time, where contracts begin.
pub fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(T0 + millis)
}

pub fn wh(wh: u64) -> Energy {
    Energy::from_wh(wh)
}

pub fn micro(micro: i64) -> Money {
    Money::from_micro(micro)
}

pub fn price(micro: i64) -> Price {
    Price::from_micro_per_kwh(micro)
}

pub fn buyer() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

pub fn seller() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

pub fn meter() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

pub fn stranger() -> SigningKey {
    SigningKey::from_seed([9; 32])
}

pub fn evse() -> EvseId {
    EvseId::of(&StationId::of(&AccountId::of(&seller().public()), 1), 1)
}

pub fn another_evse() -> EvseId {
    EvseId::of(&StationId::of(&AccountId::of(&seller().public()), 1), 2)
}

/// 30 kWh at 0.39 with a grid tariff of 0.09, at 150 kW, within four hours.
pub fn terms() -> Terms {
    Terms {
        zone: ZoneId([0xaa; 32]),
        auction: AuctionId([0xbb; 32]),
        buyer: AccountId([0xcc; 32]),
        buyer_key: buyer().public(),
        seller: AccountId::of(&seller().public()),
        seller_key: seller().public(),
        evse: evse(),
        meter_key: meter().public(),
        price: price(390_000),
        energy_max: wh(30_000),
        power_rated: Power::from_w(150_000),
        grid: GridTariff { version: 3, price: price(90_000) },
        escrow: micro(11_700_000),
        not_before: at(0),
        expiry: at(4 * HOUR),
        number: 77,
    }
}

pub fn offer(terms: Terms) -> Offer {
    Offer::sign(terms, EXPORTER, at(2 * MINUTE), &seller())
}

pub fn agreement(terms: Terms) -> VerifiedAgreement {
    offer(terms).verify().unwrap().agree(&buyer()).verify().unwrap()
}

pub fn start_body(millis: u64) -> Start {
    Start { contract: terms().id(), evse: evse(), exporter: EXPORTER, at: at(millis) }
}

pub fn start(millis: u64) -> VerifiedStart {
    Signed::new(start_body(millis), &buyer()).verify(&terms()).unwrap()
}

pub fn record_body(sequence: u32, energy: u64, millis: u64, is_final: bool) -> MeterRecord {
    MeterRecord {
        contract: terms().id(),
        evse: evse(),
        sequence,
        register_start: wh(1_000_000),
        energy: wh(energy),
        at: at(millis),
        is_final,
    }
}

pub fn record(sequence: u32, energy: u64, millis: u64, is_final: bool) -> VerifiedRecord {
    Signed::new(record_body(sequence, energy, millis, is_final), &meter()).verify(&terms()).unwrap()
}

pub fn checkpoint(record: &VerifiedRecord) -> VerifiedCheckpoint {
    Checkpoint::sign(record, &buyer()).verify(&terms()).unwrap()
}

pub fn release() -> VerifiedRelease {
    Signed::new(Release { contract: terms().id(), at: at(MINUTE) }, &seller()).verify(&terms()).unwrap()
}

/// Opened at 0.
pub fn opened() -> Contract {
    Contract::open(&agreement(terms()), at(0)).unwrap()
}

/// A claim of 20 kWh at one hour that the buyer may dispute until [`CLAIM_ENDS`].
pub fn claimed() -> Contract {
    let mut contract = charging();
    let last = record(40, 20_000, 30 * MINUTE, true);
    let claim = contract.settle(terms().seller, &last, None, at(HOUR)).unwrap();
    let bill = Bill::of(&terms(), wh(20_000)).unwrap();
    assert_eq!(claim, Settlement::Claimed { bill, until: at(CLAIM_ENDS) });
    contract
}

/// [`claimed`], disputed at two hours: open until [`DISPUTE_ENDS`].
pub fn disputed() -> Contract {
    let mut contract = claimed();
    contract.dispute(terms().buyer, at(2 * HOUR)).unwrap();
    contract
}

/// Opened at 0 and started at one minute.
pub fn charging() -> Contract {
    let mut contract = opened();
    contract.start(&start(MINUTE), at(MINUTE)).unwrap();
    contract
}
