//! Findings about the host: their table, in the order of the checks, and a filter for what is not
//! well. The exit status is decided elsewhere, by the verdicts.

use api::{Finding, Verdict};

use crate::cell;
use crate::output::{Row, Shown, Width};

/// Which findings are shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only what is not as it should be
    #[arg(long)]
    problems: bool,
}

impl Filter {
    /// Whether `finding` is shown.
    pub(crate) fn takes(&self, finding: &Finding) -> bool {
        !self.problems || finding.verdict != Verdict::Ok
    }
}

impl Shown for Finding {
    fn example() -> Self {
        Self {
            id: "1".to_owned(),
            name: "mtu".to_owned(),
            about: "eth0".to_owned(),
            verdict: Verdict::Ok,
            message: "the underlay carries 1500 bytes, the overlay 1450".to_owned(),
            advice: "nothing".to_owned(),
        }
    }
}

impl Row for Finding {
    const HEADERS: &'static [&'static str] = &["CHECK", "ABOUT", "VERDICT", "FINDING"];

    /// What to do stands behind what was found: whoever reads the one wants the other.
    fn cells(&self, _width: Width) -> Vec<String> {
        let advice = match self.advice.as_str() {
            "" => String::new(),
            advice => format!(" -> {advice}"),
        };
        vec![
            self.name.clone(),
            cell::text(&self.about),
            self.verdict.as_str().to_owned(),
            format!("{}{advice}", self.message),
        ]
    }

    fn reference(&self) -> String {
        self.name.clone()
    }
}
