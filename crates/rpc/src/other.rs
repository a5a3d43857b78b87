//! An address that leads to another component than the one called: told as such, and not as a certificate that does not fit.

use std::io;

use rustls::CertificateError;
use tonic::Status;
use tonic::metadata::MetadataValue;

use crate::role::Role;

/// The certificate of a server names another role than the caller expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the component there is {found}, not {expected}")]
pub(crate) struct OtherComponent {
    expected: Role,
    found: Role,
}

impl OtherComponent {
    /// Reads the failure of a handshake with a server that was to play `expected`.
    pub(crate) fn of(expected: Role, error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = error
        else {
            return None;
        };
        // rustls writes each name as `DnsName("overlay.p2psip.internal")`.
        let names = presented.iter().flat_map(|name| name.split('"'));
        let found = names.filter_map(Role::of_server_name).next()?;
        Some(Self { expected, found })
    }

    /// Finds it behind an error of a transport.
    pub(crate) fn behind(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            if let Some(other) = inner.and_then(|inner| inner.downcast_ref::<Self>()) {
                return Some(*other);
            }
            next = error.source();
        }
        None
    }

    /// Notes it in the status that the caller gets.
    pub(crate) fn note(self, status: &mut Status) {
        let name = MetadataValue::from_static(self.found.name());
        status.metadata_mut().insert(OTHER, name);
    }
}

/// Returns the role of the component that answered, if a call failed because it was not the one called.
#[must_use]
pub fn other_component(status: &Status) -> Option<Role> {
    let name = status.metadata().get(OTHER)?.to_str().ok()?;
    Role::of_name(name)
}

/// Never crosses the seam: the status is made at the caller.
const OTHER: &str = "p2psip-other-component";
