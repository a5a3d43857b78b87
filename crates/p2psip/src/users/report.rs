//! How users are printed.

use rpc::proto::bootstrap::v1::{ListUsersResponse, UserState};
use serde::Serialize;

use crate::output::{table, two_columns};
use crate::status::id;

/// One user.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    #[serde(flatten)]
    user: User,
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
        }
    }

    pub(super) fn table(&self) -> String {
        let user = &self.user;
        let edges = match user.allowed_edges.as_slice() {
            [] => "any".to_owned(),
            edges => edges.join(", "),
        };
        two_columns(&[
            ("User", user.aor.clone()),
            ("State", user.state.to_owned()),
            ("Display name", user.display_name.clone()),
            ("Edges", edges),
            ("Version", user.version.to_string()),
            ("Published", user.published()),
        ])
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
