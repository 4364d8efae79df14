//! Frames: what one read brought, cut as the daemon cuts it.
#![no_main]

use bytes::BytesMut;
use keygate_protocol::{Flags, frame};
use libfuzzer_sys::fuzz_target;

/// A small bound finds what a large one does, and lengths beyond it.
const LENGTH_MAX: u32 = 512;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    while let Ok(Some((frame, bytes))) = frame::decode(rest, LENGTH_MAX) {
        assert!((1..=rest.len()).contains(&bytes), "a frame takes what it says");
        assert!(bytes <= LENGTH_MAX as usize + frame::PREFIX_BYTES);
        // Every shorter beginning is not yet whole, and no error.
        assert!(matches!(frame::decode(&rest[..bytes - 1], LENGTH_MAX), Ok(None)));
        let mut again = BytesMut::new();
        let header = frame.header;
        frame::encode(&mut again, header.opcode, header.flags, header.correlation, |out| {
            out.extend_from_slice(frame.payload);
        });
        assert_eq!(&again[..], &rest[..bytes], "what was read is what would be written");
        let _ = header.flags == Flags::NONE;
        rest = &rest[bytes..];
    }
});
