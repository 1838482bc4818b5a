//! See Cargo.toml.
mod agent;
mod api;
mod topology;
fn main() {}
