//! libFuzzer's entry to `targets::log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::targets::log(data));
