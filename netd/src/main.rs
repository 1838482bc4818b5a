//! See Cargo.toml.
mod agent;
fn main() {}
