//! The harness itself: it finds what it is there to find, and leaves nothing out.

#![allow(clippy::unwrap_used)]

use ohmesh_fuzz::{
    TARGETS, Target, Verdict,
    memory::Counting,
    mutate::Mutator,
    replay::{corpus, replay},
};
use std::{collections::BTreeSet, path::Path};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A decoder with a fault: a length in one byte, then as many bytes.
const FAULTY: Target = Target {
    name: "faulty",
    run: |_| Verdict::Taken,
    seeds: || vec![("four".into(), vec![4, 1, 2, 3, 4])],
    words: &["faulty"],
    memory_max: 1 << 10,
    cost: 1,
};

/// The first failure of a target in some thousand mutations of `[4, 1, 2, 3, 4]`.
fn found(target: &'static Target) -> String {
    let files = (target.seeds)();
    replay(target, &files, 0..5_000, 1).expect_err("the fault must be found").why
}

#[test]
fn a_panic_is_found() {
    static TARGET: Target = Target {
        run: |bytes| {
            let length = bytes.first().copied().unwrap_or_default();
            // Trusts the length.
            let _ = bytes.len() > 1 && bytes[usize::from(length)] == 0;
            Verdict::Taken
        },
        ..FAULTY
    };
    assert!(found(&TARGET).contains("out of bounds"));
}

#[test]
fn an_overflow_is_found() {
    static TARGET: Target = Target {
        run: |bytes| {
            let sum: u8 = bytes.iter().sum();
            Verdict::Refused(format!("faulty: {sum}")).unless_whole(bytes.len() != 5)
        },
        ..FAULTY
    };
    assert!(found(&TARGET).contains("overflow"));
}

#[test]
fn a_huge_allocation_is_found() {
    static TARGET: Target = Target {
        run: |bytes| {
            let length = bytes.first().copied().unwrap_or_default();
            // Makes room before it looks whether there is so much.
            let room: Vec<u8> = Vec::with_capacity(usize::from(length) << 12);
            Verdict::Refused(format!("faulty: {}", room.capacity())).unless_whole(bytes.len() != 5)
        },
        ..FAULTY
    };
    assert!(found(&TARGET).contains("bytes of memory"));
}

#[test]
fn a_refusal_without_a_name_is_found() {
    static TARGET: Target =
        Target { run: |bytes| Verdict::Refused("malformed".into()).unless_whole(bytes.len() != 5), ..FAULTY };
    assert!(found(&TARGET).contains("names nothing"));
}

#[test]
fn a_corpus_file_that_is_refused_is_found() {
    static TARGET: Target = Target { run: |_| Verdict::Refused("faulty: never".into()), ..FAULTY };
    assert_eq!(found(&TARGET), "refused: faulty: never");
}

#[test]
fn mutations_are_a_function_of_their_seed_and_rarely_the_same() {
    let corpus = vec![(0..200).collect::<Vec<u8>>(), b"{\"meterStart\":17}".to_vec()];
    let all = |seed| (0..2_000).map(|n| Mutator::new(&corpus, seed).mutation(n)).collect::<Vec<_>>();
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
    let different: BTreeSet<Vec<u8>> = all(1).into_iter().collect();
    assert!(different.len() > 1_600, "{} of 2,000", different.len());
    let known = |bytes: &Vec<u8>| corpus.contains(bytes);
    assert!(all(1).iter().filter(|bytes| known(bytes)).count() < 100, "most mutations change something");
}

/// The table, the binaries and the corpora name the same targets.
#[test]
fn every_target_has_its_binary_and_its_corpus() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(here.join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    let manifest = std::fs::read_to_string(here.join("Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{}", target.name);
        assert!(!corpus(target).unwrap().is_empty(), "{}", target.name);
    }
}

/// A fault that shows in damaged input only.
trait UnlessWhole {
    fn unless_whole(self, is_damaged: bool) -> Verdict;
}

impl UnlessWhole for Verdict {
    fn unless_whole(self, is_damaged: bool) -> Verdict {
        if is_damaged { self } else { Self::Taken }
    }
}
