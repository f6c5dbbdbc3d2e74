//! `cargo +nightly fuzz run --features libfuzzer object`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("object", bytes));
