//! Moments, as RFC 3339 in UTC with milliseconds.
//!
//! They are by the clock of the node that answers. Where order matters more than the hour, as among
//! what programs have noted, microseconds are given instead.

use std::fmt;
use std::time::SystemTime;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment of the wall clock; on the wire RFC 3339 in UTC with milliseconds,
/// `2026-11-21T08:00:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub SystemTime);

impl Timestamp {
    /// How long before `now` this was; zero when it lies ahead.
    #[must_use]
    pub fn age(self, now: SystemTime) -> std::time::Duration {
        now.duration_since(self.0).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_millis(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text)
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn moments_travel_as_rfc_3339() {
        let moment = Timestamp(UNIX_EPOCH + Duration::from_millis(1_795_248_000_250));
        let text = serde_json::to_string(&moment).unwrap();
        assert_eq!(text, r#""2026-11-21T08:00:00.250Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&text).unwrap(), moment);
        assert!(serde_json::from_str::<Timestamp>(r#""yesterday""#).is_err());
    }
}
