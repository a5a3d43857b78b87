//! Phones that cannot bear what RFC 8760 allows.
//!
//! Some read only the first challenge, and some give up when any of them names an algorithm that they do not know. They
//! are known by their name or by what they do: a phone that is challenged and comes again without credentials is offered
//! less until it answers. What it is offered then is no weaker than what it was offered beside it before, so whoever forges
//! such requests for another phone gains nothing but the choice that an old phone makes.

use sha2::{Digest, Sha256};

use super::server::Received;
use crate::flow::Site;
use crate::message::{Message, Method, Name};
use crate::recent::Recent;

/// How the User-Agent of phones begins that give up at any challenge whose algorithm is not MD5, even beside one that is:
/// baresip before version 2.
const ONLY_MD5: [&str; 2] = ["baresip v0.", "baresip v1."];

/// Phones that wait for their credentials, and phones that were found out: so many of each, the one that was heard of
/// longest ago goes. A phone that is forgotten is found out again, which costs it one more request.
const ROWS: usize = 8192;

/// How far the offer goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offer {
    /// All algorithms as they are configured.
    #[default]
    All,
    /// All of them, MD5 first.
    Md5First,
    /// MD5 alone.
    Md5Alone,
}

/// What is known of phones. A row is for one AOR from one site.
#[derive(Debug)]
pub(super) struct Phones {
    waiting: Recent<Key, Challenged>,
    found_out: Recent<Key, Offer>,
}

type Digest128 = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Digest128);

/// The request that a phone was last challenged for.
#[derive(Debug)]
struct Challenged {
    port: u16,
    call: Digest128,
    request: Digest128,
}

impl Phones {
    pub(super) fn new() -> Self {
        Self {
            waiting: Recent::new(ROWS),
            found_out: Recent::new(ROWS),
        }
    }

    /// Notes that a phone has answered a challenge, rightly or not.
    pub(super) fn answered(&mut self, received: Received<'_>) {
        self.waiting.remove(&Key::of(received));
    }

    /// Decides what to offer to a phone that is challenged; `is_least` says of an offer that there is none below it.
    pub(super) fn offer(&mut self, received: Received<'_>, first: Offer) -> Offer {
        if knows_only_md5(received.request) {
            return Offer::Md5Alone;
        }
        let key = Key::of(received);
        let known = self.found_out.get(&key).copied().unwrap_or(first);
        let now = Challenged::of(received);
        let again = self
            .waiting
            .peek(&key)
            .is_some_and(|before| before.is_followed_by(&now, received.request));
        self.waiting.insert(key, now);
        if !again {
            return known;
        }
        let next = match known {
            Offer::All => Offer::Md5First,
            Offer::Md5First | Offer::Md5Alone => Offer::Md5Alone,
        };
        self.found_out.insert(key, next);
        next
    }
}

impl Key {
    fn of(Received { request, source }: Received<'_>) -> Self {
        let from = request.from().map(|from| from.uri).unwrap_or_default();
        Self(digest(&[&Site::of(source.ip()).octets(), from.as_bytes()]))
    }
}

impl Challenged {
    fn of(Received { request, source }: Received<'_>) -> Self {
        let call = request.call_id().unwrap_or_default();
        let parts = [request.branch(), request.header(Name::CSeq)].map(Option::unwrap_or_default);
        Self {
            port: source.port(),
            call: digest(&[call.as_bytes()]),
            request: digest(&[call.as_bytes(), parts[0].as_bytes(), parts[1].as_bytes()]),
        }
    }

    /// Says whether the same phone has sent another request instead of an answer. A phone may well have two requests
    /// under way before it answers for either, but two of one Call-ID follow each other, and REGISTERs do (RFC 3261 §10.2).
    fn is_followed_by(&self, next: &Self, request: &Message) -> bool {
        let is_same_call = self.call == next.call;
        let is_same_phone = self.port == next.port && request.method() == Method::Register;
        self.request != next.request && (is_same_call || is_same_phone)
    }
}

fn digest(parts: &[&[u8]]) -> Digest128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

