use std::net::SocketAddr;
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

fn from_home(request: &Message) -> Received<'_> {
    let source = home();
    Received { request, source }
}

fn home() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 4], 5060))
}

fn challenge(authenticator: &mut Authenticator, now: Instant) -> Message {
    authenticator.challenge_response(now, from_home(&request(None)), (REALM, Side::Registrar), false)
}

fn verdict(authenticator: &mut Authenticator, now: Instant, request: &Message) -> Result<Verdict, Failure> {
    let claim = authenticator.claim(now, from_home(request), Side::Registrar, &alice())?;
    let secrets = Secrets::of(&alice(), "p2psip");
    Ok(authenticator.judge(request, (&claim, Side::Registrar), &secrets))
}

/// Answers a challenge as a phone that knows no `qop`.
fn without_qop(challenge: &Message, password: &str) -> (Name<'static>, String) {
    let line = challenge.header(Name::WwwAuthenticate).unwrap();
    let with_qop = answer(line, &request(None), ("alice", password), ("c", 1)).unwrap();
    let mut credentials = Credentials::parse(&with_qop).unwrap();
    credentials.protection = None;
    credentials.cnonce = "".into();
    let ha1 = Ha1::of(credentials.algorithm, "alice", REALM, password);
    credentials.response = response_of(&credentials, &ha1, "REGISTER", b"").into();
    (Name::Authorization, credentials.write())
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
                let nonce = authenticator.mint_for_test(now, REALM, home());
                let line = format!("Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={algorithm}, qop=\"{qop}\"");
                let value = answer(&line, &request(None), (username, "p2psip"), ("c", 10)).unwrap();
                let request = request(Some(&(Name::Authorization, value)));
                assert_eq!(
                    verdict(&mut authenticator, now, &request),
                    Ok(Verdict::Right),
                    "{username} {algorithm} {qop}"
                );
                assert_eq!(
                    verdict(&mut authenticator, now, &request),
                    Ok(Verdict::Stale),
                    "a repeated count is a replay"
                );
            }
        }
    }
}

#[test]
fn a_nonce_serves_the_address_that_it_was_given_to_for_an_hour() {
    let now = start();
    let mut authenticator = authenticator(now);
    let given = challenge(&mut authenticator, now);
    let of_another_start = challenge(
        &mut Authenticator::new(now, Settings::default(), domains(), &[8; 32]),
        now,
    );
    let hour = Duration::from_secs(3600);
    let [home, port, elsewhere] = ["192.0.2.4:5060", "192.0.2.4:6000", "192.0.2.5:5060"];
    let cases = [
        (&given, now, home, Ok(Verdict::Right)),
        (&given, now, port, Ok(Verdict::Right)),
        (&given, now + hour, home, Ok(Verdict::Right)),
        (&given, now + hour + Duration::from_secs(1), home, Err(Failure::Stale)),
        (&given, now, elsewhere, Err(Failure::Stale)),
        (&of_another_start, now, home, Err(Failure::Stale)),
    ];
    let mut right = Answerer::new("alice", "p2psip", "c");
    let mut wrong = Answerer::new("alice", "guess", "c");
    for (challenge, at, source, expected) in cases {
        let source = source.parse().unwrap();
        let mut judge = |answerer: &mut Answerer| {
            let request = request(Some(&answerer.answer(challenge, &request(None)).unwrap()));
            let received = Received {
                request: &request,
                source,
            };
            let claim = authenticator.claim(at, received, Side::Registrar, &alice())?;
            let secrets = Secrets::of(&alice(), "p2psip");
            Ok(authenticator.judge(&request, (&claim, Side::Registrar), &secrets))
        };
        assert_eq!(judge(&mut right), expected, "{source}");
        // What a nonce is worth does not depend on the password.
        assert_eq!(judge(&mut wrong), expected.map(|_| Verdict::Wrong), "{source}");
    }
}

#[test]
fn credentials_without_qop_serve_once_for_each_nonce() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let [right, wrong] = ["p2psip", "guess"].map(|password| request(Some(&without_qop(&challenge, password))));
    assert_eq!(verdict(&mut authenticator, now, &wrong), Ok(Verdict::Wrong));
    assert_eq!(verdict(&mut authenticator, now, &right), Ok(Verdict::Right));
    assert_eq!(verdict(&mut authenticator, now, &right), Ok(Verdict::Stale));
    let counted = Answerer::new("alice", "p2psip", "c").answer(&challenge, &request(None));
    assert_eq!(
        verdict(&mut authenticator, now, &request(counted.as_ref())),
        Ok(Verdict::Stale)
    );
    authenticator.settings.accepts_without_qop = false;
    assert_eq!(verdict(&mut authenticator, now, &right), Err(Failure::Malformed));
}

