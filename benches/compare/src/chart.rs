//! The report as a picture for the documentation: SVG without scripts or fonts of its own. Pure.

use std::fmt::Write as _;

use crate::{
    contender::OURS,
    report::{Column, Line, Report},
};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 300.0;
const BAR: f64 = 13.0;
const GAP: f64 = 16.0;
const TOP: f64 = 70.0;
/// Longer bars are cut off here; the number beside them is whole.
const LONGEST: f64 = 4.0;
const UNIT: f64 = (WIDTH - LEFT - 70.0) / LONGEST;
/// Ours first; told apart by people who do not see red and green apart (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999"];

/// Each figure as a multiple of ours, row by row. Rows without a figure of ours are not in it.
pub fn svg(report: &Report) -> String {
    let rows: Vec<(&Line, f64)> = report.rows.iter().filter_map(|line| Some((line, ours(line)?))).collect();
    let mut bars = String::new();
    let mut y = TOP;
    for (line, ours) in rows {
        let begun = y;
        for (column, colour) in report.contenders.iter().zip(COLOURS.iter().cycle()) {
            let Some(figures) = line.results.get(&column.name) else { continue };
            bar(&mut bars, y, colour, figures.value / ours, figures.value);
            y += BAR + 2.0;
        }
        let middle = (begun + y) / 2.0;
        let (title, unit) = (escape(&line.title), escape(&line.unit));
        text(&mut bars, (LEFT - 10.0, middle - 2.0), "end", "#111", &title);
        text(&mut bars, (LEFT - 10.0, middle + 12.0), "end", "#666", &unit);
        y += GAP;
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" viewBox=\"0 0 {WIDTH} {y}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    let quick = if report.shortened > 1 { ", a quick look: not to be quoted" } else { "" };
    let title = format!(
        "Times ours, less is better: medians of {} rounds on {}{quick}",
        report.rounds,
        escape(&report.machine)
    );
    text(&mut out, (10.0, 20.0), "start", "#111", &title);
    legend(&mut out, &report.contenders);
    out += &bars;
    // Where every bar of a contender as good as ours would end.
    let one = LEFT + UNIT;
    writeln!(out, "<path d=\"M{one} {TOP}V{y}\" stroke=\"#111\" stroke-dasharray=\"3 3\"/>\n</svg>")
        .expect("writing to a String does not fail");
    out
}

fn ours(line: &Line) -> Option<f64> {
    line.results.get(OURS).map(|its| its.value).filter(|median| *median > 0.0)
}

fn bar(out: &mut String, y: f64, colour: &str, times: f64, figure: f64) {
    let long = times.clamp(0.0, LONGEST) * UNIT;
    writeln!(out, "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{long:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>")
        .expect("writing to a String does not fail");
    let label = if figure < 100.0 { format!("{figure:.1}") } else { format!("{figure:.0}") };
    text(out, (LEFT + long + 4.0, y + 10.0), "start", "#111", &label);
}

fn legend(out: &mut String, contenders: &[Column]) {
    let step = (WIDTH - 20.0) / contenders.len().max(1) as f64;
    for ((nth, column), colour) in contenders.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let x = 10.0 + step * nth as f64;
        writeln!(out, "<rect x=\"{x:.0}\" y=\"36\" width=\"10\" height=\"10\" fill=\"{colour}\"/>")
            .expect("writing to a String does not fail");
        let name = format!("{} {}", escape(&column.title), escape(&column.version));
        text(out, (x + 14.0, 45.0), "start", "#111", &name);
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, escaped: &str) {
    writeln!(out, "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{escaped}</text>")
        .expect("writing to a String does not fail");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::report;

    #[test]
    fn a_bar_is_as_long_as_its_multiple_of_ours_and_cut_off_with_its_number() {
        let picture = svg(&report());
        let width = |times: f64| format!("width=\"{:.1}\" height=\"{BAR}\"", times * UNIT);
        // 12, 16 and 150 by 12.
        for times in [1.0, 16.0 / 12.0, LONGEST] {
            assert!(picture.contains(&width(times)), "{times}: {picture}");
        }
        assert!(picture.contains(">150</text>"), "{picture}");
    }

    #[test]
    fn names_from_outside_are_text_and_nothing_else() {
        let mut report = report();
        report.machine = "<script>&".into();
        let picture = svg(&report);
        assert!(picture.contains("&lt;script&gt;&amp;") && !picture.contains("<script"), "{picture}");
    }
}
