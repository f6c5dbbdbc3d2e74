//! `cargo +nightly fuzz run --features libfuzzer wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("wire", bytes));
