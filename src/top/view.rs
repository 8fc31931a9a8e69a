//! What `top` looks like.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row, Sparkline, Table, Wrap},
};

use crate::{
    command::Commands,
    status::{
        Sessions, Upstream,
        text::{ago, bytes, clean, time},
        top::{Busy, Moment, Second},
    },
};

/// Below this there is no room for what it shows.
const LEAST: (u16, u16) = (80, 24);
/// What numbers are averaged over, in seconds.
const AVERAGE: usize = 5;

pub(super) fn draw(frame: &mut Frame<'_>, moment: &Moment, trouble: Option<&str>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("top needs {} x {} characters, here are {} x {}", LEAST.0, LEAST.1, area.width, area.height);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let upstreams = u16::try_from(moment.upstreams.len()).unwrap_or(u16::MAX).clamp(1, 3);
    let problems = if area.height >= 30 { 11 } else { 7 };
    let [head, lines, middle, busy, bottom] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Length(upstreams),
        Constraint::Min(6),
        Constraint::Length(problems),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(headline(moment, trouble, head.width.into())), head);
    sparklines(frame, lines, moment);
    let upstreams: Vec<_> = moment.upstreams.iter().map(upstream(moment.now, middle.width.into())).collect();
    frame.render_widget(Paragraph::new(upstreams), middle);
    let [clients, routes] = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(busy);
    table(frame, clients, "clients", &moment.clients, ("     ws", |client| client.websockets.to_string()));
    table(frame, routes, "routes", &moment.routes, ("   mean", |route| time(route.mean_us as f64 / 1e6)));
    frame.render_widget(problems_of(moment, bottom), bottom);
}

fn headline(moment: &Moment, trouble: Option<&str>, width: usize) -> Line<'static> {
    if let Some(trouble) = trouble {
        return Line::styled(shortened(&clean(trouble), width), bad());
    }
    let Moment { version, connections, requests_open, .. } = moment;
    let up = ago(moment.now, moment.started);
    let whole =
        format!("clawgate {version}, up {up}, {connections} connections, {requests_open} requests open  (q ends)");
    let text = match whole.chars().count() <= width {
        true => whole,
        false => shortened(&format!("up {up}, {connections} conns, {requests_open} requests  (q ends)"), width),
    };
    Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
}

fn sparklines(frame: &mut Frame<'_>, area: Rect, moment: &Moment) {
    let thirds = Layout::horizontal([Constraint::Ratio(1, 3); 3]).areas::<3>(area);
    let recent = || moment.seconds.iter().rev().take(AVERAGE);
    let count = recent().count().max(1) as f64;
    let requests = recent().map(|second| second.requests).sum::<u64>() as f64 / count;
    let slowest = |of: fn(&Second) -> Option<u64>| match recent().filter_map(of).max() {
        Some(micros) => time(micros as f64 / 1e6),
        None => "-".into(),
    };
    let open: u64 = moment.sessions.iter().map(|sessions| sessions.open).sum();
    let titles = [
        format!(" requests/s {requests:.1} "),
        format!(" p50 {} p99 {} ", slowest(|second| second.p50_us), slowest(|second| second.p99_us)),
        format!(" WebSockets {open}{} ", by_identity(&moment.sessions)),
    ];
    let series: [fn(&Second) -> u64; 3] =
        [|second| second.requests, |second| second.p99_us.unwrap_or(0), |second| second.websockets];
    for ((title, of), area) in titles.into_iter().zip(series).zip(thirds) {
        // The newest at the right edge.
        let width = usize::from(area.width.saturating_sub(2));
        let mut data: Vec<u64> = moment.seconds.iter().rev().take(width).map(of).collect();
        data.reverse();
        let data: Vec<u64> = std::iter::repeat_n(0, width - data.len()).chain(data).collect();
        let block = Block::bordered().title(shortened(&title, width));
        let line = Sparkline::default().block(block).data(data);
        frame.render_widget(line.style(Style::new().fg(Color::Cyan)), area);
    }
}

fn by_identity(sessions: &[Sessions]) -> String {
    let of = |identity: &str| sessions.iter().filter(|s| s.identity == identity).map(|s| s.open).sum::<u64>();
    match of("loopback") {
        0 => String::new(),
        backends => format!(", {backends} D1"),
    }
}

