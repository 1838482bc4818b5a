//! `bench`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use integration::bench::{self, Effort, Measurement};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure; everything where nothing is named.
    #[arg(value_enum)]
    names: Vec<Measurement>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// How many rounds, 1 to 1,000: a figure is their median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// How long each way is used in a round, in short turns, in seconds, 0.1 to 600.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

pub(crate) fn run(arguments: &Bench) -> Result<()> {
    if !(0.1..=600.0).contains(&arguments.seconds) {
        bail!("--seconds is 0.1 to 600, not {}", arguments.seconds);
    }
    if !integration::can_make_labs() {
        bail!("benchmarks need root");
    }
    let effort = Effort {
        rounds: usize::from(arguments.rounds),
        window: Duration::from_secs_f64(arguments.seconds),
    };
    let names = match arguments.names.as_slice() {
        [] => Measurement::value_variants(),
        names => names,
    };
    let mut rows = Vec::new();
    let mut out = std::io::stdout().lock();
    for name in names {
        let measured = bench::run(*name, &effort)?;
        if arguments.json {
            for row in &measured {
                writeln!(out, "{}", serde_json::to_string(row)?)?;
            }
        }
        rows.extend(measured);
    }
    if !arguments.json {
        write!(out, "{}", bench::table(&rows))?;
    }
    Ok(())
}
