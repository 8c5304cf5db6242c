//! Curves on logarithmic axes as SVG, with the exponent of each.

use std::fmt::Write as _;

/// How a value grows with a number.
#[derive(Debug)]
pub(crate) struct Curve {
    /// What is measured, with its unit.
    pub(crate) name: String,
    /// Number and value, ascending.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            points: Vec::new(),
        }
    }

    /// The exponent b of value ~ number^b over the last two decades, by least squares of the logarithms: what counts is the
    /// end, where constants are small beside the rest. None: too few points.
    pub(crate) fn exponent(&self) -> Option<f64> {
        let last = self.points.last()?.0;
        let end: Vec<(f64, f64)> = self
            .points
            .iter()
            .filter(|(x, y)| *x >= last / 100.0 * 0.999 && *y > 0.0)
            .map(|(x, y)| (x.log10(), y.log10()))
            .collect();
        if end.len() < 2 {
            return None;
        }
        let count = end.len() as f64;
        let mean_x = end.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = end.iter().map(|(_, y)| y).sum::<f64>() / count;
        let above: f64 = end.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let below: f64 = end.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        (below > 0.0).then(|| above / below)
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const MARGIN: f64 = 60.0;
const COLOURS: [&str; 6] = ["#1b6ca8", "#c8553d", "#588157", "#7b2d8b", "#b8860b", "#444444"];

/// The picture of some curves over one number.
pub(crate) fn svg(title: &str, axis: &str, curves: &[Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let decade = |value: f64| value.max(1e-6).log10();
    let low_x = all()
        .map(|(x, _)| decade(x))
        .fold(f64::INFINITY, f64::min)
        .floor();
    let high_x = all()
        .map(|(x, _)| decade(x))
        .fold(f64::NEG_INFINITY, f64::max)
        .ceil();
    let low_y = all()
        .map(|(_, y)| decade(y))
        .fold(f64::INFINITY, f64::min)
        .floor();
    let high_y = all()
        .map(|(_, y)| decade(y))
        .fold(f64::NEG_INFINITY, f64::max)
        .ceil();
    let x_of = |x: f64| MARGIN + (decade(x) - low_x) / (high_x - low_x).max(1.0) * (WIDTH - 2.0 * MARGIN);
    let y_of =
        |y: f64| HEIGHT - MARGIN - (decade(y) - low_y) / (high_y - low_y).max(1.0) * (HEIGHT - 2.0 * MARGIN);
    let below = HEIGHT + 20.0 * curves.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {below}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"16\">{title}</text>\n"
    );
    let mut line = |x1: f64, y1: f64, x2: f64, y2: f64| {
        writeln!(
            out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>"
        )
        .expect("a string takes all");
    };
    let decades = |low: f64, high: f64| (low as i32..=high as i32).map(|n| 10_f64.powi(n));
    for x in decades(low_x, high_x) {
        line(x_of(x), MARGIN, x_of(x), HEIGHT - MARGIN);
    }
    for y in decades(low_y, high_y) {
        line(MARGIN, y_of(y), WIDTH - MARGIN, y_of(y));
    }
    for x in decades(low_x, high_x) {
        let (at, y) = (x_of(x), HEIGHT - MARGIN + 18.0);
        writeln!(
            out,
            "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{x}</text>"
        )
        .expect("a string takes all");
    }
    for y in decades(low_y, high_y) {
        let (x, at) = (MARGIN - 6.0, y_of(y) + 4.0);
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{at:.1}\" text-anchor=\"end\">{y}</text>"
        )
        .expect("a string takes all");
    }
    let (middle, y) = (WIDTH / 2.0, HEIGHT - MARGIN + 40.0);
    writeln!(
        out,
        "<text x=\"{middle}\" y=\"{y}\" text-anchor=\"middle\">{axis}</text>"
    )
    .expect("a string takes all");
    for (n, curve) in curves.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        let path: Vec<String> = curve
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", x_of(*x), y_of(*y)))
            .collect();
        let exponent = curve
            .exponent()
            .map_or(String::new(), |exponent| format!(", exponent {exponent:.2}"));
        let (y, name) = (HEIGHT + 20.0 * n as f64, &curve.name);
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{MARGIN}\" y=\"{y}\" fill=\"{colour}\">{name}{exponent}</text>",
            path.join(" ")
        )
        .expect("a string takes all");
    }
    out.push_str("</svg>\n");
    out
}
