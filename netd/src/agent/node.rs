//! This node between two passes, and one pass.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dataplane::{ApplyError, Dataplane, Problem, ProblemCode, Report, Settings};
use model::Topology;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::answer;
use super::live::Question;
use super::state::{Applied, Audit, Load, Obstacle, State};
use crate::config::Config;
use crate::topology::{self, LoadError, Loaded, Newcomers};

/// How soon a topology that cannot be on this host yet is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How soon anything else that failed is.
const RETRY_FAILURE: Duration = Duration::from_secs(5);

/// This node.
#[derive(Debug)]
pub(super) struct NodeAgent {
    config: Config,
    since: SystemTime,
    dataplane: Option<Dataplane>,
    /// Waits for news of the node's interfaces, and wakes `news`.
    listener: Option<JoinHandle<()>>,
    news: Arc<Notify>,
    /// Right in itself, but not in force.
    pending: Option<Loaded>,
    /// In force.
    current: Option<Arc<Topology>>,
    load: Load,
    applied: Option<Applied>,
    problems: Vec<Problem>,
    /// Passes in a row after which replies were not allowed to go straight to clients.
    refusals: u32,
    audit: Audit,
    state: watch::Sender<Arc<State>>,
    next: Instant,
    newcomers: Newcomers,
    /// When the next backend that has come has waited long enough.
    grace_ends: Option<Instant>,
    /// When the kernel is to be looked at, whatever else there is to do.
    audit_due: Instant,
}

impl NodeAgent {
    pub(super) fn new(config: Config) -> Self {
        let load = Load {
            file: config.topology.clone(),
            loaded_at: None,
            generation: 0,
            errors: Vec::new(),
        };
        let since = SystemTime::now();
        let state = State {
            node: config.node.clone(),
            since,
            load: load.clone(),
            topology: None,
            applied: None,
            problems: Vec::new(),
            audit: Audit::default(),
        };
        Self {
            config,
            since,
            dataplane: None,
            listener: None,
            news: Arc::new(Notify::new()),
            pending: None,
            current: None,
            load,
            applied: None,
            problems: Vec::new(),
            refusals: 0,
            audit: Audit::default(),
            state: watch::Sender::new(Arc::new(state)),
            next: Instant::now(),
            newcomers: Newcomers::default(),
            grace_ends: None,
            audit_due: Instant::now(),
        }
    }

    /// Where the states appear.
    pub(super) fn states(&self) -> watch::Receiver<Arc<State>> {
        self.state.subscribe()
    }

    /// Woken when the node's interfaces or addresses have changed.
    pub(super) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// When the next pass is due if nothing calls for one before.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Reads the file, then makes a pass. A file with mistakes changes nothing.
    pub(super) async fn reload(&mut self) {
        match topology::load(&self.config.topology, Some(&self.config.node)) {
            Ok(loaded) => self.pending = Some(loaded),
            Err(errors) => {
                self.pending = None;
                self.refuse(errors);
            }
        }
        self.pass().await;
    }

    /// Reads the file because somebody asks for it: mistakes are told again, and the kernel is looked
    /// at whatever the file says.
    pub(super) async fn reload_and_audit(&mut self) {
        self.load.errors.clear();
        self.reload().await;
        self.pass().await;
    }

    /// Brings the kernel to the topology, as far as it goes, and tells how far that was.
    pub(super) async fn pass(&mut self) {
        self.grace_ends = None;
        let unfit = self
            .pending
            .as_ref()
            .map(|it| topology::unfit(it, &self.config.node));
        let is_fit = unfit.as_ref().is_some_and(Vec::is_empty);
        if let Some(errors) = unfit {
            self.refuse(errors);
        }
        let mut problems = match self.open().await {
            Ok(()) if is_fit => self.take_pending().await,
            Ok(()) => self.hold().await,
            Err(problems) => problems,
        };
        let failed = !problems.is_empty() || self.dataplane.is_none();
        if let Some(dataplane) = &self.dataplane {
            let status = dataplane.status();
            self.applied = answer::applied(&status);
            problems.extend(status.problems);
        }
        self.complain(problems);
        let refused = |problem: &Problem| problem.code == ProblemCode::DirectReturn;
        let is_refused = self.problems.iter().any(refused);
        self.refusals = if is_refused { self.refusals + 1 } else { 0 };
        self.publish();
        let patience = self.patience(failed);
        self.next = self.grace_ends.map_or(patience, |end| end.min(patience));
    }

