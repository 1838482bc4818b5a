use super::*;
use std::path::{Path, PathBuf};

use api::{DropCount, Endpoint, Finding, Flow, Network, NetworkDetail, Port, Status, Vip};
use clap::Parser;
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::output::Width;

#[tokio::test]
async fn every_noun_has_its_list() {
    let netd = Netd::start();
    let cases = [
        ("network ls", "ID     NAME"),
        ("endpoint ls", "ID             NAME"),
        ("vip ls", "ID         SERVICE"),
        ("port ls", "PORT       SERVICE"),
        ("flow ls", "NETWORK   PROTOCOL"),
        ("drop ls", "REASON       COUNT"),
        ("status", "Node:"),
        ("doctor", "CHECK   ABOUT"),
    ];
    for (line, start) in cases {
        let text = netd.ask(line).await.unwrap();
        assert!(text.starts_with(start), "{line}:\n{text}");
    }
}

#[tokio::test]
async fn everything_listed_has_id_and_name() {
    let netd = Netd::start();
    for (noun, expected) in [
        ("network", "ID     NAME\n4097   app\n"),
        ("endpoint", "ID             NAME\n0123456789ab   web-1\n"),
        ("vip", "ID         NAME\n0badcafe   web\n"),
        ("port", "ID         NAME\n8080/tcp   web\n"),
        ("flow", "ID                 NAME\n0123456789abcdef   web\n"),
        ("drop", "ID   NAME\n17   no-backend\n"),
    ] {
        let words = [noun, "ls", "--format", r"table {{.ID}}\t{{.Name}}"];
        let mut out = Vec::new();
        run(request(&netd.socket(), words), &mut out).await.unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{noun}");
    }
}

#[tokio::test]
async fn lists_hold_what_was_asked_for() {
    let netd = Netd::start();
    let cases = [
        ("endpoint ls -q --node n1", 1),
        ("endpoint ls -q --node n2", 0),
        ("endpoint ls -q --network app --service web --local", 1),
        ("endpoint ls -q --service db", 0),
        ("vip list -q --service web", 1),
        ("vip ls -q --network back", 0),
        ("port ls -q --protocol TCP", 1),
        ("port ls -q --protocol udp", 0),
        (
            "flow ls --format json --service web --protocol tcp --state established",
            1,
        ),
        (
            "flow ls --format json --client 127.0.0.1:80 --backend 127.0.0.1",
            1,
        ),
        ("flow ls --format json --network back", 0),
        ("drop ls -q --reason no-backend", 1),
        ("drop ls -q", 1),
        ("drop ls -q --all", 2),
    ];
    for (line, expected) in cases {
        let text = netd.ask(line).await.unwrap();
        assert_eq!(text.lines().count(), expected, "{line}:\n{text}");
    }
}

#[tokio::test]
async fn inspect_shows_what_there_is_and_fails_for_the_rest() {
    let netd = Netd::start();
    let text = netd.ask("vip inspect web --format {{.Service}}").await;
    assert_eq!(text.unwrap(), "web\n");

    let mut out = Vec::new();
    let failure = run(netd.request("vip inspect web mail --format json"), &mut out).await;
    assert!(matches!(failure, Err(Failure::Incomplete)));
    let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn people_read_every_part_of_an_object() {
    let netd = Netd::start();
    let vip = netd.ask("vip inspect web").await.unwrap();
    for part in [
        "Ports:       80->8080/tcp",
        "0badf00d",
        "10.0.1.11:8080",
        "ready",
    ] {
        assert!(vip.contains(part), "{part} not in\n{vip}");
    }
    let endpoint = netd.ask("endpoint inspect web-1").await.unwrap();
    assert!(
        endpoint.contains("Host interface:   nd0123456789abc\n"),
        "{endpoint}"
    );
    let network = netd.ask("network inspect app").await.unwrap();
    assert!(network.contains("Endpoints:   web-1\n"), "{network}");
}

#[tokio::test]
async fn a_misspelt_reason_is_no_empty_list() {
    let netd = Netd::start();
    let failure = netd.ask("drop ls --reason bad-luck").await.unwrap_err();
    let text = failure.to_string();
    assert!(text.starts_with("no such drop reason: bad-luck;"), "{text}");
}

#[tokio::test]
async fn a_misspelt_service_is_no_service_without_flows() {
    let netd = Netd::start();
    for line in ["flow ls --service nope", "flow ls --watch --service nope"] {
        let error = netd.ask(line).await.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no such service: nope;"), "{text}");
    }
    assert_ne!(netd.ask("flow ls --service WEB").await.unwrap(), "");
}

#[tokio::test]
async fn completion_asks_nobody() {
    let request = request(Path::new("/nowhere"), ["completion", "bash"]);
    let mut out = Vec::new();
    run(request, &mut out).await.unwrap();
    assert!(String::from_utf8(out).unwrap().contains("netctl"));
}

/// Answers every path with one example of each kind of object.
struct Netd {
    dir: TempDir,
}

impl Netd {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let listener = UnixListener::bind(dir.path().join("netd.sock")).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream).await;
            }
        });
        Self { dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("netd.sock")
    }

    fn request(&self, line: &str) -> Request {
        request(&self.socket(), line.split(' '))
    }

    async fn ask(&self, line: &str) -> Result<String, Failure> {
        let mut out = Vec::new();
        run(self.request(line), &mut out).await?;
        Ok(String::from_utf8(out).unwrap())
    }
}

fn request<'a>(socket: &'a Path, line: impl IntoIterator<Item = &'a str>) -> Request {
    let words = ["netctl", "--socket", socket.to_str().unwrap()];
    let args = Args::try_parse_from(words.into_iter().chain(line)).unwrap();
    Request::new(args, |_| None, Width::Short).unwrap()
}

async fn answer(mut stream: UnixStream) {
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.unwrap();
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap();
    let (status, body) = body(path).map_or_else(
        || {
            (
                "404 Not Found",
                r#"{"message":"vip mail not found"}"#.to_owned(),
            )
        },
        |body| ("200 OK", body),
    );
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await.unwrap();
}

fn body(path: &str) -> Option<String> {
    let mut never = DropCount::example();
    never.reason = "no-port".to_owned();
    never.count = 0;
    Some(match path {
        api::path::STATUS => json(&Status::example()),
        api::path::NETWORKS => json(&[Network::example()]),
        api::path::ENDPOINTS => json(&[Endpoint::example()]),
        api::path::VIPS => json(&[Vip::example()]),
        api::path::PORTS => json(&[Port::example()]),
        api::path::FLOWS => json(&[Flow::example()]),
        api::path::DOCTOR => json(&[Finding::example()]),
        api::path::DROPS => json(&[DropCount::example(), never]),
        "/netd/v1/networks/app" => json(&NetworkDetail::example()),
        "/netd/v1/endpoints/web-1" => json(&Endpoint::example()),
        "/netd/v1/vips/web" => json(&Vip::example()),
        _ => return None,
    })
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}
