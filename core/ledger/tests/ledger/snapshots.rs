//! Snapshots: a state that was restored from chunks goes on exactly like the one that executed every block, and nothing
//! but the right chunks makes it.

use crate::town::*;
use ohmesh_ledger::*;
use ohmesh_units::*;
use proptest::{prelude::*, sample::Index};
use std::time::Duration;

const DAY: u64 = 24 * 3600;
/// Seeds of keys with which validators vote later on.
const VOTE_KEYS: [u8; 3] = [180, 181, 182];

/// Somebody does something; the amounts are such that most of it applies.
#[derive(Clone, Debug)]
enum Step {
    Open(u8),
    Pay(u8, u8, i64),
    Cross(bool, i64),
    Pend(u64),
    Sell(u64),
    PostSale(Index, u64),
    Void(Index),
    Bond(u8, i64),
    Unbond(u8, i64),
    Tariff(i64),
    AuditKey(u8),
    VoteKey(u8, u8),
    Validators(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let person = || prop_oneof![Just(BUYER), Just(SELLER)];
    prop_oneof![
        (100u8..180).prop_map(Step::Open),
        (person(), 100u8..180, 1i64..9_000).prop_map(|(a, b, n)| Step::Pay(a, b, n)),
        (any::<bool>(), 1i64..9_000).prop_map(|(up, n)| Step::Cross(up, n)),
        (1u64..9_000).prop_map(Step::Pend),
        (1u64..9_000).prop_map(Step::Sell),
        (any::<Index>(), 1u64..100).prop_map(|(at, wh)| Step::PostSale(at, wh)),
        any::<Index>().prop_map(Step::Void),
        (person(), 1i64..9_000).prop_map(|(a, n)| Step::Bond(a, n)),
        (person(), 1i64..9_000).prop_map(|(a, n)| Step::Unbond(a, n)),
        (0i64..90_000).prop_map(Step::Tariff),
        (1u8..90).prop_map(Step::AuditKey),
        (1u8..=4, prop_oneof![Just(180u8), Just(181), Just(182)]).prop_map(|(n, key)| Step::VoteKey(n, key)),
        (2u8..=4).prop_map(Step::Validators),
        prop_oneof![1u64..200, Just(DAY / 2), Just(DAY + 1), Just(30 * DAY)].prop_map(Step::Wait),
    ]
}

/// A town in which epochs are short and whose holds are remembered.
struct Life {
    town: Town,
    holds: Vec<Hash>,
    waiting: Vec<SignedTransaction>,
    /// What the meter has counted.
    counted: u64,
}

impl Life {
    fn new() -> Self {
        let mut zone = zone();
        zone.rules.epoch_ms = 60_000;
        Self { town: Town::in_zone(zone), holds: Vec::new(), waiting: Vec::new(), counted: 0 }
    }

