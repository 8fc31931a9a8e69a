//! What the targets with sockets share: one thread, a clock that stands still while anything moves, pairs of sockets, cuts.

use std::{
    cell::Cell,
    future::Future,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    sync::Once,
};

use tokio::{net::TcpStream, runtime::Runtime, task::LocalSet};

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    /// A task of this thread has panicked: tokio would keep that to itself.
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

pub fn run<T>(future: impl Future<Output = T>) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Also called while a thread ends.
            let _ = PANICKED.try_with(|panicked| panicked.set(true));
            before(panic);
        }));
    });
    PANICKED.set(false);
    let done = RUNTIME.with(|runtime| {
        let local = LocalSet::new();
        local.block_on(runtime, future)
    });
    assert!(!PANICKED.get(), "a task has panicked");
    done
}

/// Two ends of one stream. The near one is for the proxy, which knows TCP only: what it calls, a stream of another family
/// answers as well, but for the options, which it does without.
pub fn pair() -> (TcpStream, StdUnixStream) {
    let (near, far) = StdUnixStream::pair().expect("a socket pair");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("a socket");
    }
    let near = std::net::TcpStream::from(OwnedFd::from(near));
    (TcpStream::from_std(near).expect("a socket of the runtime"), far)
}

/// Whole, byte by byte for a while, or in pieces whose sizes follow from the number.
pub fn pieces(bytes: &[u8], cut: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = bytes;
    let mut state = u32::from(cut & 0x7f);
    while !rest.is_empty() {
        let size = match cut & 0x7f {
            0 => rest.len(),
            _ if pieces.len() >= 400 => rest.len(),
            1 => 1,
            _ => {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                1 + (state >> 24) as usize % 40
            }
        };
        let (piece, after) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