/// The address is shortened where the line has no room for it: what is said of it is what one looks for.
fn upstream(now: u64, width: usize) -> impl Fn(&Upstream) -> Line<'static> {
    move |upstream| {
        let since = ago(now, upstream.since);
        let (state, style) = match &*upstream.state {
            "up" => (format!("up {since}"), Style::new().fg(Color::Green)),
            "without-auth" => ("up, LETS ANYONE IN".into(), bad()),
            "unknown" => ("not looked at yet".into(), Style::new()),
            _ => (format!("AWAY {since}"), bad()),
        };
        let version = upstream.version.as_deref().map_or(String::new(), |version| format!("  {version}"));
        let kind = if upstream.gateway { "gateway" } else { "upstream" };
        let rest = clean(&format!("{version}  held {}  logging in {}", upstream.held, upstream.pre_auth));
        let used = kind.len() + " ".len() * 4 + state.chars().count() + rest.chars().count();
        let address = shortened(&clean(&upstream.address), width.saturating_sub(used));
        Line::from(vec![Span::raw(format!(" {kind} {address}  ")), Span::styled(state, style), Span::raw(rest)])
    }
}

/// The rates are of the requests that were sampled; a busy proxy does not note each of them. `last` is the column that
/// the two tables do not share.
fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    busy: &[Busy],
    last: (&'static str, fn(&Busy) -> String),
) {
    let name = usize::from(area.width).saturating_sub(2 + 5 + 8 + 7 + 3);
    let rows = busy.iter().map(|line| {
        let row = Row::new([
            shortened(&clean(&line.name), name),
            rate(line.per_second),
            format!("{:>8}", line.failed),
            format!("{:>7}", last.1(line)),
        ]);
        if line.failed > 0 { row.style(Style::new().fg(Color::Yellow)) } else { row }
    });
    let widths = [Constraint::Min(10), Constraint::Length(5), Constraint::Length(8), Constraint::Length(7)];
    let head = Row::new([title, "  1/s", "fail/10s", last.0]).style(Style::new().add_modifier(Modifier::BOLD));
    let block = Block::bordered().title(" 10 s, sampled ");
    frame.render_widget(Table::new(rows, widths).header(head).block(block), area);
}

/// In five characters.
fn rate(per_second: f64) -> String {
    // What would be shown as 1000.0 is one character too long.
    if per_second < 999.95 { format!("{per_second:>5.1}") } else { format!("{per_second:>5.0}") }
}

/// What lasts first, then what happened, the latest first: with its cure where there is room for all of it, else a line for
/// each, whose code `clawgate explain` knows.
fn problems_of(moment: &Moment, area: Rect) -> Paragraph<'static> {
    let (width, height) = (usize::from(area.width.saturating_sub(2)), usize::from(area.height.saturating_sub(2)));
    let commands = Commands::here();
    let fit = |text: &str| shortened(&clean(&commands.in_text(text)), width);
    let mut lines: Vec<Line<'static>> =
        moment.warnings.iter().map(|warning| Line::styled(fit(&format!("WARNING {warning}")), bad())).collect();
    let with_cures = lines.len() + 2 * moment.problems.len() <= height;
    for problem in &moment.problems {
        let times = if problem.times > 1 { format!(" ({} times)", problem.times) } else { String::new() };
        let about = if problem.about.is_empty() { String::new() } else { format!(" {}", problem.about) };
        let when = ago(moment.now, problem.last);
        let what = format!("{when} ago {}{times}:{about} {}", problem.code, problem.what);
        lines.push(Line::styled(fit(&what), Style::new().fg(Color::Yellow)));
        if with_cures {
            lines.push(Line::raw(fit(&format!("  -> {}", problem.cure))));
        }
    }
    if lines.is_empty() {
        lines.push(Line::styled("none that is the server's fault", Style::new().fg(Color::Green)));
    }
    // Of a line that is cut off the end is missing, which is the way out.
    if !with_cures || lines.iter().any(|line| line.to_string().ends_with('…')) {
        let more = lines.len() > height.saturating_sub(1);
        lines.truncate(height.saturating_sub(1));
        let rest = if more { "; `clawgate status` has the rest" } else { "" };
        lines.push(Line::raw(fit(&format!("-> the way out: `clawgate explain CODE`{rest}"))));
    }
    let refused: Vec<String> = moment.refusals.iter().take(3).map(|t| format!("{} {}", t.times, t.name)).collect();
    let moved: u64 = moment.seconds.iter().rev().take(AVERAGE).map(|s| s.bytes_in + s.bytes_out).sum();
    let moved = bytes(moved / AVERAGE as u64);
    let refused = if refused.is_empty() { "nothing".into() } else { refused.join(", ") };
    let title = format!(" problems; refused in the last hour: {refused}; {moved}/s ");
    Paragraph::new(lines).block(Block::bordered().title(shortened(&title, width)))
}

