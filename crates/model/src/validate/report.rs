//! Collects problems, and reads fields while it does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use crate::raw::{Field, Located};
use crate::{Algorithm, BadName, Problem, ProblemKind, Protocol};

/// What has been found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    incomplete: bool,
}

/// Which key is read: what its table describes, its name, the table's line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) noun: &'static str,
    pub(super) key: &'static str,
    pub(super) line: usize,
}

/// The names of one kind, bad ones included, with the line of each: a reference to a thing that is
/// broken is not a second problem.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, usize>);

impl Report {
    pub(super) fn add(&mut self, line: usize, kind: ProblemKind) {
        self.problems.push(Problem { line, kind });
    }

    /// Remembers that something malformed was left out.
    pub(super) const fn passed_over(&mut self) {
        self.incomplete = true;
    }

    /// Ends the reading.
    pub(super) fn finish(mut self) -> Result<(), Vec<Problem>> {
        if self.problems.is_empty() && !self.incomplete {
            return Ok(());
        }
        self.problems.sort_by(Problem::order);
        self.problems.dedup();
        Err(self.problems)
    }

    /// A value that may be left out.
    pub(super) fn optional<'r, T>(&mut self, field: &'r Field<T>) -> Option<&'r Located<T>> {
        if matches!(field, Field::Malformed) {
            self.passed_over();
        }
        field.given()
    }

    /// A value that has to be there.
    pub(super) fn required<'r, T>(
        &mut self,
        field: &'r Field<T>,
        key: Key,
    ) -> Option<&'r Located<T>> {
        if matches!(field, Field::Absent) {
            self.add(
                key.line,
                ProblemKind::Missing {
                    noun: key.noun,
                    key: key.key,
                },
            );
        }
        self.optional(field)
    }

    /// The name of a new thing.
    pub(super) fn name<N>(
        &mut self,
        field: &Field<String>,
        key: Key,
        names: &mut Names,
    ) -> Option<N>
    where
        N: FromStr<Err = BadName>,
    {
        let text = self.required(field, key)?;
        let name = text.value.clone();
        if let Some(first) = names.0.get(&name) {
            let first = *first;
            self.add(
                text.line,
                ProblemKind::DuplicateName {
                    noun: key.noun,
                    name,
                    first,
                },
            );
            return None;
        }
        names.0.insert(name.clone(), text.line);
        let parsed = name.parse();
        parsed
            .map_err(|cause| self.add(text.line, ProblemKind::BadName { name, cause }))
            .ok()
    }

    /// A reference to a thing that has been read; `noun` is the thing's.
    pub(super) fn reference<N>(
        &mut self,
        field: &Field<String>,
        key: Key,
        (noun, names): (&'static str, &Names),
    ) -> Option<N>
    where
        N: FromStr<Err = BadName>,
    {
        let text = self.required(field, key)?;
        if !names.0.contains_key(&text.value) {
            self.add(
                text.line,
                ProblemKind::Unknown {
                    noun,
                    name: text.value.clone(),
                },
            );
        }
        text.value.parse().ok()
    }

    /// An address.
    pub(super) fn address(&mut self, text: &Located<String>) -> Option<IpAddr> {
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            self.add(
                text.line,
                ProblemKind::BadAddress {
                    text: text.value.clone(),
                },
            );
        }
        parsed
    }

    /// An algorithm that may be left out.
    pub(super) fn algorithm(
        &mut self,
        field: &Field<String>,
        default: Algorithm,
    ) -> Option<Algorithm> {
        if matches!(field, Field::Absent) {
            return Some(default);
        }
        let text = self.optional(field)?;
        let unknown = |cause| ProblemKind::UnknownAlgorithm {
            text: text.value.clone(),
            cause,
        };
        text.value
            .parse()
            .map_err(|cause| self.add(text.line, unknown(cause)))
            .ok()
    }

    /// A protocol that may be left out.
    pub(super) fn protocol(&mut self, field: &Field<String>) -> Option<Protocol> {
        if matches!(field, Field::Absent) {
            return Some(Protocol::default());
        }
        let text = self.optional(field)?;
        let unknown = |cause| ProblemKind::UnknownProtocol {
            text: text.value.clone(),
            cause,
        };
        text.value
            .parse()
            .map_err(|cause| self.add(text.line, unknown(cause)))
            .ok()
    }
}
