//! The driver's store under watch: in memory or in files, with a process that dies between two writes, and room that
//! runs out.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use super::{Sabotage, town::Town};
use crate::acme::{
    model::{KeyRef, Records, SetId},
    store::{Certificate, FileStore, KeyPurpose, Store, StoreError},
};

/// What is left when a process has ended.
#[derive(Clone)]
pub enum Disk {
    Memory(Memory),
    Files(PathBuf),
}

impl Disk {
    /// As the driver has it.
    pub fn open(&self, town: &Town) -> Result<Box<dyn Store>, StoreError> {
        let inner: Box<dyn Store> = match self {
            Disk::Memory(memory) => {
                let mut kept = memory.kept.lock().unwrap();
                kept.acknowledged = None;
                if memory.sabotage == Sabotage::ForgetsAll {
                    kept.records = None;
                }
                drop(kept);
                Box::new(memory.clone())
            }
            Disk::Files(path) => Box::new(FileStore::open(path)?),
        };
        Ok(Box::new(Watched { inner, town: town.clone() }))
    }

    /// As it would be found by the next process.
    pub fn look(&self) -> Box<dyn Store> {
        match self {
            Disk::Memory(memory) => Box::new(memory.clone()),
            Disk::Files(path) => Box::new(FileStore::look(path)),
        }
    }

    /// Somebody tidied up.
    pub fn lose_keys(&self, lost: impl Fn(&KeyPurpose) -> bool) {
        match self {
            Disk::Memory(memory) => memory.kept.lock().unwrap().keys.retain(|_, (purpose, _)| !lost(purpose)),
            Disk::Files(_) => panic!("no story needs it"),
        }
    }

    /// The ledger is damaged.
    pub fn damage(&self) {
        match self {
            Disk::Memory(memory) => memory.kept.lock().unwrap().damaged = true,
            Disk::Files(path) => {
                std::fs::write(path.join("acme/ledger.json"), "{\"schema\":").expect("a writable file")
            }
        }
    }
}

/// A store that keeps its promises without a file system.
#[derive(Clone, Default)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
    sabotage: Sabotage,
}

impl Memory {
    pub fn sabotaged(sabotage: Sabotage) -> Memory {
        Memory { sabotage, kept: Arc::default() }
    }
}

#[derive(Default)]
struct Kept {
    records: Option<Records>,
    /// Said to be saved, and not yet: only where the store is sabotaged.
    acknowledged: Option<Records>,
    damaged: bool,
    keys: BTreeMap<KeyRef, (KeyPurpose, String)>,
    made: u64,
    certificates: BTreeMap<SetId, Certificate>,
}

impl Store for Memory {
    fn load(&self) -> Result<Records, StoreError> {
        let kept = self.kept.lock().unwrap();
        if !kept.damaged {
            return Ok(kept.records.clone().unwrap_or_else(Records::first));
        }
        let mut lost = Records::lost("damaged");
        for (key, (purpose, _)) in &kept.keys {
            if let KeyPurpose::Account(directory) = purpose {
                lost.directories.entry(directory.clone()).or_default().account.key = Some(key.clone());
            }
        }
        Ok(lost)
    }

    fn save(&self, records: &Records) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap();
        kept.damaged = false;
        if self.sabotage == Sabotage::WritesBehind {
            let before = kept.acknowledged.replace(records.clone());
            kept.records = before.or_else(|| kept.records.take());
        } else {
            kept.records = Some(records.clone());
        }
        Ok(())
    }

    fn save_key(&self, purpose: &KeyPurpose, pem: &str) -> Result<KeyRef, StoreError> {
        let mut kept = self.kept.lock().unwrap();
        kept.made += 1;
        let key = KeyRef(format!("key-{:06}", kept.made));
        kept.keys.insert(key.clone(), (purpose.clone(), pem.to_owned()));
        Ok(key)
    }

    fn key(&self, key: &KeyRef) -> Result<String, StoreError> {
        let kept = self.kept.lock().unwrap();
        kept.keys.get(key).map(|(_, pem)| pem.clone()).ok_or_else(|| StoreError::NoKey(key.clone()))
    }

    fn remove_key(&self, key: &KeyRef) -> Result<(), StoreError> {
        self.kept.lock().unwrap().keys.remove(key);
        Ok(())
    }

    fn order_keys(&self) -> Result<Vec<KeyRef>, StoreError> {
        let kept = self.kept.lock().unwrap();
        let of_orders = kept.keys.iter().filter(|(_, (purpose, _))| matches!(purpose, KeyPurpose::Certificate(_)));
        Ok(of_orders.map(|(key, _)| key.clone()).collect())
    }

    fn install(&self, certificate: &Certificate) -> Result<(), StoreError> {
        let mut kept = self.kept.lock().unwrap();
        kept.certificates.insert(certificate.about.set.clone(), certificate.clone());
        Ok(())
    }

    fn certificate(&self, set: &SetId) -> Result<Option<Certificate>, StoreError> {
        Ok(self.kept.lock().unwrap().certificates.get(set).cloned())
    }
}

/// Each change has two moments to die in: before it, and after it.
struct Watched {
    inner: Box<dyn Store>,
    town: Town,
}

impl Watched {
    fn change<T>(&self, what: &str, change: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        // What a dead process does with this is not seen by anybody.
        let gone = || Err(StoreError::Write { path: what.into(), source: io::Error::other("the process is dead") });
        if self.town.dies(&format!("before {what}"), 1) {
            return gone();
        }
        if self.town.full() {
            let source = io::Error::from(io::ErrorKind::StorageFull);
            return Err(StoreError::Full { path: what.into(), source });
        }
        let done = change();
        if self.town.dies(&format!("after {what}"), 1) { gone() } else { done }
    }
}

impl Store for Watched {
    fn load(&self) -> Result<Records, StoreError> {
        self.inner.load()
    }

    fn save(&self, records: &Records) -> Result<(), StoreError> {
        // An account that the CA has forgotten is its trouble indeed.
        let mut troubles = records.directories.values().filter_map(|directory| directory.trouble.as_ref());
        if self.town.is_on_trial() && troubles.any(|trouble| trouble.why != "accountDoesNotExist") {
            self.town.breaks("a full disk was taken for the CA's trouble");
        }
        self.change("save", || self.inner.save(records))
    }

    fn save_key(&self, purpose: &KeyPurpose, pem: &str) -> Result<KeyRef, StoreError> {
        self.change("save of a key", || self.inner.save_key(purpose, pem))
    }

    fn key(&self, key: &KeyRef) -> Result<String, StoreError> {
        self.inner.key(key)
    }

    fn remove_key(&self, key: &KeyRef) -> Result<(), StoreError> {
        self.change("removal of a key", || self.inner.remove_key(key))
    }

    fn order_keys(&self) -> Result<Vec<KeyRef>, StoreError> {
        self.inner.order_keys()
    }

    fn install(&self, certificate: &Certificate) -> Result<(), StoreError> {
        self.change("install", || self.inner.install(certificate))
    }

    fn certificate(&self, set: &SetId) -> Result<Option<Certificate>, StoreError> {
        self.inner.certificate(set)
    }
}
