//! Draws throughput and p99 by connections as SVG.

use std::fmt::Write as _;

use super::report::{FEW_RECORDS, Report, Sample, Selection, Subject};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 60.0;
const COLOURS: [(Subject, &str, &str); 2] = [
    (Subject::Product, "through the queue", "#0b6e4f"),
    (Subject::Direct, "direct write", "#b5651d"),
];

/// Two panels, side by side.
pub fn svg(report: &Report) -> String {
    let mut connections: Vec<usize> = report
        .samples
        .iter()
        .filter(|sample| sample.operation == "save" && sample.records == FEW_RECORDS)
        .map(|sample| sample.connections)
        .collect();
    connections.sort_unstable();
    connections.dedup();
    let (width, height) = (2.0 * (WIDTH + MARGIN) + MARGIN, HEIGHT + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    panel(&mut svg, 0.0, "saves a second", &connections, |selected| {
        report.median(selected, |sample: &Sample| sample.per_second)
    });
    panel(
        &mut svg,
        WIDTH + MARGIN,
        "p99, ms",
        &connections,
        |selected| report.median(selected, |sample: &Sample| sample.p99),
    );
    svg + "</svg>\n"
}

fn panel(
    svg: &mut String,
    offset: f64,
    title: &str,
    connections: &[usize],
    value: impl Fn(Selection) -> f64,
) {
    let lines: Vec<Vec<f64>> = COLOURS
        .iter()
        .map(|(subject, ..)| {
            let selection = |connections: &usize| Selection {
                operation: "save",
                subject: *subject,
                connections: *connections,
                records: FEW_RECORDS,
            };
            connections.iter().map(|it| value(selection(it))).collect()
        })
        .collect();
    let axes = Axes {
        left: offset + MARGIN,
        columns: connections.len(),
        top: lines.iter().flatten().copied().fold(1.0, f64::max) * 1.1,
    };
    axes.draw(svg, title, connections);
    for ((line, (_, name, colour)), row) in lines.iter().zip(COLOURS).zip([0.0, 16.0]) {
        let points: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, value)| format!("{:.1},{:.1}", axes.x(column), axes.y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            points.join(" "),
            axes.left + 12.0,
            MARGIN + row
        );
    }
}

const BOTTOM: f64 = MARGIN + HEIGHT;

struct Axes {
    left: f64,
    columns: usize,
    /// The value at the top.
    top: f64,
}

impl Axes {
    #[expect(clippy::cast_precision_loss, reason = "there are only a few columns")]
    fn x(&self, column: usize) -> f64 {
        self.left + WIDTH * column as f64 / (self.columns.max(2) - 1) as f64
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - HEIGHT * value / self.top
    }

    fn draw(&self, svg: &mut String, title: &str, connections: &[usize]) {
        let left = self.left;
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}, by connections</text>\n\
             <path d=\"M{left} {MARGIN} V{BOTTOM} H{}\" fill=\"none\" stroke=\"#444\"/>",
            MARGIN - 20.0,
            left + WIDTH
        );
        for step in 0..=4 {
            let value = self.top * f64::from(step) / 4.0;
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value:.0}</text>",
                left - 6.0,
                self.y(value) + 4.0
            );
        }
        for (column, count) in connections.iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
                self.x(column),
                BOTTOM + 18.0
            );
        }
    }
}
