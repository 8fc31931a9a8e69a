//! What is OpenClaw's own.
pub mod frames;
