use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    DropCount, Endpoint, ErrorBody, Finding, Flow, Network, NetworkDetail, Port, Status, Trace,
    TraceQuestion, Vip, path,
};

/// A client of one netd, over its unix socket. Every request has a connection of its own, so a
/// client outlives netd's restarts.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

/// Why there is no answer. Nothing has been changed in any case: all requests only read.
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
        let (port, vni, backend) = (
            question.source_port.to_string(),
            question.vni.to_string(),
            question.backend.to_string(),
        );
        let parameters: [(&str, &str); 8] = [
            ("source", &question.source),
            ("destination", &question.destination),
            ("protocol", &question.protocol),
            ("source_port", &port),
            ("network", &question.network),
            ("from", &question.from),
            ("vni", &vni),
            ("backend", &backend),
        ];
        self.get(&path::with(path::TRACE, &parameters)).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(self.timeout, self.exchange(path));
        let (status, body) = answer.await.map_err(|_elapsed| ClientError::TimedOut {
            socket: self.socket.clone(),
            after: self.timeout,
        })??;
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(|source| ClientError::Malformed {
            request: path.to_owned(),
            source,
        })
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.unreachable(error))?;
        self.request(stream, path)
            .await
            .map_err(|error| self.hung_up(error))
    }

    async fn request(
        &self,
        stream: UnixStream,
        path: &str,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself as soon as the answer is read and the sender dropped.
        tokio::spawn(connection);
        let request = Request::get(path)
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
