//! What the commands are told.

use std::str::FromStr;

use bootstrap::Lifetime;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a token that enrolls peers with their edges, edges, or clients of a user
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Create),
    /// List the tokens and the nodes that were enrolled with them; never a secret
    #[command(after_help = LIST_EXAMPLES)]
    List,
    /// Revoke a token; nodes already enrolled with it stay
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// Which one; the first characters are enough
        id: String,
        /// Print the lines for the overlay's document that ban every node enrolled with it
        #[arg(long)]
        ban: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What each use enrolls
    #[arg(long, value_name = "CLASS", default_value = "peer")]
    pub(super) class: Class,
    /// How often it can be used: 1 to 1000, or `unlimited`, which is 20 in an hour at most
    #[arg(long, value_name = "N", default_value = "1")]
    pub(super) uses: Uses,
    /// How many edges a peer will have [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    pub(super) edges: Option<u32>,
    /// Whose clients they are, as alice@example.org; a bare name gets the overlay's domain
    #[arg(long, value_name = "AOR", required_if_eq("class", "client"))]
    pub(super) user: Option<String>,
    /// How long it can be used, with its unit: 30m, 1h, 7d, or `never`, which is when it ends
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(super) lifetime: Lifetime,
    /// A name to list and revoke it by [default: a random one]
    #[arg(long, value_name = "ID")]
    pub(super) id: Option<String>,
    /// Where the new host enrolls, such as <https://a.example.org:8443> [default: those of the overlay's document]
    #[arg(long = "server", value_name = "URL")]
    pub(super) servers: Vec<String>,
}

/// What a token enrolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Class {
    /// A peer and its edges
    Peer,
    /// An edge alone, beside a peer that is there
    Edge,
    /// A user's own node, which is no peer
    Client,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Uses {
    Times(u32),
    Unlimited,
}

impl FromStr for Uses {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match (text, text.parse()) {
            ("unlimited", _) => Ok(Self::Unlimited),
            (_, Ok(times @ 1..)) => Ok(Self::Times(times)),
            _ => Err("it is a number from 1 on, or `unlimited`"),
        }
    }
}

const CREATE_EXAMPLES: &str = "\
Examples:
  p2psip token create                                  a peer with one edge, within the next hour
  p2psip token create --edges 2 --lifetime 7d --id berlin
  p2psip token create --uses 12 --lifetime 1d          twelve such peers
  p2psip token create --uses unlimited --lifetime never --id fleet
  p2psip token create --class edge                     one more edge
  p2psip token create --class client --user alice      a client of alice's
  p2psip -q token create > berlin.token                the token alone
  p2psip -q token create | ssh berlin p2psip join --token-file -
  p2psip -o json token create | jq -r .token           the same for programs

The token is a secret: whoever has it can enroll what it covers. It is shown only now. Programs other than p2psip enroll with
the form of RFC 6940 section 11.3 at URL/enroll: the account is the token's id, the password is shown beside it.";

const LIST_EXAMPLES: &str = "\
Examples:
  p2psip token list
  p2psip -o json token list | jq '.tokens[] | select(.state == \"open\")'";

const REVOKE_EXAMPLES: &str = "\
Examples:
  p2psip token revoke berlin
  p2psip token revoke 3f                               the only token that begins so
  p2psip -q token revoke berlin --ban > bad-nodes.xml  what its nodes need to be banned";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command as Program};

    fn created(arguments: &[&str]) -> Result<Create, clap::Error> {
        let words = ["p2psip", "token", "create"].iter().chain(arguments);
        match Cli::try_parse_from(words)?.command {
            Program::Token(Command::Create(create)) => Ok(create),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_for_one_peer_unless_told_otherwise() {
        let create = created(&[]).unwrap();
        assert_eq!((create.class, create.uses), (Class::Peer, Uses::Times(1)));
        let create = created(&["--class", "client", "--user", "alice", "--uses", "unlimited"]).unwrap();
        assert_eq!((create.class, create.uses), (Class::Client, Uses::Unlimited));
        assert!(created(&["--class", "client"]).is_err(), "whose client?");
        for uses in ["0", "-1", "many", ""] {
            assert!(created(&["--uses", uses]).is_err(), "{uses}");
        }
    }
}
