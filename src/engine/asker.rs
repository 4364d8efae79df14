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
    /// Whether all failed lookups count as the peer's own too, whatever address its questions state:
    /// of one that is bound to a tenant, and of one of the network that no right names.
    pub answers_for_itself: bool,
}

/// Who asks a question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The tenant that it is bound to: keys of others are not there.
    pub tenant: Option<&'a str>,
    /// What its connection is.
    pub standing: Standing,
    /// Whether its questions were looked up before, and are judged anew: they are not throttled for
    /// what has failed meanwhile.
    pub again: bool,
}
