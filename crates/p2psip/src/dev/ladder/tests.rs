use super::*;

const ALICE: &str = "udp 127.0.0.1:7001";
const BOB: &str = "udp 127.0.0.1:7002";
const RESOURCE: &str = "0f3c00000000000000000000000000aa";

fn cast() -> Cast {
    let named = |prefix: &str| (1..=5).map(|number| (format!("{prefix}{number}"), number)).collect();
    Cast {
        phones: [(ALICE, "alice"), (BOB, "bob")]
            .map(|(address, name)| (address.into(), name.into()))
            .into(),
        edges: named("e"),
        peers: named("p"),
    }
}

fn scope(resources: &[String]) -> Scope<'_> {
    Scope {
        caller: ALICE,
        callee_uri: "sip:bob@dev.p2psip.test",
        resources,
    }
}

/// Reads steps from lines `ms protocol node < other id text`, `>` for what `node` sent.
fn steps(text: &str) -> Vec<Step> {
    let start = Instant::now();
    let step = |line: &str| {
        let (head, text) = line.split_once(" : ").unwrap();
        let words: Vec<&str> = head.split_whitespace().collect();
        let phone = |word: &str| match word {
            "alice" => ALICE.to_owned(),
            "bob" => BOB.to_owned(),
            other => other.to_owned(),
        };
        let is_sip = words[1] == "SIP";
        Step {
            at: start + Duration::from_millis(words[0].parse().unwrap()),
            protocol: if is_sip { Protocol::Sip } else { Protocol::Reload },
            node: words[2].into(),
            other: phone(words[4]),
            is_sent: words[3] == ">",
            text: text.into(),
            id: words[5].into(),
            resource: (text == "FetchReq").then(|| RESOURCE.into()),
            ttl: text.ends_with("Req").then_some(32),
        }
    };
    text.lines().filter(|line| !line.trim().is_empty()).map(step).collect()
}

const CALL: &str = "
    0 SIP    e1 < alice c1 : INVITE sip:bob@dev.p2psip.test
    1 SIP    e1 > alice c1 : 100 Trying (INVITE)
    2 RELOAD p1 < e1    t1 : FetchReq
    3 RELOAD p4 < p1    t1 : FetchReq
    3 RELOAD p5 < p3    t9 : UpdateReq
    4 RELOAD p1 < p4    t1 : FetchAns
    5 RELOAD p1 < e1    t2 : AppAttachReq
    6 RELOAD p2 < p1    t2 : AppAttachReq
    7 RELOAD p2 < e2    t2 : AppAttachAns
    8 RELOAD p1 < p2    t2 : AppAttachAns
    9 SIP    e2 < e1    c1 : INVITE sip:bob@dev.p2psip.test
    9 SIP    e3 < e1    c7 : OPTIONS sip:somebody
   10 SIP    e2 > bob   c1 : INVITE sip:bob@127.0.0.1:7002
   11 SIP    e2 < bob   c1 : 200 OK (INVITE)
   12 SIP    e1 < e2    c1 : 200 OK (INVITE)
   13 SIP    e1 > alice c1 : 200 OK (INVITE)
";

#[test]
fn one_picture_shows_both_protocols() {
    let resources = [RESOURCE.to_owned()];
    let ladder = choose(&steps(CALL), &scope(&resources), &cast()).unwrap();
    let expected = "
       ms alice   edge 1  peer 1  peer 2  peer 4  edge 2   bob
     0.00    │──────▶│       │       │       │       │       │     SIP    INVITE sip:bob@dev.p2psip.test
     1.00    │◀──────│       │       │       │       │       │     SIP    100 Trying (INVITE)
     2.00    │       │──────▶│       │       │       │       │     RELOAD FetchReq for 0f3c0000, TTL 32
     3.00    │       │       │───────┼──────▶│       │       │     RELOAD FetchReq for 0f3c0000, TTL 32
     4.00    │       │       │◀──────┼───────│       │       │     RELOAD FetchAns
     4.00    │       │◀──────│       │       │       │       │     RELOAD FetchAns
     5.00    │       │──────▶│       │       │       │       │     RELOAD AppAttachReq, TTL 32
     6.00    │       │       │──────▶│       │       │       │     RELOAD AppAttachReq, TTL 32
     7.00    │       │       │       │───────┼──────▶│       │     RELOAD AppAttachReq
     7.00    │       │       │       │◀──────┼───────│       │     RELOAD AppAttachAns
     8.00    │       │       │◀──────│       │       │       │     RELOAD AppAttachAns
     8.00    │       │◀──────│       │       │       │       │     RELOAD AppAttachAns
     9.00    │       │───────┼───────┼───────┼──────▶│       │     SIP    INVITE sip:bob@dev.p2psip.test
    10.00    │       │       │       │       │       │──────▶│     SIP    INVITE sip:bob@127.0.0.1:7002
    11.00    │       │       │       │       │       │◀──────│     SIP    200 OK (INVITE)
    12.00    │       │◀──────┼───────┼───────┼───────│       │     SIP    200 OK (INVITE)
    13.00    │◀──────│       │       │       │       │       │     SIP    200 OK (INVITE)
";
    let picture = ladder.draw(false);
    assert_eq!(
        picture.trim_end(),
        expected.trim_start_matches('\n').trim_end(),
        "\n{picture}"
    );
    assert_eq!(ladder.setup_time(), Some(Duration::from_millis(13)));
}

#[test]
fn the_picture_fits_a_terminal_and_has_colours_only_when_asked() {
    let long = CALL.replace(
        "INVITE sip:bob@127.0.0.1:7002",
        &"INVITE sip:bob@127.0.0.1:7002;with=parameters ".repeat(5),
    );
    let ladder = choose(&steps(&long), &scope(&[RESOURCE.to_owned()]), &cast()).unwrap();
    let plain = ladder.draw(false);
    assert!(plain.lines().all(|line| line.chars().count() <= WIDTH), "{plain}");
    assert!(!plain.contains('\x1b'));
    assert!(ladder.draw(true).contains("\x1b[36m"));
}

#[test]
fn a_request_that_went_no_further_says_so() {
    let lone: String = CALL
        .lines()
        .filter(|line| !line.contains("p4"))
        .map(|line| format!("{line}\n"))
        .collect();
    let ladder = choose(&steps(&lone), &scope(&[RESOURCE.to_owned()]), &cast()).unwrap();
    let picture = ladder.draw(false);
    assert!(
        picture.contains("FetchReq for 0f3c0000, TTL 32, answered here\n"),
        "{picture}"
    );
}

#[test]
fn without_the_call_there_is_no_picture() {
    let other = CALL.replace("bob@dev", "carol@dev");
    assert!(choose(&steps(&other), &scope(&[]), &cast()).is_none());
}
