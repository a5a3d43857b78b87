//! How tokens are printed.

use rpc::proto::bootstrap::v1::{CreateTokenRequest, ListTokensResponse, NodeClass, TokenUse};
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
    /// For the form of RFC 6940 §11.3, whose account is the id.
    password: String,
    #[serde(flatten)]
    covers: Covers,
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
    /// Node-IDs for the document, if they are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_nodes: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Token {
    id: String,
    state: State,
    #[serde(flatten)]
    covers: Covers,
    created: String,
    expires: String,
    #[serde(skip)]
    expires_in: String,
    /// Node-IDs.
    used_by: Vec<String>,
    /// The same nodes, in the order of their enrollment.
    enrolled: Vec<Enrolled>,
}

/// What a token enrolls.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Covers {
    class: &'static str,
    peer: bool,
    edges: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    /// None for any number.
    uses: Option<u32>,
}

/// What it has enrolled.
#[derive(Debug, Serialize)]
struct Enrolled {
    node_id: String,
    class: &'static str,
    /// None for an operator's request, and where it is not known.
    from: Option<String>,
    /// None where it is not known.
    at: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Can be used.
    Open,
    /// Enrolled all that it can.
    Used,
    /// Enrolled more: it was used at several services that did not hear of each other.
    Overused,
    /// Too old.
    Expired,
    /// Taken back.
    Revoked,
}

