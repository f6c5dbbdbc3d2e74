//! `cargo +nightly fuzz run --features libfuzzer contract_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("contract_message", bytes));
