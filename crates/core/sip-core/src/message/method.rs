//! Request methods.

use std::sync::Arc;

/// A request method. Methods are case-sensitive; those without a variant are carried as text (RFC 3261 §7.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Sets up a session.
    Invite,
    /// Confirms the final response to an INVITE.
    Ack,
    /// Ends a session.
    Bye,
    /// Withdraws a pending INVITE.
    Cancel,
    /// Binds Contacts to an AOR.
    Register,
    /// Asks for capabilities.
    Options,
    /// Confirms a provisional response (RFC 3262).
    Prack,
    /// Asks for notifications (RFC 6665).
    Subscribe,
    /// Carries a notification (RFC 6665).
    Notify,
    /// Publishes event state (RFC 3903).
    Publish,
    /// Carries mid-session information (RFC 6086).
    Info,
    /// Asks for a request to a third party (RFC 3515).
    Refer,
    /// Carries an instant message (RFC 3428).
    Message,
    /// Changes session parameters (RFC 3311).
    Update,
    /// Any other method.
    Other(Arc<str>),
}

impl Method {
    /// Reads a method token.
    pub fn parse(token: &str) -> Self {
        match token {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "REGISTER" => Self::Register,
            "OPTIONS" => Self::Options,
            "PRACK" => Self::Prack,
            "SUBSCRIBE" => Self::Subscribe,
            "NOTIFY" => Self::Notify,
            "PUBLISH" => Self::Publish,
            "INFO" => Self::Info,
            "REFER" => Self::Refer,
            "MESSAGE" => Self::Message,
            "UPDATE" => Self::Update,
            other => Self::Other(other.into()),
        }
    }

    /// Returns a name from a short list, whatever a phone invents.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Subscribe => "SUBSCRIBE",
            Self::Notify => "NOTIFY",
            Self::Publish => "PUBLISH",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Message => "MESSAGE",
            Self::Update => "UPDATE",
            Self::Other(_) => "other",
        }
    }

    /// Returns the method as it stands in a message.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(token) => token,
            known => known.label(),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
