//! What the golden messages are made of.

use bytes::Bytes;

use identity::{
    Key, Sign, Signer, Trust, Verifier,
    issue::{self, Authority, Profile, Serial, Subject},
};
use wire::{
    AddressPort, AppAttachAns, AppAttachReq, ArrayRange, AttachAns, AttachReq, Body, CandidateType, ChordLeave,
    ChordRouteQueryAns, ChordUpdate, ChordUpdateKind, ConfigUpdateAns, ConfigUpdateReq, DataValue, Destination, Encode,
    ErrorCode, ErrorResponse, FetchAns, FetchKindResponse, FetchReq, FindAns, FindKindData, FindReq, ForwardingHeader,
    Fragment, GenericCertificate, IceCandidate, IceExtension, JoinAns, JoinReq, KindId, LeaveAns, LeaveReq, Message,
    MessageContents, MetaData, MetaDataValue, ModelSpecifier, NodeId, OverlayLink, PingAns, PingReq, ProbeAns,
    ProbeInformation, ProbeReq, ResourceId, RouteQueryReq, Signature, SignerIdentity, StatAns, StatKindResponse,
    StatReq, StoreAns, StoreKindData, StoreKindResponse, StoreReq, StoredData, StoredDataSpecifier, StoredDataValue,
    StoredMetaData, TransactionId, UnknownKinds, UpdateAns,
};

/// Overlay of the golden messages.
pub(crate) const OVERLAY: &str = "overlay.example.org";

/// When they were made: 2025-06-15.
pub(crate) const NOW_MS: u64 = 1_750_000_000_000;

/// Node-ID that signs the messages.
pub(crate) const NODE: NodeId = NodeId::new([0x10; 16]);

/// Node-ID that signs the stored values.
const OWNER: NodeId = NodeId::new([0x20; 16]);

/// The CA of the overlay, whose key is the seed of ones.
pub(crate) fn authority() -> Authority {
    let key = Key::ed25519_from_seed([1; 32]);
    issue::enrollment_ca(&key, NOW_MS, Serial::new([1; 9])).expect("a CA can be made")
}

/// Verifies what was signed under [`authority`].
pub(crate) fn verifier() -> Verifier {
    let anchors = vec![authority().certificate().clone()];
    Verifier::new(Trust {
        overlay: OVERLAY.to_owned(),
        anchors,
        private_namespace: true,
        ..Trust::default()
    })
}

/// Signs messages and values; every signature comes out the same each time.
pub(crate) struct Signers {
    message: Signer,
    value: Signer,
}

impl Signers {
    pub(crate) fn new() -> Self {
        let ca = authority();
        let signer = |seed: u8, node_id, user| {
            let key = Key::ed25519_from_seed([seed; 32]);
            let subject = Subject {
                key: &key.public(),
                node_id,
                overlay: OVERLAY,
                user,
            };
            let certificate = ca
                .issue(Profile::Node, &subject, NOW_MS, Serial::new([seed; 9]))
                .expect("a certificate");
            Signer::new(key, &certificate, &[]).expect("its key")
        };
        Self {
            message: signer(2, NODE, None),
            value: signer(3, OWNER, Some("alice@dht.example.org")),
        }
    }

    /// Closes a message whose values, if any, are signed by the owner.
    pub(crate) fn message(&self, transaction: u64, body: &Body) -> Message {
        let has_values = matches!(body, Body::StoreReq(_) | Body::FetchAns(_));
        let owner = if has_values { self.value.certificates() } else { &[] };
        self.close(header(transaction), MessageContents::of(body), owner)
    }

    pub(crate) fn close(&self, header: ForwardingHeader, contents: MessageContents, others: &[Bytes]) -> Message {
        let octets = contents.to_bytes();
        let mut security = identity::sign_message(&self.message, OVERLAY, header.transaction_id, &octets);
        security
            .certificates
            .extend(others.iter().cloned().map(GenericCertificate::x509));
        Message::new(header, contents, security)
    }

