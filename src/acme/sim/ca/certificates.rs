//! Certificates, their revocation and when they are to be renewed.

use super::{Answer, Ca, Certificate, problem};
use crate::acme::model::{CaTime, OrderStatus};

impl Ca {
    pub fn download(&mut self, now: u64, url: &str) -> Result<Certificate, Answer> {
        let at = self.find(url)?;
        self.settle(now, at);
        assert_eq!(self.orders[at].status, OrderStatus::Valid, "downloaded only when there is something");
        self.orders[at].downloaded = true;
        let id = format!("ari-{url}");
        if let Some(before) = self.certificates.get(&id) {
            return Ok(before.clone());
        }
        let issued = self.orders[at].done.expect("a valid order was finalized").0;
        let start = issued.saturating_sub(3600);
        let share = if self.life < 10 * 86_400 { self.life / 2 } else { self.life / 3 * 2 };
        let window = (start + share, start + share + self.life / 50);
        let certificate = Certificate {
            not_before: CaTime(start),
            not_after: CaTime(start + self.life),
            ari_id: id.clone(),
            revoked: false,
            window,
        };
        self.certificates.insert(id, certificate.clone());
        Ok(certificate)
    }

    /// One certificate is revoked, by its order: its window is over.
    pub fn revoke(&mut self, now: u64, order: &str) -> Result<(), Answer> {
        let gone = || Answer::Problem(problem("malformed", "no such certificate", 404), None);
        let certificate = self.certificates.get_mut(&format!("ari-{order}")).ok_or_else(gone)?;
        if std::mem::replace(&mut certificate.revoked, true) {
            return Err(Answer::Problem(problem("alreadyRevoked", "revoked before", 400), None));
        }
        certificate.window = (now.saturating_sub(7200), now.saturating_sub(3600));
        Ok(())
    }

    /// The newest certificate is revoked: its window is over.
    pub fn revoke_last(&mut self, now: u64) {
        if let Some(certificate) = self.certificates.values_mut().max_by_key(|c| c.not_before) {
            certificate.revoked = true;
            certificate.window = (now.saturating_sub(7200), now.saturating_sub(3600));
        }
    }

    pub fn renewal_info(&self, id: &str) -> Option<(CaTime, CaTime)> {
        self.certificates.get(id).map(|c| (CaTime(c.window.0), CaTime(c.window.1)))
    }

    /// Certificates made and never fetched.
    pub fn never_downloaded(&self) -> usize {
        self.orders.iter().filter(|o| o.status == OrderStatus::Valid && !o.downloaded).count()
    }
}
