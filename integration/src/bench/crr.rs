//! Connect, request, response, close: the client and server that cost little themselves, and the
//! CPU time that an operation takes.

mod client;
mod server;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::client::Client;
pub use self::server::respond;
pub(super) use self::server::{PORT, SECOND_PORT};
use super::cpu::{self, Idle};
use crate::netns;

/// How many connections there are at the same time.
const CONNECTIONS: usize = 32;
/// How long a path is used before its window begins.
const WARM_UP: Duration = Duration::from_millis(300);
/// More failures per operation than this, and the path does not work.
const WORST_FAILURE_SHARE: f64 = 1e-3;

/// A way from a client to a server.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// What it is called.
    pub(super) name: &'static str,
    /// The client's namespace.
    pub(super) namespace: String,
    /// The server's address, as the client knows it.
    pub(super) target: SocketAddr,
}

/// What one window of a path's use gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Operations per second.
    pub(super) per_second: f64,
    /// CPU time per operation in nanoseconds: client, server and everything between.
    pub(super) cpu_ns: f64,
    /// Share of the two CPUs that was used at all.
    pub(super) utilisation: f64,
}

/// Uses a path for `length` and measures it.
///
/// # Errors
/// When it does not work, or fails too often.
pub(super) fn sample(path: &Path, length: Duration) -> Result<Sample> {
    let work = || window(path.target, length);
    netns::inside(&path.namespace, work)?
        .with_context(|| format!("{} ({} from {})", path.name, path.target, path.namespace))
}

fn window(target: SocketAddr, length: Duration) -> Result<Sample> {
    cpu::pin(cpu::CLIENT)?;
    let mut client = Client::start(target, CONNECTIONS)?;
    client.run_until(Instant::now() + WARM_UP)?;
    let before = client.operations();
    let (start, idle) = (Instant::now(), Idle::now()?);
    client.run_until(start + length)?;
    let (wall, spent) = (start.elapsed(), Idle::now()?);
    let operations = (client.operations() - before) as f64;
    let failures = client.failures() as f64;
    if operations < 1.0 || failures > operations * WORST_FAILURE_SHARE {
        bail!("{failures} failures, {operations} operations in {wall:?}");
    }
    client.finish()?;
    let busy = spent.busy_since(idle, wall);
    Ok(Sample {
        per_second: operations / wall.as_secs_f64(),
        cpu_ns: busy.as_secs_f64() * 1e9 / operations,
        utilisation: busy.as_secs_f64() / (wall.as_secs_f64() * cpu::ALL.len() as f64),
    })
}
