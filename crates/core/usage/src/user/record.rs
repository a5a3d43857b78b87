//! The octets of a record.
//!
//! ```text
//!  format  state  version  issued  edges n  n Node-IDs  record key   nonce  AES-256-GCM of the secret part
//!    1       1       8       8        1       16 n           4         12        64 m + 16
//!  '------------------------- public, authenticated ----------------'
//! ```

use bytes::Bytes;
use wire::NodeId;

use super::cursor::Cursor;

/// The format that this crate writes.
const FORMAT: u8 = 1;

/// Octets of an AES-GCM nonce.
pub(super) const NONCE: usize = 12;

/// So many edges fit beside the secrets into the 1024 octets that the Kind allows.
pub const MAX_ALLOWED_EDGES: usize = 32;

/// What may be done with a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The user registers and calls.
    Active,
    /// The user exists and may do nothing.
    Suspended,
    /// The user is gone; the record stays as long as an older version might come back.
    Removed,
}

impl State {
    fn code(self) -> u8 {
        match self {
            State::Active => 1,
            State::Suspended => 2,
            State::Removed => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(State::Active),
            2 => Some(State::Suspended),
            3 => Some(State::Removed),
            _ => None,
        }
    }
}

/// The part that everyone may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    /// What may be done with the user.
    pub state: State,
    /// Grows with each change; the highest wins.
    pub version: u64,
    /// When this version was made, in Unix milliseconds.
    pub issued_ms: u64,
    /// The edges that may serve the user; empty for any.
    pub allowed_edges: Vec<NodeId>,
    /// Which record key seals the secret part.
    pub record_key_version: u32,
}

impl Public {
    /// Tells whether an edge may serve the user.
    pub fn allows(&self, edge: NodeId) -> bool {
        self.allowed_edges.is_empty() || self.allowed_edges.contains(&edge)
    }

    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        let count = u8::try_from(self.allowed_edges.len())
            .ok()
            .filter(|count| usize::from(*count) <= MAX_ALLOWED_EDGES)
            .ok_or(RecordError::TooManyEdges {
                count: self.allowed_edges.len(),
            })?;
        let mut out = vec![FORMAT, self.state.code()];
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.issued_ms.to_be_bytes());
        out.push(count);
        for edge in &self.allowed_edges {
            out.extend_from_slice(edge.as_bytes());
        }
        out.extend_from_slice(&self.record_key_version.to_be_bytes());
        Ok(out)
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, RecordError> {
        let [format] = cursor.array().ok_or(RecordError::Short)?;
        if format != FORMAT {
            return Err(RecordError::Format { found: format });
        }
        let [state] = cursor.array().ok_or(RecordError::Short)?;
        let state = State::from_code(state).ok_or(RecordError::State { found: state })?;
        let version = u64::from_be_bytes(cursor.array().ok_or(RecordError::Short)?);
        let issued_ms = u64::from_be_bytes(cursor.array().ok_or(RecordError::Short)?);
        let [count] = cursor.array().ok_or(RecordError::Short)?;
        let count = usize::from(count);
        if count > MAX_ALLOWED_EDGES {
            return Err(RecordError::TooManyEdges { count });
        }
        let mut allowed_edges = Vec::with_capacity(count);
        for _ in 0..count {
            allowed_edges.push(NodeId::from(cursor.array::<16>().ok_or(RecordError::Short)?));
        }
        let record_key_version = u32::from_be_bytes(cursor.array().ok_or(RecordError::Short)?);
        Ok(Self {
            state,
            version,
            issued_ms,
            allowed_edges,
            record_key_version,
        })
    }
}

/// A record as it is stored: public part and sealed secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    public: Public,
    /// How many of the octets are the public part.
    public_length: usize,
    bytes: Bytes,
}

impl Record {
    pub(super) fn assemble(public: Public, head: &[u8], nonce: &[u8; NONCE], sealed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(head.len() + NONCE + sealed.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(sealed);
        Self {
            public,
            public_length: head.len(),
            bytes: bytes.into(),
        }
    }

    /// Reads a stored value; the secrets stay sealed.
    ///
    /// # Errors
    /// When the octets are no record of a known format.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, RecordError> {
        let mut cursor = Cursor(bytes);
        let public = Public::read(&mut cursor)?;
        let public_length = bytes.len() - cursor.0.len();
        if cursor.0.len() < NONCE {
            return Err(RecordError::Short);
        }
        Ok(Self {
            public,
            public_length,
            bytes: bytes.clone(),
        })
    }

    /// Returns the value to store.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the part that everyone may read.
    pub fn public(&self) -> &Public {
        &self.public
    }

    /// Cuts the octets into public part, nonce and sealed part.
    pub(super) fn parts(&self) -> Option<(&[u8], [u8; NONCE], &[u8])> {
        let (head, rest) = self.bytes.split_at_checked(self.public_length)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>()?;
        Some((head, *nonce, sealed))
    }
}

/// Why octets are no user record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They end too early.
    #[error("the user record ends too early")]
    Short,
    /// A newer or unknown format.
    #[error("the user record has format {found}, known is {FORMAT}")]
    Format {
        /// The format found.
        found: u8,
    },
    /// A state without meaning.
    #[error("the user record has the unknown state {found}")]
    State {
        /// The state's number.
        found: u8,
    },
    /// More edges than a record may name.
    #[error("the user record names {count} edges, at most {MAX_ALLOWED_EDGES} fit")]
    TooManyEdges {
        /// How many it names.
        count: usize,
    },
}
