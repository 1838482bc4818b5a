use super::*;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

#[tokio::test]
async fn a_missing_socket_is_named() {
    let dir = TempDir::new().unwrap();
    let error = client(&dir).status().await.unwrap_err();
    assert!(matches!(error, ClientError::SocketMissing { .. }));
    assert!(error.to_string().starts_with("no socket at /"), "{error}");
}

#[tokio::test]
async fn a_socket_without_listener_does_not_answer() {
    let dir = TempDir::new().unwrap();
    drop(UnixListener::bind(dir.path().join("netd.sock")).unwrap());
    let error = client(&dir).status().await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotAnswering { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_listener_that_hangs_up_does_not_answer() {
    let dir = TempDir::new().unwrap();
    serve(&dir, "");
    let error = client(&dir).status().await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotAnswering { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn silence_times_out() {
    let dir = TempDir::new().unwrap();
    let _listener = UnixListener::bind(dir.path().join("netd.sock")).unwrap();
    let client = client(&dir).with_timeout(Duration::from_millis(50));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refusal_carries_the_servers_words() {
    let dir = TempDir::new().unwrap();
    let body = r#"{"message":"network app not found"}"#;
    serve(&dir, &answer("404 Not Found", body));
    let error = client(&dir).network("app").await.unwrap_err();
    assert_eq!(error.to_string(), "network app not found");
    assert!(matches!(error, ClientError::Refused { status: 404, .. }));
}

#[tokio::test]
async fn a_refusal_without_words_says_its_status() {
    let dir = TempDir::new().unwrap();
    serve(&dir, &answer("500 Internal Server Error", "oops"));
    let error = client(&dir).flows().await.unwrap_err();
    assert_eq!(error.to_string(), "netd answered 500 Internal Server Error");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_malformed() {
    let dir = TempDir::new().unwrap();
    serve(&dir, &answer("200 OK", r#"[{"Reason":"no-flow"}]"#));
    let error = client(&dir).drops().await.unwrap_err();
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
    assert_eq!(error.to_string(), "answer to /netd/v1/drops not understood");
}

#[tokio::test]
async fn lists_are_read() {
    let dir = TempDir::new().unwrap();
    let body = concat!(
        r#"[{"ID":"9","Name":"no-flow","Reason":"no-flow","Count":3,"#,
        r#""Description":"x.","LastSample":null}]"#,
    );
    serve(&dir, &answer("200 OK", body));
    let drops = client(&dir).drops().await.unwrap();
    assert_eq!((drops[0].reason.as_str(), drops[0].count), ("no-flow", 3));
}

fn client(dir: &TempDir) -> Client {
    Client::new(dir.path().join("netd.sock"))
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Gives one connection these bytes and closes it.
fn serve(dir: &TempDir, answer: &str) {
    let listener = UnixListener::bind(dir.path().join("netd.sock")).unwrap();
    let answer = answer.to_owned();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
}
