//! Tells the crate where the object of the kernel programs is, and builds nothing: whoever works on
//! user space needs neither the nightly toolchain nor the BPF linker once the object is there.
//!
//! `NETD_EBPF_OBJECT` names another object than `target/ebpf/netd.bpf.o` of this workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The variable is read here and handed on, under the same name, to `include_bytes_aligned!`.
const VARIABLE: &str = "NETD_EBPF_OBJECT";

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let object = env::var_os(VARIABLE).map_or_else(default_object, PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env={VARIABLE}={}", object.display());
    } else {
        println!(
            "cargo::error=no kernel programs at {}: run `cargo xtask build`",
            object.display()
        );
    }
}

fn default_object() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&manifest)
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| Path::new(""));
    root.join("target/ebpf/netd.bpf.o")
}
