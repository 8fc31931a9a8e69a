//! Windows that are widened beyond what there can be (RFC 9113 §6.9.1).

const LARGEST_WINDOW: u64 = (1 << 31) - 1;
/// Smaller increments are not added up: they come with every download.
const LARGE: u32 = 1 << 30;

/// What one stream's window was widened by, in large steps.
#[derive(Default)]
pub struct Large {
    stream: u32,
    sum: u64,
    /// What had been written on the connection before.
    since: u64,
}

impl Large {
    /// Whether the window is too wide now. It cannot be wider than what it was widened by less all that was written since.
    /// Told only of the large steps and of all streams' bytes, this sees no fault where there is none; h2 sees what is missed
    /// here.
    #[inline]
    pub fn widens(&mut self, stream: u32, increment: u32, written: u64) -> bool {
        increment >= LARGE && self.widens_by_much(stream, increment, written)
    }

    #[cold]
    fn widens_by_much(&mut self, stream: u32, increment: u32, written: u64) -> bool {
        if self.stream != stream {
            *self = Large { stream, sum: 0, since: written };
        }
        self.sum += u64::from(increment);
        self.sum.saturating_sub(written - self.since) > LARGEST_WINDOW
    }
}
