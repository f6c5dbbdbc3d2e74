//! What a ledger weighs: bytes of proofs at a million accounts, bytes on disk and in memory for a million transactions.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a bench that cannot run has failed, and means need no more than a float holds"
)]

mod world;

use ohmesh_ledger::{
    Account, Asset, Balance, Body, Certificate, Children, Chunk, Header, Holding, Journal, Manifest, Object,
    Part, Proof, Restore, Rules, SignedTransaction, State, StateRoots, Totals, TreeName, Vote, VoteKind,
    tree::Tree,
};
use ohmesh_tests::zone::{lay_vote_key, zone_file};
use ohmesh_units::{
    AccountId, Canonical, Domain, Energy, Hash, PublicKey, SigningKey, Timestamp, to_postcard,
};
use station_agent::{
    disk::{Disk, Folder, Memory},
    record_log::{LogError, RecordLog},
    vote_keys::VoteKeys,
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use world::{World, pay, sender};

/// As many as transactions in the largest block.
const SENDERS: u64 = 5_000;
/// Blocks of so many transactions of each kind; the figures are scaled to a million.
const BLOCKS: usize = 10;
const ACCOUNTS: u32 = 1_000_000;

fn main() {
    weight_of_transactions();
    pause_of_a_snapshot(ACCOUNTS / 10);
    pause_of_a_snapshot(ACCOUNTS);
    proofs_of_a_million();
}

/// How long an agent that writes a snapshot does nothing else, in what parts, beside a plain write of as many bytes.
fn pause_of_a_snapshot(accounts: u32) {
    let (state, header, certificate) = state_of(accounts);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut disk = Folder::open(folder.path()).unwrap();
    let nothing = |_: &mut dyn Disk, _, _: &[u8]| Ok::<(), LogError>(());
    let seed = Hash::from(*state.zone_id());
    let mut log = RecordLog::open_each(&mut disk, "snapshot", "snapshot.log", seed, nothing).unwrap();
    let (start, mut chunking, mut longest) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    log.push(&state.manifest(&header, &certificate).encode());
    log.write(&mut disk).unwrap();
    for part in Part::ALL {
        let mut from = part.first(state.roots());
        loop {
            let before = Instant::now();
            let Some(chunk) = state.chunk(part, from, Chunk::LEAVES_MAX) else { break };
            let bytes = chunk.encode();
            chunking += before.elapsed();
            log.push(&bytes);
            log.write(&mut disk).unwrap();
            longest = longest.max(before.elapsed());
            from += u32::try_from(chunk.leaves.len()).unwrap();
        }
    }
    let written = start.elapsed();
    log.flush(&mut disk).unwrap();
    let all = start.elapsed();
    let bytes = vec![7; usize::try_from(log.length()).unwrap()];
    let start = Instant::now();
    disk.append("plain", &bytes).unwrap();
    disk.sync("plain").unwrap();
    let plain = start.elapsed();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "a snapshot of {} objects, {:.0} MB: {:.0} ms, {:.1} times a plain write of as many bytes",
        state.objects().count(),
        log.length() as f64 / 1e6,
        ms(all),
        all.as_secs_f64() / plain.as_secs_f64()
    );
    println!(
        "  leaves and siblings {:.0} ms, checks and writes {:.0} ms, sync {:.0} ms; the longest chunk {:.1} ms",
        ms(chunking),
        ms(written - chunking),
        ms(all - written),
        ms(longest)
    );
}

/// What transfers, holds, and the ends of holds leave on disk and in memory.
fn weight_of_transactions() {
    let senders: Vec<SigningKey> = (0..SENDERS).map(sender).collect();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("agent");
    let mut world = World::new(vec![Folder::open(&path).unwrap()]);
    world.fund(&senders);
    let scaled = BLOCKS * senders.len();
    println!(
        "one validator; {scaled} transactions of each kind, scaled to a million; ids are kept for 24 hours"
    );
    // The first blocks pay for what is used again and again: buffers, and the room that the allocator keeps.
    run(&mut world, &senders, 3, |world, from, to, number| world.sign(from, number, pay(from, to)));
    let mut before = Weight::now(&path);
    let mut step = |what: &str| {
        let now = Weight::now(&path);
        let (disk, memory) = (now.disk - before.disk, now.memory.saturating_sub(before.memory));
        let million = |bytes: u64| bytes as f64 / scaled as f64;
        println!("  {what}: block log {:.0} MB, memory {:.0} MB", million(disk), million(memory));
        before = now;
    };
    run(&mut world, &senders, BLOCKS, |world, from, to, number| world.sign(from, number, pay(from, to)));
    step("transfers between accounts that stay (open and finished at once)");
    let mut open = Vec::new();
    run(&mut world, &senders, BLOCKS, |world, from, to, number| {
        let (asset, amount) = (Asset::Currency, 1);
        let timeout = world.now().checked_add(Duration::from_secs(7 * 24 * 3600)).unwrap();
        let to_id = AccountId::of(&to.public());
        let signed = world.sign(from, number, Body::Pend { to: to_id, asset, amount, timeout });
        open.push(signed.transaction.pending_id());
        signed
    });
    step("holds that are open");
    let mut ends = open.into_iter();
    run(&mut world, &senders, BLOCKS, |world, _, to, number| {
        let pending = ends.next().unwrap();
        world.sign(to, number, Body::Post { pending, amount: 1 })
    });
    step("their ends, one each, on top");
}

