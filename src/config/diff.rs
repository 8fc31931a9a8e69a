//! What a reload cannot change.

use super::model::Config;

/// The keys whose new value waits for a restart, as they are written. Everything else, listeners included, is taken
/// over by a reload.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // Named field by field: a new key has to be put on one of the two sides here.
    let Config {
        state_dir,
        admin_socket,
        metrics,
        workers,
        sandbox,
        log,
        drain: _,
        trusted_proxies: _,
        own_origin_only: _,
        listeners: _,
        limits: _,
        sites: _,
        upstreams: _,
        acme: _,
        probe: _,
    } = old;
    [
        // Opened once, with the rights of the start.
        ("state_dir", *state_dir != new.state_dir),
        ("admin_socket", *admin_socket != new.admin_socket),
        ("metrics", *metrics != new.metrics),
        // A core is a thread with its own listeners and pools.
        ("workers", *workers != new.workers),
        // It is put on before there are threads, and comes off never.
        ("sandbox", *sandbox != new.sandbox),
        // The subscriber is global to the process.
        ("log.format", log.format != new.log.format),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}
