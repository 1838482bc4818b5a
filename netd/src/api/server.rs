//! The socket, from its creation to its removal.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

use super::router;
use crate::agent::Handle;

/// Root and the socket's group may ask.
const MODE: u32 = 0o660;

/// How long requests that are under way at shutdown may take.
const GRACE: Duration = Duration::from_secs(2);

/// The local API's socket. It listens from [`Server::bind`] on; who connects early waits for
/// [`Server::serve`].
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    file: SocketFile,
}

/// Why there is no socket. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// The directory is missing and cannot be made.
    #[error("create directory {}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another daemon answers there.
    #[error("another process listens on {}", socket.display())]
    InUse {
        /// The path.
        socket: PathBuf,
    },
    /// Something else is there, and it is not netd's to remove.
    #[error("{} is there and is no socket", socket.display())]
    NoSocket {
        /// The path.
        socket: PathBuf,
    },
    /// The system says no.
    #[error("listen on {}", socket.display())]
    Listen {
        /// The path.
        socket: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Creates the socket and, where needed, its directory. A socket that nobody listens on is
    /// replaced. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub(crate) fn bind(socket: &Path) -> Result<Self, BindError> {
        if let Some(directory) = socket.parent() {
            fs::create_dir_all(directory).map_err(|source| BindError::Directory {
                directory: directory.to_owned(),
                source,
            })?;
        }
        remove_stale(socket)?;
        let listen = |source| BindError::Listen {
            socket: socket.to_owned(),
            source,
        };
        let listener = UnixListener::bind(socket).map_err(listen)?;
        let file = SocketFile {
            path: socket.to_owned(),
            identity: identity(socket).map_err(listen)?,
        };
        fs::set_permissions(socket, Permissions::from_mode(MODE)).map_err(listen)?;
        Ok(Self { listener, file })
    }

    /// Answers until `shutdown` is ready, then finishes what is under way and removes the socket.
    ///
    /// # Errors
    /// When the socket breaks.
    pub(crate) async fn serve(
        self,
        agent: Handle,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let (asked, asked_to_stop) = tokio::sync::oneshot::channel();
        let stop = async move {
            shutdown.await;
            // Whoever measured the grace has gone only if serving has ended already.
            let _ = asked.send(());
        };
        let serving = axum::serve(self.listener, router(agent)).with_graceful_shutdown(stop);
        let grace = async {
            if asked_to_stop.await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GRACE).await;
        };
        let ended = tokio::select! {
            ended = serving => ended,
            () = grace => Ok(()),
        };
        drop(self.file);
        ended
    }
}

/// A socket in the file system; removed with this value, unless another one has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = identity(&self.path).is_ok_and(|there| there == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes way where a daemon died without removing its socket.
fn remove_stale(socket: &Path) -> Result<(), BindError> {
    let listen = |source| BindError::Listen {
        socket: socket.to_owned(),
        source,
    };
    let kind = match fs::symlink_metadata(socket) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(listen(error)),
    };
    if !kind.is_socket() {
        let socket = socket.to_owned();
        return Err(BindError::NoSocket { socket });
    }
    match UnixStream::connect(socket) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(socket).map_err(listen)
        }
        Ok(_) => {
            let socket = socket.to_owned();
            Err(BindError::InUse { socket })
        }
        Err(error) => Err(listen(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[tokio::test]
    async fn the_socket_is_for_root_and_its_group_and_goes_with_the_server() {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("made/netd.sock");
        let server = Server::bind(&socket).unwrap();
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(server);
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_replaced() {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("netd.sock");
        drop(UnixListener::bind(&socket).unwrap());
        Server::bind(&socket).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_somebody_listens_on_is_left_alone() {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("netd.sock");
        let _first = Server::bind(&socket).unwrap();
        let error = Server::bind(&socket).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
        assert!(socket.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = TempDir::new().unwrap();
        let file = dir.path().join("netd.sock");
        fs::write(&file, "precious").unwrap();
        let error = Server::bind(&file).unwrap_err();
        assert!(matches!(error, BindError::NoSocket { .. }), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_stays() {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("netd.sock");
        let first = Server::bind(&socket).unwrap();
        fs::remove_file(&socket).unwrap();
        let _second = UnixListener::bind(&socket).unwrap();
        drop(first);
        assert!(socket.exists());
    }
}
