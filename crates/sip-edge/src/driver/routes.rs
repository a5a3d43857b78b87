//! Names and addresses of this edge: those of the machine, and those that only DNS knows.

use std::net::IpAddr;
use std::sync::Arc;

use runtime::addresses;
use sip_core::aor::Aor;
use sip_core::flow::{Flow, FlowKind};
use sip_core::message::Message;
use sip_core::proxy::{Answer, AuthenticateId, RegisterId};
use wire::Now;

use super::{Done, Driver, Purpose, Routed};
use crate::hosts;
use crate::own::Own;
use crate::transport::udp;
use crate::users::Asked;

impl Driver {
    /// Takes what the machine is called now.
    pub(super) fn handle_own(&mut self, own: Own) {
        self.attacher.addresses.clone_from(&own.edges);
        self.names.set(own);
        self.renew_domains();
    }

    /// Takes the address that a phone used as one of this edge's. Only the kernel knows all addresses that are its own.
    pub(super) fn learn_address(&mut self, flow: &Flow) {
        let address = flow.local.ip();
        let is_new = flow.kind == FlowKind::Phone && !self.domains.is_own_address(address);
        if is_new && udp::is_own(address) && self.names.learn(address) {
            self.renew_domains();
        }
    }

    fn renew_domains(&mut self) {
        let domains = self.names.domains();
        if domains != *self.domains {
            tracing::info!(addresses = ?self.names.own.addresses, names = ?self.names.own.names, "this edge is called otherwise");
            self.domains = Arc::new(domains);
            self.users.set_domains(Arc::clone(&self.domains));
        }
        self.proxy
            .set_own(Arc::clone(&self.domains), self.names.own.advertise.clone());
    }

    /// Lets a request of a known user go on, once its Route is known to lead nowhere else.
    pub(super) fn allow(
        &mut self,
        now: Now,
        id: AuthenticateId,
        (flow, request): (Flow, &Message),
        who: (Aor, String),
    ) {
        match self.proxy.unknown_route(&flow, request) {
            Some(host) => self.ask_host(now, &host, Routed::Caller(id, flow, who)),
            None => self.allowed(now, id, &flow, who),
        }
    }

    /// Binds what an authenticated phone registers, likewise.
    pub(super) fn bind_here(&mut self, now: Now, id: RegisterId, flow: Flow, asked: Asked) {
        match self.proxy.unknown_route(&flow, &asked.request) {
            Some(host) => self.ask_host(now, &host, Routed::Phone(id, flow, Box::new(asked))),
            None => self.bind(now, id, &flow, asked),
        }
    }

    fn ask_host(&mut self, now: Now, host: &str, waiter: Routed) {
        match self.hosts.ask(now.instant, host, waiter) {
            hosts::Answer::Known(waiter, addresses) => self.go_on_routed(now, waiter, &addresses),
            hosts::Answer::Waits => {}
            hosts::Answer::Ask => {
                let host = host.to_owned();
                self.start(async move {
                    let addresses = addresses::lookup(&host).await;
                    Done::HostFound(host, addresses)
                });
            }
            hosts::Answer::Refused(waiter) => self.go_on_routed(now, waiter, &[]),
        }
    }

    /// Takes the answer of DNS.
    pub(super) fn handle_host_found(&mut self, now: Now, host: &str, addresses: Vec<IpAddr>) {
        for waiter in self.hosts.found(now.instant, host, addresses.clone()) {
            self.go_on_routed(now, waiter, &addresses);
        }
    }

    fn go_on_routed(&mut self, now: Now, waiter: Routed, addresses: &[IpAddr]) {
        let is_own = addresses.iter().any(|address| self.domains.is_own_address(*address));
        match (waiter, is_own) {
            (Routed::Caller(id, flow, who), true) => self.allowed(now, id, &flow, who),
            (Routed::Phone(id, flow, asked), true) => self.bind(now, id, &flow, *asked),
            (Routed::Caller(id, ..), false) => self.refuse(now, Purpose::Proxy(id), not_allowed()),
            (Routed::Phone(id, ..), false) => self.refuse(now, Purpose::Register(id), not_allowed()),
        }
    }
}

/// An edge is no way to other proxies (docs/deviations.md).
fn not_allowed() -> Answer {
    Answer::new(403).reason("Route Not Allowed")
}
