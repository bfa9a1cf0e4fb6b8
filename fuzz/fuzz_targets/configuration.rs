//! libFuzzer's entry to `targets::configuration`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::targets::configuration(data));
