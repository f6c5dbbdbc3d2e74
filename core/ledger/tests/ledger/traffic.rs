//! Random traffic for the model: honest people, cheats, and those who send the same again, near every bound.

use super::{PEOPLE, own_evse};
use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_units::*;
use proptest::{prelude::*, sample::Index};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// When something ends, measured from the time of the block it is meant for.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    Seconds(u64),
    OneMsBefore,
    AtOnce,
    OneMsAfter,
    Days(u32),
    OneMsAfterDays(u32),
}

impl Ends {
    pub fn at(self, block: Timestamp) -> Timestamp {
        let ms = block.as_millis();
        let day = 24 * 3600 * 1000;
        Timestamp::from_millis(match self {
            Self::Seconds(seconds) => ms + seconds * 1000,
            Self::OneMsBefore => ms - 1,
            Self::AtOnce => ms,
            Self::OneMsAfter => ms + 1,
            Self::Days(days) => ms + u64::from(days) * day,
            Self::OneMsAfterDays(days) => ms + u64::from(days) * day + 1,
        })
    }
}

/// Who signs.
#[derive(Clone, Copy, Debug)]
pub enum Signing {
    /// Everybody who must.
    Whole,
    /// Everybody who must but the sender.
    NotTheSender,
    /// The sender alone.
    Alone,
    /// The sender and one treasurer, twice.
    OneTwice,
}

/// The number of a transaction.
#[derive(Clone, Debug)]
pub enum Number {
    New,
    /// One that its sender has used before, if it has.
    Again(Index),
}

#[derive(Clone, Debug)]
pub enum Step {
    Open(u8, u8),
    Issue(Asset, u8, i64, usize),
    Burn(Asset, u8, i64, usize),
    Legs(u8, Vec<Part>),
    Pend(Asset, u8, u8, i64, Ends),
    Sell(u8, u8, i64, u64, Ends),
    Post(Index, Caller, i64),
    PostSale(Index, Caller, u64, Reading),
    Void(Index, Caller),
    /// A transaction of an earlier block or of this one, as it was.
    Replay(Index),
}

/// One leg: from, to, how much; where.
#[derive(Clone, Debug)]
pub enum Part {
    Move(Journal, Asset, Option<u8>, u8, i64),
    Cross(Journal, Asset, Option<u8>, i64),
}

/// Where a meter says that its register stood when a sale began.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// So many Wh further than where it was last said to stand.
    On(u64),
    /// So many Wh less.
    Back(u64),
    /// Exactly there.
    At(u64),
}

/// Who ends a hold.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    Payee,
    Anybody(u8),
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub step: Step,
    pub signing: Signing,
    pub number: Number,
    pub valid: Ends,
}

/// A block some time after the one before.
#[derive(Clone, Debug)]
pub struct Plan {
    pub later: Duration,
    pub sent: Vec<Sent>,
}

fn person() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(BUYER), 4 => Just(SELLER), 8 => proptest::sample::select(&PEOPLE[..])]
}

fn asset() -> impl Strategy<Value = Asset> {
    prop_oneof![5 => Just(Asset::Currency), 1 => Just(Asset::EnergyCoin)]
}

fn journal() -> impl Strategy<Value = Journal> {
    prop_oneof![3 => Just(Journal::Energy), 2 => Just(Journal::Grid)]
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 1i64..30_000_000,
        6 => 1i64..200,
        2 => -2i64..=0,
        1 => proptest::sample::select(&[i64::MIN, i64::MAX, i64::MAX - 100_000_000, i64::MAX / 2][..]),
    ]
}

fn timeout() -> impl Strategy<Value = Ends> {
    prop_oneof![
        8 => (1u64..600).prop_map(Ends::Seconds),
        1 => Just(Ends::OneMsBefore),
        1 => Just(Ends::AtOnce),
        1 => Just(Ends::OneMsAfter),
        1 => Just(Ends::Days(30)),
        1 => Just(Ends::OneMsAfterDays(30)),
    ]
}

