//! (room headers)
