//! Targets that answer too much, or what is no answer: every run ends in time, for the right reason, in little memory.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::lab::http::Task;
use crate::lab::{Exporter, Pg, east_ip, eventually, west_ip};

const SECOND: Duration = Duration::from_secs(1);
/// How long a run may take.
const TIMEOUT: &str = "4s";
/// The bound of the histogram of durations that no run may pass: the deadline, and a little for two busy cores.
const ENDED: &str = "5.0";
/// What the exporter, built for tests, may hold at its highest, in MB.
const MOST: u64 = 150;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const WELL: &[u8] = b"{\"status\":\"ok\"}";

/// What stands on the wire behind every request, byte by byte.
#[derive(Clone)]
struct Wire {
    begin: Vec<u8>,
    /// Written this many times behind it.
    again: Bytes,
    times: u64,
    /// Between two writes.
    pause: Duration,
    end: End,
}

/// What follows the last byte.
#[derive(Clone, Copy)]
enum End {
    /// The connection ends.
    Close,
    /// Nothing more comes.
    Hold,
}

/// A server of one answer.
struct Server {
    address: SocketAddr,
    /// The most that one connection took.
    most: Arc<AtomicU64>,
    _task: Task,
}

/// One question and how it has to end.
struct Case {
    /// `surface`, `synthetic_request` or `traffic`.
    check: &'static str,
    name: &'static str,
    expect: Value,
    status: &'static str,
    reason: Option<&'static str>,
    server: Server,
}

// === impl Wire ===

impl Wire {
    fn new(parts: &[&[u8]]) -> Self {
        let (begin, again, times) = (parts.concat(), Bytes::new(), 0);
        Wire { begin, again, times, pause: Duration::ZERO, end: End::Close }
    }

    /// Whole pieces, so that one write is worth its system call.
    fn then(self, piece: &[u8], times: u64) -> Self {
        let pieces = (1 << 16) / piece.len() as u64;
        let again = Bytes::from(piece.repeat(usize::try_from(pieces).expect("a few")));
        Wire { again, times: times.div_ceil(pieces), ..self }
    }

    fn held(self) -> Self {
        Wire { end: End::Hold, ..self }
    }

    async fn write(&self, stream: &mut TcpStream, written: &AtomicU64) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        stream.write_all(&self.begin).await?;
        let mut sum = self.begin.len() as u64;
        for _ in 0..self.times {
            stream.write_all(&self.again).await?;
            sum += self.again.len() as u64;
            written.fetch_max(sum, Ordering::Relaxed);
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        match self.end {
            End::Close => stream.shutdown().await,
            End::Hold => stream.read_u8().await.map(drop),
        }
    }
}

// === impl Server ===

impl Server {
    async fn start(wire: Wire) -> Self {
        let listener = TcpListener::bind(SocketAddr::new(west_ip(), 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let most: Arc<AtomicU64> = Arc::default();
        let written = Arc::clone(&most);
        let task = Task::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                let (wire, written) = (wire.clone(), Arc::clone(&written));
                // That the exporter hangs up in the middle is what most of this is about.
                connections.spawn(async move { drop(wire.write(&mut stream, &written).await) });
            }
        });
        Server { address, most, _task: task }
    }
}

// === the table ===

fn sized(body: &[u8]) -> Wire {
    Wire::new(&[OK, format!("content-length: {}\r\n\r\n", body.len()).as_bytes(), body])
}

fn sized_wrongly(said: &str, body: &[u8]) -> Wire {
    Wire::new(&[OK, format!("content-length: {said}\r\n\r\n").as_bytes(), body])
}

fn chunked(body: &[u8]) -> Wire {
    Wire::new(&[OK, b"transfer-encoding: chunked\r\n\r\n", body])
}

fn gigabyte() -> Wire {
    sized_wrongly(&(1u64 << 30).to_string(), b"").then(b"\0", 1 << 30)
}

