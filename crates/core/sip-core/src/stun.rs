//! STUN on the SIP port (RFC 5626 §4.4.2): a phone on UDP asks now and then whether its flow stands, and from which address
//! it is seen. An edge that keeps flows has to answer, or the phone takes its flow for dead. It answers nobody else.
//!
//! ```text
//! type (2, the first two bits are 0) | length (2) | magic cookie (4) | transaction id (12) | attributes
//! ```

use std::net::{IpAddr, SocketAddr};

const HEADER: usize = 20;
/// RFC 8489 §5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// Makes the answer to a Binding request from `source`; none to anything else, which may be SIP.
///
/// No attribute of a request changes the answer: keep-alives are not authenticated (RFC 5626 §8), and those that RFC 8489
/// §6.3.1 has refused would cost more octets than they help.
pub fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let (head, attributes) = datagram.split_first_chunk::<HEADER>()?;
    let ([kind @ .., _, _, _, _], transaction) = head.split_first_chunk::<8>()?;
    let (length, cookie) = (head.get(2..4)?, head.get(4..8)?);
    let is_whole = usize::from(u16::from_be_bytes(length.try_into().ok()?)) == attributes.len();
    let is_request = kind.get(..2)? == BINDING_REQUEST && cookie == COOKIE;
    if !is_request || !is_whole || attributes.len() % 4 != 0 {
        return None;
    }
    let mapped = xor_mapped(source, transaction);
    let mut out = Vec::with_capacity(HEADER + 4 + mapped.len());
    out.extend_from_slice(&BINDING_SUCCESS);
    out.extend_from_slice(&u16::try_from(4 + mapped.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&COOKIE);
    out.extend_from_slice(transaction);
    out.extend_from_slice(&XOR_MAPPED_ADDRESS);
    out.extend_from_slice(&u16::try_from(mapped.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&mapped);
    Some(out)
}

/// RFC 8489 §14.2: port and address are hidden from translators that would rewrite what looks like them.
fn xor_mapped(source: SocketAddr, transaction: &[u8]) -> Vec<u8> {
    let (family, address) = match source.ip().to_canonical() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let plain = [&source.port().to_be_bytes(), &address[..]].concat();
    let [first, second, ..] = COOKIE;
    let mask = [first, second]
        .into_iter()
        .chain(COOKIE)
        .chain(transaction.iter().copied());
    let hidden = plain.iter().zip(mask).map(|(octet, mask)| octet ^ mask);
    [0, family].into_iter().chain(hidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&BINDING_REQUEST[..], &length, &COOKIE, &TRANSACTION, attributes].concat()
    }

    #[test]
    fn the_address_is_told_as_rfc_5769_has_it() {
        let cases: [(&str, &[u8]); 2] = [
            ("192.0.2.1:32853", &[0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &[
                    0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
                    0xbe, 0xd2, 0xb9, 0xd9,
                ],
            ),
        ];
        for (source, mapped) in cases {
            let answer = answer(&request(&[]), source.parse().unwrap()).unwrap();
            let length = u8::try_from(mapped.len()).unwrap();
            let head = [&BINDING_SUCCESS[..], &[0, length + 4], &COOKIE, &TRANSACTION].concat();
            let attribute = [&XOR_MAPPED_ADDRESS[..], &[0, length], mapped].concat();
            assert_eq!(answer, [head, attribute].concat(), "{source}");
        }
    }

    #[test]
    fn only_whole_binding_requests_are_answered() {
        let source = "192.0.2.1:5060".parse().unwrap();
        assert!(answer(&request(&[0x80, 0x22, 0, 4, 1, 2, 3, 4]), source).is_some());
        let whole = request(&[]);
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end], source), None);
        }
        for at in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(answer(&changed, source), None, "octet {at}");
        }
        assert_eq!(answer(b"OPTIONS sip:example.org SIP/2.0\r\n\r\n", source), None);
    }
}
