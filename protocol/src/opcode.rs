//! What a frame is (SPEC §4). A reply carries its request's opcode with [`REPLY`] set.

use crate::frame::Flags;
use crate::role::Role;

/// Set in the opcode of every reply that is not an error.
pub const REPLY: u8 = 0x80;
/// The opcode of an error reply.
pub const ERROR: u8 = 0xFF;

macro_rules! opcodes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $plane:ident, $role:ident;)+) => {
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

            /// The role that a caller needs for it; `None` where any role will do.
            #[must_use]
            pub const fn role(self) -> Option<Role> {
                match self { $(Self::$name => opcodes!(@role $role),)+ }
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
    (@role any) => { None };
    (@role check) => { Some(Role::Check) };
    (@role report) => { Some(Role::Report) };
    (@role read) => { Some(Role::Read) };
    (@role manage) => { Some(Role::Manage) };
    (@role own) => { Some(Role::Own) };
}

opcodes! {
    /// Agree on a protocol version; optional, version 1 is spoken without it.
    Hello = 0x01, data, any;
    /// Answered with the same payload.
    Ping = 0x02, data, any;
    /// May this token do this, now?
    Validate = 0x10, data, check;
    /// What became of a request.
    Increment = 0x11, data, report;
    /// Many `Validate` in one frame.
    ValidateBatch = 0x12, data, check;
    /// Many `Increment` in one frame.
    IncrementBatch = 0x13, data, report;
    /// Hold a slot for its whole time again.
    SlotRenew = 0x14, data, check;
    /// Make a key; answers the record and the token, once.
    KeyCreate = 0x40, admin, manage;
    /// One record.
    KeyGet = 0x41, admin, read;
    /// Records by filter, a page at a time.
    KeyList = 0x42, admin, read;
    /// Change fields of a record.
    KeyUpdate = 0x43, admin, manage;
    /// A new token for a key; the old one goes on for a while.
    KeyRotate = 0x44, admin, manage;
    /// Suspend, resume, revoke and the other states.
    KeySetStatus = 0x45, admin, manage;
    /// Soft delete: the key becomes unknown.
    KeyDelete = 0x46, admin, manage;
    /// What a key was used for.
    KeyUsage = 0x47, admin, read;
    /// Records of the source system, streamed in; all or nothing.
    Import = 0x48, admin, own;
    /// All records, streamed out.
    Export = 0x49, admin, own;
    /// Figures of the daemon.
    Stats = 0x4A, admin, read;
    /// Whether the daemon can do its work.
    Health = 0x4B, admin, read;
    /// Take a soft delete back.
    KeyRestore = 0x4C, admin, manage;
    /// Note that a key's security was reviewed.
    KeyReview = 0x4D, admin, manage;
    /// Make a key's client secret; the one before goes on for a while.
    KeySecret = 0x4E, admin, manage;
    /// Make a tenant's record.
    TenantCreate = 0x50, admin, own;
    /// One tenant.
    TenantGet = 0x51, admin, read;
    /// Tenants by filter, a page at a time.
    TenantList = 0x52, admin, read;
    /// Change fields of a tenant's record.
    TenantUpdate = 0x53, admin, manage;
    /// Suspend and resume: acts on all its keys at once.
    TenantSetStatus = 0x54, admin, own;
    /// Soft delete: its keys become unknown. Or removes it with its keys, for good.
    TenantDelete = 0x55, admin, own;
    /// Undo a soft delete.
    TenantRestore = 0x56, admin, own;
    /// How a tenant's limits stand.
    TenantUsage = 0x57, admin, read;
    /// What a key, a tenant or all keys were used for, by the hour or the day.
    UsageHistory = 0x58, admin, read;
    /// The keys that were used most, or denied most.
    UsageTop = 0x59, admin, read;
    /// Add a key that signed requests are verified by.
    SigningAdd = 0x5A, admin, manage;
    /// The verification keys of a key.
    SigningList = 0x5B, admin, read;
    /// Remove a verification key.
    SigningRemove = 0x5C, admin, manage;
    /// Read the configuration again and apply it, as a whole or not at all.
    Reload = 0x60, admin, own;
    /// The whole store, streamed out as it is at the stream's end.
    Backup = 0x61, admin, own;
    /// Every row judged; progress streamed out, then the report.
    Verify = 0x62, admin, own;
    /// Exchange the secret of the digests for another, while serving.
    PepperRotate = 0x64, admin, own;
    /// How that stands.
    PepperStatus = 0x65, admin, own;
    /// Exchange the secret of everything encrypted for another, while serving.
    MasterRotate = 0x66, admin, own;
    /// How that stands.
    MasterStatus = 0x67, admin, own;
    /// Alerts that wait, were given up, or were delivered of late.
    AlertList = 0x70, admin, read;
    /// Send a test to everybody that alerts of a key go to.
    AlertTest = 0x71, admin, manage;
    /// The secrets of a web hook; another one on request.
    AlertSecret = 0x72, admin, own;
    /// Send to a web hook again that had answered that it wants no more.
    AlertEnable = 0x73, admin, own;
    /// What happens from now on, streamed out until either side ends it.
    Watch = 0x78, admin, read;
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