/// A gigabyte of blanks in a megabyte, as the member of a gzip many times over.
fn bomb() -> Wire {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![b' '; 64 << 20]).expect("compress in memory");
    let packed = encoder.finish().expect("compress in memory").repeat(16);
    let head = format!("content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", packed.len());
    Wire::new(&[OK, head.as_bytes(), &packed])
}

fn deep() -> Wire {
    sized(&[[b'['; 100_000], [b']'; 100_000]].concat())
}

fn not_utf8() -> Wire {
    sized(b"{\"status\":\"ok\",\"name\":\"M\xfcller\"}")
}

fn endless_head() -> Wire {
    Wire::new(&[OK]).then(b"x-more: of the same\r\n", u64::MAX)
}

/// Check, name, what is on the wire, what is expected of it, status and reason.
async fn table() -> Vec<Case> {
    let (json, pattern) = (json!({"json": {"/status": "ok"}}), json!({"body_regex": "is w.ll"}));
    let (surface, request, traffic) = ("surface", "synthetic_request", "traffic");
    let fail = |reason| ("fail", Some(reason));
    let blind = |reason| ("unknown", Some(reason));
    let pass = ("pass", None);
    let garbage = || chunked(b"zz\r\nno number\r\n0\r\n\r\n");
    let drip = |wire: Wire| Wire {
        again: Bytes::from_static(b"x-more: y\r\n"),
        times: u64::MAX,
        pause: SECOND / 5,
        ..wire
    };
    let rows = [
        (surface, "fine", sized(WELL), &json, pass),
        (surface, "gigabyte", gigabyte(), &json, fail("body_mismatch")),
        (surface, "gigabyte_pattern", gigabyte(), &pattern, fail("body_mismatch")),
        (
            surface,
            "gigabyte_chunk",
            chunked(b"40000000\r\n").then(b"\0", 1 << 30),
            &json,
            fail("body_mismatch"),
        ),
        (surface, "chunk_size", garbage(), &json, fail("other")),
        (surface, "chunk_overflow", chunked(b"fffffffffffffffff\r\n").held(), &json, fail("other")),
        (surface, "chunk_longer", chunked(b"5\r\n{\"status\":\"ok\"}\r\n0\r\n\r\n"), &json, fail("other")),
        (surface, "chunk_cut", chunked(b"f\r\n{\"status\":\"ok\"}\r\n"), &json, fail("other")),
        (surface, "chunk_extension", chunked(b"f;").then(b"a", u64::MAX), &json, fail("other")),
        (
            surface,
            "trailers",
            chunked(b"f\r\n{\"status\":\"ok\"}\r\n0\r\n").then(b"x-more: y\r\n", u64::MAX),
            &json,
            fail("other"),
        ),
        (surface, "length_longer", sized_wrongly("100", WELL), &json, fail("other")),
        (surface, "length_longer_held", sized_wrongly("100", WELL).held(), &json, fail("timeout")),
        (surface, "length_shorter", sized_wrongly("10", WELL), &json, fail("body_mismatch")),
        // What follows the promised body belongs to nobody: it is not read.
        (surface, "more_behind", sized(WELL).then(b"and more", u64::MAX), &json, pass),
        (surface, "length_twice", sized_wrongly("15\r\ncontent-length: 16", WELL), &json, fail("other")),
        (surface, "length_negative", sized_wrongly("-1", WELL), &json, fail("other")),
        (surface, "length_absurd", sized_wrongly(&u64::MAX.to_string(), WELL), &json, fail("other")),
        (surface, "not_utf8", not_utf8(), &json, fail("body_mismatch")),
        // Around what it looks for, a pattern does not mind other encodings.
        (surface, "not_utf8_pattern", sized(b"\xff\xfe all is well \xff"), &pattern, pass),
        (surface, "not_utf8_inside", sized(b"all is w\xffeell"), &pattern, fail("body_mismatch")),
        (surface, "deep", deep(), &json, fail("body_mismatch")),
        (surface, "head_endless", endless_head(), &json, fail("other")),
        (
            surface,
            "head_line_endless",
            Wire::new(&[OK, b"x-long: "]).then(b"a", u64::MAX),
            &json,
            fail("other"),
        ),
        (surface, "head_slow", drip(Wire::new(&[OK])), &json, fail("timeout")),
        (surface, "head_held", Wire::new(&[OK, b"x-one: 1\r\n"]).held(), &json, fail("timeout")),
        (surface, "head_cut", Wire::new(&[OK, b"x-one: 1\r\n"]), &json, fail("other")),
        (
            surface,
            "continue",
            Wire::new(&[]).then(b"HTTP/1.1 100 Continue\r\n\r\n", u64::MAX),
            &json,
            fail("other"),
        ),
        (request, "gigabyte", gigabyte(), &json, fail("body_mismatch")),
        // Only the status is expected: it came, whatever follows.
        (request, "gigabyte_status", gigabyte(), &json!({"status": [200]}), pass),
        (request, "bomb", bomb(), &json, fail("body_mismatch")),
        (request, "chunk_size", garbage(), &json, fail("other")),
        (request, "length_longer", sized_wrongly("100", WELL), &json, fail("other")),
        (request, "length_shorter", sized_wrongly("10", WELL), &json, fail("body_mismatch")),
        (request, "not_utf8", not_utf8(), &json, fail("body_mismatch")),
        (request, "deep", deep(), &json, fail("body_mismatch")),
        (request, "head_endless", endless_head(), &json, fail("other")),
        (traffic, "gigabyte", gigabyte(), &json, blind("limit")),
        (traffic, "bomb", bomb(), &json, blind("limit")),
        (
            traffic,
            "line",
            sized(&[b"http_requests_total{handler=\"", &*vec![b'a'; 31 << 20]].concat()),
            &json,
            blind("body_mismatch"),
        ),
        (traffic, "chunk_size", garbage(), &json, blind("other")),
        (traffic, "length_longer", sized_wrongly("100", b"up 1\n"), &json, blind("other")),
        (
            traffic,
            "not_utf8",
            sized(b"http_requests_total{handler=\"\xff\"} 1\n"),
            &json,
            blind("body_mismatch"),
        ),
        (traffic, "head_endless", endless_head(), &json, blind("other")),
    ]
    .map(|(check, name, wire, expect, (status, reason))| (check, name, wire, expect.clone(), status, reason));
    let mut cases = Vec::new();
    for (check, name, wire, expect, status, reason) in rows {
        cases.push(Case { check, name, expect, status, reason, server: Server::start(wire).await });
    }
    cases
}

