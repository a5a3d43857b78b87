//! Signatures over messages, values and documents.

use bytes::Bytes;
use proptest::prelude::{any, proptest};
use rcgen::SigningKey;
use wire::{
    DataValue, Encode, GenericCertificate, KindId, NodeId, ResourceId, SecurityBlock, Signature, SignatureAndHash,
    SignerIdentity, StoredData, StoredDataValue, TransactionId,
};

use super::world::{NOW, OVERLAY, SERIAL, World, edge, key, leaf_key, subject};
use crate::issue::Profile;
use crate::{
    Certificate, Error, Key, PublicKey, ReloadUri, Sign, Signer, Use, Verifier, sign_blob, sign_message, sign_value,
    verify_blob, verify_message, verify_value,
};

const TRANSACTION: TransactionId = TransactionId(0x0102_0304_0506_0708);
const CONTENTS: &[u8] = b"contents";

#[test]
fn message_signature_covers_what_the_rfc_says() {
    let world = World::new();
    let signer = world.signer_of(Profile::Node, leaf_key());
    let block = sign_message(&signer, OVERLAY, TRANSACTION, CONTENTS);
    // overlay || transaction_id || contents || SignerIdentity, by hand.
    let hash = signer_hash(&world.issue(Profile::Node));
    let input = [
        &[0x9a, 0xa3, 0x2b, 0x8d, 1, 2, 3, 4, 5, 6, 7, 8][..],
        CONTENTS,
        &[1, 0, 34, 4, 32],
        &hash,
    ]
    .concat();
    assert_eq!(block.signature.value, leaf_key().sign(&input));
    assert_eq!(block.signature.algorithm, SignatureAndHash::ED25519);
    assert_eq!(
        block.certificates,
        [GenericCertificate::x509(world.issue(Profile::Node).der().clone())]
    );
}

#[test]
fn message_signature_of_each_algorithm_verifies() {
    let world = World::new();
    for key in [leaf_key(), Key::generate().unwrap()] {
        let signer = world.signer_of(Profile::Node, key);
        let block = sign_message(&signer, OVERLAY, TRANSACTION, CONTENTS);
        assert_eq!(
            verify(&world.verifier(), TRANSACTION, CONTENTS, &block).unwrap(),
            edge()
        );
    }
    // RSA is verified, though never made here (RFC 6940 §6.3.4: a MUST).
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let public = PublicKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(&rsa)).unwrap();
    let leaf = world
        .ca
        .issue(Profile::Node, &subject(&public, edge()), NOW, SERIAL)
        .unwrap();
    let identity = SignerIdentity::CertHash {
        hash_alg: 4,
        hash: Bytes::copy_from_slice(&leaf.hash()),
    };
    let input = [
        &[0x9a, 0xa3, 0x2b, 0x8d, 1, 2, 3, 4, 5, 6, 7, 8][..],
        CONTENTS,
        &identity.to_bytes(),
    ]
    .concat();
    let signature = Signature {
        algorithm: SignatureAndHash::RSA_SHA256,
        identity,
        value: Bytes::from(rsa.sign(&input).unwrap()),
    };
    let block = SecurityBlock {
        certificates: vec![GenericCertificate::x509(leaf.der().clone())],
        signature,
    };
    assert_eq!(
        verify(&world.verifier(), TRANSACTION, CONTENTS, &block).unwrap(),
        edge()
    );
}

