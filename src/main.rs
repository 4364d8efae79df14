//! The `keygate` binary.
fn main() {}
