//! What came out: a table for people and JSON for programs. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    contender::{FLOOR, OURS},
    scenario::{Aim, Figure, Row, Sample},
    stats::{Spread, spread},
};

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: String,
    pub rounds: usize,
    /// More than 1: a quick look with less work in each round.
    pub shortened: usize,
    /// In the order of the columns.
    pub contenders: Vec<Column>,
    pub rows: Vec<Line>,
    /// Who was left out, and what failed.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Column {
    pub name: String,
    pub title: String,
    pub version: String,
}

/// All rounds, by row and contender.
pub type Samples = BTreeMap<(&'static str, &'static str), Vec<Sample>>;

#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub title: String,
    /// One more figure of the line above.
    pub is_further: bool,
    pub unit: String,
    #[serde(skip)]
    pub kind: Figure,
    /// By contender; who could not do it is missing.
    pub results: BTreeMap<String, Figures>,
    /// Ours by the best peer's median: below 1 we are ahead.
    pub ratio: Option<f64>,
    pub aim: Aim,
    /// What is held against the aim: the ratio, our figure, or ours by ours of another row.
    pub held: Option<f64>,
    /// Whether the aim is reached and no peer is better.
    pub reached: Option<bool>,
    /// Ours by the bare TLS relay's.
    pub to_floor: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Figures {
    /// What is compared, in the line's unit: the rounds of `figure` in one number.
    pub value: f64,
    pub figure: Spread,
    pub cpu_us: Spread,
    // What the row is not about is 0.
    pub memory_kib: Spread,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub per_second: Spread,
    pub proxy_busy: Spread,
    pub load_busy: Spread,
    pub start_ms: Spread,
    pub lost: Spread,
}

/// Who is this close to the floor has reached the aim whatever the peers do.
const AT_THE_FLOOR: f64 = 1.05;

/// The table's lines: one for each row, and one for each further figure of it.
pub fn lines(rows: &[&Row], samples: &Samples) -> Vec<Line> {
    let mut lines = Vec::new();
    for row in rows {
        lines.push(Line::new((row.name.into(), row.title), false, (row, row.figure, row.aim), samples));
        for also in row.also {
            let name = format!("{}-{}", row.name, also.name);
            lines.push(Line::new((name, also.title), true, (row, also.figure, also.aim), samples));
        }
    }
    lines
}

impl Line {
    fn new(
        (name, title): (String, &str),
        is_further: bool,
        (row, kind, aim): (&Row, Figure, Aim),
        samples: &Samples,
    ) -> Line {
        let its = samples.iter().filter(|((of, _), _)| *of == row.name);
        let results: BTreeMap<String, Figures> =
            its.filter_map(|((_, name), all)| Some(((*name).to_owned(), Figures::new(kind, all)?))).collect();
        let median = |name: &str| results.get(name).map(|its: &Figures| its.value);
        let ours = median(OURS);
        let peers = results.iter().filter(|(name, _)| ![OURS, FLOOR].contains(&name.as_str()));
        let best_peer = peers.map(|(_, its)| its.value).min_by(f64::total_cmp);
        // Nothing is no measure: who loses none where others lose none is as good as they are.
        let by = |other: Option<f64>| ours.zip(other.filter(|other| *other > 0.0)).map(|(ours, other)| ours / other);
        let ratio = by(best_peer);
        let to_floor = by(median(FLOOR).filter(|_| kind.has_floor()));
        let (held, bound) = match aim {
            Aim::Ratio(bound) => (ratio, bound),
            Aim::AtMost(bound) => (ours, bound),
            Aim::OfRow(other, bound) => {
                let all = samples.get(&(other, OURS)).map(Vec::as_slice).unwrap_or_default();
                (by(Figures::new(kind, all).map(|its| its.value)), bound)
            }
        };
        let nobody_is_better = match aim {
            // The bound is above 1 where being a little behind is no harm; of another row, peers say nothing.
            Aim::Ratio(bound) => ratio.is_none_or(|ratio| ratio <= bound.max(1.0)),
            Aim::AtMost(_) => ours.zip(best_peer).is_none_or(|(ours, best)| ours <= best),
            Aim::OfRow(..) => true,
        };
        let at_floor = to_floor.is_some_and(|ratio| ratio <= AT_THE_FLOOR) && matches!(aim, Aim::Ratio(_));
        let reached = held.map(|held| nobody_is_better && (held <= bound || at_floor));
        let (title, unit) = (title.to_owned(), kind.unit());
        Line { name, title, is_further, unit, kind, results, ratio, aim, held, reached, to_floor }
    }