/// One system of all cases.
fn configuration(cases: &[Case]) -> String {
    let of = |check: &str, entry: &dyn Fn(&Case, String) -> Value| -> Vec<Value> {
        let these = cases.iter().filter(|case| case.check == check);
        these.map(|case| entry(case, format!("http://{}", case.server.address))).collect()
    };
    let asked = |case: &Case, url| json!({"name": case.name, "url": url, "expect": case.expect});
    let site = json!({
        "site": {"name": "dr-west", "region": "us-west-2", "role": "standby"},
        "kubernetes": {"mode": "disabled"},
        "defaults": {"interval": TIMEOUT, "timeout": TIMEOUT},
        "systems": [{
            "name": "orders",
            "workloads": of("traffic", &|case, url| json!({"name": case.name, "instances": [{"name": "a", "url": url}]})),
            "surfaces": of("surface", &asked),
            "requests": of("synthetic_request", &asked),
            "traffic": of("traffic", &|case, _| json!({"workload": case.name, "counter": "http_requests_total",
                "business": {"handler": "/api/.+"}, "window": "30s"})),
        }],
    });
    serde_json::to_string(&site).expect("JSON")
}

/// What the report says of a check: status, reason, and the sentence.
fn said(report: &Value, check: &str, target: &str) -> (String, Option<String>, String) {
    let all = report["systems"][0]["checks"].as_array().expect("checks");
    let found = all.iter().find(|c| c["check"] == check && c["target"] == target).expect("a planned check");
    let text = |key: &str| found[key].as_str().map(str::to_owned);
    (text("status").expect("a status"), text("reason"), text("detail").unwrap_or_default())
}

