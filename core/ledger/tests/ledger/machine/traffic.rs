//! Random steps for the state machine: the right one at the right time, and every wrong, early, late and repeated one.

use super::model::{DAY, HOUR, SECOND};
use crate::town::*;
use ohmesh_ledger::{Deposits, Rules};
use ohmesh_units::{ContractId, Money};
use proptest::{prelude::*, sample::Index};

/// Seeds of vote keys that somebody may make known.
pub const VOTES: [u8; 10] = [150, 151, 152, 153, 154, 155, 156, 157, 201, 203];
/// Seeds of meters; the first three are the sellers' when a run begins.
pub const METERS: [u8; 6] = [90, 91, 92, 95, 96, 97];
/// Who may become a validator: those of the genesis, and one more with an account, and one without.
pub const CANDIDATES: [u8; 6] = [1, 2, 3, 4, 5, 6];

/// How long after the block before.
#[derive(Clone, Copy, Debug)]
pub enum Later {
    Ms(u64),
    /// When the next contract or auction is over, and a millisecond before or after that.
    Deadline(i8),
}

/// Which contract.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// One of the newest that somebody has asked for.
    Newest(Index),
    This(ContractId),
}

/// What is wrong with terms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Terms {
    Good,
    Dearer,
    OtherTariff,
    OtherMeter,
    BySeller,
    Late,
    TooShort,
    Again,
}

/// Where the meter's register stood when the charge began.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// So many Wh further than it was ever said to stand.
    On(u64),
    /// So many less.
    Back(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    Buyer,
    Seller,
    Stranger,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// What some open auction or contract waits for, one way or another.
    Forward {
        which: Index,
        part: u64,
    },
    Pay(u8, u8, i64),
    Station {
        who: u8,
        moved: bool,
    },
    Outlet {
        owner: u8,
        number: u16,
        connectors: u16,
        power: u32,
        meter: u8,
        is_forged: bool,
    },
    Open(usize),
    Bid {
        pool: usize,
        station: u8,
        sender: u8,
        outlet: u8,
    },
    Release {
        pool: usize,
        index: u16,
        sender: u8,
    },
    Outcome {
        pool: usize,
        sender: u8,
    },
    Accept {
        pool: usize,
        seller: u8,
    },
    Contract {
        auction: usize,
        wh: u64,
        terms: Terms,
    },
    Start {
        sale: Pick,
        ahead: i64,
        is_forged: bool,
    },
    Settle {
        sale: Pick,
        wh: u64,
        reading: Reading,
        is_closed: bool,
        who: Who,
        with_start: bool,
    },
    Waive(Pick, Who),
    Dispute(Pick, Who),
    Lower(Pick, Who, u64),
    Resolve {
        sale: Pick,
        wh: u64,
        parties: u8,
        regulators: usize,
    },
    Validators {
        behind: u64,
        listed: Vec<(usize, u64, Option<usize>)>,
        signers: usize,
    },
    Upgrade {
        behind: u64,
        rules: Rules,
        signers: usize,
    },
    VoteKey {
        who: u8,
        behind: u64,
        vote: usize,
        is_signed: bool,
    },
    Bond(u8, i64),
    Unbond(u8, i64),
    Convict {
        behind: u64,
        index: u16,
    },
    Tariff {
        sender: u8,
        micro: i64,
        ahead: u64,
    },
    Cap {
        micro: Option<i64>,
        ahead: u64,
        regulators: usize,
    },
    AuditKey {
        key: Option<u8>,
        regulators: usize,
    },
    Circuit {
        sender: u8,
        owner: u8,
        circuit: Option<u32>,
    },
    Replay(Index),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub later: Later,
    pub steps: Vec<Step>,
}

fn who() -> impl Strategy<Value = Who> {
    prop_oneof![8 => Just(Who::Buyer), 8 => Just(Who::Seller), 1 => Just(Who::Stranger)]
}

fn seller() -> impl Strategy<Value = u8> {
    prop_oneof![1 => Just(80u8), 4 => Just(81)]
}

/// Most of the time 0: the right epoch.
fn behind() -> impl Strategy<Value = u64> {
    prop_oneof![8 => Just(0u64), 1 => Just(1), 1 => Just(2)]
}

