//! Dependencies against stand-ins on this machine.

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::config::Attempts;
use crate::model::Outcome;
use crate::net::region::{RegionMembers, Regions};

/// Where 127.0.0.0/16 is east and 127.1.0.0/16 is west.
fn regions() -> Regions {
    let members = |cidr: &str| RegionMembers { cidrs: vec![cidr.parse().unwrap()], host_suffixes: vec![] };
    Regions::new([
        ("us-east-1".to_owned(), members("127.0.0.0/16")),
        ("us-west-2".to_owned(), members("127.1.0.0/16")),
    ])
}

fn spec(url: &str) -> Spec {
    let second = Duration::from_secs(1);
    Spec {
        key: CheckKey { system: "s".into(), check: Check::Dependency, target: "cache".into() },
        place: Place::Given(SecretSource::Value(Secret::new(url))),
        kind: DependencyKind::Auto,
        password: None,
        tls: None,
        expected_regions: vec!["us-west-2".to_owned()],
        schedule: Schedule { interval: second, timeout: second, attempts: Attempts::default() },
    }
}

async fn ask(spec: Spec, regions: Regions) -> Answer {
    let tools = Tools { regions, ..crate::probe::testing::tools() };
    let probe = Dependency::new(spec, Arc::new(tools));
    let attempt = Attempt::new(Timestamp::UNIX_EPOCH, Instant::now() + Duration::from_secs(1), 1);
    probe.ask(&attempt).await;
    attempt.into_answers().remove(0).unwrap()
}

async fn listener(ip: &str) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(format!("{ip}:0")).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn closed(ip: &str) -> SocketAddr {
    std::net::TcpListener::bind(format!("{ip}:0")).unwrap().local_addr().unwrap()
}

fn connected(answer: &Answer) -> Option<f64> {
    let fact = answer.facts.iter().find(|fact| std::ptr::eq(fact.metric, &CONNECT));
    fact.map(|fact| fact.value)
}

fn region(answer: &Answer) -> Option<&str> {
    let fact = answer.facts.iter().find(|fact| std::ptr::eq(fact.metric, &REGION))?;
    fact.labels.iter().find(|(name, _)| *name == "dependency_region").map(|(_, value)| value.as_str())
}

#[tokio::test]
async fn a_dependency_in_the_other_region_is_the_lie_and_its_twin_here_passes() {
    let (_east, east) = listener("127.0.0.1").await;
    let lie = ask(spec(&east.to_string()), regions()).await;
    assert_eq!(lie.outcome, Outcome::Fail(Reason::WrongRegion));
    let words = format!("127.0.0.1 is in us-east-1, expected is us-west-2; {east}: connected");
    assert_eq!((lie.detail.clone(), connected(&lie), region(&lie)), (words, Some(1.0), Some("us-east-1")));

    let (_west, west) = listener("127.1.0.1").await;
    let twin = ask(spec(&west.to_string()), regions()).await;
    assert_eq!(twin.outcome, Outcome::Pass, "{}", twin.detail);
    assert_eq!((connected(&twin), region(&twin)), (Some(1.0), Some("us-west-2")));
}

#[tokio::test]
async fn the_region_is_told_even_if_nothing_answers() {
    let lie = ask(spec(&closed("127.0.0.1").to_string()), regions()).await;
    assert_eq!((lie.outcome, connected(&lie)), (Outcome::Fail(Reason::WrongRegion), Some(0.0)));
    let down = ask(spec(&closed("127.1.0.1").to_string()), regions()).await;
    assert_eq!((down.outcome, connected(&down)), (Outcome::Fail(Reason::Refused), Some(0.0)));
    assert_eq!(region(&down), Some("us-west-2"));
}