    fn stored(&self, kind: KindId, value: StoredDataValue) -> StoredData {
        let signature = identity::sign_value(&self.value, alice(), kind, NOW_MS, &value);
        StoredData {
            storage_time: NOW_MS,
            lifetime: 3600,
            value,
            signature,
        }
    }
}

/// H(alice@dht.example.org).
pub(crate) fn alice() -> ResourceId {
    ResourceId::of(b"alice@dht.example.org")
}

pub(crate) fn header(transaction: u64) -> ForwardingHeader {
    ForwardingHeader {
        overlay: wire::overlay_hash(OVERLAY),
        configuration_sequence: 1,
        version: wire::VERSION,
        ttl: 100,
        fragment: Fragment::WHOLE,
        transaction_id: TransactionId(transaction << 32 | transaction),
        max_response_length: 0,
        via_list: Vec::new(),
        destination_list: vec![Destination::Resource(alice())],
        options: Vec::new(),
    }
}

/// One body of each sort, with its name.
pub(crate) fn bodies(signers: &Signers) -> Vec<(String, Body)> {
    let mut all = Vec::new();
    let mut add = |name: &str, body: Body| all.push((name.to_owned(), body));
    connection(&mut add);
    topology(&mut add);
    store(signers, &mut add);
    fetch(signers, &mut add);
    stat_and_find(&mut add);
    errors(&mut add);
    all
}

type Add<'a> = &'a mut dyn FnMut(&str, Body);

fn connection(add: Add<'_>) {
    add(
        "ping_req",
        PingReq {
            padding: vec![0x55; 8].into(),
        }
        .into(),
    );
    add(
        "ping_ans",
        PingAns {
            response_id: 0x0123_4567_89ab_cdef,
            time: NOW_MS,
        }
        .into(),
    );
    add("ping_req_empty", PingReq::default().into());
    add(
        "probe_req",
        ProbeReq {
            requested_info: vec![1, 2, 3],
        }
        .into(),
    );
    let probe_info = vec![
        ProbeInformation::ResponsibleSet(62_500_000),
        ProbeInformation::NumResources(17),
        ProbeInformation::Uptime(86_400),
    ];
    add("probe_ans", ProbeAns { probe_info }.into());
    let text = Bytes::from_static;
    let candidates = vec![host("192.0.2.1:6084"), host("[2001:db8::1]:6084")];
    let role = text(b"passive");
    let (ufrag, password) = (Bytes::new(), Bytes::new());
    add(
        "attach_req_no_ice",
        AttachReq {
            ufrag: ufrag.clone(),
            password: password.clone(),
            role: role.clone(),
            candidates,
            send_update: true,
        }
        .into(),
    );
    let (ufrag_ice, password_ice) = (text(b"8hhY"), text(b"asd88fgpdd777uzjYhagZg"));
    add(
        "attach_ans_ice",
        AttachAns {
            ufrag: ufrag_ice,
            password: password_ice,
            role: text(b"active"),
            candidates: ice(),
            send_update: false,
        }
        .into(),
    );
    let candidates = vec![host("192.0.2.1:5062")];
    add(
        "app_attach_req",
        AppAttachReq {
            ufrag: ufrag.clone(),
            password: password.clone(),
            application: 5060,
            role,
            candidates: candidates.clone(),
        }
        .into(),
    );
    add(
        "app_attach_ans",
        AppAttachAns {
            ufrag,
            password,
            application: 5061,
            role: text(b"active"),
            candidates,
        }
        .into(),
    );
    add(
        "config_update_req_config",
        ConfigUpdateReq::Config(text(b"<overlay/>")).into(),
    );
    add(
        "config_update_req_kind",
        ConfigUpdateReq::Kind(vec![text(b"<kind-block/>"), text(b"<kind-block/>")]).into(),
    );
    add("config_update_ans", ConfigUpdateAns {}.into());
}

fn host(address: &str) -> IceCandidate {
    IceCandidate {
        address: AddressPort::from(address.parse::<std::net::SocketAddr>().expect("an address")),
        overlay_link: OverlayLink::TLS_TCP_FH_NO_ICE,
        foundation: Bytes::from_static(b"1"),
        priority: 2_130_706_431,
        candidate_type: CandidateType::Host,
        extensions: Vec::new(),
    }
}

