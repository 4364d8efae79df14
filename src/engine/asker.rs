//! Who asks: what of a connection a decision depends on.

/// What a connection is, for the questions that come on it: told by the kernel or by TLS, never by a
/// question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The SHA-256 of the certificate that the peer has shown, where the connection is TLS.
    pub certificate: Option<[u8; 32]>,
    /// Whether a question may state the certificate of its client.
    pub states_certificates: bool,
    /// What the peer's failed lookups are counted under; 0 for one that is not told apart.
    pub peer: u64,
}

/// Who asks a question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The tenant that it is bound to: keys of others are not there.
    pub tenant: Option<&'a str>,
    /// What its connection is.
    pub standing: Standing,
}
