//! The crate reads and writes the golden frames of `vectors/`, and nothing that is done to them
//! makes it panic.

#[path = "common/codec.rs"]
mod codec;
mod common;

use std::collections::BTreeSet;

use bytes::BytesMut;
use codec::Fault;
use common::{VALID, from_hex, parse};
use keygate_protocol::frame::{self, Frame};
use keygate_protocol::limits::{ADMIN_FRAME_BYTES_MAX, DATA_FRAME_BYTES_MAX};
use keygate_protocol::opcode::{ERROR, REPLY};
use keygate_protocol::{ErrorCode, Flags, FrameError, Opcode};
use serde::Deserialize;

const INVALID: &str = include_str!("../vectors/invalid.json");

/// A frame that must be read.
#[derive(Debug, Clone, Deserialize)]
struct Valid {
    name: String,
    direction: String,
    plane: String,
    kind: String,
    header: Header,
    fields: serde_json::Value,
    reencodes: bool,
    hex: String,
}

/// What a frame's header shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Header {
    opcode: u8,
    flags: u8,
    correlation: u32,
}

fn valid() -> Vec<Valid> {
    parse(VALID)
}

/// Bytes that must be refused.
#[derive(Deserialize)]
struct Invalid {
    name: String,
    direction: String,
    plane: String,
    length_max: u32,
    fault: String,
    field: Option<String>,
    answer: Option<String>,
    hex: String,
}

/// The bound of `length` where this frame travels.
fn length_max(vector: &Valid) -> u32 {
    if vector.plane == "data" && vector.direction == "to_daemon" {
        DATA_FRAME_BYTES_MAX
    } else {
        ADMIN_FRAME_BYTES_MAX
    }
}

fn header(frame: &Frame<'_>) -> Header {
    let header = frame.header;
    Header { opcode: header.opcode, flags: header.flags.bits(), correlation: header.correlation }
}

fn flags(bits: u8) -> Flags {
    [Flags::NO_REPLY, Flags::MORE]
        .into_iter()
        .filter(|flag| bits & flag.bits() != 0)
        .fold(Flags::NONE, Flags::with)
}

/// The kind that an opcode byte stands for, if there is one.
fn kind(opcode: u8) -> Option<String> {
    match opcode {
        ERROR => Some("Error".to_owned()),
        byte if byte & REPLY != 0 => {
            Opcode::from_byte(byte & !REPLY).map(|opcode| format!("{}Reply", opcode.name()))
        }
        byte => Opcode::from_byte(byte).map(|opcode| opcode.name().to_owned()),
    }
}

fn is_admin(kind: &str) -> bool {
    Opcode::ALL.iter().any(|opcode| {
        opcode.is_admin() && kind.strip_suffix("Reply").unwrap_or(kind) == opcode.name()
    })
}

#[test]
fn valid_frames_show_the_stated_header_and_fields() {
    for vector in valid() {
        let name = &vector.name;
        let bytes = from_hex(&vector.hex);
        let (frame, taken) = frame::decode(&bytes, length_max(&vector))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .unwrap_or_else(|| panic!("{name}: not yet whole"));
        assert_eq!(taken, bytes.len(), "{name}");
        assert_eq!(header(&frame), vector.header, "{name}");
        assert_eq!(kind(frame.header.opcode).as_ref(), Some(&vector.kind), "{name}");
        if let Some(opcode) = Opcode::from_byte(frame.header.opcode) {
            assert!(opcode.flags_allowed().has(frame.header.flags), "{name}");
        }
        let fields = codec::decode(&vector.kind, frame.payload);
        assert_eq!(fields.as_ref(), Ok(&vector.fields), "{name}");
    }
}

#[test]
fn valid_frames_are_encoded_byte_for_byte() {
    for vector in valid().iter().filter(|vector| vector.reencodes) {
        let Header { opcode, flags: bits, correlation } = vector.header;
        let mut out = BytesMut::new();
        frame::encode(&mut out, opcode, flags(bits), correlation, |out| {
            if is_admin(&vector.kind) {
                // JSON says the same in many ways; `valid_frames_show…` compares what it says.
                out.extend_from_slice(&from_hex(&vector.hex)[frame::PREFIX_BYTES..]);
            } else {
                codec::encode(&vector.kind, &vector.fields, out);
            }
        });
        assert_eq!(out, from_hex(&vector.hex), "{}", vector.name);
    }
}

#[test]
fn frames_that_follow_each_other_are_read_one_by_one() {
    let vectors = valid();
    let stream: Vec<u8> = vectors.iter().flat_map(|vector| from_hex(&vector.hex)).collect();
    let mut rest = stream.as_slice();
    for vector in &vectors {
        let (frame, taken) =
            frame::decode(rest, ADMIN_FRAME_BYTES_MAX).expect("a frame").expect("a whole frame");
        assert_eq!(header(&frame), vector.header, "{}", vector.name);
        rest = &rest[taken..];
    }
    assert!(rest.is_empty());
}

