//! (room listen)
