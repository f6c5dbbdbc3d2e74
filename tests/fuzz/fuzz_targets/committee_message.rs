//! `cargo +nightly fuzz run --features libfuzzer committee_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("committee_message", bytes));