#[test]
fn changed_message_is_refused() {
    let world = World::new();
    let signer = world.signer_of(Profile::Node, leaf_key());
    let good = sign_message(&signer, OVERLAY, TRANSACTION, CONTENTS);
    let verifier = world.verifier();
    assert!(verify(&verifier, TRANSACTION, CONTENTS, &good).is_ok());
    assert_eq!(
        verify(&verifier, TransactionId(1), CONTENTS, &good),
        Err(Error::BadSignature)
    );
    assert_eq!(
        verify(&verifier, TRANSACTION, b"content", &good),
        Err(Error::BadSignature)
    );
    let other = verify_message(
        &verifier,
        "other.example.org",
        TRANSACTION,
        CONTENTS,
        &good,
        NOW,
        Use::Node,
    );
    assert_eq!(other.unwrap_err(), Error::BadSignature);
    for (edit, expected) in [
        (
            (|block| block.signature.algorithm = SignatureAndHash { hash: 2, signature: 3 }) as fn(&mut SecurityBlock),
            Error::Algorithm { hash: 2, signature: 3 },
        ),
        (
            |block| block.signature.algorithm = SignatureAndHash::ECDSA_SHA256,
            Error::BadSignature,
        ),
        (|block| block.signature.value = Bytes::new(), Error::BadSignature),
        (
            |block| block.signature.identity = SignerIdentity::None,
            Error::NotSigned,
        ),
        (
            |block| {
                block.signature.identity = SignerIdentity::Other {
                    kind: 9,
                    value: Bytes::new(),
                }
            },
            Error::SignerIdentity {
                what: "its type is unknown",
            },
        ),
        (
            |block| {
                block.signature.identity = SignerIdentity::CertHash {
                    hash_alg: 2,
                    hash: Bytes::new(),
                }
            },
            Error::SignerIdentity {
                what: "its hash is not SHA-256",
            },
        ),
        (
            |block| {
                block.signature.identity = SignerIdentity::CertHash {
                    hash_alg: 4,
                    hash: Bytes::new(),
                }
            },
            Error::SignerIdentity {
                what: "its hash does not have 32 bytes",
            },
        ),
        (
            |block| {
                let hash = Bytes::from(vec![1; 32]);
                block.signature.identity = SignerIdentity::CertHash { hash_alg: 4, hash };
            },
            Error::SignerNotFound,
        ),
    ] {
        let mut block = good.clone();
        edit(&mut block);
        assert_eq!(verify(&verifier, TRANSACTION, CONTENTS, &block), Err(expected));
    }
}

#[test]
fn certificate_with_several_nodes_names_the_one_that_signs() {
    let world = World::new();
    let mut template = world.template(Profile::Node);
    let second = NodeId::from([2; 16]);
    template.uris.push(ReloadUri {
        node_id: second,
        overlay: OVERLAY.to_owned(),
    });
    let leaf = world.ca.sign(&template, &leaf_key().public(), SERIAL).unwrap();
    let signer = Signer::new(leaf_key(), &leaf, &[]).unwrap();
    assert!(matches!(signer.identity(), SignerIdentity::CertHashNodeId { .. }));
    let verifier = world.verifier();
    let block = sign_message(&signer, OVERLAY, TRANSACTION, CONTENTS);
    for _ in 0..2 {
        let identity = verify_message(&verifier, OVERLAY, TRANSACTION, CONTENTS, &block, NOW, Use::Node).unwrap();
        assert_eq!(identity.node_ids, [edge()]);
    }
    // On a link it may be any of them.
    let identity = verifier.verify(leaf.der(), &[], NOW, Use::Node).unwrap();
    assert_eq!(identity.node_ids, [edge(), second]);
    // The hash of the certificate alone would not say who signed.
    let ambiguous = SignerIdentity::CertHash {
        hash_alg: 4,
        hash: Bytes::copy_from_slice(&leaf.hash()),
    };
    let error = verifier.verify_signer(&ambiguous, &[], NOW, Use::Node).unwrap_err();
    assert!(matches!(error, Error::SignerIdentity { .. }), "{error}");
}

