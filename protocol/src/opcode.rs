//! What a frame is (SPEC §4). A reply carries its request's opcode with [`REPLY`] set.

use crate::frame::Flags;

/// Set in the opcode of every reply that is not an error.
pub const REPLY: u8 = 0x80;
/// The opcode of an error reply.
pub const ERROR: u8 = 0xFF;

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $plane:ident;)+) => {
        /// The requests of protocol version 1.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Opcode { $($(#[$doc])* $name = $value,)+ }

        // A request's byte leaves room for its reply's, and no reply looks like an error.
        $(const _: () = assert!($value & REPLY == 0 && $value | REPLY != ERROR);)+

        impl Opcode {
            /// Every opcode, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The opcode of a request's header byte, if version 1 defines it.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$name),)+ _ => None }
            }

            /// Whether this request belongs to the admin socket alone.
            #[must_use]
            pub const fn is_admin(self) -> bool {
                match self { $(Self::$name => opcodes!(@admin $plane),)+ }
            }

            /// The name as it stands in the specification.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
        }
    };
    (@admin admin) => { true };
    (@admin data) => { false };
}

opcodes! {
    /// Agree on a protocol version; optional, version 1 is spoken without it.
    Hello = 0x01, data;
    /// Answered with the same payload.
    Ping = 0x02, data;
    /// May this token do this, now?
    Validate = 0x10, data;
    /// What became of a request.
    Increment = 0x11, data;
    /// Many `Validate` in one frame.
    ValidateBatch = 0x12, data;
    /// Many `Increment` in one frame.
    IncrementBatch = 0x13, data;
    /// Hold a slot for its whole time again.
    SlotRenew = 0x14, data;
    /// Make a key; answers the record and the token, once.
    KeyCreate = 0x40, admin;
    /// One record.
    KeyGet = 0x41, admin;
    /// Records by filter, a page at a time.
    KeyList = 0x42, admin;
    /// Change fields of a record.
    KeyUpdate = 0x43, admin;
    /// A new token for a key; the old one goes on for a while.
    KeyRotate = 0x44, admin;
    /// Suspend, resume, revoke and the other states.
    KeySetStatus = 0x45, admin;
    /// Soft delete: the key becomes unknown.
    KeyDelete = 0x46, admin;
    /// What a key was used for.
    KeyUsage = 0x47, admin;
    /// Records of the source system, streamed in; all or nothing.
    Import = 0x48, admin;
    /// All records, streamed out.
    Export = 0x49, admin;
    /// Figures of the daemon.
    Stats = 0x4A, admin;
    /// Whether the daemon can do its work.
    Health = 0x4B, admin;
    /// Take a soft delete back.
    KeyRestore = 0x4C, admin;
    /// Note that a key's security was reviewed.
    KeyReview = 0x4D, admin;
    /// Make a tenant's record.
    TenantCreate = 0x50, admin;
    /// One tenant.
    TenantGet = 0x51, admin;
    /// Tenants by filter, a page at a time.
    TenantList = 0x52, admin;
    /// Change fields of a tenant's record.
    TenantUpdate = 0x53, admin;
    /// Suspend and resume: acts on all its keys at once.
    TenantSetStatus = 0x54, admin;
    /// Soft delete: its keys become unknown. Or removes it with its keys, for good.
    TenantDelete = 0x55, admin;
    /// Undo a soft delete.
    TenantRestore = 0x56, admin;
    /// How a tenant's limits stand.
    TenantUsage = 0x57, admin;
    /// What a key, a tenant or all keys were used for, by the hour or the day.
    UsageHistory = 0x58, admin;
    /// The keys that were used most, or denied most.
    UsageTop = 0x59, admin;
    /// Read the configuration again and apply it, as a whole or not at all.
    Reload = 0x60, admin;
    /// The whole store, streamed out as it is at the stream's end.
    Backup = 0x61, admin;
    /// Every row judged; progress streamed out, then the report.
    Verify = 0x62, admin;
    /// Exchange the secret of the digests for another, while serving.
    PepperRotate = 0x64, admin;
    /// How that stands.
    PepperStatus = 0x65, admin;
    /// Exchange the secret of everything encrypted for another, while serving.
    MasterRotate = 0x66, admin;
    /// How that stands.
    MasterStatus = 0x67, admin;
    /// Alerts that wait, were given up, or were delivered of late.
    AlertList = 0x70, admin;
    /// Send a test to everybody that alerts of a key go to.
    AlertTest = 0x71, admin;
    /// The secrets of a web hook; another one on request.
    AlertSecret = 0x72, admin;
    /// Send to a web hook again that had answered that it wants no more.
    AlertEnable = 0x73, admin;
    /// What happens from now on, streamed out until either side ends it.
    Watch = 0x78, admin;
}

impl Opcode {
    /// The header byte of a request.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// The header byte of its reply.
    #[must_use]
    pub const fn reply(self) -> u8 {
        self as u8 | REPLY
    }

    /// The flags that a request of this kind may carry; any other is `BAD_PAYLOAD`.
    #[must_use]
    pub const fn flags_allowed(self) -> Flags {
        match self {
            Self::Increment | Self::IncrementBatch => Flags::NO_REPLY,
            Self::Import => Flags::MORE,
            _ => Flags::NONE,
        }
    }
}
