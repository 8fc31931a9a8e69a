//! The page of `clawgate status`: one screen of 80 columns, what is wrong first, with what to do about it.
//!
//! Pure. What came from outside (a CA's words, a close reason) loses its control characters here.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{
    Host, LockedOut, Probe, Problem, Report, Times, Upstream,
    health::Health,
    outside::{Asked, PATH},
};
use crate::{
    acme::show::{Row, day},
    gateway::translate::{START, token_command},
};

const WIDTH: usize = 80;
/// Where what is said about something begins.
const MARGIN: usize = 13;
/// Locked out clients on the page.
const LOCKED_OUT: usize = 5;

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mood {
    Plain,
    Good,
    Warn,
    Bad,
}

/// The whole page.
pub fn page(report: &Report, colour: Colour) -> String {
    let mut page = Page { text: String::new(), colour };
    page.head(report);
    for host in &report.hosts {
        page.host(host, report);
    }
    for upstream in &report.upstreams {
        page.upstream(upstream, report.now);
    }
    page.probe(report);
    page.numbers(report);
    page.locked_out(report);
    page.problems(report);
    page.elsewhere();
    page.text
}

struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn head(&mut self, report: &Report) {
        let process = &report.process;
        let up = ago(report.now, process.started);
        self.line("clawgate", Mood::Plain, &format!("{}, up {up}, pid {}", process.version, process.pid));
        let loaded = format!("{}, loaded {} ago", process.config, ago(report.now, process.config_loaded));
        self.line("config", Mood::Plain, &loaded);
        if let Some(refused) = &process.reload_refused {
            self.line("", Mood::Bad, &format!("the last reload was refused, this one stays: {refused}"));
        }
        self.line("listens on", Mood::Plain, &process.listeners.join(", "));
        if let Some(sandbox) = &process.sandbox {
            self.line("sandbox", Mood::Plain, sandbox);
        }
        for warning in &report.warnings {
            self.line("WARNING", Mood::Warn, warning);
        }
    }

    fn host(&mut self, host: &Host, report: &Report) {
        let (mood, certificate) = certificate(host, report.now);
        self.line("site", mood, &format!("{}  {certificate}", host.name));
        if let Some(asked) = &host.asked {
            let (mood, text) = answer(asked, &host.name);
            self.line("", mood, &text);
        }
        let row = report.certificates.iter().find(|row| row.names.contains(&host.name));
        let row = row.filter(|_| host.source == "public");
        let Some(row) = row else { return };
        self.line("", Mood::Plain, &next(row, report.now));
        for warning in &row.warnings {
            self.line("", Mood::Warn, warning);
        }
        if let Some(problem) = &row.problem {
            let page = problem.page.as_ref().map_or(String::new(), |page| format!(" (see {page})"));
            self.line("", Mood::Bad, &format!("the CA said {}: {}{page}", problem.kind, problem.text));
        }
    }

    fn upstream(&mut self, upstream: &Upstream, now: u64) {
        let since = ago(now, upstream.since);
        let (mood, state) = match &*upstream.state {
            "up" if upstream.last_look.as_deref() == Some("foreign") => {
                (Mood::Bad, "ANSWERS, AND IS NO OPENCLAW GATEWAY".to_owned())
            }
            "up" => (Mood::Good, format!("up for {since}")),
            "away" => (Mood::Bad, format!("AWAY for {since}")),
            "without-auth" => (Mood::Bad, format!("up for {since}, AND LETS ANYONE IN")),
            "unknown" => (Mood::Warn, "not looked at yet".to_owned()),
            other => (Mood::Warn, other.to_owned()),
        };
        let version = match (&upstream.version, upstream.gateway) {
            _ if upstream.last_look.as_deref() == Some("foreign") => String::new(),
            (Some(version), _) => format!(", OpenClaw {version}"),
            // Only an approved client is told.
            (None, true) => ", version not seen yet".into(),
            (None, false) => String::new(),
        };
        let label = if upstream.gateway { "gateway" } else { "upstream" };
        self.line(label, mood, &format!("{}  {state}{version}", upstream.address));
        if let Some(health) = &upstream.health {
            let (mood, text) = health_line(health);
            self.line("", mood, &text);
        }
        if let Some(cure) = cure(upstream) {
            self.line("", Mood::Bad, &cure);
        }
        let mut more = Vec::new();
        if upstream.held > 0 {
            more.push(format!("requests that wait for it: {}", upstream.held));
        } else if upstream.held_total > 0 {
            more.push(format!("requests that had to wait for it: {}", upstream.held_total));
        }
        if upstream.dials_failed > 0 {
            let dials = upstream.dials + upstream.dials_failed;
            more.push(format!("{} of {dials} dials failed", upstream.dials_failed));
        }
        if upstream.pre_auth + upstream.pre_auth_waiting > 0 {
            let waiting = match upstream.pre_auth_waiting {
                0 => String::new(),
                n => format!(", {n} wait to"),
            };
            more.push(format!("{} WebSockets are logging in{waiting}", upstream.pre_auth));
        }
        if let Some(client) = &upstream.last_approved {
            more.push(format!("last approved backend: {client}"));
        }
        if !more.is_empty() {
            self.line("", Mood::Plain, &more.join("; "));
        }
    }

    /// The gateway may be up and approve nobody.
    fn probe(&mut self, report: &Report) {
        let Some(Probe { host, standing, since, said, cure }) = &report.probe else { return };
        let since = ago(report.now, *since);
        if standing == "approved" {
            return self.line("probe", Mood::Good, &format!("{host}  approved for {since}, {said}"));
        }
        self.line("probe", Mood::Bad, &format!("{host}  {} for {since}: {said}", standing.to_uppercase()));
        if let Some(cure) = cure {
            self.line("", Mood::Bad, cure);
        }
    }

    fn numbers(&mut self, report: &Report) {
        let open: Vec<String> = report
            .sessions
            .iter()
            .filter(|sessions| sessions.open > 0)
            .map(|sessions| format!("{} {}", sessions.open, as_whom(&sessions.identity)))
            .collect();
        let opened: u64 = report.sessions.iter().map(|sessions| sessions.opened).sum();
        let open =
            if open.is_empty() { "no WebSocket is open".into() } else { format!("WebSockets: {}", open.join(", ")) };
        self.line("sessions", Mood::Plain, &format!("{open}; {opened} were opened"));
        let traffic = &report.traffic;
        let mut text = format!("{:.1} requests/s", traffic.requests_per_second);
        if let (Some(p50), Some(p99)) = (traffic.p50_seconds, traffic.p99_seconds) {
            let _ = write!(text, " (half within {}, 99 % within {})", time(p50), time(p99));
        }
        let _ = write!(text, ", {} connections of {}", report.connections.open, report.connections.limit);
        self.line("traffic", Mood::Plain, &text);
        let refused = if report.refusals.is_empty() { "nothing".into() } else { times(&report.refusals) };
        self.line("refused", Mood::Plain, &format!("in the last hour: {refused}"));
        if !report.gateway_answers.is_empty() {
            let said = times(&report.gateway_answers);
            self.line("gateway said", Mood::Warn, &format!("in the last hour: {said}"));
        }
        self.machine(report);
    }

    fn machine(&mut self, report: &Report) {
        let machine = &report.machine;
        let mut parts = Vec::new();
        let mut mood = Mood::Plain;
        if let (Some(total), Some(free)) = (machine.disk_bytes, machine.disk_free_bytes) {
            parts.push(format!("disk {} of {} free", bytes(free), bytes(total)));
            mood = mood.max(if free < total / 20 { Mood::Bad } else { Mood::Plain });
        }
        if let (Some(total), Some(free)) = (machine.memory_bytes, machine.memory_available_bytes) {
            parts.push(format!("memory {} of {} free", bytes(free), bytes(total)));
            mood = mood.max(if free < total / 20 { Mood::Bad } else { Mood::Plain });
        }
        if let Some(resident) = report.process.resident_bytes {
            parts.push(format!("clawgate itself {}", bytes(resident)));
        }
        self.line("machine", mood, &parts.join(", "));
        if report.process.log_dropped > 0 {
            let text = format!("{} log lines were dropped, stdout did not take them", report.process.log_dropped);
            self.line("", Mood::Warn, &text);
        }
        if report.process.panics > 0 {
            let text = format!("{} connections ended by a bug; see the log for \"panicked\"", report.process.panics);
            self.line("", Mood::Bad, &text);
        }
    }

    fn locked_out(&mut self, report: &Report) {
        for LockedOut { client, site, kind, seconds_left, times } in report.locked_out.iter().take(LOCKED_OUT) {
            let site = site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default();
            let again = if *times > 1 { format!(", {times} times in a row") } else { String::new() };
            let text = format!("{client}{site} for {seconds_left} s more: too many wrong logins ({kind}){again}");
            self.line("locked out", Mood::Warn, &text);
        }
        match report.locked_out.len() {
            0 => return,
            n if n > LOCKED_OUT => self.line("", Mood::Warn, &format!("and {} more (--json)", n - LOCKED_OUT)),
            _ => {}
        }
        self.line("", Mood::Plain, "-> give them the right token; to let them in at once: systemctl restart clawgate");
    }

    fn problems(&mut self, report: &Report) {
        if report.problems.is_empty() {
            self.line("problems", Mood::Good, "no client has met one since the start");
            return;
        }
        self.text.push_str("problems, the latest first\n");
        for Problem { code, what, cure, about, last, times, .. } in &report.problems {
            let times = if *times > 1 { format!(", {times} times") } else { String::new() };
            let about = if about.is_empty() { String::new() } else { format!(" ({about})") };
            let mood = if report.now.saturating_sub(*last) < 3600 { Mood::Bad } else { Mood::Warn };
            let when = format!("{} ago", ago(report.now, *last));
            self.line(&when, mood, &format!("{code}{times}: {what}{about}"));
            self.line("", Mood::Plain, &format!("-> {cure}"));
        }
    }

    fn elsewhere(&mut self) {
        let text = "openclaw health --json, openclaw devices list (as the gateway's user); the model's key: \
                    curl its API";
        self.line("not seen here", Mood::Plain, text);
    }

    /// A label and what belongs to it, in lines that fit.
    fn line(&mut self, label: &str, mood: Mood, text: &str) {
        let text = clean(text);
        let style = match (self.colour, mood) {
            (Colour::No, _) | (_, Mood::Plain) => Style::new(),
            (Colour::Yes, Mood::Good) => AnsiColor::Green.on_default(),
            (Colour::Yes, Mood::Warn) => AnsiColor::Yellow.on_default(),
            (Colour::Yes, Mood::Bad) => AnsiColor::Red.on_default().bold(),
        };
        let mut label = label;
        for piece in wrapped(&text, WIDTH - MARGIN - 1) {
            let _ = writeln!(self.text, "{label:MARGIN$} {style}{piece}{style:#}");
            label = "";
        }
    }
}

