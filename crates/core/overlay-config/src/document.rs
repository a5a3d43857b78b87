//! The typed content of a configuration document.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{Certificate, Domains, Trust};
use wire::{DataModel, KindId, Models, NodeId};

use crate::error::Error;
use crate::kind::{AccessPolicy, KindDefinition};
use crate::{parse, write};

/// What a configuration document says.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The name of the overlay.
    pub overlay: String,
    /// The sequence number, 0 to 65534.
    pub sequence: u16,
    /// When the document ceases to hold, in Unix milliseconds.
    pub expiration_ms: Option<u64>,
    /// The `root-cert`s.
    pub root_certs: Vec<Certificate>,
    /// The URLs of enrollment servers.
    pub enrollment_servers: Vec<String>,
    /// Peers through which one joins.
    pub bootstrap_nodes: Vec<BootstrapNode>,
    /// One node in so many is a TURN server; zero for none.
    pub turn_density: u8,
    /// Tells whether nodes may stay clients.
    pub clients_permitted: bool,
    /// Tells whether links are made without ICE.
    pub no_ice: bool,
    /// The parameters of CHORD-RELOAD.
    pub chord: Chord,
    /// The greatest size of a message in bytes.
    pub max_message_size: u32,
    /// The TTL that messages start with.
    pub initial_ttl: u8,
    /// The end-to-end retransmission timer.
    pub reliability_timer: Duration,
    /// The permitted link protocols.
    pub link_protocols: Vec<String>,
    /// Who may sign the next document.
    pub configuration_signers: BTreeSet<NodeId>,
    /// Who may sign Kinds.
    pub kind_signers: BTreeSet<NodeId>,
    /// Nodes whose certificates do not count.
    pub bad_nodes: BTreeSet<NodeId>,
    /// Namespaces that a member must support.
    pub mandatory_extensions: BTreeSet<String>,
    /// Tells whether edges may have delegated signers (extension).
    pub delegated_signers: bool,
    /// Which URL, enrollment CA and writer belong together (extension). A document of one service need not say it.
    pub services: Vec<Service>,
    /// The Kinds.
    pub kinds: Vec<KindDefinition>,
}

/// One bootstrap service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its URL, among the `enrollment-server`s as long as it is there.
    pub url: String,
    /// SHA-256 of the certificate of its enrollment CA, which is a `root-cert`.
    pub authority: [u8; 32],
    /// The writer of the user records that it signs.
    pub writer: NodeId,
}

/// The address of a peer through which one joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapNode {
    /// An IP address, or a host name that is resolved at each try (deviation D22).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The parameters of CHORD-RELOAD (RFC 6940 §10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chord {
    /// How often Updates are sent.
    pub update_interval: Duration,
    /// How often fingers are looked for.
    pub ping_interval: Duration,
    /// Tells whether lost neighbours are replaced at once.
    pub is_reactive: bool,
}

/// What a new overlay starts from.
#[derive(Debug, Clone)]
pub struct Genesis<'a> {
    /// The name of the overlay.
    pub overlay: &'a str,
    /// The configuration root and the enrollment CAs.
    pub root_certs: Vec<Certificate>,
    /// Who signs the document and its Kinds.
    pub configuration_signer: NodeId,
    /// Who writes user records.
    pub user_signer: NodeId,
    /// Peers through which one joins.
    pub bootstrap_nodes: Vec<BootstrapNode>,
}

impl Document {
    /// Makes the document that a new overlay of ours starts with.
    #[must_use]
    pub fn for_overlay(genesis: Genesis<'_>) -> Document {
        Document {
            overlay: genesis.overlay.to_owned(),
            sequence: 1,
            expiration_ms: None,
            root_certs: genesis.root_certs,
            enrollment_servers: Vec::new(),
            bootstrap_nodes: genesis.bootstrap_nodes,
            turn_density: 0,
            clients_permitted: true,
            no_ice: true,
            chord: Chord {
                update_interval: Duration::from_secs(10),
                ping_interval: Duration::from_secs(30),
                is_reactive: true,
            },
            // A Fetch answer with the minted certificates of many edges must fit.
            max_message_size: 65536,
            // RFC 6940 §13.6.5: enough for 2^27 peers, and a bound for loops.
            initial_ttl: 32,
            reliability_timer: Duration::from_millis(500),
            link_protocols: vec!["TLS".to_owned()],
            configuration_signers: BTreeSet::from([genesis.configuration_signer]),
            kind_signers: BTreeSet::from([genesis.configuration_signer]),
            bad_nodes: BTreeSet::new(),
            mandatory_extensions: BTreeSet::from([NAMESPACE.to_owned()]),
            delegated_signers: true,
            services: Vec::new(),
            kinds: vec![sip_registration(), user_record(genesis.user_signer), probe()],
        }
    }

