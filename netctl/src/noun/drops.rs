//! Drop reasons: their table, of those that have occurred unless all are asked for, and a filter by
//! name. What a reason means is netd's to say.

use std::time::SystemTime;

use api::{DropCount, DropSample, Timestamp};

use crate::cell;
use crate::output::{Row, Shown, Width};

/// Which reasons are listed.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only this reason (may be given several times)
    #[arg(long, value_name = "NAME")]
    reason: Vec<String>,
    /// Reasons that never occurred, too
    #[arg(short, long)]
    all: bool,
}

impl Filter {
    /// Whether `drop` is listed.
    pub(crate) fn takes(&self, drop: &DropCount) -> bool {
        let named = self.reason.contains(&drop.reason);
        if self.reason.is_empty() {
            drop.count > 0 || self.all
        } else {
            named
        }
    }

    /// The reasons that were asked for and that netd does not have.
    pub(crate) fn unknown<'a>(&'a self, drops: &'a [DropCount]) -> impl Iterator<Item = &'a str> {
        self.reason
            .iter()
            .map(String::as_str)
            .filter(|reason| drops.iter().all(|drop| drop.reason != *reason))
    }
}

impl Shown for DropCount {
    fn example() -> Self {
        Self {
            id: "17".to_owned(),
            name: "no-backend".to_owned(),
            reason: "no-backend".to_owned(),
            count: 1,
            description: "The service has no backend; the client was told.".to_owned(),
            last_sample: Some(DropSample {
                time: Timestamp(SystemTime::UNIX_EPOCH),
                interface: "eth0".to_owned(),
                network: "app".to_owned(),
                protocol: "tcp".to_owned(),
                source: "10.0.1.11:4711".to_owned(),
                destination: "10.0.1.2:80".to_owned(),
                length: 74,
            }),
        }
    }
}

impl Row for DropCount {
    const HEADERS: &'static [&'static str] = &["REASON", "COUNT", "DESCRIPTION", "LAST SAMPLE"];

    fn cells(&self, width: Width) -> Vec<String> {
        vec![
            self.reason.clone(),
            self.count.to_string(),
            cell::shorten(self.description.clone(), width),
            cell::optional(self.last_sample.as_ref().map(sample)),
        ]
    }

    fn reference(&self) -> String {
        self.reason.clone()
    }
}

/// `3s ago on eth0 in app: tcp 10.0.1.11:4711 -> 10.0.1.2:80, 74 bytes`
fn sample(sample: &DropSample) -> String {
    let age = cell::span(sample.time.age(SystemTime::now()));
    let network = match sample.network.as_str() {
        "" => String::new(),
        network => format!(" in {network}"),
    };
    format!(
        "{age} ago on {}{network}: {} {} -> {}, {} bytes",
        cell::text(&sample.interface),
        cell::text(&sample.protocol),
        cell::text(&sample.source),
        cell::text(&sample.destination),
        sample.length
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_occurred_is_listed_on_request_only() {
        let mut drop = DropCount::example();
        drop.count = 0;
        assert!(!Filter::default().takes(&drop));
        let all = Filter {
            all: true,
            ..Filter::default()
        };
        assert!(all.takes(&drop));
        let named = Filter {
            reason: vec!["no-backend".to_owned()],
            ..Filter::default()
        };
        assert!(
            named.takes(&drop),
            "whoever names a reason wants to see its zero"
        );
    }

    #[test]
    fn a_reason_that_does_not_exist_is_found_out() {
        let filter = Filter {
            reason: vec!["no-backend".to_owned(), "bad-luck".to_owned()],
            ..Filter::default()
        };
        let drops = [DropCount::example()];
        assert_eq!(filter.unknown(&drops).collect::<Vec<_>>(), ["bad-luck"]);
    }
}
