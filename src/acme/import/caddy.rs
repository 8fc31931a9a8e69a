//! Caddy's storage: `certificates/CA/NAME/NAME.{crt,key,json}` and `acme/CA/users/USER/NAME.{json,key}`.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Account, FindError, Found, Pair, entries, keys};
use crate::acme::model::DirectoryUrl;

/// Where the packages put it.
pub const DIRECTORY: &str = "/var/lib/caddy/.local/share/caddy";

/// Reads everything below `root`. `known` are the CAs whose accounts are of interest beside Let's Encrypt's.
///
/// # Errors
/// When the directory itself cannot be read; a certificate that cannot is one that is left.
pub fn find(root: &Path, known: &[DirectoryUrl]) -> Result<Found, FindError> {
    fs::read_dir(root).map_err(|source| FindError::Read { path: root.into(), source })?;
    let mut found = Found { client: "caddy", ..Found::default() };
    // The folder of a CA is its URL without slashes, from which the URL cannot be told: certificates name it, and of the
    // CAs that are known here it is what Caddy makes of their URLs.
    let lets_encrypt = ["acme-v02", "acme-staging-v02"];
    let lets_encrypt = lets_encrypt.map(|ca| DirectoryUrl(format!("https://{ca}.api.letsencrypt.org/directory")));
    let known = known.iter().cloned().chain(lets_encrypt);
    let mut urls: Vec<(String, DirectoryUrl)> = known.map(|url| (folder_of(&url), url)).collect();
    for ca in entries(&root.join("certificates"))? {
        let folder = name(&ca);
        for site in entries(&ca)? {
            let file = |extension: &str| site.join(format!("{}.{extension}", name(&site)));
            let about = json(&file("json"));
            let url = about.as_ref().and_then(|about| about["issuer_data"]["ca"].as_str().map(DirectoryUrl::from));
            if let Some(url) = &url {
                urls.push((folder.clone(), url.clone()));
            }
            // Without one it is of Caddy's own CA.
            let url = url.or_else(|| url_of(&urls, &folder));
            match Pair::read(&file("crt"), &file("key"), url) {
                Ok(pair) if pair.directory.is_some() => {
                    let account = about.and_then(|about| Some(about["issuer_data"]["account"].as_str()?.to_owned()));
                    found.certificates.push(Pair { account, ..pair });
                }
                Ok(pair) => found.left.push(format!("{}: not of an ACME CA", pair.path.display())),
                Err(why) => found.left.push(why),
            }
        }
    }
    for ca in entries(&root.join("acme"))? {
        let folder = name(&ca);
        for user in entries(&ca.join("users"))? {
            for path in entries(&user)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "json")) {
                let location = json(&path).and_then(|about| Some(about["location"].as_str()?.to_owned()));
                let key = fs::read_to_string(path.with_extension("key")).ok();
                match (location, key.as_deref().and_then(keys::pkcs8), url_of(&urls, &folder)) {
                    (Some(url), Some(key_pem), Some(directory)) => {
                        found.accounts.push(Account { directory, url, key_pem });
                    }
                    (Some(_), None, _) => {
                        found.left.push(format!("account {}: its key cannot be read", path.display()))
                    }
                    (Some(_), _, None) => {
                        found.left.push(format!("account {}: which CA it is of is not known", path.display()))
                    }
                    (None, ..) => found.left.push(format!("account {}: it was never registered", path.display())),
                }
            }
        }
    }
    Ok(found)
}

/// `ca.example.com-8443-acme-directory` for `https://ca.example.com:8443/acme/directory`.
fn folder_of(url: &DirectoryUrl) -> String {
    let url = url.0.strip_prefix("https://").unwrap_or(&url.0).trim_end_matches('/');
    let url = url.split(['?', '#']).next().unwrap_or(url).to_lowercase().replace([':', '/'], "-");
    url.chars().filter(|c| c.is_alphanumeric() || "_@.-".contains(*c)).collect()
}

fn url_of(urls: &[(String, DirectoryUrl)], folder: &str) -> Option<DirectoryUrl> {
    urls.iter().find(|(of, _)| of == folder).map(|(_, url)| url.clone())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