    fn live(&mut self, step: Step) {
        let soon = |town: &Town, seconds| town.now.checked_add(Duration::from_secs(seconds)).unwrap();
        let asset = Asset::Currency;
        let hold = |holds: &[Hash], at: Index| if holds.is_empty() { Hash::ZERO } else { *at.get(holds) };
        let epoch = self.town.state.epoch().number;
        let (sender, body, also): (u8, Body, &[u8]) = match step {
            Step::Open(n) => (n, Body::OpenAccount { owner: key(n).public() }, &[]),
            Step::Pay(from, to, amount) => (from, pay(from, to, amount), &[]),
            Step::Cross(up, amount) => {
                let from = if up { Journal::Energy } else { Journal::Grid };
                let leg = Leg::Cross { asset, account: account(SELLER), from, amount };
                (SELLER, Body::Transfer { legs: vec![leg] }, &[])
            }
            Step::Pend(seconds) => {
                let (to, timeout) = (account(SELLER), soon(&self.town, seconds));
                (BUYER, Body::Pend { to, asset, amount: 500, timeout }, &[])
            }
            Step::Sell(seconds) => {
                let (price, energy) = (Price::from_micro_per_kwh(390_001), Energy::from_wh(100));
                let timeout = soon(&self.town, seconds);
                (BUYER, Body::PendSale { evse: evse(), price, energy, timeout }, &[])
            }
            Step::PostSale(at, wh) => {
                self.counted += wh;
                let (pending, energy) = (hold(&self.holds, at), Energy::from_wh(wh));
                let register_start = Energy::from_wh(self.counted - wh);
                (SELLER, Body::PostSale { pending, energy, register_start }, &[METER])
            }
            Step::Void(at) => (SELLER, Body::Void { pending: hold(&self.holds, at) }, &[]),
            Step::Bond(who, amount) => (who, Body::Bond { amount }, &[]),
            Step::Unbond(who, amount) => (who, Body::Unbond { amount }, &[]),
            Step::Tariff(price) => {
                let from = soon(&self.town, DAY + 60);
                (DISTRIBUTOR, Body::SetTariff { price: Price::from_micro_per_kwh(price), from }, &[])
            }
            // Regulators have no accounts of their own: anybody may send what they have signed.
            Step::AuditKey(n) => {
                (TREASURERS[0], Body::SetAuditKey { key: Some(key(n).public()) }, &REGULATORS)
            }
            Step::VoteKey(n, vote) => {
                (n, Body::VoteKey { epoch: epoch + 1, key: key(vote).public() }, &VOTE_KEYS)
            }
            Step::Validators(size) => {
                let validators = ValidatorSet::new((1..=size).map(|n| validator(n, 10)).collect()).unwrap();
                (1, Body::SetValidators { epoch, validators: validators.into() }, &[1, 2, 3, 4])
            }
            Step::Wait(seconds) => {
                self.town.block_at(Duration::from_secs(seconds), std::mem::take(&mut self.waiting));
                return;
            }
        };
        let signed = self.town.signed(sender, body, also);
        if matches!(signed.transaction.body, Body::Pend { .. } | Body::PendSale { .. }) {
            self.holds.push(signed.transaction.pending_id());
        }
        self.waiting.push(signed);
        if self.waiting.len() == 3 {
            self.town.block(std::mem::take(&mut self.waiting));
        }
    }
}

/// The newest block's certificate by all validators of its epoch, and who they are.
fn certificate(town: &Town, header: &Header) -> (Certificate, Voters) {
    let Some((_, Object::Epoch(epoch))) = town.state.object(&Epoch::id(header.epoch)) else {
        panic!("epoch {} is in the state", header.epoch)
    };
    let seeds = (1..=4).map(vote_key).chain(VOTE_KEYS.map(key));
    let keys: Vec<SigningKey> = seeds.collect();
    let voters = epoch.validators.voters().clone();
    let (height, block) = (header.height, header.id());
    let sign = |(validator, voter): (u16, &Voter)| {
        let key = keys.iter().find(|key| key.public() == voter.key).unwrap();
        let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block: Some(block), validator };
        (validator, vote.sign(&header.zone, header.epoch, key))
    };
    let all = epoch.validators.all().iter();
    let voting: Vec<Voter> = all.map(|one| Voter { key: one.vote, stake: one.stake }).collect();
    let signatures = (0u16..).zip(&voting).map(sign).collect();
    (Certificate { height, round: 0, epoch: header.epoch, block, signatures }, voters)
}

fn head(town: &Town) -> Header {
    Block::decode(town.blocks.last().unwrap()).unwrap().header
}

/// The manifest of a town as it is, and the voters of its epoch.
fn manifest(town: &Town) -> (Manifest, Voters) {
    let header = head(town);
    let (certificate, voters) = certificate(town, &header);
    (town.state.manifest(&header, &certificate), voters)
}

/// Every chunk of a state, in order, of at most `length` leaves, each after a trip over the wire.
fn chunks(state: &State, length: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for part in Part::ALL {
        let mut from = part.first(state.roots());
        while let Some(chunk) = state.chunk(part, from, length) {
            from += u32::try_from(chunk.leaves.len()).unwrap();
            chunks.push(Chunk::decode(&chunk.encode()).unwrap());
        }
        assert_eq!(from, part.root(state.roots()).count);
    }
    chunks
}

fn begin(town: &Town) -> Restore {
    let (manifest, voters) = manifest(town);
    let manifest = Manifest::decode(&manifest.encode()).unwrap();
    Restore::begin(town.state.zone().clone(), &voters, manifest).unwrap()
}

