//! `cargo +nightly fuzz run --features libfuzzer agent_disk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("agent_disk", bytes));