/// The way out, where an upstream cannot be used as it should: it may have had no request yet that would have told.
fn cure(upstream: &Upstream) -> Option<String> {
    let is_here = upstream.address.starts_with("127.") || upstream.address.starts_with("[::1]");
    match (&*upstream.state, upstream.gateway) {
        ("away", true) if is_here => Some(format!("{START}; `clawgate check --only gateway` says what stands in the way")),
        ("away", _) => Some(format!(
            "nobody answers there: see that it runs, and that {} can be reached from here",
            upstream.address
        )),
        ("up", true) if upstream.last_look.as_deref() == Some("foreign") => Some(
            "`clawgate check --only gateway` says who listens there; another server than OpenClaw is kind = \"generic\""
                .into(),
        ),
        ("without-auth", _) => Some(concat!("nobody gets D1 until it has a token: ", token_command!()).into()),
        _ => None,
    }
}

fn certificate(host: &Host, now: u64) -> (Mood, String) {
    let issuer = host.issuer.as_deref().unwrap_or("unknown issuer");
    match (host.provisional, host.not_after) {
        (true, _) => (Mood::Bad, "NO CERTIFICATE YET; a stand-in is shown and nothing is forwarded".into()),
        (false, None) => (Mood::Bad, "no certificate".into()),
        (false, Some(end)) if end < now => (Mood::Bad, format!("certificate EXPIRED {} ago ({issuer})", ago(now, end))),
        (false, Some(end)) => {
            let days = (end - now) / DAY;
            // Our own CA renews its leaves by the day.
            let late = host.source == "public" && days < 7 || host.source == "files" && days < 14;
            let left = if days >= 2 { format!("{days} days left") } else { format!("{} left", ago(end, now)) };
            (if late { Mood::Warn } else { Mood::Good }, format!("certificate {left} ({issuer})"))
        }
    }
}

