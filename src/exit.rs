//! Exit codes by name (sysexits.h where one fits).

/// A live check failed.
pub const UNAVAILABLE: u8 = 69;
/// A long-lived task panicked or an invariant broke.
pub const SOFTWARE: u8 = 70;
/// The operating system refused something we need (a port, a descriptor).
pub const OS_ERROR: u8 = 71;
/// Missing permission.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
