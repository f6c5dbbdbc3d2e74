//! Targets of a rebuild: what an agent that has lost its disk takes from peers that it does not trust.

use crate::{
    KIB, MIB, Target, Verdict, decode,
    world::{STREET, certify, newest, voters},
};
use ohmesh_ledger::{
    Chunk, Header, Manifest, Part, Restore, SnapshotError, TreeName,
    tree::{Siblings, TreeRoot, root_of},
};
use ohmesh_units::{Canonical, Domain, Hash};

pub const SNAPSHOT_MANIFEST: Target = Target {
    name: "snapshot_manifest",
    run: snapshot_manifest,
    seeds: || vec![("newest".into(), honest().encode())],
    words: &["snapshot"],
    memory_max: MIB,
    cost: 50,
};

pub const SNAPSHOT_CHUNK: Target = Target {
    name: "snapshot_chunk",
    run: snapshot_chunk,
    seeds: snapshot_chunk_seeds,
    words: &["chunk"],
    memory_max: 8 * MIB + 256 * KIB,
    cost: 40,
};

/// A manifest from a peer; again with the totals, the voters and their signatures that
/// it should have.
fn snapshot_manifest(bytes: &[u8]) -> Verdict {
    match decode::<Manifest>(bytes) {
        Ok(manifest) => begin(manifest),
        Err(words) => Verdict::Refused(words),
    }
}

/// A rebuild begins with the manifest that the zone has certified, and with no other.
pub fn begin(manifest: Manifest) -> Verdict {
    let begun = start(manifest.clone());
    if begun.is_ok() {
        let honest = honest();
        assert_eq!((&manifest.header, &manifest.totals), (&honest.header, &honest.totals), "not certified");
        return Verdict::Taken;
    }
    certified_anew(manifest);
    Verdict::of(begun)
}

/// A zone that has certified just this header: the chunk that is due belongs to the header, or is refused.
fn certified_anew(mut manifest: Manifest) {
    let Manifest { header, totals, .. } = honest();
    (manifest.header.state.totals, manifest.totals) = (header.state.totals, totals);
    manifest.header.voters = header.voters;
    manifest.certificate = certify(&manifest.header, voters(&STREET.chain.state));
    let is_ours = manifest.header.zone == *STREET.chain.state.zone_id();
    let leaves = manifest.leaves();
    match start(manifest) {
        Ok(mut restore) => {
            let Some(wanted) = restore.wanted() else {
                assert_eq!(leaves, 0, "nothing is due of a snapshot that is not empty");
                return;
            };
            if let Some(chunk) = chunk_at(wanted, Chunk::LEAVES_MAX) {
                let added = restore.add(chunk);
                assert!(matches!(added, Ok(()) | Err(SnapshotError::Root { .. })), "{added:?}");
            }
        }
        Err(error) => assert!(!is_ours, "a certified manifest is refused: {error}"),
    }
}

/// A chunk from a peer, given to a rebuild that has come as far as the chunk's first slot; and as all that a certified
/// part has in it.
fn snapshot_chunk(bytes: &[u8]) -> Verdict {
    match decode::<Chunk>(bytes) {
        Ok(chunk) => {
            certified_alone(&chunk);
            add(chunk)
        }
        Err(words) => Verdict::Refused(words),
    }
}

/// What is added is what the zone has there; what is refused leaves the rebuild as it was. Either way the rest makes it
/// whole.
pub fn add(chunk: Chunk) -> Verdict {
    let mut restore = start(honest()).expect("it is certified");
    while let Some((part, from)) = restore.wanted()
        && (part, from) != (chunk.part, chunk.from)
    {
        let before = chunk.from.checked_sub(from).filter(|length| part == chunk.part && *length > 0);
        let length = before.and_then(|length| usize::try_from(length).ok()).unwrap_or(Chunk::LEAVES_MAX);
        add_honest(&mut restore, (part, from), length);
    }
    let due = restore.wanted();
    let own = chunk_at((chunk.part, chunk.from), chunk.leaves.len());
    let added = restore.add(chunk.clone());
    match &added {
        Ok(()) => assert_eq!(Some(chunk), own, "another chunk leads to the same root"),
        Err(_) => assert_eq!(restore.wanted(), due, "a refused chunk changes what is due"),
    }
    while let Some(wanted) = restore.wanted() {
        add_honest(&mut restore, wanted, Chunk::LEAVES_MAX);
    }
    let restored = restore.finish().expect("all chunks are there");
    assert_eq!(restored.roots(), STREET.chain.state.roots(), "I9");
    Verdict::of(added)
}

