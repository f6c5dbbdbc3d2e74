//! Transfers that validators make final, as a share of the signatures that this machine can check at all, and beside a
//! database that keeps the same accounts as rows.
//!
//! One thread. Everything that is compared is measured in turns in the same run, on the same transfers. Shares are given
//! by the clock and by CPU time, which other programs on the machine disturb less. Time to final leaves out the pace of
//! blocks (a second from block to block while there is work), which runs on virtual time.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench that cannot run has failed")]

mod world;

use ohmesh_ledger::{Leg, SignedTransaction, Transaction};
use ohmesh_units::{Canonical, SignatureCheck, SigningKey, verify_batch};
use rusqlite::Connection;
use station_agent::{
    daemon::TOGETHER_MAX,
    disk::{Disk, Folder, Memory},
    wire::Wire,
};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use world::{World, cpu_time, pay, sender};

/// As many as transfers in the largest block, so that no key signs twice in a batch.
const SENDERS: u64 = 5_000;
/// What is measured: transfers a block, and rounds of one block each with one validator and with four. A p99 of fewer than
/// 100 rounds is the slowest or next to it.
const SIZES: [(usize, usize, usize); 3] = [(100, 120, 100), (1_000, 40, 40), (5_000, 12, 6)];

/// Signatures in a batch when only they are checked: more are hardly faster.
const FASTEST_BATCH: usize = 1_024;

fn main() {
    let senders: Vec<SigningKey> = (0..SENDERS).map(sender).collect();
    one_validator(&senders);
    four_validators(&senders);
}

/// One validator on a real disk, and SQLite on the same disk.
fn one_validator(senders: &[SigningKey]) {
    println!("one validator, one thread, files on a real disk, every block synced");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let syncs = Syncs::default();
    let disk = Counted { disk: Folder::open(&folder.path().join("agent")).unwrap(), syncs: syncs.clone() };
    let mut world = World::new(vec![disk]);
    world.fund(senders);
    let mut rows = Rows::open(&folder.path().join("rows.sqlite"), senders);
    for (per_block, rounds, _) in SIZES {
        let (mut taken, mut made_final) = (Spent::default(), Spent::default());
        let (mut asked_one_by_one, mut asked_together) = (Spent::default(), Spent::default());
        let (mut raw, mut raw_gossip, mut sql) = (Spent::default(), Spent::default(), Spent::default());
        let mut latencies = Vec::new();
        let (blocks, synced) = (world.blocks, syncs.count());
        for _ in 0..rounds {
            let transfers = transfers(&world, senders, per_block);
            let due = world.applied + per_block;
            let given = transfers.clone();
            let start = Instant::now();
            taken.add(|| world.gossip(given));
            made_final.add(|| world.run_until(due));
            latencies.push(start.elapsed());
            raw.add(|| check(&transfers, FASTEST_BATCH));
            raw_gossip.add(|| check(&transfers, Wire::TRANSACTIONS_MAX));
            let block = transfers.iter().flat_map(Canonical::encode).collect::<Vec<u8>>();
            sql.add(|| rows.commit(&transfers, &block));
        }
        assert_eq!(world.blocks - blocks, rounds, "a block a round");
        let synced = syncs.count() - synced;
        assert!(synced <= rounds + 1, "{synced} syncs for {rounds} blocks");
        for (asked, together) in [(&mut asked_one_by_one, 1), (&mut asked_together, TOGETHER_MAX)] {
            for _ in 0..rounds / 4 {
                let transfers = transfers(&world, senders, per_block);
                let due = world.applied + per_block;
                asked.add(|| {
                    world.ask(transfers, together);
                    world.run_until(due);
                });
            }
        }
        let done = per_block * rounds;
        let (whole, asked_done) = (taken + made_final, per_block * (rounds / 4));
        println!(
            "{per_block:5} a block, {rounds} rounds: {:6.0} transfers/s; raw batch checks {:6.0}/s; share {}; {}",
            whole.rate(done),
            raw.rate(done),
            share(raw.each(done), whole.each(done)),
            latency(latencies),
        );
        println!(
            "      CPU a transfer: signatures and mempool {:.1} us (signatures alone, as many as a message of gossip \
             holds: {:.1}; raw: {:.1}), block, disk and state {:.1} us",
            taken.each(done).1,
            raw_gossip.each(done).1,
            raw.each(done).1,
            made_final.each(done).1,
        );
        println!("      syncs of the disk a block: {:.2}", synced as f64 / rounds as f64);
        for (asked, how) in [(asked_one_by_one, "one by one"), (asked_together, "at the same time")] {
            println!(
                "      asked by phones {how}: {:6.0} transfers/s, share {}",
                asked.rate(asked_done),
                share(raw.each(done), asked.each(asked_done)),
            );
        }
        println!(
            "      SQLite rows, one transaction a block: {:6.0} transfers/s; ours takes {:.1}x as long with signature \
             checks, {:.1}x from the mempool on",
            sql.rate(done),
            whole.each(done).0 / sql.each(done).0,
            made_final.each(done).0 / sql.each(done).0,
        );
    }
    rows.agree(world.applied);
}