fn auction() -> impl Strategy<Value = Step> {
    let pool = || 0usize..2;
    let sender = || prop_oneof![12 => Just(BUYER), 1 => Just(SELLER)];
    let bid = (
        pool(),
        seller(),
        prop_oneof![12 => Just(0u8), 1 => Just(1)],
        prop_oneof![9 => Just(0u8), 1 => Just(1)],
    );
    prop_oneof![
        3 => pool().prop_map(Step::Open),
        5 => bid.prop_map(|(pool, station, sender, outlet)| Step::Bid { pool, station, sender, outlet }),
        9 => (pool(), 0u16..4, prop_oneof![12 => Just(0u8), 1 => Just(1)])
            .prop_map(|(pool, index, sender)| Step::Release { pool, index, sender }),
        4 => (pool(), sender()).prop_map(|(pool, sender)| Step::Outcome { pool, sender }),
        3 => (pool(), seller()).prop_map(|(pool, seller)| Step::Accept { pool, seller }),
    ]
}

fn contract() -> impl Strategy<Value = Step> {
    let terms = prop_oneof![
        24 => Just(Terms::Good),
        1 => Just(Terms::Dearer),
        1 => Just(Terms::OtherTariff),
        1 => Just(Terms::OtherMeter),
        1 => Just(Terms::BySeller),
        1 => Just(Terms::Late),
        1 => Just(Terms::TooShort),
        2 => Just(Terms::Again),
    ];
    let wh = || prop_oneof![8 => 1u64..32_000, 1 => Just(0)];
    let sale = || any::<Index>().prop_map(Pick::Newest);
    let start = prop_oneof![8 => Just(0i64), 1 => Just(30_000), 1 => Just(30_001), 1 => Just(-1_000_000)];
    let reading = prop_oneof![
        8 => Just(Reading::On(0)),
        3 => (1u64..3_000).prop_map(Reading::On),
        2 => (1u64..20_000).prop_map(Reading::Back),
    ];
    let settle = (sale(), wh(), reading, any::<bool>(), who(), any::<bool>());
    prop_oneof![
        5 => (0usize..6, prop_oneof![6 => Just(30_000u64), 1 => Just(30_001)], terms)
            .prop_map(|(auction, wh, terms)| Step::Contract { auction, wh, terms }),
        5 => (sale(), start, prop_oneof![12 => Just(false), 1 => Just(true)])
            .prop_map(|(sale, ahead, is_forged)| Step::Start { sale, ahead, is_forged }),
        6 => settle.prop_map(|(sale, wh, reading, is_closed, who, with_start)| {
            Step::Settle { sale, wh, reading, is_closed, who, with_start }
        }),
        1 => (sale(), who()).prop_map(|(sale, who)| Step::Waive(sale, who)),
        4 => (sale(), who()).prop_map(|(sale, who)| Step::Dispute(sale, who)),
        3 => (sale(), who(), wh()).prop_map(|(sale, who, wh)| Step::Lower(sale, who, wh)),
        4 => (sale(), wh(), 0u8..4, 0usize..4)
            .prop_map(|(sale, wh, parties, regulators)| Step::Resolve { sale, wh, parties, regulators }),
    ]
}

