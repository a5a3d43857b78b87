//! Documents that can be read and not be obeyed: they are what the standard allows, and this implementation does not do it.

use crate::document::Document;
use crate::error::Error;
use crate::value::unsupported;

/// Looks for what no node of ours can do.
pub(crate) fn check(document: &Document) -> Result<(), Error> {
    // RFC 6940 §6.5.1.5: an overlay is all ICE or all No-ICE, and ICE is not implemented.
    if !document.no_ice {
        return Err(unsupported("no-ice", "false", "true"));
    }
    // RFC 6940 §11.1, §14.11: a list permits nothing but what is on it.
    if !document.link_protocols.iter().any(|name| name == "TLS") {
        let listed = document.link_protocols.join(" ");
        return Err(unsupported("overlay-link-protocol", &listed, "TLS"));
    }
    Ok(())
}
