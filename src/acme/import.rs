//! Taking over from another client: account, certificates and keys, so that switching costs no order and no downtime.
//!
//! [`caddy`] and [`certbot`] read what lies there, [`Import::plan`] says what would be done with it, [`Import::apply`]
//! does it. Nothing of the other client's is changed, and nothing that is here already is replaced by something worse.

pub mod caddy;
pub mod certbot;
mod keys;

use std::{io, path::PathBuf};

use super::{
    certificate::Held,
    model::{DirectoryUrl, Identifier, Records, Wanted},
    state::{self, Event},
    store::{About, Certificate, KeyPurpose, Store, StoreError},
};

/// What the other client has.
#[derive(Default)]
pub struct Found {
    pub client: &'static str,
    pub accounts: Vec<Account>,
    pub certificates: Vec<Pair>,
    /// What was there and cannot be taken over, and what that means.
    pub left: Vec<String>,
}

/// An account and its key.
pub struct Account {
    pub directory: DirectoryUrl,
    /// At the CA.
    pub url: String,
    /// PKCS#8, PEM.
    key_pem: String,
}

/// A certificate and its key.
pub struct Pair {
    /// Where it was found.
    pub path: PathBuf,
    pub directory: Option<DirectoryUrl>,
    /// The URL of the account that asked for it, where that is known.
    account: Option<String>,
    held: Held,
    chain_pem: String,
    key_pem: String,
}

/// Why nothing could be read at all.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error("cannot read {}{}", path.display(), if source.kind() == io::ErrorKind::PermissionDenied {
        "; run this as root"
    } else {
        "; name the directory if it is elsewhere"
    })]
    Read { path: PathBuf, source: io::Error },
}

/// What is to be done, decided.
pub struct Import<'f> {
    found: &'f Found,
    accounts: Vec<&'f Account>,
    certificates: Vec<(&'f Wanted, &'f Pair)>,
    /// Names whose tries count as spent: the other client may just have spent them.
    spent: Vec<(DirectoryUrl, Vec<Identifier>)>,
    lines: Vec<String>,
}