    /// What is held against the aim, the aim, and whether it is reached, as `0.85 (<= 0.90 ok)`.
    fn verdict(&self) -> String {
        let (Some(held), Some(reached)) = (self.held, self.reached) else { return "–".to_owned() };
        let mark = if reached { "ok" } else { "missed" };
        let floor = self.to_floor.map(|floor| format!(", {floor:.2} of the relay")).unwrap_or_default();
        match self.aim {
            Aim::Ratio(bound) => format!("{held:.2} (<= {bound:.2} {mark}{floor})"),
            Aim::AtMost(bound) => {
                let ratio = self.ratio.map(|ratio| format!("{ratio:.2} ")).unwrap_or_default();
                format!("{ratio}({} <= {bound} {mark})", self.kind.show(held))
            }
            Aim::OfRow(row, bound) => format!("{held:.2} of {row} (<= {bound:.2} {mark})"),
        }
    }
}

impl Figures {
    fn new(figure: Figure, samples: &[Sample]) -> Option<Figures> {
        let of = |get: &dyn Fn(&Sample) -> f64| spread(&samples.iter().map(get).collect::<Vec<_>>());
        let rounds = of(&|sample| figure.of(sample))?;
        Some(Figures {
            value: figure.sum_up(&rounds),
            figure: rounds,
            cpu_us: of(&|sample| sample.cpu_us)?,
            memory_kib: of(&|sample| sample.memory_kib)?,
            p50_us: of(&|sample| sample.p50_us)?,
            p99_us: of(&|sample| sample.p99_us)?,
            per_second: of(&|sample| sample.per_second)?,
            proxy_busy: of(&|sample| sample.proxy_busy)?,
            load_busy: of(&|sample| sample.load_busy)?,
            start_ms: of(&|sample| sample.start_ms)?,
            lost: of(&|sample| sample.lost)?,
        })
    }
}

