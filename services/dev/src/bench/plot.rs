//! Throughput and p99 over connections, as a drawing.

use std::fmt::Write as _;

use super::{
    FEW_RECORDS, Subject,
    report::{Report, Sample, Which},
};

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
        .filter(|sample| sample.what == "save" && sample.records == FEW_RECORDS)
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
    panel(&mut svg, 0.0, "saves a second", &connections, |which| {
        report.median(which, |sample: &Sample| sample.per_second)
    });
    panel(&mut svg, WIDTH + MARGIN, "p99, ms", &connections, |which| {
        report.median(which, |sample: &Sample| sample.p99)
    });
    svg + "</svg>\n"
}

fn panel(
    svg: &mut String,
    offset: f64,
    title: &str,
    connections: &[usize],
    value: impl Fn(Which) -> f64,
) {
    let lines: Vec<Vec<f64>> = COLOURS
        .iter()
        .map(|(subject, ..)| {
            let of = |connections: &usize| Which {
                what: "save",
                subject: *subject,
                connections: *connections,
                records: FEW_RECORDS,
            };
            connections.iter().map(|it| value(of(it))).collect()
        })
        .collect();
    let top = lines.iter().flatten().copied().fold(1.0, f64::max) * 1.1;
    let (left, bottom) = (offset + MARGIN, MARGIN + HEIGHT);
    #[expect(clippy::cast_precision_loss, reason = "a handful of places")]
    let x = |place: usize| left + WIDTH * place as f64 / (connections.len().max(2) - 1) as f64;
    let y = |value: f64| bottom - HEIGHT * value / top;
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{title}, by connections</text>\n\
         <path d=\"M{left} {MARGIN} V{bottom} H{}\" fill=\"none\" stroke=\"#444\"/>",
        MARGIN - 20.0,
        left + WIDTH
    );
    for step in 0..=4 {
        let at = top * f64::from(step) / 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{at:.0}</text>",
            left - 6.0,
            y(at) + 4.0
        );
    }
    for (place, count) in connections.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
            x(place),
            bottom + 18.0
        );
    }
    for ((line, (_, name, colour)), row) in lines.iter().zip(COLOURS).zip([0.0, 16.0]) {
        let points: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(place, value)| format!("{:.1},{:.1}", x(place), y(*value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            points.join(" "),
            left + 12.0,
            MARGIN + row
        );
    }
}
