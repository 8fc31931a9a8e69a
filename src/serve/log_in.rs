//! Who has to log in before anything is passed on, and does. What it takes is in [`crate::login`].

use std::time::{Duration, Instant};

use http::HeaderMap;

use super::{
    core::{Core, Present},
    finish::Finish,
    head::Login,
    judge::Plan,
    limit::Counted,
    refusal::{Reason, Refusal},
    snapshot::RouteRef,
};
use crate::{
    config::model::BasicAuth,
    limits::Kind,
    login::{Answer, Shown},
};

/// What became of a login, by the place in [`RESULTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    Ok,
    Remembered,
    Missing,
    Wrong,
    Locked,
    Busy,
}

/// For the metrics.
pub const RESULTS: [&str; 6] = ["ok", "remembered", "missing", "wrong", "locked", "busy"];

impl Refusal {
    pub fn to_log_in(reason: Reason, auth: &BasicAuth) -> Refusal {
        Refusal { authenticate: Some(Box::new(auth.challenge.clone())), ..reason.into() }
    }
}

/// What can be said at once. Who was right from an address stays known there while others guess from it.
pub fn look(
    core: &Core,
    present: &Present,
    route: RouteRef,
    finish: &mut Finish,
    (auth, headers): (&BasicAuth, &HeaderMap),
    now: Instant,
) -> Result<Login, Refusal> {
    let address = finish.address();
    match core.shared.logins.look(auth, headers, address, now) {
        Shown::Nothing => {
            if !finish.is_look() {
                count(core, Became::Missing);
            }
            Err(Refusal::to_log_in(Reason::LoginRequired, auth))
        }
        Shown::Known(user) => {
            count(core, Became::Remembered);
            finish.user(&user.name);
            Ok(Login::As(user))
        }
        Shown::Question(question) => {
            let client = Counted::new(present, route, address).client;
            match core.shared.limits.locked(client, Kind::Login, now) {
                None => Ok(Login::Ask(question)),
                Some(wait) => {
                    count(core, Became::Locked);
                    Err(Refusal::locked_out(wait, address))
                }
            }
        }
    }
}

/// Waits for the answer to the plan's question, if it has one.
pub async fn answer(core: &Core, plan: &mut Plan, finish: &mut Finish) -> Result<(), Refusal> {
    let Some(question) = plan.question.take() else { return Ok(()) };
    let Some(auth) = plan.policy().basic_auth.clone() else { return Err(Reason::Internal.into()) };
    let now = finish.started().into_std();
    match core.shared.logins.answer(*question, plan.client, now).await {
        Answer::Right(user) => {
            count(core, Became::Ok);
            let counted = Counted::new(&plan.snapshot, plan.route, plan.client);
            core.shared.limits.success(counted.client, Kind::Login);
            finish.user(&user.name);
            plan.user = Some(user);
        }
        Answer::Wrong => {
            count(core, Became::Wrong);
            Counted::new(&plan.snapshot, plan.route, plan.client).failed(core, plan.client, Kind::Login);
            return Err(Refusal::to_log_in(Reason::LoginFailed, &auth));
        }
        Answer::Busy => {
            count(core, Became::Busy);
            return Err(Refusal { retry_after: Some(Duration::from_secs(1)), ..Reason::LoginBusy.into() });
        }
    }
    plan.decide_now().map(drop)
}

fn count(core: &Core, became: Became) {
    core.counters.logins[became as usize].add(1);
}
