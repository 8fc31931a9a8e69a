//! Text in, [`Config`] or findings out.
//!
//! ```text
//! files --load--> sources --tree--> one tree --read/file--> File --resolve--> Config
//! ```
//! Everything behind [`load`] is pure: [`parse`] takes texts and a [`Secrets`] and never reads anything else. It goes
//! on after a finding, so that the operator sees all of them at once, each with its place and its way out.

pub mod account;
mod acme_model;
mod acme_value;
mod address;
pub(crate) mod client_certificate;
mod code;
pub mod defaults;
mod device_key;
pub mod diff;
mod file;
pub mod finding;
pub mod format;
pub mod forward_auth;
mod hostname;
pub mod interpolate;
mod load;
pub mod model;
mod pace;
pub(crate) mod password;
mod path;
mod public;
mod read;
mod resolve;
pub mod secrets;
mod security_headers;
mod tree;
mod unit;
pub(crate) mod value;

pub(crate) use code::codes;
pub use finding::{Code, Finding, Findings, Location, Severity, Source};
pub use interpolate::{Lookup, NoSecrets, Secrets};
pub use load::{files, load, source};
pub use model::Config;
pub use public::is_public_address;

/// A good configuration, and what is worth a look in it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Finding>,
    /// Of each site, in the order of `config.sites`: for findings that need more than the text, such as a certificate
    /// file that cannot be read.
    pub places: Vec<SitePlaces>,
}

/// Where parts of a site were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePlaces {
    pub host: Location,
    /// `None` where the default stands.
    pub certificate: Option<Location>,
}

/// Parses the sources: the main file first, then those of `conf.d` in name order.
///
/// # Errors
/// All findings, warnings too, when one of them is an error.
pub fn parse(sources: &[Source], secrets: &dyn Secrets) -> Result<Loaded, Findings> {
    let schema = schema_keys();
    let mut report = finding::Report::new(sources);
    let (tree, syntax) = tree::read(sources, &mut report);
    let table = String::new();
    let mut reader = read::Reader { report: &mut report, secrets, table, schema: &schema, unknown: 0 };
    let file = file::File::read(&tree, &mut reader);
    if syntax == tree::Syntax::Broken {
        // Rules over what the parser could only guess would send the operator looking in the wrong place.
        return Err(Findings(report.finish()));
    }
    let (config, places) = resolve::resolve(file, &mut report);
    match report.has_errors() {
        true => Err(Findings(report.finish())),
        false => Ok(Loaded { config, warnings: report.finish(), places }),
    }
}

/// A network as the configuration has it, from elsewhere.
///
/// # Errors
/// What is wrong, and the way out.
pub fn network(text: &str) -> Result<ipnet::IpNet, String> {
    value::Value::parse(text).map_err(value::Wrong::into_line)
}

/// `network` as an operator writes it: without the length where it is an address alone.
pub fn written(network: &ipnet::IpNet) -> String {
    match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    }
}

/// A duration as the configuration has it, from elsewhere.
///
/// # Errors
/// What is wrong, and the way out.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    value::Value::parse(text).map_err(value::Wrong::into_line)
}

/// Every key there is, with its table before a dot: `limits.header_block`, `site.route.path`, `upstream.NAME.hold`.
pub fn schema_keys() -> Vec<String> {
    let mut keys = Vec::new();
    <file::File as read::FromNode>::keys("", &mut keys);
    keys
}
