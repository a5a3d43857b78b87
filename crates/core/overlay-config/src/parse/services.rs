//! Which URL, enrollment CA and writer belong to one bootstrap service (extension).

use super::{enrollment_server, kinds};
use crate::document::{NAMESPACE, Service};
use crate::error::Error;
use crate::tree::Element;
use crate::value::{self, Fields};

pub(super) fn services(configuration: &Element) -> Result<Vec<Service>, Error> {
    let fields = Fields {
        element: configuration,
        namespace: NAMESPACE,
    };
    let elements = fields.list("service", MAX_SERVICES)?;
    let services = elements.into_iter().map(service).collect::<Result<_, _>>();
    services.map_err(kinds::of_later_version)
}

fn service(element: &Element) -> Result<Service, Error> {
    let attribute = |name: &'static str| {
        let text = element.attribute(name).map(str::trim);
        text.ok_or_else(|| value::missing(name))
    };
    let authority = attribute("authority")?;
    let octets = wire::hex::decode(authority).and_then(|octets| octets.try_into().ok());
    Ok(Service {
        url: enrollment_server("url", attribute("url")?)?,
        authority: octets.ok_or_else(|| value::value("authority", authority, "a SHA-256 in hex".to_owned()))?,
        writer: value::node_id("writer", attribute("writer")?)?,
    })
}

/// More would be more than the writers that a Kind has room for.
pub(crate) const MAX_SERVICES: usize = 8;
