//! Power cuts at any instant, full disks and failing syncs, on every store: what an agent or a phone has acknowledged is
//! there afterwards, and every store opens.
//!
//! Each test builds [`IMAGES`] images of each store; those that are ignored by default build [`IMAGES_ALL`]. Which file was
//! cut when, and how, is a function of the numbers in a complaint.

#![allow(clippy::unwrap_used)]

mod agent;
mod faults;
mod folder;
mod phone;
mod seller;

use ohmesh_tests::power_cut::{Image, Style, Table, Trace, Verdict};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::path::Path;
use tempfile::TempDir;

/// A folder for one image: in memory where the system has such a place, as it need not outlive the test.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// Images of each store in an ordinary run.
const IMAGES: usize = 100;
/// Images of each store where there is time.
const IMAGES_ALL: usize = 1_000;

/// Builds `images` images of a store, spread evenly over `cuts`, and counts what `examine` says of each.
fn sample(
    table: &mut Table,
    store: &str,
    (seed, trace): (u64, &Trace),
    (images, cuts): (usize, &[usize]),
    mut examine: impl FnMut(&Image, usize, &mut ChaCha20Rng) -> Verdict,
) {
    for n in 0..images {
        let mut rng = ChaCha20Rng::seed_from_u64(seed << 32 | n as u64);
        // Ten images in a row are of one instant and all styles, in the proportion of `Style::of`.
        let cut = cuts[(n / 10 * 10 + 5).min(images - 1) * cuts.len() / images];
        let style = Style::of(n);
        let image = Image::build(trace, cut, style, &mut rng);
        let verdict = examine(&image, cut, &mut rng);
        table.count(store, style, format_args!("run {seed}, cut {cut}, image {n}"), verdict);
    }
}
