//! What an edge on the wildcards is called, and what its TCP port answers.

use std::net::SocketAddr;

use p2psip_sip_edge::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::world::World;

fn options(uri: &str, transport: &str, more: &str) -> String {
    let branch = uri.replace([':', '.'], "");
    format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} 192.0.2.9;branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@overlay.example.org>;tag=1\r\nTo: <{uri}>\r\nCall-ID: {uri}\r\nCSeq: 1 OPTIONS\r\n{more}\r\n"
    )
}

/// The status line of the answer.
async fn asked(edge: SocketAddr, uri: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request = options(uri, "UDP", "Content-Length: 0\r\n");
    socket.send_to(request.as_bytes(), edge).await.unwrap();
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).await.unwrap();
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_on_the_wildcard_knows_its_addresses_and_names() {
    let (world, folder) = (World::new(&[]), tempfile::tempdir().unwrap());
    let config = Config {
        bind: vec!["0.0.0.0:0".parse().unwrap()],
        names: vec!["sip.example.net".into()],
        ..world.config(folder.path())
    };
    let edge = world.edge_with(config).await;
    let port = edge.addresses()[0].port();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    for host in ["127.0.0.1", "localhost", "sip.example.net", "overlay.example.org"] {
        assert_eq!(asked(at, &format!("sip:{host}")).await, "SIP/2.0 200 OK", "{host}");
    }
    let stranger = asked(at, "sip:192.0.2.77").await;
    assert!(stranger.contains("407"), "{stranger}");
    // An address that no interface has: the datagram that comes to it shows that it is this machine's.
    let other = SocketAddr::from(([127, 0, 0, 77], port));
    assert_eq!(asked(other, "sip:127.0.0.77").await, "SIP/2.0 200 OK");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_cannot_be_read_on_still_brings_its_answers() {
    let (world, folder) = (World::new(&[]), tempfile::tempdir().unwrap());
    let edge = world.edge_with(world.config(folder.path())).await;
    let mut phone = TcpStream::connect(edge.addresses()[0]).await.unwrap();
    let good = options("sip:overlay.example.org", "TCP", "Content-Length: 0\r\n");
    let bad = options("sip:127.0.0.1", "TCP", "");
    let behind = options("sip:localhost", "TCP", "Content-Length: 0\r\n");
    phone
        .write_all(format!("{good}{bad}{behind}").as_bytes())
        .await
        .unwrap();
    let mut answers = String::new();
    phone.read_to_string(&mut answers).await.unwrap();
    let lines: Vec<&str> = answers.lines().filter(|line| line.starts_with("SIP/2.0 ")).collect();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 400 Missing Content-Length"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_few_places_for_connections_that_carry_nothing() {
    let (world, folder) = (World::new(&[]), tempfile::tempdir().unwrap());
    let edge = world.edge_with(world.config(folder.path())).await;
    let mut phones = Vec::new();
    for _ in 0..17 {
        phones.push(TcpStream::connect(edge.addresses()[0]).await.unwrap());
    }
    // The first gives way to the last, which is served.
    assert_eq!(phones[0].read(&mut [0; 8]).await.unwrap(), 0);
    let last = phones.last_mut().unwrap();
    let request = options("sip:localhost", "TCP", "Content-Length: 0\r\n");
    last.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = [0; 14];
    last.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"SIP/2.0 200 OK");
}
