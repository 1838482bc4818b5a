//! Questions to a netd over its unix socket, as any script could ask them.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{http, wait};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks for a path below `/netd/v1/`, such as `status`.
///
/// # Errors
/// When nobody listens, or the answer is not 200 with a JSON body.
pub fn get(socket: &Path, path: &str) -> Result<Value> {
    let asked = || format!("ask {} for {path}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(asked)?;
    let limit = wait::patience(LIMIT);
    stream.set_read_timeout(Some(limit)).with_context(asked)?;
    let target = format!("/netd/v1/{path}");
    http::write_get(&mut stream, &target, "Connection: close\r\n").with_context(asked)?;
    let answer = http::read_response(&mut BufReader::new(stream)).with_context(asked)?;
    if answer.status != 200 {
        bail!(
            "{}: {} {}",
            asked(),
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    serde_json::from_slice(&answer.body).with_context(asked)
}
