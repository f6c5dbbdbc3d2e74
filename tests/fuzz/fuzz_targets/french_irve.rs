//! `cargo +nightly fuzz run --features libfuzzer french_irve`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("french_irve", bytes));
