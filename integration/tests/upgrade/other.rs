//! A netd whose kernel programs do the same by other instructions: the project's own, with one
//! instruction of most functions written in another way.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use integration::{binaries, testrun};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Bytes of an instruction, of which the first says what it does.
const INSTRUCTION: usize = 8;
/// Loads a number of 64 bits; takes the place of two.
const LOAD_WIDE: u8 = 0x18;
/// Sets a register to the number in the last four bytes, extended to 64 bits by its sign.
const MOVE: u8 = 0xb7;
/// The same, extended by zeros: no difference where the number is not negative.
const MOVE_NARROW: u8 = 0xb4;

/// A program file that is there as long as this is.
#[derive(Debug)]
pub(crate) struct Other(PathBuf);

impl Other {
    /// Makes one of the netd that labs start, called after the lab that it is for.
    ///
    /// # Errors
    /// When that has other programs in it than those at [`testrun::object`].
    pub(crate) fn netd(lab: &str) -> Result<Self> {
        let path = binaries::find("netd")?;
        let mut netd = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let object = fs::read(testrun::object()).context("read the object")?;
        let at = place(&netd, &object)?;
        netd[at..at + object.len()].copy_from_slice(&rewritten(object)?);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(directory).context("make a directory for another netd")?;
        let other = Self(directory.join(format!("netd-{lab}")));
        // With the permissions of the first.
        fs::copy(&path, &other.0).context("copy netd")?;
        fs::write(&other.0, netd).context("write another netd")?;
        Ok(other)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Where in netd the object is.
fn place(netd: &[u8], object: &[u8]) -> Result<usize> {
    let file = object::File::parse(netd).context("read the headers of netd")?;
    let section = file.section_by_name(".rodata").context("no constants")?;
    let (start, _) = section.file_range().context("no constants in the file")?;
    let start = usize::try_from(start)?;
    let constants = section.data().context("read the constants of netd")?;
    let aligned = (0..constants.len()).step_by(INSTRUCTION);
    let mut found = aligned.filter(|at| constants[*at..].starts_with(object));
    let at = found
        .next()
        .context("netd was built with another object: `cargo xtask build`")?;
    Ok(start + at)
}

/// The object with one instruction of each function written in another way, where there is one to write
/// so.
fn rewritten(bytes: Vec<u8>) -> Result<Vec<u8>> {
    let file = object::File::parse(&*bytes).context("read the object's headers")?;
    let mut places = Vec::new();
    for symbol in file.symbols() {
        let Some(index) = symbol.section_index() else {
            continue;
        };
        let section = file.section_by_index(index)?;
        if symbol.kind() != SymbolKind::Text || section.kind() != SectionKind::Text {
            continue;
        }
        let (start, _) = section.file_range().context("a program without code")?;
        let start = usize::try_from(start + symbol.address())?;
        let code = &bytes[start..start + usize::try_from(symbol.size())?];
        places.extend(find(code).map(|at| start + at));
    }
    ensure!(places.len() > 50, "{} functions only", places.len());
    let mut other = bytes.clone();
    for at in places {
        other[at] = MOVE_NARROW;
    }
    Ok(other)
}

/// Where the first instruction is that sets a register to a number that is not negative.
fn find(code: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < code.len() {
        let instruction = &code[at..at + INSTRUCTION];
        if instruction[0] == MOVE && instruction[7] < 0x80 {
            return Some(at);
        }
        let is_wide = instruction[0] == LOAD_WIDE;
        at += if is_wide {
            2 * INSTRUCTION
        } else {
            INSTRUCTION
        };
    }
    None
}
