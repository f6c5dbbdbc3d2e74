//! `cargo +nightly fuzz run --features libfuzzer german_register`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("german_register", bytes));
