//! How long to wait after what went wrong.