fn valid() -> impl Strategy<Value = Ends> {
    prop_oneof![
        40 => Just(Ends::Seconds(3600)),
        1 => Just(Ends::OneMsBefore),
        2 => Just(Ends::AtOnce),
        2 => Just(Ends::Days(1)),
        1 => Just(Ends::OneMsAfterDays(1)),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let payer = || prop_oneof![30 => Just(None), 1 => person().prop_map(Some)];
    let small = || prop_oneof![10 => 1i64..4_000_000, 1 => amount()];
    prop_oneof![
        (journal(), asset(), payer(), person(), small())
            .prop_map(|(j, a, p, to, n)| Part::Move(j, a, p, to, n)),
        (journal(), asset(), payer(), small()).prop_map(|(j, a, p, n)| Part::Cross(j, a, p, n)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let caller = || prop_oneof![6 => Just(Caller::Payee), 1 => person().prop_map(Caller::Anybody)];
    let wh =
        || prop_oneof![16 => 1u64..40_000, 1 => Just(0), 2 => 16_382_999u64..16_383_003, 1 => Just(u64::MAX)];
    let reading = || {
        prop_oneof![
            6 => Just(Reading::On(0)),
            4 => (1u64..3_000).prop_map(Reading::On),
            5 => (1u64..40_000).prop_map(Reading::Back),
            1 => (0u64..40_000).prop_map(Reading::At),
            1 => Just(Reading::At(u64::MAX - 100)),
        ]
    };
    let price = || {
        prop_oneof![
            6 => 390_001i64..390_004,
            2 => TARIFF - 1..TARIFF + 2,
            1 => proptest::sample::select(&[-1, 0, i64::MAX, i64::MIN, i64::MAX / 16_383][..]),
        ]
    };
    let reference = || prop_oneof![20 => 1usize..=64, 1 => Just(0), 1 => Just(65)];
    let legs = prop_oneof![
        12 => proptest::collection::vec(part(), 1..4),
        3 => proptest::collection::vec(part(), 4..=16),
        1 => proptest::collection::vec(part(), 17),
        1 => Just(Vec::new()),
    ];
    let owner = || proptest::sample::select(&PEOPLE[..]);
    prop_oneof![
        2 => (owner(), owner()).prop_map(|(a, b)| Step::Open(a, b)),
        2 => owner().prop_map(|a| Step::Open(a, a)),
        3 => (asset(), person(), amount(), reference()).prop_map(|(a, to, n, r)| Step::Issue(a, to, n, r)),
        2 => (asset(), person(), amount(), reference()).prop_map(|(a, from, n, r)| Step::Burn(a, from, n, r)),
        6 => (person(), legs).prop_map(|(from, legs)| Step::Legs(from, legs)),
        4 => (asset(), person(), person(), amount(), timeout())
            .prop_map(|(a, from, to, n, t)| Step::Pend(a, from, to, n, t)),
        5 => (person(), 0u8..8, price(), wh(), timeout()).prop_map(|(b, o, p, e, t)| Step::Sell(b, o, p, e, t)),
        4 => (any::<Index>(), caller(), amount()).prop_map(|(at, who, n)| Step::Post(at, who, n)),
        5 => (any::<Index>(), caller(), wh(), reading()).prop_map(|(at, who, e, r)| Step::PostSale(at, who, e, r)),
        2 => (any::<Index>(), caller()).prop_map(|(at, who)| Step::Void(at, who)),
        2 => any::<Index>().prop_map(Step::Replay),
    ]
}

fn sent() -> impl Strategy<Value = Sent> {
    let signing = prop_oneof![
        20 => Just(Signing::Whole),
        1 => Just(Signing::NotTheSender),
        1 => Just(Signing::Alone),
        1 => Just(Signing::OneTwice),
    ];
    let number = prop_oneof![20 => Just(Number::New), 1 => any::<Index>().prop_map(Number::Again)];
    (step(), signing, number, valid()).prop_map(|(step, signing, number, valid)| Sent {
        step,
        signing,
        number,
        valid,
    })
}

pub fn plan() -> impl Strategy<Value = Plan> {
    // Ids are forgotten by the end of the first block after their day; the quiet block of a night settles that.
    let night = Just(Plan { later: DAY + Duration::from_secs(3600), sent: Vec::new() });
    let later =
        prop_oneof![(1u64..5).prop_map(Duration::from_secs), (1u64..200_000).prop_map(Duration::from_millis)];
    let busy =
        (later, proptest::collection::vec(sent(), 0..9)).prop_map(|(later, sent)| Plan { later, sent });
    prop_oneof![24 => busy, 1 => night]
}

pub fn leg(from: u8, part: Part) -> Leg {
    match part {
        Part::Move(journal, asset, payer, to, amount) => {
            Leg::Move { journal, asset, from: account(payer.unwrap_or(from)), to: account(to), amount }
        }
        Part::Cross(journal, asset, whose, amount) => {
            Leg::Cross { asset, account: account(whose.unwrap_or(from)), from: journal, amount }
        }
    }
}

/// Mostly the seller's, at times the distributor's, rarely one that is not there.
pub fn outlet_of(n: u8) -> EvseId {
    match n {
        0 => EvseId::of(&station(), 2),
        1 | 2 => own_evse(),
        _ => evse(),
    }
}