/// Blocks in which each sender sends one transaction that has to do with the next one.
fn run(
    world: &mut World<Folder>,
    senders: &[SigningKey],
    blocks: usize,
    mut make: impl FnMut(&World<Folder>, &SigningKey, &SigningKey, u128) -> SignedTransaction,
) {
    for _ in 0..blocks {
        let number = 1_000_000 + world.applied as u128;
        let signed: Vec<SignedTransaction> = (0..senders.len())
            .map(|n| {
                let to = &senders[(n + 1) % senders.len()];
                make(world, &senders[n], to, number + n as u128)
            })
            .collect();
        let due = world.applied + signed.len();
        world.gossip(signed);
        world.run_until(due);
    }
}

/// Bytes that this process and its agent take.
struct Weight {
    disk: u64,
    memory: u64,
}

impl Weight {
    fn now(path: &Path) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        Self { disk: std::fs::metadata(path.join("blocks.log")).unwrap().len(), memory: kib * 1024 }
    }
}

/// What a phone is sent to prove an account, where there are a million.
fn proofs_of_a_million() {
    let start = Instant::now();
    let (state, header, _) = state_of(ACCOUNTS);
    println!(
        "{} objects, restored from a certified snapshot in {:.0} s",
        state.objects().count(),
        start.elapsed().as_secs_f64()
    );
    let mut of_one: [Vec<usize>; 2] = Default::default();
    let mut of_all = Vec::new();
    for account in state.objects().skip(FIRST_ACCOUNTS).step_by(997) {
        let Object::Account(account) = account else { continue };
        let proofs: Vec<Proof> = state.prove_account(&account.id()).unwrap();
        proofs.iter().for_each(|proof| proof.verify(&header).unwrap());
        let sent = proofs.into_iter().map(Proof::without_owner);
        let bytes: Vec<usize> = sent.map(|proof| proof.encode().len()).collect();
        of_one[0].push(bytes[0]);
        of_one[1].push(bytes[1]);
        of_all.push(bytes.iter().sum());
    }
    print_bytes("the account object", of_one[0].clone());
    print_bytes("its energy balance", of_one[1].clone());
    print_bytes("account and both balances", of_all);
    let path = 32 * 20;
    println!("  of each single proof, {path} bytes are the path of 20 hashes");
}

fn print_bytes(what: &str, mut bytes: Vec<usize>) {
    bytes.sort_unstable();
    let mean = bytes.iter().sum::<usize>() as f64 / bytes.len() as f64;
    let (least, most) = (bytes[0], bytes[bytes.len() - 1]);
    println!("  proof of {what}: {least} to {most} bytes, mean {mean:.0} ({} proofs)", bytes.len());
}

/// Objects of the genesis of this zone, or a few more.
const FIRST_ACCOUNTS: usize = 16;

