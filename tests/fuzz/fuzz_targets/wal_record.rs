//! `cargo +nightly fuzz run --features libfuzzer wal_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ohmesh_fuzz::fuzz("wal_record", bytes));
