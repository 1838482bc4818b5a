//! When a packet was in the kernel, as far as that can be known from outside.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How far the programs' clock may be behind: it ticks with the scheduler, 100 times a second or more.
const TICK: Duration = Duration::from_millis(10);

/// A time that has not been seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    earliest: Instant,
    latest: Instant,
}

/// The time of the packet at hand, and whether an answer hung on more than is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    now: Moment,
    vague: Cell<bool>,
}

impl Default for Clock {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            now: Moment::between(now, now),
            vague: Cell::new(false),
        }
    }
}

impl Moment {
    fn between(before: Instant, after: Instant) -> Self {
        Self {
            earliest: before.checked_sub(TICK).unwrap_or(before),
            latest: after,
        }
    }
}

impl Clock {
    /// A packet was in the kernel between these two.
    pub(crate) fn set(&mut self, before: Instant, after: Instant) {
        self.now = Moment::between(before, after);
    }

    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    /// Whether at least so much time has passed since then, `head` included.
    pub(super) fn has_passed(&self, limit: Duration, since: Moment, head: Duration) -> bool {
        let least = head + self.now.earliest.saturating_duration_since(since.latest);
        let most = head + self.now.latest.saturating_duration_since(since.earliest);
        if (least < limit) != (most < limit) {
            self.vague.set(true);
        }
        least >= limit
    }

    /// Whether the oracle could not know what the kernel did; says so once.
    pub(crate) fn was_vague(&self) -> bool {
        self.vague.take()
    }
}
