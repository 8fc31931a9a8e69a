//! One connection, request by request. [`exchange`] is the page to read first.

pub mod access;
pub mod admitted;
pub mod behind;
pub mod body;
pub mod connection;
pub mod core;
pub mod counters;
mod date;
pub mod entry;
pub mod exchange;
pub mod finish;
pub mod forward_auth;
pub mod gateway_answer;
pub mod head;
pub mod http1;
pub mod http2;
mod interim;
pub mod io;
pub mod judge;
pub mod limit;
pub mod log_in;
pub mod redirect;
pub mod refusal;
pub mod slow;
pub mod snapshot;
pub mod tunnel;
pub mod upgrade;

use std::time::SystemTime;

/// Records a connection that ended before any request reached us.
fn log_unserved(core: &core::Core, client: &connection::Client, status: u16, refusal: &'static str) {
    let mut record = access::Record::new(access::Kind::Refused, SystemTime::now(), client.peer.ip());
    record.status = Some(status);
    record.refusal = Some(refusal);
    record.version = Some(if client.h2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 });
    core.log(&record);
    core.counters.refusals.add(refusal);
}

/// What is said, at the start and in `status`, of a gateway that lets anyone in.
pub fn no_auth_warning(upstream: &str) -> String {
    format!(
        "gateway/no-auth: the gateway behind `{upstream}` accepts a connect without any token, so D1 is not given to \
         anyone; give it a token: `{}`",
        crate::gateway::translate::token_command!()
    )
}
