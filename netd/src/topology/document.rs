//! A TOML document read with every mistake collected: typed access to keys, each with its line.

use std::collections::BTreeSet;

use model::raw::{Field, Located};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One mistake in the shape of the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Line, from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) message: String,
}

/// Turns offsets into lines, and collects mistakes.
#[derive(Debug)]
pub(super) struct Reader {
    /// Offset of the first byte of every line but the first.
    line_starts: Vec<usize>,
    pub(super) mistakes: Vec<Mistake>,
}

/// A table that is being read; the keys that have been asked for are the ones that it may have.
#[derive(Debug)]
pub(super) struct Table<'a> {
    table: &'a DeTable<'a>,
    /// How messages call it: `[[node]]`.
    label: &'static str,
    asked: BTreeSet<&'static str>,
    /// Line of its header, or where it starts.
    pub(super) line: usize,
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_starts: ends.map(|(end, _)| end + 1).collect(),
            mistakes: Vec::new(),
        }
    }

    /// The line that has the byte at an offset.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset) + 1
    }

    pub(super) fn mistake(&mut self, line: usize, message: String) {
        self.mistakes.push(Mistake { line, message });
    }

    /// Starts on the whole document.
    pub(super) const fn root<'a>(&self, table: &'a DeTable<'a>) -> Table<'a> {
        Table {
            table,
            label: "the file",
            asked: BTreeSet::new(),
            line: 1,
        }
    }

    /// Ends a table: whatever has not been asked for does not belong there.
    pub(super) fn finish(&mut self, table: &Table<'_>) {
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

    pub(super) fn string(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<String> {
        self.field(table, key, "a string", |value| {
            value.as_str().map(str::to_owned)
        })
    }

    pub(super) fn integer(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<i64> {
        self.field(table, key, "an integer of 64 bits", integer)
    }

    pub(super) fn boolean(&mut self, table: &mut Table<'_>, key: &'static str) -> Field<bool> {
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
    pub(super) fn strings(
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
    pub(super) fn list<'a, T>(
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
    pub(super) fn tables<'a>(
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
    pub(super) fn table<'a>(
        &mut self,
        table: &mut Table<'a>,
        (key, label): (&'static str, &'static str),
    ) -> Option<Table<'a>> {
        let value = table.take(key)?;
        self.table_of(value, (key, label))
    }

    /// A value that has to be a table.
    pub(super) fn table_of<'a>(
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
    pub(super) fn wrong(&mut self, line: usize, (key, value): (&str, &DeValue<'_>), needed: &str) {
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
