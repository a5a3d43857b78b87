//! Strategies that make every structure.

use std::net::SocketAddr;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use p2psip_wire::{
    AddressPort, AppAttachAns, AppAttachReq, ArrayRange, AttachAns, AttachReq, Body, CandidateType, ChordLeave,
    ChordRouteQueryAns, ChordUpdate, ChordUpdateKind, ConfigUpdateAns, ConfigUpdateReq, DataValue, Destination,
    ErrorCode, ErrorResponse, FetchAns, FetchKindResponse, FetchReq, FindAns, FindKindData, FindReq, ForwardingHeader,
    ForwardingOption, Fragment, GenericCertificate, IceCandidate, IceExtension, JoinAns, JoinReq, KindId, LeaveAns,
    LeaveReq, Message, MessageContents, MessageExtension, MetaData, MetaDataValue, ModelSpecifier, NodeId, OverlayLink,
    PingAns, PingReq, ProbeAns, ProbeInformation, ProbeReq, ResourceId, RouteQueryReq, SecurityBlock, Signature,
    SignatureAndHash, SignerIdentity, StatAns, StatKindResponse, StatReq, StoreAns, StoreKindData, StoreKindResponse,
    StoreReq, StoredData, StoredDataSpecifier, StoredDataValue, StoredMetaData, TransactionId, UpdateAns,
};

pub(crate) fn octets(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=most).prop_map(Bytes::from)
}

fn node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 16]>().prop_map(NodeId::from)
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    vec(node(), 0..4)
}

fn resource() -> impl Strategy<Value = ResourceId> {
    any::<[u8; 16]>().prop_map(ResourceId::from)
}

fn destination() -> impl Strategy<Value = Destination> {
    prop_oneof![
        node().prop_map(Destination::Node),
        resource().prop_map(Destination::Resource),
        octets(20).prop_map(Destination::Opaque),
        (0x8000_u16..).prop_map(Destination::Compact),
        (4_u8..0x80, octets(20)).prop_map(|(kind, data)| Destination::Other { kind, data }),
    ]
}

fn option() -> impl Strategy<Value = ForwardingOption> {
    (any::<u8>(), any::<u8>(), octets(30)).prop_map(|(kind, flags, value)| ForwardingOption { kind, flags, value })
}

fn fragment() -> impl Strategy<Value = Fragment> {
    prop_oneof![
        4 => Just(Fragment::WHOLE),
        1 => (0_u32..1 << 24, any::<bool>(), 0_u8..0x40)
            .prop_map(|(offset, last, reserved)| Fragment { offset, last, reserved }),
    ]
}

fn header() -> impl Strategy<Value = ForwardingHeader> {
    let numbers = (
        any::<u32>(),
        any::<u16>(),
        any::<u8>(),
        any::<u8>(),
        fragment(),
        any::<u64>(),
        any::<u32>(),
    );
    let lists = (vec(destination(), 0..5), vec(destination(), 0..5), vec(option(), 0..3));
    (numbers, lists).prop_map(|(numbers, (via_list, destination_list, options))| {
        let (overlay, configuration_sequence, version, ttl, fragment, transaction, max_response_length) = numbers;
        ForwardingHeader {
            overlay,
            configuration_sequence,
            version,
            ttl,
            fragment,
            transaction_id: TransactionId(transaction),
            max_response_length,
            via_list,
            destination_list,
            options,
        }
    })
}

fn identity() -> impl Strategy<Value = SignerIdentity> {
    prop_oneof![
        (any::<u8>(), octets(32)).prop_map(|(hash_alg, hash)| SignerIdentity::CertHash { hash_alg, hash }),
        (any::<u8>(), octets(32)).prop_map(|(hash_alg, hash)| SignerIdentity::CertHashNodeId { hash_alg, hash }),
        Just(SignerIdentity::None),
        (4_u8.., octets(9)).prop_map(|(kind, value)| SignerIdentity::Other { kind, value }),
    ]
}

fn signature() -> impl Strategy<Value = Signature> {
    let algorithm = (any::<u8>(), any::<u8>()).prop_map(|(hash, signature)| SignatureAndHash { hash, signature });
    (algorithm, identity(), octets(64)).prop_map(|(algorithm, identity, value)| Signature {
        algorithm,
        identity,
        value,
    })
}

