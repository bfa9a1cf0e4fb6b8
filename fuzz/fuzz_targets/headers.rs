//! libFuzzer's entry to `targets::headers`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::targets::headers(data));
