//! The charts: lines over sizes and over calls in flight, bars for the small call. SVG, drawn from the rows of a run.

use std::path::Path;

use bench_harness::Error;
use plotters::prelude::*;

use crate::pick::{Figure, best};
use crate::plan::{IN_FLIGHT, SIZES};
use crate::report::{FLOORS, called};
use crate::row::Row;
use crate::statistics::{number, time};
use crate::table::size;

const PIXELS: (u32, u32) = (960, 600);
/// Pixels of a line of text.
const TEXT: i32 = 13;
/// Ours: thick.
const OURS: [RGBColor; 4] = [
    RGBColor(0, 70, 200),
    RGBColor(0, 150, 220),
    RGBColor(0, 170, 150),
    RGBColor(90, 120, 220),
];
/// The peers: thin.
const PEERS: [RGBColor; 8] = [
    RGBColor(220, 50, 32),
    RGBColor(225, 130, 0),
    RGBColor(150, 100, 0),
    RGBColor(190, 20, 110),
    RGBColor(110, 60, 170),
    RGBColor(200, 110, 110),
    RGBColor(150, 150, 30),
    RGBColor(90, 50, 50),
];
/// The floors.
const GREY: RGBColor = RGBColor(150, 150, 150);

/// What a chart shows of one system: a line, or a pair of bars.
struct Series {
    name: String,
    colour: RGBColor,
    width: u32,
    points: Vec<(f64, f64)>,
}

/// Draws every chart that the rows suffice for.
pub(crate) fn draw(directory: &Path, rows: &[Row]) -> Result<(), Error> {
    std::fs::create_dir_all(directory)?;
    for case in ["echo", "sum"] {
        let of_size = |bytes| format!("case={case} size={bytes} in_flight=1 connections=1 placement=free");
        plot(
            &directory.join(format!("{case}.svg")),
            &format!("{case}, one call at a time: median time, by size"),
            &series(rows, Figure::Median, &SIZES, of_size),
            (16.0, |bytes| size(bytes as usize)),
            time,
        )?;
    }
    let of_many = |many| format!("case=echo size=32 in_flight={many} connections=1 placement=free");
    plot(
        &directory.join("in-flight.svg"),
        "echo of 32 B: calls a second, by calls in flight on one connection",
        &series(rows, Figure::Rate, &IN_FLIGHT, of_many),
        (8.0, |many| format!("{many:.0}")),
        number,
    )?;
    bars(
        &directory.join("small.svg"),
        "echo of 32 B, one call at a time: median (dark) and 99th percentile (light)",
        rows,
    )
}

/// A line for each system that has a figure at two places or more.
fn series(rows: &[Row], figure: Figure, places: &[usize], pattern: impl Fn(usize) -> String) -> Vec<Series> {
    let with_points = |mut series: Series, system: &str, transport: &str| {
        for &place in places {
            let pattern = format!("{} system={system} transport={transport}", pattern(place));
            let value = best(rows, &pattern, figure, figure);
            series.points.extend(value.map(|value| (place as f64, value)));
        }
        series
    };
    systems(rows)
        .into_iter()
        .map(|(system, transport, series)| with_points(series, system, transport))
        .filter(|series| series.points.len() > 1)
        .collect()
}

/// Every system and transport that has a place in a chart, with its looks.
fn systems(rows: &[Row]) -> Vec<(&str, &str, Series)> {
    let mut seen = Vec::new();
    let (mut ours, mut peers) = (OURS.iter().cycle(), PEERS.iter().cycle());
    let mut all = Vec::new();
    for row in rows {
        let key = (row.system.as_str(), row.transport.as_str());
        // Their lines would lie on those of others.
        let crowd = matches!(
            key,
            ("ipc-rpc" | "raw", "tcp" | "pipe") | ("ring", "futex" | "aware")
        );
        if crowd || seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let (colour, width) = match key.0 {
            "ipc-rpc" => (ours.next(), 4),
            system if FLOORS.contains(&system) => (None, 1),
            _ => (peers.next(), 2),
        };
        all.push((
            key.0,
            key.1,
            Series {
                name: called(key.0, key.1).replace("**", ""),
                colour: *colour.unwrap_or(&GREY),
                width,
                points: Vec::new(),
            },
        ));
    }
    all
}

