//! The public types of rsip, filled from our index, for whoever wants typed headers.
//!
//! rsip's structs hold more than its parser reads: IPv6 hosts stand in `Host::Domain` with their brackets, odd parameters
//! in `Param::Other`, reason phrases in `StatusCode::Other`. What they cannot hold gives `None`: extension methods,
//! unknown transports, and URIs without a host.

use rsip::common::uri::param;
use rsip::{Host as RsipHost, HostWithPort, Param, Scheme, Transport};

use super::{Address, Message, Method, Params, Via};
use crate::uri::{Host, SipUri, Uri};

/// Returns the method; `None` for an extension method.
pub fn method(method: &Method) -> Option<rsip::Method> {
    Some(match method {
        Method::Invite => rsip::Method::Invite,
        Method::Ack => rsip::Method::Ack,
        Method::Bye => rsip::Method::Bye,
        Method::Cancel => rsip::Method::Cancel,
        Method::Register => rsip::Method::Register,
        Method::Options => rsip::Method::Options,
        Method::Prack => rsip::Method::PRack,
        Method::Subscribe => rsip::Method::Subscribe,
        Method::Notify => rsip::Method::Notify,
        Method::Publish => rsip::Method::Publish,
        Method::Info => rsip::Method::Info,
        Method::Refer => rsip::Method::Refer,
        Method::Message => rsip::Method::Message,
        Method::Update => rsip::Method::Update,
        Method::Other(_) => return None,
    })
}

/// Returns the status of a response; a reason phrase other than the usual one is kept.
pub fn status_code(response: &Message) -> Option<rsip::StatusCode> {
    let (code, reason) = (response.status()?, response.reason().unwrap_or_default());
    let is_usual = reason.eq_ignore_ascii_case(super::reason_phrase(code));
    Some(if is_usual {
        code.into()
    } else {
        rsip::StatusCode::Other(code, reason.to_owned())
    })
}

/// Returns a `sip:` or `sips:` URI.
pub fn uri(text: &str) -> Option<rsip::Uri> {
    Uri::parse(text).and_then(Uri::sip).and_then(sip_uri)
}

/// Returns a Via value; `None` when rsip does not know the transport.
pub fn via(via: &Via<'_>) -> Option<rsip::typed::Via> {
    let uri = rsip::Uri {
        scheme: None,
        host_with_port: host_with_port(via.host, via.port),
        ..rsip::Uri::default()
    };
    Some(rsip::typed::Via {
        version: rsip::Version::V2,
        transport: transport(via.transport)?,
        uri,
        params: params(via.params),
    })
}

/// Returns a Contact value.
pub fn contact(address: &Address<'_>) -> Option<rsip::typed::Contact> {
    let (display_name, uri, params) = parts(address)?;
    Some(rsip::typed::Contact {
        display_name,
        uri,
        params,
    })
}

/// Returns a From value.
pub fn from(address: &Address<'_>) -> Option<rsip::typed::From> {
    let (display_name, uri, params) = parts(address)?;
    Some(rsip::typed::From {
        display_name,
        uri,
        params,
    })
}

/// Returns a To value.
pub fn to(address: &Address<'_>) -> Option<rsip::typed::To> {
    let (display_name, uri, params) = parts(address)?;
    Some(rsip::typed::To {
        display_name,
        uri,
        params,
    })
}

fn parts(address: &Address<'_>) -> Option<(Option<String>, rsip::Uri, Vec<Param>)> {
    let display = Some(address.display)
        .filter(|display| !display.is_empty())
        .map(str::to_owned);
    Some((display, uri(address.uri)?, params(address.params)))
}

fn sip_uri(uri: SipUri<'_>) -> Option<rsip::Uri> {
    let auth = uri.user.map(|user| rsip::Auth {
        user: user.to_owned(),
        password: uri.password.map(str::to_owned),
    });
    Some(rsip::Uri {
        scheme: Some(if uri.is_secure { Scheme::Sips } else { Scheme::Sip }),
        auth,
        host_with_port: host_with_port(uri.host, uri.port),
        params: params(uri.params),
        headers: Vec::new(),
    })
}

fn host_with_port(host: Host<'_>, port: Option<u16>) -> HostWithPort {
    let host = match host {
        Host::V4(address) => RsipHost::IpAddr(address.into()),
        Host::Name(_) | Host::V6(_) => RsipHost::Domain(host.to_string().into()),
    };
    HostWithPort {
        host,
        port: port.map(Into::into),
    }
}

fn transport(name: &str) -> Option<Transport> {
    Transport::all()
        .into_iter()
        .find(|transport| transport.to_string().eq_ignore_ascii_case(name))
}

fn params(params: Params<'_>) -> Vec<Param> {
    params.iter().map(|(name, value)| parameter(name, value)).collect()
}

fn parameter(name: &str, value: Option<&str>) -> Param {
    let other = || Param::Other(name.into(), value.map(Into::into));
    let Some(value) = value else {
        return if name.eq_ignore_ascii_case("lr") {
            Param::Lr
        } else {
            other()
        };
    };
    match name.to_ascii_lowercase().as_str() {
        "transport" => transport(value).map_or_else(other, Param::Transport),
        "method" => method(&Method::parse(value)).map_or_else(other, Param::Method),
        "user" => Param::User(param::User::new(value)),
        "ttl" => Param::Ttl(param::Ttl::new(value)),
        "maddr" => Param::Maddr(param::Maddr::new(value)),
        "branch" => Param::Branch(param::Branch::new(value)),
        "received" => Param::Received(param::Received::new(value)),
        "tag" => Param::Tag(param::Tag::new(value)),
        "expires" => Param::Expires(param::Expires::new(value)),
        "q" => Param::Q(param::Q::new(value)),
        _ => other(),
    }
}
