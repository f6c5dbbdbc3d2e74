//! `cargo +nightly fuzz run --features libfuzzer link_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("link_frame", bytes));
