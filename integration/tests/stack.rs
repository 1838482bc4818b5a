//! How deep the programs' stacks are, by the rules of the oldest kernel: the verifiers of newer ones
//! are more generous, and would not notice.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use integration::testrun;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionKind, SymbolKind};

/// What a chain of calls may take, in bytes (`MAX_BPF_STACK`).
const MOST: u64 = 512;
/// What each frame is rounded up to, in bytes: until Linux 6.8, whether a JIT compiles it or not.
const UNIT: u64 = 32;
/// An instruction's size in bytes.
const INSTRUCTION: usize = 8;

/// Where something is: the section's number, and the octet in it.
type Place = (usize, u64);

#[derive(Debug)]
struct Function {
    name: String,
    /// Bytes of stack that it uses itself.
    stack: u64,
    calls: Vec<Place>,
}

#[test]
fn no_chain_of_calls_needs_more_stack_than_the_oldest_kernel_gives() -> Result<()> {
    let bytes = fs::read(testrun::object()).context("read the object")?;
    let functions = functions(&bytes)?;
    assert!(functions.len() > 50, "{} functions only", functions.len());
    let mut depths = BTreeMap::new();
    let mut too_deep = Vec::new();
    for place in functions.keys() {
        let (depth, chain) = deepest(&functions, *place, &mut depths);
        if depth > MOST {
            too_deep.push(format!("{depth} bytes: {}", chain.join(" > ")));
        }
    }
    if too_deep.is_empty() {
        return Ok(());
    }
    bail!(
        "more than {MOST} bytes of stack, which Linux 6.1 refuses:\n{}",
        too_deep.join("\n")
    );
}

/// The most stack that a call of the function takes, and by which calls.
fn deepest(
    functions: &BTreeMap<Place, Function>,
    place: Place,
    known: &mut BTreeMap<Place, (u64, Vec<String>)>,
) -> (u64, Vec<String>) {
    if let Some(found) = known.get(&place) {
        return found.clone();
    }
    let Some(function) = functions.get(&place) else {
        return (0, Vec::new());
    };
    let calls = function.calls.iter();
    let deepest = calls.map(|call| deepest(functions, *call, known)).max();
    let (below, chain) = deepest.unwrap_or_default();
    let own = function.stack.max(1).next_multiple_of(UNIT);
    let mut names = vec![format!("{} ({})", function.name, function.stack)];
    names.extend(chain);
    known.insert(place, (own + below, names.clone()));
    (own + below, names)
}

fn functions(bytes: &[u8]) -> Result<BTreeMap<Place, Function>> {
    let object = object::File::parse(bytes).context("read the object's headers")?;
    let calls = calls(&object)?;
    let mut functions = BTreeMap::new();
    for symbol in object.symbols() {
        let Some(index) = symbol.section_index() else {
            continue;
        };
        if symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let section = object.section_by_index(index)?;
        let code = section.data_range(symbol.address(), symbol.size())?;
        let code = code.context("a function outside its section")?;
        let range = symbol.address()..symbol.address() + symbol.size();
        let function = Function {
            name: symbol.name()?.to_owned(),
            stack: stack(code),
            calls: calls
                .range((index.0, range.start)..(index.0, range.end))
                .map(|(_, target)| *target)
                .collect(),
        };
        functions.insert((index.0, symbol.address()), function);
    }
    Ok(functions)
}

/// Every call between functions: from where to where.
fn calls(object: &object::File<'_>) -> Result<BTreeMap<Place, Place>> {
    const CALL: u8 = 0x85;
    const OF_FUNCTION: u8 = 1;
    let mut calls = BTreeMap::new();
    for section in object.sections() {
        if section.kind() != SectionKind::Text {
            continue;
        }
        let relocations: BTreeMap<u64, _> = section.relocations().collect();
        for (offset, instruction) in (0..)
            .step_by(INSTRUCTION)
            .zip(section.data()?.chunks_exact(INSTRUCTION))
        {
            let [CALL, registers, _, _, i0, i1, i2, i3] = *instruction else {
                continue;
            };
            if registers >> 4 != OF_FUNCTION {
                continue;
            }
            let immediate = i64::from(i32::from_le_bytes([i0, i1, i2, i3]));
            let distance = (immediate + 1) * 8;
            let target = match relocations.get(&offset) {
                None => (section.index().0, offset.wrapping_add_signed(distance)),
                Some(relocation) => called(object, relocation.target(), distance)?,
            };
            calls.insert((section.index().0, offset), target);
        }
    }
    Ok(calls)
}

/// What a call in another section is of. What has no symbol is named by its distance in the section.
fn called(object: &object::File<'_>, target: RelocationTarget, distance: i64) -> Result<Place> {
    let RelocationTarget::Symbol(symbol) = target else {
        bail!("a call of no symbol");
    };
    let symbol = object.symbol_by_index(symbol)?;
    let section = symbol.section_index().context("a call to nowhere")?;
    let inside = if symbol.kind() == SymbolKind::Section {
        distance
    } else {
        0
    };
    let address = symbol.address().wrapping_add_signed(inside);
    Ok((section.0, address))
}

/// The lowest place below the frame pointer that the code names.
fn stack(code: &[u8]) -> u64 {
    const FRAME: u8 = 10;
    const MOVE: u8 = 0xbf;
    const ADD: u8 = 0x07;
    let mut lowest = 0;
    let mut moved = [false; 16];
    for instruction in code.chunks_exact(INSTRUCTION) {
        let [operation, registers, o0, o1, i0, i1, i2, i3] = *instruction else {
            continue;
        };
        let (to, from) = (registers & 15, registers >> 4);
        let offset = i64::from(i16::from_le_bytes([o0, o1]));
        let immediate = i64::from(i32::from_le_bytes([i0, i1, i2, i3]));
        let is_address = std::mem::replace(&mut moved[usize::from(to)], false);
        match operation {
            MOVE if from == FRAME => moved[usize::from(to)] = true,
            ADD if is_address => lowest = lowest.min(immediate),
            // Loads name the frame as what is read from, stores as what is written to.
            _ if operation & 7 == 1 && from == FRAME => lowest = lowest.min(offset),
            _ if matches!(operation & 7, 2 | 3) && to == FRAME => lowest = lowest.min(offset),
            _ => {}
        }
    }
    lowest.unsigned_abs()
}
