//! `Hello`: the versions each side speaks, and whom the client asks for (SPEC §6.1).

use bytes::{BufMut, BytesMut};

use crate::limits::{CLIENT_NAME_BYTES_MAX, TENANT_BYTES_MAX};
use crate::wire::{DEMAND, PayloadError, Reader, just_above, once, put_text, put_tlv, text};

/// The only version there is so far.
pub const VERSION: u8 = 1;

const TLV_NAME: u8 = 1;
/// A demand, for a daemon that passed over it would show all tenants' keys.
const TLV_TENANT: u8 = 128;

/// What a client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// Lowest version the client speaks.
    pub version_min: u8,
    /// Highest version the client speaks.
    pub version_max: u8,
    /// The program's name, for the daemon's log; at most 64 bytes of UTF-8.
    pub name: Option<&'a str>,
    /// The tenant that the connection is bound to from here on: no other tenant's key exists for
    /// it. 1 to 64 bytes of UTF-8.
    pub tenant: Option<&'a str>,
}

impl<'a> Hello<'a> {
    /// Reads a request payload.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing, out of bounds, or not known and demanded.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let version_min = reader.u8("version_min")?;
        let version_max = reader.u8("version_max")?;
        if version_min == 0 || version_min > version_max {
            return Err(PayloadError::OutOfBounds {
                field: "version_min",
                why: "it is 1 to version_max",
            });
        }
        let (mut name, mut tenant) = (None, None);
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_NAME => take_name(&mut name, value)?,
                TLV_TENANT => {
                    let why = "it is 1 to 64 bytes of UTF-8";
                    let value = text(value, TENANT_BYTES_MAX, "tenant", why)?;
                    once(&mut tenant, value, "tenant")?;
                }
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        Ok(Self { version_min, version_max, name, tenant })
    }

    /// Appends the request payload; a longer name is cut at 64 bytes, an empty one left out. A
    /// tenant that is empty or longer than 64 bytes is for the daemon to refuse: cut or left out,
    /// it would bind to another tenant or to none.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.version_min);
        out.put_u8(self.version_max);
        if let Some(name) = self.name {
            put_text(out, TLV_NAME, name, CLIENT_NAME_BYTES_MAX);
        }
        if let Some(tenant) = self.tenant {
            put_tlv(out, TLV_TENANT, just_above(tenant.as_bytes(), TENANT_BYTES_MAX));
        }
    }

    /// The highest version that both sides speak.
    #[must_use]
    pub const fn agree(&self) -> Option<u8> {
        if self.version_min <= VERSION && VERSION <= self.version_max {
            Some(VERSION)
        } else {
            None
        }
    }
}

fn take_name<'a>(name: &mut Option<&'a str>, value: &'a [u8]) -> Result<(), PayloadError> {
    let value = text(value, CLIENT_NAME_BYTES_MAX, "name", "it is 1 to 64 bytes of UTF-8")?;
    once(name, value, "name")
}

/// What the daemon answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloReply<'a> {
    /// The version spoken from here on.
    pub version: u8,
    /// Whether this is the admin socket.
    pub admin: bool,
    /// Items that one batch frame may carry here.
    pub batch_items_max: u16,
    /// Longest request frame that this socket takes, as its length prefix says it.
    pub frame_bytes_max: u32,
    /// The daemon's name and release, for people; at most 64 bytes of UTF-8.
    pub name: Option<&'a str>,
}

impl<'a> HelloReply<'a> {
    /// Reads a reply payload.
    ///
    /// # Errors
    /// [`PayloadError`] when a field is missing or out of bounds.
    pub fn decode(payload: &'a [u8]) -> Result<Self, PayloadError> {
        let mut reader = Reader::new(payload);
        let version = reader.u8("version")?;
        let admin = match reader.u8("role")? {
            0 => false,
            1 => true,
            _ => return Err(PayloadError::OutOfBounds { field: "role", why: "it is 0 or 1" }),
        };
        let batch_items_max = reader.u16("batch_items_max")?;
        let frame_bytes_max = reader.u32("frame_bytes_max")?;
        let mut name = None;
        while let Some((kind, value)) = reader.tlv()? {
            match kind {
                TLV_NAME => take_name(&mut name, value)?,
                kind if kind >= DEMAND => return Err(PayloadError::UnknownDemand { kind }),
                _ => {}
            }
        }
        Ok(Self { version, admin, batch_items_max, frame_bytes_max, name })
    }

    /// Appends the reply payload; a longer name is cut at 64 bytes, an empty one left out.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.version);
        out.put_u8(u8::from(self.admin));
        out.put_u16_le(self.batch_items_max);
        out.put_u32_le(self.frame_bytes_max);
        if let Some(name) = self.name {
            put_text(out, TLV_NAME, name, CLIENT_NAME_BYTES_MAX);
        }
    }
}
