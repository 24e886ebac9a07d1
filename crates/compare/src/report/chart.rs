//! Charts as SVG, drawn by hand: a line chart with axes, and bars over time. Colours come from the page's style, by the class
//! of a series, so that one picture is right in light and in dark.

use super::column::{count, three};

/// A series of points.
pub(super) struct Series {
    pub(super) name: String,
    /// Which colour: the place of its model among all models.
    pub(super) color: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart of series over two axes.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) x: Axis<'a>,
    pub(super) y: Axis<'a>,
    pub(super) series: Vec<Series>,
}

/// An axis.
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    /// Whether each step multiplies: for numbers that lie far apart. Zero and less do not appear then.
    pub(super) logarithmic: bool,
}

/// One bar of a Gantt picture: from, first byte, end, in milliseconds.
pub(super) struct Bar {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) success: bool,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// The extent of an axis, and its marks.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    marks: Vec<f64>,
}

impl Chart<'_> {
    /// The picture; `None` when there is nothing to draw.
    pub(super) fn svg(&self) -> Option<String> {
        let visible = |(x, y): &(f64, f64)| {
            let there = |value: f64, axis: &Axis<'_>| value.is_finite() && (!axis.logarithmic || value > 0.0);
            there(*x, &self.x) && there(*y, &self.y)
        };
        let all = || self.series.iter().flat_map(|series| &series.points).filter(|point| visible(point));
        let x = Scale::of(all().map(|point| point.0), self.x.logarithmic)?;
        let y = Scale::of(all().map(|point| point.1), self.y.logarithmic)?;
        let at = |point: &(f64, f64)| {
            (
                LEFT + x.place(point.0) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - y.place(point.1) * (HEIGHT - TOP - BOTTOM),
            )
        };
        let mut svg = open(WIDTH, HEIGHT, self.title);
        svg += &self.grid(&x, &y);
        for series in &self.series {
            let places: Vec<(f64, f64)> =
                series.points.iter().filter(|point| visible(point)).map(at).collect();
            svg += &draw(series, &places);
        }
        Some(svg + "</svg>\n")
    }

    fn grid(&self, x: &Scale, y: &Scale) -> String {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let mut svg = String::new();
        for mark in &y.marks {
            let place = bottom - y.place(*mark) * (bottom - TOP);
            svg += &format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>\
                 <text class=\"mark end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                LEFT - 8.0,
                place + 4.0,
                mark_text(*mark)
            );
        }
        for mark in &x.marks {
            let place = LEFT + x.place(*mark) * (right - LEFT);
            svg += &format!(
                "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"mark middle\" x=\"{place:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 16.0,
                mark_text(*mark)
            );
        }
        svg += &format!(
            "<text class=\"axis middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"axis middle\" transform=\"translate(13 {:.1}) rotate(-90)\">{}</text>\n",
            (LEFT + right) / 2.0,
            HEIGHT - 8.0,
            self.x.name,
            (TOP + bottom) / 2.0,
            self.y.name
        );
        svg
    }
}

fn draw(series: &Series, places: &[(f64, f64)]) -> String {
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut svg = String::new();
    if places.len() > 1 {
        svg += &format!("<polyline class=\"line m{}\" points=\"{}\"/>", series.color, path.join(" "));
    }
    // Many points are a line; few are what was measured.
    if places.len() <= 12 {
        for (x, y) in places {
            svg += &format!(
                "<circle class=\"dot m{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
                series.color, series.name
            );
        }
    }
    svg + "\n"
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, logarithmic: bool) -> Option<Scale> {
        let (low, high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        Some(if logarithmic { Scale::logarithmic(low, high) } else { Scale::linear(high) })
    }

    /// From zero, in four to eight steps of 1, 2 or 5 times a power of ten.
    fn linear(high: f64) -> Scale {
        let high = if high > 0.0 { high } else { 1.0 };
        let rough = high / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let steps = (high / step).ceil();
        let marks = (0..=steps as u32).map(|number| f64::from(number) * step).collect();
        Scale { low: 0.0, high: steps * step, logarithmic: false, marks }
    }

    /// Over whole powers of ten; where that is only one or two of them, with marks at 2 and 5 as well.
    fn logarithmic(low: f64, high: f64) -> Scale {
        let (first, mut last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        if first == last {
            last += 1;
        }
        let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut marks: Vec<f64> = (first..last)
            .flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)))
            .collect();
        marks.push(10f64.powi(last));
        Scale { low: 10f64.powi(first), high: 10f64.powi(last), logarithmic: true, marks }
    }

    /// Where a value lies, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        match self.logarithmic {
            true => (value / self.low).log10() / (self.high / self.low).log10(),
            false => (value - self.low) / (self.high - self.low),
        }
    }
}

fn mark_text(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 10_000.0 => format!("{} k", count(value / 1e3)),
        value if value >= 1.0 && (value - value.round()).abs() < 1e-9 => count(value),
        value if value >= 1.0 => three(value),
        // Steps that were added up: without what rounding has left behind.
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

fn open(width: f64, height: f64, title: &str) -> String {
    format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n")
}

/// The requests of one model as bars over time, all models with the same `end` at the right.
pub(super) fn gantt(title: &str, color: usize, bars: &[Bar], end: f64) -> String {
    const ROW: f64 = 9.0;
    const WIDE: f64 = 260.0;
    let height = ROW * bars.len() as f64 + 20.0;
    let place = |ms: f64| ms / end * (WIDE - 8.0) + 4.0;
    let mut svg = open(WIDE, height, title);
    let scale = Scale::linear(end);
    for mark in scale.marks.iter().filter(|mark| **mark <= end) {
        let x = place(*mark);
        svg += &format!(
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{:.1}\"/>\
             <text class=\"mark {}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            height - 16.0,
            if *mark == 0.0 { "start" } else { "middle" },
            height - 4.0,
            count(*mark)
        );
    }
    for (index, bar) in bars.iter().enumerate() {
        let (x, width) = (place(bar.from), (place(bar.to) - place(bar.from)).max(1.0));
        let class = if bar.success { format!("bar m{color}") } else { "bar failed".into() };
        svg += &format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" rx=\"2\">\
             <title>{} to {} ms</title></rect>",
            ROW * index as f64 + 1.0,
            ROW - 2.0,
            count(bar.from),
            count(bar.to)
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_cover_the_values_in_steps_that_people_count_in() {
        let scale = Scale::linear(87_000.0);
        assert_eq!(scale.marks, [0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0]);
        let scale = Scale::logarithmic(0.3, 4_000.0);
        assert_eq!((scale.low, scale.high, scale.marks.len()), (0.1, 10_000.0, 6));
        assert_eq!([0.0, 0.1 + 0.2, 2.5, 20_000.0].map(mark_text), ["0", "0.3", "2.50", "20 k"]);
        assert!((scale.place(10_000.0) - 1.0).abs() < 1e-9 && scale.place(0.1).abs() < 1e-9);
    }

    #[test]
    fn a_chart_without_points_is_none_and_one_with_points_has_them() {
        let axis = |logarithmic| Axis { name: "n", logarithmic };
        let chart = |points| Chart {
            title: "t",
            x: axis(false),
            y: axis(true),
            series: vec![Series { name: "fiber".into(), color: 6, points }],
        };
        assert!(chart(vec![]).svg().is_none() && chart(vec![(1.0, 0.0)]).svg().is_none());
        let svg = chart(vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 20.0)]).svg().unwrap();
        assert_eq!((svg.matches("<circle").count(), svg.matches("NaN").count()), (2, 0), "{svg}");
    }
}
