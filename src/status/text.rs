//! The page of `clawgate status`: one screen of 80 columns, what is wrong first, with what to do about it.
//!
//! Pure. What came from outside (a CA's words, a close reason) loses its control characters here.

mod measure;
mod said;
mod wrap;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

pub(crate) use self::{
    measure::{ago, bytes, time},
    wrap::clean,
};
use self::{
    said::{answer, as_whom, certificate, cure, health_line, next, times},
    wrap::wrapped,
};
use super::{Host, LockedOut, Probe, Problem, Report, Upstream, health::Health};
use crate::command::Commands;

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

/// The whole page, with our own commands as they are typed there.
pub fn page(report: &Report, colour: Colour, commands: &Commands) -> String {
    let mut page = Page { text: String::new(), colour, commands };
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

struct Page<'c> {
    text: String,
    colour: Colour,
    commands: &'c Commands,
}

impl Page<'_> {
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
        let is_mute = upstream.health.as_ref().is_some_and(Health::is_mute);
        let is_live = upstream.health.as_ref().is_some_and(Health::is_live);
        let (mood, state) = match &*upstream.state {
            // It was asked a moment ago: that is newer than what the process has seen.
            state if is_mute && state != "away" => (Mood::Bad, "DOES NOT ANSWER".to_owned()),
            "up" if upstream.last_look.as_deref() == Some("foreign") => {
                (Mood::Bad, "ANSWERS, AND IS NO OPENCLAW GATEWAY".to_owned())
            }
            "up" => (Mood::Good, format!("up for {since}")),
            "away" if upstream.last_look.as_deref() == Some("not-ready") && !is_mute => {
                (Mood::Bad, format!("NOT READY for {since}"))
            }
            // The process looks again within a second.
            "away" if is_live => (Mood::Warn, format!("was away for {since}, and answers again just now")),
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
        match cure {
            // The event has it bare.
            Some(cure) if cure.starts_with("clawgate ") && !cure.contains('`') => {
                self.line("", Mood::Bad, &format!("`{cure}`"));
            }
            Some(cure) => self.line("", Mood::Bad, cure),
            None => {}
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
        self.line(
            "",
            Mood::Plain,
            "-> give them the right token; to let them in at once: `systemctl restart clawgate`",
        );
    }

    fn problems(&mut self, report: &Report) {
        if report.problems.is_empty() {
            match report.warnings.is_empty() {
                true => self.line("problems", Mood::Good, "none that is the server's fault"),
                false => self.line("problems", Mood::Plain, "none but what is warned of above"),
            }
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
        let text = "`openclaw health --json`, `openclaw devices list` (as the gateway's user); the model's key: \
                    `curl` its API";
        self.line("not seen here", Mood::Plain, text);
    }

    /// A label and what belongs to it, in lines that fit.
    fn line(&mut self, label: &str, mood: Mood, text: &str) {
        // Before it is cut into lines, which would hide a command.
        let text = clean(&self.commands.in_text(text));
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

#[cfg(test)]
mod tests;