#[tokio::test]
async fn one_broker_that_answers_is_enough_and_the_others_are_named() {
    let (_open, open) = listener("127.1.0.1").await;
    let shut = closed("127.1.0.2");
    let some = ask(spec(&format!("{shut},{open}")), regions()).await;
    assert_eq!(some.outcome, Outcome::Pass);
    assert!(
        some.detail.starts_with(&format!("1 of 2 hosts answer, {open}: connected; {shut}: ")),
        "{}",
        some.detail
    );
    let none = ask(spec(&format!("kafka://{shut},{shut}")), regions()).await;
    assert_eq!(none.outcome, Outcome::Fail(Reason::Refused));
    let both = ask(spec(&format!("{open},{}", closed("127.0.0.1"))), regions()).await;
    assert_eq!((both.gap, region(&both)), (Some(GapReason::Ambiguous), Some("ambiguous")));
}

#[tokio::test]
async fn what_nobody_can_tell_is_a_gap_and_no_regions_are_no_question() {
    let (_open, open) = listener("127.9.0.1").await;
    let nowhere = ask(spec(&open.to_string()), regions()).await;
    assert_eq!((nowhere.gap, connected(&nowhere)), (Some(GapReason::NotFound), Some(1.0)));
    let any = ask(spec(&open.to_string()), Regions::default()).await;
    assert_eq!((any.outcome, region(&any)), (Outcome::Pass, Some("unknown")));
    let unread = ask(spec("redis://"), regions()).await;
    assert_eq!((unread.gap, unread.facts.len()), (Some(GapReason::Unparsable), 0));
    let unset = Spec { place: Place::Given(SecretSource::Env("DR_EXPORTER_NO_SUCH".into())), ..spec("") };
    assert_eq!(ask(unset, regions()).await.gap, Some(GapReason::NotFound));
    let lost = ask(spec("no-such-host.invalid:1"), regions()).await;
    assert_eq!((lost.outcome, region(&lost)), (Outcome::Fail(Reason::Dns), None));
}

#[tokio::test]
async fn silence_and_no_tls_are_told_apart() {
    let (silent, address) = listener("127.1.0.1").await;
    let kind = Spec { kind: DependencyKind::Tls, ..spec(&address.to_string()) };
    let answer = ask(kind.clone(), regions()).await;
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Timeout), "{}", answer.detail);
    let plain = async {
        // The first connection is the one that was let down above.
        let _ = silent.accept().await.unwrap();
        let (mut stream, _) = silent.accept().await.unwrap();
        stream.write_all(b"220 hello\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    };
    let (answer, _) = tokio::join!(ask(kind, regions()), plain);
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Tls), "{}", answer.detail);
}

#[tokio::test]
async fn redis_is_asked_with_the_password_that_stands_beside_the_address() {
    let (server, address) = listener("127.1.0.1").await;
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut asked = String::new();
        for answer in
            ["+OK\r\n", "+PONG\r\n", "*5\r\n$5\r\nslave\r\n$1\r\nm\r\n:1\r\n$7\r\nconnect\r\n:-1\r\n"]
        {
            let mut buffer = [0; 256];
            let read = stream.read(&mut buffer).await.unwrap();
            asked.push_str(&String::from_utf8_lossy(&buffer[..read]));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    };
    let password = Some(SecretSource::Value(Secret::new("hunter2")));
    let spec = Spec { password, ..spec(&format!("redis://{address}/0")) };
    let (answer, asked) = tokio::join!(ask(spec, regions()), serve);
    assert_eq!(answer.outcome, Outcome::Fail(Reason::NotReplicating), "{}", answer.detail);
    assert_eq!(connected(&answer), Some(0.0));
    assert!(asked.starts_with("*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n"), "{asked:?}");
}

#[tokio::test]
async fn nothing_of_an_address_but_host_and_port_is_told() {
    let answer = ask(spec(&format!("redis://user:c4n4ry@{}/c4n4ry", closed("127.1.0.1"))), regions()).await;
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Refused));
    assert!(!answer.detail.contains("c4n4ry"), "{}", answer.detail);
}
