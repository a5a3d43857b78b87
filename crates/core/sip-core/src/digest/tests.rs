use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::aor::{Aor, Domains};
use crate::message::{Message, Method, Name, Request};

const REALM: &str = "example.org";

fn request(credentials: Option<&(Name<'static>, String)>) -> Message {
    let request = Request::new(&Method::Register, "sip:example.org")
        .header(Name::Via, "SIP/2.0/UDP 192.0.2.4;branch=z9hG4bK1")
        .header(Name::From, "<sip:alice@example.org>;tag=1")
        .header(Name::To, "<sip:alice@example.org>")
        .header(Name::CallId, "1")
        .header(Name::CSeq, "1 REGISTER");
    match credentials {
        Some((name, value)) => request.header(*name, value).body("text/plain", "hello").build(),
        None => request.body("text/plain", "hello").build(),
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise; the tests only add to it"
)]
fn start() -> Instant {
    Instant::now()
}

fn alice() -> Aor {
    Aor::parse("alice@example.org").unwrap()
}

fn domains() -> Arc<Domains> {
    Arc::new(Domains::new([REALM.to_owned()]).with_name("edge.example.net"))
}

fn authenticator(now: Instant) -> Authenticator {
    Authenticator::new(now, Settings::default(), domains(), &[9; 32])
}

fn challenge(authenticator: &mut Authenticator, now: Instant) -> Message {
    authenticator.challenge_response(now, &request(None), (REALM, Side::Registrar), false)
}

fn verdict(authenticator: &mut Authenticator, now: Instant, request: &Message) -> Verdict {
    let claim = authenticator.claim(request, Side::Registrar, &alice()).unwrap();
    authenticator.judge(
        now,
        request,
        (&claim, Side::Registrar),
        &Secrets::of(&alice(), "p2psip"),
    )
}

#[test]
fn rfc_7616_examples_give_their_responses() {
    // RFC 7616 §3.9.1, with its known password.
    for (algorithm, response) in [
        (Algorithm::Md5, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            Algorithm::Sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ] {
        let line = format!(
            "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", algorithm={}, \
             nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
             cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, response=\"{response}\"",
            algorithm.name()
        );
        let credentials = Credentials::parse(&line).unwrap();
        let ha1 = Ha1::of(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert_eq!(response_of(&credentials, &ha1, "GET", b""), response);
    }
}

#[test]
fn a_challenge_offers_the_strongest_first() {
    let now = start();
    let challenge = challenge(&mut authenticator(now), now);
    assert_eq!(challenge.status(), Some(401));
    let lines: Vec<&str> = challenge.lines(Name::WwwAuthenticate).collect();
    assert!(lines[0].contains("algorithm=SHA-256") && lines[1].contains("algorithm=MD5"));
}

#[test]
fn both_user_names_and_all_variants_are_right() {
    let now = start();
    let mut authenticator = authenticator(now);
    for username in ["alice", "alice@example.org"] {
        for algorithm in ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"] {
            for qop in ["auth", "auth-int"] {
                let nonce = authenticator.mint_for_test(now, REALM);
                let line = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"{qop}\"");
                let value = answer(&line, &request(None), (username, "p2psip"), ("c", 10)).unwrap();
                let request = request(Some(&(Name::Authorization, value)));
                assert_eq!(
                    verdict(&mut authenticator, now, &request),
                    Verdict::Right,
                    "{username} {algorithm} {qop}"
                );
                assert_eq!(
                    verdict(&mut authenticator, now, &request),
                    Verdict::Stale,
                    "a repeated count is a replay"
                );
            }
        }
    }
}

#[test]
fn a_wrong_password_is_wrong_even_with_an_old_nonce() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let wrong = Answerer::new("alice", "guess", "c")
        .answer(&challenge, &request(None))
        .unwrap();
    let right = Answerer::new("alice", "p2psip", "c")
        .answer(&challenge, &request(None))
        .unwrap();
    let later = now + Duration::from_secs(3601);
    assert_eq!(verdict(&mut authenticator, now, &request(Some(&wrong))), Verdict::Wrong);
    assert_eq!(
        verdict(&mut authenticator, later, &request(Some(&wrong))),
        Verdict::Wrong
    );
    assert_eq!(
        verdict(&mut authenticator, later, &request(Some(&right))),
        Verdict::Stale
    );
    assert_eq!(verdict(&mut authenticator, now, &request(Some(&right))), Verdict::Right);
}

