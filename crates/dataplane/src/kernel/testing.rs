//! Namespaces for tests: made by threads, gone with them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kernel::netns::Netns;
use crate::lock;
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `test` in a network and a mount namespace of its own, with an interface `eth0` that has
/// `address`, a directory for state and one for locks. Without root it says so and returns.
pub(crate) fn in_node<F: Future<Output = ()>>(
    address: &'static str,
    test: impl FnOnce(PathBuf) -> F + Send + 'static,
) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        enter_new(UnshareFlags::NEWNET | UnshareFlags::NEWNS);
        mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .unwrap();
        std::fs::create_dir_all(lock::DIRECTORY).unwrap();
        run(&format!("mount -t tmpfs locks {}", lock::DIRECTORY));
        run("ip link set lo up");
        run("ip link add eth0 type veth peer name wire");
        run(&format!("ip address add {address} dev eth0"));
        run("ip link set eth0 up");
        run("ip link set wire up");
        await_carrier();
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(directory.path().to_owned()));
        let _ = rustix::mount::unmount(
            directory.path().join("bpf"),
            rustix::mount::UnmountFlags::DETACH,
        );
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Waits until both ends of the cable say that they carry packets: the kernel tells some time after it was
/// told to bring them up.
fn await_carrier() {
    let deadline = Instant::now() + Duration::from_secs(10);
    while run("ip -o link show up").matches(" state UP ").count() < 2 {
        assert!(Instant::now() < deadline, "{}", run("ip -o link"));
        std::thread::yield_now();
    }
}

/// A task's network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    path: PathBuf,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            enter_new(UnshareFlags::NEWNET);
            run("ip link set lo up");
            let pid = rustix::process::getpid().as_raw_nonzero();
            let tid = rustix::thread::gettid().as_raw_nonzero();
            sender
                .send(PathBuf::from(format!("/proc/{pid}/task/{tid}/ns/net")))
                .unwrap();
            let _ = stopped.recv();
        });
        let path = receiver.recv().unwrap();
        Self {
            path,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` on a thread inside.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        Netns::open(&self.path).unwrap().run(work).unwrap()
    }

    /// Runs a command inside and returns what it prints.
    pub(crate) fn run(&self, command: &str) -> String {
        run(&format!("nsenter --net={} {command}", self.path.display()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs a command in the calling thread's namespaces and returns what it prints.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(unsafe_code, reason = "unshare")]
fn enter_new(flags: UnshareFlags) {
    // SAFETY: neither flag shares or unshares file descriptors.
    unsafe { unshare_unsafe(flags) }.unwrap();
}
