//! Nodes with a good certificate that lets them be clients only, and that say in Updates to everybody that they are peers.

use std::time::Duration;

use wire::{ChordUpdate, ChordUpdateKind, NodeId};

use super::{Event, Message, World};

impl World {
    /// Has so many liars begin once the ring is complete.
    pub(super) fn add_liars(&mut self, count: usize) {
        for _ in 0..count {
            let liar = NodeId::from_u128(self.random.wide());
            self.liars.insert(liar);
            self.queue.at(super::FAULTS_BEGIN, Event::Lie(liar));
        }
    }

    /// Keeps links to all peers, and lies to each.
    pub(super) fn lie(&mut self, liar: NodeId) {
        self.queue.after(PERIOD, Event::Lie(liar));
        let victims: Vec<NodeId> = self.chords().map(|(node, _)| node).collect();
        for victim in victims {
            if self.connect(liar, victim) {
                let kind = self.invent(victim);
                self.send(liar, victim, Message::Update(ChordUpdate { uptime: 9, kind }));
            }
        }
    }

    fn invent(&mut self, victim: NodeId) -> ChordUpdateKind {
        let beside = |node: NodeId, step: u128| NodeId::from_u128(node.to_u128().wrapping_add(step));
        let (predecessors, successors) = match self.random.next() % 4 {
            0 => return ChordUpdateKind::PeerReady,
            // We two are alone.
            1 => (vec![victim], vec![victim]),
            // Nodes that do not exist stand on both sides of the victim.
            2 => {
                let before = [u128::MAX, u128::MAX - 1].map(|step| beside(victim, step));
                (before.to_vec(), [1, 2].map(|step| beside(victim, step)).to_vec())
            }
            // A node that does not exist stands beside every peer.
            _ => {
                let peers: Vec<NodeId> = self.chords().map(|(node, _)| beside(node, 1)).collect();
                (peers.clone(), peers)
            }
        };
        ChordUpdateKind::Neighbors {
            predecessors,
            successors,
        }
    }
}

const PERIOD: Duration = Duration::from_secs(2);
