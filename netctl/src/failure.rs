//! Why a command did not do what was asked, in words that help.

use std::fmt::Write;
use std::io;
use std::process::ExitCode;

use api::ClientError;

use crate::output::{OutputError, TemplateError};

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// `--format` is no template.
    #[error(transparent)]
    Usage(TemplateError),
    /// netd refused or did not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer could not be shown.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Some of several objects were refused; each was named already.
    #[error("some were not shown")]
    Incomplete,
    /// Checks of the host fail; each was named already.
    #[error("something fails")]
    Unwell,
    /// A trace begins on a node whose netd cannot be asked.
    #[error("the packet begins on node {0}: name the socket of its netd, too, by another --socket")]
    Elsewhere(String),
    /// A filter names drop reasons that netd does not have.
    #[error("no such drop reason: {}; `netctl drop ls --all` lists them", .0.join(", "))]
    UnknownReasons(Vec<String>),
    /// A filter names a service that there is not.
    #[error("no such service: {0}; `netctl vip ls` and `netctl port ls` list them")]
    UnknownService(String),
    /// The program could not start.
    #[error("start")]
    Start(#[source] io::Error),
}

impl Failure {
    /// How the process ends, and what it says before.
    pub(crate) fn outcome(&self) -> (ExitCode, Option<String>) {
        match self {
            // Whoever reads has seen enough, as in `netctl flow ls | head -1`.
            Self::Output(OutputError::Write(error))
                if error.kind() == io::ErrorKind::BrokenPipe =>
            {
                (ExitCode::SUCCESS, None)
            }
            Self::Incomplete | Self::Unwell => (ExitCode::from(1), None),
            Self::Usage(error) => (ExitCode::from(2), Some(error.to_string())),
            Self::Client(_)
            | Self::Output(_)
            | Self::Elsewhere(_)
            | Self::UnknownReasons(_)
            | Self::UnknownService(_)
            | Self::Start(_) => (ExitCode::from(1), Some(self.explanation())),
        }
    }

    /// The error, its causes, and what to do about it.
    fn explanation(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        if let Self::Client(error) = self {
            text.push_str(hint(error));
        }
        text
    }
}

fn hint(error: &ClientError) -> &'static str {
    match error {
        ClientError::SocketMissing { .. } | ClientError::NotAnswering { .. } => {
            "\nIs netd running? It is started by `netd --static FILE --node NAME`; another socket \
             is named by --socket or NETCTL_SOCKET."
        }
        ClientError::PermissionDenied { .. } => {
            "\nThe socket belongs to root: run netctl as root, or as a member of its group."
        }
        ClientError::TimedOut { .. } => "\nnetd listens but is busy or stuck: see its log.",
        ClientError::Malformed { .. } => "\nAre netctl and netd of the same version?",
        ClientError::Refused { .. } => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_socket_says_how_to_start_netd() {
        let socket = "/run/netd/netd.sock".into();
        let failure = Failure::Client(ClientError::SocketMissing { socket });
        let (code, message) = failure.outcome();
        let message = message.unwrap();
        assert_eq!(code, ExitCode::from(1));
        assert!(
            message.starts_with("no socket at /run/netd/netd.sock\n"),
            "{message}"
        );
        assert!(message.contains("netd --static"), "{message}");
    }

    #[test]
    fn causes_are_told_once() {
        let failure = Failure::Client(ClientError::NotAnswering {
            socket: "/s".into(),
            source: "connection refused".into(),
        });
        let (_, message) = failure.outcome();
        let message = message.unwrap();
        assert!(
            message.starts_with("netd does not answer on /s: connection refused\n"),
            "{message}"
        );
    }

    #[test]
    fn a_reader_that_goes_away_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        let failure = Failure::Output(gone.into());
        assert_eq!(failure.outcome(), (ExitCode::SUCCESS, None));
    }
}
