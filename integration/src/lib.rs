//! The laboratory: nodes as network namespaces on one machine, real servers, real clients.
//!
//! What is tested here is tested from outside: programs are started, files written, sockets
//! connected, exactly as an operator would; nothing of netd is linked in, except where [`testrun`]
//! tries the kernel programs alone. Errors are for a person at a terminal, so `anyhow` is used
//! throughout.

#![forbid(unsafe_code)]

pub mod api;
pub mod bench;
pub mod binaries;
pub mod command;
pub mod http;
pub mod lab;
pub mod load;
pub mod netns;
pub mod pattern;
pub mod probe;
pub mod process;
pub mod serve;
pub mod testrun;
pub mod wait;

/// Whether labs can be made here; says why not on standard error.
#[must_use]
pub fn can_make_labs() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let text = "SKIPPED: labs of network namespaces need root\n";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
    root
}
