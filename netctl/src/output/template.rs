//! Go templates, as docker's `--format` has them.

use std::fmt;

use gtmpl_ng::{Context, Func, Value};

use super::functions::{FUNCTIONS, HEADER_FUNCTIONS, OWN_WORD};

/// A template that has been read.
pub(crate) struct Template {
    rows: gtmpl_ng::Template,
    header: gtmpl_ng::Template,
}

/// Why a template gives nothing.
#[derive(Debug)]
pub(crate) enum TemplateError {
    /// It is no template.
    Syntax(String),
    /// It names a field that the object does not have.
    NoField {
        /// The name.
        field: String,
        /// What the object has.
        fields: Vec<String>,
    },
    /// It does something with a value that the value does not allow.
    Evaluation(String),
}

impl Template {
    /// Reads a template. Outside of `{{ }}` the two characters `\t` and `\n` mean what they say,
    /// because a shell hands them over like that.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let text = unescape(text);
        Ok(Self {
            rows: compile(&text, FUNCTIONS)?,
            header: compile(&text, HEADER_FUNCTIONS)?,
        })
    }

    /// What it gives for one object.
    pub(crate) fn render(&self, object: &serde_json::Value) -> Result<String, TemplateError> {
        self.rows
            .render(&Context::from(to_value(object)))
            .map_err(|error| explain(&error.to_string(), object))
    }

    /// The header of a table of such objects: what the template gives for the fields' names.
    /// `example` is an object with every field filled.
    pub(crate) fn header(&self, example: &serde_json::Value) -> Result<String, TemplateError> {
        let render = |depth| self.header.render(&Context::from(header(example, depth)));
        render(Depth::Words)
            .or_else(|_| render(Depth::Objects))
            .or_else(|_| render(Depth::Lists))
            .map_err(|error| explain(&error.to_string(), example))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(message) | Self::Evaluation(message) => {
                write!(f, "template: {message}")
            }
            Self::NoField { field, fields } => {
                let fields = fields.join(", ");
                write!(f, "template: no field `{field}`; there are {fields}")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

fn compile(text: &str, functions: &[(&str, Func)]) -> Result<gtmpl_ng::Template, TemplateError> {
    let mut template = gtmpl_ng::Template::default();
    template.add_funcs(functions);
    template
        .parse(text)
        .map_err(|error| TemplateError::Syntax(without_place(&error.to_string()).to_owned()))?;
    Ok(template)
}

/// Replaces `\t` and `\n` outside of actions; inside, they belong to Go's string literals.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..]
            .find("}}")
            .map_or(rest.len(), |end| start + end);
        plain.push_str(&rest[..start].replace("\\t", "\t").replace("\\n", "\n"));
        plain.push_str(&rest[start..end]);
        rest = &rest[end..];
    }
    plain.push_str(&rest.replace("\\t", "\t").replace("\\n", "\n"));
    plain
}

fn explain(message: &str, object: &serde_json::Value) -> TemplateError {
    let message = without_place(message);
    let field = message
        .split_once("no field `")
        .and_then(|(_, rest)| rest.split_once('`'));
    if let Some((field, _)) = field {
        let fields = object.as_object().map_or_else(Vec::new, |object| {
            object.keys().map(ToString::to_string).collect()
        });
        let field = field.to_owned();
        return TemplateError::NoField { field, fields };
    }
    let first = message.lines().next().unwrap_or_default();
    TemplateError::Evaluation(first.to_owned())
}

/// The engine's message without the position that it begins with (`template: :1:3:5:`).
fn without_place(message: &str) -> &str {
    let message = message.strip_prefix("template: ").unwrap_or(message);
    message.trim_start_matches(|c: char| c == ':' || c == ' ' || c.is_ascii_digit())
}

/// An object's fields are those of a Go struct: naming another one is a mistake. What is absent is
/// no value, so that its fields are no values either.
fn to_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::NoValue,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => to_number(number),
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(elements) => Value::Array(elements.iter().map(to_value).collect()),
        serde_json::Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), to_value(value)));
            Value::Object(fields.collect())
        }
    }
}

fn to_number(number: &serde_json::Number) -> Value {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), _, _) => Value::from(number),
        (None, Some(number), _) => Value::from(number),
        (None, None, number) => Value::from(number.unwrap_or(f64::NAN)),
    }
}

/// How much of an object's structure a header has. A template that only shows a value wants a
/// word for it; one that goes into it wants what is inside.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Depth {
    Words,
    Objects,
    Lists,
}

fn header(example: &serde_json::Value, depth: Depth) -> Value {
    let fields = example.as_object().into_iter().flatten();
    let words = fields.map(|(key, value)| (key.clone(), header_of(&spaced(key), value, depth)));
    Value::Object(words.collect())
}

fn header_of(word: &str, example: &serde_json::Value, depth: Depth) -> Value {
    match example {
        serde_json::Value::Object(_) if depth >= Depth::Objects => {
            let mut fields = header(example, depth);
            if let Value::Object(fields) = &mut fields {
                fields.insert(OWN_WORD.to_owned(), word.into());
            }
            fields
        }
        serde_json::Value::Array(elements) if depth == Depth::Lists => {
            let element = elements.first().unwrap_or(&serde_json::Value::Null);
            Value::Array(vec![header_of(word, element, depth)])
        }
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => word.into(),
    }
}

/// `HostInterface` as `HOST INTERFACE`, `ID` as it is.
fn spaced(key: &str) -> String {
    let mut words = String::new();
    let mut after_lower = false;
    for c in key.chars() {
        if c.is_ascii_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = c.is_ascii_lowercase();
        words.push(c.to_ascii_uppercase());
    }
    words
}

#[cfg(test)]
mod tests;
