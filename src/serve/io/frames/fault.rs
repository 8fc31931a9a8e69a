//! What ends a connection here.

use super::HEAD;

/// [`Fault::for_h2`].
pub const MOST_FOR_H2: usize = 2 * (HEAD + 4);

/// Why a connection has to end here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Protocol,
    FrameSize,
    FlowControl,
    /// It asks for nothing, over and over.
    Calm,
}

impl Fault {
    /// Frames that h2 answers with GOAWAY and this code. There are none for [`Fault::Calm`]: the driver of the connection is
    /// told.
    pub fn for_h2(self) -> &'static [u8] {
        match self {
            // SETTINGS on a stream.
            Fault::Protocol => b"\0\0\0\x04\0\0\0\0\x01",
            // Of 16 MiB.
            Fault::FrameSize => b"\xff\xff\xff\0\0\0\0\0\0",
            // Two updates of the connection's window, which is one too much whatever it is now.
            Fault::FlowControl => b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff",
            Fault::Calm => b"",
        }
    }
}
