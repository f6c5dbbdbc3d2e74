//! `cargo +nightly fuzz run --features libfuzzer vote_keys`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("vote_keys", bytes));
