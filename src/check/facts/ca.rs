//! The CAs of the configuration, by a GET of their directories: what they offer, and what time it is there.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    acme::{
        authority::{Authority, Meta},
        model::DirectoryUrl,
        outside::{Machine, Outside},
        settings::Settings,
        wire::{Roots, Wire},
    },
    cause,
    config::Config,
};

/// Connecting included; a CA that needs longer fails orders too.
const DEADLINE: Duration = Duration::from_secs(6);

/// A CA that is to be used.
#[derive(Debug)]
pub struct Ca {
    pub url: DirectoryUrl,
    pub answer: Result<Answer, String>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub meta: Meta,
    /// The CA's clock, and ours when it answered.
    pub date: Option<(SystemTime, SystemTime)>,
}

/// Asks each directory once. Nothing is registered, nothing is counted.
pub async fn look(config: &Config) -> Vec<Ca> {
    let settings = Settings::of(config);
    let mut urls: Vec<DirectoryUrl> = Vec::new();
    for wanted in &settings.wanted {
        for directory in &wanted.directories {
            if !urls.contains(&directory.url) {
                urls.push(directory.url.clone());
            }
        }
    }
    join_all(urls.into_iter().map(|url| {
        let roots = settings.access.get(&url).map_or(Roots::Public, |access| access.roots.clone());
        async move { Ca { answer: ask(&url, &roots).await, url } }
    }))
    .await
}

async fn ask(url: &DirectoryUrl, roots: &Roots) -> Result<Answer, String> {
    let outside: Arc<dyn Outside> = Arc::new(Machine);
    let wire = Wire::try_new(&outside, roots).map_err(|error| cause::chain(&error))?;
    match timeout(DEADLINE, Authority::open(wire, &url.0)).await {
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
        Ok(Err(error)) => Err(cause::chain(&error)),
        Ok(Ok(authority)) => {
            let date = authority.date.map(|date| (date, SystemTime::now()));
            Ok(Answer { meta: authority.directory.meta, date })
        }
    }
}
