//! What is OpenClaw's own.
pub mod answer;
pub mod frames;
pub mod observe;
