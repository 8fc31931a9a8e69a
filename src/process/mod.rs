//! (room process)
