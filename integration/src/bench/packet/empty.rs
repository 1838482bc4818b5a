//! A program that does nothing: what remains is the kernel's way of measuring.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};

/// `r0 = 0; exit`
const CODE: [u8; 16] = [
    0xb7, 0, 0, 0, 0, 0, 0, 0, //
    0x95, 0, 0, 0, 0, 0, 0, 0,
];
const LICENSE: &[u8] = b"GPL\0";
const NAMES: &[u8] = b"\0empty\0classifier\0license\0.symtab\0.strtab\0";
const SYMBOL_SIZE: usize = 24;
const SECTION_SIZE: u16 = 64;
const HEADER_SIZE: u16 = 64;

/// The program, loaded.
#[derive(Debug)]
pub(super) struct Empty {
    ebpf: Ebpf,
}

/// A section of an ELF object.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    content: Vec<u8>,
    link: u32,
    info: u32,
    entry_size: u64,
}

impl Empty {
    pub(super) fn load() -> Result<Self> {
        let mut ebpf = Ebpf::load(&object()).context("load the empty program")?;
        let program = ebpf.program_mut("empty").context("the empty program")?;
        let classifier: &mut SchedClassifier = program.try_into()?;
        classifier.load().context("load the empty program")?;
        Ok(Self { ebpf })
    }

    /// How long it takes for a frame.
    pub(super) fn time(&self, frame: &[u8]) -> Result<Duration> {
        let program = self.ebpf.program("empty").context("the empty program")?;
        let classifier: &SchedClassifier = program.try_into()?;
        let options = TestRunOptions {
            data_in: Some(frame),
            ..TestRunOptions::new()
        };
        Ok(classifier
            .test_run(options)
            .context("run the empty program")?
            .duration)
    }
}

/// The program as a relocatable object: there is no compiler for it where benchmarks run.
fn object() -> Vec<u8> {
    let mut symbols = vec![0; SYMBOL_SIZE];
    symbols.extend(name("empty").to_le_bytes());
    // A global function of the first section.
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend(0u64.to_le_bytes());
    symbols.extend((CODE.len() as u64).to_le_bytes());
    let section = |name, kind, flags, content: &[u8]| Section {
        name,
        kind,
        flags,
        content: content.to_vec(),
        link: 0,
        info: 0,
        entry_size: 0,
    };
    let sections = [
        section("classifier", 1, 6, &CODE),
        section("license", 1, 3, LICENSE),
        Section {
            link: 4,
            info: 1,
            entry_size: SYMBOL_SIZE as u64,
            ..section(".symtab", 2, 0, &symbols)
        },
        section(".strtab", 3, 0, NAMES),
    ];
    assemble(&sections)
}

/// The file: header, contents, section headers.
fn assemble(sections: &[Section]) -> Vec<u8> {
    let mut contents = Vec::new();
    let mut headers = vec![0; usize::from(SECTION_SIZE)];
    for section in sections {
        let offset = u64::from(HEADER_SIZE) + contents.len() as u64;
        headers.extend(name(section.name).to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        for number in [section.flags, 0, offset, section.content.len() as u64] {
            headers.extend(number.to_le_bytes());
        }
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(8u64.to_le_bytes());
        headers.extend(section.entry_size.to_le_bytes());
        contents.extend_from_slice(&section.content);
        contents.resize(contents.len().next_multiple_of(8), 0);
    }
    let mut file = header(u64::from(HEADER_SIZE) + contents.len() as u64);
    file.extend(contents);
    file.extend(headers);
    file
}

/// A 64-bit little-endian relocatable object for BPF, its five section headers at `sections`.
fn header(sections: u64) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([1, 0, 247, 0, 1, 0, 0, 0]);
    for number in [0, 0, sections] {
        header.extend(number.to_le_bytes());
    }
    header.extend(0u32.to_le_bytes());
    for number in [HEADER_SIZE, 0, 0, SECTION_SIZE, 5, 4] {
        header.extend(number.to_le_bytes());
    }
    header
}

/// Where a name stands among the names.
fn name(name: &str) -> u32 {
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    let found = NAMES
        .windows(wanted.len())
        .position(|window| window == wanted);
    found
        .and_then(|index| u32::try_from(index + 1).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_one_that_the_loader_understands() {
        let object = aya::EbpfLoader::new().load(&object());
        // Without privileges it is the kernel that refuses, not the reader.
        if let Err(error) = object {
            assert!(!matches!(error, aya::EbpfError::ParseError(_)), "{error}");
        }
    }
}