fn ice() -> Vec<IceCandidate> {
    let related = |address: &str| AddressPort::from(address.parse::<std::net::SocketAddr>().expect("an address"));
    let over = |candidate_type, candidate| IceCandidate {
        overlay_link: OverlayLink::DTLS_UDP_SR,
        candidate_type,
        ..candidate
    };
    let extension = IceExtension {
        name: Bytes::from_static(b"generation"),
        value: Bytes::from_static(b"0"),
    };
    vec![
        IceCandidate {
            extensions: vec![extension],
            ..over(CandidateType::Host, host("192.0.2.7:6084"))
        },
        over(
            CandidateType::ServerReflexive {
                related: related("192.0.2.7:6084"),
            },
            host("203.0.113.9:40000"),
        ),
        over(
            CandidateType::Relay {
                related: related("[2001:db8::9]:40000"),
            },
            host("[2001:db8::2]:50000"),
        ),
    ]
}

fn topology(add: Add<'_>) {
    let nodes = |first: u8, count: u8| {
        (first..first + count)
            .map(|octet| NodeId::new([octet; 16]))
            .collect::<Vec<_>>()
    };
    add(
        "join_req",
        JoinReq {
            joining_peer_id: NODE,
            overlay_specific_data: Bytes::new(),
        }
        .into(),
    );
    add("join_ans", JoinAns::default().into());
    let from_successor = ChordLeave::FromSuccessor {
        successors: nodes(0x11, 3),
    };
    add(
        "leave_req_from_succ",
        LeaveReq {
            leaving_peer_id: NODE,
            overlay_specific_data: from_successor,
        }
        .into(),
    );
    let from_predecessor = ChordLeave::FromPredecessor {
        predecessors: nodes(0x0d, 2),
    };
    add(
        "leave_req_from_pred",
        LeaveReq {
            leaving_peer_id: NODE,
            overlay_specific_data: from_predecessor,
        }
        .into(),
    );
    add("leave_ans", LeaveAns {}.into());
    add(
        "update_req_peer_ready",
        ChordUpdate {
            uptime: 60,
            kind: ChordUpdateKind::PeerReady,
        }
        .into(),
    );
    let neighbors = ChordUpdateKind::Neighbors {
        predecessors: nodes(0x0d, 3),
        successors: nodes(0x11, 3),
    };
    add(
        "update_req_neighbors",
        ChordUpdate {
            uptime: 61,
            kind: neighbors,
        }
        .into(),
    );
    let full = ChordUpdateKind::Full {
        predecessors: nodes(0x0d, 3),
        successors: nodes(0x11, 3),
        fingers: nodes(0x80, 4),
    };
    add("update_req_full", ChordUpdate { uptime: 62, kind: full }.into());
    add("update_ans", UpdateAns {}.into());
    let query = |send_update, destination| RouteQueryReq {
        send_update,
        destination,
        overlay_specific_data: Bytes::new(),
    };
    add("route_query_req_node", query(true, Destination::Node(NODE)).into());
    add(
        "route_query_req_resource",
        query(false, Destination::Resource(alice())).into(),
    );
    add(
        "route_query_req_opaque",
        query(false, Destination::Opaque(vec![1, 2, 3].into())).into(),
    );
    add("route_query_ans", ChordRouteQueryAns { next_peer: NODE }.into());
}

