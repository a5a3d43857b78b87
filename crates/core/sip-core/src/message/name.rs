//! Header names: those that this project acts on or that have a compact form, and all others as text.

/// Declares the known header names once: variant, full name, compact form ("" where there is none).
macro_rules! names {
    ($($variant:ident $text:literal $compact:literal)*) => {
        /// A header name; names without a variant of their own are carried as text and compared without case.
        #[derive(Clone, Copy, Debug)]
        pub enum Name<'a> {
            $(#[doc = concat!("The header `", $text, "`.")] $variant,)*
            /// Any other header.
            Other(&'a str),
        }

        #[derive(Clone, Copy)]
        #[repr(u8)]
        enum Known { $($variant,)* }

        const ALL: &[(Name<'static>, &str, &str)] = &[$((Name::$variant, $text, $compact),)*];

        impl<'a> Name<'a> {
            /// Returns the full form of the name, in the spelling of its RFC.
            pub const fn text(self) -> &'a str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }

            /// Returns a small number for known names, [`OTHER`] for the rest.
            pub(crate) const fn id(self) -> u8 {
                match self {
                    $(Self::$variant => Known::$variant as u8,)*
                    Self::Other(_) => OTHER,
                }
            }
        }
    };
}

/// The id of every name that has no variant.
pub(crate) const OTHER: u8 = u8::MAX;

names! {
    Accept "Accept" ""
    AcceptContact "Accept-Contact" "a"
    AcceptEncoding "Accept-Encoding" ""
    AcceptLanguage "Accept-Language" ""
    AlertInfo "Alert-Info" ""
    Allow "Allow" ""
    AllowEvents "Allow-Events" "u"
    AuthenticationInfo "Authentication-Info" ""
    Authorization "Authorization" ""
    CallId "Call-ID" "i"
    CallInfo "Call-Info" ""
    Contact "Contact" "m"
    ContentDisposition "Content-Disposition" ""
    ContentEncoding "Content-Encoding" "e"
    ContentLanguage "Content-Language" ""
    ContentLength "Content-Length" "l"
    ContentType "Content-Type" "c"
    CSeq "CSeq" ""
    Date "Date" ""
    ErrorInfo "Error-Info" ""
    Event "Event" "o"
    Expires "Expires" ""
    FlowTimer "Flow-Timer" ""
    From "From" "f"
    HistoryInfo "History-Info" ""
    Identity "Identity" "y"
    IdentityInfo "Identity-Info" "n"
    InReplyTo "In-Reply-To" ""
    MaxBreadth "Max-Breadth" ""
    MaxForwards "Max-Forwards" ""
    MimeVersion "MIME-Version" ""
    MinExpires "Min-Expires" ""
    MinSe "Min-SE" ""
    Organization "Organization" ""
    PAssertedIdentity "P-Asserted-Identity" ""
    PPreferredIdentity "P-Preferred-Identity" ""
    Path "Path" ""
    Priority "Priority" ""
    Privacy "Privacy" ""
    ProxyAuthenticate "Proxy-Authenticate" ""
    ProxyAuthorization "Proxy-Authorization" ""
    ProxyRequire "Proxy-Require" ""
    RAck "RAck" ""
    Reason "Reason" ""
    RecordRoute "Record-Route" ""
    ReferTo "Refer-To" "r"
    ReferredBy "Referred-By" "b"
    RejectContact "Reject-Contact" "j"
    Replaces "Replaces" ""
    ReplyTo "Reply-To" ""
    RequestDisposition "Request-Disposition" "d"
    Require "Require" ""
    RetryAfter "Retry-After" ""
    Route "Route" ""
    RSeq "RSeq" ""
    Server "Server" ""
    ServiceRoute "Service-Route" ""
    SessionExpires "Session-Expires" "x"
    Subject "Subject" "s"
    SubscriptionState "Subscription-State" ""
    Supported "Supported" "k"
    Timestamp "Timestamp" ""
    To "To" "t"
    Traceparent "Traceparent" ""
    Tracestate "Tracestate" ""
    Unsupported "Unsupported" ""
    UserAgent "User-Agent" ""
    Via "Via" "v"
    Warning "Warning" ""
    WwwAuthenticate "WWW-Authenticate" ""
}

impl<'a> Name<'a> {
    /// Reads a name in its full or compact form, in any case.
    pub fn parse(text: &'a str) -> Self {
        Self::known(text.as_bytes()).unwrap_or(Self::Other(text))
    }

    /// Finds the variant of a name, if it has one.
    pub(crate) fn known(name: &[u8]) -> Option<Name<'static>> {
        let mut slot = bucket(name);
        loop {
            let (known, text, compact) = ALL.get(usize::from(*TABLE.get(slot)?))?;
            if text.as_bytes().eq_ignore_ascii_case(name) || compact.as_bytes().eq_ignore_ascii_case(name) {
                return Some(*known);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id() && (self.id() != OTHER || self.text().eq_ignore_ascii_case(other.text()))
    }
}

impl Eq for Name<'_> {}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.text())
    }
}

/// Four times the number of entries, so that a look-up compares one or two names.
const SLOTS: usize = 512;

/// An open-addressed hash table of places in [`ALL`], made by the compiler; `OTHER` marks a free slot.
static TABLE: [u8; SLOTS] = table();

const fn bucket(name: &[u8]) -> usize {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 0;
    };
    ((name.len() << 5) ^ ((*first | 0x20) as usize * 7) ^ ((*last | 0x20) as usize * 3)) % SLOTS
}

#[allow(
    clippy::indexing_slicing,
    reason = "runs in the compiler; an index out of range fails the build"
)]
const fn table() -> [u8; SLOTS] {
    let mut table = [OTHER; SLOTS];
    let mut place = 0;
    while place < ALL.len() {
        let mut form = 0;
        while form < 2 {
            let text = if form == 0 { ALL[place].1 } else { ALL[place].2 };
            if !text.is_empty() {
                let mut slot = bucket(text.as_bytes());
                while table[slot] != OTHER {
                    slot = (slot + 1) % SLOTS;
                }
                table[slot] = place as u8;
            }
            form += 1;
        }
        place += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_full_and_compact_form_and_any_case() {
        for (name, text, compact) in ALL {
            assert_eq!(Name::parse(text), *name);
            assert_eq!(Name::parse(&text.to_ascii_uppercase()), *name);
            assert_eq!(ALL[usize::from(name.id())].1, *text);
            if !compact.is_empty() {
                assert_eq!(Name::parse(compact), *name);
            }
        }
    }

    #[test]
    fn unknown_names_compare_without_case() {
        assert_eq!(Name::parse("X-Custom"), Name::Other("x-custom"));
        assert_ne!(Name::parse("X-Custom"), Name::Other("x-customs"));
        assert_eq!(Name::parse("").id(), OTHER);
    }
}
