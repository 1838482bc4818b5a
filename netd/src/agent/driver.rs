//! The loop.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use dataplane::GARBAGE_INTERVAL;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{self, Instant, MissedTickBehavior};
use tracing::{error, info};

use super::Handle;
use super::live::{Live, Question};
use super::node::NodeAgent;
use super::supervisor;

use crate::api::{BindError, Server};
use crate::config::Config;
use crate::topology::Watch;

/// For how long the socket of a netd that was killed may seem to be in use: it closes when the last of
/// its threads, and of the programs that it was about to start, has ended.
const SUCCESSION: Duration = Duration::from_secs(2);

/// How many questions may wait for their answer before those who ask have to.
const BACKLOG: usize = 64;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// When it cannot start, or cannot go on.
pub(crate) async fn run(config: Config) -> Result<()> {
    let mut inputs = Inputs::open(&config)?;
    let server = succeed(&config.socket).await.with_context(privileges)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        node = %config.node,
        instance = %config.instance,
        topology = %config.topology.display(),
        "netd starts"
    );
    let mut agent = NodeAgent::new(config);
    agent.reload().await;

    let (live, questions) = Live::new(BACKLOG);
    inputs.questions = questions;
    let (stop, stopped) = oneshot::channel::<()>();
    let handle = Handle {
        state: agent.states(),
        live,
    };
    // Whichever way the sender goes, serving is over.
    let mut serving = tokio::spawn(server.serve(handle, async { drop(stopped.await) }));
    supervisor::ready(&agent.states().borrow());

    let outcome = tokio::select! {
        () = drive(&mut agent, &mut inputs) => Ok(()),
        ended = &mut serving => Err(ended),
    };
    supervisor::stopping();
    drop(stop);
    let outcome = match outcome {
        Ok(()) => wind_up(agent, inputs, serving).await,
        Err(Ok(Ok(()))) => bail!("the local API has ended by itself"),
        Err(Ok(Err(error))) => Err(error).context("serve the local API"),
        Err(Err(error)) => Err(error).context("serve the local API"),
    };
    info!("netd ends, what it has set up stays");
    outcome
}

/// Listens, also in the place of a netd that has been killed this moment.
async fn succeed(socket: &Path) -> Result<Server, BindError> {
    let deadline = Instant::now() + SUCCESSION;
    loop {
        match Server::bind(socket) {
            Err(BindError::InUse { .. }) if Instant::now() < deadline => {
                time::sleep(SUCCESSION / 100).await;
            }
            outcome => return outcome,
        }
    }
}

/// What may explain that something is not permitted.
fn privileges() -> String {
    match rustix::process::geteuid() {
        user if user.is_root() => "open the local API".to_owned(),
        user => format!(
            "open the local API as user {}, where root is needed",
            user.as_raw()
        ),
    }
}

/// Answers what has been asked before the API stops listening.
async fn wind_up(
    mut agent: NodeAgent,
    mut inputs: Inputs,
    mut serving: tokio::task::JoinHandle<std::io::Result<()>>,
) -> Result<()> {
    loop {
        tokio::select! {
            ended = &mut serving => {
                agent.close();
                return ended.context("join the local API")?.context("serve the local API");
            }
            Some(question) = inputs.questions.recv() => agent.answer(question),
        }
    }
}

/// Everything that wakes the loop.
struct Inputs {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    edits: Watch,
    questions: mpsc::Receiver<Question>,
}

impl Inputs {
    fn open(config: &Config) -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        let (_, questions) = mpsc::channel(1);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            edits: Watch::new(&config.topology)?,
            questions,
        })
    }
}

/// One input at a time, in this order when several wait; returns when asked to end.
async fn drive(agent: &mut NodeAgent, inputs: &mut Inputs) {
    let news = agent.news();
    let mut garbage = time::interval(GARBAGE_INTERVAL);
    garbage.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog = time::interval(supervisor::watchdog().unwrap_or(NEVER));
    loop {
        tokio::select! {
            biased;
            _ = inputs.terminate.recv() => return,
            _ = inputs.interrupt.recv() => return,
            _ = watchdog.tick() => supervisor::alive(),
            _ = inputs.hangup.recv() => {
                info!("reading the topology and auditing the kernel, as the signal asks");
                supervisor::reloading();
                agent.reload_and_audit().await;
                supervisor::ready(&agent.states().borrow());
            }
            () = inputs.edits.edited() => reload(agent).await,
            () = news.notified() => {
                info!("the node's interfaces have changed");
                agent.pass().await;
            }
            () = time::sleep_until(agent.next()) => agent.pass().await,
            _ = garbage.tick() => agent.collect_garbage(),
            question = inputs.questions.recv() => match question {
                Some(question) => agent.answer(question),
                None => {
                    error!("nobody can ask any more");
                    return;
                }
            },
        }
    }
}

/// Longer than any daemon runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

async fn reload(agent: &mut NodeAgent) {
    supervisor::reloading();
    agent.reload().await;
    supervisor::ready(&agent.states().borrow());
}
