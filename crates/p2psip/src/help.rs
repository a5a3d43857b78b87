//! The first page of the help: commands in groups by what one wants to do, then the options that all of them take.

use std::fmt::Write as _;

use clap::Command;

/// A heading, and the commands under it in the order in which one meets them.
type Group = (&'static str, &'static [&'static str]);

const GROUPS: [Group; 5] = [
    (
        "Run a peer",
        &["dev", "peer", "overlay", "storage", "sip-edge", "bootstrap"],
    ),
    ("Make an overlay and join it", &["init", "token", "join"]),
    ("Users and their phones", &["users", "registrations", "calls"]),
    ("Look into the overlay", &["status", "lookup", "ping", "wire"]),
    (
        "Operate",
        &[
            "health",
            "drain",
            "cert",
            "record-key",
            "document",
            "config",
            "place",
            "completion",
        ],
    ),
];

/// Gives the program's command its first page.
pub(crate) fn grouped(command: Command) -> Command {
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}Global options, before or after any command:\n{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(template)
}

fn groups(command: &Command) -> String {
    let about = |name: &str| {
        let about = command.find_subcommand(name).and_then(Command::get_about);
        about.map(ToString::to_string).unwrap_or_default()
    };
    let names = GROUPS.iter().flat_map(|(_, names)| *names);
    let width = names.map(|name| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (heading, names) in GROUPS {
        let _ = writeln!(text, "{heading}:");
        for name in names {
            let _ = writeln!(text, "  {name:width$}  {}", about(name));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_command_stands_in_one_group() {
        let command = Cli::command();
        let mut known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        known.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, known);
    }

    #[test]
    fn the_first_page_has_groups_then_global_options_then_examples() {
        let page = grouped(Cli::command()).render_help().to_string();
        let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part} is not in\n{page}"));
        let parts = [
            "Usage: p2psip",
            "Run a peer:",
            "  dev ",
            "Operate:",
            "Global options",
            "--peer <ADDR>",
            "Examples:",
        ];
        assert!(parts.map(at).is_sorted(), "{page}");
        let commands = page.lines().take_while(|line| !line.starts_with("Global options"));
        assert!(commands.into_iter().all(|line| line.chars().count() <= 100), "{page}");
    }

    #[test]
    fn the_help_of_a_command_has_its_own_options_first() {
        let mut command = Cli::command();
        command.build();
        let join = command.find_subcommand_mut("join").unwrap();
        let page = join.render_help().to_string();
        let at = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part} is not in\n{page}"));
        assert!(at("--token-file") < at("Global options:"), "{page}");
        assert!(at("Global options:") < at("--peer <ADDR>"), "{page}");
    }
}
