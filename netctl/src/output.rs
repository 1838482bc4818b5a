//! How answers are shown: as a table for people, as JSON, or by a Go template.

mod functions;
mod table;
mod template;

pub(crate) use table::align;
pub(crate) use template::{Template, TemplateError};

use std::io::{self, Write};

use serde::Serialize;

use table::Aligner;

/// What `--format` asks for.
#[derive(Debug)]
pub(crate) enum Format {
    /// What people read.
    Human,
    /// `json`: one object a line in lists, one array of all objects in `inspect`.
    Json,
    /// `{{json .}}`: one object a line everywhere.
    JsonLines,
    /// A template for each object.
    Template(Template),
    /// `table TEMPLATE`: a header, and the template's tabs as columns.
    TemplateTable(Template),
}

/// How a list is shown.
#[derive(Debug)]
pub(crate) struct Style {
    /// The form.
    pub(crate) format: Format,
    /// Only what `inspect` takes.
    pub(crate) quiet: bool,
    /// How long cells may be.
    pub(crate) width: Width,
}

/// How long cells may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Long ones are shortened.
    Short,
    /// Everything is shown.
    Full,
}

/// An object that is shown.
pub(crate) trait Shown: Serialize {
    /// An object with every field filled, from which a template's header is made.
    fn example() -> Self;
}

/// An object that lists show.
pub(crate) trait Row: Shown {
    /// The columns of the table.
    const HEADERS: &'static [&'static str];

    /// One text for each column.
    fn cells(&self, width: Width) -> Vec<String>;

    /// What `--quiet` shows.
    fn reference(&self) -> String;
}

/// Why nothing more was shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// Standard output is gone.
    #[error("write to standard output")]
    Write(#[from] io::Error),
    /// The template does not fit the objects.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// An object has no JSON form.
    #[error("write as JSON")]
    Json(#[from] serde_json::Error),
}

impl Format {
    /// Reads the value of `--format`; nothing is the table for people.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, TemplateError> {
        let text = text.unwrap_or_default().trim_matches(' ');
        let without_blanks: String = text.split_whitespace().collect();
        match without_blanks.as_str() {
            "" | "table" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            "{{json.}}" => Ok(Self::JsonLines),
            _ => match text.strip_prefix("table ") {
                Some(template) => Template::parse(template.trim_start()).map(Self::TemplateTable),
                None => Template::parse(text).map(Self::Template),
            },
        }
    }
}

/// Shows rows, all at once or as they come; there is one header, above the first.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    style: &'a Style,
    columns: Aligner,
    headed: bool,
}

impl<'a> Listing<'a> {
    /// Nothing shown yet.
    pub(crate) fn new(style: &'a Style) -> Self {
        Self {
            style,
            columns: Aligner::default(),
            headed: false,
        }
    }

    /// Shows these rows below those shown before.
    pub(crate) fn show<T: Row>(
        &mut self,
        rows: &[T],
        out: &mut impl Write,
    ) -> Result<(), OutputError> {
        let lines = if self.style.quiet {
            rows.iter().map(Row::reference).collect()
        } else if let Format::Human = self.style.format {
            self.table(rows)
        } else {
            formatted(rows, &self.style.format, &mut self.columns, !self.headed)?
        };
        self.headed = true;
        Ok(print(&lines, out)?)
    }

    fn table<T: Row>(&mut self, rows: &[T]) -> Vec<String> {
        let header = (!self.headed).then(|| T::HEADERS.join("\t"));
        let rows = rows
            .iter()
            .map(|row| row.cells(self.style.width).join("\t"));
        self.columns
            .align(&header.into_iter().chain(rows).collect::<Vec<_>>())
    }
}

/// Shows objects that were asked for by name; `human` says how people read one.
pub(crate) fn inspect<T: Shown>(
    objects: &[T],
    format: &Format,
    human: impl Fn(&T) -> Vec<String>,
    out: &mut impl Write,
) -> Result<(), OutputError> {
    let lines = match format {
        Format::Human => {
            let blocks: Vec<_> = objects.iter().map(human).collect();
            blocks.join(&String::new())
        }
        Format::Json => vec![serde_json::to_string(objects)?],
        Format::JsonLines | Format::Template(_) | Format::TemplateTable(_) => {
            formatted(objects, format, &mut Aligner::default(), true)?
        }
    };
    Ok(print(&lines, out)?)
}

/// Shows the one object that there is.
pub(crate) fn single<T: Shown>(
    object: &T,
    format: &Format,
    human: impl Fn(&T) -> Vec<String>,
    out: &mut impl Write,
) -> Result<(), OutputError> {
    let format = if let Format::Json = format {
        &Format::JsonLines
    } else {
        format
    };
    inspect(std::slice::from_ref(object), format, human, out)
}

fn formatted<T: Shown>(
    objects: &[T],
    format: &Format,
    columns: &mut Aligner,
    header: bool,
) -> Result<Vec<String>, OutputError> {
    match format {
        Format::Human | Format::Json | Format::JsonLines => {
            let lines = objects.iter().map(serde_json::to_string);
            Ok(lines.collect::<Result<_, _>>()?)
        }
        Format::Template(template) => rendered(objects, template),
        Format::TemplateTable(template) => {
            let mut lines = Vec::new();
            if header {
                lines.push(template.header(&serde_json::to_value(T::example())?)?);
            }
            lines.extend(rendered(objects, template)?);
            let lines: Vec<_> = lines
                .iter()
                .flat_map(|line| line.split('\n'))
                .map(ToOwned::to_owned)
                .collect();
            Ok(columns.align(&lines))
        }
    }
}

fn rendered<T: Shown>(objects: &[T], template: &Template) -> Result<Vec<String>, OutputError> {
    let mut lines = Vec::with_capacity(objects.len());
    for object in objects {
        lines.push(template.render(&serde_json::to_value(object)?)?);
    }
    Ok(lines)
}

fn print(lines: &[String], out: &mut impl Write) -> io::Result<()> {
    for line in lines {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests;
