//! Asks, picks what was asked for, and shows it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::SystemTime;

use api::{Client, ClientError, Trace, TraceQuestion, Verdict};
use clap::CommandFactory;

use crate::args::Args;
use crate::failure::Failure;
use crate::noun::{drops, endpoint, flow, network, status, trace, vip};
use crate::output::{Format, Listing, OutputError, Row, Shown, Style, inspect, single};
use crate::request::{List, Named, Question, Request};
use crate::watch;

mod probe;

/// Does what was asked; the answer goes to `out`.
pub(crate) async fn run(request: Request, out: &mut impl Write) -> Result<(), Failure> {
    let client = Client::new(request.socket);
    match request.question {
        Question::Status(format) => {
            let answer = client.status().await?;
            let human = |answer: &_| status::describe(answer, SystemTime::now());
            Ok(single(&answer, &format, human, out)?)
        }
        Question::List(what, style) => list(&client, what, &style, out).await,
        Question::Inspect(kind, names, format) => {
            inspect_all(&client, kind, &names, &format, out).await
        }
        Question::WatchFlows(filter, style) => {
            refuse_unknown_service(&client, &filter).await?;
            until_interrupted(watch::flows(&client, &filter, &style, out)).await
        }
        Question::WatchDrops(filter, style) => {
            refuse_unknown(&filter, &client.drops().await?)?;
            until_interrupted(watch::drops(&client, &filter, &style, out)).await
        }
        Question::Doctor(filter, style) => {
            let mut findings = client.doctor().await?;
            let fails = findings.iter().any(|it| it.verdict == Verdict::Fail);
            findings.retain(|it| filter.takes(it));
            Listing::new(&style).show(&findings, out)?;
            if fails { Err(Failure::Unwell) } else { Ok(()) }
        }
        Question::Trace(ends, format) => {
            let others = request.others.into_iter().map(Client::new).collect();
            let trace = match ends.sending() {
                None => follow(client, others, ends.question()).await?,
                Some(timeout) => probe::send(client, others, ends.question(), timeout).await?,
            };
            Ok(single(&trace, &format, trace::describe, out)?)
        }
        Question::Completion(shell) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "netctl", &mut script);
            let written = out.write_all(&script).and_then(|()| out.flush());
            Ok(written.map_err(OutputError::Write)?)
        }
    }
}

/// Asks one netd after the other what becomes of a packet, as far as their sockets are known.
async fn follow(
    first: Client,
    others: Vec<Client>,
    question: TraceQuestion,
) -> Result<Trace, Failure> {
    let mut trace = first.trace(&question).await?;
    let mut clients = BTreeMap::new();
    if trace.next.is_some() {
        for client in others.into_iter().chain([first]) {
            clients.insert(client.status().await?.node, client);
        }
    }
    while let Some(next) = trace.next.take() {
        // Each is asked once: whoever comes back to a node goes round in circles.
        let Some(client) = clients.remove(&next.node) else {
            trace.next = Some(next);
            break;
        };
        let answer = client.trace(&next.question).await?;
        trace.hops.retain(|hop| hop.verified);
        if trace.hops.is_empty() {
            trace.id = answer.id;
        }
        trace.hops.extend(answer.hops);
        trace.next = answer.next;
    }
    match &trace.next {
        Some(next) if trace.hops.is_empty() => Err(Failure::Elsewhere(next.node.clone())),
        _ => Ok(trace),
    }
}

/// Lets a watch run until the user has seen enough, which is no failure.
async fn until_interrupted(
    watch: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    tokio::select! {
        ended = watch => ended,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Start),
    }
}

async fn list(
    client: &Client,
    what: List,
    style: &Style,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match what {
        List::Networks => show(client.networks().await?, |_| true, style, out),
        List::Endpoints(filter) => show(
            client.endpoints().await?,
            |row| filter.takes(row),
            style,
            out,
        ),
        List::Vips(filter) => show(client.vips().await?, |row| filter.takes(row), style, out),
        List::Ports(filter) => show(client.ports().await?, |row| filter.takes(row), style, out),
        List::Flows(filter) => {
            refuse_unknown_service(client, &filter).await?;
            show(client.flows().await?, |row| filter.takes(row), style, out)
        }
        List::Drops(filter) => {
            let rows = client.drops().await?;
            refuse_unknown(&filter, &rows)?;
            show(rows, |row| filter.takes(row), style, out)
        }
    }
}

fn show<T: Row>(
    mut rows: Vec<T>,
    takes: impl Fn(&T) -> bool,
    style: &Style,
    out: &mut impl Write,
) -> Result<(), Failure> {
    rows.retain(takes);
    Ok(Listing::new(style).show(&rows, out)?)
}

/// A misspelt service would look like one without flows.
async fn refuse_unknown_service(client: &Client, filter: &flow::Filter) -> Result<(), Failure> {
    let Some(wanted) = filter.service() else {
        return Ok(());
    };
    let is_it = |name: &str| name.eq_ignore_ascii_case(wanted);
    let is_known = client.vips().await?.iter().any(|vip| is_it(&vip.name))
        || client
            .ports()
            .await?
            .iter()
            .any(|port| is_it(&port.service));
    if is_known {
        Ok(())
    } else {
        Err(Failure::UnknownService(wanted.to_owned()))
    }
}

/// A misspelt reason would look like one that never occurs.
fn refuse_unknown(filter: &drops::Filter, drops: &[api::DropCount]) -> Result<(), Failure> {
    let unknown: Vec<_> = filter.unknown(drops).map(ToOwned::to_owned).collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Failure::UnknownReasons(unknown))
    }
}

async fn inspect_all(
    client: &Client,
    kind: Named,
    names: &[String],
    format: &Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match kind {
        Named::Network => {
            let found = each(names, |name| client.network(name)).await?;
            found.show(format, network::describe, out)
        }
        Named::Endpoint => {
            let found = each(names, |name| client.endpoint(name)).await?;
            found.show(format, endpoint::describe, out)
        }
        Named::Vip => {
            let found = each(names, |name| client.vip(name)).await?;
            found.show(format, vip::describe, out)
        }
    }
}

/// What was found of the objects asked for, and why the others were not.
struct Found<T> {
    objects: Vec<T>,
    refusals: Vec<ClientError>,
}

async fn each<'a, T, F: Future<Output = Result<T, ClientError>>>(
    names: &'a [String],
    ask: impl Fn(&'a str) -> F,
) -> Result<Found<T>, Failure> {
    let mut objects = Vec::new();
    let mut refusals = Vec::new();
    for name in names {
        match ask(name).await {
            Ok(object) => objects.push(object),
            Err(refusal @ ClientError::Refused { .. }) => refusals.push(refusal),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Found { objects, refusals })
}

impl<T: Shown> Found<T> {
    /// Shows what was found, then says what was not.
    fn show(
        &self,
        format: &Format,
        human: impl Fn(&T) -> Vec<String>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        inspect(&self.objects, format, human, out)?;
        for refusal in &self.refusals {
            // Nothing is left to be done when messages cannot be written either.
            let _ = writeln!(io::stderr(), "netctl: {refusal}");
        }
        if self.refusals.is_empty() {
            Ok(())
        } else {
            Err(Failure::Incomplete)
        }
    }
}

#[cfg(test)]
mod tests;
