//! The smallest session description that phones take: one audio stream, PCMU (RFC 3264, RFC 3551).

use std::net::SocketAddr;

/// The Content-Type of a session description.
pub(super) const CONTENT_TYPE: &str = "application/sdp";

pub(super) fn describe(media: SocketAddr) -> String {
    let (family, address) = (if media.is_ipv4() { "IP4" } else { "IP6" }, media.ip());
    format!(
        "v=0\r\no=p2psip 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
        media.port()
    )
}
