//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Says how many times as long as elsewhere everything takes here: on an emulated or a busy machine.
const SLOWNESS_VARIABLE: &str = "NETD_TEST_SLOWNESS";

/// How many times as long as elsewhere everything takes here, at least 1.
#[must_use]
pub fn slowness() -> u32 {
    let slowness = std::env::var(SLOWNESS_VARIABLE).ok();
    let slowness = slowness.and_then(|text| text.parse().ok());
    slowness.unwrap_or(1).max(1)
}

/// How long to wait here for what takes at most `limit` elsewhere.
#[must_use]
pub fn patience(limit: Duration) -> Duration {
    limit * slowness()
}

/// Waits until `condition` holds.
///
/// # Errors
/// When it does not within `limit`; the text names `what`.
pub fn until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    some(limit, what, || condition().then_some(()))
}

/// Waits until `attempt` gives a value.
///
/// # Errors
/// As [`until`].
pub fn some<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let limit = patience(limit);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {limit:?}");
        }
        std::thread::sleep(INTERVAL);
    }
}
