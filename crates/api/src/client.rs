//! The client of one netd: a method for each question, over HTTP/1 on its unix socket.
//!
//! A request opens a connection, has a limit of time and is not repeated; what can go wrong is one
//! enum, so that `netctl` can tell an operator what to do. What an answer means is not looked at
//! here.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    DropCount, Endpoint, ErrorBody, Finding, Flow, Network, NetworkDetail, Port, ProbeSent,
    Sighting, Status, Trace, TraceQuestion, Vip, Watched, path,
};

/// A client of one netd, over its unix socket. Every request has a connection of its own, so a
/// client outlives netd's restarts.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

/// Why there is no answer. Requests only read, but for those about a probe, which ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket of that name.
    #[error("no socket at {}", socket.display())]
    SocketMissing {
        /// The path.
        socket: PathBuf,
    },
    /// The socket belongs to somebody else.
    #[error("permission denied on {}", socket.display())]
    PermissionDenied {
        /// The path.
        socket: PathBuf,
    },
    /// The socket is there, but nobody listens, or the listener hung up.
    #[error("netd does not answer on {}", socket.display())]
    NotAnswering {
        /// The path.
        socket: PathBuf,
        /// What the connection ended with.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The connection stands, but no answer came in time.
    #[error("no answer on {} within {after:?}", socket.display())]
    TimedOut {
        /// The path.
        socket: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// netd has answered that it will not, or that there is no such thing.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// netd's own words.
        message: String,
    },
    /// The answer is not what this version expects.
    #[error("answer to {request} not understood")]
    Malformed {
        /// The path that was asked for.
        request: String,
        /// Where the answer differs.
        #[source]
        source: serde_json::Error,
    },
}

impl Client {
    /// A client of the netd that listens on `socket`. Nothing is sent before the first request.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: Duration::from_secs(10),
        }
    }

    /// The same client with another limit for each request; 10 s if never called.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What the node is doing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(path::STATUS).await
    }

    /// Every network.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn networks(&self) -> Result<Vec<Network>, ClientError> {
        self.get(path::NETWORKS).await
    }

    /// One network, by name, id or the beginning of its id.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn network(&self, name: &str) -> Result<NetworkDetail, ClientError> {
        self.get(&path::of(path::NETWORKS, name)).await
    }

    /// Every endpoint of the cluster.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, ClientError> {
        self.get(path::ENDPOINTS).await
    }

    /// One endpoint, by name, id or the beginning of its id.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn endpoint(&self, name: &str) -> Result<Endpoint, ClientError> {
        self.get(&path::of(path::ENDPOINTS, name)).await
    }

    /// The VIP of every service.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn vips(&self) -> Result<Vec<Vip>, ClientError> {
        self.get(path::VIPS).await
    }

    /// The VIP of one service, by the service's name, id or the beginning of its id.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn vip(&self, service: &str) -> Result<Vip, ClientError> {
        self.get(&path::of(path::VIPS, service)).await
    }

    /// Every published port.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ports(&self) -> Result<Vec<Port>, ClientError> {
        self.get(path::PORTS).await
    }

    /// Every live flow of the node.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn flows(&self) -> Result<Vec<Flow>, ClientError> {
        self.get(path::FLOWS).await
    }

    /// Every reason for which packets are dropped, those that never occurred included.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn drops(&self) -> Result<Vec<DropCount>, ClientError> {
        self.get(path::DROPS).await
    }

    /// What there is to be said about the node's host.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn doctor(&self) -> Result<Vec<Finding>, ClientError> {
        self.get(path::DOCTOR).await
    }

    /// What would become of a packet.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn trace(&self, question: &TraceQuestion) -> Result<Trace, ClientError> {
        self.get(&asked(path::TRACE, question, None)).await
    }

    /// Has the node's programs note what they do with a probe that is about to be sent. They stop a few
    /// seconds after `timeout`, or when asked by [`Self::collect`].
    ///
    /// # Errors
    /// See [`ClientError`]; status 409 when another probe is watched.
    pub async fn watch(
        &self,
        question: &TraceQuestion,
        timeout: Duration,
    ) -> Result<Watched, ClientError> {
        let path = asked(path::PROBE_WATCH, question, Some(timeout));
        self.ask(Method::POST, &path, self.timeout).await
    }

    /// Sends a probe from where its source is, which must be this node, and waits for the answer.
    ///
    /// # Errors
    /// See [`ClientError`]; status 409 when the source's port is taken.
    pub async fn send(
        &self,
        question: &TraceQuestion,
        timeout: Duration,
    ) -> Result<ProbeSent, ClientError> {
        let path = asked(path::PROBE_SEND, question, Some(timeout));
        self.ask(Method::POST, &path, self.timeout + timeout).await
    }

    /// What the programs have noted, in order.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn collect(&self) -> Result<Vec<Sighting>, ClientError> {
        self.ask(Method::POST, path::PROBE_COLLECT, self.timeout)
            .await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path, self.timeout).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        after: Duration,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(after, self.exchange(method, path));
        let (status, body) = answer.await.map_err(|_elapsed| ClientError::TimedOut {
            socket: self.socket.clone(),
            after,
        })??;
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Malformed {
            request: path.to_owned(),
            source,
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        self.request(stream, method, path)
            .await
            .map_err(|error| self.hung_up(error))
    }

    async fn request(
        &self,
        stream: UnixStream,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself as soon as the answer is read and the sender dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "netd")
            .body(Empty::<Bytes>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        let socket = self.socket.clone();
        if error.kind() == io::ErrorKind::NotFound {
            ClientError::SocketMissing { socket }
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            ClientError::PermissionDenied { socket }
        } else {
            self.hung_up(error.into())
        }
    }

    fn hung_up(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::NotAnswering {
            socket: self.socket.clone(),
            source,
        }
    }
}

/// A path with a question.
fn asked(path: &str, question: &TraceQuestion, timeout: Option<Duration>) -> String {
    let (port, vni, backend) = (
        question.source_port.to_string(),
        question.vni.to_string(),
        question.backend.to_string(),
    );
    let milliseconds = timeout.map(|it| it.as_millis().to_string());
    let mut parameters: Vec<(&str, &str)> = vec![
        ("source", &question.source),
        ("destination", &question.destination),
        ("protocol", &question.protocol),
        ("source_port", &port),
        ("network", &question.network),
        ("from", &question.from),
        ("vni", &vni),
        ("backend", &backend),
    ];
    parameters.extend(milliseconds.as_deref().map(|it| ("milliseconds", it)));
    path::with(path, &parameters)
}

fn refusal(status: StatusCode, body: &[u8]) -> ClientError {
    let message = serde_json::from_slice::<ErrorBody>(body).map_or_else(
        |_| format!("netd answered {status}"),
        |answer| answer.message,
    );
    ClientError::Refused {
        status: status.as_u16(),
        message,
    }
}

#[cfg(test)]
mod tests;
