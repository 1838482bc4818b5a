//! The functions that docker gives its templates, and what they do to headers.

use gtmpl_ng::{Func, FuncError, Value};

/// What templates may call besides Go's own.
pub(super) const FUNCTIONS: &[(&str, Func)] = &[
    ("json", json),
    ("split", split),
    ("join", join),
    ("title", title),
    ("lower", lower),
    ("upper", upper),
    ("pad", pad),
    ("truncate", truncate),
];

/// Where a header keeps the word for an object as a whole: a key that no template can write.
pub(super) const OWN_WORD: &str = "";

/// The same while the header is made: a header is a word, whatever is done to the values below.
pub(super) const HEADER_FUNCTIONS: &[(&str, Func)] = &[
    ("index", element),
    ("len", word),
    ("json", word),
    ("split", word),
    ("join", word),
    ("title", word),
    ("lower", word),
    ("upper", word),
    ("pad", pad),
    ("truncate", word),
];

fn json(arguments: &[Value]) -> Result<Value, FuncError> {
    let [value] = take("json", arguments)?;
    Ok(Value::String(to_json(value).to_string()))
}

fn split(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text, separator] = take("split", arguments)?;
    let (text, separator) = (string("split", text)?, string("split", separator)?);
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|c| Value::String(c.into())).collect()
    } else {
        text.split(separator).map(Value::from).collect()
    };
    Ok(Value::Array(parts))
}

fn join(arguments: &[Value]) -> Result<Value, FuncError> {
    let [list, separator] = take("join", arguments)?;
    let Value::Array(elements) = list else {
        return Err(FuncError::Generic(format!("join wants a list, not {list}")));
    };
    let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
    Ok(elements.join(string("join", separator)?).into())
}

fn title(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text] = take("title", arguments)?;
    let mut start = true;
    let titled = string("title", text)?.chars().map(|c| {
        let out = if start { c.to_ascii_uppercase() } else { c };
        start = c.is_whitespace();
        out
    });
    Ok(titled.collect::<String>().into())
}

fn lower(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text] = take("lower", arguments)?;
    Ok(string("lower", text)?.to_lowercase().into())
}

fn upper(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text] = take("upper", arguments)?;
    Ok(string("upper", text)?.to_uppercase().into())
}

/// `pad TEXT BEFORE AFTER`: spaces around a text that is not empty.
fn pad(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text, before, after] = take("pad", arguments)?;
    let (text, before, after) = (
        string("pad", text)?,
        size("pad", before)?,
        size("pad", after)?,
    );
    if text.is_empty() {
        return Ok(text.into());
    }
    Ok(format!("{:before$}{text}{:after$}", "", "").into())
}

/// `truncate TEXT LENGTH`: the first characters.
fn truncate(arguments: &[Value]) -> Result<Value, FuncError> {
    let [text, length] = take("truncate", arguments)?;
    let length = size("truncate", length)?;
    let text = string("truncate", text)?;
    Ok(text.chars().take(length).collect::<String>().into())
}

/// What stands in a header for an element of a list.
fn element(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::Array(elements), ..] if elements.len() == 1 => Ok(elements[0].clone()),
        [word, ..] => Ok(word.clone()),
        [] => Err(FuncError::AtLeastXArgs("function".into(), 1)),
    }
}

/// What stands in a header for a value, whatever is made of the value.
fn word(arguments: &[Value]) -> Result<Value, FuncError> {
    let element = element(arguments)?;
    if let Value::Object(fields) = &element
        && let Some(word) = fields.get(OWN_WORD)
    {
        return Ok(word.clone());
    }
    Ok(element)
}

fn take<'a, const N: usize>(
    name: &str,
    arguments: &'a [Value],
) -> Result<&'a [Value; N], FuncError> {
    arguments
        .try_into()
        .map_err(|_| FuncError::ExactlyXArgs(name.to_owned(), N))
}

fn string<'a>(name: &str, value: &'a Value) -> Result<&'a str, FuncError> {
    if let Value::String(text) = value {
        return Ok(text);
    }
    Err(FuncError::Generic(format!(
        "{name} wants a string, not {value}"
    )))
}

fn size(name: &str, value: &Value) -> Result<usize, FuncError> {
    let number = if let Value::Number(number) = value {
        number.as_u64()
    } else {
        None
    };
    number
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| *number <= 4096)
        .ok_or_else(|| {
            FuncError::Generic(format!("{name} wants a number from 0 to 4096, not {value}"))
        })
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::NoValue | Value::Nil | Value::Function(_) => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::String(text) => text.clone().into(),
        Value::Array(elements) => elements.iter().map(to_json).collect(),
        Value::Object(fields) | Value::Map(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect(),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => number.into(),
            (None, Some(number), _) => number.into(),
            (None, None, number) => number.into(),
        },
    }
}