/// Lines between logarithmic axes; that of x has its marks at the powers of a base.
fn plot(
    file: &Path,
    title: &str,
    lines: &[Series],
    (x_base, x_label): (f64, fn(f64) -> String),
    y_label: impl Fn(f64) -> String,
) -> Result<(), Error> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (Some(x), Some(y)) = (
        range(points().map(|point| point.0)),
        range(points().map(|point| point.1)),
    ) else {
        return Ok(());
    };
    let root = SVGBackend::new(file, PIXELS).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 19))
        .margin(12)
        .margin_right(200)
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (x.0..x.1).log_scale().base(x_base),
            (y.0 / 1.4..y.1 * 1.4).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style(("sans-serif", 12))
        .x_label_formatter(&|value| x_label(*value))
        .y_label_formatter(&|value| y_label(*value))
        .draw()?;
    // Each line is named at its end, where the eye already is; a name that has no room goes under the one above.
    let mut names = Vec::new();
    for line in lines {
        let style = ShapeStyle::from(&line.colour).stroke_width(line.width);
        chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        let dot = |&point| Circle::new(point, line.width + 1, line.colour.filled());
        chart.draw_series(line.points.iter().map(dot))?;
        if let Some(last) = line.points.last() {
            names.push((chart.backend_coord(last), line));
        }
    }
    names.sort_by_key(|((_, y), _)| *y);
    let right = PIXELS.0 as i32 - 190;
    let mut free = 0;
    for ((_, y), line) in names {
        let y = (y - TEXT / 2).max(free);
        free = y + TEXT;
        let style = TextStyle::from(("sans-serif", 12)).color(&line.colour);
        root.draw_text(&line.name, &style, (right, y))?;
    }
    root.present()?;
    Ok(())
}

/// Bars of the small call, the fastest on top.
fn bars(file: &Path, title: &str, rows: &[Row]) -> Result<(), Error> {
    let pattern = "case=echo size=32 in_flight=1 connections=1 placement=free";
    let mut all: Vec<(f64, f64, Series)> = systems(rows)
        .into_iter()
        .filter_map(|(system, transport, series)| {
            let pattern = format!("{pattern} system={system} transport={transport}");
            let figure = |figure| best(rows, &pattern, Figure::Median, figure);
            Some((figure(Figure::Median)?, figure(Figure::Tail)?, series))
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some(x) = range(all.iter().flat_map(|(median, tail, _)| [*median, *tail])) else {
        return Ok(());
    };
    let left = x.0 / 1.5;
    let height = 70 + 24 * all.len() as u32;
    let root = SVGBackend::new(file, (PIXELS.0, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 19))
        .margin(12)
        .margin_left(200)
        .x_label_area_size(30)
        .build_cartesian_2d((left..x.1 * 1.2).log_scale(), 0.0..all.len() as f64)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style(("sans-serif", 12))
        .x_label_formatter(&|value| time(*value))
        .draw()?;
    for (at, (median, tail, series)) in all.iter().enumerate() {
        let (bottom, top) = (at as f64 + 0.15, at as f64 + 0.85);
        let bar = |value: f64, opacity| {
            Rectangle::new(
                [(left, bottom), (value, top)],
                series.colour.mix(opacity).filled(),
            )
        };
        chart.draw_series([bar(*tail, 0.35), bar(*median, 1.0)])?;
        let (_, y) = chart.backend_coord(&(left, at as f64 + 0.5));
        let style = TextStyle::from(("sans-serif", 12)).color(&series.colour);
        root.draw_text(&series.name, &style, (12, y - TEXT / 2))?;
    }
    root.present()?;
    Ok(())
}

fn range(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let least = values.clone().reduce(f64::min)?;
    let most = values.reduce(f64::max)?;
    (least > 0.0 && most > least).then_some((least, most))
}
