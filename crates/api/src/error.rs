//! What a refusal says.
//!
//! Every answer that is not 200 has this body; its status says what kind of refusal it is. The
//! message is for people: programs decide by the status.

use serde::{Deserialize, Serialize};

/// Body of every answer that is not 200, as the Docker Engine API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was wrong, one sentence without full stop.
    pub message: String,
}
