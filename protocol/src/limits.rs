//! Every bound of the wire, in one place (SPEC §3). Lengths are in bytes.

/// Longest data-plane request: what the length prefix may say on the data socket.
pub const DATA_FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Longest admin frame in either direction, and longest reply on the data socket.
pub const ADMIN_FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// Longest reply on the data socket: a batch's answers may be longer than its questions.
pub const REPLY_FRAME_BYTES_MAX: u32 = ADMIN_FRAME_BYTES_MAX;
/// Longest token that is looked at; a longer one is `MALFORMED`.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Longest scope, granted or demanded.
pub const SCOPE_BYTES_MAX: usize = 128;
/// Scopes that one request may demand, all-of and any-of together.
pub const SCOPES_DEMANDED_MAX: usize = 64;
/// Longest origin that a request may state.
pub const ORIGIN_BYTES_MAX: usize = 512;
/// Longest environment, region, integration, API version or feature that a request may state.
pub const FACT_BYTES_MAX: usize = 64;
/// Longest client secret that a request may state.
pub const CLIENT_SECRET_BYTES_MAX: usize = 512;
/// Longest authority of a signed request.
pub const AUTHORITY_BYTES_MAX: usize = 255;
/// Longest path, and longest query, of a signed request.
pub const TARGET_BYTES_MAX: usize = 8192;
/// Header fields of a signed request that may be stated.
pub const HEADERS_MAX: usize = 64;
/// Longest name of one.
pub const HEADER_NAME_BYTES_MAX: usize = 128;
/// Longest value of one.
pub const HEADER_VALUE_BYTES_MAX: usize = 8192;
/// Features that one request may ask for.
pub const FEATURES_DEMANDED_MAX: usize = 64;
/// Longest name of a tenant that a request or a connection may be bound to.
pub const TENANT_BYTES_MAX: usize = 64;
/// Longest metadata of a key: what a verdict may carry of it.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// Largest cost of one request: 2^32.
pub const COST_MAX: u64 = 1 << 32;
/// Items in one batch frame.
pub const BATCH_ITEMS_MAX: usize = 512;
/// Longest endpoint name in an `Increment`.
pub const ENDPOINT_BYTES_MAX: usize = 256;
/// Longest error text that an `Increment` may carry; what is kept is cut at 256 bytes.
pub const ERROR_TEXT_BYTES_MAX: usize = 1024;
/// Limits in one verdict.
pub const LIMITS_IN_VERDICT_MAX: usize = 16;
/// Named limits that one request may spend.
pub const LIMITS_NAMED_MAX: usize = 4;
/// Most credits that one report may refund: as many as one request may cost.
pub const REFUND_MAX: u64 = COST_MAX;
/// Counters of its own that one report may have.
pub const COUNTERS_REPORTED_MAX: usize = 8;
/// Longest name of one.
pub const COUNTER_NAME_BYTES_MAX: usize = 64;
/// Longest text in an error reply.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 4096;
/// Longest client name in `Hello`.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

const _: () = assert!(BATCH_ITEMS_MAX <= u16::MAX as usize);
const _: () = assert!(TOKEN_BYTES_MAX < u16::MAX as usize);
