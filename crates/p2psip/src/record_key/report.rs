//! How record keys are printed.

use rpc::proto::bootstrap::v1::{RecordKeysResponse, Rotation};
use serde::Serialize;

use crate::output::two_columns;
use crate::status::id;

/// The keys, and how far a rotation is.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    /// Oldest first.
    versions: Vec<u32>,
    rotation: &'static str,
    edges_in_step: u64,
    edges_behind: u64,
    /// Node-IDs of those behind, as many as were told.
    behind: Vec<String>,
    /// Node-IDs.
    left_out: Vec<String>,
    records_left: u64,
    #[serde(skip)]
    progress: String,
}

impl Report {
    pub(super) fn new(told: &RecordKeysResponse) -> Self {
        Self {
            schema: "p2psip.record-key/v1",
            versions: told.versions.clone(),
            rotation: match told.rotation() {
                Rotation::Settled => "settled",
                Rotation::HandingOut => "handing_out",
                Rotation::Resealing => "resealing",
                Rotation::Unspecified => "unknown",
            },
            edges_in_step: told.edges_in_step,
            edges_behind: told.edges_behind,
            behind: told.behind.iter().map(|edge| id(edge)).collect(),
            left_out: told.left_out.iter().map(|edge| id(edge)).collect(),
            records_left: told.records_left,
            progress: progress(told),
        }
    }

    pub(super) fn table(&self) -> String {
        let versions: Vec<String> = self.versions.iter().map(u32::to_string).collect();
        let edges = self.edges_in_step.saturating_add(self.edges_behind);
        let mut rows = vec![
            ("Record key", format!("version {}", versions.join(" -> "))),
            ("Rotation", self.progress.clone()),
            ("Edges in step", format!("{} of {edges}", self.edges_in_step)),
        ];
        rows.extend(listed("Behind", &self.behind));
        let untold = self
            .edges_behind
            .saturating_sub(u64::try_from(self.behind.len()).unwrap_or(u64::MAX));
        if untold > 0 {
            rows.push(("", format!("and {untold} more")));
        }
        rows.extend(listed("Left out", &self.left_out));
        two_columns(&rows)
    }
}

/// What a rotation waits for, in a few words.
pub(super) fn progress(told: &RecordKeysResponse) -> String {
    match told.rotation() {
        Rotation::Settled => "none goes on".to_owned(),
        Rotation::HandingOut => format!("waits for {} to fetch the new key", counted(told.edges_behind, "edge")),
        Rotation::Resealing => format!("{} still under the old key", counted(told.records_left, "record")),
        Rotation::Unspecified => "unknown to this program".to_owned(),
    }
}

fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

fn listed<'a>(name: &'static str, ids: &'a [String]) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(ids.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rotation: Rotation) -> RecordKeysResponse {
        RecordKeysResponse {
            versions: vec![1, 2],
            rotation: rotation.into(),
            edges_in_step: 3,
            edges_behind: 1,
            behind: vec![vec![0xab; 16].into()],
            left_out: vec![vec![0xcd; 16].into()],
            records_left: 40,
        }
    }

    #[test]
    fn the_edges_that_are_waited_for_are_named() {
        let expected = format!(
            "\
Record key     version 1 -> 2
Rotation       waits for 1 edge to fetch the new key
Edges in step  3 of 4
Behind         {}
Left out       {}
",
            "ab".repeat(16),
            "cd".repeat(16)
        );
        assert_eq!(Report::new(&told(Rotation::HandingOut)).table(), expected);
    }

    #[test]
    fn more_edges_than_can_be_named_are_counted() {
        let many = RecordKeysResponse {
            edges_behind: 300,
            ..told(Rotation::HandingOut)
        };
        let table = Report::new(&many).table();
        assert!(table.contains("and 299 more\n"), "{table}");
    }

    #[test]
    fn programs_get_each_number() {
        let json = serde_json::to_value(Report::new(&told(Rotation::Resealing))).unwrap();
        assert_eq!(json["schema"], "p2psip.record-key/v1");
        assert_eq!(json["rotation"], "resealing");
        assert_eq!(json["records_left"], 40);
        assert_eq!(json["behind"][0], "ab".repeat(16));
    }
}
