//! `clawgate import-caddy` and `import-certbot`.

use std::path::{Path, PathBuf};

use clawgate::{
    acme::{
        import::{self, caddy, certbot},
        model::DirectoryUrl,
        store::FileStore,
    },
    process::{certs, load},
};

use super::print;

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(super) struct Caddy {
    #[arg(value_name = "DIR", default_value = caddy::DIRECTORY)]
    pub(super) directory: PathBuf,
    #[arg(long)]
    pub(super) apply: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub(super) struct Certbot {
    #[arg(value_name = "DIR", default_value = certbot::DIRECTORY)]
    pub(super) directory: PathBuf,
    #[arg(long)]
    pub(super) apply: bool,
}

pub(super) fn from_caddy(path: &Path, args: &Caddy) -> anyhow::Result<u8> {
    import(path, |known| caddy::find(&args.directory, known), args.apply)
}

pub(super) fn from_certbot(path: &Path, args: &Certbot) -> anyhow::Result<u8> {
    import(path, |_| certbot::find(&args.directory), args.apply)
}

/// `find` is told the CAs of the configuration.
fn import(
    path: &Path,
    find: impl FnOnce(&[DirectoryUrl]) -> Result<import::Found, import::FindError>,
    apply: bool,
) -> anyhow::Result<u8> {
    let config = load::load_as_service(path)?.config;
    let wanted = certs::wanted(&config);
    let known = wanted.iter().flat_map(|wanted| &wanted.directories).map(|directory| directory.url.clone());
    let found = &find(&known.collect::<Vec<_>>())?;
    if !apply {
        let plan = import::Import::plan(found, &wanted, &FileStore::look(&config.state_dir))?;
        print(&lines(&plan))?;
        return print("nothing was changed; --apply does it\n");
    }
    let store = FileStore::open(&config.state_dir)?;
    let plan = import::Import::plan(found, &wanted, &store)?;
    print(&lines(&plan))?;
    plan.apply(&store)?;
    // Run as root, for a service that is not.
    store.give_to_owner_of(&config.state_dir)?;
    print("done\n")
}

fn lines(plan: &import::Import<'_>) -> String {
    plan.lines().iter().map(|line| format!("{line}\n")).collect()
}
