//! A CA as it presents itself: its directory, and when it would like certificates renewed.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{
    account::AccountKey,
    order::{Session, StepError},
    wire::Wire,
};

/// A CA's directory (RFC 8555 §7.1.1).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directory {
    pub(super) new_nonce: String,
    pub(super) new_account: String,
    #[serde(default)]
    pub(super) renewal_info: Option<String>,
    #[serde(default)]
    pub meta: Meta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Name -> description.
    #[serde(default)]
    pub profiles: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub external_account_required: bool,
    #[serde(default)]
    pub terms_of_service: Option<String>,
    /// Domains that CAA records name this CA by (RFC 8555 §7.1.1).
    #[serde(default)]
    pub caa_identities: Vec<String>,
}

/// A CA whose directory has been read.
#[derive(Clone)]
pub struct Authority {
    pub(super) wire: Wire,
    url: String,
    pub directory: Directory,
    /// The CA's clock when it answered.
    pub date: Option<SystemTime>,
}

impl Authority {
    /// Reads the directory at `url`.
    ///
    /// # Errors
    /// Where that is not reachable or no directory.
    pub async fn open(wire: Wire, url: &str) -> Result<Authority, StepError> {
        let answer = wire.get(url).await?;
        let directory = serde_json::from_slice(&answer.body).map_err(StepError::Unreadable)?;
        wire.remember_directory(url, answer.body);
        Ok(Authority { wire, url: url.to_owned(), directory, date: answer.seen.date })
    }

    /// Works as the account that `register` gave the URL of. Asks the CA nothing: whether it still knows the account
    /// is seen at the first step.
    ///
    /// # Errors
    /// When the key is unusable.
    pub async fn account(&self, key: &AccountKey, account_url: &str) -> Result<Session, StepError> {
        let builder = instant_acme::Account::builder_with_http(Box::new(self.wire.clone()));
        let account = builder.from_parts(account_url.to_owned(), key.der(), self.url.clone()).await?;
        Ok(Session { account, wire: self.wire.clone() })
    }

    /// Whether the CA says when it would like certificates renewed (RFC 9773).
    pub fn has_renewal_info(&self) -> bool {
        self.directory.renewal_info.is_some()
    }

    /// When the CA would like this certificate renewed (RFC 9773 §4.1).
    ///
    /// # Errors
    /// [`StepError::Unsupported`] where the CA has no ARI.
    pub async fn renewal_info(&self, certificate_id: &str) -> Result<RenewalInfo, StepError> {
        let base = self.directory.renewal_info.as_deref().ok_or(StepError::Unsupported("renewal information (ARI)"))?;
        let answer = self.wire.get(&format!("{}/{certificate_id}", base.trim_end_matches('/'))).await?;
        let document: RenewalDocument = serde_json::from_slice(&answer.body).map_err(StepError::Unreadable)?;
        let incomplete = StepError::Incomplete { what: "a renewal window without two times" };
        let (Some(start), Some(end)) =
            (instant(&document.suggested_window.start), instant(&document.suggested_window.end))
        else {
            return Err(incomplete);
        };
        Ok(RenewalInfo {
            start,
            end,
            explanation_url: document.explanation_url,
            retry_after: answer.seen.retry_after,
            date: answer.seen.date,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalDocument {
    suggested_window: RenewalWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct RenewalWindow {
    start: String,
    end: String,
}

fn instant(text: &str) -> Option<SystemTime> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).ok().map(SystemTime::from)
}

/// The CA's wish for one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    pub start: SystemTime,
    pub end: SystemTime,
    /// Why, where it says so: the page of an incident.
    pub explanation_url: Option<String>,
    /// When to ask again, at the earliest.
    pub retry_after: Option<Duration>,
    pub date: Option<SystemTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_with_and_without_fractions() {
        let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(instant("2023-11-14T22:13:20Z"), Some(second));
        assert_eq!(instant("2023-11-14T23:13:20+01:00"), Some(second));
        assert_eq!(instant("2023-11-14T22:13:20.5Z"), Some(second + Duration::from_millis(500)));
        assert_eq!(instant("tomorrow"), None);
    }
}
