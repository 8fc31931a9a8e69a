//! Which route a request takes.

use std::collections::HashMap;

use crate::{
    config::model::{Hostname, PathMatch, Site},
    route::path::{Rewrite, normalise_configured},
};

/// Up to this many routes are compared one after the other: a handful of short `memcmp`s is cheaper than one hash.
const LINEAR: usize = 12;

/// A site's routes, compiled. First match wins, in the site's order.
#[derive(Debug)]
pub struct Table {
    rules: Box<[Rule]>,
    /// Only for long tables: where each exact path is, and which rules are prefixes, both in rule order.
    index: Option<Index>,
    rewrites: Box<[Option<Rewrite>]>,
}

#[derive(Debug)]
struct Rule {
    /// Empty is every host of the site.
    hosts: Box<[Hostname]>,
    path: Path,
}

#[derive(Debug)]
enum Path {
    Exact(Box<str>),
    Prefix(Box<str>),
}

#[derive(Debug)]
struct Index {
    exact: HashMap<Box<str>, Vec<usize>>,
    prefixes: Box<[usize]>,
}

impl Table {
    pub fn new(site: &Site) -> Table {
        let rules: Box<[Rule]> = site
            .routes
            .iter()
            .map(|route| Rule {
                hosts: route.hosts.as_slice().into(),
                path: match &route.matches {
                    PathMatch::Exact(path) => Path::Exact(normalise_configured(path)),
                    PathMatch::Prefix(path) => Path::Prefix(normalise_configured(path)),
                },
            })
            .collect();
        let rewrites = site.routes.iter().map(|route| route.rewrite.as_deref().map(Rewrite::new)).collect();
        let index = (rules.len() > LINEAR).then(|| Index::new(&rules));
        Table { rules, index, rewrites }
    }

    /// The index in `Site::routes` of the first route for `host` (lower case, without port, brackets and trailing dot)
    /// and `path` (normalised); `None` is the site's own upstream and policy.
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        match &self.index {
            None => self.rules.iter().position(|rule| rule.path.matches(path) && rule.is_for(host)),
            Some(index) => index.find(&self.rules, host, path),
        }
    }

    /// How the path of a request on this route changes; `None` is not at all.
    pub fn rewrite(&self, route: usize) -> Option<&Rewrite> {
        self.rewrites.get(route)?.as_ref()
    }
}

impl Rule {
    fn is_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|own| own.matches(host))
    }
}

impl Path {
    fn matches(&self, path: &str) -> bool {
        match self {
            Path::Exact(own) => **own == *path,
            Path::Prefix(own) => is_within(own, path),
        }
    }
}

/// `/api` holds `/api` and `/api/x` but not `/apiary`; `/api/` holds what begins with it.
fn is_within(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

impl Index {
    fn new(rules: &[Rule]) -> Index {
        let mut exact: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut prefixes = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            match &rule.path {
                Path::Exact(path) => exact.entry(path.clone()).or_default().push(at),
                Path::Prefix(_) => prefixes.push(at),
            }
        }
        Index { exact, prefixes: prefixes.into() }
    }

    fn find(&self, rules: &[Rule], host: &str, path: &str) -> Option<usize> {
        let exact = self.exact.get(path).and_then(|at| at.iter().copied().find(|at| rules[*at].is_for(host)));
        let earlier = self.prefixes.iter().copied().take_while(|at| exact.is_none_or(|exact| *at < exact));
        earlier.into_iter().find(|at| rules[*at].path.matches(path) && rules[*at].is_for(host)).or(exact)
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