/// Four validators, disks in memory: the CPU that a transfer costs, four times.
fn four_validators(senders: &[SigningKey]) {
    println!("four validators in one process, one thread, disks in memory");
    let syncs = Syncs::default();
    let disk = |_| Counted { disk: Memory::default(), syncs: syncs.clone() };
    let mut world = World::new((0..4).map(disk).collect());
    world.fund(senders);
    for (per_block, _, rounds) in SIZES {
        let (mut spent, mut raw) = (Spent::default(), Spent::default());
        let mut latencies = Vec::new();
        let (heights, synced) = (world.heights, syncs.count());
        for _ in 0..rounds {
            let transfers = transfers(&world, senders, per_block);
            let due = world.applied + per_block;
            let given = transfers.clone();
            let start = Instant::now();
            spent.add(|| {
                world.gossip(given);
                world.run_until(due);
            });
            latencies.push(start.elapsed());
            raw.add(|| check(&transfers, FASTEST_BATCH));
        }
        let done = per_block * rounds;
        // Each of the two votes before it leaves, and the decision; now and then a key, or a part of one.
        let synced = (syncs.count() - synced) as f64 / (4 * (world.heights - heights)) as f64;
        assert!(synced < 3.25, "{synced} syncs a block: a prevote, a precommit and the block need three");
        let checks = raw.each(done);
        println!(
            "{per_block:5} a block, {rounds} rounds: {:6.0} transfers/s final at all four; raw batch checks {:6.0}/s; \
             share of the four checks {}; {:.2} syncs a block and validator; {}",
            spent.rate(done),
            raw.rate(done),
            share((4.0 * checks.0, 4.0 * checks.1), spent.each(done)),
            synced,
            latency(latencies),
        );
    }
}

/// Each sender pays the next one.
fn transfers<D: Disk>(world: &World<D>, senders: &[SigningKey], many: usize) -> Vec<SignedTransaction> {
    let number = 1_000_000 + world.applied as u128;
    let one = |n: usize| {
        let (from, to) = (&senders[n % senders.len()], &senders[(n + 1) % senders.len()]);
        world.sign(from, number + n as u128, pay(from, to))
    };
    (0..many).map(one).collect()
}

/// Checks their signatures and nothing else.
fn check(transfers: &[SignedTransaction], batch: usize) {
    let messages: Vec<Vec<u8>> = transfers.iter().map(|signed| signed.transaction.encode()).collect();
    let checks = transfers.iter().zip(&messages).map(|(signed, message)| SignatureCheck {
        key: signed.signatures[0].key,
        domain: Transaction::DOMAIN,
        message,
        signature: signed.signatures[0].signature,
    });
    let checks: Vec<SignatureCheck<'_>> = checks.collect();
    checks.chunks(batch).for_each(|batch| verify_batch(batch).unwrap());
}

/// How often a disk was made to bring something to its medium.
#[derive(Clone, Default)]
struct Syncs(Arc<AtomicUsize>);

