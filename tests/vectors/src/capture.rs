//! Puts messages into UDP packets of a capture file that tshark reads.

use bytes::Bytes;

/// A message as it was seen between two nodes.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Its octets, bare or framed.
    pub octets: Bytes,
    /// The link it was seen on. Wireshark ties acknowledgements, answers and fragments together within a link.
    pub link: u16,
    /// Which way it went.
    pub direction: Direction,
}

/// Which way on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first node to the second.
    Forth,
    /// From the second node to the first.
    Back,
}

/// Most octets of a message that fit a UDP packet, whose offsets the dissector counts in 16 bits.
pub(crate) const MOST: usize = 65_000;

/// RELOAD's port (RFC 6940 §14.2), at both ends so that no other dissector claims the packet.
const PORT: u16 = 6084;

/// Number of the link type "raw IP" in a capture file.
const RAW_IP: u32 = 101;

/// Number of UDP in an IP header.
const UDP: u8 = 17;

/// Writes the capture file.
pub(crate) fn pcap(messages: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_be_bytes());
    file.extend([2_u16, 4].iter().flat_map(|version| version.to_be_bytes()));
    file.extend([0_u32, 0, 0x4_0000, RAW_IP].iter().flat_map(|word| word.to_be_bytes()));
    for (second, message) in (0_u32..).zip(messages) {
        let packet = packet(message);
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        file.extend([second, 0, length, length].iter().flat_map(|word| word.to_be_bytes()));
        file.extend(packet);
    }
    file
}

/// One IP packet. The checksums are left out: zero is none in UDP, and tshark does not check IP's.
fn packet(message: &Captured) -> Vec<u8> {
    let [high, low] = message.link.to_be_bytes();
    let (first, second) = ([10, 1, high, low], [10, 2, high, low]);
    let (source, destination) = match message.direction {
        Direction::Forth => (first, second),
        Direction::Back => (second, first),
    };
    let udp_length = 8 + message.octets.len();
    let total = u16::try_from(20 + udp_length).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 1, 0x40, 0, 64, UDP, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    packet.extend(PORT.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend(u16::try_from(udp_length).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&message.octets);
    packet
}
