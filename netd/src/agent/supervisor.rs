//! What systemd is told, where it is there to hear it.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use super::state::State;

/// The first pass is done, or a reload is.
pub(super) fn ready(state: &State) {
    let status = summary(state);
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The topology is read again.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "the service manager is not told of the reload"),
    }
}

/// The daemon is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often the service manager wants to hear [`alive`].
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
        .map(|limit| limit / 2)
        .filter(|half| !half.is_zero())
}

/// The loop turns.
pub(super) fn alive() {
    if watchdog().is_some() {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(news: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(news) {
        warn!(%error, "the service manager does not listen");
    }
}

/// One line for `systemctl status`.
fn summary(state: &State) -> String {
    if let Some(error) = state.load.errors.first() {
        return format!("degraded: {error}");
    }
    if let Some(problem) = state.problems.first() {
        return format!("degraded: {}", problem.message);
    }
    format!(
        "ready: generation {} of {}",
        state.load.generation,
        state.load.file.display()
    )
}
