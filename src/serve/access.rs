//! One record per request and one per WebSocket, and the one type that makes URLs safe to log.

#[derive(Clone)]
pub struct Sink {}