fn restored(town: &Town, chunks: Vec<Chunk>) -> State {
    let mut restore = begin(town);
    for chunk in chunks {
        assert_eq!(restore.wanted(), Some((chunk.part, chunk.from)));
        restore.add(chunk).unwrap();
    }
    restore.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Everything that execution reads is in the snapshot: wherever in a history it is taken, the restored state executes
    /// the blocks that follow to the same roots, and what it snapshots itself is the same to the byte.
    #[test]
    fn a_restored_state_goes_on_alike(
        before in proptest::collection::vec(step(), 1..40),
        after in proptest::collection::vec(step(), 1..40),
        length in prop_oneof![Just(1usize), Just(3), Just(Chunk::LEAVES_MAX)],
    ) {
        let mut life = Life::new();
        before.into_iter().for_each(|step| life.live(step));
        let mut state = restored(&life.town, chunks(&life.town.state, length));
        prop_assert_eq!(state.roots(), life.town.state.roots());
        prop_assert_eq!(state.head(), life.town.state.head());
        let so_far = life.town.blocks.len();
        after.into_iter().for_each(|step| life.live(step));
        // Long enough for every timeout, every epoch and every remembered id.
        for wait in [60, DAY + 1, 31 * DAY, 1] {
            life.live(Step::Wait(wait));
        }
        for bytes in &life.town.blocks[so_far..] {
            let (block, transactions) = open_block(&state, bytes).unwrap();
            let applied = state.execute(&block, &transactions).unwrap();
            prop_assert_eq!(applied.roots(), &block.header.state);
            state.apply(applied);
            state.audit();
        }
        prop_assert_eq!(state.roots(), life.town.state.roots());
        prop_assert_eq!(chunks(&state, 5), chunks(&life.town.state, 5));
    }

    /// One flipped bit anywhere in a chunk's bytes: it does not decode, or it is refused by name, and the right chunk is
    /// still due.
    #[test]
    fn a_flipped_bit_is_refused(at in any::<Index>(), which in any::<Index>(), bit in 0u8..8) {
        let mut life = Life::new();
        [Step::Pend(600), Step::Cross(true, 5), Step::Open(120), Step::Wait(1)].into_iter().for_each(|s| life.live(s));
        let chunks = chunks(&life.town.state, 4);
        let at = at.index(chunks.len());
        let mut restore = begin(&life.town);
        chunks[..at].iter().for_each(|chunk| restore.add(chunk.clone()).unwrap());
        let mut bytes = chunks[at].encode();
        let which = which.index(bytes.len());
        bytes[which] ^= 1 << bit;
        let wanted = restore.wanted();
        if let Ok(chunk) = Chunk::decode(&bytes) {
            let refused = restore.add(chunk);
            prop_assert!(
                matches!(refused, Err(SnapshotError::Root { .. } | SnapshotError::OutOfOrder { .. })),
                "byte {}: {:?}", which, refused
            );
        }
        prop_assert_eq!(restore.wanted(), wanted);
        chunks[at..].iter().for_each(|chunk| restore.add(chunk.clone()).unwrap());
        let state = restore.finish().unwrap();
        prop_assert_eq!(state.roots(), life.town.state.roots());
    }
}

fn lived() -> Life {
    let mut life = Life::new();
    for step in [Step::Pend(600), Step::Cross(true, 5), Step::Bond(SELLER, 9), Step::Open(120), Step::Wait(1)]
    {
        life.live(step);
    }
    life
}

#[test]
fn a_chunk_dropped_swapped_sent_twice_or_of_another_block_is_named() {
    let mut life = lived();
    let right = chunks(&life.town.state, 4);
    let mut restore = begin(&life.town);
    let due = |chunk: &Chunk| Some((chunk.part, chunk.from));
    let out_of_order = |chunk: &Chunk, wanted: &Chunk| SnapshotError::OutOfOrder {
        part: chunk.part,
        from: chunk.from,
        wanted: due(wanted),
    };
    for at in 0..right.len() {
        if let Some(next) = right.get(at + 1) {
            assert_eq!(restore.add(next.clone()), Err(out_of_order(next, &right[at])), "dropped or swapped");
        }
        restore.add(right[at].clone()).unwrap();
        if let Some(next) = right.get(at + 1) {
            assert_eq!(restore.add(right[at].clone()), Err(out_of_order(&right[at], next)), "sent twice");
        }
    }
    restore.finish().unwrap();

    let begun = begin(&life.town);
    life.live(Step::Pay(BUYER, SELLER, 7));
    life.live(Step::Wait(1));
    let later = chunks(&life.town.state, 4);
    let mut restore = begun;
    let mut foreign = 0;
    while let Some((part, from)) = restore.wanted() {
        let same = |chunk: &&Chunk| (chunk.part, chunk.from) == (part, from);
        let own = right.iter().find(same).unwrap();
        if let Some(other) = later.iter().find(same).filter(|other| *other != own) {
            let height = restore.manifest().header.height;
            let refused = restore.add(other.clone());
            assert_eq!(refused, Err(SnapshotError::Root { part, from, height }), "of another block");
            foreign += 1;
        }
        restore.add(own.clone()).unwrap();
    }
    assert!(foreign >= 3, "objects, balances and ids have changed");
}

