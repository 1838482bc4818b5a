//! As much of HTTP/1.1 as the demo's server, the clients of the tests and netd's local API need:
//! one exchange after the other, bodies with a stated length or in chunks.

use std::io::{self, BufRead, Read, Write};

/// Longest head and longest line that is read, in bytes.
const LONGEST_HEAD: u64 = 16 * 1024;

/// The first line and the headers of a request or response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub first: String,
    /// Names in lower case, values trimmed.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// Reads a head; `None` when the other side has closed before its first byte.
    ///
    /// # Errors
    /// When the connection fails or what comes is no head.
    pub fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut limited = reader.take(LONGEST_HEAD);
        let Some(first) = line(&mut limited)? else {
            return Ok(None);
        };
        let mut head = Self {
            first,
            headers: Vec::new(),
        };
        loop {
            let text = line(&mut limited)?.ok_or_else(cut)?;
            if text.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = text.split_once(':').ok_or_else(|| invalid("a header"))?;
            head.headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The stated length of the body in bytes; 0 where none is stated.
    ///
    /// # Errors
    /// When it is not a number.
    pub fn content_length(&self) -> io::Result<u64> {
        self.header("content-length").map_or(Ok(0), |value| {
            value.parse().map_err(|_| invalid("a content-length"))
        })
    }

    /// Whether the connection is to be closed after this exchange.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// The word of the first line at `index`.
    #[must_use]
    pub fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or("")
    }

    /// The status of a response.
    ///
    /// # Errors
    /// When the first line is no status line.
    pub fn status(&self) -> io::Result<u16> {
        self.word(1).parse().map_err(|_| invalid("a status line"))
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Writes a request without a body and flushes it.
///
/// # Errors
/// When the connection fails.
pub fn write_get(writer: &mut impl Write, path: &str, more: &str) -> io::Result<()> {
    // One write, hence one packet.
    writer.write_all(format!("GET {path} HTTP/1.1\r\nHost: netd\r\n{more}\r\n").as_bytes())?;
    writer.flush()
}

/// Reads a whole response.
///
/// # Errors
/// When the connection fails or ends too early, or what comes is no HTTP.
pub fn read_response(reader: &mut impl BufRead) -> io::Result<Response> {
    let head = Head::read(reader)?.ok_or_else(cut)?;
    let status = head.status()?;
    let body = if head.header("transfer-encoding").is_some() {
        read_chunks(reader)?
    } else {
        let mut body = Vec::new();
        let length = head.content_length()?;
        reader.take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            return Err(cut());
        }
        body
    };
    Ok(Response { status, body })
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(&mut reader.take(LONGEST_HEAD))?.ok_or_else(cut)?;
        let size = size.split(';').next().unwrap_or("");
        let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk"))?;
        let before = body.len() as u64;
        reader.take(size).read_to_end(&mut body)?;
        if body.len() as u64 - before != size {
            return Err(cut());
        }
        line(&mut reader.take(LONGEST_HEAD))?.ok_or_else(cut)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut text = String::new();
    if reader.read_line(&mut text)? == 0 {
        return Ok(None);
    }
    if !text.ends_with('\n') {
        return Err(cut());
    }
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(Some(text))
}

/// The other side has closed in the middle of something.
#[must_use]
pub fn cut() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "closed in the middle of an exchange",
    )
}

/// What came is not what it should be.
#[must_use]
pub fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_response_is_put_together() {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        let response = read_response(&mut text.as_bytes()).unwrap();
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, &b"abcde"[..])
        );
    }

    #[test]
    fn a_short_body_is_an_error() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
        assert!(read_response(&mut text.as_bytes()).is_err());
    }

    #[test]
    fn a_closed_connection_is_not_a_request() {
        assert_eq!(Head::read(&mut &b""[..]).unwrap(), None);
        assert!(Head::read(&mut &b"GET / HT"[..]).is_err());
    }
}
