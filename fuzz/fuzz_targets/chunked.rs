#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| rmail_fuzz::chunked(input));
