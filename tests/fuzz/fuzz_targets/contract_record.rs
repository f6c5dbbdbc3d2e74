//! `cargo +nightly fuzz run --features libfuzzer contract_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("contract_record", bytes));
