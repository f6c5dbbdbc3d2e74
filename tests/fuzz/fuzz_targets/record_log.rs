//! `cargo +nightly fuzz run --features libfuzzer record_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("record_log", bytes));
