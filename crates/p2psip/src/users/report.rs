//! How users are printed.

use rpc::proto::bootstrap::v1::{ListUsersResponse, UserState};
use serde::Serialize;
use sip_edge::RECORD_LOOKED_AT;

use crate::output::{table, two_columns};
use crate::status::id;

/// One user.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    #[serde(flatten)]
    user: User,
    /// Set by what changes a user and waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<Notice>,
}

/// How the edges that serve the user were told of the change.
#[derive(Debug, Serialize)]
struct Notice {
    /// Node-IDs of edges that know of it.
    told: Vec<String>,
    /// Node-IDs of edges that did not answer.
    untold: Vec<String>,
    /// Whether these are all edges that serve the user.
    complete: bool,
    /// After so long at most, an edge that was not told sees the change by itself.
    seen_within_seconds: u64,
    #[serde(skip)]
    effect: Effect,
}

/// What may go on at an edge that was not told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
    /// The old password works.
    OldPassword,
    /// The user's phones register and call.
    GoesOn,
    /// The user's phones are refused.
    Refused,
    /// The user is not known.
    Unknown,
}

/// Many users.
#[derive(Debug, Serialize)]
pub(super) struct List {
    schema: &'static str,
    users: Vec<User>,
}

#[derive(Debug, Serialize)]
struct User {
    aor: String,
    state: &'static str,
    display_name: String,
    /// Node-IDs; empty for any edge.
    allowed_edges: Vec<String>,
    version: u64,
    published_version: u64,
}

impl Report {
    pub(super) fn new(user: &ListUsersResponse) -> Self {
        Self {
            schema: "p2psip.user/v1",
            user: User::new(user),
            notice: None,
        }
    }

    /// The same after a change, with which edges were told of it.
    pub(super) fn told(user: &ListUsersResponse, effect: Effect) -> Self {
        let notice = user.notice.clone().unwrap_or_default();
        let ids = |nodes: &[bytes::Bytes]| nodes.iter().map(|node| id(node)).collect();
        Self {
            notice: Some(Notice {
                told: ids(&notice.told),
                untold: ids(&notice.untold),
                complete: notice.is_complete,
                seen_within_seconds: RECORD_LOOKED_AT.as_secs(),
                effect,
            }),
            ..Self::new(user)
        }
    }

    pub(super) fn table(&self) -> String {
        let user = &self.user;
        let edges = match user.allowed_edges.as_slice() {
            [] => "any".to_owned(),
            edges => edges.join(", "),
        };
        let mut rows = vec![
            ("User", user.aor.clone()),
            ("State", user.state.to_owned()),
            ("Display name", user.display_name.clone()),
            ("Edges", edges),
            ("Version", user.version.to_string()),
            ("Published", user.published()),
        ];
        if let Some(notice) = &self.notice {
            rows.push(("Told", notice.told()));
            rows.extend(notice.untold().map(|text| ("Not told", text)));
        }
        two_columns(&rows)
    }
}

impl Notice {
    fn told(&self) -> String {
        match self.told.len() {
            0 if self.complete && self.untold.is_empty() => "no edge serves the user".to_owned(),
            1 => "1 edge".to_owned(),
            count => format!("{count} edges"),
        }
    }

    fn untold(&self) -> impl Iterator<Item = String> {
        let unknown = (!self.complete).then_some(("the overlay did not say which edges serve the user", "the user's"));
        let named = self.untold.iter().map(|edge| (edge.as_str(), "its"));
        named.chain(unknown).map(|(edge, whose)| {
            let minutes = self.seen_within_seconds.div_ceil(60);
            format!(
                "{edge}: {whose} phones {} for up to {minutes} minutes",
                self.effect.text()
            )
        })
    }
}

impl Effect {
    fn text(self) -> &'static str {
        match self {
            Self::OldPassword => "may use the old password",
            Self::GoesOn => "may go on registering and calling",
            Self::Refused => "may still be refused",
            Self::Unknown => "may not know the user",
        }
    }
}

impl List {
    pub(super) fn new(users: &[ListUsersResponse]) -> Self {
        Self {
            schema: "p2psip.users/v1",
            users: users.iter().map(User::new).collect(),
        }
    }

