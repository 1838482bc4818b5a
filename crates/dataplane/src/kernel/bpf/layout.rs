//! Which layouts of the tables are pinned for an instance.
//!
//! Programs of one layout cannot read tables of another, and established flows are in the tables: a
//! data plane of another layout is never replaced without being told to, and never by halves.

use std::fs;
use std::io;
use std::path::Path;

use super::pins::PinError;

/// The names of the directories of other layouts beside that of ours in which anything is pinned.
pub(crate) fn others(own: &Path) -> Result<Vec<String>, PinError> {
    let Some(parent) = own.parent() else {
        return Ok(Vec::new());
    };
    let error = |source| PinError::new("list", parent, source);
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(error(source)),
    };
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry.map_err(error)?;
        if entry.path() != own && holds_pins(&entry.path()) {
            others.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    others.sort();
    Ok(others)
}

/// Directories alone are what is left of a start that was cut off.
fn holds_pins(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        !path.is_dir() || holds_pins(&path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_pins_is_another_layout() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("v3");
        assert_eq!(others(&own.join("v3")).unwrap(), Vec::<String>::new());
        for layout in ["v1", "v2", "v3"] {
            fs::create_dir_all(root.path().join(layout).join("maps")).unwrap();
        }
        for layout in ["v2", "v3"] {
            fs::write(root.path().join(layout).join("maps/FLOWS"), "").unwrap();
        }
        assert_eq!(others(&own).unwrap(), ["v2"]);
    }
}