/// A state of so many accounts that have both balances and three purchases each, restored from chunks against a header
/// that the zone's validator has certified. Owners are random bytes: as long as keys, and made a thousand times as fast.
fn state_of(accounts: u32) -> (State, Header, Certificate) {
    let created = Timestamp::from_millis(1_800_000_000_000);
    let zone = zone_file(&[1], Rules::default(), created).zone;
    let genesis = State::genesis(zone.clone());
    let mut objects: Vec<Vec<u8>> = genesis.objects().map(Canonical::encode).collect();
    let mut balances: [Vec<Vec<u8>>; 2] = Default::default();
    let mut totals = Totals::default();
    for n in 0..accounts {
        let account = account(n);
        let id = account.id();
        objects.push(Object::Account(account).encode());
        let money = 1_000_000 + i64::from(n) * 37;
        for (journal, amount) in [(Journal::Energy, money), (Journal::Grid, money / 10)] {
            let mut balance = Balance::empty(id);
            balance.holdings[Asset::Currency as usize] = Holding { posted: amount, held: 0 };
            if journal == Journal::Energy {
                let energy = Energy::from_wh(100_000 + u64::from(n));
                (balance.bought, balance.sold) = (energy, energy);
                (totals.bought, totals.sold) =
                    (totals.bought.checked_add(energy).unwrap(), totals.sold.checked_add(energy).unwrap());
            }
            balances[journal as usize].push(balance.encode());
            let flow = &mut totals.flows[journal as usize][Asset::Currency as usize];
            flow.crossed += if journal == Journal::Grid { amount } else { -(money / 10) };
            flow.issued += if journal == Journal::Energy { money + money / 10 } else { 0 };
        }
    }
    let [energy, grid] = balances;
    let parts = [(Part::Objects, objects), (Part::EnergyBalances, energy), (Part::GridBalances, grid)];
    let trees: Vec<Tree> = parts.iter().map(|(part, leaves)| tree(*part, leaves)).collect();
    let mut roots = *genesis.roots();
    (roots.objects, roots.energy.balances, roots.grid.balances) =
        (trees[0].root(), trees[1].root(), trees[2].root());
    let manifest = certified(&genesis, roots, totals);
    let (header, certificate) = (manifest.header.clone(), manifest.certificate.clone());
    let mut restore = Restore::begin(zone, genesis.validators().voters(), manifest).unwrap();
    for ((part, leaves), tree) in parts.into_iter().zip(trees) {
        for (from, leaves) in (0..).step_by(Chunk::LEAVES_MAX).zip(leaves.chunks(Chunk::LEAVES_MAX)) {
            let siblings = tree.siblings(from, u32::try_from(leaves.len()).unwrap()).unwrap();
            restore.add(Chunk { part, from, leaves: leaves.to_vec(), siblings }).unwrap();
        }
    }
    (restore.finish().unwrap(), header, certificate)
}

/// An account that has made three purchases.
fn account(n: u32) -> Account {
    const RANDOM: Domain = Domain::new("ohmesh/1 bench");
    let owner = PublicKey::from_bytes(RANDOM.hash(&[&n.to_be_bytes()]).0);
    let children = (0u8..3).try_fold(Children::default(), |children, child| {
        children.with(RANDOM.hash(&[&n.to_be_bytes(), &[child]]))
    });
    Account { owner, balances: [Some(n), Some(n)], children: children.unwrap() }
}

fn tree(part: Part, leaves: &[Vec<u8>]) -> Tree {
    let name = match part {
        Part::Objects => TreeName::Objects,
        Part::EnergyBalances => TreeName::EnergyBalances,
        Part::GridBalances => TreeName::GridBalances,
        Part::Ids => unreachable!("there are no ids in it"),
    };
    Tree::from_run(0, (0u32..).zip(leaves).map(|(slot, leaf)| name.leaf(slot, leaf)).collect(), &[])
}

/// A header with these roots, final by the word of the zone's only validator.
fn certified(genesis: &State, roots: StateRoots, totals: Totals) -> Manifest {
    const TOTALS: Domain = Domain::new("ohmesh/1 totals");
    let header = Header {
        zone: *genesis.zone_id(),
        height: 1,
        epoch: 0,
        time: genesis.head().time.checked_add(Duration::from_secs(1)).unwrap(),
        parent: Hash::ZERO,
        proposer: 0,
        transactions: Hash::ZERO,
        transaction_count: 0,
        state: StateRoots { totals: TOTALS.hash(&[&to_postcard(&totals)]), ..roots },
        voters: genesis.validators().voters().hash(),
        rules: genesis.governance().rules.version,
        next_voters: None,
    };
    let (height, epoch, block) = (header.height, header.epoch, header.id());
    let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block: Some(block), validator: 0 };
    let mut disk = Memory::default();
    lay_vote_key(1, &mut disk);
    let key = VoteKeys::open(&disk).unwrap().signer(genesis.validators(), &ohmesh_tests::key(1).public());
    let signature = vote.sign(&header.zone, epoch, &key.unwrap());
    let certificate = Certificate { height, round: 0, epoch, block, signatures: vec![(0, signature)] };
    Manifest { header, certificate, totals }
}
