//! The contracts of `/proto`, generated. Clients are built over [`Channel`](crate::Channel), servers are added to
//! [`Served`](crate::Served).

/// Includes one generated package.
macro_rules! package {
    ($name:ident, $package:literal, $what:literal) => {
        #[doc = $what]
        pub mod $name {
            /// Version 1 of the contract.
            #[allow(
                missing_docs,
                unreachable_pub,
                clippy::all,
                clippy::indexing_slicing,
                clippy::unwrap_used,
                clippy::wildcard_imports,
                reason = "generated; the contract documents each message"
            )]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(bootstrap, "p2psip.bootstrap.v1", "Enrollment, users and tokens.");
package!(overlay, "p2psip.overlay.v1", "Routing of RELOAD messages.");
package!(sip_edge, "p2psip.sip_edge.v1", "What the operator asks of an edge.");
package!(storage, "p2psip.storage.v1", "Keeping the Resources of a peer.");

/// The encoded descriptors of all contracts, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contracts.bin"));

/// Gives messages that carry a secret a Debug without their contents.
macro_rules! opaque {
    ($($message:path),* $(,)?) => {
        $(impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " { .. }"))
            }
        })*
    };
}

opaque!(
    bootstrap::v1::EnrollRequest,
    bootstrap::v1::enroll_request::Credential,
    bootstrap::v1::EnrollResponse,
    bootstrap::v1::FetchRecordKeysResponse,
    bootstrap::v1::Password,
    bootstrap::v1::RecordKey,
    bootstrap::v1::PutUserRequest,
    bootstrap::v1::CreateTokenResponse,
);
