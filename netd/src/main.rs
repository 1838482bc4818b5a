//! See Cargo.toml.
mod agent;
mod topology;
fn main() {}
