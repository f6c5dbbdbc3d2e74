//! `cargo +nightly fuzz run --features libfuzzer snapshot_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("snapshot_manifest", bytes));
