//! `cargo +nightly fuzz run --features libfuzzer block`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("block", bytes));
