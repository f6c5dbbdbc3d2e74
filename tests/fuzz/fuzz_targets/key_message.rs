//! `cargo +nightly fuzz run --features libfuzzer key_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("key_message", bytes));
