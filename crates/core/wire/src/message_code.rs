//! Numbers and names of messages (RFC 6940 §14.8).

use std::fmt;

use serde::{Serialize, Serializer};

use crate::codec::{Decode, DecodeError, Encode, Fault, Reader, Writer};

/// What a message is: odd for a request, the next number for its answer, [`MessageCode::ERROR`] for a refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageCode(pub u16);

macro_rules! codes {
    ($($constant:ident = $number:literal, $name:literal;)*) => {
        impl MessageCode {
            $(
                #[doc = concat!("`", $name, "`.")]
                pub const $constant: Self = Self($number);
            )*

            /// Every code that RFC 6940 names.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// Name in RFC 6940's table, if it is there.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    PROBE_REQ = 0x1, "probe_req";
    PROBE_ANS = 0x2, "probe_ans";
    ATTACH_REQ = 0x3, "attach_req";
    ATTACH_ANS = 0x4, "attach_ans";
    STORE_REQ = 0x7, "store_req";
    STORE_ANS = 0x8, "store_ans";
    FETCH_REQ = 0x9, "fetch_req";
    FETCH_ANS = 0xa, "fetch_ans";
    FIND_REQ = 0xd, "find_req";
    FIND_ANS = 0xe, "find_ans";
    JOIN_REQ = 0xf, "join_req";
    JOIN_ANS = 0x10, "join_ans";
    LEAVE_REQ = 0x11, "leave_req";
    LEAVE_ANS = 0x12, "leave_ans";
    UPDATE_REQ = 0x13, "update_req";
    UPDATE_ANS = 0x14, "update_ans";
    ROUTE_QUERY_REQ = 0x15, "route_query_req";
    ROUTE_QUERY_ANS = 0x16, "route_query_ans";
    PING_REQ = 0x17, "ping_req";
    PING_ANS = 0x18, "ping_ans";
    STAT_REQ = 0x19, "stat_req";
    STAT_ANS = 0x1a, "stat_ans";
    APP_ATTACH_REQ = 0x1d, "app_attach_req";
    APP_ATTACH_ANS = 0x1e, "app_attach_ans";
    CONFIG_UPDATE_REQ = 0x21, "config_update_req";
    CONFIG_UPDATE_ANS = 0x22, "config_update_ans";
    EXP_A_REQ = 0x23, "exp_a_req";
    EXP_A_ANS = 0x24, "exp_a_ans";
    EXP_B_REQ = 0x25, "exp_b_req";
    EXP_B_ANS = 0x26, "exp_b_ans";
    ERROR = 0xffff, "error";
}

impl MessageCode {
    /// Tells whether it asks for an answer.
    #[must_use]
    pub const fn is_request(self) -> bool {
        self.0 < 0x8000 && self.0 % 2 == 1
    }

    /// Tells whether it answers, well or with an error.
    #[must_use]
    pub const fn is_response(self) -> bool {
        !self.is_request()
    }

    /// The method that a request asks for and its answer belongs to, such as `store`: a name from a short list, for spans and counters.
    #[must_use]
    pub fn method(self) -> &'static str {
        let name = self.name().unwrap_or("unknown");
        let of_request = name.strip_suffix("_req");
        of_request.or(name.strip_suffix("_ans")).unwrap_or(name)
    }

    /// Code of the answer to this request.
    // RFC 6940 §6.3.3: requests are odd, the answer is the next number.
    #[must_use]
    pub const fn answer(self) -> Option<Self> {
        if self.is_request() {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }
}

impl fmt::Display for MessageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#x}", self.0),
        }
    }
}

impl fmt::Debug for MessageCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for MessageCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Encode for MessageCode {
    fn encode(&self, out: &mut Writer) {
        self.0.encode(out);
    }
}

impl Decode for MessageCode {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.at();
        match u16::decode(reader)? {
            // RFC 6940 §6.3.3: 0 is never assigned, the upper half is reserved.
            code @ (0 | 0x8000..=0xfffe) => Err(DecodeError::new(at, Fault::Value(u64::from(code)))),
            code => Ok(Self(code)),
        }
    }
}
