//! One connection of a client, from its bytes to those of the gateway and back, through the very code that serves.
//!
//! Client and gateway are in this process, over socket pairs, in one thread, and the clock stands still while anything
//! moves: the same input does the same every time. What the two get is read by parsers of its own (`http1`, `http2`,
//! `sent`), which know nothing of the proxy's.

mod answers;
pub mod http1;
mod http2;
mod oracle;
mod origin;
mod sent;
mod world;

/// What the first five bytes of an input choose.
#[derive(Debug, Clone, Copy)]
struct Choice {
    h2: bool,
    /// HTTP/2: neither preface nor SETTINGS are put before the input.
    bare: bool,
    /// The connection is one of the listener that sends http to https.
    redirect: bool,
    https: bool,
    /// The peer is a proxy that is believed.
    trusted: bool,
    /// The client ends its side behind its last byte; else it waits until it is closed.
    leaves: bool,
    /// It reads only when all is written.
    reads_late: bool,
    /// The gateway's first dial is refused.
    refused: bool,
    /// How its bytes are cut: whole, one by one, or by this.
    cut: u8,
    /// What the gateway answers to its first, third... request, and to the others.
    answers: [u8; 2],
    gateway_cut: u8,
    /// In the middle of it another configuration takes over: a site is another one, and nobody may log in any more.
    reload: bool,
}

impl Choice {
    fn of([mode, cut, answers, gateway_cut, _]: [u8; 5]) -> Choice {
        let h2 = mode & 3 == 3;
        Choice {
            h2,
            bare: h2 && mode & 0x20 != 0,
            redirect: !h2 && mode & 0x20 != 0,
            https: mode & 4 != 0,
            trusted: mode & 8 != 0,
            leaves: mode & 0x10 != 0,
            reads_late: mode & 0x40 != 0,
            refused: mode & 0x80 != 0,
            cut,
            answers: [answers & 15, answers >> 4],
            gateway_cut,
            reload: gateway_cut & 0x80 != 0,
        }
    }

    fn answer(&self, request: usize) -> u8 {
        self.answers[request % 2]
    }
}

/// Five bytes choose ([`Choice`]), the fifth of them how long the gateway's own answer is, which comes next; the rest is
/// what the client sends.
pub fn exchange(data: &[u8]) {
    let Some((choice, rest)) = data.split_first_chunk::<5>() else { return };
    if rest.len() > 16_384 {
        return;
    }
    let (gateway, client) = rest.split_at(usize::from(choice[4]).min(rest.len()));
    let choice = Choice::of(*choice);
    let mut bytes = Vec::new();
    if choice.h2 && !choice.bare {
        bytes.extend_from_slice(http2::BEGIN);
    }
    bytes.extend_from_slice(client);
    let seen = world::run(choice, &bytes, gateway);
    oracle::judge(choice, &bytes, &seen);
}
