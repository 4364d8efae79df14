//! What somebody was not let do.

use keygate_protocol::{Opcode, Role};
use serde::{Deserialize, Serialize};

use super::Actor;

/// A request, or a connection, that was refused for want of a right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Who asked.
    pub actor: Actor,
    /// Where: `data`, `admin`, `tcp`, `tls`, `admin_tls`.
    pub socket: String,
    /// The name of the request; absent where the connection was refused as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The role that the request takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Role>,
    /// The roles that the caller has.
    pub has: Vec<Role>,
    /// How many refusals this one stands for: those before it that were not recorded each, too.
    pub count: u64,
}

impl Refusal {
    /// Of a request.
    #[must_use]
    pub fn of_request(self, opcode: Opcode) -> Self {
        Self { request: Some(opcode.name().to_owned()), lacks: opcode.role(), ..self }
    }
}