#[test]
fn a_snapshot_that_is_not_whole_is_no_state() {
    let life = lived();
    let right = chunks(&life.town.state, 4);
    for length in 0..right.len() {
        let mut restore = begin(&life.town);
        right[..length].iter().for_each(|chunk| restore.add(chunk.clone()).unwrap());
        let (part, from) = (right[length].part, right[length].from);
        assert_eq!(restore.finish().unwrap_err(), SnapshotError::Missing { part, from });
    }
    // A short chunk is not a way to end a part early: what is left is still due.
    let mut restore = begin(&life.town);
    restore.add(life.town.state.chunk(Part::Objects, 0, 1).unwrap()).unwrap();
    assert_eq!(restore.wanted(), Some((Part::Objects, 1)));
}

#[test]
fn a_manifest_that_is_not_certified_begins_nothing() {
    let life = lived();
    let (right, voters) = manifest(&life.town);
    let zone = life.town.state.zone().clone();
    let refused = |manifest: Manifest| Restore::begin(zone.clone(), &voters, manifest).unwrap_err();
    let height = right.header.height;

    let mut totals = right.clone();
    totals.totals.pendings_opened += 1;
    assert_eq!(refused(totals), SnapshotError::Totals { height });
    let mut header = right.clone();
    header.header.state.objects.hash = Hash([7; 32]);
    assert!(matches!(refused(header), SnapshotError::Header(LedgerError::Certificate { .. })));
    let mut few = right.clone();
    few.certificate.signatures.truncate(2);
    assert!(matches!(refused(few), SnapshotError::Header(LedgerError::Certificate { .. })));
    let mut elsewhere = zone.clone();
    elsewhere.name = "another".into();
    let other = Restore::begin(elsewhere, &voters, right.clone()).unwrap_err();
    assert!(matches!(other, SnapshotError::Header(LedgerError::Certificate { .. })));
    let strangers = ValidatorSet::new((5..=8).map(|n| validator(n, 10)).collect()).unwrap();
    let other = Restore::begin(zone.clone(), strangers.voters(), right.clone()).unwrap_err();
    assert!(matches!(other, SnapshotError::Header(LedgerError::Certificate { .. })));
    Restore::begin(zone.clone(), &voters, right).unwrap();
}

#[test]
fn chunks_are_cut_by_bytes_and_by_leaves() {
    let mut life = lived();
    // Blocks of many ids make long leaves; the fourth makes a chunk full to the byte.
    let pay_with = |life: &mut Life, number: u128| {
        life.town.numbers = number - 1;
        life.town.signed(BUYER, pay(BUYER, SELLER, 1), &[])
    };
    let length = |leaves: &[Vec<u8>]| leaves.iter().map(Vec::len).sum::<usize>();
    for from in [4_000, 8_000, 12_000] {
        let many = (from..from + 4_000).map(|number| pay_with(&mut life, number)).collect();
        life.town.block(many);
    }
    let so_far = length(&life.town.state.chunk(Part::Ids, 0, Chunk::LEAVES_MAX).unwrap().leaves);
    // 6 bytes of time, 2 of their number; an id has 64 bytes beside its number, which has 3 to 19.
    let left = Chunk::CONTENT_MAX - so_far - 8;
    let (many, mut longer) = (left / 67, left % 67);
    let padded = (0..many as u128).map(|n| {
        let more = longer.min(16);
        longer -= more;
        pay_with(&mut life, (1 << (7 * (2 + more))) + n)
    });
    let padded = padded.collect();
    life.town.block(padded);
    let many = (1 << 20..(1 << 20) + 4_000).map(|number| pay_with(&mut life, number)).collect();
    life.town.block(many);
    for _ in 0..40 {
        life.live(Step::Wait(1));
    }
    let whole = chunks(&life.town.state, Chunk::LEAVES_MAX);
    let ids: Vec<&Chunk> = whole.iter().filter(|chunk| chunk.part == Part::Ids).collect();
    assert_eq!(ids.len(), 2, "not all of the five long blocks fit one chunk");
    assert_eq!(length(&ids[0].leaves), 1_048_576, "as many as fit, to the last byte");
    let leaves = whole.iter().map(|chunk| chunk.leaves.len() as u64).sum::<u64>();
    assert_eq!(manifest(&life.town).0.leaves(), leaves);
    for chunk in &whole {
        let content = length(&chunk.leaves);
        assert!(content <= Chunk::CONTENT_MAX && chunk.encode().len() <= Chunk::MAX_BYTES);
        assert!(chunk.leaves.iter().all(|leaf| leaf.len() <= Object::MAX_BYTES));
    }
    assert_eq!(Chunk::LEAVES_MAX, 4_096);
    let over =
        Chunk { part: Part::Ids, from: 0, leaves: vec![Vec::new(); 4_097], siblings: Default::default() };
    assert!(matches!(over.verify(&head(&life.town)), Err(SnapshotError::Root { .. })));
    assert_eq!(restored(&life.town, whole).roots(), life.town.state.roots());
}