/// A value of each model under its Kind.
fn values(signers: &Signers) -> Vec<(&'static str, KindId, Vec<StoredData>)> {
    // RFC 6940 §9: iteration 1, then 192.0.2.1:3478.
    let turn = DataValue::of(vec![1, 1, 6, 192, 0, 2, 1, 0x0d, 0x96].into());
    let certificate = DataValue::of(signers.value.certificates().first().cloned().unwrap_or_default());
    let registration = DataValue::of(registration());
    let record = DataValue::of(vec![0x77; 40].into());
    let dictionary = |value| StoredDataValue::Dictionary {
        key: Bytes::copy_from_slice(OWNER.as_bytes()),
        value,
    };
    let array = |index, value| StoredDataValue::Array { index, value };
    let list = [
        ("single", KindId::TURN_SERVICE, vec![StoredDataValue::Single(turn)]),
        (
            "array",
            KindId::CERTIFICATE_BY_USER,
            vec![array(0, certificate.clone()), array(1, certificate)],
        ),
        ("dictionary", KindId::SIP_REGISTRATION, vec![dictionary(registration)]),
        (
            "tombstone",
            KindId::SIP_REGISTRATION,
            vec![dictionary(DataValue::none())],
        ),
        ("private_user", KindId::P2PSIP_USER, vec![dictionary(record)]),
        (
            "private_probe",
            KindId::P2PSIP_PROBE,
            vec![StoredDataValue::Single(DataValue::of(vec![0x33; 32].into()))],
        ),
    ];
    list.into_iter()
        .map(|(name, kind, values)| {
            (
                name,
                kind,
                values.into_iter().map(|value| signers.stored(kind, value)).collect(),
            )
        })
        .collect()
}

/// RFC 7904 §3.3: sip_registration_route, without preferences, to the owner.
fn registration() -> Bytes {
    let mut octets = vec![2, 0, 22, 0, 0, 0, 18];
    octets.extend(Destination::Node(OWNER).to_bytes());
    octets.into()
}

fn store(signers: &Signers, add: Add<'_>) {
    let generation_counter = NOW_MS;
    for (name, kind, values) in values(signers) {
        let kind_data = vec![StoreKindData {
            kind,
            generation_counter,
            values,
        }];
        add(
            &format!("store_req_{name}"),
            StoreReq {
                resource: alice(),
                replica_number: 0,
                kind_data,
            }
            .into(),
        );
    }
    let certificate = DataValue::of(signers.value.certificates().first().cloned().unwrap_or_default());
    let append = StoredDataValue::Array {
        index: StoredDataValue::APPEND,
        value: certificate,
    };
    let append = vec![signers.stored(KindId::CERTIFICATE_BY_NODE, append)];
    let mut kind_data: Vec<_> = values(signers)
        .into_iter()
        .take(3)
        .map(|(_, kind, values)| StoreKindData {
            kind,
            generation_counter,
            values,
        })
        .collect();
    kind_data.push(StoreKindData {
        kind: KindId::CERTIFICATE_BY_NODE,
        generation_counter: 0,
        values: append,
    });
    add(
        "store_req_replica_of_many",
        StoreReq {
            resource: alice(),
            replica_number: 1,
            kind_data,
        }
        .into(),
    );
    add(
        "store_ans",
        store_ans(vec![NodeId::new([0x11; 16]), NodeId::new([0x12; 16])]).into(),
    );
    add("store_ans_without_replicas", store_ans(Vec::new()).into());
}

fn store_ans(replicas: Vec<NodeId>) -> StoreAns {
    let kind = KindId::SIP_REGISTRATION;
    StoreAns {
        kind_responses: vec![StoreKindResponse {
            kind,
            generation_counter: NOW_MS + 1,
            replicas,
        }],
    }
}

fn specifiers() -> Vec<(&'static str, StoredDataSpecifier)> {
    let specifier = |kind, model| StoredDataSpecifier {
        kind,
        generation: 0,
        model,
    };
    let ranges = vec![
        ArrayRange { first: 0, last: 3 },
        ArrayRange {
            first: 7,
            last: u32::MAX,
        },
    ];
    vec![
        ("single", specifier(KindId::TURN_SERVICE, ModelSpecifier::Single)),
        (
            "array",
            specifier(KindId::CERTIFICATE_BY_USER, ModelSpecifier::Array(ranges)),
        ),
        (
            "dictionary_all",
            specifier(KindId::SIP_REGISTRATION, ModelSpecifier::Dictionary(Vec::new())),
        ),
        (
            "dictionary_keys",
            specifier(
                KindId::SIP_REGISTRATION,
                ModelSpecifier::Dictionary(vec![
                    Bytes::copy_from_slice(OWNER.as_bytes()),
                    Bytes::copy_from_slice(NODE.as_bytes()),
                ]),
            ),
        ),
        (
            "private_user",
            specifier(KindId::P2PSIP_USER, ModelSpecifier::Dictionary(Vec::new())),
        ),
        ("private_probe", specifier(KindId::P2PSIP_PROBE, ModelSpecifier::Single)),
    ]
}

