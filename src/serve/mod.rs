//! One connection, request by request. [`exchange`] is the page to read first.

pub mod access;
pub mod behind;
pub mod body;
pub mod connection;
pub mod core;
pub mod exchange;
pub mod finish;
pub mod gateway_answer;
pub mod io;
pub mod redirect;
pub mod refusal;
pub mod snapshot;
pub mod tunnel;
pub mod upgrade;

/// Records a connection that ended before any request reached us.
fn log_unserved(core: &core::Core, client: &connection::Client, status: u16, refusal: &'static str) {
    let Some(writer) = &core.access else { return };
    let mut record = access::Record::new(access::Kind::Refused, client.peer.ip());
    record.peer = client.peer.ip();
    record.status = status;
    record.refusal = Some(refusal);
    record.version = if client.h2 { "HTTP/2" } else { "HTTP/1.1" };
    writer.borrow_mut().write(&record);
}
