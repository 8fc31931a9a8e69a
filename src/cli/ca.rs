//! `clawgate ca`.

use std::path::Path;

use anyhow::Context as _;
use clawgate::process::load;

use super::write;

pub(super) fn run(path: &Path) -> anyhow::Result<u8> {
    let root = load::root_path(&load::state_dir(path)?);
    let pem = std::fs::read_to_string(&root).with_context(|| {
        format!(
            "cannot read {}; it is made when a site with certificate = \"internal\" is served first, and root and \
             clawgate's user may read it",
            root.display()
        )
    })?;
    write(&pem)
}