impl Syncs {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A disk whose syncs are counted, with all else that is durable when it returns.
struct Counted<D> {
    disk: D,
    syncs: Syncs,
}

impl<D: Disk> Disk for Counted<D> {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(name, offset, length)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.syncs.one();
        self.disk.sync(name)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.syncs.one();
        self.disk.truncate(name, length)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.syncs.one();
        self.disk.replace(name, bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.disk.length(name)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.syncs.one();
        self.disk.remove(name)
    }
}

/// The accounts as rows of a database.
struct Rows {
    database: Connection,
}

impl Rows {
    fn open(path: &Path, senders: &[SigningKey]) -> Self {
        let mut database = Connection::open(path).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database.pragma_update(None, "synchronous", "FULL").unwrap();
        database
            .execute_batch(
                "CREATE TABLE account (id BLOB PRIMARY KEY, balance INTEGER NOT NULL) WITHOUT ROWID;
                 CREATE TABLE block (height INTEGER PRIMARY KEY, bytes BLOB NOT NULL);",
            )
            .unwrap();
        let filling = database.transaction().unwrap();
        for key in senders {
            let id = ohmesh_units::AccountId::of(&key.public()).0;
            filling.execute("INSERT INTO account VALUES (?1, 1000000)", [id]).unwrap();
        }
        filling.commit().unwrap();
        Self { database }
    }

    /// The same transfers as updates of rows, and the block, in one transaction.
    fn commit(&mut self, transfers: &[SignedTransaction], block: &[u8]) {
        let commit = self.database.transaction().unwrap();
        {
            let mut debit = commit
                .prepare_cached("UPDATE account SET balance = balance - ?2 WHERE id = ?1 AND balance >= ?2")
                .unwrap();
            let mut credit =
                commit.prepare_cached("UPDATE account SET balance = balance + ?2 WHERE id = ?1").unwrap();
            for signed in transfers {
                let ohmesh_ledger::Body::Transfer { legs } = &signed.transaction.body else { unreachable!() };
                let [Leg::Move { from, to, amount, .. }] = &legs[..] else { unreachable!() };
                assert_eq!(debit.execute((from.0, amount)).unwrap(), 1);
                assert_eq!(credit.execute((to.0, amount)).unwrap(), 1);
            }
        }
        commit.prepare_cached("INSERT INTO block (bytes) VALUES (?1)").unwrap().execute([block]).unwrap();
        commit.commit().unwrap();
    }

    /// It has done the same work: no money came or went, and it has no more blocks than there were.
    fn agree(&self, applied: usize) {
        let (sum, blocks): (i64, i64) = self
            .database
            .query_row("SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM block)", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(sum, i64::try_from(SENDERS).unwrap() * 1_000_000);
        assert_eq!(usize::try_from(blocks), Ok(SIZES.iter().map(|size| size.1).sum::<usize>()));
        assert!(applied >= SIZES.iter().map(|size| size.0 * size.1).sum::<usize>());
    }
}

/// Real time and CPU time.
#[derive(Clone, Copy, Default)]
struct Spent {
    clock: Duration,
    cpu: Duration,
}

impl Spent {
    fn add(&mut self, work: impl FnOnce()) {
        let cpu = cpu_time();
        let clock = Instant::now();
        work();
        self.clock += clock.elapsed();
        self.cpu += cpu_time() - cpu;
    }

    /// Of so many, how many in a second of real time.
    fn rate(&self, done: usize) -> f64 {
        done as f64 / self.clock.as_secs_f64()
    }

    /// Of so many, the microseconds of each: by the clock, and of CPU.
    fn each(&self, done: usize) -> (f64, f64) {
        (self.clock.as_secs_f64() * 1e6 / done as f64, self.cpu.as_secs_f64() * 1e6 / done as f64)
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { clock: self.clock + other.clock, cpu: self.cpu + other.cpu }
    }
}

fn share(part: (f64, f64), whole: (f64, f64)) -> String {
    format!("{:.2} by the clock, {:.2} by CPU", part.0 / whole.0, part.1 / whole.1)
}

fn latency(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |percent: usize| all[(all.len() * percent).div_ceil(100) - 1].as_secs_f64() * 1e3;
    format!("submit to final p50 {:.0} ms, p99 {:.0} ms", at(50), at(99))
}
