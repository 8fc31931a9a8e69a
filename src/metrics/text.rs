//! Prometheus' text format 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
//!
//! Written here and not by `prometheus-client`: that crate writes OpenMetrics only, which node_exporter's textfile
//! collector and older scrapers do not read, and wants its own counters, which have locks.

use std::fmt::{Display, Write};

use super::{Kind, Metric, count::Readings};

/// What [`Page`] is, for `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A scrape's answer as it grows. All samples of one metric have to come together.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    /// Whose samples are being written.
    metric: Option<&'static str>,
}

impl Page {
    /// One sample. `values` are the values of the metric's labels, in its order.
    pub fn sample(&mut self, metric: &'static Metric, values: &[&str], value: impl Display) {
        self.begin(metric);
        self.line(metric, "", values, None, value);
    }

    /// A counter that is shown once it has counted something: of a table with many cells most stay empty.
    pub fn counted(&mut self, metric: &'static Metric, values: &[&str], value: u64) {
        if value > 0 {
            self.sample(metric, values, value);
        }
    }

    /// A histogram's buckets, sum and count.
    pub fn histogram(&mut self, metric: &'static Metric, values: &[&str], readings: &Readings) {
        self.begin(metric);
        let mut below = 0;
        for (at, n) in readings.buckets.iter().enumerate() {
            below += n;
            let end = Readings::end(at).map_or("+Inf".to_owned(), |end| end.to_string());
            self.line(metric, "_bucket", values, Some(&end), below);
        }
        self.line(metric, "_sum", values, None, readings.micros as f64 / 1e6);
        self.line(metric, "_count", values, None, below);
    }

    pub fn text(self) -> String {
        self.text
    }

    fn begin(&mut self, metric: &'static Metric) {
        if self.metric == Some(metric.name) {
            return;
        }
        self.metric = Some(metric.name);
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = metric.help.replace('\\', r"\\").replace('\n', r"\n");
        let _ = write!(self.text, "# HELP {0} {help}\n# TYPE {0} {kind}\n", metric.name);
    }

    fn line(&mut self, metric: &Metric, suffix: &str, values: &[&str], le: Option<&str>, value: impl Display) {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let _ = write!(self.text, "{}{suffix}", metric.name);
        let labels = metric.labels.iter().copied().zip(values.iter().copied()).chain(le.map(|le| ("le", le)));
        let mut before = '{';
        for (label, value) in labels {
            let _ = write!(self.text, "{before}{label}=\"");
            escape(&mut self.text, value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_parse::{Scrape, Value};
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::Histogram;

    const LABELLED: Metric =
        Metric { name: "a_total", kind: Kind::Counter, help: "With \\ and\nmore.", labels: &["x", "y"] };
    const PLAIN: Metric = Metric { name: "b_bytes", kind: Kind::Gauge, help: "Plain.", labels: &[] };
    const TIMES: Metric = Metric { name: "c_seconds", kind: Kind::Histogram, help: "Times.", labels: &["x"] };

    #[test]
    fn a_page_looks_like_this() {
        let mut page = Page::default();
        page.sample(&LABELLED, &["1", "say \"\\\"\n"], 7);
        page.sample(&LABELLED, &["2", ""], 8);
        page.counted(&LABELLED, &["3", ""], 0);
        page.sample(&PLAIN, &[], 1.5);
        let expected = "# HELP a_total With \\\\ and\\nmore.\n# TYPE a_total counter\n\
                        a_total{x=\"1\",y=\"say \\\"\\\\\\\"\\n\"} 7\na_total{x=\"2\",y=\"\"} 8\n\
                        # HELP b_bytes Plain.\n# TYPE b_bytes gauge\nb_bytes 1.5\n";
        assert_eq!(page.text(), expected);
    }

    fn parsed(page: Page) -> Scrape {
        Scrape::parse(page.text().lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_a_parser_reads(
            // The parser of the test does not undo escapes, which the test above holds.
            x in "[a-zA-Z0-9._*:/ -]{0,20}", y in "[a-zA-Z0-9._*:/ -]{0,20}", n in 0u64..(1 << 53), gauge in -1e12f64..1e12,
        ) {
            let mut page = Page::default();
            page.sample(&LABELLED, &[&x, &y], n);
            page.sample(&PLAIN, &[], gauge);
            let scrape = parsed(page);
            prop_assert_eq!(scrape.samples.len(), 2);
            let first = &scrape.samples[0];
            prop_assert_eq!((&*first.metric, first.labels.get("x"), first.labels.get("y")), ("a_total", Some(&*x), Some(&*y)));
            prop_assert_eq!(&first.value, &Value::Counter(n as f64));
            prop_assert_eq!(&scrape.samples[1].value, &Value::Gauge(gauge));
        }

        #[test]
        fn a_histogram_is_cumulative_and_ends_at_its_count(micros in prop::collection::vec(0u64..200_000_000, 0..50)) {
            let histogram = Histogram::default();
            for micros in &micros {
                histogram.record(Duration::from_micros(*micros));
            }
            let mut page = Page::default();
            page.histogram(&TIMES, &["site"], &histogram.read());
            let scrape = parsed(page);
            let buckets = scrape.samples.iter().find_map(|sample| match &sample.value {
                Value::Histogram(buckets) => Some(buckets),
                _ => None,
            });
            let buckets = buckets.expect("buckets");
            let under = |end: f64| micros.iter().filter(|m| **m as f64 / 1e6 <= end).count() as f64;
            for bucket in buckets {
                prop_assert_eq!(bucket.count, under(bucket.less_than), "le {}", bucket.less_than);
            }
            prop_assert_eq!(buckets.last().unwrap().less_than, f64::INFINITY);
        }
    }
}
