//! What is probed: a web server so small that it costs next to nothing, well, ill, or hostile.
//!
//! Threads and blocking calls on purpose: it must not be the slowest part when one core asks 10,000 times a second.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// What a healthy application answers; every program checks `database` in it.
const WELL: &str = r#"{"status":"ok","version":"2024.11.3","uptime_seconds":86400,"checks":{"cache":"connected","queue":"connected"},"database":"connected"}"#;
const ILL: &str = r#"{"status":"degraded","version":"2024.11.3","uptime_seconds":86400,"checks":{"cache":"connected","queue":"connected"},"database":"unreachable"}"#;

/// How many connections are answered at a time; hostile ones get a thread of their own.
const THREADS: usize = 8;
const MEBIBYTE: usize = 1 << 20;

/// Listens on every address of loopback, so that each target can have its own.
pub struct Target {
    port: u16,
    state: Arc<State>,
}

struct State {
    served: AtomicU64,
    well: AtomicBool,
    bomb: Vec<u8>,
    exposition: Vec<u8>,
}

// === impl Target ===

impl Target {
    /// Starts; it ends with the process.
    pub fn start() -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()).expect("a free port");
        socket.listen(4096).expect("to listen");
        let listener = Arc::new(TcpListener::from(socket));
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            served: AtomicU64::new(0),
            well: AtomicBool::new(true),
            bomb: bomb(),
            exposition: exposition(),
        });
        for _ in 0..THREADS {
            let (listener, state) = (Arc::clone(&listener), Arc::clone(&state));
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    // A client that hangs up in the middle is no error here.
                    drop(serve(stream, &state));
                }
            });
        }
        Self { port, state }
    }

    /// A URL of the target with this number, on an address of its own.
    pub fn url(&self, n: usize, path: &str) -> String {
        format!("http://127.40.{}.{}:{}{path}", n / 250, n % 250 + 1, self.port)
    }

    /// How many requests were answered so far.
    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::Relaxed)
    }

    /// From now on `/health` says this.
    pub fn be_well(&self, well: bool) {
        self.state.well.store(well, Ordering::Relaxed);
    }
}

fn serve(mut stream: TcpStream, state: &Arc<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0; 4096];
    let mut read = 0;
    while !buffer[..read].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer[read..])? {
            0 => return Ok(()),
            more => read += more,
        }
    }
    let line = String::from_utf8_lossy(&buffer[..read]);
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    if path.starts_with("/health") {
        state.served.fetch_add(1, Ordering::Relaxed);
        let body = if state.well.load(Ordering::Relaxed) { WELL } else { ILL };
        let answer = format!("{}\r\n{body}", head(body.len(), "application/json", ""));
        return stream.write_all(answer.as_bytes());
    }
    let state = Arc::clone(state);
    std::thread::spawn(move || drop(attack(stream, &path, &state)));
    Ok(())
}

fn head(length: usize, kind: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{more}"
    )
}

/// Answers that are meant to hurt.
fn attack(mut stream: TcpStream, path: &str, state: &State) -> std::io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let (answer, body, times): (String, &[u8], usize) = match path {
        "/gigabyte" => (head(1024 * MEBIBYTE, "application/json", ""), &[b' '; 65_536], 16_384),
        "/bomb" => (head(state.bomb.len(), "application/json", "content-encoding: gzip\r\n"), &state.bomb, 1),
        "/endless" => {
            ("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n".to_owned(), &[b' '; 65_536], usize::MAX)
        }
        "/exposition" => {
            (head(state.exposition.len(), "text/plain; version=0.0.4", ""), &state.exposition, 1)
        }
        "/headers" => {
            ("HTTP/1.1 200 OK\r\n".to_owned(), b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", 1_000_000)
        }
        _ => ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n".to_owned(), b"", 0),
    };
    stream.write_all(answer.as_bytes())?;
    if path != "/headers" {
        stream.write_all(b"\r\n")?;
    }
    for _ in 0..times {
        stream.write_all(body)?;
    }
    Ok(())
}

/// A gigabyte of blanks in gzip: members one behind the other, as RFC 1952 allows.
fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 4 * MEBIBYTE]).expect("to write into memory");
    encoder.finish().expect("to write into memory").repeat(256)
}

/// 100,000 lines of metrics, 8 MB.
fn exposition() -> Vec<u8> {
    let mut text = String::from("# TYPE http_requests_total counter\n");
    for n in 0..100_000 {
        text.push_str(&format!(
            "http_requests_total{{handler=\"/api/v1/orders/{n}\",method=\"GET\",status=\"200\"}} {n}\n"
        ));
    }
    text.into_bytes()
}
