//! The configuration file.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use model::raw::Field;

use super::{ConfigErrors, Given};
use crate::document;

/// Read when it exists and no other is named.
const DEFAULT: &str = "/etc/netd/netd.toml";

/// Keys whose values are strings.
const STRINGS: [&str; 9] = [
    "static",
    "node",
    "instance",
    "socket",
    "state_dir",
    "bpffs",
    "attach",
    "log",
    "log_format",
];

/// Keys whose values are numbers.
const NUMBERS: [&str; 2] = ["flow_capacity", "audit_interval"];

/// Reads the named file, or the default one.
///
/// # Errors
/// When the file cannot be read. Mistakes in it are kept, to be told with all others.
pub(super) fn read(named: Option<&Path>) -> Result<Given, ConfigErrors> {
    let file = named.unwrap_or(Path::new(DEFAULT));
    match fs::read_to_string(file) {
        Ok(text) => Ok(parse(file, &text)),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {
            Ok(Given::default())
        }
        Err(error) => Err(ConfigErrors(vec![format!("{}: {error}", file.display())])),
    }
}

pub(super) fn parse(file: &Path, text: &str) -> Given {
    let by = |line: usize| format!("{}:{line}", file.display());
    let (mut given, mistakes) = document::read(text, |reader, root| {
        let mut given = Given::default();
        for key in STRINGS {
            if let Field::Given(value) = reader.string(root, key) {
                given.add(key, value.value, by(value.line));
            }
        }
        for key in NUMBERS {
            if let Field::Given(number) = reader.integer(root, key) {
                given.add(key, number.value.to_string(), by(number.line));
            }
        }
        if let Field::Given(truth) = reader.boolean(root, "replace_layout") {
            given.add("replace_layout", truth.value.to_string(), by(truth.line));
        }
        given
    });
    given.errors = mistakes
        .iter()
        .map(|it| format!("{}: {}", by(it.line), it.message))
        .collect();
    given
}
