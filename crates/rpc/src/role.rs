//! Who calls, and who may call what: one table for all methods.

use std::fmt;

use tonic::{Request, Status};

/// The part that the process at the other end plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The overlay component.
    Overlay,
    /// The storage component.
    Storage,
    /// The SIP edge.
    SipEdge,
    /// The bootstrap service.
    Bootstrap,
    /// A person's commands.
    Operator,
}

impl Role {
    /// Its name in certificates and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Storage => "storage",
            Self::SipEdge => "sip-edge",
            Self::Bootstrap => "bootstrap",
            Self::Operator => "operator",
        }
    }

    /// The DNS name in the certificate of whoever plays it.
    pub(crate) fn server_name(self) -> String {
        format!("{}{DOMAIN}", self.name())
    }

    /// Reads a DNS name of a certificate.
    pub(crate) fn of_server_name(name: &str) -> Option<Self> {
        Self::of_name(name.strip_suffix(DOMAIN)?)
    }

    /// Reads what [`name`](Self::name) writes.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    const ALL: [Self; 5] = [
        Self::Overlay,
        Self::Storage,
        Self::SipEdge,
        Self::Bootstrap,
        Self::Operator,
    ];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The roles that a certificate names.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// Whether `role` is one of them.
    #[must_use]
    pub fn contains(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Goes through them.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The caller of a request, known from its connection and from nothing that it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// In the same process; the role was fixed when the channel was made.
    Direct(Role),
    /// Over the Unix socket: the operating system's own user or root, in every role.
    Unix {
        /// User id (SO_PEERCRED).
        uid: u32,
        /// Process id, where the system tells.
        pid: Option<i32>,
    },
    /// Over TCP with mutual TLS: the roles that the caller's certificate names.
    Tls(Roles),
}

impl Caller {
    /// Returns the caller of a request that came through [`Served`](crate::Served).
    ///
    /// # Errors
    /// INTERNAL when the request did not come that way.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get()
            .copied()
            .ok_or_else(|| Status::internal("the request names no caller"))
    }

    /// Whether the caller plays `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        match self {
            Self::Direct(own) => *own == role,
            Self::Unix { .. } => true,
            Self::Tls(roles) => roles.contains(role),
        }
    }

    /// Whether the caller may call the method at `path`. Methods outside the table (health, reflection, unknown ones)
    /// are open to every known caller: they tell nothing that the contracts do not, and change nothing.
    pub(crate) fn may_call(&self, path: &str) -> bool {
        METHODS
            .iter()
            .find(|(method, _)| *method == path)
            .is_none_or(|(_, roles)| roles.iter().any(|role| self.has(*role)))
    }
}

/// Names below it are nobody's in the DNS: `internal` is kept for private use.
const DOMAIN: &str = ".p2psip.internal";

const METHODS: [(&str, &[Role]); 21] = [
    ("/p2psip.overlay.v1.Overlay/Call", &[Role::SipEdge, Role::Operator]),
    ("/p2psip.overlay.v1.Overlay/Attach", &[Role::SipEdge]),
    ("/p2psip.overlay.v1.Overlay/Watch", &[Role::SipEdge, Role::Operator]),
    ("/p2psip.overlay.v1.Overlay/Leave", &[Role::Operator]),
    ("/p2psip.overlay.v1.Overlay/PutDocument", &[Role::Operator]),
    ("/p2psip.storage.v1.Storage/Session", &[Role::Overlay]),
    ("/p2psip.storage.v1.Storage/Stats", &[Role::Overlay, Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/Feed", &[Role::Overlay]),
    ("/p2psip.bootstrap.v1.Bootstrap/Document", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/Enroll", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/PutUser", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/ListUsers", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/DeleteUser", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/CreateToken", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/ListTokens", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/RevokeToken", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/RotateRecordKey", &[Role::Operator]),
    ("/p2psip.bootstrap.v1.Bootstrap/RecordKeys", &[Role::Operator]),
    ("/p2psip.sip_edge.v1.SipEdge/Registrations", &[Role::Operator]),
    ("/p2psip.sip_edge.v1.SipEdge/Calls", &[Role::Operator]),
    ("/p2psip.sip_edge.v1.SipEdge/Drain", &[Role::Operator]),
];

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_method_of_the_contracts_is_in_the_table() {
        let descriptors = prost_types::FileDescriptorSet::decode(crate::proto::DESCRIPTORS).unwrap();
        let mut methods = Vec::new();
        for file in &descriptors.file {
            for service in &file.service {
                for method in &service.method {
                    methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        methods.sort();
        let mut table: Vec<_> = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect();
        table.sort();
        assert_eq!(table, methods);
    }

    #[test]
    fn a_socket_of_our_own_user_has_every_role() {
        let caller = Caller::Unix { uid: 1000, pid: None };
        assert!(METHODS.iter().all(|(method, _)| caller.may_call(method)));
    }
}