impl Created {
    pub(super) fn new(request: &CreateTokenRequest, token: &enroll::Token, expires_ms: u64, now_ms: u64) -> Self {
        Self {
            schema: "p2psip.token/v1",
            token: token.to_string(),
            id: request.id.clone(),
            password: token.secret.clone(),
            covers: Covers::new(request.peer, request.edges, &request.user).with_uses(request.uses, request.unlimited),
            expires: end(expires_ms, utc),
            expires_in: end(expires_ms, |at| distance(at, now_ms)),
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
            ("Password", self.password.clone()),
            ("Enrolls", self.covers.text()),
            ("Uses", self.covers.uses_text()),
            (
                "Expires",
                match self.expires == self.expires_in {
                    true => self.expires.clone(),
                    false => format!("{} ({})", self.expires, self.expires_in),
                },
            ),
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

    /// A line for each token, and for each further node of one.
    pub(super) fn table(&self) -> String {
        let headings = [
            "ID", "STATE", "ENROLLS", "USES", "CREATED", "EXPIRES", "NODE", "FROM", "WHEN",
        ];
        table(headings, self.tokens.iter().flat_map(Token::rows))
    }
}

impl Revoked {
    pub(super) fn new(id: String) -> Self {
        Self {
            schema: "p2psip.token-revoked/v1",
            id,
            bad_nodes: None,
        }
    }

    /// Names the nodes to be banned: all that the token enrolled.
    pub(super) fn ban(&mut self, tokens: &[ListTokensResponse]) {
        let token = tokens.iter().find(|token| token.id == self.id);
        let enrolled = token.into_iter().flat_map(|token| &token.enrolled);
        self.bad_nodes = Some(enrolled.map(|node| node_id(&node.node_id)).collect());
    }

    pub(super) fn text(&self) -> String {
        match &self.bad_nodes {
            None => format!("token {} is revoked\n", self.id),
            Some(nodes) if nodes.is_empty() => format!("token {} is revoked; it enrolled nothing\n", self.id),
            Some(_) => format!(
                "token {} is revoked; in the overlay's document these lines ban what it enrolled:\n{}\n",
                self.id,
                self.lines()
            ),
        }
    }

    /// The elements of the document alone (RFC 6940 §11.1).
    pub(super) fn lines(&self) -> String {
        let nodes = self.bad_nodes.iter().flatten();
        let lines: Vec<String> = nodes.map(|node| format!("<bad-node>{node}</bad-node>")).collect();
        lines.join("\n")
    }
}

/// The end of a token, which may have none.
fn end(unix_ms: u64, text: impl Fn(u64) -> String) -> String {
    match unix_ms {
        0 => "never".to_owned(),
        at => text(at),
    }
}

impl Token {
    fn new(token: &ListTokensResponse, now_ms: u64) -> Self {
        let mut enrolled: Vec<&TokenUse> = token.enrolled.iter().collect();
        enrolled.sort_by_key(|node| (node.unix_ms, node.class));
        Self {
            id: token.id.clone(),
            state: State::of(token, now_ms),
            covers: Covers::new(token.peer, token.edges, &token.user).with_uses(token.uses, token.unlimited),
            created: utc(token.created_unix_ms),
            expires: end(token.expires_unix_ms, utc),
            expires_in: end(token.expires_unix_ms, |at| distance(at, now_ms)),
            used_by: enrolled.iter().map(|node| node_id(&node.node_id)).collect(),
            enrolled: enrolled.into_iter().map(Enrolled::new).collect(),
        }
    }

    fn rows(&self) -> Vec<[String; 9]> {
        let mut nodes = self.enrolled.iter();
        let [node, from, when] = nodes.next().map(Enrolled::cells).unwrap_or_default();
        let first = [
            self.id.clone(),
            self.state.text().to_owned(),
            self.covers.text(),
            self.covers.uses_text(),
            self.created.clone(),
            self.expires_in.clone(),
            node,
            from,
            when,
        ];
        let further = nodes.map(|enrolled| {
            let [node, from, when] = enrolled.cells();
            let mut row: [String; 9] = Default::default();
            row[6..].clone_from_slice(&[node, from, when]);
            row
        });
        std::iter::once(first).chain(further).collect()
    }
}

impl Covers {
    fn new(peer: bool, edges: u32, user: &str) -> Self {
        Self {
            class: match (peer, user) {
                (true, _) => "peer",
                (false, "") => "edge",
                (false, _) => "client",
            },
            peer,
            edges,
            user: user.to_owned(),
            uses: None,
        }
    }

    fn with_uses(self, uses: u32, unlimited: bool) -> Self {
        Self {
            // Zero is once.
            uses: (!unlimited).then_some(uses.max(1)),
            ..self
        }
    }

    /// What one use enrolls.
    fn text(&self) -> String {
        let edges = match self.edges {
            0 => None,
            1 => Some("1 edge".to_owned()),
            edges => Some(format!("{edges} edges")),
        };
        let node = match self.class {
            "peer" => Some("a peer".to_owned()),
            "client" => Some(format!("a client of {}", self.user)),
            _ => None,
        };
        node.into_iter().chain(edges).collect::<Vec<_>>().join(", ")
    }

    fn uses_text(&self) -> String {
        self.uses
            .map_or_else(|| "unlimited".to_owned(), |uses| uses.to_string())
    }
}

impl Enrolled {
    fn new(node: &TokenUse) -> Self {
        Self {
            node_id: node_id(&node.node_id),
            class: match node.class() {
                NodeClass::Peer => "peer",
                NodeClass::Edge => "edge",
                NodeClass::Client => "client",
                NodeClass::Unspecified => "node",
            },
            from: (!node.from.is_empty()).then(|| node.from.clone()),
            at: (node.unix_ms > 0).then(|| utc(node.unix_ms)),
        }
    }

    fn cells(&self) -> [String; 3] {
        // Eight digits tell nodes apart; all of them are in the JSON.
        let digits = self.node_id.get(..8).unwrap_or(&self.node_id);
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [
            format!("{} {digits}", self.class),
            or_dash(&self.from),
            or_dash(&self.at),
        ]
    }
}

impl State {
    fn of(token: &ListTokensResponse, now_ms: u64) -> Self {
        let of_one = [token.peer.into(), token.edges, (!token.user.is_empty()).into()];
        let places = of_one.iter().sum::<u32>().saturating_mul(token.uses.max(1));
        let is_full = !token.unlimited && token.enrolled.len() >= usize::try_from(places).unwrap_or(usize::MAX);
        if token.revoked {
            Self::Revoked
        } else if token.overused {
            Self::Overused
        } else if is_full {
            Self::Used
        } else if (1..=now_ms).contains(&token.expires_unix_ms) {
            Self::Expired
        } else {
            Self::Open
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Overused => "overused",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(nodes: u8) -> ListTokensResponse {
        let node = |number: u8| TokenUse {
            node_id: vec![0xab + number; 16].into(),
            class: if number.is_multiple_of(2) {
                NodeClass::Peer
            } else {
                NodeClass::Edge
            }
            .into(),
            from: if number < 2 {
                "192.0.2.7".to_owned()
            } else {
                String::new()
            },
            unix_ms: u64::from(number < 2) * 1_795_809_669_000,
        };
        ListTokensResponse {
            id: "berlin".to_owned(),
            peer: true,
            edges: 1,
            created_unix_ms: 1_795_809_668_000,
            expires_unix_ms: 1_795_813_268_000,
            revoked: false,
            uses: 1,
            enrolled: (0..nodes).map(node).collect(),
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
        let several = |uses, unlimited| ListTokensResponse {
            uses,
            unlimited,
            ..token(4)
        };
        assert_eq!(State::of(&several(3, false), before), State::Open);
        assert_eq!(State::of(&several(2, false), before), State::Used);
        assert_eq!(State::of(&several(0, true), before), State::Open);
        let overused = ListTokensResponse {
            overused: true,
            ..token(4)
        };
        assert_eq!(State::of(&overused, before), State::Overused);
        let revoked = ListTokensResponse {
            revoked: true,
            ..overused
        };
        assert_eq!(State::of(&revoked, before), State::Revoked);
    }

    #[test]
    fn the_list_names_each_node_with_where_and_when() {
        let expected = "\
ID      STATE  ENROLLS         USES  CREATED               EXPIRES  NODE           FROM       WHEN
berlin  open   a peer, 1 edge  2     2026-11-27T20:01:08Z  in 1 h   peer adadadad  -          -
                                                                    peer abababab  192.0.2.7  2026-11-27T20:01:09Z
                                                                    edge acacacac  192.0.2.7  2026-11-27T20:01:09Z
";
        let now_ms = 1_795_809_668_000;
        let twice = ListTokensResponse { uses: 2, ..token(3) };
        let list = List::new(&[twice], now_ms);
        assert_eq!(list.table(), expected);
        let json = serde_json::to_value(&list).unwrap();
        let token = &json["tokens"][0];
        assert_eq!(
            (&token["state"], &token["class"], &token["uses"]),
            (&"open".into(), &"peer".into(), &2.into())
        );
        assert_eq!(token["enrolled"][0]["at"], serde_json::Value::Null);
        let expected = serde_json::json!({
            "node_id": "ab".repeat(16), "class": "peer", "from": "192.0.2.7", "at": "2026-11-27T20:01:09Z",
        });
        assert_eq!(token["enrolled"][1], expected);
    }

    #[test]
    fn a_ban_names_all_that_the_token_enrolled() {
        let mut revoked = Revoked::new("berlin".to_owned());
        assert_eq!(revoked.text(), "token berlin is revoked\n");
        revoked.ban(&[token(2)]);
        let lines = format!(
            "<bad-node>{}</bad-node>\n<bad-node>{}</bad-node>",
            "ab".repeat(16),
            "ac".repeat(16)
        );
        assert_eq!(revoked.lines(), lines);
        assert!(revoked.text().ends_with(&format!(":\n{lines}\n")));
        let json = serde_json::to_value(&revoked).unwrap();
        assert_eq!(json["bad_nodes"][1], "ac".repeat(16));
    }

    #[test]
    fn a_new_token_shows_once_how_it_is_used() {
        let token = enroll::Token {
            overlay: "a.test".to_owned(),
            root: [7; 32],
            servers: Vec::new(),
            secret: "opensesame".to_owned(),
        };
        let request = CreateTokenRequest {
            id: "berlin".to_owned(),
            peer: true,
            edges: 2,
            uses: 3,
            ..CreateTokenRequest::default()
        };
        let created = Created::new(&request, &token, 1_795_813_268_000, 1_795_809_668_000);
        let expected = format!(
            "\
Token     {token}
Id        berlin
Password  opensesame
Enrolls   a peer, 2 edges
Uses      3
Expires   2026-11-27T21:01:08Z (in 1 h)
"
        );
        assert_eq!(created.table(), expected);
        assert_eq!(created.token(), token.to_string());
        let phones = Covers::new(false, 0, "alice@a.test").with_uses(0, true);
        assert_eq!(
            (phones.text().as_str(), phones.uses_text().as_str()),
            ("a client of alice@a.test", "unlimited")
        );
    }
}
