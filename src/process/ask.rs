//! A command's question to the process that serves its configuration.

use std::path::Path;

use super::load;
use crate::{
    admin::{self, Answer, CallError, Verb},
    config::defaults,
};

/// Asks the process that serves `path`.
///
/// # Errors
/// Also when this user may not read which socket is meant: the usual one could be another configuration's, or its silence
/// nothing to go by.
pub fn ask(path: &Path, verb: &Verb) -> Result<Answer, CallError> {
    let (socket, unread) = match load::named_socket(path) {
        Ok(socket) => (socket, None),
        // Beside the usual configuration the usual socket may answer all the same.
        Err(file) if path == Path::new(defaults::CONFIG) => (defaults::ADMIN_SOCKET.into(), Some(file)),
        Err(file) => return Err(CallError::SocketUnknown { file }),
    };
    match (admin::call(&socket, verb), unread) {
        (Err(CallError::NotRunning { .. }), Some(file)) => Err(CallError::SocketUnknown { file }),
        (answer, _) => answer,
    }
}