impl<'f> Import<'f> {
    /// What would be done for the certificates this configuration wants.
    ///
    /// # Errors
    /// When what is here already cannot be read.
    pub fn plan(found: &'f Found, wanted: &'f [Wanted], store: &dyn Store) -> Result<Import<'f>, StoreError> {
        let records = store.load()?;
        let mut import = Import { found, accounts: vec![], certificates: vec![], spent: vec![], lines: vec![] };
        for account in &found.accounts {
            import.account(account, wanted, &records);
        }
        for wanted in wanted {
            import.certificate(wanted, store)?;
        }
        for pair in &found.certificates {
            if !import.certificates.iter().any(|(_, used)| std::ptr::eq(*used, pair)) {
                let names: Vec<&str> = pair.held.have.identifiers.iter().map(|name| name.0.as_str()).collect();
                let path = pair.path.display();
                import.lines.push(format!("leave    {} ({path}): not needed here", names.join(", ")));
            }
        }
        import.lines.extend(found.left.iter().map(|left| format!("leave    {left}")));
        let mut directories: Vec<&DirectoryUrl> = found.accounts.iter().map(|account| &account.directory).collect();
        directories.extend(found.certificates.iter().filter_map(|pair| pair.directory.as_ref()));
        directories.sort();
        directories.dedup();
        for directory in directories {
            let ours = wanted.iter().filter(|wanted| wanted.directories.iter().any(|d| d.url == *directory));
            let names: Vec<Identifier> = ours.flat_map(|wanted| wanted.identifiers.clone()).collect();
            if !names.is_empty() {
                let list: Vec<&str> = names.iter().map(|name| name.0.as_str()).collect();
                import.lines.push(format!("count    the tries of {} at {directory} as spent", list.join(", ")));
                import.spent.push((directory.clone(), names));
            }
        }
        Ok(import)
    }

    fn account(&mut self, account: &'f Account, wanted: &[Wanted], records: &Records) {
        let Account { directory, url, .. } = account;
        if !wanted.iter().any(|wanted| wanted.directories.iter().any(|d| d.url == *directory)) {
            self.lines.push(format!("leave    account {url}: {directory} is not in this configuration"));
            return;
        }
        let here = records.directories.get(directory).and_then(|record| record.account.url.as_ref());
        let chosen = self.accounts.iter().find(|other| other.directory == *directory);
        match (here, chosen) {
            (Some(here), _) if here == url => self.lines.push(format!("keep     account {url}: it is here already")),
            (Some(here), _) => self.lines.push(format!("leave    account {url}: {here} is used here already")),
            (None, Some(other)) => self.lines.push(format!("leave    account {url}: {} is taken", other.url)),
            (None, None) => {
                self.lines.push(format!("take     account {url} with its key"));
                self.accounts.push(account);
            }
        }
    }

    fn certificate(&mut self, wanted: &'f Wanted, store: &dyn Store) -> Result<(), StoreError> {
        let fits = |pair: &&Pair| pair.held.covers(&wanted.identifiers).is_ok();
        let best = self.found.certificates.iter().filter(fits).max_by_key(|pair| pair.held.have.not_after);
        let names: Vec<&str> = wanted.identifiers.iter().map(|name| name.0.as_str()).collect();
        let names = names.join(", ");
        let Some(pair) = best else {
            self.lines.push(format!("none     for {names}: it will be asked for"));
            return Ok(());
        };
        let here = store.certificate(&wanted.set())?;
        let here = here.and_then(|kept| Held::parse(&kept.chain_pem, &kept.key_pem, None).ok());
        let day = |held: &Held| super::show::day(held.have.not_after);
        match here {
            Some(here) if here.have.not_after >= pair.held.have.not_after => {
                self.lines.push(format!("keep     the certificate for {names}, valid until {}", day(&here)));
            }
            _ => {
                let (path, until) = (pair.path.display(), day(&pair.held));
                self.lines.push(format!("take     the certificate for {names}, valid until {until} ({path})"));
                self.certificates.push((wanted, pair));
            }
        }
        Ok(())
    }

    /// What would be done, a line each.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Does it. Stopped in the middle, it can be done again.
    ///
    /// # Errors
    /// When something cannot be stored; what was there before is still there.
    pub fn apply(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut records = store.load()?;
        // The tries first: a crash before the rest must not leave a full bucket.
        for (directory, identifiers) in &self.spent {
            let (directory, identifiers) = (directory.clone(), identifiers.clone());
            state::apply(&mut records, &Event::Imported { directory, account: None, identifiers });
        }
        store.save(&records)?;
        for account in &self.accounts {
            let directory = account.directory.clone();
            let key = store.save_key(&KeyPurpose::Account(directory.clone()), &account.key_pem)?;
            let account = Some((key, account.url.clone()));
            state::apply(&mut records, &Event::Imported { directory, account, identifiers: Vec::new() });
            store.save(&records)?;
        }
        for (wanted, pair) in &self.certificates {
            let about = About {
                set: wanted.set(),
                identifiers: pair.held.have.identifiers.clone(),
                directory: pair.directory.clone(),
                imported_from: Some(self.found.client.to_owned()),
            };
            let (chain_pem, key_pem) = (pair.chain_pem.clone(), pair.key_pem.clone());
            store.install(&Certificate { about, chain_pem, key_pem })?;
            if let Some(id) = pair.held.have.ari_id.clone().filter(|_| !self.is_ours(pair, &records)) {
                state::apply(&mut records, &Event::NotOurs { set: wanted.set(), id });
                store.save(&records)?;
            }
        }
        Ok(())
    }
}

impl Import<'_> {
    /// Whether the account that is used here has asked for this certificate.
    fn is_ours(&self, pair: &Pair, records: &Records) -> bool {
        let Some(directory) = &pair.directory else { return false };
        let Some(ours) = records.directories.get(directory).and_then(|record| record.account.url.as_ref()) else {
            return false;
        };
        match &pair.account {
            Some(account) => account == ours,
            // Older Caddys do not say; they have one account at a CA.
            None => self.found.accounts.iter().any(|a| a.directory == *directory && a.url == *ours),
        }
    }
}

impl Pair {
    fn read(chain: &std::path::Path, key: &std::path::Path, directory: Option<DirectoryUrl>) -> Result<Pair, String> {
        let say = |path: &std::path::Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain_pem = std::fs::read_to_string(chain).map_err(|error| say(chain, &error))?;
        let key_text = std::fs::read_to_string(key).map_err(|error| say(key, &error))?;
        let key_pem = keys::pkcs8(&key_text).ok_or_else(|| say(key, &"no private key that can be used"))?;
        let held = Held::parse(&chain_pem, &key_pem, directory.as_ref()).map_err(|error| say(chain, &error))?;
        Ok(Pair { path: chain.to_owned(), directory, account: None, held, chain_pem, key_pem })
    }
}

/// The entries of a directory, in order; none where it is missing.
fn entries(directory: &std::path::Path) -> Result<Vec<PathBuf>, FindError> {
    let failed = |source| FindError::Read { path: directory.into(), source };
    let mut paths = match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
