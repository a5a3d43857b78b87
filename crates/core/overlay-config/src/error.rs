//! Why a document is not accepted.

/// Why a document cannot be used; the text names the element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than a document may have.
    #[error("configuration document of {size} bytes is larger than {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It is not well-formed XML in UTF-8.
    #[error("configuration document is not well-formed at byte {at}: {reason}")]
    Malformed {
        /// Where.
        at: usize,
        /// What the parser says.
        reason: String,
    },
    /// It uses a part of XML that documents do not need and that attacks use.
    #[error("configuration document has {what} at byte {at}")]
    Forbidden {
        /// Where.
        at: usize,
        /// What it has.
        what: &'static str,
    },
    /// It holds no configuration of the overlay.
    #[error("configuration document has no configuration of overlay {overlay}")]
    NoConfiguration {
        /// The overlay that was looked for.
        overlay: String,
    },
    /// An element or attribute is missing.
    #[error("{element} is missing")]
    Missing {
        /// Its name.
        element: String,
    },
    /// An element occurs twice that may occur once.
    #[error("{element} occurs more than once")]
    Repeated {
        /// Its name.
        element: String,
    },
    /// Too many elements of a sort.
    #[error("{element} occurs more than {limit} times")]
    TooMany {
        /// Its name.
        element: String,
        /// How many may occur.
        limit: usize,
    },
    /// A value is not what the element may have.
    #[error("{element} is {value:?}, expected {expected}")]
    Value {
        /// Its name.
        element: String,
        /// Its value, cut to a bearable length.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// The overlay needs something that this implementation does not have.
    #[error("this overlay cannot be joined: {element} is {value:?}, supported is {supported}")]
    Unsupported {
        /// The element.
        element: String,
        /// Its value.
        value: String,
        /// What is supported.
        supported: String,
    },
    /// It is signed as it must be and is the next one, and this implementation cannot obey it.
    #[error(transparent)]
    CannotObey(#[from] Demand),
    /// A name that our extension depends on is bound outside what the signature covers.
    #[error("configuration of {overlay} takes its namespaces from outside the signed element")]
    UnsignedNamespace {
        /// The overlay.
        overlay: String,
    },
    /// A signature does not hold.
    #[error("configuration of {overlay}: {source}")]
    Signature {
        /// The overlay.
        overlay: String,
        /// What is wrong.
        source: SignatureError,
    },
    /// It has the sequence number of the document in force, or an older one.
    #[error("configuration document has sequence {sequence}, in force is {in_force}")]
    NotNewer {
        /// Its number.
        sequence: u16,
        /// The number in force.
        in_force: u16,
    },
    /// Its time is over.
    #[error("configuration document expired at {expiration_ms} (Unix ms)")]
    Expired {
        /// When it did.
        expiration_ms: u64,
    },
}

/// What a document that verifies needs, and this implementation does not have.
// RFC 6940 §11.1: a node that is not capable of the new requirements exits the overlay.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("document {sequence} needs {needs}: upgrade")]
pub struct Demand {
    /// The number of the document.
    pub sequence: u16,
    /// The extension, the Kind, or the element with its value.
    pub needs: String,
}

impl Error {
    /// The same about a document that is believed: what a configuration that was signed as it must be asks for is no mistake of
    /// somebody on the way, and other members obey it.
    pub(crate) fn of_believed(self, sequence: u16) -> Error {
        let needs = match self {
            Error::Unsupported { element, value, .. } => match element.as_str() {
                "mandatory-extension" => value,
                "kind name" => format!("Kind {value}"),
                _ => format!("{element} {value}").trim_end().to_owned(),
            },
            Error::TooMany { element, limit } => format!("more than {limit} of {element}"),
            other => return other,
        };
        Error::CannotObey(Demand { sequence, needs })
    }
}

/// What is wrong with a document's signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error("it is not signed")]
    Missing,
    /// It is not a SecurityBlock in base64.
    #[error("its signature is no SecurityBlock in base64: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// It does not verify, or its certificate may not sign documents.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The signer is not one that the document in force names.
    #[error("its signer {node_id} is not among the signers of the document in force")]
    UnknownSigner {
        /// The signer.
        node_id: wire::NodeId,
    },
    /// A first document does not list the pinned configuration root.
    #[error("the pinned configuration root is not among its root certificates")]
    NotPinned,
    /// The signature of a Kind is bad.
    #[error("the definition of kind {kind} is not signed by a kind signer: {reason}")]
    Kind {
        /// The Kind.
        kind: wire::KindId,
        /// What is wrong.
        reason: String,
    },
}
