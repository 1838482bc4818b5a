//! A TOML document read with every mistake collected: typed access to keys, each with its line.

use std::collections::BTreeSet;

use model::raw::{Field, Located};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in the shape of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// Turns offsets into lines, and collects mistakes.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Offset of the first byte of every line but the first.
    line_starts: Vec<usize>,
    mistakes: Vec<Mistake>,
}

/// A table that is being read; the keys that have been asked for are the ones that it may have.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    table: &'a DeTable<'a>,
    /// How messages call it: `[[node]]`.
    label: &'static str,
    asked: BTreeSet<&'static str>,
    /// Line of its header, or where it starts.
    pub(crate) line: usize,
}

/// Reads a document: `read` asks for the keys that it may have. After mistakes in the syntax nothing
/// is read at all; after others, what comes back is what could be understood all the same.
pub(crate) fn read<T: Default>(
    text: &str,
    read: impl FnOnce(&mut Reader, &mut Table<'_>) -> T,
) -> (T, Vec<Mistake>) {
    let mut reader = Reader::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| reader.line(span.start));
        reader.mistake(line, error.message().to_owned());
    }
    if !errors.is_empty() {
        return (T::default(), reader.mistakes);
    }
    let table = document.get_ref();
    let mut root = Table {
        table,
        label: "the file",
        asked: BTreeSet::new(),
        line: 1,
    };
    let value = read(&mut reader, &mut root);
    reader.finish(&root);
    (value, reader.mistakes)
}

impl Reader {
    fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_starts: ends.map(|(end, _)| end + 1).collect(),
            mistakes: Vec::new(),
        }
    }

    /// The line that has the byte at an offset.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }

    fn mistake(&mut self, line: usize, message: String) {
        self.mistakes.push(Mistake { line, message });
    }

    /// Ends a table: whatever has not been asked for does not belong there.
    pub(crate) fn finish(&mut self, table: &Table<'_>) {
        for (key, _) in table.table {
            let name = key.get_ref().as_ref();
            if !table.asked.contains(name) {
                let known: Vec<_> = table.asked.iter().copied().collect();
                let message = format!(
                    "{} has no key `{name}`; it has {}",
                    table.label,
                    known.join(", ")
                );
                self.mistake(self.line(key.span().start), message);
            }
        }
    }

    pub(crate) fn string(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<String> {
        self.field(table, key, "a string", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    pub(crate) fn integer(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<i64> {
        self.field(table, key, "an integer of 64 bits", integer)
    }

    pub(crate) fn boolean(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<bool> {
        self.field(table, key, "true or false", |value| match value {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        })
    }

    /// An array of strings. Elements that are none are reported and left out.
    pub(crate) fn strings(
        &mut self,
        table: &mut Table<'_>,
        key: &'static str,
    ) -> Field<Vec<Located<String>>> {
        self.list(table, key, "strings", |reader, element| {
            reader.value(element, key, "strings", |value| {
                value.as_str().map(str::to_owned)
            })
        })
    }

    /// An array whose elements `read` takes one by one. When it takes none of them, the array
    /// counts as malformed.
    pub(crate) fn list<'a, T>(
        &mut self,
        table: &mut Table<'a>,
        key: &'static str,
        needed: &str,
        mut read: impl FnMut(&mut Self, &'a Spanned<DeValue<'a>>) -> Option<Located<T>>,
    ) -> Field<Vec<Located<T>>> {
        let Some(value) = table.take(key) else {
            return Field::Absent;
        };
        let line = self.line(value.span().start);
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(
                line,
                (key, value.get_ref()),
                &format!("an array of {needed}"),
            );
            return Field::Malformed;
        };
        let elements: Vec<_> = array
            .iter()
            .filter_map(|element| read(self, element))
            .collect();
        if elements.is_empty() && !array.is_empty() {
            return Field::Malformed;
        }
        Field::Given(Located {
            line,
            value: elements,
        })
    }

    /// The tables of an array of tables, such as all `[[node]]`.
    pub(crate) fn tables<'a>(
        &mut self,
        table: &mut Table<'a>,
        (key, label): (&'static str, &'static str),
    ) -> Vec<Table<'a>> {
        let tables = self.list(table, key, "tables", |reader, element| {
            let table = reader.table_of(element, (key, label));
            table.map(|value| Located {
                line: value.line,
                value,
            })
        });
        match tables {
            Field::Given(tables) => tables.value.into_iter().map(|table| table.value).collect(),
            Field::Absent | Field::Malformed => Vec::new(),
        }
    }

    /// A table, such as `[ingress]`.
    pub(crate) fn table<'a>(
        &mut self,
        table: &mut Table<'a>,
        (key, label): (&'static str, &'static str),
    ) -> Option<Table<'a>> {
        let value = table.take(key)?;
        self.table_of(value, (key, label))
    }

    /// A value that has to be a table.
    pub(crate) fn table_of<'a>(
        &mut self,
        value: &'a Spanned<DeValue<'a>>,
        (key, label): (&'static str, &'static str),
    ) -> Option<Table<'a>> {
        let line = self.line(value.span().start);
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(line, (key, value.get_ref()), "a table");
            return None;
        };
        Some(Table {
            table,
            label,
            asked: BTreeSet::new(),
            line,
        })
    }

    fn field<T>(
        &mut self,
        table: &mut Table<'_>,
        key: &'static str,
        needed: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = table.take(key) else {
            return Field::Absent;
        };
        self.value(value, key, needed, read)
            .map_or(Field::Malformed, Field::Given)
    }

    fn value<T>(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        key: &str,
        needed: &str,
        read: impl FnOnce(&DeValue<'_>) -> Option<T>,
    ) -> Option<Located<T>> {
        let line = self.line(value.span().start);
        let read = read(value.get_ref());
        if read.is_none() {
            self.wrong(line, (key, value.get_ref()), needed);
        }
        read.map(|value| Located { line, value })
    }

    /// Reports a value of the wrong type.
    pub(crate) fn wrong(&mut self, line: usize, (key, value): (&str, &DeValue<'_>), needed: &str) {
        let found = match value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.mistake(line, format!("`{key}` takes {needed}, not {found}"));
    }
}

impl<'a> Table<'a> {
    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.insert(key);
        self.table.get(key)
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
