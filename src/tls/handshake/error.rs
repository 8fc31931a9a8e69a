//! Why a handshake was not done.

use std::io;

use rustls::AlertDescription;

/// Why a connection ended before its first request.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the handshake was not done in time")]
    Deadline,
    #[error("the client closed the connection")]
    ClientClosed,
    #[error("{0} is not a host of this configuration")]
    UnrecognizedName(Box<str>),
    #[error("plain HTTP was sent to an https port")]
    PlainHttp,
    #[error("a PROXY protocol header came from a peer outside proxy_protocol_from")]
    UnexpectedProxyHeader,
    #[error("something else than TLS was sent")]
    NotTls,
    #[error("the client offers neither TLS 1.2 nor 1.3")]
    NoCommonVersion,
    #[error("the client offers no application protocol that we have")]
    NoCommonProtocol,
    #[error("the client fell back to an older version than both sides have")]
    Fallback,
    #[error("nothing in common with the client")]
    NothingInCommon(#[source] rustls::Error),
    #[error("the client ended the handshake with the alert {0:?}")]
    ClientAlert(AlertDescription),
    #[error("the client broke the TLS protocol")]
    Protocol(#[source] rustls::Error),
    #[error("no certificate to show")]
    NoCertificate,
    #[error("the client showed no certificate that the site takes")]
    ClientCertificate(#[source] rustls::Error),
    #[error("the handshake failed")]
    Failed(#[source] rustls::Error),
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// Not a failure: a CA has looked, and has nothing else to do here (RFC 8737 §3).
    #[error("an acme-tls/1 validation was answered")]
    ChallengeAnswered,
}

impl HandshakeError {
    /// Every name there is.
    pub const NAMES: [&str; 17] = [
        "deadline",
        "client_closed",
        "unrecognized_name",
        "plain_http",
        "unexpected_proxy_header",
        "not_tls",
        "no_common_version",
        "no_common_protocol",
        "inappropriate_fallback",
        "nothing_in_common",
        "client_alert",
        "protocol_error",
        "no_certificate",
        "failed",
        "io",
        "challenge_answered",
        "client_certificate",
    ];

    /// The name in logs and labels.
    pub fn name(&self) -> &'static str {
        HandshakeError::NAMES[self.index()]
    }

    /// The name's place in [`HandshakeError::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            HandshakeError::Deadline => 0,
            HandshakeError::ClientClosed => 1,
            HandshakeError::UnrecognizedName(_) => 2,
            HandshakeError::PlainHttp => 3,
            HandshakeError::UnexpectedProxyHeader => 4,
            HandshakeError::NotTls => 5,
            HandshakeError::NoCommonVersion => 6,
            HandshakeError::NoCommonProtocol => 7,
            HandshakeError::Fallback => 8,
            HandshakeError::NothingInCommon(_) => 9,
            HandshakeError::ClientAlert(_) => 10,
            HandshakeError::Protocol(_) => 11,
            HandshakeError::NoCertificate => 12,
            HandshakeError::Failed(_) => 13,
            HandshakeError::Io(_) => 14,
            HandshakeError::ChallengeAnswered => 15,
            HandshakeError::ClientCertificate(_) => 16,
        }
    }
}

/// What rustls says comes in an `io::Error`.
impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                return HandshakeError::ClientClosed;
            }
            _ => {}
        }
        match error.downcast::<rustls::Error>() {
            Ok(error) => error.into(),
            Err(error) => HandshakeError::Io(error),
        }
    }
}

impl From<rustls::Error> for HandshakeError {
    fn from(error: rustls::Error) -> Self {
        use rustls::{Error, PeerIncompatible};
        match error {
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered | PeerIncompatible::Tls12NotOfferedOrEnabled) => {
                HandshakeError::NoCommonVersion
            }
            Error::PeerIncompatible(_) => HandshakeError::NothingInCommon(error),
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => HandshakeError::ClientCertificate(error),
            Error::NoApplicationProtocol => HandshakeError::NoCommonProtocol,
            Error::AlertReceived(alert) => HandshakeError::ClientAlert(alert),
            Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => HandshakeError::Protocol(error),
            _ => HandshakeError::Failed(error),
        }
    }
}