#[test]
fn a_nonce_of_another_start_is_stale_when_the_password_is_right() {
    let now = start();
    let before = challenge(
        &mut Authenticator::new(now, Settings::default(), domains(), &[8; 32]),
        now,
    );
    let answer = Answerer::new("alice", "p2psip", "c")
        .answer(&before, &request(None))
        .unwrap();
    assert_eq!(
        verdict(&mut authenticator(now), now, &request(Some(&answer))),
        Verdict::Stale
    );
}

#[test]
fn an_answerer_counts_up() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let mut answerer = Answerer::new("alice@example.org", "p2psip", "c");
    for _ in 0..20 {
        let answer = answerer.answer(&challenge, &request(None)).unwrap();
        assert_eq!(
            verdict(&mut authenticator, now, &request(Some(&answer))),
            Verdict::Right
        );
    }
}

#[test]
fn claims_without_hope_are_refused_before_the_look_up() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let claim = |authenticator: &Authenticator, name: &str| {
        let answer = Answerer::new(name, "p2psip", "c")
            .answer(&challenge, &request(None))
            .unwrap();
        authenticator
            .claim(&request(Some(&answer)), Side::Registrar, &alice())
            .err()
    };
    assert_eq!(claim(&authenticator, "bob"), Some(Failure::OtherUser));
    assert_eq!(claim(&authenticator, "alice@example.net"), Some(Failure::OtherUser));
    assert_eq!(
        authenticator.claim(&request(None), Side::Registrar, &alice()).err(),
        Some(Failure::Missing)
    );
    let basic = (Name::Authorization, "Basic YTpi".to_owned());
    assert_eq!(
        authenticator
            .claim(&request(Some(&basic)), Side::Registrar, &alice())
            .err(),
        Some(Failure::Malformed)
    );
    authenticator.settings.algorithms = vec![Algorithm::Md5];
    assert_eq!(claim(&authenticator, "alice"), Some(Failure::Malformed));
}

#[test]
fn credentials_may_name_any_uri_of_this_server_and_of_no_other() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let challenge = challenge.header(Name::WwwAuthenticate).unwrap();
    let claim = |hashed: &str, asked: &str| {
        let to = |uri: &str| Request::new(&Method::Invite, uri).build();
        let (name, value) = (
            Name::Authorization,
            answer(challenge, &to(hashed), ("alice", "p2psip"), ("c", 1)),
        );
        let request = Request::new(&Method::Invite, asked)
            .header(name, &value.unwrap())
            .build();
        authenticator.claim(&request, Side::Registrar, &alice()).err()
    };
    let asked = "sip:bob@example.org";
    for hashed in [
        asked,
        "sip:example.org",
        "sip:carol@EXAMPLE.org;transport=udp",
        "sip:edge.example.net:5070",
        "sip:198.51.100.7:5060",
        "tel:+358-555-1234567",
    ] {
        assert_eq!(claim(hashed, asked), None, "{hashed}");
    }
    for hashed in ["sip:bob@example.net", "sips:example.net"] {
        assert_eq!(claim(hashed, asked), Some(Failure::OtherDomain), "{hashed}");
        assert_eq!(claim(hashed, hashed), None, "{hashed}");
    }
}

#[test]
fn secrets_do_not_show_in_debug() {
    let text = format!(
        "{:?} {:?}",
        Secrets::of(&alice(), "p2psip"),
        Answerer::new("alice", "p2psip", "c")
    );
    assert!(!text.contains("p2psip") && !text.contains(Ha1::of(Algorithm::Md5, "alice", REALM, "p2psip").digits()));
}