fn security() -> impl Strategy<Value = SecurityBlock> {
    let certificate =
        (any::<u8>(), octets(50)).prop_map(|(kind, certificate)| GenericCertificate { kind, certificate });
    (vec(certificate, 0..3), signature()).prop_map(|(certificates, signature)| SecurityBlock {
        certificates,
        signature,
    })
}

fn extensions() -> impl Strategy<Value = Vec<MessageExtension>> {
    let one = (any::<u16>(), any::<bool>(), octets(20)).prop_map(|(kind, critical, contents)| MessageExtension {
        kind,
        critical,
        contents,
    });
    vec(one, 0..3)
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    (header(), body(), extensions(), security()).prop_map(|(header, body, extensions, security)| {
        let contents = MessageContents {
            extensions,
            ..MessageContents::of(&body)
        };
        Message::new(header, contents, security)
    })
}

fn address() -> impl Strategy<Value = AddressPort> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|address| AddressPort::from(SocketAddr::from(address))),
        any::<([u16; 8], u16)>().prop_map(|address| AddressPort::from(SocketAddr::from(address))),
        (3_u8.., octets(8)).prop_map(|(kind, address)| AddressPort::Other { kind, address }),
    ]
}

fn candidate() -> impl Strategy<Value = IceCandidate> {
    let candidate_type = prop_oneof![
        Just(CandidateType::Host),
        address().prop_map(|related| CandidateType::ServerReflexive { related }),
        address().prop_map(|related| CandidateType::Relay { related }),
    ];
    let extension = (octets(9), octets(9)).prop_map(|(name, value)| IceExtension { name, value });
    (
        address(),
        any::<u8>(),
        octets(9),
        any::<u32>(),
        candidate_type,
        vec(extension, 0..3),
    )
        .prop_map(
            |(address, link, foundation, priority, candidate_type, extensions)| IceCandidate {
                address,
                overlay_link: OverlayLink(link),
                foundation,
                priority,
                candidate_type,
                extensions,
            },
        )
}

fn attach() -> impl Strategy<Value = (Bytes, Bytes, Bytes, Vec<IceCandidate>, bool, u16)> {
    (
        octets(9),
        octets(9),
        octets(9),
        vec(candidate(), 0..3),
        any::<bool>(),
        any::<u16>(),
    )
}

fn kind() -> impl Strategy<Value = KindId> {
    prop_oneof![
        Just(KindId::SIP_REGISTRATION),
        Just(KindId::TURN_SERVICE),
        Just(KindId::CERTIFICATE_BY_NODE),
        Just(KindId::P2PSIP_PROBE),
        Just(KindId(0xf000_1234)),
    ]
}

/// What a Kind's model allows.
fn by_kind<T: std::fmt::Debug, S: Strategy<Value = T> + 'static>(
    make: impl Fn(KindId) -> S + 'static,
) -> impl Strategy<Value = (KindId, u64, Vec<T>)> {
    kind().prop_flat_map(move |kind| (Just(kind), any::<u64>(), vec(make(kind), 0..3)))
}

fn stored_value(kind: KindId) -> BoxedStrategy<StoredDataValue> {
    let value = (any::<bool>(), octets(40)).prop_map(|(exists, value)| DataValue { exists, value });
    match kind {
        KindId::SIP_REGISTRATION => (octets(16), value)
            .prop_map(|(key, value)| StoredDataValue::Dictionary { key, value })
            .boxed(),
        KindId::CERTIFICATE_BY_NODE => (any::<u32>(), value)
            .prop_map(|(index, value)| StoredDataValue::Array { index, value })
            .boxed(),
        KindId::TURN_SERVICE | KindId::P2PSIP_PROBE => value.prop_map(StoredDataValue::Single).boxed(),
        _ => octets(40).prop_map(StoredDataValue::Opaque).boxed(),
    }
}

