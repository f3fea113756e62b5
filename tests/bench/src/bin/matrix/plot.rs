//! A line chart as SVG: several series over one logarithmic axis.
//!
//! Owns: the drawing, readable on a light and on a dark page. Must not: know what is measured.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 52.0;
/// Lines across.
const TICKS: u32 = 4;
/// Told apart by those who see few colours, too.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
const DASHES: [&str; 4] = ["none", "6 3", "2 3", "8 3 2 3"];

/// Values along the axis.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Position and value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart of its own, as text.
pub(crate) fn draw(title: &str, axis: &str, series: &[Series]) -> String {
    let all = || series.iter().flat_map(|one| &one.points);
    let low = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let high = all().map(|point| point.0).fold(0.0, f64::max);
    let top = nice(all().map(|point| point.1).fold(0.0, f64::max));
    let across = (high / low).ln().max(f64::EPSILON);
    let x = |value: f64| LEFT + (value / low).ln() / across * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escaped(title)
    );
    let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
        // Writing to a text cannot fail.
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{}</text>",
            escaped(words)
        )
        .ok();
    };
    text(LEFT, 18.0, "start", title);
    text((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", axis);
    for tick in 0..=TICKS {
        let value = top * f64::from(tick) / f64::from(TICKS);
        text(LEFT - 6.0, y(value) + 4.0, "end", &short(value));
    }
    let mut marks: Vec<f64> = all().map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        text(x(mark), HEIGHT - BOTTOM + 18.0, "middle", &short(mark));
    }
    for tick in 0..=TICKS {
        let at = y(top * f64::from(tick) / f64::from(TICKS));
        writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
            WIDTH - RIGHT
        )
        .ok();
    }
    let styles = COLOURS.iter().zip(DASHES).cycle();
    for ((number, one), (colour, dash)) in series.iter().enumerate().zip(styles) {
        let points: Vec<String> = one
            .points
            .iter()
            .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
            .collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
            points.join(" ")
        )
        .ok();
        let at = LEFT + 130.0 * number as f64;
        writeln!(
            out,
            "<line x1=\"{at}\" x2=\"{}\" y1=\"30\" y2=\"30\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>\n<text x=\"{}\" y=\"34\" fill=\"#222\">{}</text>",
            at + 24.0,
            at + 30.0,
            escaped(&one.name)
        )
        .ok();
    }
    out.push_str("</svg>\n");
    out
}

/// The next of 1, 2, 5, 10 and so on.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

/// As people write it: 0.25, 12, 4k, 1M.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{}M", trimmed(value / 1e6)),
        value if value >= 1e4 => format!("{}k", trimmed(value / 1e3)),
        value => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    let text = if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::{Series, draw, nice, short};

    #[test]
    fn numbers_are_short_and_the_axis_ends_above_the_highest() {
        assert_eq!(
            [0.25, 1.0, 12.0, 1000.0, 20_000.0, 1e6].map(short),
            ["0.25", "1", "12", "1000", "20k", "1M"]
        );
        assert_eq!([0.0, 0.3, 3.1, 10.0].map(nice), [1.0, 0.5, 5.0, 10.0]);
    }

    #[test]
    fn the_lowest_is_left_the_highest_right_and_words_are_escaped() {
        let series = [Series {
            name: "a<b".to_owned(),
            points: vec![(1.0, 0.0), (1000.0, 10.0)],
        }];
        let svg = draw("cost & size", "subscribers", &series);
        assert!(svg.contains("points=\"64.0,308.0 624.0,40.0\""), "{svg}");
        assert!(
            svg.contains("cost &amp; size") && svg.contains("a&lt;b"),
            "{svg}"
        );
    }
}