    pub(super) fn table(&self) -> String {
        let rows = self.users.iter().map(|user| {
            [
                user.aor.clone(),
                user.state.to_owned(),
                user.display_name.clone(),
                user.version.to_string(),
                user.published(),
            ]
        });
        table(["AOR", "STATE", "DISPLAY NAME", "VERSION", "PUBLISHED"], rows)
    }
}

impl User {
    fn new(user: &ListUsersResponse) -> Self {
        Self {
            aor: user.aor.clone(),
            state: match user.state() {
                UserState::Active => "active",
                UserState::Suspended => "disabled",
                UserState::Removed => "removed",
                UserState::Unspecified => "unknown",
            },
            display_name: user.display_name.clone(),
            allowed_edges: user.allowed_edges.iter().map(|edge| id(edge)).collect(),
            version: user.version,
            published_version: user.published_version,
        }
    }

    /// Whether the overlay holds what the bootstrap service does.
    fn published(&self) -> String {
        match self.published_version {
            version if version >= self.version => "yes".to_owned(),
            0 => "not yet".to_owned(),
            version => format!("version {version} so far"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rpc::proto::bootstrap::v1 as proto;

    use super::*;

    fn user(aor: &str, state: UserState, published_version: u64) -> ListUsersResponse {
        ListUsersResponse {
            aor: aor.to_owned(),
            state: state.into(),
            display_name: "Alice".to_owned(),
            version: 3,
            published_version,
            ..ListUsersResponse::default()
        }
    }

    #[test]
    fn the_list_tells_what_is_still_on_its_way() {
        let list = List::new(&[
            user("alice@a.test", UserState::Active, 3),
            user("bob@a.test", UserState::Suspended, 2),
            user("carol@a.test", UserState::Removed, 0),
        ]);
        let expected = "\
AOR           STATE     DISPLAY NAME  VERSION  PUBLISHED
alice@a.test  active    Alice         3        yes
bob@a.test    disabled  Alice         3        version 2 so far
carol@a.test  removed   Alice         3        not yet
";
        assert_eq!(list.table(), expected);
    }

    #[test]
    fn one_user_has_a_schema_beside_the_fields() {
        let json = serde_json::to_value(Report::new(&user("alice@a.test", UserState::Active, 3))).unwrap();
        assert_eq!(json["schema"], "p2psip.user/v1");
        assert_eq!(json["aor"], "alice@a.test");
        assert_eq!(json["allowed_edges"], serde_json::json!([]));
    }

    fn told(told: &[u8], untold: &[u8], is_complete: bool) -> Report {
        let octets = |edges: &[u8]| edges.iter().map(|edge| vec![*edge; 16].into()).collect();
        let notice = proto::Notice {
            told: octets(told),
            untold: octets(untold),
            is_complete,
        };
        let changed = ListUsersResponse {
            notice: Some(notice),
            ..user("alice@a.test", UserState::Active, 3)
        };
        Report::told(&changed, Effect::OldPassword)
    }

    #[test]
    fn a_change_says_which_edges_were_told() {
        let tail = |report: Report| report.table().split_once("Published     yes\n").unwrap().1.to_owned();
        assert_eq!(tail(told(&[1, 2], &[], true)), "Told          2 edges\n");
        assert_eq!(tail(told(&[], &[], true)), "Told          no edge serves the user\n");
        assert_eq!(
            tail(told(&[1], &[0xab], true)),
            "Told          1 edge\n\
             Not told      abababababababababababababababab: its phones may use the old password for up to 48 minutes\n"
        );
        let silent = Report::told(&user("alice@a.test", UserState::Suspended, 3), Effect::GoesOn);
        assert_eq!(
            tail(silent),
            "Told          0 edges\n\
             Not told      the overlay did not say which edges serve the user: the user's phones may go on registering and calling \
             for up to 48 minutes\n"
        );
        let json = serde_json::to_value(told(&[1], &[2], true)).unwrap();
        assert_eq!(json["notice"]["untold"][0], "02".repeat(16));
        assert_eq!(json["notice"]["seen_within_seconds"], 2880);
    }

    #[test]
    fn an_allowed_edge_is_named() {
        let restricted = ListUsersResponse {
            allowed_edges: vec![vec![0xab; 16].into()],
            ..user("alice@a.test", UserState::Active, 3)
        };
        let table = Report::new(&restricted).table();
        assert!(
            table.contains("Edges         abababababababababababababababab\n"),
            "{table}"
        );
    }
}