fn stored(kind: KindId) -> impl Strategy<Value = StoredData> {
    (any::<u64>(), any::<u32>(), stored_value(kind), signature()).prop_map(
        |(storage_time, lifetime, value, signature)| {
            let signature = if value.model().is_some() {
                signature
            } else {
                Signature::none()
            };
            StoredData {
                storage_time,
                lifetime,
                value,
                signature,
            }
        },
    )
}

fn metadata(kind: KindId) -> impl Strategy<Value = StoredMetaData> {
    let value = (any::<bool>(), any::<u32>(), any::<u8>(), octets(32)).prop_map(
        |(exists, value_length, hash_algorithm, hash_value)| MetaData {
            exists,
            value_length,
            hash_algorithm,
            hash_value,
        },
    );
    let metadata = match kind {
        KindId::SIP_REGISTRATION => (octets(16), value)
            .prop_map(|(key, value)| MetaDataValue::Dictionary { key, value })
            .boxed(),
        KindId::CERTIFICATE_BY_NODE => (any::<u32>(), value)
            .prop_map(|(index, value)| MetaDataValue::Array { index, value })
            .boxed(),
        KindId::TURN_SERVICE | KindId::P2PSIP_PROBE => value.prop_map(MetaDataValue::Single).boxed(),
        _ => octets(40).prop_map(MetaDataValue::Opaque).boxed(),
    };
    (any::<u64>(), any::<u32>(), metadata).prop_map(|(storage_time, lifetime, metadata)| StoredMetaData {
        storage_time,
        lifetime,
        metadata,
    })
}

fn specifier() -> impl Strategy<Value = StoredDataSpecifier> {
    let range = any::<(u32, u32)>().prop_map(|(first, last)| ArrayRange { first, last });
    (
        kind(),
        any::<u64>(),
        vec(range, 0..3),
        vec(octets(16), 0..3),
        octets(16),
    )
        .prop_map(|(kind, generation, ranges, keys, other)| {
            let model = match kind {
                KindId::SIP_REGISTRATION => ModelSpecifier::Dictionary(keys),
                KindId::CERTIFICATE_BY_NODE => ModelSpecifier::Array(ranges),
                KindId::TURN_SERVICE | KindId::P2PSIP_PROBE => ModelSpecifier::Single,
                _ => ModelSpecifier::Opaque(other),
            };
            StoredDataSpecifier {
                kind,
                generation,
                model,
            }
        })
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    prop_oneof![storage_body(), topology_body(), connection_body(), plain_body()]
}

fn storage_body() -> impl Strategy<Value = Body> {
    let store = by_kind(stored).prop_map(|(kind, generation_counter, values)| StoreKindData {
        kind,
        generation_counter,
        values,
    });
    let stored_at =
        (kind(), any::<u64>(), nodes()).prop_map(|(kind, generation_counter, replicas)| StoreKindResponse {
            kind,
            generation_counter,
            replicas,
        });
    let fetched = by_kind(stored).prop_map(|(kind, generation, values)| FetchKindResponse {
        kind,
        generation,
        values,
    });
    let known = by_kind(metadata).prop_map(|(kind, generation, values)| StatKindResponse {
        kind,
        generation,
        values,
    });
    let found = (kind(), resource()).prop_map(|(kind, closest)| FindKindData { kind, closest });
    prop_oneof![
        (resource(), any::<u8>(), vec(store, 0..3)).prop_map(|(resource, replica_number, kind_data)| StoreReq {
            resource,
            replica_number,
            kind_data
        }
        .into()),
        vec(stored_at, 0..3).prop_map(|kind_responses| StoreAns { kind_responses }.into()),
        (resource(), vec(specifier(), 0..3))
            .prop_map(|(resource, specifiers)| FetchReq { resource, specifiers }.into()),
        vec(fetched, 0..3).prop_map(|kind_responses| FetchAns { kind_responses }.into()),
        (resource(), vec(specifier(), 0..3)).prop_map(|(resource, specifiers)| StatReq { resource, specifiers }.into()),
        vec(known, 0..3).prop_map(|kind_responses| StatAns { kind_responses }.into()),
        (resource(), vec(kind(), 0..4)).prop_map(|(resource, kinds)| FindReq { resource, kinds }.into()),
        vec(found, 0..4).prop_map(|results| FindAns { results }.into()),
    ]
}

