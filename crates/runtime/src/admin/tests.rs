use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::State;

async fn served(monitor: &Monitor) -> Server {
    Server::bind((Ipv4Addr::LOCALHOST, 0).into(), monitor.clone())
        .await
        .unwrap()
}

/// Asks for a page: its status line, and what follows its head.
async fn get(server: &Server, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn readiness_has_a_status_and_reasons() {
    let monitor = Monitor::new();
    let storage = monitor.component("storage", "a1b2c3d4");
    let server = served(&monitor).await;

    let (status, text) = get(&server, "/readyz").await;
    assert_eq!(
        (status.as_str(), text.as_str()),
        ("HTTP/1.1 503 Service Unavailable", "storage: starting\n")
    );
    let (_, text) = get(&server, "/readyz?verbose").await;
    assert_eq!(text, r#"{"ready":false,"reasons":["storage: starting"]}"#);

    storage.tell(State::ready());
    let (status, text) = get(&server, "/readyz").await;
    assert_eq!((status.as_str(), text.as_str()), ("HTTP/1.1 200 OK", "ready\n"));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_loop_is_named() {
    let monitor = Monitor::new();
    let _stuck = monitor.component("storage", "a1b2c3d4").pulse();
    let mut turning = monitor.component("overlay", "a1b2c3d4").pulse();
    tokio::spawn(async move {
        loop {
            turning.beat().await;
        }
    });
    let page = answer(&monitor, &Method::GET, &"/livez".parse().unwrap()).await;
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = http_body_util::BodyExt::collect(page.into_body())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(text, "storage: its loop does not turn\n");
}

#[tokio::test]
async fn a_process_that_turns_is_live_and_knows_no_other_page() {
    let server = served(&Monitor::new()).await;
    assert_eq!(get(&server, "/livez").await.1, "live\n");
    assert_eq!(get(&server, "/secrets").await.0, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn an_address_in_use_names_its_key() {
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let error = Server::bind(address, Monitor::new()).await.unwrap_err().to_string();
    assert!(
        error.contains("admin.bind") && error.contains(&address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn promtool_finds_nothing_to_say() {
    use std::io::Write as _;

    let monitor = Monitor::new();
    monitor
        .component("overlay", "a1b2c3d4")
        .certificate("node", 1_800_000_000_000);
    let (_, text) = get(&served(&monitor).await, "/metrics").await;
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: there is no promtool (Debian package prometheus)");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}\n{text}"
    );
}
