//! The PROXY protocol header as any peer on a listed network could send it.
#![no_main]

use clawgate::listen::proxy_protocol::{Header, parse};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Header::Done { consumed, .. } = parse(bytes) {
        assert!(consumed <= bytes.len());
        // What follows a header does not change it, and no part of it is one.
        assert_eq!(parse(&bytes[..consumed]), parse(bytes));
        assert_eq!(parse(&bytes[..consumed - 1]), Header::Incomplete);
    }
});
