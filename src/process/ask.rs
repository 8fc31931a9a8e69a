//! A command's question to the process that serves its configuration.

use std::path::Path;

use super::load::{self, Unnamed};
use crate::{
    admin::{self, Answer, CallError, Verb},
    config::defaults,
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// The configuration is not there, so nobody knows whom to ask.
    #[error(transparent)]
    Config(load::Refused),
}

impl From<Unnamed> for AskError {
    fn from(unnamed: Unnamed) -> AskError {
        match unnamed {
            Unnamed::Hidden(file) => CallError::SocketUnknown { file }.into(),
            Unnamed::Missing(refused) => AskError::Config(refused),
        }
    }
}

/// Asks the process that serves `path`.
///
/// # Errors
/// Also when it cannot be known which socket is meant: the usual one could be another configuration's, or its silence
/// nothing to go by.
pub fn ask(path: &Path, verb: &Verb) -> Result<Answer, AskError> {
    let (socket, unnamed) = match load::named_socket(path) {
        Ok(socket) => (socket, None),
        // Beside the usual configuration the usual socket may answer all the same.
        Err(unnamed) if path == Path::new(defaults::CONFIG) => (defaults::ADMIN_SOCKET.into(), Some(unnamed)),
        Err(unnamed) => return Err(unnamed.into()),
    };
    match (admin::call(&socket, verb), unnamed) {
        (Err(CallError::NotRunning { .. }), Some(unnamed)) => Err(unnamed.into()),
        (answer, _) => Ok(answer?),
    }
}
