//! libFuzzer's entry to `targets::ha_packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| baton_fuzz::targets::ha_packets(data));