/// What a monitor gets.
fn answer(asked: &Asked, host: &str) -> (Mood, String) {
    let Asked { address, status, seconds, error } = asked;
    let error = error.as_deref().unwrap_or_default();
    let Some(status) = status else {
        return (Mood::Bad, format!("GET {PATH} could not be asked at {address}: {error}"));
    };
    let took = seconds.map_or(String::new(), |seconds| format!(" in {}", time(seconds)));
    match (status, error) {
        (200..300, _) => (Mood::Good, format!("GET {PATH} answers {status}{took}")),
        (403, "not_allowed") => (
            Mood::Warn,
            format!(
                "GET {PATH} answers 403{took}: this machine itself is not on the allow list; for another address: \
                 clawgate explain --from ADDRESS --host {host} {PATH}"
            ),
        ),
        (_, "") => (Mood::Bad, format!("GET {PATH} answers {status}{took}")),
        (_, error) => (Mood::Bad, format!("GET {PATH} answers {status}{took} ({error}; see clawgate explain {error})")),
    }
}

/// What the gateway says of itself.
fn health_line(health: &Health) -> (Mood, String) {
    let Health { healthz, readyz, failing, error } = health;
    let said = |path: &str, status: &Option<u16>| status.map(|status| format!("{path} {status}"));
    let mut text =
        [said("/healthz", healthz), said("/readyz", readyz)].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let well = |status: &Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
    let mood = match (well(healthz), well(readyz)) {
        (true, true) => Mood::Good,
        // A chat channel that is out of order is enough for this, and all the rest works.
        (true, false) if readyz.is_some() => Mood::Warn,
        _ => Mood::Bad,
    };
    if !failing.is_empty() {
        text += &format!(", failing: {}", failing.join(", "));
    }
    if let Some(error) = error {
        let so_far = if text.is_empty() { String::new() } else { format!("{text}; ") };
        text = format!("{so_far}its health could not be asked: {error}");
    }
    (mood, text)
}

