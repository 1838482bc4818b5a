//! How values look in a table's cell.

use std::fmt::Display;
use std::time::Duration;

use crate::output::Width;

/// What an absent value looks like.
const NONE: &str = "-";

/// Longest cell that a table shows unless asked for everything, in characters.
const SHORT: usize = 40;

/// A value that may be absent.
pub(crate) fn optional<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// A text that may be empty.
pub(crate) fn text(text: &str) -> String {
    optional((!text.is_empty()).then_some(text))
}

/// Several values.
pub(crate) fn list<T: Display>(values: &[T]) -> String {
    let values: Vec<_> = values.iter().map(ToString::to_string).collect();
    text(&values.join(", "))
}

/// A text that is cut where tables are narrow.
pub(crate) fn shorten(text: String, width: Width) -> String {
    if width == Width::Full || text.chars().count() <= SHORT {
        return text;
    }
    let mut short: String = text.chars().take(SHORT - 1).collect();
    short.push('…');
    short
}

/// A time in seconds, of which 0 is none.
pub(crate) fn seconds(seconds: u32) -> String {
    optional((seconds > 0).then(|| span(Duration::from_secs(seconds.into()))))
}

/// A part of a whole.
pub(crate) fn percent(percent: f64) -> String {
    format!("{percent:.1}%")
}

/// Yes or no.
pub(crate) fn flag(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

/// A time span by its two largest units: `250ms`, `12s`, `3m20s`, `2h4m`, `5d2h`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (large, small) = match seconds {
        0 => return format!("{}ms", span.as_millis()),
        1..60 => return format!("{seconds}s"),
        60..3_600 => ((seconds / 60, "m"), (seconds % 60, "s")),
        3_600..86_400 => ((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        86_400.. => ((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    };
    match small.0 {
        0 => format!("{}{}", large.0, large.1),
        _ => format!("{}{}{}{}", large.0, large.1, small.0, small.1),
    }
}

/// A number of bytes with three digits or so: `512B`, `1.5kB`, `23MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes}B");
    }
    let mut tenths = bytes / 100;
    let mut unit = 0;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1_000;
        unit += 1;
    }
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if whole >= 10 || tenth == 0 {
        format!("{whole}{}", UNITS[unit])
    } else {
        format!("{whole}.{tenth}{}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let cases = [
            (0, "0ms"),
            (250, "250ms"),
            (12_999, "12s"),
            (200_000, "3m20s"),
            (7_440_000, "2h4m"),
            (7_200_000, "2h"),
            (439_200_000, "5d2h"),
        ];
        for (ms, expected) in cases {
            assert_eq!(span(Duration::from_millis(ms)), expected);
        }
    }

    #[test]
    fn byte_counts_are_short() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1kB"),
            (1_549, "1.5kB"),
            (23_456_789, "23MB"),
            (999_999, "999kB"),
            (u64::MAX, "18EB"),
        ];
        for (count, expected) in cases {
            assert_eq!(bytes(count), expected);
        }
    }

    #[test]
    fn long_texts_are_cut_unless_everything_is_wanted() {
        let long = "x".repeat(41);
        assert_eq!(shorten(long.clone(), Width::Full), long);
        assert_eq!(shorten(long, Width::Short).chars().count(), 40);
        assert_eq!(shorten("x".repeat(40), Width::Short), "x".repeat(40));
    }

    #[test]
    fn nothing_is_a_dash() {
        assert_eq!(text(""), "-");
        assert_eq!(list::<u8>(&[]), "-");
        assert_eq!(list(&[1, 2]), "1, 2");
        assert_eq!(optional::<u8>(None), "-");
    }
}
