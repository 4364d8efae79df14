//! keygate.