/// The next step and the tries that are left.
fn next(row: &Row, now: u64) -> String {
    let when = match row.next.at {
        None => "now".into(),
        Some(at) if at > now + DAY => format!("on {}", day(crate::acme::model::CaTime(at))),
        Some(at) => format!("in {}", ago(at, now)),
    };
    let mut text = format!("next: {} {when}, {}", row.next.action, row.next.why);
    for tries in &row.buckets {
        let _ = write!(text, "; tries at {}: {}", tries.ca, tries.text);
    }
    text
}

const DAY: u64 = 86_400;

/// A span of time in its two largest units.
pub(crate) fn ago(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    let (days, hours, minutes) = (seconds / DAY, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Seconds, as a person reads them.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

pub(crate) fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        n if n < 1024.0 => format!("{n:.0} B"),
        n if n < 1024.0 * 1024.0 => format!("{:.0} KiB", n / 1024.0),
        n if n < 1024.0 * 1024.0 * 1024.0 => format!("{:.0} MiB", n / (1024.0 * 1024.0)),
        n => format!("{:.1} GiB", n / (1024.0 * 1024.0 * 1024.0)),
    }
}

fn as_whom(identity: &str) -> &str {
    match identity {
        "loopback" => "backend (loopback, D1)",
        other => other,
    }
}

fn times(all: &[Times]) -> String {
    const MOST: usize = 6;
    let mut parts: Vec<String> = all.iter().take(MOST).map(|t| format!("{} {}", t.times, t.name)).collect();
    if all.len() > MOST {
        let rest: u64 = all[MOST..].iter().map(|t| t.times).sum();
        parts.push(format!("{rest} others"));
    }
    parts.join(", ")
}

pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// In lines of at most `width` characters, cut between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let line = lines.last_mut().expect("never empty");
            let (used, more) = (line.chars().count(), word.chars().count());
            let space = usize::from(used > 0);
            if used + space + more <= width {
                if space == 1 {
                    line.push(' ');
                }
                line.push_str(word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            // A word that is longer than a line.
            let cut = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            line.push_str(&word[..cut]);
            word = &word[cut..];
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