/// Figures of a zone of 100,000 accounts: `cargo test --profile ci -p ohmesh-ledger --test ledger -- --ignored --nocapture
/// figures_of`.
#[test]
#[ignore = "prints figures; asserts only what the others assert"]
fn figures_of_100_000_accounts() {
    const ACCOUNTS: u32 = 100_000;
    let mut state = State::genesis(zone());
    let mut time = state.head().time;
    let seed = |n: u32| {
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        SigningKey::from_seed(seed)
    };
    let mut blocks: Vec<Block> = Vec::new();
    for from in (0..ACCOUNTS).step_by(5_000) {
        let opened = (from..from + 5_000)
            .map(|n| {
                let key = seed(n);
                let owner = key.public();
                let transaction = Transaction {
                    zone: *state.zone_id(),
                    sender: AccountId::of(&owner),
                    number: 1,
                    valid_until: time.checked_add(Duration::from_secs(3600)).unwrap(),
                    body: Body::OpenAccount { owner },
                };
                transaction.sign(&[&key])
            })
            .collect();
        time = time.checked_add(Duration::from_secs(1)).unwrap();
        let candidates = Verified::all(state.zone_id(), opened).unwrap();
        let Proposed { block, applied, refused, .. } = state.propose(time, 0, &candidates);
        assert!(refused.is_empty());
        state.apply(applied);
        blocks.push(block);
    }
    let header = blocks.last().unwrap().header.clone();
    let start = std::time::Instant::now();
    let mut replayed = State::genesis(zone());
    for block in &blocks {
        let (block, transactions) = open_block(&replayed, &block.encode()).unwrap();
        let applied = replayed.execute(&block, &transactions).unwrap();
        replayed.apply(applied);
    }
    let executing = start.elapsed();
    drop(replayed);
    let voters = state.validators().voters().clone();
    let signatures = (0u16..4)
        .map(|validator| {
            let (height, block) = (header.height, Some(header.id()));
            let vote = Vote { kind: VoteKind::Precommit, height, round: 0, block, validator };
            (
                validator,
                vote.sign(&header.zone, header.epoch, &vote_key(u8::try_from(validator).unwrap() + 1)),
            )
        })
        .collect();
    let (height, epoch, block) = (header.height, header.epoch, header.id());
    let certificate = Certificate { height, round: 0, epoch, block, signatures };
    let start = std::time::Instant::now();
    let mut bytes = Vec::new();
    for part in Part::ALL {
        let mut from = part.first(state.roots());
        while let Some(chunk) = state.chunk(part, from, Chunk::LEAVES_MAX) {
            from += u32::try_from(chunk.leaves.len()).unwrap();
            bytes.push(chunk.encode());
        }
    }
    let writing = start.elapsed();
    let start = std::time::Instant::now();
    let manifest = state.manifest(&header, &certificate);
    let mut restore = Restore::begin(zone(), &voters, manifest).unwrap();
    bytes.iter().for_each(|bytes| restore.add(Chunk::decode(bytes).unwrap()).unwrap());
    let restored = restore.finish().unwrap();
    let restoring = start.elapsed();
    assert_eq!(restored.roots(), state.roots());
    let (all, most) = (bytes.iter().map(Vec::len).sum::<usize>(), bytes.iter().map(Vec::len).max());
    println!(
        "{ACCOUNTS} accounts: {all} bytes in {} chunks, the longest {}; cut in {writing:?}, restored in {restoring:?} \
         executing the {} blocks took {executing:?}",
        bytes.len(),
        most.unwrap(),
        blocks.len(),
    );
}