#[test]
fn every_truncation_is_not_yet_whole() {
    for vector in valid() {
        let bytes = from_hex(&vector.hex);
        for end in 0..bytes.len() {
            let decoded = frame::decode(&bytes[..end], length_max(&vector));
            assert_eq!(decoded, Ok(None), "{} cut at {end}", vector.name);
        }
    }
}

#[test]
fn invalid_bytes_are_refused_for_the_stated_fault() {
    for vector in parse::<Invalid>(INVALID) {
        let name = &vector.name;
        let fault = refusal(&vector).unwrap_or_else(|| panic!("{name} was taken"));
        assert_eq!(fault.fault, vector.fault, "{name}");
        assert_eq!(fault.field, vector.field, "{name}");
        if vector.direction == "to_daemon" {
            assert_eq!(Some(fault.answer.name()), vector.answer.as_deref(), "{name}");
        } else {
            assert_eq!(vector.answer, None, "{name}");
        }
    }
}

fn refusal(vector: &Invalid) -> Option<Fault> {
    let bytes = from_hex(&vector.hex);
    let frame = match frame::decode(&bytes, vector.length_max) {
        Ok(whole) => whole?.0,
        Err(error) => {
            let fault = match error {
                FrameError::TooShort { .. } => "TOO_SHORT",
                FrameError::TooLong { .. } => "TOO_LONG",
                FrameError::Reserved { .. } => "RESERVED",
                FrameError::Flags { .. } => "FLAGS",
            };
            return Some(Fault::of(fault, error.into()));
        }
    };
    if vector.direction == "to_daemon" {
        let Some(opcode) = Opcode::from_byte(frame.header.opcode) else {
            return Some(Fault::of("UNKNOWN_OPCODE", ErrorCode::UnknownOpcode));
        };
        if opcode.is_admin() && vector.plane == "data" {
            return Some(Fault::of("NOT_ON_THIS_SOCKET", ErrorCode::NotOnThisSocket));
        }
        if !opcode.flags_allowed().has(frame.header.flags) {
            return Some(Fault::of("FLAG_NOT_ALLOWED", ErrorCode::BadPayload));
        }
    }
    codec::decode(&kind(frame.header.opcode)?, frame.payload).err()
}

/// Reads whatever stands there; what can be read must survive being written and read again.
fn read_somehow(bytes: &[u8], length_max: u32) {
    let Ok(Some((frame, taken))) = frame::decode(bytes, length_max) else { return };
    assert!(taken <= bytes.len());
    let Some(kind) = kind(frame.header.opcode) else { return };
    let Ok(fields) = codec::decode(&kind, frame.payload) else { return };
    if kind == "Error" && fields["code"].is_null() {
        return; // Codes of later releases are read and not written.
    }
    if fields["tenant_id"].is_null() && fields["scopes"] != serde_json::json!([]) {
        return; // Scopes without a tenant are read and not written.
    }
    let mut out = BytesMut::new();
    codec::encode(&kind, &fields, &mut out);
    assert_eq!(codec::decode(&kind, &out), Ok(fields), "{kind}");
}

#[test]
fn no_flipped_bit_or_byte_makes_a_reader_panic() {
    for vector in valid() {
        let good = from_hex(&vector.hex);
        let mut bytes = good.clone();
        for at in 0..bytes.len() {
            let bits = (0..8).map(|bit| good[at] ^ (1 << bit));
            for byte in bits.chain([0x00, 0x7F, 0x80, 0xFF, !good[at]]) {
                bytes[at] = byte;
                read_somehow(&bytes, length_max(&vector));
            }
            bytes[at] = good[at];
        }
    }
}

#[test]
fn no_truncated_payload_makes_a_reader_panic() {
    for vector in valid() {
        let bytes = from_hex(&vector.hex);
        for end in frame::PREFIX_BYTES..bytes.len() {
            let mut cut = bytes[..end].to_vec();
            let length = u32::try_from(end - frame::LENGTH_BYTES).expect("a short frame");
            cut[..frame::LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            read_somehow(&cut, length_max(&vector));
        }
    }
}

#[test]
fn every_message_has_a_vector_and_names_are_unique() {
    let vectors = valid();
    let kinds: BTreeSet<&str> = vectors.iter().map(|vector| vector.kind.as_str()).collect();
    let mut expected: BTreeSet<String> = ["Error".to_owned()].into();
    for opcode in Opcode::ALL {
        expected.extend([opcode.name().to_owned(), format!("{}Reply", opcode.name())]);
    }
    assert_eq!(kinds, expected.iter().map(String::as_str).collect());

    let invalid = parse::<Invalid>(INVALID);
    let names: BTreeSet<&str> = vectors
        .iter()
        .map(|vector| vector.name.as_str())
        .chain(invalid.iter().map(|vector| vector.name.as_str()))
        .collect();
    assert_eq!(names.len(), vectors.len() + invalid.len());
}
