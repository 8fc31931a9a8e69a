//! Whether the services of `forward_auth` do what a login is there for.

use super::super::{
    Code, Finding,
    facts::auth::{Answer, Service},
};

/// Nothing is said where no service is asked, unless that is what was asked for.
pub fn judge(services: &[Service], by_name: bool) -> Vec<Finding> {
    if services.is_empty() && by_name {
        return vec![Finding::good(
            Code::AuthNotNeeded,
            "",
            "no site asks a service before the gateway (forward_auth)",
        )];
    }
    services.iter().map(of).collect()
}

fn of(service: &Service) -> Finding {
    let Service { url, host, waited, answer } = service;
    let curl = format!("`curl -i '{url}'` shows it from here, and the log of the service why");
    let nothing_passes = format!("without its answer nothing passes at {host}");
    match answer {
        Answer::Status(status @ (300..=399 | 401 | 403 | 407)) => {
            Finding::good(Code::AuthAnswers, url, format!("{url} answers {status} to whoever has not logged in"))
        }
        Answer::Status(status @ 200..=299) => Finding::new(
            Code::AuthOpen,
            url,
            format!("{url} answers {status} for a client at {host} that shows nothing"),
            "whoever asks for / there passes without a login",
            "write a rule for this host in the service; it is told X-Forwarded-Host, -Uri, -Method, -Proto and -For",
        ),
        Answer::Status(status) => Finding::new(
            Code::AuthUnusable,
            url,
            format!("{url} answers {status}"),
            format!("that answer goes to each client of {host}, and nothing passes"),
            format!("compare the path of url in forward_auth with the service's documentation; {curl}"),
        ),
        Answer::Away(why) => Finding::new(
            Code::AuthAway,
            url,
            format!("{url}: {why}"),
            nothing_passes,
            format!("start the service, or mend url in forward_auth; {curl}"),
        ),
        Answer::Silent => Finding::new(
            Code::AuthSilent,
            url,
            format!("{url}: no answer within {} ms", waited.as_millis()),
            nothing_passes,
            format!("{curl}; timeout in forward_auth sets how long it is waited for"),
        ),
        Answer::NoHttp(why) => Finding::new(
            Code::AuthNoHttp,
            url,
            format!("{url}: what answers there is not HTTP: {why}"),
            nothing_passes,
            format!("mend url in forward_auth: plain HTTP, and the service's own port; {curl}"),
        ),
    }
}
