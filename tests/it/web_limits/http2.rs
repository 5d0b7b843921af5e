//! Floods that only HTTP/2 has, written by hand, since no client library would. Frames: RFC 9113; headers: RFC 7541.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{HELD, QUIET, SECOND, Watched};
use crate::lab::Exporter;
use crate::web_config::Scene;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENOUGH: usize = 32 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET path`: three fields of the static table, and two that are written out.
fn request(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x01, 9];
    block.extend(b"localhost");
    block.extend([0x04, u8::try_from(path.len()).expect("a short path")]);
    block.extend(path.as_bytes());
    block
}

/// Streams of a client have odd numbers.
fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

async fn connected(scene: &Scene, exporter: &Exporter, settings: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = scene.tls(exporter, &[b"h2"]).await;
    stream.write_all(PREFACE).await.expect("write");
    stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.expect("write");
    stream
}

/// Writes frames until the other side hangs up or takes no more; how many bytes it took. What it says is not read, or all
/// the time.
async fn flood(stream: TlsStream<TcpStream>, reads: bool, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    let (mut from, mut to) = tokio::io::split(stream);
    let reading = async {
        let mut buffer = vec![0; 64 << 10];
        while reads && from.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        std::future::pending::<()>().await;
    };
    let mut taken = 0;
    let writing = async {
        for frame in frames {
            match timeout(SECOND, to.write_all(&frame)).await {
                Ok(Ok(())) if taken < ENOUGH => taken += frame.len(),
                _ => break,
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_are_cut_off() {
    let (scene, watched) = (Scene::new(), Watched::start().await);
    let exporter = scene.start_with(&watched.among(300).yaml()).await;
    let client = scene.client(None);
    let url = |path: &str| format!("https://localhost:{}{path}", exporter.address().port());
    let get = async |path: &str| {
        let answer = client.get(url(path)).send().await.expect("an answer");
        let status = answer.status().as_u16();
        answer.bytes().await.expect("a body");
        status
    };
    let report = || request("/api/v1/report");
    let open = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &report());
    let attack = async |settings: &[u8], reads: bool, frames: &mut (dyn Iterator<Item = Vec<u8>> + Send)| {
        let stream = connected(&scene, &exporter, settings).await;
        let flooding = flood(stream, reads, frames);
        let holding = watched.holds(SECOND, &get);
        let (taken, ()) = tokio::join!(flooding, holding);
        taken
    };
    // Asked and taken back at once (CVE-2023-44487).
    let cancel = 8_u32.to_be_bytes();
    let mut frames = streams().map(|stream| [open(stream), frame(RST_STREAM, 0, stream, &cancel)].concat());
    assert!(attack(&[], true, &mut frames).await < ENOUGH);
    // A head without an end (CVE-2024-27316).
    let mut frames = std::iter::once(frame(HEADERS, END_STREAM, 1, &report()))
        .chain(std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[0x00, 1, b'a', 1, b'b'].repeat(3_000))));
    assert!(attack(&[], true, &mut frames).await < ENOUGH);
    let mut frames = std::iter::once(frame(HEADERS, END_STREAM, 1, &report()))
        .chain(std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, &[])));
    assert!(attack(&[], true, &mut frames).await < ENOUGH);
    // What has to be answered by one who does not read (CVE-2019-9512, 9515).
    let mut frames = std::iter::repeat_with(|| frame(PING, 0, 0, &[0; 8]).repeat(100));
    assert!(attack(&[], false, &mut frames).await < ENOUGH);
    let mut frames = std::iter::repeat_with(|| frame(SETTINGS, 0, 0, &[]).repeat(100));
    assert!(attack(&[], false, &mut frames).await < ENOUGH);
    // More at a time than the 16 that are allowed, with no room for any answer (CVE-2019-9517).
    let no_room = [0, 4, 0, 0, 0, 0];
    let mut frames = streams().map(open).take(10_000);
    attack(&no_room, true, &mut frames).await;
    let most = exporter.memory("VmHWM");
    assert!(most < QUIET + HELD, "{most} MB");
}

#[tokio::test]
async fn sixteen_requests_at_a_time_are_promised() {
    let (scene, watched) = (Scene::new(), Watched::start().await);
    let exporter = scene.start_with(&watched.among(1).yaml()).await;
    let mut stream = connected(&scene, &exporter, &[]).await;
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], SETTINGS);
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.expect("settings");
    let value = |wanted: u8| {
        let found = settings.chunks_exact(6).find(|setting| setting[..2] == [0, wanted]);
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().expect("four bytes")))
    };
    // MAX_CONCURRENT_STREAMS and MAX_HEADER_LIST_SIZE: RFC 9113, 6.5.2.
    assert_eq!((value(3), value(6)), (Some(16), Some(16 << 10)));
}
