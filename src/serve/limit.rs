//! Who asks too often is told so, and who guesses is locked out. What is counted is in [`crate::limits`].

use std::{net::IpAddr, time::Duration};

use super::{
    core::{Core, Present},
    refusal::{Reason, Refusal},
    snapshot::RouteRef,
};
use crate::{
    gateway::{answer, translate::Trouble},
    limits::{Ask, Asking, Kind, Over, Verdict},
    problems::Problem,
};

impl Refusal {
    /// Names the setting, for whoever runs this reads the page too and looks for what to raise.
    fn over(over: Over, asking: Asking) -> Refusal {
        let Asking { address, what, .. } = asking;
        let (asked, key) = match what {
            Ask::Request => ("requests", "requests"),
            Ask::Upgrade => ("WebSockets", "upgrades"),
        };
        let (wait, detail) = match over {
            Over::Client { wait } => (wait, format!("too many {asked} from {address} (limits.{key}_per_client)")),
            Over::Site { wait, .. } => (wait, format!("too many {asked} from all clients together (limits.{key})")),
            Over::Locked { wait, .. } => return Refusal::locked_out(wait, address),
        };
        Refusal { retry_after: Some(whole(wait)), ..Refusal::because(Reason::RateLimited, detail) }
    }

    pub(super) fn locked_out(wait: Duration, client: IpAddr) -> Refusal {
        let detail = format!(
            "{client} is locked out for {} s more; then with the right token or password, or at once after: systemctl restart \
             clawgate",
            whole(wait).as_secs()
        );
        Refusal { retry_after: Some(whole(wait)), ..Refusal::because(Reason::LockedOut, detail) }
    }
}

/// `Retry-After` counts whole seconds: who comes back then must not be early.
fn whole(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(Duration::from_secs(1))
}

/// Counts what is about to be forwarded; whether it is from a client that the site knows.
#[inline]
pub fn ask(
    core: &Core,
    present: &Present,
    route: RouteRef,
    asking: Asking,
    now: std::time::Instant,
) -> Result<bool, Refusal> {
    let (site, paces) = (&present.limits[route.site()], &present.config.sites[route.site()].paces);
    core.shared.limits.ask(site, paces, asking, now).map_err(|over| Refusal::over(over, asking))
}

/// Whether the gateway refused what a guesser would try. Who sends no token at all guesses nothing, and who is not paired
/// has the right one.
pub fn is_guess(refusal: &answer::Refusal) -> bool {
    let trouble = Trouble::of(crate::gateway::translate::Seen::Refused(refusal));
    matches!(trouble, Some(Trouble::CredentialWrong | Trouble::SignatureInvalid))
}

/// Where a tunnel's client is counted; names and not the configuration, which a tunnel may outlive.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub client: crate::limits::Client,
    pub pace: Option<crate::config::model::Pace>,
}

impl Counted {
    pub fn new(present: &Present, route: RouteRef, address: IpAddr) -> Counted {
        let paces = &present.config.sites[route.site()].paces;
        Counted { client: present.limits[route.site()].client(address, paces), pace: paces.auth_failures }
    }

    pub fn approved(&self, core: &Core) {
        core.shared.limits.approved(self.client);
        core.shared.limits.success(self.client, Kind::Gateway);
    }

    /// The gateway refused a guess of `address`.
    pub fn guessed(&self, core: &Core, address: IpAddr) {
        self.failed(core, address, Kind::Gateway);
    }

    /// `address` did not say who it is, to the gateway or to us.
    pub fn failed(&self, core: &Core, address: IpAddr, kind: Kind) {
        let Some(pace) = self.pace else { return };
        let verdict = core.shared.limits.failure(self.client, kind, pace, std::time::Instant::now());
        if let Verdict::LockedNow { left } = verdict {
            let seconds = left.as_secs();
            let cure = "give it the right token or password; to end it at once: `systemctl restart clawgate`";
            tracing::warn!(client = %address, seconds, cure, "too many wrong tokens or passwords: this client is locked out");
            core.shared.problems.note(Problem {
                code: "limits/locked-out",
                what: "it failed to log in too often and has to wait".into(),
                cure: cure.into(),
                about: address.to_string(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_never_early() {
        for (wait, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (300_000, 300)] {
            assert_eq!(whole(Duration::from_millis(wait)).as_secs(), seconds);
        }
    }

    #[test]
    fn a_refusal_names_the_setting_that_refused() {
        let asking = |what| Asking { address: [203, 0, 113, 9].into(), what, fenced: false, gateway: true };
        let wait = Duration::from_millis(1500);
        let detail = |over, what| Refusal::over(over, asking(what)).detail.expect("a reason").into_owned();
        let (one, all) = (Over::Client { wait }, Over::Site { wait, known: false });
        assert_eq!(detail(one, Ask::Request), "too many requests from 203.0.113.9 (limits.requests_per_client)");
        assert_eq!(detail(one, Ask::Upgrade), "too many WebSockets from 203.0.113.9 (limits.upgrades_per_client)");
        assert_eq!(detail(all, Ask::Request), "too many requests from all clients together (limits.requests)");
        assert_eq!(detail(all, Ask::Upgrade), "too many WebSockets from all clients together (limits.upgrades)");
        assert_eq!(Refusal::over(one, asking(Ask::Request)).retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn only_what_a_guesser_would_try_is_a_guess() {
        let refused = |detail: &str| answer::Refusal { detail: Some(detail.into()), ..answer::Refusal::default() };
        for detail in ["AUTH_TOKEN_MISMATCH", "AUTH_PASSWORD_MISMATCH", "DEVICE_AUTH_SIGNATURE_INVALID"] {
            assert!(is_guess(&refused(detail)), "{detail}");
        }
        for detail in ["AUTH_TOKEN_MISSING", "PAIRING_REQUIRED", "AUTH_RATE_LIMITED", "PROTOCOL_MISMATCH"] {
            assert!(!is_guess(&refused(detail)), "{detail}");
        }
    }
}
