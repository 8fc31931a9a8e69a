//! A certificate: its key, its request, what came of it, and when it is to be renewed.

use tracing::{debug, warn};

use super::{
    super::{Driver, chain, names, news},
    Failure,
};
use crate::acme::{
    certificate::{self, Held, ca_time},
    model::{DirectoryUrl, Identifier, KeyRef, Nudge},
    state::Event,
    store::{About, Certificate, KeyPurpose},
};

impl Driver {
    pub(in super::super) fn save_certificate_key(
        &mut self,
        index: usize,
        directory: DirectoryUrl,
    ) -> Result<(), Failure> {
        let set = self.sets[index].id.clone();
        let distrusted = self.records.sets.get(&set).is_some_and(|record| record.key_distrusted);
        let old = if self.settings.reuse_key && !distrusted { self.store.certificate(&set)? } else { None };
        let kind = self.settings.key_type;
        let pem = match old.filter(|old| certificate::is_of(&old.key_pem, kind)) {
            Some(old) => old.key_pem,
            None => certificate::new_key(self.settings.key_type)?,
        };
        let key = self.store.save_key(&KeyPurpose::Certificate(set.clone()), &pem)?;
        self.apply(&Event::CertificateKeySaved { set, directory, key });
        Ok(())
    }

    pub(super) async fn finalize(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
        key: &KeyRef,
    ) -> Result<(), Failure> {
        let request = certificate::request(&self.store.key(key)?, &self.sets[index].wanted.identifiers)?;
        let mut order = self.order(index, directory, url).await?;
        let at = self.clock.now(&self.records);
        let known = self.sets[index].facts.orders.get(directory).map(|view| view.authorizations.clone());
        let view = order.finalize(&request, at, &known.unwrap_or_default()).await?;
        self.see(index, directory, order, view);
        Ok(())
    }

    pub(super) async fn download(
        &mut self,
        index: usize,
        directory: &DirectoryUrl,
        url: &str,
        key: &KeyRef,
    ) -> Result<(), Failure> {
        let mut order = self.order(index, directory, url).await?;
        let chain_pem = order.certificate().await?;
        let key_pem = self.store.key(key)?;
        let held = Held::parse(&chain_pem, &key_pem, Some(directory))?;
        let set = &self.sets[index];
        held.covers(&set.wanted.identifiers)?;
        let about = About {
            set: set.id.clone(),
            identifiers: held.have.identifiers.clone(),
            directory: Some(directory.clone()),
            imported_from: None,
        };
        self.store.install(&Certificate { about, chain_pem, key_pem })?;
        let at = self.clock.now(&self.records);
        self.apply(&Event::Issued { at, set: set.id.clone(), directory: directory.clone() });
        // What clients are shown is what the records say; a crash before this only fetches the chain once more.
        if !self.save() {
            warn!(names = names(&self.sets[index].wanted.identifiers), "issued, and not yet in the records");
        }
        let set = &mut self.sets[index];
        set.forget_order(directory);
        set.answers.clear();
        self.install_issued(index, held, directory);
        // Its certificate has a copy of its own.
        if !self.records_use(key)
            && let Err(error) = self.store.remove_key(key)
        {
            warn!(error = chain(&error), "the key of a finished order is left over");
        }
        Ok(())
    }

    /// A crash between the save of a key and that of the records leaves a key that nobody will ask for.
    pub(in super::super) fn remove_orphans(&mut self) {
        // The ledger that was lost may be found again, and it names them.
        if self.records.lost.is_some() {
            return;
        }
        let keys = self.store.order_keys().unwrap_or_else(|error| {
            warn!(error = chain(&error), "keys that are left over not looked for");
            Vec::new()
        });
        for key in keys.iter().filter(|key| !self.records_use(key)) {
            match self.store.remove_key(key) {
                Ok(()) => debug!(key = key.0, "a key that no order has is removed"),
                Err(error) => warn!(key = key.0, error = chain(&error), "a key that no order has is left over"),
            }
        }
    }

    fn records_use(&self, key: &KeyRef) -> bool {
        let of_orders = self.records.sets.values().flat_map(|set| set.orders.values());
        let mut of_accounts = self.records.directories.values().filter_map(|d| d.account.key.as_ref());
        of_orders.filter_map(|order| order.key.as_ref()).any(|used| used == key) || of_accounts.any(|used| used == key)
    }

