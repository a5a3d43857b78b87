//! Routes: which of them are this edge's own, and where the rest leads (RFC 3261 §16.4).

use super::core::Core;
use crate::flow::{Flow, NodeId};
use crate::message::{Address, Edit, Message, Name};
use crate::token;
use crate::uri::{Host, SipUri, Uri};

/// What the Route header of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Routed {
    /// How many values name this edge, and are dropped.
    pub(super) popped: usize,
    /// Whether one of them holds a token that this edge made for this call.
    pub(super) has_token: bool,
    /// What the last of them names.
    pub(super) token: Option<token::Target>,
    /// Where the value behind them leads.
    pub(super) next: Option<Next>,
    /// The host of the only value, where that is a name which may or may not mean this edge: DNS tells.
    pub(super) unknown: Option<String>,
}

/// Where a Route leads that is not this edge's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// To another edge.
    Edge { node: NodeId, home: Option<NodeId> },
    /// Out of the overlay.
    Foreign,
}

impl Core {
    /// Turns what a strict router made of the request back (RFC 3261 §16.4): when the Request-URI is a Record-Route
    /// value of this edge, the last Route value is what was meant, and the former becomes the first Route again.
    pub(super) fn unwind_strict_route(&self, request: Message) -> Message {
        let Some(text) = request.request_uri() else {
            return request;
        };
        let is_ours = Uri::parse(text)
            .and_then(Uri::sip)
            .is_some_and(|uri| self.is_own_host(uri) || self.token_of(uri, &request).is_some());
        let routes: Vec<&str> = request.values(Name::Route).collect();
        let (true, Some((last, others))) = (is_ours, routes.split_last()) else {
            return request;
        };
        let Some(target) = Address::parse(last).map(|address| address.uri.to_owned()) else {
            return request;
        };
        let first = format!("<{text}>");
        let route = [&[first.as_str()], others].concat().join(", ");
        Edit::new(&request).request_uri(target).set(Name::Route, route).apply()
    }

    /// Reads the Route header of a request that came over `flow`.
    pub(super) fn route(&self, flow: &Flow, request: &Message) -> Routed {
        let mut routed = Routed {
            popped: 0,
            has_token: false,
            token: None,
            next: None,
            unknown: None,
        };
        for value in request.values(Name::Route) {
            let uri = Address::parse(value).and_then(Address::parsed_uri).and_then(Uri::sip);
            let token = uri.and_then(|uri| self.token_of(uri, request));
            let is_own = token.is_some() || uri.is_some_and(|uri| self.is_own_route(uri, flow));
            if !is_own {
                routed.next = Some(uri.and_then(|uri| self.edge_of(uri)).unwrap_or(Next::Foreign));
                let is_only = routed.popped == 0 && request.values(Name::Route).nth(1).is_none();
                if routed.next == Some(Next::Foreign) && is_only {
                    routed.unknown = uri.and_then(|uri| self.unknown_host(uri, flow));
                }
                break;
            }
            routed.popped += 1;
            routed.has_token |= token.is_some();
            routed.token = token;
        }
        routed
    }

    /// Returns the host of a request's Route that may be another name of this edge, for the shell to look up. Phones set up
    /// with the name of their outbound proxy send it (RFC 3261 §8.1.2), and no edge knows all names that DNS has for it.
    ///
    /// Only an authenticated phone is worth a look-up. [`Authenticated::Allowed`](super::Authenticated::Allowed) says that the
    /// name is this edge's.
    pub fn unknown_route(&self, flow: &Flow, request: &Message) -> Option<String> {
        self.route(flow, request).unknown
    }

    fn unknown_host(&self, uri: SipUri<'_>, flow: &Flow) -> Option<String> {
        let Host::Name(name) = uri.host else { return None };
        let ports = [self.settings.public(flow.local).port(), flow.local.port()];
        // Without a port DNS chooses it (RFC 3263 §4.2); another one is another server.
        let may_be_here = uri.port.is_none_or(|port| ports.contains(&port));
        may_be_here.then(|| name.to_ascii_lowercase())
    }

    /// Opens the token in the user part of a Record-Route value of ours.
    fn token_of(&self, uri: SipUri<'_>, request: &Message) -> Option<token::Target> {
        self.settings.token_key.open(uri.user?, request.call_id()?)
    }

    /// Tells whether a URI names this edge: its name in the overlay, or the address at which the phone sees it.
    fn is_own_route(&self, uri: SipUri<'_>, flow: &Flow) -> bool {
        if self.is_own_host(uri) {
            return true;
        }
        let public = self.settings.public(flow.local);
        match uri.host {
            Host::Name(_) => self.settings.domains.is_own(uri.host),
            Host::V4(_) | Host::V6(_) => {
                let address = uri.host.address().map(|address| address.to_canonical());
                let is_seen = address == Some(public.ip().to_canonical())
                    || address == Some(flow.local.ip().to_canonical())
                    || self.settings.domains.is_own(uri.host);
                is_seen && [public.port(), flow.local.port()].contains(&uri.port_or_default())
            }
        }
    }

    fn is_own_host(&self, uri: SipUri<'_>) -> bool {
        matches!(uri.host, Host::Name(name) if name.eq_ignore_ascii_case(&self.host))
    }

    /// Reads the home peer of an edge from the Record-Route that it wrote.
    pub(super) fn home_of(&self, node: NodeId, request: &Message) -> Option<NodeId> {
        let value = request.values(Name::RecordRoute).next()?;
        match self.edge_of(Address::parse(value)?.parsed_uri()?.sip()?)? {
            Next::Edge { node: writer, home } if writer == node => home,
            Next::Edge { .. } | Next::Foreign => None,
        }
    }

    fn edge_of(&self, uri: SipUri<'_>) -> Option<Next> {
        let Host::Name(name) = uri.host else { return None };
        let (node, overlay) = name.split_once('.')?;
        if !overlay.eq_ignore_ascii_case(&self.settings.overlay) {
            return None;
        }
        let home = uri.params.value("p").and_then(NodeId::from_hex);
        Some(Next::Edge {
            node: NodeId::from_hex(node)?,
            home,
        })
    }
}
