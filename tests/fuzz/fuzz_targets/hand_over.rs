//! `cargo +nightly fuzz run --features libfuzzer hand_over`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("hand_over", bytes));
