//! The RELOAD traffic of the demo overlay, as Wireshark sees it: captured on the loopback, decrypted with the key log, cut
//! into frames and given to the dissector message by message, since tshark cannot be told that RELOAD runs on TLS.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use p2psip_e2e::{Dev, Namespace, eventually};
use vectors::{Captured, Direction, dissect};
use wire::framing::Decoder;
use wire::{Decode as _, Encode as _, FramedMessage, Message, MessageCode, Packet};

/// Peers of the overlay under test.
const PEERS: u16 = 5;

/// What must have been seen, requests and answers alike.
const EXPECTED: [MessageCode; 12] = [
    MessageCode::STORE_REQ,
    MessageCode::STORE_ANS,
    MessageCode::FETCH_REQ,
    MessageCode::FETCH_ANS,
    MessageCode::ATTACH_REQ,
    MessageCode::ATTACH_ANS,
    MessageCode::JOIN_REQ,
    MessageCode::JOIN_ANS,
    MessageCode::UPDATE_REQ,
    MessageCode::UPDATE_ANS,
    MessageCode::APP_ATTACH_REQ,
    MessageCode::APP_ATTACH_ANS,
];

#[test]
fn what_peers_say_is_reload_to_wireshark() {
    let namespace = Namespace::new();
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::start(&namespace, folder.path());
    let data = folder.path().join("overlay");
    // The demo call passes before phones may register.
    let dev = Dev::start(&namespace, &data, &["--peers", &PEERS.to_string()]);
    dev.stop();
    let capture = Recording {
        file: capture.stop(),
        keys: data.join("keys.log"),
    };

    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for stream in capture.streams() {
        let frames =
            frames(&chunks(&capture.follow(stream))).unwrap_or_else(|error| panic!("stream {stream}: {error}"));
        let captured: Vec<Captured> = frames
            .iter()
            .map(|(direction, frame)| Captured {
                octets: frame.to_bytes(),
                link: stream,
                direction: *direction,
            })
            .collect();
        let verdicts = dissect(&captured).unwrap_or_else(|error| panic!("{error}"));
        for ((_, frame), verdict) in frames.iter().zip(verdicts) {
            let code = code(frame).unwrap_or_else(|error| panic!("stream {stream}: {error} in {frame:?}"));
            seen.extend(code);
            faults.extend(
                verdict
                    .faults
                    .iter()
                    .map(|fault| format!("stream {stream}, {code:?}: {fault}")),
            );
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let missing: Vec<_> = EXPECTED.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}; seen: {seen:?}");
}

/// A capture under way; killed when dropped.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins to capture what goes over the RELOAD ports.
    fn start(namespace: &Namespace, folder: &Path) -> Self {
        let file = folder.join("reload.pcapng");
        let mut command = namespace.command("dumpcap");
        command.args([
            "-q",
            "-i",
            "lo",
            "-B",
            "16",
            "-f",
            &format!("tcp portrange {}-{}", port(1), port(PEERS)),
        ]);
        command
            .arg("-w")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command.spawn().expect("dumpcap (package tshark) starts");
        let capture = Self { child, file };
        // The file's head is written once packets are being taken.
        eventually("the capture begins", Duration::from_secs(10), || {
            match capture.file.metadata() {
                Ok(file) if file.len() > 0 => Ok(()),
                Ok(_) => Err("the file is empty".into()),
                Err(error) => Err(error.to_string()),
            }
        });
        capture
    }

    /// Ends it, with everything written.
    fn stop(mut self) -> PathBuf {
        let id = self.child.id().to_string();
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill (package procps)");
        self.child.wait().expect("dumpcap is waited for once");
        self.file.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A finished capture and the secrets of its links.
struct Recording {
    file: PathBuf,
    keys: PathBuf,
}

impl Recording {
    /// The numbers of the TCP connections that were begun.
    fn streams(&self) -> BTreeSet<u16> {
        let output = self.tshark(&[
            "-Y",
            "tcp.flags.syn==1 && tcp.flags.ack==0",
            "-T",
            "fields",
            "-e",
            "tcp.stream",
        ]);
        let streams: BTreeSet<u16> = output
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        assert!(!streams.is_empty(), "nothing was captured");
        streams
    }

    /// What both ends of a connection said, as tshark prints it.
    fn follow(&self, stream: u16) -> String {
        self.tshark(&["-q", "-z", &format!("follow,tls,raw,{stream}")])
    }

    fn tshark(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("tshark");
        // An empty home, so that nobody's preferences change the outcome.
        command
            .env("HOME", self.file.parent().unwrap_or(Path::new("/")))
            .env_remove("XDG_CONFIG_HOME");
        command
            .arg("-r")
            .arg(&self.file)
            .arg("-o")
            .arg(format!("tls.keylog_file:{}", self.keys.display()));
        for peer in 1..=PEERS {
            command.arg("-d").arg(format!("tcp.port=={},tls", port(peer)));
        }
        let Output { status, stdout, stderr } = command
            .args(arguments)
            .output()
            .expect("tshark (package tshark) starts");
        assert!(status.success(), "tshark: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }
}

/// RELOAD port of a peer, counted from 1.
fn port(peer: u16) -> u16 {
    6084 + 10 * (peer - 1)
}

/// Reads what `-z follow,tls,raw` prints: a line of hex for each record, indented if the second node said it.
fn chunks(text: &str) -> Vec<(Direction, Vec<u8>)> {
    let line = |line: &str| {
        let direction = if line.starts_with('\t') {
            Direction::Back
        } else {
            Direction::Forth
        };
        // Headings and rulers are no hex.
        Some((
            direction,
            wire::hex::decode(line.trim()).filter(|octets| !octets.is_empty())?,
        ))
    };
    text.lines().filter_map(line).collect()
}

/// Cuts both directions into frames, in the order in which they were whole.
fn frames(chunks: &[(Direction, Vec<u8>)]) -> Result<Vec<(Direction, FramedMessage)>, wire::framing::FramingError> {
    let (mut forth, mut back) = (Decoder::new(LONGEST), Decoder::new(LONGEST));
    let mut frames = Vec::new();
    for (direction, octets) in chunks {
        let decoder = if *direction == Direction::Forth {
            &mut forth
        } else {
            &mut back
        };
        decoder.push(octets);
        while let Some(frame) = decoder.next_frame()? {
            frames.push((*direction, frame));
        }
    }
    Ok(frames)
}

/// What the message in a frame is, if it says so: later pieces and acknowledgements do not. A whole message must be one
/// that our own codec reads to the last octet.
fn code(frame: &FramedMessage) -> Result<Option<MessageCode>, wire::DecodeError> {
    let FramedMessage::Data { message, .. } = frame else {
        return Ok(None);
    };
    let packet = Packet::from_bytes(message)?;
    if !packet.header.fragment.is_whole() {
        let first = packet
            .payload
            .first_chunk::<2>()
            .filter(|_| packet.header.fragment.offset == 0);
        return Ok(first.map(|octets| MessageCode(u16::from_be_bytes(*octets))));
    }
    let Message { contents, .. } = packet.open()?;
    contents.body()?;
    Ok(Some(contents.code))
}

/// max-message-size of the documents that p2psip writes.
const LONGEST: usize = 65_536;

#[test]
fn followed_streams_are_cut_into_frames() {
    let text = "\n===================================================================\nFollow: tls,raw\n\
                Filter: tcp.stream eq 0\nNode 0: 127.0.0.1:40000\nNode 1: 127.0.0.1:6084\n\
                80000000000000\n\t810000000000000000\n03616263800000000100000164\n\
                ===================================================================\n";
    let chunks = chunks(text);
    assert_eq!(chunks.len(), 3);
    let data = |sequence, message: &'static [u8]| FramedMessage::Data {
        sequence,
        message: message.into(),
    };
    let ack = FramedMessage::Ack {
        sequence: 0,
        received: 0,
    };
    let expected = [
        (Direction::Back, ack),
        (Direction::Forth, data(0, b"abc")),
        (Direction::Forth, data(1, b"d")),
    ];
    assert_eq!(frames(&chunks).unwrap(), expected);
    assert!(frames(&[(Direction::Forth, vec![0x16, 3, 3])]).is_err());
}
