//! HTTP with connections that are kept: `GET /`, `GET /bytes?n=N`, `POST /sink`.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Server;
use crate::http::Head;
use crate::pattern::Pattern;

/// How much of a body is written at once, in bytes.
const PIECE: usize = 64 * 1024;

pub(super) struct Site {
    pub(super) server: Arc<Server>,
    pub(super) pattern: Arc<Pattern>,
}

/// Accepts for ever. Each thread accepts and then serves its connection to the end; the last one
/// to leave starts another. There are as many threads as there ever were connections at once, and
/// a connection costs no thread of its own.
pub(super) fn serve(listener: &Arc<TcpListener>, site: &Arc<Site>) {
    let waiting = Arc::new(AtomicUsize::new(0));
    worker(listener, site, &waiting);
}

fn worker(listener: &Arc<TcpListener>, site: &Arc<Site>, waiting: &Arc<AtomicUsize>) {
    loop {
        waiting.fetch_add(1, Ordering::SeqCst);
        let accepted = listener.accept();
        if waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            let (listener, site, waiting) = (listener.clone(), site.clone(), waiting.clone());
            std::thread::spawn(move || worker(&listener, &site, &waiting));
        }
        if let Ok((stream, client)) = accepted {
            // A client that goes away in the middle is the client's affair.
            let _ = converse(site, stream, client);
        }
    }
}

fn converse(site: &Site, stream: TcpStream, client: SocketAddr) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(PIECE, stream);
    while let Some(head) = Head::read(&mut reader)? {
        let close = head.closes();
        respond(site, &head, client, (&mut reader, &mut writer))?;
        if close {
            break;
        }
    }
    Ok(())
}

type Ends<'a> = (&'a mut BufReader<TcpStream>, &'a mut TcpStream);

fn respond(site: &Site, head: &Head, client: SocketAddr, ends: Ends<'_>) -> io::Result<()> {
    let (reader, writer) = ends;
    let target = head.word(1);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match (head.word(0), path) {
        ("GET", "/") => write_whole(writer, head, &greeting(site, head, client)),
        ("GET", "/bytes") => match query.strip_prefix("n=").and_then(|n| n.parse().ok()) {
            Some(length) => write_bytes(site, head, length, writer),
            None => write_status(writer, head, "400 Bad Request", "text/plain", "say ?n=N\n"),
        },
        ("POST", "/sink") => {
            let count = swallow(site, head.content_length()?, reader)?;
            write_whole(writer, head, &("text/plain", count))
        }
        _ => {
            let text = "there are GET /, GET /bytes?n=N and POST /sink\n";
            write_status(writer, head, "404 Not Found", "text/plain", text)
        }
    }
}

fn greeting(site: &Site, head: &Head, client: SocketAddr) -> (&'static str, String) {
    let answer = site.server.answer(client);
    if head
        .header("accept")
        .is_some_and(|kinds| kinds.contains("application/json"))
    {
        let (address, port) = (answer.client.ip(), answer.client.port());
        let json = serde_json::json!({
            "task": answer.task, "node": answer.node, "client": address, "port": port,
        });
        return ("application/json", format!("{json}\n"));
    }
    ("text/plain", format!("{answer}\n"))
}

/// Reads a body and says how much came, and whether it was the pattern.
fn swallow(site: &Site, length: u64, reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let (mut count, mut intact) = (0u64, true);
    while count < length {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(crate::http::cut());
        }
        let take = bytes
            .len()
            .min(usize::try_from(length - count).unwrap_or(usize::MAX));
        intact &= site.pattern.matches(count, &bytes[..take]);
        count += take as u64;
        reader.consume(take);
    }
    Ok(format!(
        "{count} bytes, {}\n",
        if intact { "intact" } else { "not the pattern" }
    ))
}

fn write_bytes(site: &Site, head: &Head, length: u64, writer: &mut TcpStream) -> io::Result<()> {
    write_head(writer, head, ("200 OK", "application/octet-stream"), length)?;
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(PIECE).min(PIECE);
        let piece = site.pattern.at(offset, wanted);
        writer.write_all(piece)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

fn write_whole(
    writer: &mut TcpStream,
    head: &Head,
    (kind, body): &(&str, String),
) -> io::Result<()> {
    write_status(writer, head, "200 OK", kind, body)
}

fn write_status(
    writer: &mut TcpStream,
    head: &Head,
    status: &str,
    kind: &str,
    body: &str,
) -> io::Result<()> {
    let text = format!(
        "{}{body}",
        head_text(head, (status, kind), body.len() as u64)
    );
    writer.write_all(text.as_bytes())
}

fn write_head(
    writer: &mut TcpStream,
    head: &Head,
    what: (&str, &str),
    length: u64,
) -> io::Result<()> {
    writer.write_all(head_text(head, what, length).as_bytes())
}

fn head_text(head: &Head, (status, kind): (&str, &str), length: u64) -> String {
    let close = if head.closes() {
        "Connection: close\r\n"
    } else {
        ""
    };
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{close}\r\n")
}