    /// Removes expired flows.
    pub(super) fn collect_garbage(&mut self) {
        let Some(dataplane) = &mut self.dataplane else {
            return;
        };
        if let Err(error) = dataplane.collect_garbage() {
            warn!(error = answer::chain(&error), "flows are not cleaned up");
        }
    }

    /// Answers a question.
    pub(super) fn answer(&mut self, question: Question) {
        if let Question::Subject(to) = question {
            let bpffs = self.config.bpffs.clone();
            let subject = match &self.dataplane {
                Some(dataplane) => dataplane.subject(bpffs),
                None => dataplane::Subject::bare(bpffs),
            };
            // Whoever has stopped waiting misses nothing.
            return drop(to.send(Ok(subject)));
        }
        answer::answer(self.dataplane.as_mut(), self.current.as_deref(), question);
    }

    /// Ends the daemon's part; the data plane runs on.
    pub(super) fn close(self) {
        if let Some(listener) = self.listener {
            listener.abort();
        }
        if let Some(dataplane) = self.dataplane {
            dataplane.close();
        }
    }

    async fn open(&mut self) -> Result<(), Vec<Problem>> {
        if self.dataplane.is_none() {
            let settings = Settings {
                instance: self.config.instance.clone(),
                bpffs: self.config.bpffs.clone(),
                state_dir: self.config.state_dir.clone(),
                flow_capacity: self.config.flow_capacity,
                replace_layout: self.config.replace_layout,
                attach: self.config.attach,
            };
            let opened = Dataplane::open(settings)
                .await
                .map_err(|error| error.problems)?;
            self.dataplane = Some(opened);
            info!(instance = %self.config.instance, "data plane opened");
        }
        self.listen()
    }

    /// Makes sure that somebody waits for news of the node's interfaces.
    fn listen(&mut self) -> Result<(), Vec<Problem>> {
        let listens = self
            .listener
            .as_ref()
            .is_some_and(|listener| !listener.is_finished());
        let Some(dataplane) = self.dataplane.as_ref().filter(|_| !listens) else {
            return Ok(());
        };
        let mut events = dataplane.events().map_err(|error| error.problems)?;
        let news = self.news();
        self.listener = Some(tokio::spawn(async move {
            while events.changed().await.is_some() {
                news.notify_one();
            }
        }));
        Ok(())
    }

    /// Puts the pending topology into force. If that fails before anything has changed, the one
    /// before it stays.
    async fn take_pending(&mut self) -> Vec<Problem> {
        let Some(pending) = self.pending.take() else {
            return Vec::new();
        };
        match self.apply(&pending.topology).await {
            Err(error) if !error.changed => {
                self.pending = Some(pending);
                let mut problems = error.problems;
                problems.extend(self.hold().await);
                problems
            }
            outcome => {
                self.current = Some(pending.topology);
                self.load.generation += 1;
                self.load.loaded_at = Some(SystemTime::now());
                let generation = self.load.generation;
                info!(file = %self.load.file.display(), generation, "topology applied");
                outcome
                    .err()
                    .map(|error| error.problems)
                    .unwrap_or_default()
            }
        }
    }

    /// Keeps the topology that is in force in force.
    async fn hold(&mut self) -> Vec<Problem> {
        let Some(current) = self.current.clone() else {
            return Vec::new();
        };
        self.apply(&current)
            .await
            .err()
            .map(|error| error.problems)
            .unwrap_or_default()
    }