    /// Reads the first `configuration` of an overlay file, or a bare `configuration`, without
    /// checking any signature.
    ///
    /// # Errors
    /// When the file cannot be used; the error names the element.
    pub fn from_xml(xml: &str) -> Result<Document, Error> {
        parse::first_document(xml)
    }

    /// Writes the `configuration` element; equal documents give equal bytes.
    #[must_use]
    pub fn to_xml(&self) -> String {
        write::configuration(self, &|_| None)
    }

    /// Returns what the document says about trust.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let private_namespace = self.mandatory_extensions.contains(NAMESPACE);
        let restriction = self
            .kind(KindId::SIP_REGISTRATION)
            .and_then(|kind| kind.domain_restriction.clone());
        Trust {
            overlay: self.overlay.clone(),
            anchors: self.root_certs.clone(),
            bad_nodes: self.bad_nodes.clone(),
            // RFC 7904 §3.4: without the element any AOR is accepted.
            domains: restriction.unwrap_or(Domains::Any),
            delegated_signers: self.delegated_signers && private_namespace,
            private_namespace,
        }
    }

    /// Looks up a Kind.
    #[must_use]
    pub fn kind(&self, id: KindId) -> Option<&KindDefinition> {
        self.kinds.iter().find(|kind| kind.id == id)
    }

    /// Returns the data models of its Kinds, which decoding stored data needs.
    #[must_use]
    pub fn models(&self) -> impl Models + Clone + Send + Sync + 'static {
        let models: std::collections::BTreeMap<KindId, DataModel> =
            self.kinds.iter().map(|kind| (kind.id, kind.data_model)).collect();
        move |kind: KindId| models.get(&kind).copied()
    }

    /// Returns the Node-IDs that write user records, in order of precedence.
    #[must_use]
    pub fn user_signers(&self) -> &[NodeId] {
        self.kind(KindId::P2PSIP_USER).map_or(&[], |kind| &kind.writers)
    }

    /// Returns the bootstrap services: those that it tells of, or the one that a document of one service means.
    #[must_use]
    pub fn bootstrap_services(&self) -> Vec<Service> {
        if !self.services.is_empty() {
            return self.services.clone();
        }
        let url = self.enrollment_servers.first().cloned();
        // The configuration root issues signers of documents and no nodes.
        let authority = self.root_certs.iter().find(|ca| ca.path_length() == Some(1));
        let service = |((url, authority), writer): ((String, &Certificate), &NodeId)| Service {
            url,
            authority: authority.hash(),
            writer: *writer,
        };
        let parts = url.zip(authority).zip(self.user_signers().first());
        parts.map(service).into_iter().collect()
    }
}

/// RFC 7904 §3.4: "false" restricts user names to the overlay's own domain; without the element
/// any domain would do.
fn sip_registration() -> KindDefinition {
    KindDefinition {
        id: KindId::SIP_REGISTRATION,
        name: "SIP-REGISTRATION".to_owned(),
        data_model: DataModel::Dictionary,
        access: AccessPolicy::UserNodeMatch,
        max_count: 16,
        max_size: 512,
        max_node_multiple: None,
        longest_lifetime: Some(3600),
        writers: Vec::new(),
        domain_restriction: Some(Domains::Overlay),
    }
}

fn user_record(writer: NodeId) -> KindDefinition {
    KindDefinition {
        id: KindId::P2PSIP_USER,
        name: String::new(),
        data_model: DataModel::Dictionary,
        access: AccessPolicy::UserNodeMatch,
        max_count: 4,
        max_size: 1024,
        max_node_multiple: None,
        longest_lifetime: Some(50 * 24 * 3600),
        writers: vec![writer],
        domain_restriction: None,
    }
}

/// The value by which a peer tests that storing and fetching work.
fn probe() -> KindDefinition {
    KindDefinition {
        id: KindId::P2PSIP_PROBE,
        name: String::new(),
        data_model: DataModel::Single,
        access: AccessPolicy::NodeMultiple,
        max_count: 1,
        max_size: 32,
        max_node_multiple: Some(16),
        longest_lifetime: Some(120),
        writers: Vec::new(),
        domain_restriction: None,
    }
}

/// The namespace of our extension elements; documents of ours declare it as mandatory.
pub const NAMESPACE: &str = "urn:p2psip:config:1";
