//! `cargo +nightly fuzz run --features libfuzzer ocpp_upgrade`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("ocpp_upgrade", bytes));