    async fn apply(&mut self, topology: &Topology) -> Result<(), ApplyError> {
        let desired = topology::desired(topology, &self.config.node);
        let (Some(dataplane), Some(desired)) = (&mut self.dataplane, desired) else {
            let message = format!("the topology has no node {}", self.config.node);
            let needed = String::new();
            let problem = Problem {
                code: ProblemCode::Desired,
                message,
                needed,
            };
            return Err(ApplyError {
                problems: vec![problem],
                changed: false,
            });
        };
        let mut desired = desired;
        self.grace_ends = self.newcomers.hold_back(&mut desired, Instant::now());
        let report = dataplane.apply(&desired).await?;
        self.note(report);
        Ok(())
    }

    /// Says what was done.
    fn note(&mut self, report: Report) {
        if report.changes > 0 {
            info!(changes = report.changes, "kernel changed");
        }
        if !report.repaired.is_empty() {
            let what = report.repaired.join("; ");
            warn!(what, "somebody else has changed the data plane, repaired");
        }
        if report.audited {
            self.audit.note(SystemTime::now(), report.repaired);
            self.audit_due = Instant::now() + self.config.audit_interval;
        }
    }

    fn patience(&self, failed: bool) -> Instant {
        if self.pending.is_some() && !self.load.errors.is_empty() {
            Instant::now() + RETRY
        } else if failed {
            Instant::now() + RETRY_FAILURE
        } else {
            // Without a topology there is nothing to compare the kernel with.
            let idle = Instant::now() + self.config.audit_interval;
            let due = self.current.as_ref().map_or(idle, |_| self.audit_due);
            // The other nodes may be about to start: asked again after 1, 2, 4 seconds and so on.
            match self.refusals.checked_sub(1) {
                Some(before) => due.min(Instant::now() + RETRY * 2u32.pow(before.min(5))),
                None => due,
            }
        }
    }

    /// Notes what is wrong with the file, and says it once.
    fn refuse(&mut self, errors: Vec<LoadError>) {
        if errors == self.load.errors {
            return;
        }
        for error in &errors {
            error!("{error}");
        }
        match (errors.len(), self.current.is_some()) {
            (0, _) => {}
            (errors, true) => error!(errors, "topology file not taken, the running state stays"),
            (errors, false) => error!(errors, "topology file not taken, nothing is in force yet"),
        }
        self.load.errors = errors;
    }

    /// Notes what stands in the way, and says it once.
    fn complain(&mut self, problems: Vec<Problem>) {
        let mut all: Vec<Problem> = Vec::with_capacity(problems.len());
        for problem in problems {
            if !all.contains(&problem) {
                all.push(problem);
            }
        }
        for problem in all
            .iter()
            .filter(|problem| !self.problems.contains(problem))
        {
            let Problem {
                code,
                message,
                needed,
            } = problem;
            warn!(code = code.as_str(), needed, "{message}");
        }
        for problem in self
            .problems
            .iter()
            .filter(|problem| !all.contains(problem))
        {
            info!(code = problem.code.as_str(), "solved: {}", problem.message);
        }
        self.problems = all;
    }

    fn publish(&self) {
        let obstacle = |problem: &Problem| Obstacle {
            code: problem.code.as_str().to_owned(),
            message: problem.message.clone(),
            needed: problem.needed.clone(),
        };
        let coming = self
            .pending
            .as_ref()
            .filter(|_| self.load.errors.is_empty());
        self.state.send_replace(Arc::new(State {
            node: self.config.node.clone(),
            since: self.since,
            load: self.load.clone(),
            topology: self
                .current
                .clone()
                .or_else(|| coming.map(|it| Arc::clone(&it.topology))),
            applied: self.applied.clone(),
            problems: self.problems.iter().map(obstacle).collect(),
            audit: self.audit.clone(),
        }));
    }
}
