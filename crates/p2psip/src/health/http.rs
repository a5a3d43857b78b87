//! One GET of HTTP/1.0, for an address on the own host: no TLS, no redirects, no chunks.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks `host` (`name:port`) for `target`.
pub(super) async fn get(host: &str, target: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(host).await?;
    // RFC 9112 §6.3: to a request of HTTP/1.0 the answer comes unchunked and ends with the connection.
    let request =
        format!("GET {target} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut octets = Vec::new();
    stream.take(LARGEST).read_to_end(&mut octets).await?;
    parse(&octets).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

fn parse(octets: &[u8]) -> Option<Answer> {
    let end = octets.windows(END.len()).position(|window| window == END)?;
    let (head, body) = octets.split_at_checked(end + END.len())?;
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some(Answer {
        status: status.get(..3)?.parse().ok()?,
        body: body.to_vec(),
    })
}

/// Between head and body.
const END: &[u8] = b"\r\n\r\n";
/// Octets of an answer; a health report has hundreds.
const LARGEST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (503, b"{}".as_slice()));
        assert_eq!(parse(b"HTTP/1.0 200\r\n\r\n").unwrap().status, 200);
    }

    #[test]
    fn what_is_not_http_is_not_read() {
        for octets in [
            b"SSH-2.0-x\r\n\r\n".as_slice(),
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 abc\r\n\r\n",
            b"",
        ] {
            assert_eq!(parse(octets), None, "{octets:?}");
        }
    }
}
