//! `cargo +nightly fuzz run --features libfuzzer zone_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("zone_toml", bytes));