/// Says whether the phone that sent a request is known by its name to fail when it is offered anything but MD5.
fn knows_only_md5(request: &Message) -> bool {
    let agent = request.header(Name::UserAgent).unwrap_or_default();
    ONLY_MD5.iter().any(|phone| agent.starts_with(phone))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(method: &str, call: &str, cseq: u32, agent: &str) -> Message {
        let text = format!(
            "{method} sip:example.org SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{call}{cseq}\r\n\
             From: <sip:alice@example.org>\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\nUser-Agent: {agent}\r\n\r\n"
        );
        Message::parse_datagram(text.into_bytes().into()).unwrap()
    }

    /// Method, Call-ID, number and source of a request.
    type Sent = (&'static str, &'static str, u32, &'static str);

    /// Offers to the requests of a phone one after the other.
    fn offers(phones: &mut Phones, requests: &[(&str, &str, u32, &str)]) -> Vec<Offer> {
        let offer = |(method, call, cseq, source): &(&str, &str, u32, &str)| {
            let (request, source) = (message(method, call, *cseq, "x"), source.parse().unwrap());
            let request = &request;
            phones.offer(Received { request, source }, Offer::All)
        };
        requests.iter().map(offer).collect()
    }

    const HOME: &str = "192.0.2.4:5060";

    #[test]
    fn old_phones_are_known_by_name() {
        assert!(knows_only_md5(&message(
            "REGISTER",
            "a",
            1,
            "baresip v1.0.0 (x86_64/linux)"
        )));
        assert!(!knows_only_md5(&message(
            "REGISTER",
            "a",
            1,
            "baresip v3.10.1 (x86_64/Linux)"
        )));
        assert!(!knows_only_md5(&message("REGISTER", "a", 1, "")));
    }

    #[test]
    fn a_phone_that_comes_again_without_credentials_is_offered_less() {
        use Offer::{All, Md5Alone, Md5First};
        let cases: [(&[Sent], &[Offer]); 8] = [
            // The same request again is a repetition.
            (&[("REGISTER", "a", 1, HOME), ("REGISTER", "a", 1, HOME)], &[All, All]),
            (
                &[
                    ("REGISTER", "a", 1, HOME),
                    ("REGISTER", "a", 2, HOME),
                    ("REGISTER", "a", 3, HOME),
                ],
                &[All, Md5First, Md5Alone],
            ),
            // By its port or by its Call-ID it is the same phone.
            (
                &[("REGISTER", "a", 1, HOME), ("REGISTER", "b", 1, HOME)],
                &[All, Md5First],
            ),
            (
                &[("REGISTER", "a", 1, HOME), ("REGISTER", "a", 2, "192.0.2.4:6000")],
                &[All, Md5First],
            ),
            // Two phones of one user behind one address, and two users.
            (
                &[("REGISTER", "a", 1, HOME), ("REGISTER", "b", 1, "192.0.2.4:6000")],
                &[All, All],
            ),
            (
                &[("REGISTER", "a", 1, HOME), ("REGISTER", "a", 2, "192.0.2.5:5060")],
                &[All, All],
            ),
            // Requests at the same time: none is a second try of the other.
            (&[("SUBSCRIBE", "a", 1, HOME), ("SUBSCRIBE", "b", 1, HOME)], &[All, All]),
            (&[("INVITE", "a", 1, HOME), ("INVITE", "a", 2, HOME)], &[All, Md5First]),
        ];
        for (requests, offered) in cases {
            assert_eq!(offers(&mut Phones::new(), requests), offered, "{requests:?}");
        }
    }

    #[test]
    fn a_phone_that_answers_is_offered_what_it_was_offered() {
        let mut phones = Phones::new();
        let answer = |phones: &mut Phones| {
            let request = &message("REGISTER", "a", 9, "x");
            phones.answered(Received {
                request,
                source: HOME.parse().unwrap(),
            });
        };
        offers(&mut phones, &[("REGISTER", "a", 1, HOME)]);
        answer(&mut phones);
        assert_eq!(offers(&mut phones, &[("REGISTER", "a", 2, HOME)]), [Offer::All]);
        assert_eq!(offers(&mut phones, &[("REGISTER", "a", 3, HOME)]), [Offer::Md5First]);
        answer(&mut phones);
        assert_eq!(offers(&mut phones, &[("REGISTER", "a", 4, HOME)]), [Offer::Md5First]);
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut phones = Phones::new();
        for number in 0..2 * ROWS {
            let call = number.to_string();
            let source = format!("192.0.{}.{}:5060", number / 256, number % 256);
            offers(
                &mut phones,
                &[("REGISTER", &call, 1, &source), ("REGISTER", &call, 2, &source)],
            );
        }
        assert_eq!((phones.waiting.len(), phones.found_out.len()), (ROWS, ROWS));
    }
}
