//! `cargo +nightly fuzz run --features libfuzzer anchor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("anchor", bytes));