fn decision() -> impl Strategy<Value = Step> {
    let candidate = || proptest::sample::select(&CANDIDATES[..]);
    let stake = prop_oneof![6 => Just(10u64), 2 => 1u64..9, 2 => 11u64..30];
    let listed = (0usize..CANDIDATES.len(), stake, proptest::option::weighted(0.2, 0..VOTES.len()));
    let signers = || prop_oneof![6 => Just(4usize), 2 => Just(3), 1 => Just(2)];
    let rules =
        (0i64..3, prop_oneof![Just(DAY), Just(20 * SECOND), Just(HOUR), Just(SECOND)], 0i64..200, 0u32..3);
    let rules = rules.prop_map(|(fee, epoch_ms, bond, version)| Rules {
        version: if version == 0 { 0 } else { Rules::VERSION },
        fee: Money::from_micro(fee * 10),
        epoch_ms,
        bond: Money::from_micro(bond),
        deposits: Deposits { buyer: Money::from_micro(bond * 100), bid: Money::from_micro(bond * 50) },
    });
    let ahead = || prop_oneof![4 => Just(DAY), 1 => Just(DAY - 1), 1 => Just(0u64), 2 => Just(3 * DAY)];
    let price = prop_oneof![6 => 70_000i64..90_000, 1 => Just(310_000), 1 => Just(-1)];
    let cap = prop_oneof![4 => 400_000i64..800_000, 1 => Just(0)];
    let distributor = || prop_oneof![8 => Just(DISTRIBUTOR), 1 => Just(SELLER)];
    let regulators = || prop_oneof![6 => Just(2usize), 1 => Just(1)];
    prop_oneof![
        2 => (behind(), proptest::collection::vec(listed, 1..6), signers())
            .prop_map(|(behind, listed, signers)| Step::Validators { behind, listed, signers }),
        1 => (behind(), rules, signers())
            .prop_map(|(behind, rules, signers)| Step::Upgrade { behind, rules, signers }),
        4 => (candidate(), behind(), 0..VOTES.len(), prop_oneof![12 => Just(true), 1 => Just(false)])
            .prop_map(|(who, behind, vote, is_signed)| Step::VoteKey { who, behind, vote, is_signed }),
        2 => (candidate(), prop_oneof![6 => 1i64..3_000, 1 => Just(0), 1 => Just(i64::MAX)])
            .prop_map(|(who, amount)| Step::Bond(who, amount)),
        2 => (candidate(), prop_oneof![6 => 1i64..2_000, 1 => Just(0)])
            .prop_map(|(who, amount)| Step::Unbond(who, amount)),
        1 => (behind(), 0u16..4).prop_map(|(behind, index)| Step::Convict { behind, index }),
        1 => (distributor(), price, ahead()).prop_map(|(sender, micro, ahead)| Step::Tariff { sender, micro, ahead }),
        1 => (proptest::option::of(cap), ahead(), regulators())
            .prop_map(|(micro, ahead, regulators)| Step::Cap { micro, ahead, regulators }),
        1 => (proptest::option::of(160u8..163), regulators())
            .prop_map(|(key, regulators)| Step::AuditKey { key, regulators }),
        1 => (distributor(), prop_oneof![4 => 80u8..83, 1 => Just(83)], proptest::option::of(0u32..3))
            .prop_map(|(sender, owner, circuit)| Step::Circuit { sender, owner, circuit }),
    ]
}

fn registry() -> impl Strategy<Value = Step> {
    let power = prop_oneof![6 => Just(22_000u32), 2 => Just(11_000), 1 => Just(0), 1 => Just(3_000)];
    let owner = || prop_oneof![6 => 80u8..83, 1 => Just(BUYER)];
    prop_oneof![
        1 => any::<bool>().prop_map(|moved| Step::Station { who: 82, moved }),
        4 => (owner(), 1u16..3, prop_oneof![6 => Just(2u16), 1 => Just(1), 1 => Just(0)], power, 0..METERS.len(),
            prop_oneof![8 => Just(false), 1 => Just(true)])
            .prop_map(|(owner, number, connectors, power, meter, is_forged)| {
                Step::Outlet { owner, number, connectors, power, meter: METERS[meter], is_forged }
            }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rich = || prop_oneof![Just(BUYER), Just(SELLER), 1u8..5];
    prop_oneof![
        24 => (any::<Index>(), any::<u64>()).prop_map(|(which, part)| Step::Forward { which, part }),
        6 => auction(),
        12 => contract(),
        8 => decision(),
        2 => registry(),
        1 => (rich(), rich(), prop_oneof![8 => 1i64..90_000_000, 1 => Just(0)])
            .prop_map(|(from, to, amount)| Step::Pay(from, to, amount)),
        2 => any::<Index>().prop_map(Step::Replay),
    ]
}

fn later() -> impl Strategy<Value = Later> {
    prop_oneof![
        20 => (1u64..4).prop_map(|seconds| Later::Ms(seconds * SECOND)),
        4 => (4u64..300).prop_map(|seconds| Later::Ms(seconds * SECOND)),
        1 => (1u64..5).prop_map(|hours| Later::Ms(hours * HOUR)),
        4 => (-1i8..2).prop_map(Later::Deadline),
        1 => proptest::sample::select(&[DAY, 7 * DAY, 28 * DAY - 1, 28 * DAY][..]).prop_map(Later::Ms),
    ]
}

pub fn plan() -> impl Strategy<Value = Plan> {
    (later(), proptest::collection::vec(step(), 0..9)).prop_map(|(later, steps)| Plan { later, steps })
}