#[test]
fn value_signature_covers_its_place_but_not_the_array_index() {
    let world = World::new();
    let signer = world.signer_of(Profile::Minted, leaf_key());
    let (resource, kind) = (ResourceId::of(b"alice@overlay.example.org"), KindId::SIP_REGISTRATION);
    let value = StoredDataValue::Array {
        index: StoredDataValue::APPEND,
        value: DataValue::of(Bytes::from_static(b"v")),
    };
    let signature = sign_value(&signer, resource, kind, 5, &value);
    let data = StoredData {
        storage_time: 5,
        lifetime: 60,
        value,
        signature,
    };
    let verifier = world.verifier();
    let check = |resource, kind, data: &StoredData| {
        verify_value(
            &verifier,
            resource,
            kind,
            data,
            signer.certificates(),
            NOW,
            Use::UserNodeStore,
        )
        .map(|_| ())
    };
    assert_eq!(check(resource, kind, &data), Ok(()));
    let placed = StoredData {
        value: StoredDataValue::Array {
            index: 3,
            value: DataValue::of(Bytes::from_static(b"v")),
        },
        ..data.clone()
    };
    assert_eq!(check(resource, kind, &placed), Ok(()));
    assert_eq!(
        check(
            resource,
            kind,
            &StoredData {
                lifetime: 1,
                ..data.clone()
            }
        ),
        Ok(())
    );
    assert_eq!(check(ResourceId::of(b"bob"), kind, &data), Err(Error::BadSignature));
    assert_eq!(check(resource, KindId(2), &data), Err(Error::BadSignature));
    assert_eq!(
        check(
            resource,
            kind,
            &StoredData {
                storage_time: 6,
                ..data.clone()
            }
        ),
        Err(Error::BadSignature)
    );
    let gap = StoredData {
        signature: Signature::none(),
        ..data
    };
    assert_eq!(check(resource, kind, &gap), Err(Error::NotSigned));
}

#[test]
fn value_signature_has_the_resource_without_its_length() {
    let world = World::new();
    let signer = world.signer_of(Profile::Node, leaf_key());
    let value = StoredDataValue::Dictionary {
        key: Bytes::from_static(b"k"),
        value: DataValue::none(),
    };
    let signature = sign_value(&signer, ResourceId::from([9; 16]), KindId(1), 2, &value);
    let hash = signer_hash(&world.issue(Profile::Node));
    let input = [
        &[9; 16][..],
        &[0, 0, 0, 1],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &[0, 1, b'k', 0, 0, 0, 0, 0],
        &[1, 0, 34, 4, 32],
        &hash,
    ];
    assert_eq!(signature.value, leaf_key().sign(&input.concat()));
}

#[test]
fn only_configuration_signers_sign_documents() {
    let world = World::new();
    let verifier = world.verifier();
    let block = sign_blob(&world.signer_of(Profile::ConfigurationSigner, leaf_key()), b"document");
    assert!(verify_blob(&verifier, b"document", &block, NOW).is_ok());
    assert_eq!(
        verify_blob(&verifier, b"documenT", &block, NOW).unwrap_err(),
        Error::BadSignature
    );
    let block = sign_blob(&world.signer_of(Profile::Node, leaf_key()), b"document");
    assert!(matches!(
        verify_blob(&verifier, b"document", &block, NOW),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn signer_needs_its_own_certificate() {
    let world = World::new();
    assert!(Signer::new(key(1), &world.issue(Profile::Node), &[]).is_err());
    assert!(Signer::new(key(2), world.ca.certificate(), &[]).is_err());
}

proptest! {
    #[test]
    fn hostile_certificates_never_panic(at in any::<u16>(), byte in any::<u8>(), cut in any::<u16>()) {
        let world = World::new();
        let verifier = world.verifier();
        for der in [world.issue(Profile::Minted).der(), world.signer.certificate().der()] {
            let mut der = der.to_vec();
            let place = usize::from(at) % der.len();
            der[place] = byte;
            der.truncate(der.len().saturating_sub(usize::from(cut % 64)));
            let bucket = [Bytes::from(der.clone())];
            let _ = verifier.verify(&der, &world.bucket(), NOW, Use::UserNodeStore);
            let _ = verifier.verify(world.issue(Profile::Minted).der(), &bucket, NOW, Use::UserNodeStore);
            let _ = PublicKey::from_request(&der);
        }
    }

    #[test]
    fn random_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        assert!(Certificate::from_der(&bytes).is_err());
    }
}

fn verify(
    verifier: &Verifier,
    transaction: TransactionId,
    contents: &[u8],
    block: &SecurityBlock,
) -> Result<NodeId, Error> {
    verify_message(verifier, OVERLAY, transaction, contents, block, NOW, Use::Node).map(|identity| identity.node_id())
}

fn signer_hash(leaf: &Certificate) -> [u8; 32] {
    leaf.hash()
}