fn topology_body() -> impl Strategy<Value = Body> {
    let update = prop_oneof![
        Just(ChordUpdateKind::PeerReady),
        (nodes(), nodes()).prop_map(|(predecessors, successors)| ChordUpdateKind::Neighbors {
            predecessors,
            successors
        }),
        (nodes(), nodes(), nodes()).prop_map(|(predecessors, successors, fingers)| ChordUpdateKind::Full {
            predecessors,
            successors,
            fingers
        }),
    ];
    let leave = prop_oneof![
        nodes().prop_map(|successors| ChordLeave::FromSuccessor { successors }),
        nodes().prop_map(|predecessors| ChordLeave::FromPredecessor { predecessors }),
    ];
    prop_oneof![
        (node(), octets(9)).prop_map(|(joining_peer_id, overlay_specific_data)| JoinReq {
            joining_peer_id,
            overlay_specific_data
        }
        .into()),
        octets(9).prop_map(|overlay_specific_data| JoinAns { overlay_specific_data }.into()),
        (node(), leave).prop_map(|(leaving_peer_id, overlay_specific_data)| LeaveReq {
            leaving_peer_id,
            overlay_specific_data
        }
        .into()),
        Just(LeaveAns {}.into()),
        (any::<u32>(), update).prop_map(|(uptime, kind)| ChordUpdate { uptime, kind }.into()),
        Just(UpdateAns {}.into()),
        (any::<bool>(), destination(), octets(9)).prop_map(|(send_update, destination, overlay_specific_data)| {
            RouteQueryReq {
                send_update,
                destination,
                overlay_specific_data,
            }
            .into()
        }),
        node().prop_map(|next_peer| ChordRouteQueryAns { next_peer }.into()),
    ]
}

fn connection_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        attach().prop_map(|(ufrag, password, role, candidates, send_update, _)| AttachReq {
            ufrag,
            password,
            role,
            candidates,
            send_update
        }
        .into()),
        attach().prop_map(|(ufrag, password, role, candidates, send_update, _)| AttachAns {
            ufrag,
            password,
            role,
            candidates,
            send_update
        }
        .into()),
        attach().prop_map(|(ufrag, password, role, candidates, _, application)| AppAttachReq {
            ufrag,
            password,
            application,
            role,
            candidates
        }
        .into()),
        attach().prop_map(|(ufrag, password, role, candidates, _, application)| AppAttachAns {
            ufrag,
            password,
            application,
            role,
            candidates
        }
        .into()),
    ]
}

fn plain_body() -> impl Strategy<Value = Body> {
    let fact = prop_oneof![
        any::<u32>().prop_map(ProbeInformation::ResponsibleSet),
        any::<u32>().prop_map(ProbeInformation::NumResources),
        any::<u32>().prop_map(ProbeInformation::Uptime),
        (4_u8.., octets(9)).prop_map(|(kind, value)| ProbeInformation::Other { kind, value }),
    ];
    prop_oneof![
        vec(any::<u8>(), 0..5).prop_map(|requested_info| ProbeReq { requested_info }.into()),
        vec(fact, 0..5).prop_map(|probe_info| ProbeAns { probe_info }.into()),
        octets(40).prop_map(|padding| PingReq { padding }.into()),
        any::<(u64, u64)>().prop_map(|(response_id, time)| PingAns { response_id, time }.into()),
        octets(40).prop_map(|document| ConfigUpdateReq::Config(document).into()),
        vec(octets(20), 0..4).prop_map(|kinds| ConfigUpdateReq::Kind(kinds).into()),
        (3_u8.., octets(20)).prop_map(|(kind, data)| ConfigUpdateReq::Other { kind, data }.into()),
        Just(ConfigUpdateAns {}.into()),
        (any::<u16>(), octets(40)).prop_map(|(code, info)| ErrorResponse {
            code: ErrorCode::from(code),
            info
        }
        .into()),
        octets(20).prop_map(|body| Body::Other {
            code: p2psip_wire::MessageCode::EXP_A_REQ,
            body
        }),
    ]
}
