//! Which version of the program Neighbors run (docs/deviations.md D46). It is shown to people, and nothing is decided by it.

use bytes::Bytes;
use wire::{MessageExtension, NodeId};

use crate::api::Output;
use crate::core::Core;

/// The extension by which this node tells its version in its Updates.
pub(crate) fn own() -> MessageExtension {
    MessageExtension {
        kind: MessageExtension::SOFTWARE,
        critical: false,
        contents: Bytes::from_static(env!("CARGO_PKG_VERSION").as_bytes()),
    }
}

impl Core {
    /// A Neighbor says what it runs.
    pub(crate) fn software_heard(&mut self, from: NodeId, extensions: &[MessageExtension]) {
        let Some(software) = extensions.iter().find_map(read) else {
            return;
        };
        let Some(link) = self.links.to_mut(from) else {
            return;
        };
        if link.software.as_ref() != Some(&software) {
            link.software = Some(software);
            self.outputs.push_back(Output::Changed);
        }
    }
}

/// The version, if it is one: it ends up on terminals.
fn read(extension: &MessageExtension) -> Option<String> {
    let is_version = extension.kind == MessageExtension::SOFTWARE
        && (1..=LONGEST).contains(&extension.contents.len())
        && extension.contents.iter().all(u8::is_ascii_graphic);
    is_version.then(|| String::from_utf8_lossy(&extension.contents).into_owned())
}

/// Octets of a version: room for a pre-release and a commit.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_is_read() {
        let said = |contents: &'static [u8]| {
            read(&MessageExtension {
                contents: Bytes::from_static(contents),
                ..own()
            })
        };
        assert_eq!(read(&own()).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(said(b"1.2.3-rc.1+5b8a").as_deref(), Some("1.2.3-rc.1+5b8a"));
        assert_eq!(said(b""), None);
        assert_eq!(said(b"1.2\x1b[31m"), None);
        assert_eq!(said(&[b'1'; LONGEST + 1]), None);
    }
}
