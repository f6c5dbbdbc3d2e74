//! `cargo +nightly fuzz run --features libfuzzer snapshot_chunk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("snapshot_chunk", bytes));