fn fetch(signers: &Signers, add: Add<'_>) {
    for (name, specifier) in specifiers() {
        add(
            &format!("fetch_req_{name}"),
            FetchReq {
                resource: alice(),
                specifiers: vec![specifier],
            }
            .into(),
        );
    }
    let many = specifiers()
        .into_iter()
        .take(3)
        .map(|(_, specifier)| specifier)
        .collect();
    add(
        "fetch_req_many",
        FetchReq {
            resource: alice(),
            specifiers: many,
        }
        .into(),
    );
    let answer = |kind, values| FetchAns {
        kind_responses: vec![FetchKindResponse {
            kind,
            generation: NOW_MS,
            values,
        }],
    };
    for (name, kind, values) in values(signers) {
        add(&format!("fetch_ans_{name}"), answer(kind, values).into());
    }
    let gap = StoredDataValue::Array {
        index: 2,
        value: DataValue::none(),
    };
    let gap = StoredData {
        storage_time: 0,
        lifetime: 0,
        value: gap,
        signature: Signature::none(),
    };
    add("fetch_ans_gap", answer(KindId::CERTIFICATE_BY_USER, vec![gap]).into());
    add(
        "fetch_ans_unchanged",
        answer(KindId::SIP_REGISTRATION, Vec::new()).into(),
    );
}

fn stat_and_find(add: Add<'_>) {
    for (name, specifier) in specifiers() {
        add(
            &format!("stat_req_{name}"),
            StatReq {
                resource: alice(),
                specifiers: vec![specifier],
            }
            .into(),
        );
    }
    let value = MetaData {
        exists: true,
        value_length: 25,
        hash_algorithm: SignerIdentity::SHA256,
        hash_value: vec![0xab; 32].into(),
    };
    let answer = |kind, metadata| {
        let values = vec![StoredMetaData {
            storage_time: NOW_MS,
            lifetime: 3599,
            metadata,
        }];
        StatAns {
            kind_responses: vec![StatKindResponse {
                kind,
                generation: NOW_MS,
                values,
            }],
        }
    };
    add(
        "stat_ans_single",
        answer(KindId::TURN_SERVICE, MetaDataValue::Single(value.clone())).into(),
    );
    add(
        "stat_ans_array",
        answer(
            KindId::CERTIFICATE_BY_USER,
            MetaDataValue::Array {
                index: 4,
                value: value.clone(),
            },
        )
        .into(),
    );
    let key = Bytes::copy_from_slice(OWNER.as_bytes());
    add(
        "stat_ans_dictionary",
        answer(KindId::SIP_REGISTRATION, MetaDataValue::Dictionary { key, value }).into(),
    );
    let kinds = vec![KindId::SIP_REGISTRATION, KindId::CERTIFICATE_BY_USER];
    add(
        "find_req",
        FindReq {
            resource: alice(),
            kinds: kinds.clone(),
        }
        .into(),
    );
    let results = kinds.into_iter().zip([alice(), ResourceId::ZERO]);
    let results = results.map(|(kind, closest)| FindKindData { kind, closest }).collect();
    add("find_ans", FindAns { results }.into());
}

fn errors(add: Add<'_>) {
    for code in ErrorCode::ALL {
        let info = match code {
            // RFC 6940 §7.4.1.2: these two carry structures.
            ErrorCode::GenerationCounterTooLow => store_ans(Vec::new()).to_bytes(),
            ErrorCode::UnknownKind => UnknownKinds {
                kinds: vec![KindId(0xf000_1234)],
            }
            .to_bytes(),
            _ => Bytes::from_static(b"golden"),
        };
        let name = format!("{code}").to_lowercase();
        add(&name, ErrorResponse { code: *code, info }.into());
    }
}
