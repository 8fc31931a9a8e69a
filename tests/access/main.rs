//! The real binary and its admin socket: who may use which verb, and who may ask because of what was said there.

#![allow(clippy::unwrap_used)]

mod allow;
mod denied;
mod names;
mod service;
mod verbs;