#[test]
fn what_goes_with_qop_or_a_session_must_be_there() {
    let line =
        |more: &str| format!("Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:r\", response=\"0\"{more}");
    for (more, is_read) in [
        ("", true),
        (", qop=auth, nc=00000001, cnonce=\"c\"", true),
        (", qop=auth, cnonce=\"c\"", false),
        (", qop=auth, nc=00000001", false),
        (", qop=auth, nc=0, cnonce=\"c\"", false),
        (", qop=other, nc=00000001, cnonce=\"c\"", false),
        (", algorithm=MD5-sess", false),
        (", algorithm=MD5-sess, cnonce=\"c\"", true),
    ] {
        assert_eq!(Credentials::parse(&line(more)).is_some(), is_read, "{more}");
    }
}

#[test]
fn a_phone_that_fails_at_a_challenge_is_offered_md5_first_then_alone() {
    let algorithms_of = |challenge: &Message| -> Vec<String> {
        let lines = challenge.lines(Name::WwwAuthenticate);
        let algorithm = |line| {
            credentials::Fields::parse(line)
                .unwrap()
                .value("algorithm")
                .unwrap()
                .into_owned()
        };
        lines.map(algorithm).collect()
    };
    let offers = |algorithms: &[Algorithm]| -> Vec<Vec<String>> {
        let settings = Settings {
            algorithms: algorithms.to_vec(),
            ..Settings::default()
        };
        let mut authenticator = Authenticator::new(start(), settings, domains(), &[9; 32]);
        let mut offer = |cseq: u32| {
            let again = crate::message::Edit::new(&request(None))
                .set(Name::CSeq, format!("{cseq} REGISTER"))
                .apply();
            let realm = (REALM, Side::Registrar);
            algorithms_of(&authenticator.challenge_response(start(), from_home(&again), realm, false))
        };
        (1..=4).map(&mut offer).collect()
    };
    let (md5, sha256) = ("MD5", "SHA-256");
    assert_eq!(
        offers(&[Algorithm::Sha256, Algorithm::Md5]),
        [vec![sha256, md5], vec![md5, sha256], vec![md5], vec![md5]]
    );
    assert_eq!(
        offers(&[Algorithm::Md5, Algorithm::Sha256]),
        [vec![md5, sha256], vec![md5], vec![md5], vec![md5]]
    );
    assert_eq!(offers(&[Algorithm::Sha256]), [[sha256]; 4]);
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
            Ok(Verdict::Right)
        );
    }
}

#[test]
fn claims_without_hope_are_refused_before_the_look_up() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let mut claim = |request: &Message| verdict(&mut authenticator, now, request).err();
    let by = |name: &str| {
        let answer = Answerer::new(name, "p2psip", "c").answer(&challenge, &request(None));
        request(answer.as_ref())
    };
    assert_eq!(claim(&by("bob")), Some(Failure::OtherUser));
    assert_eq!(claim(&by("alice@example.net")), Some(Failure::OtherUser));
    assert_eq!(claim(&request(None)), Some(Failure::Missing));
    let basic = (Name::Authorization, "Basic YTpi".to_owned());
    assert_eq!(claim(&request(Some(&basic))), Some(Failure::Malformed));
    authenticator.settings.algorithms = vec![Algorithm::Md5];
    assert_eq!(verdict(&mut authenticator, now, &by("alice")), Err(Failure::Malformed));
}

#[test]
fn credentials_may_name_any_uri_of_this_server_and_of_no_other() {
    let now = start();
    let mut authenticator = authenticator(now);
    let challenge = challenge(&mut authenticator, now);
    let challenge = challenge.header(Name::WwwAuthenticate).unwrap();
    let mut claim = |hashed: &str, asked: &str| {
        let to = |uri: &str| Request::new(&Method::Invite, uri).build();
        let (name, value) = (
            Name::Authorization,
            answer(challenge, &to(hashed), ("alice", "p2psip"), ("c", 1)),
        );
        let request = Request::new(&Method::Invite, asked)
            .header(name, &value.unwrap())
            .build();
        authenticator
            .claim(now, from_home(&request), Side::Registrar, &alice())
            .err()
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
