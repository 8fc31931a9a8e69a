//! Whether the services of `forward_auth` do what a login is there for.

use super::super::{
    Code, Finding,
    facts::auth::{Answer, Service},
};
use crate::upstream::Untrusted;

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
        Answer::NameUnknown(why) => Finding::new(
            Code::AuthNameUnknown,
            url,
            format!("{url}: {why}"),
            nothing_passes,
            format!(
                "mend the name in url of forward_auth, or this machine's DNS; `getent hosts {}` looks it up",
                name(url)
            ),
        ),
        Answer::Untrusted { why, own_ca } => Finding::new(
            Code::AuthUntrusted,
            url,
            format!("{url}: {why}"),
            nothing_passes,
            format!("{}; `openssl s_client -connect {}` shows it", trust(why, *own_ca), at(url)),
        ),
        Answer::CaUnseen => Finding::new(
            Code::AuthCaUnseen,
            url,
            format!("{url} was not asked: the file that ca in forward_auth names cannot be read from here"),
            "whether its certificate is of that CA is known to whoever can read it",
            "run it as root, or as the service's user: `sudo clawgate check --only auth`",
        ),
        Answer::NoTls(why) => Finding::new(
            Code::AuthNoHttp,
            url,
            format!("{url}: {why}"),
            nothing_passes,
            format!("mend url in forward_auth: the service's own port, and http:// if it speaks no TLS there; {curl}"),
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
            format!("mend url in forward_auth: the service's own port, and https:// if it speaks TLS there; {curl}"),
        ),
    }
}

/// What has to be done about a certificate, and by whom.
fn trust(why: &Untrusted, own_ca: bool) -> String {
    let ca = "ca = \"/etc/clawgate/ca.pem\" in forward_auth";
    match why {
        Untrusted::Over { .. } => "renew the service's certificate, and let the service load it".to_owned(),
        Untrusted::NotYet { .. } => {
            "`timedatectl` shows whether this machine's clock is right; if so, the service needs another certificate"
                .to_owned()
        }
        Untrusted::OtherName { wanted, names } => {
            format!("write a name of the certificate into url ({names}), or give the service one for {wanted}")
        }
        Untrusted::UnknownCa { issuer } if own_ca => {
            format!("add the certificate of {issuer} to the file that ca in forward_auth names, if it is yours")
        }
        Untrusted::UnknownCa { issuer } => {
            format!(
                "{ca}, with the certificate of {issuer} in it, if that CA is yours; let the service send its whole chain"
            )
        }
        Untrusted::SelfSigned => format!("{ca}, with that very certificate in it, if it is yours"),
        Untrusted::OfCa => {
            "make one for the service itself: `openssl req -x509` needs `-addext basicConstraints=critical,CA:FALSE`"
                .to_owned()
        }
        Untrusted::Other(_) => "the service needs another certificate".to_owned(),
    }
}

/// Host and port of a URL.
fn at(url: &str) -> String {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or(url);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:443") }
}

fn name(url: &str) -> String {
    at(url).rsplit_once(':').map_or_else(String::new, |(name, _)| name.to_owned())
}
