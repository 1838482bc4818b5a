//! Why a request has no answer. The words are Docker's where Docker has any.

use api::{ErrorBody, path};
use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::agent::Unanswered;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Nothing goes by that name.
    #[error("{noun} {name} not found")]
    NotFound {
        /// The kind of object.
        noun: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Several ids begin like that.
    #[error("{noun} {name} is ambiguous ({matches} matches found based on ID prefix)")]
    Ambiguous {
        /// The kind of object.
        noun: &'static str,
        /// What was asked for.
        name: String,
        /// How many ids begin with it.
        matches: usize,
    },
    /// The topology file has never been free of errors.
    #[error("no topology is in force: {0}")]
    NoTopology(String),
    /// The kernel was asked, in vain.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The question makes no sense, or not here.
    #[error("{0}")]
    Unusable(String),
    /// It would be in the way of another.
    #[error("{0}")]
    Busy(String),
    /// What was asked for was tried, and failed.
    #[error("{0}")]
    Failed(String),
    /// The API has no such path.
    #[error("page not found")]
    NoPage,
    /// The path is asked by another method.
    #[error("method not allowed: only {0} is")]
    NoMethod(&'static str),
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NotFound { .. } | Self::NoPage => StatusCode::NOT_FOUND,
            Self::Ambiguous { .. } | Self::Unusable(_) => StatusCode::BAD_REQUEST,
            Self::NoTopology(_) | Self::Unanswered(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy(_) => StatusCode::CONFLICT,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = self.to_string();
        (self.status(), Json(ErrorBody { message })).into_response()
    }
}

pub(super) async fn no_page() -> Refusal {
    Refusal::NoPage
}

pub(super) async fn no_method(uri: Uri) -> Refusal {
    let posted = [path::PROBE_WATCH, path::PROBE_SEND, path::PROBE_COLLECT];
    let is_posted = posted.contains(&uri.path());
    Refusal::NoMethod(if is_posted { "POST" } else { "GET" })
}
