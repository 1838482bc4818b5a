//! Figures, for machines and for people.

use std::fmt::Write;

use serde::Serialize;

/// One figure. What JSON shows of it, `--json` promises to scripts: names stay.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The measurement.
    pub name: &'static str,
    /// Which case of it.
    pub variant: String,
    /// netd's figure, in `unit`.
    pub ours: f64,
    /// What it is compared with.
    pub peer: Option<String>,
    /// The peer's figure, in `unit`.
    pub peer_value: Option<f64>,
    /// CPU time per operation of the peer ÷ that of netd: above 1 means that netd costs less.
    pub ratio: Option<f64>,
    /// The unit of `ours` and `peer_value`.
    pub unit: &'static str,
    /// CPU time per operation, client and server included, in nanoseconds.
    pub cpu_ns_per_op: Option<f64>,
    /// Between which values single rounds lay: of the ratio, or of `ours` where there is none.
    #[serde(skip)]
    pub spread: Option<Spread>,
}

/// Lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// The middle of some values, and how far they are apart; `None` where there are none.
pub(super) fn median(values: &[f64]) -> Option<(f64, Spread)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let upper = sorted[sorted.len() / 2];
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((f64::midpoint(lower, upper), Spread { low, high }))
}

/// The figures as a table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "NAME",
            "VARIANT",
            "OURS",
            "PEER",
            "",
            "UNIT",
            "RATIO",
            "LOW–HIGH",
            "CPU/OP",
        ]
        .map(ToOwned::to_owned),
    ];
    lines.extend(rows.iter().map(cells));
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            let widths = lines.iter().map(|line| line[column].chars().count());
            widths.max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let joined = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", joined.trim_end());
    }
    text
}

fn cells(row: &Row) -> [String; 9] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    // Seconds are few, everything else is many.
    let fine = if row.unit == "s" { 6 } else { 0 };
    let digits = if row.ratio.is_some() { 2 } else { fine };
    [
        row.name.to_owned(),
        row.variant.clone(),
        format!("{:.fine$}", row.ours),
        or_dash(row.peer.clone()),
        or_dash(row.peer_value.map(|value| format!("{value:.fine$}"))),
        row.unit.to_owned(),
        or_dash(row.ratio.map(|ratio| format!("{ratio:.3}"))),
        or_dash(
            row.spread
                .map(|Spread { low, high }| format!("{low:.digits$}–{high:.digits$}")),
        ),
        or_dash(row.cpu_ns_per_op.map(|cpu| format!("{:.1} µs", cpu / 1e3))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            name: "vip-crr",
            variant: "packet".to_owned(),
            ours: 10_000.0,
            peer: Some("direct".to_owned()),
            peer_value: Some(10_500.0),
            ratio: Some(0.96),
            unit: "1/s",
            cpu_ns_per_op: Some(100_000.0),
            spread: Some(Spread {
                low: 0.95,
                high: 0.97,
            }),
        }
    }

    #[test]
    fn json_has_the_keys_that_scripts_rely_on() {
        let text = serde_json::to_string(&row()).unwrap();
        assert_eq!(
            text,
            "{\"name\":\"vip-crr\",\"variant\":\"packet\",\"ours\":10000.0,\"peer\":\"direct\",\
             \"peer_value\":10500.0,\"ratio\":0.96,\"unit\":\"1/s\",\"cpu_ns_per_op\":100000.0}"
        );
    }

    #[test]
    fn a_table_shows_what_is_missing() {
        let bare = Row {
            peer: None,
            peer_value: None,
            ratio: None,
            ..row()
        };
        let text = table(&[row(), bare]);
        assert!(text.contains("0.95–0.97"), "{text}");
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().last().unwrap().contains('–'));
    }

    #[test]
    fn the_median_is_the_middle() {
        let (middle, spread) = median(&[3.0, 1.0, 2.0]).unwrap();
        assert!((middle - 2.0).abs() < 1e-9);
        assert_eq!(
            spread,
            Spread {
                low: 1.0,
                high: 3.0
            }
        );
        assert!((median(&[1.0, 2.0]).unwrap().0 - 1.5).abs() < 1e-9);
        assert!(median(&[]).is_none());
    }
}