fn add_honest(restore: &mut Restore, at: (Part, u32), length: usize) {
    let chunk = chunk_at(at, length).expect("a chunk is due only where there are leaves");
    restore.add(chunk).expect("it is the state's own");
}

/// The roots would stop nearly every mutation. So a header is certified under which this chunk is the whole of its part
/// and the others are empty: its leaves are read, and kept unless words name what is wrong in which of them.
fn certified_alone(chunk: &Chunk) {
    let Ok(count @ 1..) = u32::try_from(chunk.leaves.len()) else { return };
    if chunk.leaves.len() > Chunk::LEAVES_MAX {
        return;
    }
    let hashes: Vec<Hash> =
        (0..).zip(&chunk.leaves).map(|(slot, leaf)| leaf_hash(chunk.part, slot, leaf)).collect();
    let mut manifest = honest();
    let header = &mut manifest.header;
    *header = only(header, chunk.part, TreeRoot { hash: root_of(&hashes), count });
    manifest.certificate = certify(header, voters(&STREET.chain.state));
    let mut restore = start(manifest).expect("it is certified");
    let alone = Chunk { from: 0, siblings: Siblings::default(), ..chunk.clone() };
    match restore.add(alone) {
        Ok(()) => assert_eq!(restore.wanted(), None, "that was all"),
        Err(SnapshotError::Content { part, slot, reason }) => {
            assert!(part == chunk.part && slot < count && !reason.is_empty(), "{part:?} {slot}: {reason:?}");
        }
        Err(other) => panic!("leaves below the root: {other}"),
    }
}

/// The header of a state in which only `part` has leaves.
fn only(header: &Header, part: Part, root: TreeRoot) -> Header {
    let mut header = header.clone();
    let state = &mut header.state;
    state.ids_from = 0;
    for (other, slot) in [
        (Part::Objects, &mut state.objects),
        (Part::EnergyBalances, &mut state.energy.balances),
        (Part::GridBalances, &mut state.grid.balances),
        (Part::Ids, &mut state.ids),
    ] {
        *slot = if other == part { root } else { TreeRoot { hash: Hash::ZERO, count: 0 } };
    }
    header
}

/// The hash of a leaf, as the ledger's tree has it.
fn leaf_hash(part: Part, slot: u32, content: &[u8]) -> Hash {
    const IDS: Domain = Domain::new("ohmesh/1 applied ids");
    match part {
        Part::Objects => TreeName::Objects.leaf(slot, content),
        Part::EnergyBalances => TreeName::EnergyBalances.leaf(slot, content),
        Part::GridBalances => TreeName::GridBalances.leaf(slot, content),
        Part::Ids => IDS.hash(&[content]),
    }
}

fn start(manifest: Manifest) -> Result<Restore, SnapshotError> {
    let state = &STREET.chain.state;
    Restore::begin(state.zone().clone(), voters(state), manifest)
}

/// The manifest of the street's newest block.
pub fn honest() -> Manifest {
    let state = &STREET.chain.state;
    state.manifest(newest(), &certify(newest(), voters(state)))
}

/// A chunk of the street's state.
pub fn chunk_at((part, from): (Part, u32), length: usize) -> Option<Chunk> {
    STREET.chain.state.chunk(part, from, length)
}

/// Of each part its beginning, some leaves amid it, and its end.
fn snapshot_chunk_seeds() -> Vec<(String, Vec<u8>)> {
    let seeds = |part: Part| {
        let count = part.root(STREET.chain.state.roots()).count;
        let places = [("first", 0, 3), ("amid", count / 2, 5), ("last", count - 1, 1)];
        places.map(|(place, from, length)| {
            let chunk = chunk_at((part, from), length).expect("the street has leaves in every part");
            (format!("{part:?}_{place}").to_ascii_lowercase(), chunk.encode())
        })
    };
    Part::ALL.into_iter().flat_map(seeds).collect()
}