#[tokio::test]
async fn no_answer_outlasts_its_deadline_or_fills_the_memory() {
    let cases = table().await;
    let exporter = Exporter::start(&configuration(&cases)).await;
    eventually("every case ended as it should", 12 * SECOND, async || {
        let report = exporter.report().await;
        let wrong: BTreeMap<_, _> = cases
            .iter()
            .map(|case| ((case.check, case.name), said(&report, case.check, case.name), case))
            .filter(|(_, (status, reason, _), case)| {
                status != case.status || reason.as_deref() != case.reason
            })
            .map(|(key, said, _)| (key, said))
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
    })
    .await;
    let most = exporter.memory("VmHWM");
    assert!(most < MOST, "{most} MB");
    let metrics = exporter.metrics().await;
    for Case { check, name, server, .. } in &cases {
        let labels = [("check", *check), ("target", *name)];
        let runs = |sample: &str, more: &[(&str, &str)]| {
            let found = metrics.iter().find(|s| s.is(sample, &labels) && s.is(sample, more));
            found.map(|s| s.value)
        };
        let all = runs("dr_check_duration_seconds_count", &[]);
        assert!(all >= Some(1.0), "{check} {name}: {all:?}");
        let in_time = runs("dr_check_duration_seconds_bucket", &[("le", ENDED)]);
        assert_eq!(in_time, all, "{check} {name}");
        // Nobody takes what nobody reads; the limit of an exposition is the highest, and the kernel holds some, too.
        let taken = server.most.load(Ordering::Relaxed) >> 20;
        assert!(taken < 100, "{check} {name} took {taken} MB");
    }
    let lag = exporter.sample("dr_exporter_scheduler_lag_seconds", &[]).await.expect("the lag");
    assert!(lag < 1.0, "{lag}");
}

#[tokio::test]
async fn a_row_of_a_gigabyte_is_not_read() {
    let node = Pg::single(east_ip()).await;
    let query = |name: &str, sql: &str| json!({"name": name, "sql": sql});
    let site = json!({
        "site": {"name": "primary-east", "region": "us-east-1", "role": "primary"},
        "regions": {"us-east-1": {"cidrs": ["127.10.0.0/16"]}},
        "kubernetes": {"mode": "disabled"},
        "systems": [{"name": "orders", "databases": [{
            "name": "orders", "endpoint": {"url": node.dsn("app")}, "interval": "60s", "timeout": "60s",
            // The inner text spares the server a thousand million steps; the row is the same.
            "queries": [query("long", "select repeat(repeat('x', 1000000), 1000)"), query("after", "select 1")],
        }]}],
    });
    let exporter = Exporter::start(&serde_json::to_string(&site).expect("JSON")).await;
    // A busy server takes its time to make such a row. That we do not read it is our own decision and says nothing of
    // the database; the next query is asked all the same.
    eventually("the row was refused", 20 * SECOND, async || {
        let (status, reason, detail) = said(&exporter.report().await, "synthetic_query", "orders");
        if (status.as_str(), reason.as_deref()) != ("unknown", Some("limit")) {
            return Err(format!("{status} {reason:?} {detail}"));
        }
        assert!(detail.contains("more than 16 MiB without an end of the row"), "{detail}");
        Ok(())
    })
    .await;
    let after = exporter.sample("dr_synthetic_query_success", &[("query", "after")]).await;
    assert_eq!(after, Some(1.0));
    let most = exporter.memory("VmHWM");
    assert!(most < MOST, "{most} MB");
}
