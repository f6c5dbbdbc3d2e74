//! Agents' files: decided blocks, write-ahead logs, keys, snapshots, whatever they keep.

use crate::{IMAGES, IMAGES_ALL, sample};
use ohmesh_ledger::{Block, ZoneFile};
use ohmesh_tests::power_cut::{
    Image, Promises, Recorder, Style, Table, Told, Town, Trace, Verdict, Word, below,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use station_agent::{
    agent::{AgentError, Warning},
    disk::Disk,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One uninterrupted life of a zone: what its agents asked of their disks, and what they said.
pub struct Life {
    pub zone: ZoneFile,
    pub size: u8,
    pub seed: u64,
    pub trace: Trace,
    pub told: Vec<Told>,
}

/// Blocks in a recorded life.
pub const BLOCKS: u64 = 24;
/// Lives recorded, so that frames lie differently on their sectors.
const LIVES: u32 = 5;
/// Stores that every agent writes in such a life; others are found in what it did.
pub const STORES: [&str; 7] = [
    "auction-keys.log",
    "blocks-#.log",
    "chain.index",
    "hand-overs.log",
    "snapshot-#.log",
    "vote.keys",
    "wal.log",
];

impl Life {
    /// Of 16 messages between agents one is lost, so that some rounds fail and votes are nil.
    fn record(size: u8, seed: u64) -> Self {
        let recorder = Recorder::default();
        let mut disks = recorder.folders(usize::from(size));
        let zone = Town::found(&mut disks);
        recorder.begin();
        let kept = recorder.clone();
        let start = (seed, 0, zone.zone.created);
        let town = Town::open(&zone, disks, start, move |count| kept.acknowledge(count));
        let mut town = town.unwrap().losing(1);
        town.work(BLOCKS).unwrap();
        assert_eq!(town.accusations(), [""; 0], "nobody contradicts itself in one life");
        Self { zone, size, seed, trace: recorder.trace(), told: town.told().to_vec() }
    }

    /// What the agents had said when `cut` steps were done.
    pub fn promises(&self, cut: usize) -> Promises {
        let count = usize::try_from(self.trace.acknowledged(cut)).unwrap();
        Promises::of(&self.told[..count])
    }

    /// Holds the agents to what they had said before the cut, on what it left.
    fn examine(&self, image: &Image, cut: usize) -> Verdict {
        let disks = image.to_memories(usize::from(self.size));
        examine(&self.zone, disks, (self.seed, 1), &self.promises(cut), |_| ()).0
    }

    /// The same, and sometimes the power fails once more while the agents recover: what came of that, with its style.
    fn examine_twice(
        &self,
        image: &Image,
        cut: usize,
        rng: &mut ChaCha20Rng,
    ) -> (Verdict, Option<(Style, Verdict)>) {
        let (size, mut promises) = (usize::from(self.size), self.promises(cut));
        let recorder = Recorder::over(image);
        let kept = recorder.clone();
        let telling = move |count| kept.acknowledge(count);
        let first = examine(&self.zone, recorder.folders(size), (self.seed, 1), &promises, telling);
        if first.0 != Verdict::Whole || below(rng, 8) != 0 {
            return (first.0, None);
        }
        let trace = recorder.trace();
        let cuts = trace.cuts();
        let cut = cuts[below(rng, cuts.len())];
        let style = Style::of(below(rng, 10));
        let count = usize::try_from(trace.acknowledged(cut)).unwrap();
        assert_eq!(promises.add(&first.1[..count]), None, "they were held to that");
        let disks = Image::build(&trace, cut, style, rng).to_memories(size);
        let second = examine(&self.zone, disks, (self.seed, 2), &promises, |_| ());
        (first.0, Some((style, second.0)))
    }
}

/// Opens the agents on what is left, in their `life`-th life, and holds them to their promises. What they say meanwhile is
/// given back, and counted by `telling`.
pub fn examine<D: Disk>(
    zone: &ZoneFile,
    disks: Vec<D>,
    (seed, life): (u64, u64),
    promises: &Promises,
    telling: impl FnMut(usize) + 'static,
) -> (Verdict, Vec<Told>) {
    // What was not acknowledged may be half an epoch newer than what was, and of the life before.
    let newest = promises.newest().unwrap_or(zone.zone.created);
    let ended =
        newest.checked_add(Duration::from_millis((zone.zone.rules.epoch_ms / 2) + life * 3_600_000)).unwrap();
    let mut town = match Town::open(zone, disks, (seed, life, ended), telling) {
        Ok(town) => town,
        Err(error) => return (Verdict::Unreadable(error.to_string()), Vec::new()),
    };
    let verdict = hold(&mut town, promises).unwrap_or_else(|e| Verdict::Unreadable(e.to_string()));
    (verdict, town.told().to_vec())
}

fn hold<D: Disk>(town: &mut Town<D>, promises: &Promises) -> Result<Verdict, AgentError> {
    let chains = chains(town)?;
    for (agent, header) in promises.decided() {
        let found = chains[agent].get(&header.height).map(|block| &block.header);
        // Of old blocks that were cut off, the state is what is left.
        let oldest = chains[agent].keys().next().copied();
        let oldest = oldest.unwrap_or(town.agents()[agent].state().head().height + 1);
        let is_cut_off = header.height < oldest;
        if found != Some(header) && !is_cut_off {
            return Ok(Verdict::Lost(format!("agent {agent}: block {} is now {found:?}", header.height)));
        }
        let state = town.agents()[agent].state();
        if header.height == state.head().height && header.state != *state.roots() {
            return Ok(Verdict::Lost(format!("agent {agent}: other roots at {}", header.height)));
        }
    }
    let goes_on = town.goes_on()?;
    if let Some(contradiction) =
        promises.clone().add(town.told()).or_else(|| town.accusations().first().cloned())
    {
        return Ok(Verdict::Lost(contradiction));
    }
    if !goes_on {
        return Ok(Verdict::Unreadable("they decide no more".into()));
    }
    let chains = self::chains(town)?;
    let same =
        |chain: &Chain| chain.iter().all(|(at, block)| chains[0].get(at).is_none_or(|other| other == block));
    if !chains.iter().all(same) {
        return Ok(Verdict::Lost("two agents have different blocks".into()));
    }
    Ok(Verdict::Whole)
}

type Chain = BTreeMap<u64, Block>;

/// Every agent's blocks; its state is what its newest block says, and holds together.
fn chains<D: Disk>(town: &mut Town<D>) -> Result<Vec<Chain>, AgentError> {
    let mut chains = Vec::new();
    for agent in 0..town.agents().len() {
        let chain = town.blocks(agent)?;
        let state = town.agents()[agent].state();
        state.audit();
        if let Some((height, block)) = chain.last_key_value() {
            assert_eq!((*height, block.header.state), (state.head().height, *state.roots()), "I9");
        }
        chains.push(chain);
    }
    Ok(chains)
}

fn cut_every_store(size: u8, images: usize) -> Table {
    let mut table = Table::default();
    let mut stores = BTreeSet::new();
    let share = images / usize::try_from(LIVES).unwrap();
    for seed in (1..=LIVES).map(u64::from) {
        let life = Life::record(size, seed);
        for store in life.trace.stores() {
            let cuts = life.trace.cuts_of(&store);
            let share = (share, &cuts[..]);
            let mut again = Table::default();
            sample(&mut table, &store, (seed, &life.trace), share, |image, cut, rng| {
                let (verdict, second) = life.examine_twice(image, cut, rng);
                if let Some((style, verdict)) = second {
                    again.count(
                        "any, cut again",
                        style,
                        format_args!("{store}, run {seed}, cut {cut}"),
                        verdict,
                    );
                }
                verdict
            });
            table.merge(again);
            stores.insert(store);
        }
    }
    for store in &stores {
        assert!(table.images_of(store) >= images as u64, "{store}\n{table}");
    }
    assert!(STORES.iter().all(|store| stores.contains(*store)), "{stores:?}");
    println!("agents: {size}\n{table}");
    table
}

#[test]
fn whatever_a_power_cut_leaves_an_agent_alone_keeps_its_word() {
    cut_every_store(1, IMAGES).assert_whole();
}

#[test]
fn whatever_a_power_cut_of_the_whole_zone_leaves_four_agents_keep_their_word() {
    cut_every_store(4, IMAGES).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_leaves_an_agent_alone_keeps_its_word_1000_images_each() {
    cut_every_store(1, IMAGES_ALL).assert_whole();
}

#[test]
#[ignore = "minutes; tests/run --all"]
fn whatever_a_power_cut_of_the_whole_zone_leaves_four_agents_keep_their_word_1000_images_each() {
    cut_every_store(4, IMAGES_ALL).assert_whole();
}

/// The recorded lives are worth cutting: there are failed rounds, votes for nothing, and decisions by every agent.
#[test]
fn a_recorded_life_holds_what_can_be_forgotten() {
    let life = Life::record(4, 1);
    let votes = |nil: bool| {
        let is_one = |told: &&Told| matches!(told.word, Word::Vote(vote) if vote.block.is_none() == nil);
        life.told.iter().filter(is_one).count()
    };
    assert!(votes(true) > 0 && votes(false) as u64 > 4 * BLOCKS, "{} {}", votes(true), votes(false));
    let deciders: BTreeSet<usize> =
        life.promises(life.trace.steps().len()).decided().map(|(at, _)| at).collect();
    assert_eq!(deciders.len(), 4);
}

/// The same checks see a disk that says "synced" and is not: blocks are gone.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let mut life = Life::record(1, 1);
    life.trace = life.trace.without_syncs();
    let mut table = Table::default();
    let cuts = life.trace.cuts();
    sample(&mut table, "no syncs", (1, &life.trace), (IMAGES, &cuts), |image, cut, _| {
        life.examine(image, cut)
    });
    println!("{table}");
    assert!(table.lost() > 0, "{table}");
}

/// Validators whose write-ahead logs are gone vote again, and otherwise.
#[test]
fn a_forgotten_vote_is_found_out() {
    let life = Life::record(4, 1);
    let cuts = life.trace.cuts_of("wal.log");
    let mut contradictions = 0;
    for cut in cuts.iter().step_by(cuts.len() / 50) {
        let mut image = Image::build(&life.trace, *cut, Style::Kept, &mut ChaCha20Rng::seed_from_u64(0));
        (0..4).for_each(|agent| image.edit(&format!("{agent}/wal.log"), Vec::clear));
        let verdict = life.examine(&image, *cut);
        contradictions += usize::from(matches!(verdict, Verdict::Lost(what) if what.contains("contradicts")));
    }
    assert!(contradictions > 0);
}

/// One flipped bit in a block after the newest snapshot: the agent refuses to open, and the checks say so.
#[test]
fn a_flipped_bit_is_found_out() {
    let life = Life::record(1, 1);
    let end = life.trace.steps().len();
    let mut image = Image::build(&life.trace, end, Style::Kept, &mut ChaCha20Rng::seed_from_u64(0));
    let newest = newest_of(&image, "0/blocks-");
    image.edit(&newest, |bytes| flip_in_the_middle(bytes));
    let verdict = life.examine(&image, end);
    assert!(matches!(verdict, Verdict::Unreadable(_)), "{verdict:?}");
}

/// One flipped bit in the newest snapshot: the agent says so, starts from the one before, and has lost nothing.
#[test]
fn a_flipped_bit_in_a_snapshot_is_survived() {
    let life = Life::record(1, 1);
    let end = life.trace.steps().len();
    let mut image = Image::build(&life.trace, end, Style::Kept, &mut ChaCha20Rng::seed_from_u64(0));
    let newest = newest_of(&image, "0/snapshot-");
    image.edit(&newest, |bytes| flip_in_the_middle(bytes));
    assert_eq!(life.examine(&image, end), Verdict::Whole);
    let ended = life.promises(end).newest().unwrap();
    let town = Town::open(&life.zone, image.to_memories(1), (life.seed, 1, ended), |_| ()).unwrap();
    let height = number_in(&newest);
    assert!(
        matches!(town.warnings(), [(0, Warning::Snapshot { height: at, .. })] if *at == height),
        "{:?}",
        town.warnings()
    );
    assert_eq!(town.height(0), BLOCKS);
}

/// Of a series of files, the one with the highest number.
fn newest_of(image: &Image, series: &str) -> String {
    let names = image.files().map(|(name, _)| name).filter(|name| name.starts_with(series));
    names.max_by_key(|name| number_in(name)).unwrap().to_owned()
}

fn number_in(name: &str) -> u64 {
    let digits: String = name[name.find('-').unwrap()..].chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn flip_in_the_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}
