//! `--watch`: asks every second, and shows what is new.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use api::{Client, ClientError, DropCount, Flow, FlowState, Timestamp};
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::cell;
use crate::failure::Failure;
use crate::noun::{drops, flow};
use crate::output::{Listing, Row, Shown, Style, Width};

/// Time between two questions. Flows that are done are kept for longer, so none is missed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows flows that appear, change their state and go, until an error ends it.
pub(crate) async fn flows(
    client: &Client,
    filter: &flow::Filter,
    style: &Style,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut listing = Listing::new(style);
    let mut tracker = FlowTracker::default();
    let mut pace = Pace::new();
    loop {
        let Some(mut flows) = pace.next(client.flows()).await? else {
            continue;
        };
        flows.retain(|flow| filter.takes(flow));
        listing.show(&tracker.update(flows, Timestamp(SystemTime::now())), out)?;
    }
}

/// Shows what was dropped before, then reasons whose count grows, until an error ends it.
pub(crate) async fn drops(
    client: &Client,
    filter: &drops::Filter,
    style: &Style,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut listing = Listing::new(style);
    let mut tracker = DropTracker::default();
    let mut pace = Pace::new();
    loop {
        let Some(mut drops) = pace.next(client.drops()).await? else {
            continue;
        };
        drops.retain(|drop| filter.takes(drop));
        listing.show(&tracker.update(drops, Timestamp(SystemTime::now())), out)?;
    }
}

/// When to ask, and what to do when there is no answer: before the first one that is a failure;
/// later netd may be restarting, and the watch goes on.
struct Pace {
    ticks: Interval,
    answered: bool,
    silent: bool,
}

impl Pace {
    fn new() -> Self {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            answered: false,
            silent: false,
        }
    }

    /// Waits for the next second and asks; `None` when netd did not answer this time.
    async fn next<T>(
        &mut self,
        question: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<Option<T>, Failure> {
        self.ticks.tick().await;
        match question.await {
            Ok(answer) => {
                self.answered = true;
                self.silent = false;
                Ok(Some(answer))
            }
            Err(error) if self.answered => {
                if !self.silent {
                    // The watch is worth more than this message.
                    let _ = writeln!(io::stderr(), "netctl: {error}; waiting for netd");
                }
                self.silent = true;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Something that happened to a flow.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FlowEvent {
    /// When it was noticed.
    time: Timestamp,
    /// What happened.
    event: Event,
    /// The flow, as it was last seen.
    #[serde(flatten)]
    flow: Flow,
}

/// What happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// It was there when the watch began.
    Present,
    /// It has appeared.
    New,
    /// Its state is another one.
    Changed,
    /// It has been forgotten.
    Gone,
}

impl Event {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Gone => "gone",
        }
    }
}

/// What tells one flow from another.
type FlowKey = (
    String,
    String,
    SocketAddr,
    Option<SocketAddr>,
    Option<SocketAddr>,
);

#[derive(Default)]
struct FlowTracker {
    known: Option<BTreeMap<FlowKey, Flow>>,
}

impl FlowTracker {
    /// What happened since the last call, in the order of the flows; those gone come last.
    fn update(&mut self, flows: Vec<Flow>, time: Timestamp) -> Vec<FlowEvent> {
        let first = self.known.is_none();
        let mut gone = self.known.take().unwrap_or_default();
        let mut known = BTreeMap::new();
        let mut events = Vec::new();
        for flow in flows {
            let key = key(&flow);
            let event = match gone.remove(&key) {
                None if first => Some(Event::Present),
                None => Some(Event::New),
                Some(before) => changed(before.state, flow.state),
            };
            if let Some(event) = event {
                let flow = flow.clone();
                events.push(FlowEvent { time, event, flow });
            }
            known.insert(key, flow);
        }
        self.known = Some(known);
        let event = Event::Gone;
        events.extend(
            gone.into_values()
                .map(|flow| FlowEvent { time, event, flow }),
        );
        events
    }
}

fn key(flow: &Flow) -> FlowKey {
    (
        flow.network.clone(),
        flow.protocol.clone(),
        flow.client,
        flow.frontend,
        flow.backend,
    )
}

fn changed(before: FlowState, after: FlowState) -> Option<Event> {
    (before != after).then_some(Event::Changed)
}

impl Shown for FlowEvent {
    fn example() -> Self {
        Self {
            time: Timestamp(SystemTime::UNIX_EPOCH),
            event: Event::New,
            flow: Flow::example(),
        }
    }
}

impl Row for FlowEvent {
    const HEADERS: &'static [&'static str] = &[
        "TIME",
        "EVENT",
        "NETWORK",
        "PROTOCOL",
        "CLIENT",
        "FRONTEND",
        "BACKEND",
        "SERVICE",
        "STATE",
        "DIRECTION",
        "IDLE",
        "EXPIRES",
        "PACKETS",
        "BYTES",
    ];

    fn cells(&self, width: Width) -> Vec<String> {
        let mut cells = vec![self.time.to_string(), self.event.as_str().to_owned()];
        cells.extend(self.flow.cells(width));
        cells
    }

    fn reference(&self) -> String {
        self.flow.reference()
    }
}

/// Packets that were dropped for one reason since the last look.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DropEvent {
    /// When it was noticed.
    time: Timestamp,
    /// How many; 0 at the first look, which shows what was dropped before.
    new: u64,
    /// The reason and its count.
    #[serde(flatten)]
    drop: DropCount,
}

#[derive(Default)]
struct DropTracker {
    known: Option<BTreeMap<String, u64>>,
}

impl DropTracker {
    /// At first what has been counted so far, nothing of it new; then the reasons whose count has
    /// grown since the last call. A count that is smaller than before began anew.
    fn update(&mut self, drops: Vec<DropCount>, time: Timestamp) -> Vec<DropEvent> {
        let first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        let mut events = Vec::new();
        for drop in drops {
            let before = known.insert(drop.reason.clone(), drop.count);
            let before = before.filter(|before| *before <= drop.count);
            let grown = drop.count - before.unwrap_or_default();
            if grown > 0 {
                let new = if first { 0 } else { grown };
                events.push(DropEvent { time, new, drop });
            }
        }
        events
    }
}

impl Shown for DropEvent {
    fn example() -> Self {
        Self {
            time: Timestamp(SystemTime::UNIX_EPOCH),
            new: 1,
            drop: DropCount::example(),
        }
    }
}

impl Row for DropEvent {
    const HEADERS: &'static [&'static str] = &[
        "TIME",
        "NEW",
        "REASON",
        "COUNT",
        "DESCRIPTION",
        "LAST SAMPLE",
    ];

    fn cells(&self, width: Width) -> Vec<String> {
        let new = (self.new > 0).then(|| format!("+{}", self.new));
        let mut cells = vec![self.time.to_string(), cell::optional(new)];
        cells.extend(self.drop.cells(width));
        cells
    }

    fn reference(&self) -> String {
        self.drop.reason.clone()
    }
}

#[cfg(test)]
mod tests;
