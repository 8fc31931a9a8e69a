//! What came out: a table for people and JSON for programs. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use crate::{
    contender::{FLOOR, OURS},
    scenario::{Figure, Row, Sample},
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

#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    pub title: String,
    pub unit: String,
    /// By contender; who could not do it is missing.
    pub results: BTreeMap<String, Figures>,
    /// Ours by the best peer's median: below 1 we are ahead.
    pub ratio: Option<f64>,
    /// The ratio that is aimed at.
    pub aim: Option<f64>,
    /// Ours by the bare TLS relay's.
    pub to_floor: Option<f64>,
}

#[derive(Debug, Serialize)]
pub struct Figures {
    /// What is compared, in the line's unit.
    pub figure: Spread,
    pub cpu_us: Spread,
    /// 0 where memory is not what the row is about.
    pub memory_kib: Spread,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub per_second: Spread,
    pub proxy_busy: Spread,
    pub load_busy: Spread,
}

/// Who is this close to the floor has reached the aim whatever the peers do.
const AT_THE_FLOOR: f64 = 1.05;

impl Line {
    /// `samples` holds a contender's rounds by its name.
    pub fn new(row: &Row, samples: &BTreeMap<String, Vec<Sample>>) -> Line {
        let results: BTreeMap<String, Figures> =
            samples.iter().filter_map(|(name, all)| Some((name.clone(), Figures::new(row.figure, all)?))).collect();
        let best_peer = results
            .iter()
            .filter(|(name, _)| ![OURS, FLOOR].contains(&name.as_str()))
            .map(|(_, its)| its.figure.median);
        let best_peer = best_peer.min_by(f64::total_cmp);
        let ratio = results.get(OURS).zip(best_peer).map(|(ours, best)| ours.figure.median / best);
        let pair = results.get(OURS).zip(results.get(FLOOR));
        let to_floor = pair.map(|(ours, floor)| ours.figure.median / floor.figure.median);
        let (name, title, unit) = (row.name.into(), row.title.into(), row.figure.unit());
        Line { name, title, unit, results, ratio, aim: row.aim, to_floor }
    }

    /// Whether the aim is reached; without one, whether nobody is better.
    fn is_reached(&self) -> Option<bool> {
        let at_floor = self.to_floor.is_some_and(|ratio| ratio <= AT_THE_FLOOR);
        let bound = self.aim.unwrap_or(1.0);
        self.ratio.map(|ratio| ratio <= bound || (ratio <= 1.0 && at_floor))
    }

    /// The ratio with the aim and whether it is reached, as `0.85 (<= 0.90 ok)`.
    fn verdict(&self) -> String {
        let (Some(ratio), Some(reached)) = (self.ratio, self.is_reached()) else { return "–".to_owned() };
        let mark = if reached { "ok" } else { "missed" };
        let floor = self.to_floor.map(|floor| format!(", {floor:.2} of the relay")).unwrap_or_default();
        format!("{ratio:.2} (<= {:.2} {mark}{floor})", self.aim.unwrap_or(1.0))
    }
}

impl Figures {
    fn new(figure: Figure, samples: &[Sample]) -> Option<Figures> {
        let of = |get: &dyn Fn(&Sample) -> f64| spread(&samples.iter().map(get).collect::<Vec<_>>());
        Some(Figures {
            figure: of(&|sample| figure.of(sample))?,
            cpu_us: of(&|sample| sample.cpu_us)?,
            memory_kib: of(&|sample| sample.memory_kib)?,
            p50_us: of(&|sample| sample.p50_us)?,
            p99_us: of(&|sample| sample.p99_us)?,
            per_second: of(&|sample| sample.per_second)?,
            proxy_busy: of(&|sample| sample.proxy_busy)?,
            load_busy: of(&|sample| sample.load_busy)?,
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
        self.table(out, "unit", Some("ours / best peer (aim)"), |line, its| match its.figure.median {
            small if small < 100.0 && !line.unit.contains("p50") => format!("{small:.1}"),
            large => format!("{large:.0}"),
        })?;
        writeln!(out, "\n### Latency as the clients saw it, p50 / p99 in µs\n")?;
        self.table(out, "", None, |_, its| format!("{:.0} / {:.0}", its.p50_us.median, its.p99_us.median))?;
        writeln!(out, "\n### Units a second, and the share of its core that the proxy used\n")?;
        self.table(out, "", None, |_, its| {
            format!("{:.0} ({:.0} %)", its.per_second.median, its.proxy_busy.median * 100.0)
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
        for line in &self.rows {
            write!(out, "| {} |", line.title)?;
            if !unit.is_empty() {
                write!(out, " {} |", line.unit)?;
            }
            let proxies = line.results.iter().filter(|(name, _)| *name != FLOOR);
            let best = proxies.map(|(_, its)| its.figure.median).min_by(f64::total_cmp);
            for column in &self.contenders {
                match line.results.get(&column.name) {
                    Some(its) if last.is_some() && column.name != FLOOR && Some(its.figure.median) == best => {
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
            memory_kib: 0.0,
            p50_us: 200.0,
            p99_us: 900.4,
            per_second: 30_000.0,
            proxy_busy: 0.985,
            load_busy: 1.0,
        }
    }

    pub fn report() -> Report {
        let samples = BTreeMap::from([
            ("clawgate".to_owned(), vec![sample(12.0), sample(99.0), sample(11.0)]),
            ("nginx".to_owned(), vec![sample(16.0); 3]),
            ("haproxy".to_owned(), vec![sample(150.0); 3]),
            ("caddy".to_owned(), vec![]),
        ]);
        let column = |name: &str| Column { name: name.into(), title: name.to_uppercase(), version: "1.0".into() };
        Report {
            machine: "a machine".into(),
            rounds: 3,
            shortened: 1,
            contenders: ["clawgate", "nginx", "haproxy", "caddy"].map(column).into(),
            rows: vec![Line::new(&ROWS[0], &samples)],
            notes: vec!["caddy was\nleft out".into()],
        }
    }

    #[test]
    fn the_ratio_is_our_median_by_the_best_peers() {
        assert_eq!(report().rows[0].ratio, Some(0.75));
    }

    #[test]
    fn the_relay_is_no_peer_and_being_close_to_it_reaches_the_aim() {
        let line = |relay: f64, nginx: f64| {
            let one = |name: &str, cpu| (name.to_owned(), vec![sample(cpu)]);
            Line::new(&ROWS[0], &BTreeMap::from([one("clawgate", 10.0), one("nginx", nginx), one("relay", relay)]))
        };
        assert_eq!(line(9.9, 10.5).verdict(), "0.95 (<= 0.90 ok, 1.01 of the relay)");
        assert_eq!(line(5.0, 10.5).verdict(), "0.95 (<= 0.90 missed, 2.00 of the relay)");
        assert_eq!(line(9.9, 9.0).verdict(), "1.11 (<= 0.90 missed, 1.01 of the relay)");
    }

    #[test]
    fn a_contender_without_a_result_is_a_dash_and_the_best_is_bold() {
        let text = report().markdown();
        let title = ROWS[0].title;
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
        report.rows.push(Line::new(&ROWS[1], &BTreeMap::from([("nginx".to_owned(), vec![sample(1.0)])])));
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
