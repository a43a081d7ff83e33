//! Medians of a few runs, and figures as people read them.

/// The middle of some runs, and their extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

/// The spread of `values`; `None` if there are none.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    };
    Some(Spread { least, median, most })
}

/// A time in nanoseconds, in three figures: `12.3 µs`.
pub(crate) fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{} ns", figures(ns)),
        ..1e6 => format!("{} µs", figures(ns / 1e3)),
        ..1e9 => format!("{} ms", figures(ns / 1e6)),
        _ => format!("{} s", figures(ns / 1e9)),
    }
}

/// A number in three figures: `123 k`.
pub(crate) fn number(value: f64) -> String {
    match value {
        ..1e3 => figures(value),
        ..1e6 => format!("{} k", figures(value / 1e3)),
        _ => format!("{} M", figures(value / 1e6)),
    }
}

fn figures(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_of_the_sorted_runs() {
        let odd = spread([3.0, 1.0, 2.0]);
        assert_eq!(
            odd,
            Some(Spread {
                least: 1.0,
                median: 2.0,
                most: 3.0
            })
        );
        assert_eq!(
            spread([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median),
            Some(2.5)
        );
        assert_eq!(spread([]), None);
    }

    #[test]
    fn figures_are_three() {
        assert_eq!(time(123.4), "123 ns");
        assert_eq!(time(12_345.0), "12.3 µs");
        assert_eq!(time(1_234_567.0), "1.23 ms");
        assert_eq!(number(589_000.0), "589 k");
        assert_eq!(number(1_234_567.0), "1.23 M");
    }
}