impl Report {
    /// Whether every contender has a figure somewhere, and ours in every row. A peer may be unable to do a row.
    pub fn is_complete(&self) -> bool {
        self.contenders.iter().all(|column| {
            let has = |line: &Line| line.results.contains_key(&column.name);
            if column.name == OURS { self.rows.iter().all(has) } else { self.rows.iter().any(has) }
        })
    }

    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a String does not fail");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let plural = if self.rounds == 1 { "" } else { "s" };
        writeln!(out, "Medians of {} interleaved round{plural}, one core each, on {}.", self.rounds, self.machine)?;
        if self.shortened > 1 {
            writeln!(out, "A quick look with 1/{} of the work: not to be quoted.", self.shortened)?;
        }
        writeln!(out, "\n### The figure that is compared: less is better\n")?;
        let all: Vec<&Line> = self.rows.iter().collect();
        // Latency and rate belong to the rows, and to those that have requests.
        let with_units =
            |line: &&Line| !line.is_further && line.results.values().any(|its| its.per_second.median > 0.0);
        let rows: Vec<&Line> = self.rows.iter().filter(with_units).collect();
        self.table(out, &all, "unit", Some("ours / best peer (aim)"), |line, its| line.kind.show(its.value))?;
        writeln!(out, "\n### Latency as the clients saw it, p50 / p99 in µs\n")?;
        self.table(out, &rows, "", None, |_, its| format!("{:.0} / {:.0}", its.p50_us.median, its.p99_us.median))?;
        writeln!(out, "\n### Units a second, and the share of its core that the proxy used\n")?;
        self.table(out, &rows, "", None, |_, its| {
            // Not measured where processes come and go.
            let busy = its.proxy_busy.median * 100.0;
            let busy = if busy > 0.0 { format!(" ({busy:.0} %)") } else { String::new() };
            format!("{:.0}{busy}", its.per_second.median)
        })?;
        if !self.notes.is_empty() {
            writeln!(out, "\n### Notes\n")?;
        }
        for note in &self.notes {
            writeln!(out, "- {}", note.replace('\n', " "))?;
        }
        Ok(())
    }

    /// One cell for each contender; the best is bold when `last` names a column for the ratio.
    fn table(
        &self,
        out: &mut String,
        lines: &[&Line],
        unit: &str,
        last: Option<&str>,
        cell: impl Fn(&Line, &Figures) -> String,
    ) -> std::fmt::Result {
        write!(out, "| scenario |")?;
        if !unit.is_empty() {
            write!(out, " {unit} |")?;
        }
        for column in &self.contenders {
            write!(out, " {} {} |", column.title, column.version)?;
        }
        let columns = 1 + usize::from(!unit.is_empty()) + self.contenders.len() + usize::from(last.is_some());
        writeln!(out, "{}", last.map(|title| format!(" {title} |")).unwrap_or_default())?;
        writeln!(out, "|{}", " --- |".repeat(columns))?;
        for line in lines {
            let under = if line.is_further { "… " } else { "" };
            write!(out, "| {under}{} |", line.title)?;
            if !unit.is_empty() {
                write!(out, " {} |", line.unit)?;
            }
            let proxies = line.results.iter().filter(|(name, _)| *name != FLOOR);
            let best = proxies.map(|(_, its)| its.value).min_by(f64::total_cmp);
            for column in &self.contenders {
                match line.results.get(&column.name) {
                    Some(its) if last.is_some() && column.name != FLOOR && Some(its.value) == best => {
                        write!(out, " **{}** |", cell(line, its))?;
                    }
                    Some(its) => write!(out, " {} |", cell(line, its))?,
                    None => write!(out, " – |")?,
                }
            }
            match last {
                Some(_) => writeln!(out, " {} |", line.verdict())?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::scenario::ROWS;

    fn sample(cpu_us: f64) -> Sample {
        Sample {
            cpu_us,
            p50_us: 200.0,
            p99_us: 900.4,
            per_second: 30_000.0,
            proxy_busy: 0.985,
            load_busy: 1.0,
            ..Sample::default()
        }
    }

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).unwrap()
    }

    pub fn report() -> Report {
        let samples = Samples::from([
            (("h1", "clawgate"), vec![sample(12.0), sample(99.0), sample(11.0)]),
            (("h1", "nginx"), vec![sample(16.0); 3]),
            (("h1", "haproxy"), vec![sample(150.0); 3]),
            (("h1", "caddy"), vec![]),
        ]);
        let column = |name: &str| Column { name: name.into(), title: name.to_uppercase(), version: "1.0".into() };
        Report {
            machine: "a machine".into(),
            rounds: 3,
            shortened: 1,
            contenders: ["clawgate", "nginx", "haproxy", "caddy"].map(column).into(),
            rows: lines(&[row("h1")], &samples),
            notes: vec!["caddy was\nleft out".into()],
        }
    }

    #[test]
    fn the_ratio_is_our_median_by_the_best_peers() {
        assert_eq!(report().rows[0].ratio, Some(0.75));
    }

    #[test]
    fn the_relay_is_no_peer_and_being_close_to_it_reaches_the_aim() {
        let verdict = |relay: f64, nginx: f64| {
            let one = |name, cpu| (("h1", name), vec![sample(cpu)]);
            let samples = Samples::from([one("clawgate", 10.0), one("nginx", nginx), one("relay", relay)]);
            lines(&[row("h1")], &samples)[0].verdict()
        };
        assert_eq!(verdict(9.9, 10.5), "0.95 (<= 0.90 ok, 1.01 of the relay)");
        assert_eq!(verdict(5.0, 10.5), "0.95 (<= 0.90 missed, 2.00 of the relay)");
        assert_eq!(verdict(9.9, 9.0), "1.11 (<= 0.90 missed, 1.01 of the relay)");
    }

    #[test]
    fn a_bound_in_units_is_held_against_our_figure_and_a_better_peer_misses_it_too() {
        let verdicts = |ours: f64, nginx: f64| {
            let one = |name, start_ms| (("start", name), vec![Sample { start_ms, memory_kib: 9216.0, ..sample(1.0) }]);
            let lines = lines(&[row("start")], &Samples::from([one("clawgate", ours), one("nginx", nginx)]));
            lines.iter().map(Line::verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(30.0, 40.0), ["0.75 (30.0 <= 60 ok)", "1.00 (9.0 <= 10 ok)"]);
        assert_eq!(verdicts(30.0, 20.0)[0], "1.50 (30.0 <= 60 missed)");
        assert_eq!(verdicts(70.0, 80.0)[0], "0.88 (70.0 <= 60 missed)");
        assert_eq!(verdicts(0.0, 0.0)[0], "(0.0 <= 60 ok)");
    }

    #[test]
    fn one_round_with_a_loss_is_a_loss() {
        let samples = |lost: &[f64]| {
            let rounds = lost.iter().map(|lost| Sample { lost: *lost, ..sample(1.0) }).collect();
            Samples::from([(("reload", "clawgate"), rounds)])
        };
        assert_eq!(lines(&[row("reload")], &samples(&[0.0, 2.0, 0.0]))[0].verdict(), "(2 <= 0 missed)");
        assert_eq!(lines(&[row("reload")], &samples(&[0.0, 0.0, 0.0]))[0].verdict(), "(0 <= 0 ok)");
    }

    #[test]
    fn what_the_access_log_costs_is_ours_with_it_by_ours_without() {
        let samples = Samples::from([
            (("h1", "clawgate"), vec![sample(10.0)]),
            (("h1-log", "clawgate"), vec![sample(10.6)]),
            (("h1-log", "nginx"), vec![sample(30.0)]),
        ]);
        let lines = lines(&[row("h1-log")], &samples);
        assert_eq!(lines[0].verdict(), "0.35 (<= 1.00 ok)");
        assert_eq!((lines[1].name.as_str(), lines[1].verdict().as_str()), ("h1-log-price", "1.06 of h1 (<= 1.10 ok)"));
    }

    #[test]
    fn a_contender_without_a_result_is_a_dash_and_the_best_is_bold() {
        let text = report().markdown();
        let title = row("h1").title;
        assert!(text.contains(
            "| scenario | unit | CLAWGATE 1.0 | NGINX 1.0 | HAPROXY 1.0 | CADDY 1.0 | ours / best peer (aim) |"
        ));
        assert!(
            text.contains(&format!("| {title} | CPU µs/request | **12.0** | 16.0 | 150 | – | 0.75 (<= 0.90 ok) |")),
            "{text}"
        );
        assert!(text.contains(&format!("| {title} | 200 / 900 | 200 / 900 | 200 / 900 | – |\n")), "{text}");
        assert!(text.contains("30000 (98 %)") || text.contains("30000 (99 %)"), "{text}");
        assert!(text.contains("- caddy was left out\n"));
    }

    #[test]
    fn a_report_lacks_something_when_a_peer_has_no_figure_or_we_lack_one() {
        let mut report = report();
        assert!(!report.is_complete());
        report.contenders.pop();
        assert!(report.is_complete());
        report.rows.extend(lines(&[row("h2")], &Samples::from([(("h2", "nginx"), vec![sample(1.0)])])));
        assert!(!report.is_complete());
        report.contenders.remove(0);
        assert!(report.is_complete());
    }

    #[test]
    fn every_table_line_has_as_many_cells_as_its_head() {
        let text = report().markdown();
        let bars: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
        for pair in bars.windows(2).filter(|pair| pair.iter().all(|count| *count > 0)) {
            assert_eq!(pair[0], pair[1], "{text}");
        }
    }
}