    pub(super) async fn poll_ari(&mut self, index: usize, directory: &DirectoryUrl, id: String) -> Result<(), Failure> {
        let told = self.link(directory).await?.authority.renewal_info(&id).await;
        let at = self.clock.now(&self.records);
        let set = self.sets[index].id.clone();
        let event = match told {
            Ok(told) => {
                if let Some(page) = &told.explanation_url {
                    warn!(
                        names = names(&self.sets[index].wanted.identifiers),
                        page, "the CA explains its renewal window"
                    );
                }
                Event::AriSeen {
                    at,
                    set,
                    id,
                    window: (ca_time(told.start), ca_time(told.end)),
                    retry_after: told.retry_after,
                    explanation_url: told.explanation_url,
                    random: self.random(),
                }
            }
            Err(error) => {
                debug!(error = chain(&error), "no renewal information");
                let retry_after = error.refused().and_then(|refused| refused.seen.retry_after);
                Event::AriFailed { at, set, id, retry_after }
            }
        };
        self.apply(&event);
        Ok(())
    }

    /// Revokes what is installed for `identifier`, and has it replaced.
    pub(in super::super) async fn revoke(&mut self, identifier: &Identifier) -> Result<(), String> {
        let found = self.sets.iter().position(|set| set.wanted.identifiers.contains(identifier));
        let index = found.ok_or_else(|| format!("no certificate is configured for {identifier}"))?;
        let stored = self.store.certificate(&self.sets[index].id).map_err(|error| chain(&error))?;
        let stored = stored.ok_or_else(|| format!("there is no certificate for {identifier}"))?;
        let directory = stored.about.directory.clone().ok_or("it is not known who issued this certificate")?;
        let held = Held::parse(&stored.chain_pem, &stored.key_pem, Some(&directory)).map_err(|error| chain(&error))?;
        self.session(&directory).await.map_err(|failure| chain(&failure))?;
        // Before the CA does it: a crash in between must not bring the key back.
        let set = self.sets[index].id.clone();
        if !self.write_ahead(&Event::KeyDistrusted { set: set.clone() }) {
            return Err(self.unkept.clone().unwrap_or_else(|| "this could not be written down".to_owned()));
        }
        let orders = self.records.sets.get(&set).into_iter().flat_map(|set| set.orders.values());
        let with_it: Vec<KeyRef> = orders.filter_map(|order| order.key.clone()).collect();
        for key in with_it {
            if self.store.key(&key).is_ok_and(|pem| pem == stored.key_pem) {
                self.apply(&Event::KeyLost { key });
            }
        }
        let session = self.session(&directory).await.map_err(|failure| chain(&failure))?;
        session.revoke(&held.key.cert[0]).await.map_err(|error| chain(&error))?;
        warn!(name = identifier.0, "certificate revoked");
        self.sets[index].nudge(Nudge::Manual);
        Ok(())
    }

    /// Installs what is kept for this set, if that is usable.
    pub(in super::super) fn install_stored(&mut self, index: usize) {
        let stored = match self.store.certificate(&self.sets[index].id) {
            Ok(Some(stored)) => stored,
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return warn!(
                    names = names(&self.sets[index].wanted.identifiers),
                    error, "stored certificate not read"
                );
            }
        };
        match Held::parse(&stored.chain_pem, &stored.key_pem, stored.about.directory.as_ref()) {
            Ok(held) => self.install(index, held),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(names = names(&self.sets[index].wanted.identifiers), error, "stored certificate not usable");
            }
        }
    }

    /// Tells once it is in use: a command may want to look.
    pub(in super::super) fn install_issued(&mut self, index: usize, held: Held, directory: &DirectoryUrl) {
        let set = &self.sets[index];
        let at = self.clock.now(&self.records);
        let news = news::issued(set.have.is_some(), &set.wanted.identifiers, at, &directory.0, &held.have);
        self.install(index, held);
        self.around.board.happened(news.event);
        self.teller.tell(&news);
    }

    fn install(&mut self, index: usize, held: Held) {
        for host in self.sets[index].hosts() {
            self.around.certs.install(&host, held.key.clone());
        }
        self.sets[index].have = Some(held.have);
    }
}
