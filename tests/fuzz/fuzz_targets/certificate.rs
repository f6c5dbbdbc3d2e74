//! `cargo +nightly fuzz run --features libfuzzer certificate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("certificate", bytes));
