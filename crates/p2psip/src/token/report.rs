//! How tokens are printed.

use rpc::proto::bootstrap::v1::ListTokensResponse;
use serde::Serialize;

use crate::clock::{distance, utc};
use crate::enroll;
use crate::output::{table, two_columns};
use crate::status::id as node_id;

/// A new token, the only time that its secret shows.
#[derive(Serialize)]
pub(super) struct Created {
    schema: &'static str,
    token: String,
    id: String,
    edges: u32,
    expires: String,
    #[serde(skip)]
    expires_in: String,
}

/// All tokens.
#[derive(Debug, Serialize)]
pub(super) struct List {
    schema: &'static str,
    tokens: Vec<Token>,
}

/// The end of a token.
#[derive(Debug, Serialize)]
pub(super) struct Revoked {
    schema: &'static str,
    id: String,
}

#[derive(Debug, Serialize)]
struct Token {
    id: String,
    state: State,
    peer: bool,
    edges: u32,
    created: String,
    expires: String,
    #[serde(skip)]
    expires_in: String,
    /// Node-IDs.
    used_by: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Can be used.
    Open,
    /// Enrolled all that it can.
    Used,
    /// Too old.
    Expired,
    /// Taken back.
    Revoked,
}

impl Created {
    pub(super) fn new(id: String, edges: u32, token: &enroll::Token, expires_ms: u64, now_ms: u64) -> Self {
        Self {
            schema: "p2psip.token/v1",
            token: token.to_string(),
            id,
            edges,
            expires: utc(expires_ms),
            expires_in: distance(expires_ms, now_ms),
        }
    }

    /// The token alone.
    pub(super) fn token(&self) -> String {
        self.token.clone()
    }

    pub(super) fn table(&self) -> String {
        two_columns(&[
            ("Token", self.token.clone()),
            ("Id", self.id.clone()),
            ("Enrolls", enrolls(true, self.edges)),
            ("Expires", format!("{} ({})", self.expires, self.expires_in)),
        ])
    }
}

impl List {
    pub(super) fn new(tokens: &[ListTokensResponse], now_ms: u64) -> Self {
        Self {
            schema: "p2psip.tokens/v1",
            tokens: tokens.iter().map(|token| Token::new(token, now_ms)).collect(),
        }
    }

    pub(super) fn table(&self) -> String {
        let rows = self.tokens.iter().map(|token| {
            // Eight digits tell nodes apart; all of them are in the JSON.
            let nodes: Vec<&str> = token.used_by.iter().map(|id| id.get(..8).unwrap_or(id)).collect();
            [
                token.id.clone(),
                token.state.text().to_owned(),
                enrolls(token.peer, token.edges),
                token.created.clone(),
                token.expires_in.clone(),
                nodes.join(", "),
            ]
        });
        table(["ID", "STATE", "ENROLLS", "CREATED", "EXPIRES", "USED BY"], rows)
    }
}

impl Revoked {
    pub(super) fn new(id: String) -> Self {
        Self {
            schema: "p2psip.token-revoked/v1",
            id,
        }
    }

    pub(super) fn text(&self) -> String {
        format!("token {} is revoked\n", self.id)
    }
}

impl Token {
    fn new(token: &ListTokensResponse, now_ms: u64) -> Self {
        Self {
            id: token.id.clone(),
            state: State::of(token, now_ms),
            peer: token.peer,
            edges: token.edges,
            created: utc(token.created_unix_ms),
            expires: utc(token.expires_unix_ms),
            expires_in: distance(token.expires_unix_ms, now_ms),
            used_by: token.used_by.iter().map(|node| node_id(node)).collect(),
        }
    }
}

impl State {
    fn of(token: &ListTokensResponse, now_ms: u64) -> Self {
        let slots = usize::from(token.peer).saturating_add(usize::try_from(token.edges).unwrap_or(usize::MAX));
        if token.revoked {
            Self::Revoked
        } else if token.used_by.len() >= slots {
            Self::Used
        } else if now_ms >= token.expires_unix_ms {
            Self::Expired
        } else {
            Self::Open
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

fn enrolls(peer: bool, edges: u32) -> String {
    let edges = match edges {
        0 => None,
        1 => Some("1 edge".to_owned()),
        edges => Some(format!("{edges} edges")),
    };
    let parts = peer.then(|| "a peer".to_owned()).into_iter().chain(edges);
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(used_by: usize) -> ListTokensResponse {
        ListTokensResponse {
            id: "berlin".to_owned(),
            peer: true,
            edges: 1,
            created_unix_ms: 1_795_809_668_000,
            expires_unix_ms: 1_795_813_268_000,
            used_by: vec![vec![0xab; 16].into(); used_by],
            ..ListTokensResponse::default()
        }
    }

    #[test]
    fn a_token_is_open_until_it_is_full_old_or_revoked() {
        let (before, after) = (1_795_809_669_000, 1_795_813_268_000);
        assert_eq!(State::of(&token(0), before), State::Open);
        // The peer has come, its edge has not.
        assert_eq!(State::of(&token(1), before), State::Open);
        assert_eq!(State::of(&token(1), after), State::Expired);
        assert_eq!(State::of(&token(2), after), State::Used);
        let revoked = ListTokensResponse {
            revoked: true,
            ..token(2)
        };
        assert_eq!(State::of(&revoked, before), State::Revoked);
    }

    #[test]
    fn the_list_names_the_nodes() {
        let expected = "\
ID      STATE  ENROLLS         CREATED               EXPIRES  USED BY
berlin  used   a peer, 1 edge  2026-11-27T20:01:08Z  in 1 h   abababab, abababab
";
        let now_ms = 1_795_809_668_000;
        let list = List::new(&[token(2)], now_ms);
        assert_eq!(list.table(), expected);
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["tokens"][0]["state"], "used");
        assert_eq!(json["tokens"][0]["used_by"][0], "ab".repeat(16));
    }

    #[test]
    fn a_new_token_shows_once_how_it_is_used() {
        let token = enroll::Token {
            overlay: "a.test".to_owned(),
            root: [7; 32],
            servers: Vec::new(),
            secret: "opensesame".to_owned(),
        };
        let created = Created::new("berlin".to_owned(), 2, &token, 1_795_813_268_000, 1_795_809_668_000);
        let expected = format!(
            "\
Token    {token}
Id       berlin
Enrolls  a peer, 2 edges
Expires  2026-11-27T21:01:08Z (in 1 h)
"
        );
        assert_eq!(created.table(), expected);
        assert_eq!(created.token(), token.to_string());
    }
}
