//! libFuzzer's entry to `targets::files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::targets::files(data));
