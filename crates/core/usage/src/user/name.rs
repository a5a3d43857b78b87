//! Which names are no user's (RFC 6940 §11.3: the enrollment server says which are acceptable).

/// The name is spelt as a node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user name of 32 hexadecimal digits is that of a node, not of a user: choose another")]
pub struct NodeName;

/// Refuses an AOR whose user part could be a Node-ID, in any domain.
///
/// A certificate with the user name `<Node-ID>@<overlay>` is a peer's: no user may get one by being called so. The form is
/// refused, not the names of nodes that there are, because a Node-ID may be drawn after the user was made.
///
/// # Errors
/// When it is exactly 32 hexadecimal digits.
pub fn not_a_node(aor: &str) -> Result<(), NodeName> {
    let name = aor.split('@').next().unwrap_or_default();
    match name.len() == NODE_ID_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Err(NodeName),
        false => Ok(()),
    }
}

const NODE_ID_DIGITS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_not_called_like_a_node() {
        let digits = "0123456789abcdef".repeat(2);
        for aor in [
            digits.clone(),
            format!("{digits}@example.org"),
            format!("{}@example.net", digits.to_uppercase()),
        ] {
            assert_eq!(not_a_node(&aor), Err(NodeName), "{aor}");
        }
        for aor in [
            "alice@example.org".to_owned(),
            format!("{digits}0@example.org"),
            format!("{}@example.org", &digits[1..]),
            format!("g{}@example.org", &digits[1..]),
            format!("alice@{digits}"),
        ] {
            assert_eq!(not_a_node(&aor), Ok(()), "{aor}");
        }
    }
}
