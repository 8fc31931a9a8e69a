//! A CA, and the account with it.

use tracing::info;

use super::{
    super::{Driver, Link},
    Failure,
};
use crate::acme::{
    account::AccountKey,
    authority::Authority,
    certificate::ca_time,
    model::{DirectoryFacts, DirectoryUrl, KeyRef},
    order::Session,
    state::Event,
    store::KeyPurpose,
    wire::{Roots, Wire},
};

impl Driver {
    pub(super) async fn read_directory(&mut self, directory: &DirectoryUrl) -> Result<(), Failure> {
        let access = self.settings.access.get(directory);
        let roots = access.map_or(Roots::Public, |access| access.roots.clone());
        let authority = Authority::open(Wire::try_new(&self.around.outside, &roots)?, &directory.0).await?;
        // RFC 9110 §6.6.1: an origin with a clock sends a Date. One without leaves us our own.
        let date = ca_time(authority.date.unwrap_or_else(|| self.around.outside.wall()));
        let wall = ca_time(self.around.outside.wall());
        let ahead = if wall > date { wall.since(date).cast_signed() } else { -date.since(wall).cast_signed() };
        self.clock.set(date);
        self.apply(&Event::DirectoryRead { directory: directory.clone(), date });
        let facts = DirectoryFacts {
            read_at: self.clock.now(&self.records),
            profiles: authority.directory.meta.profiles.keys().cloned().collect(),
            ari: authority.has_renewal_info(),
            eab_required: authority.directory.meta.external_account_required,
        };
        for set in &mut self.sets {
            set.facts.directories.insert(directory.clone(), facts.clone());
        }
        self.links.insert(directory.clone(), Link { authority, session: None, ahead });
        Ok(())
    }

    pub(super) fn save_account_key(&mut self, directory: DirectoryUrl) -> Result<(), Failure> {
        let key = AccountKey::generate()?;
        let key = self.store.save_key(&KeyPurpose::Account(directory.clone()), &key.pem())?;
        self.apply(&Event::AccountKeySaved { directory, key });
        Ok(())
    }

    pub(super) async fn register(&mut self, directory: DirectoryUrl, key: &KeyRef) -> Result<(), Failure> {
        let key = self.account_key(key)?;
        let external = self.settings.access.get(&directory).and_then(|access| access.external.clone());
        let email = self.settings.email.clone();
        let authority = &self.link(&directory).await?.authority;
        let url = authority.register(&key, email.as_deref(), external.as_ref()).await?;
        info!(ca = directory.0, account = url, "registered with the CA");
        self.apply(&Event::Registered { directory, url });
        Ok(())
    }

    /// One that is lost is the end of that account for us, and the plan makes another ([`Event::KeyLost`]).
    fn account_key(&self, key: &KeyRef) -> Result<AccountKey, Failure> {
        Ok(AccountKey::from_pem(&self.store.key(key)?)?)
    }

    pub(super) async fn session(&mut self, directory: &DirectoryUrl) -> Result<&Session, Failure> {
        let account = self.records.directories.get(directory).map(|record| record.account.clone()).unwrap_or_default();
        let (Some(key), Some(url)) = (account.key, account.url) else {
            return Err(Failure::NoAccount(directory.clone()));
        };
        let key = self.account_key(&key)?;
        let link = self.link(directory).await?;
        if link.session.as_ref().is_none_or(|(of, _)| *of != url) {
            let session = link.authority.account(&key, &url).await?;
            link.session = Some((url, session));
        }
        let (_, session) = link.session.as_ref().expect("it was made above");
        Ok(session)
    }

    pub(super) async fn link(&mut self, directory: &DirectoryUrl) -> Result<&mut Link, Failure> {
        if !self.links.contains_key(directory) {
            self.read_directory(directory).await?;
        }
        Ok(self.links.get_mut(directory).expect("it was put there, or reading it failed"))
    }
}