/// At most `width` characters; the end says that there was more.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// As `NO_COLOR` wants it; bold stays.
pub(super) fn take_colours_off(frame: &mut Frame<'_>) {
    for cell in &mut frame.buffer_mut().content {
        (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
    }
}

fn bad() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::status::{Problem, Times};

    fn moment() -> Moment {
        let second = |n: u64| Second {
            requests: n,
            websockets: 3,
            bytes_in: 100,
            bytes_out: 2000,
            p50_us: Some(900),
            p99_us: Some(21_000 + n),
        };
        Moment {
            now: 1_000_000,
            version: "0.1.0".into(),
            started: 1_000_000 - 7_260,
            connections: 7,
            requests_open: 1,
            sessions: vec![
                Sessions { identity: "loopback".into(), open: 2, opened: 9 },
                Sessions { identity: "attributed".into(), open: 1, opened: 1 },
            ],
            upstreams: vec![Upstream {
                address: "127.0.0.1:18789".into(),
                gateway: true,
                state: "up".into(),
                since: 1_000_000 - 7_200,
                version: Some("2026.9.6".into()),
                ..Upstream::default()
            }],
            seconds: (0..120).map(second).collect(),
            clients: vec![Busy {
                name: "203.0.113.7".into(),
                per_second: 4.5,
                mean_us: 1_800,
                websockets: 12,
                ..Busy::default()
            }],
            routes: vec![Busy { name: "chat.test /api/status".into(), per_second: 1.0, failed: 3, ..Busy::default() }],
            refusals: vec![Times { name: "misdirected".into(), times: 12 }],
            problems: vec![Problem {
                code: "gateway/pairing-required".into(),
                what: "the gateway wants this device approved by hand".into(),
                cure: "approve it: `openclaw devices list`, then `openclaw devices approve 8e2f`".into(),
                about: "203.0.113.7".into(),
                last: 1_000_000 - 90,
                times: 3,
                ..Problem::default()
            }],
            warnings: Vec::new(),
        }
    }

    fn drawn(width: u16, height: u16, moment: &Moment, trouble: Option<&str>) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, moment, trouble)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).map(|line| format!("{}\n", line.trim_end())).collect()
    }

    #[test]
    fn everything_is_there_at_80_by_24() {
        let screen = drawn(80, 24, &moment(), None);
        for text in [
            "clawgate 0.1.0, up 2 h 1 min, 7 connections, 1 requests open  (q ends)",
            "requests/s 117.0",
            "p50 900 µs p99 21 ms",
            "WebSockets 3, 2 D1",
            "gateway 127.0.0.1:18789  up 2 h 0 min  2026.9.6  held 0  logging in 0",
            "10 s, sampled",
            "clients           1/s fail/10s      ws",
            "203.0.113.7       4.5        0      12",
            "chat.test /api…",
            "1 min ago gateway/pairing-required (3 times): 203.0.113.7 the gateway wants",
            "-> approve it: `openclaw devices list`, then `openclaw devices approve 8e2f`",
            "refused in the last hour: 12 misdirected",
        ] {
            assert!(screen.contains(text), "{text}\n{screen}");
        }
        assert_eq!(screen.lines().count(), 24);
    }

    #[test]
    fn what_is_wrong_as_long_as_it_lasts_comes_first_and_every_problem_keeps_its_line() {
        let mut moment = moment();
        moment.warnings =
            vec!["state/full: no certificate can be asked for: no room to write /var/lib/clawgate".into()];
        let problem = |n: u64| Problem { code: format!("upstream/n{n}"), last: 1_000_000 - n, ..Problem::default() };
        moment.problems = (1..=3).map(problem).collect();
        let screen = drawn(80, 24, &moment, None);
        let shown: Vec<&str> = screen.lines().skip_while(|line| !line.contains("problems;")).collect();
        for (line, begin) in shown[1..].iter().zip([
            "│WARNING state/full: no certificate can be asked for: no room to write",
            "│1 s ago upstream/n1: ",
            "│2 s ago upstream/n2: ",
            "│3 s ago upstream/n3: ",
            "│-> the way out: `clawgate explain CODE`",
        ]) {
            assert!(line.starts_with(begin), "{begin}\n{screen}");
        }
        assert!(!screen.contains("has the rest"), "{screen}");
        moment.problems = (1..=5).map(problem).collect();
        let screen = drawn(80, 24, &moment, None);
        assert!(screen.contains("upstream/n3") && !screen.contains("upstream/n4"), "{screen}");
        assert!(screen.contains("`clawgate status` has the rest"), "{screen}");
        // With room for all of it each has its cure.
        moment.problems.iter_mut().for_each(|problem| problem.cure = format!("mend {}", problem.code));
        moment.problems.truncate(4);
        let screen = drawn(100, 40, &moment, None);
        assert!(screen.contains("WARNING state/full") && screen.contains("-> mend upstream/n4"), "{screen}");
    }

    #[test]
    fn what_has_no_room_is_said_in_fewer_words_and_not_cut() {
        let mut moment = moment();
        moment.started = 1_000_000 - 900_000;
        (moment.connections, moment.requests_open) = (123_456, 1_234_567);
        moment.upstreams[0].address = format!("{}.example.com:18789", "gateway".repeat(8));
        (moment.upstreams[0].held, moment.upstreams[0].pre_auth) = (1024, 32);
        moment.sessions[0].open = 123_456_789;
        let screen = drawn(80, 24, &moment, Some(&"cannot be reached ".repeat(8)));
        assert!(screen.lines().next().unwrap().ends_with('…'), "{screen}");
        let screen = drawn(80, 24, &moment, None);
        assert!(screen.starts_with("up 10 d 10 h, 123456 conns, 1234567 requests  (q ends)\n"), "{screen}");
        assert!(screen.contains("…  up 2 h 0 min  2026.9.6  held 1024  logging in 32\n"), "{screen}");
        assert!(screen.contains("WebSockets 123456790, 1…"), "{screen}");
    }

    #[test]
    fn a_screen_that_is_too_small_says_so() {
        let screen = drawn(79, 24, &moment(), None);
        assert!(screen.starts_with("top needs 80 x 24 characters, here are 79 x 24\n"), "{screen}");
        let narrow = drawn(40, 24, &moment(), None);
        assert!(narrow.starts_with("top needs 80 x 24 characters, here are\n40 x 24\n"), "{narrow}");
        drawn(1, 1, &moment(), None);
        drawn(0, 0, &moment(), None);
    }

    #[test]
    fn a_process_that_does_not_answer_is_said_to_be_gone_and_the_rest_stays() {
        let screen = drawn(80, 24, &moment(), Some("nobody answers on /run/clawgate/admin.sock"));
        assert!(screen.starts_with("nobody answers on"), "{screen}");
        assert!(screen.contains("203.0.113.7"));
    }

    #[test]
    fn an_empty_moment_can_be_drawn() {
        assert!(drawn(80, 24, &Moment::default(), None).contains("none that is the server's fault"));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_breaks_the_screen(
            name in ".{0,100}", cure in ".{0,300}", requests in any::<u32>(), width in 1u16..200, height in 1u16..60,
        ) {
            let mut moment = moment();
            moment.clients = vec![Busy { name: name.clone(), ..Busy::default() }; 40];
            moment.warnings = vec![name.clone(); 2];
            moment.problems = vec![Problem { cure, what: name, ..Problem::default() }; 5];
            moment.seconds[0].requests = requests.into();
            prop_assert_eq!(drawn(width, height, &moment, None).lines().count(), usize::from(height));
        }
    }
}
