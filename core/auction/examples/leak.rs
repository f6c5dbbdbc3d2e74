//! What an auction tells its losing bidders about the buyer's position, measured: an operator of 20 stations bids,
//! reads the public outcome, and crosses out every place of the area from which that outcome could not have come.
//!
//! `cargo run --release -p ohmesh-auction --example leak` prints, for each weight of the detour, how many of the
//! 65,536 places are left in the median: under a first price, and under a second score with the pay exact, or rounded
//! up as it is. "Knows" is what follows with certainty. "Guesses" adds the guess that the operator's own best losing
//! bid set the pay, in the auctions where it did: in the last table the operator owns every station but one, so the
//! guess is sound unless the reserve set it.
//!
//! The worlds: stations at uniformly random places within 128 steps around the area, prices uniform from 0.30 to
//! 0.60 a kWh, 40 kWh, no binding reserve. No cryptography is run; the scores are those of [`Score`].

#![allow(clippy::unwrap_used, reason = "an example that cannot go on says where")]

use ohmesh_auction::{
    intent::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Terms},
    outcome::Payment,
    score::Score,
};
use ohmesh_units::{InCell, Power, Price, PriceTick, SigningKey, TickSize, Timestamp, ZoneId};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};

fn main() {
    let worlds = 200;
    println!("places of {PLACES} left to an operator of {OWN} stations, median of {worlds} auctions");
    for others in [20, 1] {
        println!("\n{others} stations of others");
        println!("                          second score, pay exact      second score, pay rounded up");
        println!("weight     first price        knows      guesses             knows      guesses");
        for step in 1..=7 {
            let kappa = Kappa::try_from(step).unwrap();
            let left: Vec<Left> = (0..worlds).map(|seed| World::random(kappa, others, seed).left()).collect();
            let guessed = |pick: fn(&Left) -> Option<usize>| median(left.iter().filter_map(pick).collect());
            println!(
                "{:>6} {:>15} {:>12} {:>12} {:>17} {:>12}",
                kappa.weight(),
                median(left.iter().map(|left| left.first).collect()),
                median(left.iter().map(|left| left.exact).collect()),
                guessed(|left| left.exact_guess),
                median(left.iter().map(|left| left.rounded).collect()),
                guessed(|left| left.rounded_guess),
            );
        }
    }
}

struct World {
    terms: Terms,
    buyer: InCell,
    /// The operator's first.
    stations: Vec<(InCell, PriceTick)>,
}

/// Places left by each rule.
struct Left {
    first: usize,
    exact: usize,
    rounded: usize,
    /// Where one of the operator's bids set the pay.
    exact_guess: Option<usize>,
    rounded_guess: Option<usize>,
}

impl World {
    fn random(kappa: Kappa, others: usize, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut below = |limit: u32| rng.next_u32() % limit;
        let mut place = |from: i32, size: u32| {
            let mut next = || from + i32::try_from(below(size)).unwrap();
            InCell { x: next(), y: next() }
        };
        let buyer = place(0, 256);
        let places: Vec<InCell> = (0..OWN + others).map(|_| place(-128, 512)).collect();
        let mut price = || PriceTick(u16::try_from(23_077 + below(23_077)).unwrap());
        let stations = places.into_iter().map(|place| (place, price())).collect();
        Self { terms: terms(kappa), buyer, stations }
    }

    fn score(&self, buyer: InCell, at: usize) -> i64 {
        let (place, price) = self.stations[at];
        Score::new(&self.terms, buyer, place, price).unwrap().0.into()
    }

    fn detour(&self, buyer: InCell, at: usize) -> i64 {
        Score::new(&self.terms, buyer, self.stations[at].0, PriceTick(0)).unwrap().0.into()
    }

    fn left(&self) -> Left {
        let all = 0..self.stations.len();
        let winner = all.clone().min_by_key(|at| (self.score(self.buyer, *at), *at)).unwrap();
        let rivals = all.filter(|at| *at != winner);
        let setter = rivals.min_by_key(|at| self.score(self.buyer, *at)).unwrap();
        let pay = self.score(self.buyer, setter) - self.detour(self.buyer, winner);
        let step = i64::from(Payment::STEP);
        let rounded = (pay + step - 1) / step * step;
        let own_price = self.score(self.buyer, winner) - self.detour(self.buyer, winner);
        // What the operator's best losing bid allows the winner to be paid, seen from a place.
        let allowed = |buyer: InCell| {
            let own = (0..OWN).filter(|at| *at != winner);
            own.map(|at| self.score(buyer, at)).min().unwrap() - self.detour(buyer, winner)
        };
        let allowed: Vec<i64> = places().map(allowed).collect();
        let count = |keep: &dyn Fn(i64) -> bool| allowed.iter().filter(|pay| keep(**pay)).count();
        let is_own = setter < OWN;
        Left {
            first: count(&|allowed| allowed >= own_price),
            exact: count(&|allowed| allowed >= pay),
            rounded: count(&|allowed| allowed > rounded - step),
            exact_guess: is_own.then(|| count(&|allowed| allowed == pay)),
            rounded_guess: is_own.then(|| count(&|allowed| allowed > rounded - step && allowed <= rounded)),
        }
    }
}

fn places() -> impl Iterator<Item = InCell> {
    (0..256).flat_map(|x| (0..256).map(move |y| InCell { x, y }))
}

fn median(mut counts: Vec<usize>) -> usize {
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied().unwrap_or(0)
}

fn terms(kappa: Kappa) -> Terms {
    Terms {
        zone: ZoneId([9; 32]),
        key_epoch: 0,
        area: "85283473fffffff".parse().unwrap(),
        energy: EnergyKwh::try_from(40).unwrap(),
        deadline: Timestamp::from_millis(1_795_300_500_000),
        blocks_min: 3,
        kappa,
        renewable_min: Percent::default(),
        connectors: Connectors::try_from(1).unwrap(),
        power_min: Power::from_w(50_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(790_000)).unwrap(),
        pricing: Pricing::SecondScore,
        choice: Choice::BestProvable,
        buyer: SigningKey::from_seed([5; 32]).public(),
    }
}

/// Stations of the operator.
const OWN: usize = 20;
/// Places of an area.
const PLACES: usize = 256 * 256;
