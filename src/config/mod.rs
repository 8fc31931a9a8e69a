//! Text in, [`Config`] or findings out.
pub mod model;
pub use model::Config;
