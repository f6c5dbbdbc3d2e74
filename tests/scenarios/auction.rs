//! A whole auction over whole nodes: four agents make the key, sellers bid, the agents release, the buyer proves the winner.

use ohmesh_auction::{
    award::Award,
    bid::Bid,
    intent::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, Terms},
    key::EpochKey,
    release::Opening,
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_ledger::{
    Answer, Auction, Block, Body, Object, Query, blocks_needed, epoch_key_id, proven_object,
};
use ohmesh_mesh::{Clock, sim::Faults};
use ohmesh_node::{Builder, Place};
use ohmesh_tests::{Client, Committee, account, key, simulate};
use ohmesh_units::{
    AuctionId, Canonical, EvseId, Hash, InCell, Position, Power, Price, PriceTick, StationId, TickSize,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const MINUTE: Duration = Duration::from_secs(60);
const SELLERS: [u8; 3] = [20, 21, 22];

/// What is secret in an auction: where the buyer is, and what the losers asked.
#[derive(Clone, Copy)]
struct Secrets {
    position: InCell,
    losing: [u16; 2],
}

/// What a run leaves behind.
struct Run {
    blocks: Vec<Block>,
    /// Every byte on every agent's disk, and in the replica of a driver who has nothing to do with the auction.
    disks: Vec<Vec<u8>>,
    /// Everything that anybody logged, at every level.
    logs: Vec<u8>,
    auction: AuctionId,
}

async fn object(committee: &Committee, client: &Client, id: Hash) -> Option<Object> {
    let zone = &committee.file.zone;
    match client.ask(&Query::Object(id)).await {
        Answer::Proofs(head, proofs) => {
            head.1.verify_header(&head.0, &zone.id(), zone.validators.voters()).unwrap();
            proofs.first().map(|proof| proven_object(proof, &head.0).unwrap())
        }
        Answer::Refused(_) => None,
        other => panic!("{other:?}"),
    }
}

/// Asks until the object is as wanted.
async fn wait_for<T>(
    committee: &Committee,
    client: &Client,
    id: Hash,
    what: &str,
    good: impl Fn(Object) -> Option<T>,
) -> T {
    let asked = async {
        loop {
            if let Some(found) = object(committee, client, id).await.and_then(&good) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(2 * MINUTE, asked).await.unwrap_or_else(|_| panic!("{what} has not come"))
}

fn station(n: u8) -> StationId {
    StationId::of(&account(n), 1)
}

fn seal(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// Where a run's log lines go.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn run(seed: u64, validators: u8, faults: Faults, secrets: Secrets) -> Run {
    let logs = Logs::default();
    let kept = logs.clone();
    let lines = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .without_time()
        .with_writer(move || logs.clone())
        .finish();
    // A simulation runs on this thread alone, so these are its lines and no other's.
    let mut run = tracing::subscriber::with_default(lines, || play(seed, validators, faults, secrets));
    run.logs = kept.0.lock().unwrap().clone();
    run
}

fn play(seed: u64, validators: u8, faults: Faults, secrets: Secrets) -> Run {
    simulate(async move {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut committee = Committee::new(seed, validators, faults);
        (1..=validators).for_each(|n| committee.start(n));
        let mut treasurer = committee.client(Committee::TREASURER, 1).await;
        let mut buyer = committee.client(10, 1).await;
        buyer.apply(Body::OpenAccount { owner: key(10).public() }, &[], MINUTE).await;
        treasurer.apply(Client::issue(10, 50_000_000), &[], MINUTE).await;
        let mut sellers = Vec::new();
        for (at, n) in SELLERS.into_iter().enumerate() {
            let mut seller = committee.client(n, 1).await;
            seller.apply(Body::OpenAccount { owner: key(n).public() }, &[], MINUTE).await;
            let lat = 525_100_000 + i32::try_from(at).unwrap() * 100_000;
            let position = Position::from_e7(lat, 134_000_000).unwrap();
            let award_key = Hash(seal(n).public().to_bytes());
            let (number, name) = (1, format!("Station {n}"));
            seller.apply(Body::RegisterStation { number, name, position, award_key }, &[], MINUTE).await;
            let (zone, plugs) = (committee.file.zone.id(), (2, Power::from_w(22_000)));
            let outlet = Body::register_evse(&zone, &account(n), (station(n), 1), plugs, &key(n + 100));
            seller.apply(outlet, &[], MINUTE).await;
            sellers.push(seller);
        }
        let epoch_key: EpochKey =
            wait_for(&committee, &buyer, epoch_key_id(0), "the key", |object| match object {
                Object::EpochKey(key) => Some(*key),
                _ => None,
            })
            .await;

        let height = committee.height(1);
        let terms = Terms {
            zone: committee.file.zone.id(),
            key_epoch: 0,
            area: committee.file.zone.areas[0].area,
            energy: EnergyKwh::try_from(20).unwrap(),
            deadline: committee.clock.now().checked_add(Duration::from_secs(20)).unwrap(),
            blocks_min: blocks_needed(committee.file.zone.validators.voters(), height) + 1,
            kappa: Kappa::try_from(2).unwrap(),
            renewable_min: Percent::try_from(0).unwrap(),
            connectors: Connectors::try_from(2).unwrap(),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
            pricing: Pricing::FirstPrice,
            choice: Choice::BestProvable,
            buyer: key(11).public(),
        };
        let (mut role, action) =
            Buyer::ask(terms, secrets.position, Reserve(u32::MAX), epoch_key.clone(), &mut rng).unwrap();
        let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
        let id = intent.id();
        let answer = buyer.apply(Body::AuctionOpen(intent), &[], MINUTE).await;
        assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
        let running = |object| match object {
            Object::Auction(auction) => Some(*auction),
            _ => None,
        };
        let auction: Auction = wait_for(&committee, &buyer, id.into(), "the auction", running).await;
        let prices = [secrets.losing[0], 10_000, secrets.losing[1]];
        for ((seller, n), ticks) in sellers.iter_mut().zip(SELLERS).zip(prices) {
            let bid =
                Bid::create(&auction.intent, &epoch_key, station(n), PriceTick(ticks), &mut rng).unwrap();
            let evse = EvseId::of(&station(n), 1);
            let answer = seller.apply(Body::AuctionBid { bid: Box::new(bid), evse }, &[], MINUTE).await;
            assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
        }
        let (auction, opening): (Auction, Opening) =
            wait_for(&committee, &buyer, id.into(), "the opening", |object| {
                let auction = running(object)?;
                let opening = auction.opening.clone()?;
                Some((auction, opening))
            })
            .await;
        let candidates = auction
            .bids
            .iter()
            .zip(SELLERS)
            .map(|(bid, n)| Candidate { bid: bid.clone(), seal: seal(n).public() })
            .collect();
        assert!(role.on_closed(candidates, &mut rng).unwrap().is_empty());
        role.on_opening(opening, &mut rng).unwrap();
        let award = Award::new(b"here", &mut rng).unwrap();
        let decided = role.on_decide(None, award, &mut rng).unwrap();
        let [BuyerAction::PublishOutcome(outcome)] = &decided[..] else { panic!("{decided:?}") };
        let answer = buyer.apply(Body::AuctionOutcome(outcome.clone()), &[], MINUTE).await;
        assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
        let award =
            wait_for(&committee, &buyer, id.into(), "the award", |object| running(object)?.award).await;
        assert_eq!(award.seller, account(21), "the lowest price won");
        assert!(award.is_proven_best);

        let Answer::Blocks(blocks) = buyer.ask(&Query::Blocks { from: 1 }).await else { panic!("blocks") };
        let blocks = blocks.iter().map(|(bytes, _)| Block::decode(bytes).unwrap()).collect();
        let mut disks: Vec<Vec<u8>> = (1..=validators).map(|n| committee.disk(n).everything()).collect();
        disks.push(bystander(&mut committee, id).await);
        Run { blocks, disks, logs: Vec::new(), auction: id }
    })
}

const HERE: Secrets = Secrets { position: InCell { x: 40, y: 50 }, losing: [31_337, 42_424] };

/// What is in the files of a driver who follows the ledger, and who was even curious about the auction.
async fn bystander(committee: &mut Committee, auction: AuctionId) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = committee.endpoint(30);
    let node = Builder::new(committee.file.clone(), key(30))
        .endpoint(endpoint)
        .store(Place::File(folder.path().join("replica.db")))
        .random(ChaCha20Rng::seed_from_u64(30))
        .build()
        .unwrap();
    node.open_account().await.unwrap();
    tokio::time::sleep(Duration::from_secs(15)).await;
    node.sync().await.unwrap();
    let client = committee.client(31, 1).await;
    if let Answer::Proofs(head, proofs) = client.ask(&Query::Object(auction.into())).await {
        node.replica().store_object(&auction.into(), &head, &proofs[0]).unwrap();
    }
    node.close().await.unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap();
    files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
}

/// The words of a log line: runs of letters and digits, so that a number inside a hash is no find.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric())
}

#[test]
fn four_agents_hold_an_auction_on_a_bad_network() {
    for seed in 1..=3 {
        run(seed, 4, Faults::harsh(), HERE);
    }
}

#[test]
fn one_agent_alone_holds_an_auction() {
    run(5, 1, Faults::default(), HERE);
}

/// Two worlds with one seed that differ only in the buyer's position and the losers' prices: everything that everybody can
/// see is equal, but for ciphertexts, commitments and proofs, and those have equal lengths.
#[test]
fn nothing_public_tells_the_position_or_a_losing_price() {
    let there = Secrets { position: InCell { x: 41, y: 52 }, losing: [31_441, 42_525] };
    let (one, other) = (run(9, 4, Faults::default(), HERE), run(9, 4, Faults::default(), there));
    assert_ne!(one.auction, other.auction, "the id is a hash over commitments: it differs");
    assert_eq!(one.blocks.len(), other.blocks.len());
    let mut hidden = 0;
    for (a, b) in one.blocks.iter().zip(&other.blocks) {
        let (ha, hb) = (&a.header, &b.header);
        assert_eq!(
            (ha.height, ha.time, ha.proposer, ha.transaction_count),
            (hb.height, hb.time, hb.proposer, hb.transaction_count)
        );
        for (ta, tb) in a.transactions.iter().zip(&b.transactions) {
            assert_eq!(ta.encode().len(), tb.encode().len(), "equal lengths");
            let (ta, tb) = (&ta.transaction, &tb.transaction);
            assert_eq!((ta.sender, ta.number, ta.valid_until), (tb.sender, tb.number, tb.valid_until));
            match (&ta.body, &tb.body) {
                (Body::AuctionOpen(x), Body::AuctionOpen(y)) => assert_eq!(x.terms, y.terms),
                (Body::AuctionBid { bid: x, evse: e }, Body::AuctionBid { bid: y, evse: f }) => {
                    assert_eq!((x.station, e), (y.station, f));
                }
                (Body::AuctionRelease(x), Body::AuctionRelease(y)) => assert_eq!(x.validator, y.validator),
                (Body::AuctionOutcome(x), Body::AuctionOutcome(y)) => {
                    let open = |outcome: &ohmesh_auction::outcome::Outcome| {
                        outcome.decision.win().map(|win| (win.bid, win.station, win.price))
                    };
                    assert_eq!(open(x), open(y), "winner and price are public, and the same");
                }
                (x, y) => {
                    assert_eq!(x, y);
                    continue;
                }
            }
            hidden += 1;
        }
    }
    assert!(hidden >= 8, "intent, bids, releases and outcome were compared: {hidden}");
}

/// The validators' disks hold every message, and their logs tell all they do; neither a losing price nor the position stands
/// in them in any plain form.
#[test]
fn no_disk_or_log_holds_a_losing_price_or_the_position() {
    let run = run(11, 4, Faults::default(), HERE);
    let wide = |price: u16| u64::from(price);
    let tick = i64::from(TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap().as_micro_per_kwh());
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for price in HERE.losing {
        needles.push(ohmesh_units::to_postcard(&wide(price)).to_vec());
        needles.push(ohmesh_units::to_postcard(&(i64::from(price) * tick)));
        needles.push(price.to_string().into_bytes());
        needles.push(wide(price).to_le_bytes().to_vec());
        needles.push(wide(price).to_be_bytes().to_vec());
    }
    let in_cell = ohmesh_units::to_postcard(&HERE.position);
    needles.push([&in_cell[..], &in_cell[..]].concat());
    needles.push(format!("{:?}", HERE.position).into_bytes());
    for disk in &run.disks {
        assert!(disk.len() > 10_000, "the logs are there");
        for needle in needles.iter().filter(|needle| needle.len() >= 4) {
            let found = disk.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{needle:?} stands on a validator's disk");
        }
    }
    let log = String::from_utf8_lossy(&run.logs);
    assert!(log.contains("block final"), "the logs are there: {} bytes", log.len());
    let position = format!("x: {}, y: {}", HERE.position.x, HERE.position.y);
    let mut secrets = vec![position];
    for price in HERE.losing {
        secrets.extend([price.to_string(), (i64::from(price) * tick).to_string()]);
    }
    for secret in secrets {
        let line = log.lines().find(|line| {
            words(line).any(|word| word == secret) || line.contains(&secret) && secret.contains(' ')
        });
        assert_eq!(line, None, "{secret:?} stands in a log");
    }
    // The search finds what is there: the auction's id.
    assert!(run.disks.iter().any(|disk| disk.windows(32).any(|window| window == run.auction.0)));
}
