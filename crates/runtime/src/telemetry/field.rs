//! The names of fields in spans and events, one for each thing. In macros: `info!({ field::NODE_ID } = %id, "joined ring")`.

/// A Node-ID: eight hex digits in logs, in full in spans.
pub const NODE_ID: &str = "node_id";
/// A link to another node.
pub const LINK_ID: &str = "link_id";
/// A Resource-ID.
pub const RESOURCE_ID: &str = "resource_id";
/// A Kind.
pub const KIND_ID: &str = "kind_id";
/// The Overlay Name.
pub const RELOAD_OVERLAY: &str = "reload.overlay";
/// The RELOAD method, such as `store`.
pub const RELOAD_METHOD: &str = "reload.method";
/// The transaction of a RELOAD request.
pub const RELOAD_TRANSACTION_ID: &str = "reload.transaction_id";
/// How many peers a request passed.
pub const RELOAD_HOPS: &str = "reload.hops";
/// The method of a SIP request.
pub const SIP_METHOD: &str = "sip.request.method";
/// The status code of a SIP response.
pub const SIP_STATUS: &str = "sip.response.status_code";
/// The Call-ID of a SIP message.
pub const SIP_CALL_ID: &str = "sip.call_id";
/// Why something failed, from a short list.
pub const ERROR_TYPE: &str = "error.type";
/// The address of the other end; personal, if it is a phone's.
pub const PEER_ADDRESS: &str = "network.peer.address";
