//! Every number a monitoring system can ask for: declared in [`table`], counted in [`count`], written in [`text`].
//!
//! Each core has counters of its own in memory of its own, written by that core alone and read by whoever answers a
//! scrape. So counting is a load, an addition and a store, without a lock, a locked instruction, or a cache line that
//! two cores write; and a scrape needs nothing of the cores. A copy published each second would cost more (every
//! counter is copied, also when nobody asks) and be older.
//!
//! Labels take their values from the configuration and from enums and tables in the code, so that nobody outside can
//! make a new time series.

pub mod count;
pub mod machine;
pub mod table;
pub mod text;

pub use count::{Count, Entered, Gauge, Histogram, Named};
pub use table::{Kind, Metric};
pub use text::Page;
