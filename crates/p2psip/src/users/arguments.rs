//! What can be asked of users.

use clap::{Args, Subcommand};

use crate::password;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a user, and wait until the overlay holds the record
    #[command(after_help = ADD_EXAMPLES)]
    Add(New),
    /// List the users in the order of their names; never a password
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only users whose name begins with this
        prefix: Option<String>,
        /// Removed users too
        #[arg(long)]
        removed: bool,
    },
    /// Show one user
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// A user, as alice@example.org; a bare name gets the overlay's domain
        #[arg(value_name = "AOR")]
        user: String,
    },
    /// Give a user a new password
    #[command(after_help = PASSWD_EXAMPLES)]
    Passwd {
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        password: password::Source,
    },
    /// Refuse a user's registrations and calls until enabled again
    Disable(Change),
    /// Let a disabled user register and call again
    Enable(Change),
    /// Remove a user
    #[command(after_help = RM_EXAMPLES)]
    Rm {
        #[command(flatten)]
        change: Change,
        /// Do not ask whether it is meant
        #[arg(short, long)]
        yes: bool,
    },
}

/// A user to be made.
#[derive(Debug, Args)]
pub(crate) struct New {
    #[command(flatten)]
    pub(crate) change: Change,
    #[command(flatten)]
    pub(crate) password: password::Source,
    /// The name that phones show
    #[arg(long, value_name = "NAME")]
    pub(crate) display_name: Option<String>,
}

/// Whom to change, and how far to see it through.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// A user, as alice@example.org; a bare name gets the overlay's domain
    #[arg(value_name = "AOR")]
    pub(crate) user: String,
    /// Return as soon as the bootstrap service has the change, before the overlay has it
    #[arg(long)]
    pub(crate) no_wait: bool,
}

const ADD_EXAMPLES: &str = "\
Examples:
  p2psip users add carol                                     asks for the password, twice
  p2psip users add carol@example.org --display-name Carol
  p2psip users add carol --password-file carol.txt
  pass show carol | p2psip users add carol                   from standard input

The exit code is 1 when the user exists, 6 when the overlay has not acknowledged the record within --timeout;
it is stored all the same as soon as the overlay can.";

const LIST_EXAMPLES: &str = "\
Examples:
  p2psip users list
  p2psip users list al
  p2psip -o json users list | jq -r '.users[].aor'";

const SHOW_EXAMPLES: &str = "\
Examples:
  p2psip users show alice
  p2psip -o json users show alice | jq .version

The exit code is 1 when there never was such a user.";

const PASSWD_EXAMPLES: &str = "\
Examples:
  p2psip users passwd alice
  p2psip users passwd alice --password-file alice.txt

The new password works at once at every edge; one where nobody has used it yet may take the old one for five minutes more.
Phones that are registered stay so.";

const RM_EXAMPLES: &str = "\
Examples:
  p2psip users rm carol
  p2psip users rm carol --yes                                for scripts";
