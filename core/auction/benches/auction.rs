//! What an auction costs, as ratios against two things measured in the same run:
//! a plain commit-reveal auction (hash, nonce and signature; every price ends up public), and one aggregated range proof
//! in place of chunks of 16.
//!
//! `cargo bench -p ohmesh-auction` prints medians of the CPU time of one thread, so that other work on the machine does
//! not count (but on Linux, which tells it, wall time). Only bytes are asserted. Called without `--bench` (as `cargo test
//! --all-targets` does) it runs the smallest auction once.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use ohmesh_auction::{
    award::Award,
    bid::{self, Bid, BidCheck, LedgeredBid},
    intent::{
        BuyerSecret, Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, Terms,
        VerifiedIntent,
    },
    key::{
        EpochKey, KeyShares, Shareholding, ValidatorIndex,
        generation::{Action, Board, Dealer, Generation},
    },
    outcome::{self, Claim, Offer, Outcome},
    release::{Opening, Release, VerifiedRelease},
    seal::SealSecret,
};
use ohmesh_units::{
    Canonical as _, Domain, InCell, Power, Price, PriceTick, SignatureCheck, SigningKey, StationId, TickSize,
    Timestamp, ZoneId, verify_batch,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use std::{hint::black_box, time::Instant};
use tari_bulletproofs_plus::{
    commitment_opening::CommitmentOpening,
    generators::pedersen_gens::ExtensionDegree,
    range_parameters::RangeParameters,
    range_proof::VerifyAction,
    range_statement::RangeStatement,
    range_witness::RangeWitness,
    ristretto::{RistrettoRangeProof, create_pedersen_gens_with_extension_degree},
};
use tari_merlin::Transcript;

fn main() {
    let full = std::env::args().any(|argument| argument == "--bench");
    let repeats = if full { 15 } else { 1 };
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (key, shares) = committee(&mut rng);
    println!("7 validators, threshold 5; median of {repeats}, CPU time of one thread");

    let intent_ms =
        median(repeats, || Intent::create(terms(), AT, Reserve(u32::MAX), &key, &mut rng).unwrap());
    let (intent, secret) = Intent::create(terms(), AT, Reserve(u32::MAX), &key, &mut rng).unwrap();
    let intent_verify_ms = median(repeats, || intent.verify(&key).unwrap());
    println!(
        "intent   create {intent_ms:.2} ms, verify {intent_verify_ms:.2} ms, {} B",
        intent.encode().len()
    );
    let intent = intent.verify(&key).unwrap();

    let bid_ms =
        median(repeats, || Bid::create(&intent, &key, station(1), PriceTick(4200), &mut rng).unwrap());
    let one = Bid::create(&intent, &key, station(1), PriceTick(4200), &mut rng).unwrap();
    let bid_verify_ms = median(repeats, || one.verify(&intent, &key, AT).unwrap());
    println!(
        "bid      create {bid_ms:.2} ms, verify {bid_verify_ms:.2} ms, {} B, of which {} B of cryptography",
        one.encode().len(),
        Bid::CRYPTO_BYTES
    );
    const { assert!(Bid::CRYPTO_BYTES <= 640) };
    goal("bid", bid_ms, 4.0);

    for n in if full { &[4, 10, 32, 100, 256][..] } else { &[4] } {
        auction(*n, &key, &shares, &intent, &secret, repeats, &mut rng);
    }
}

fn auction(
    n: u16,
    key: &EpochKey,
    shares: &[KeyShares],
    intent: &VerifiedIntent,
    secret: &BuyerSecret,
    repeats: usize,
    rng: &mut ChaCha20Rng,
) {
    let prices: Vec<u16> = (0..n).map(|i| 1000 + i * 37 % 400 * 100).collect();
    let places: Vec<InCell> =
        (0..n).map(|i| InCell { x: i32::from(i * 37 % 300) - 20, y: i32::from(i * 91 % 300) - 20 }).collect();
    let sent: Vec<Bid> = (0..n)
        .map(|i| Bid::create(intent, key, station(i), PriceTick(prices[usize::from(i)]), rng).unwrap())
        .collect();
    let checks: Vec<BidCheck<'_>> =
        sent.iter().zip(&places).map(|(bid, at)| BidCheck { bid, intent, key, position: *at }).collect();
    let bids_ms = median(repeats, || bid::verify_batch(&checks));
    let bids: Vec<LedgeredBid> = bid::verify_batch(&checks).into_iter().map(Result::unwrap).collect();

    let release_ms = median(repeats, || Release::create(&shares[0], key, intent, &bids, rng).unwrap());
    let releases: Vec<Release> =
        shares[..5].iter().map(|s| Release::create(s, key, intent, &bids, rng).unwrap()).collect();
    let release_verify_ms = median(repeats, || releases[0].verify(key, intent, &bids).unwrap());
    let kept: Vec<VerifiedRelease> = releases.iter().map(|r| r.verify(key, intent, &bids).unwrap()).collect();
    let combine_ms = median(repeats, || Opening::combine(key, intent, &bids, &kept).unwrap());
    let opening = Opening::combine(key, intent, &bids, &kept).unwrap();

    let open_ms = median(repeats, || Offer::open(intent, secret, &bids, &opening).unwrap());
    let offers = Offer::open(intent, secret, &bids, &opening).unwrap();
    let award = Award::new(b"udp 192.0.2.1:4433", rng).unwrap();
    let seal = SealSecret::from_seed(&[3; 32]).public();
    let sealed = award.seal(intent, offers[0].station, &seal, rng).unwrap();
    let mut prove = || {
        let winner = Some((&offers[0], sealed.clone()));
        Outcome::create(key, intent, secret, &bids, &opening, winner, rng).unwrap()
    };
    let prove_ms = median(repeats.min(5), &mut prove);
    let outcome = prove();
    let verify_ms = median(repeats, || outcome.verify(key, intent, &bids, &opening).unwrap());
    let claims = vec![Claim { outcome: &outcome, key, intent, bids: &bids, opening: &opening }; BATCH];
    let batch_ms = median(repeats.min(3), || outcome::verify_batch(&claims)) / to_f64(BATCH);
    assert!(outcome::verify_batch(&claims).iter().all(Result::is_ok));
    match n {
        10 => assert!(outcome.proof_bytes() <= 1200, "{} bytes", outcome.proof_bytes()),
        100 => assert!(outcome.proof_bytes() <= 9 << 10, "{} bytes", outcome.proof_bytes()),
        _ => {}
    }

    println!("n = {n}");
    println!(
        "  bids     verify all {bids_ms:.2} ms ({:.2} ms a bid), {} B",
        bids_ms / f64::from(n),
        sent.iter().map(|bid| bid.encode().len()).sum::<usize>()
    );
    println!(
        "  release  create {release_ms:.2} ms, verify {release_verify_ms:.2} ms, {} B a validator; combine {combine_ms:.2} ms",
        releases[0].encode().len()
    );
    println!("  open     {open_ms:.2} ms");
    println!(
        "  outcome  prove {prove_ms:.1} ms, verify {verify_ms:.2} ms, {} B of proof; in a batch of {BATCH} {batch_ms:.2} ms",
        outcome.proof_bytes()
    );
    match n {
        10 => goal("an outcome of 10 in a batch", batch_ms, 2.5),
        100 => {
            goal("the proof of 100", prove_ms, 500.0);
            goal("the check of 100", verify_ms, 30.0);
        }
        256 => goal("the check of 256", verify_ms, 40.0),
        _ => {}
    }
    second_score(key, shares, &prices, &places, [prove_ms, verify_ms], repeats, rng);
    let ledger_ms = bids_ms + 5.0 * release_verify_ms + combine_ms + verify_ms;
    let ledger_bytes = sent.iter().map(|bid| bid.encode().len()).sum::<usize>()
        + releases.iter().map(|release| release.encode().len()).sum::<usize>()
        + outcome.encode().len();
    let (plain_ms, plain_bytes) = commit_reveal(&prices, repeats);
    println!(
        "  a replica checks the whole auction in {ledger_ms:.2} ms ({ledger_bytes} B): {:.0} times the work and {:.1} times the bytes of a commit-reveal that hides nothing afterwards",
        ledger_ms / plain_ms,
        to_f64(ledger_bytes) / to_f64(plain_bytes)
    );
    let (chunked, single) = (ranges(n, 16, repeats.min(5)), ranges(n, n.next_power_of_two(), repeats.min(5)));
    println!(
        "  range proofs, chunks of 16 against one: prove {:.1} / {:.1} ms ({:.2}x), verify {:.2} / {:.2} ms ({:.2}x), {} / {} B ({:.2}x)",
        chunked.prove_ms,
        single.prove_ms,
        chunked.prove_ms / single.prove_ms,
        chunked.verify_ms,
        single.verify_ms,
        chunked.verify_ms / single.verify_ms,
        chunked.bytes,
        single.bytes,
        to_f64(chunked.bytes) / to_f64(single.bytes)
    );
}

/// The same auction where the second score is paid: what its outcome costs against that of the first price.
fn second_score(
    key: &EpochKey,
    shares: &[KeyShares],
    prices: &[u16],
    places: &[InCell],
    first_ms: [f64; 2],
    repeats: usize,
    rng: &mut ChaCha20Rng,
) {
    let terms = Terms { pricing: Pricing::SecondScore, ..terms() };
    let (intent, secret) = Intent::create(terms, AT, Reserve(u32::MAX), key, rng).unwrap();
    let intent = intent.verify(key).unwrap();
    let bids: Vec<LedgeredBid> = (0..)
        .zip(prices.iter().zip(places))
        .map(|(n, (price, at))| {
            let bid = Bid::create(&intent, key, station(n), PriceTick(*price), rng).unwrap();
            bid.verify(&intent, key, *at).unwrap()
        })
        .collect();
    let releases: Vec<VerifiedRelease> = shares[..5]
        .iter()
        .map(|s| Release::create(s, key, &intent, &bids, rng).unwrap().verify(key, &intent, &bids).unwrap())
        .collect();
    let opening = Opening::combine(key, &intent, &bids, &releases).unwrap();
    let offers = Offer::open(&intent, &secret, &bids, &opening).unwrap();
    let award = Award::new(b"udp 192.0.2.1:4433", rng).unwrap();
    let seal = SealSecret::from_seed(&[3; 32]).public();
    let sealed = award.seal(&intent, offers[0].station, &seal, rng).unwrap();
    let mut prove = || {
        let winner = Some((&offers[0], sealed.clone()));
        Outcome::create(key, &intent, &secret, &bids, &opening, winner, rng).unwrap()
    };
    let prove_ms = median(repeats.min(5), &mut prove);
    let outcome = prove();
    let verify_ms = median(repeats, || outcome.verify(key, &intent, &bids, &opening).unwrap());
    if prices.len() == 10 {
        assert!(outcome.proof_bytes() <= 2100, "{} bytes", outcome.proof_bytes());
    }
    println!(
        "  by second score: prove {prove_ms:.1} ms ({:.2}x), verify {verify_ms:.2} ms ({:.2}x), {} B of proof",
        prove_ms / first_ms[0],
        verify_ms / first_ms[1],
        outcome.proof_bytes()
    );
}

/// The same auction where each bidder signs a hash of its price and later signs the price: what a replica checks, and
/// the bytes it reads. Everybody learns every price, and a bidder may refuse to reveal.
fn commit_reveal(prices: &[u16], repeats: usize) -> (f64, usize) {
    const COMMIT: Domain = Domain::new("ohmesh/1 bench commit");
    let seed = |n: u16| COMMIT.hash(&[&n.to_be_bytes()]).0;
    let keys: Vec<SigningKey> = (1..).take(prices.len()).map(|n| SigningKey::from_seed(seed(n))).collect();
    let reveals: Vec<Vec<u8>> =
        prices.iter().map(|price| [&price.to_be_bytes()[..], &[7; 32]].concat()).collect();
    let commits: Vec<[u8; 32]> = reveals.iter().map(|reveal| COMMIT.hash(&[reveal]).0).collect();
    let checks: Vec<SignatureCheck<'_>> = keys
        .iter()
        .zip(commits.iter().zip(&reveals))
        .flat_map(|(key, (commit, reveal))| [(key, &commit[..]), (key, &reveal[..])])
        .map(|(key, message)| SignatureCheck {
            key: key.public(),
            domain: COMMIT,
            message,
            signature: key.sign(COMMIT, message),
        })
        .collect();
    let ms = median(repeats, || {
        verify_batch(&checks).unwrap();
        assert!(reveals.iter().zip(&commits).all(|(reveal, commit)| COMMIT.hash(&[reveal]).0 == *commit));
        prices.iter().enumerate().min_by_key(|(at, price)| (**price, *at)).unwrap().0
    });
    let station_and_auction = 64;
    (ms, prices.len() * (2 * (station_and_auction + 64) + 32 + 34))
}

struct Ranges {
    prove_ms: f64,
    verify_ms: f64,
    bytes: usize,
}

/// Range proofs for `n` differences of scores, `chunk` to a proof, verified in one batch.
fn ranges(n: u16, chunk: u16, repeats: usize) -> Ranges {
    let (n, chunk) = (usize::from(n), usize::from(chunk));
    let bases = create_pedersen_gens_with_extension_degree(ExtensionDegree::DefaultPedersen);
    let parameters = RangeParameters::init(32, chunk, bases).unwrap();
    let opened: Vec<(u64, Scalar)> =
        (1..=n as u64).map(|value| (value * 12_345, Scalar::from(value * 77_777_777))).collect();
    let commit = |(value, blinding): &(u64, Scalar)| {
        parameters.pc_gens().commit(&Scalar::from(*value), &[*blinding]).unwrap()
    };
    let statements: Vec<(RangeStatement<RistrettoPoint>, RangeWitness)> = opened
        .chunks(chunk)
        .map(|values| {
            let mut values = values.to_vec();
            values.resize(values.len().next_power_of_two(), *values.last().unwrap());
            let points: Vec<RistrettoPoint> = values.iter().map(commit).collect();
            let promises = vec![None; points.len()];
            let openings = values.iter().map(|(v, b)| CommitmentOpening::new(*v, vec![*b])).collect();
            let statement = RangeStatement::init(parameters.clone(), points, promises, None).unwrap();
            (statement, RangeWitness::init(openings).unwrap())
        })
        .collect();
    let mut rng = ChaCha20Rng::from_seed([2; 32]);
    let mut prove = || -> Vec<RistrettoRangeProof> {
        let prove = |(statement, witness): &(_, _)| {
            RistrettoRangeProof::prove_with_rng(&mut Transcript::new(b"bench"), statement, witness, &mut rng)
                .unwrap()
        };
        statements.iter().map(prove).collect()
    };
    let prove_ms = median(repeats, &mut prove);
    let proofs = prove();
    let public: Vec<RangeStatement<RistrettoPoint>> =
        statements.into_iter().map(|(public, _)| public).collect();
    let verify_ms = median(repeats, || {
        let mut transcripts = vec![Transcript::new(b"bench"); proofs.len()];
        RistrettoRangeProof::verify_batch(&mut transcripts, &public, &proofs, VerifyAction::VerifyOnly)
            .unwrap()
    });
    Ranges { prove_ms, verify_ms, bytes: proofs.iter().map(|proof| proof.to_bytes().len()).sum() }
}

/// Milliseconds of one run: the median of `repeats` samples, each of as many runs as the clock needs to tell them apart.
fn median<T>(repeats: usize, mut run: impl FnMut() -> T) -> f64 {
    // Once for caches: generators and tables are built on first use.
    black_box(run());
    let once = spent(|| drop(black_box(run())));
    let runs = if repeats == 1 { 1.0 } else { (SAMPLE_MS / once.max(0.01)).clamp(1.0, 1_000.0).round() };
    let mut times: Vec<f64> = (0..repeats)
        .map(|_| {
            let all = spent(|| {
                let mut left = runs;
                while left > 0.0 {
                    black_box(run());
                    left -= 1.0;
                }
            });
            all / runs
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Milliseconds that this thread works on `run`; where the system does not tell, that pass.
fn spent(run: impl FnOnce()) -> f64 {
    let start = (Instant::now(), cpu_ms());
    run();
    match (start.1, cpu_ms()) {
        (Some(before), Some(after)) => after - before,
        _ => start.0.elapsed().as_secs_f64() * 1e3,
    }
}

/// Milliseconds for which this thread has had a processor, as Linux counts them.
fn cpu_ms() -> Option<f64> {
    // The count is brought up to date when the thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e6)
}

fn goal(what: &str, found_ms: f64, goal_ms: f64) {
    let said = if found_ms <= goal_ms { "met" } else { "missed" };
    println!("  goal {said}: {what} in {goal_ms} ms, {:.2} of it used", found_ms / goal_ms);
}

/// Auctions whose outcomes are checked together.
const BATCH: usize = 64;
/// How long a sample takes at least: the system's count of a thread's time may be some milliseconds late.
const SAMPLE_MS: f64 = 40.0;

fn to_f64(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes).unwrap())
}

fn committee(rng: &mut ChaCha20Rng) -> (EpochKey, Vec<KeyShares>) {
    let stakes: Vec<_> = (0..7).map(|v| (ValidatorIndex(v), 1)).collect();
    let holding = Shareholding::by_stake(&stakes).unwrap();
    let generation = Generation { zone: ZoneId([9; 32]), epoch: 1, attempt: 0, holding };
    let mut board = Board::new(generation.clone());
    let (mut dealers, mut ledger, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for validator in generation.holding.validators() {
        let (dealer, deal) = Dealer::start(generation.clone(), validator, rng).unwrap();
        dealers.push(dealer);
        ledger.push(deal);
    }
    while !ledger.is_empty() {
        for action in std::mem::take(&mut ledger) {
            match action {
                Action::Deal(deal) => {
                    board.on_deal(deal.clone()).unwrap();
                    dealers.iter_mut().for_each(|d| ledger.extend(d.on_deal(deal.clone(), rng).unwrap()));
                }
                Action::Handout(handout) => {
                    board.on_handout(handout.clone()).unwrap();
                    dealers
                        .iter_mut()
                        .for_each(|d| ledger.extend(d.on_handout(handout.clone(), rng).unwrap()));
                }
                Action::Keep(kept, blinding) => {
                    board.on_blinding(blinding).unwrap();
                    shares.push(*kept);
                }
                Action::Complain(complaint) => panic!("{complaint:?}"),
            }
        }
    }
    (board.finish().unwrap(), shares)
}

fn terms() -> Terms {
    Terms {
        zone: ZoneId([9; 32]),
        key_epoch: 1,
        area: "85283473fffffff".parse().unwrap(),
        energy: EnergyKwh::try_from(40).unwrap(),
        deadline: Timestamp::from_millis(1_795_300_500_000),
        blocks_min: 3,
        kappa: Kappa::try_from(2).unwrap(),
        renewable_min: Percent::default(),
        connectors: Connectors::try_from(1).unwrap(),
        power_min: Power::from_w(50_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(790_000)).unwrap(),
        pricing: Pricing::FirstPrice,
        choice: Choice::BestProvable,
        buyer: SigningKey::from_seed([5; 32]).public(),
    }
}

fn station(n: u16) -> StationId {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    StationId(id)
}

const AT: InCell = InCell { x: 120, y: 77 };
