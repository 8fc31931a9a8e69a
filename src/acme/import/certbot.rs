//! certbot's directory: `live/NAME/{fullchain,privkey}.pem`, `renewal/NAME.conf`, `accounts/SERVER/.../private_key.json`.

use std::{fs, path::Path};

use super::{FindError, Found, Pair, entries};
use crate::acme::model::DirectoryUrl;

/// Where certbot keeps everything.
pub const DIRECTORY: &str = "/etc/letsencrypt";

/// Reads everything below `root`. Accounts stay: their keys are RSA, as JSON, and ours are P-256.
///
/// # Errors
/// When the directory itself cannot be read; a certificate that cannot is one that is left.
pub fn find(root: &Path) -> Result<Found, FindError> {
    fs::read_dir(root).map_err(|source| FindError::Read { path: root.into(), source })?;
    let mut found = Found { client: "certbot", ..Found::default() };
    for live in entries(&root.join("live"))?.into_iter().filter(|path| path.is_dir()) {
        let name = live.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let directory = server(&root.join("renewal").join(format!("{name}.conf")));
        match Pair::read(&live.join("fullchain.pem"), &live.join("privkey.pem"), directory) {
            Ok(pair) => found.certificates.push(pair),
            Err(why) => found.left.push(why),
        }
    }
    for account in entries(&root.join("accounts"))? {
        let server = account.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.left.push(format!(
            "account at {server}: its key is not P-256, so a new account is registered, and the first renewals count \
             against the CA's limits like new certificates"
        ));
    }
    Ok(found)
}

/// `server = URL` of a renewal configuration.
fn server(path: &Path) -> Option<DirectoryUrl> {
    let text = fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| key.trim() == "server");
    values.map(|(_, url)| DirectoryUrl(url.trim().to_owned())).next()
}
