//! Whose this storage is: alone in its process it learns that from its overlay.

use std::sync::OnceLock;

use runtime::Component;
use tracing::Span;
use wire::NodeId;

/// The peer that the storage belongs to, as traces show it.
#[derive(Debug)]
pub(crate) struct Owner {
    component: Component,
    /// Made once: a collector gets to know a service by it.
    span: OnceLock<Span>,
}

impl Owner {
    /// Of a component that knows its node, or will.
    pub(crate) fn new(component: Component, is_known: bool) -> Self {
        let span = OnceLock::new();
        if is_known {
            span.get_or_init(Span::none);
        }
        Self { component, span }
    }

    /// The span that commands of this node's sessions are carried out in; none where the component runs in it already.
    pub(crate) fn span(&self, node_id: NodeId) -> &Span {
        self.span.get_or_init(|| self.component.span_for(&node_id.short()))
    }
}
