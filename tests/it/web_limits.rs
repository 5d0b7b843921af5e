//! A hostile network at our own port: whatever it sends, or does not read, the memory is bounded, health checks and scrapes
//! are answered, and the probes keep their pace.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

mod http2;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::StatusCode;

use crate::lab::http::{Task, client, respond, serve};
use crate::lab::{Config, Exporter, eventually, west_ip};

const SECOND: Duration = Duration::from_secs(1);
/// What the exporter, built for tests, has without a flood, in MB, with room.
const QUIET: u64 = 100;
/// What answers may hold that nobody reads, in MB.
const HELD: u64 = 64;

/// A surface that is asked every second, and when it was.
struct Watched {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Instant>>>,
    _task: Task,
}

/// Clients that go on until this is dropped.
struct Flood {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

// === impl Watched ===

impl Watched {
    async fn start() -> Self {
        let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let noted = asked.clone();
        let (address, task) = serve(west_ip(), move |_| {
            noted.lock().expect("no test has panicked").push(Instant::now());
            async { respond(StatusCode::OK, "text/plain", "ok") }
        })
        .await;
        Self { address, asked, _task: task }
    }

    /// This surface, and so many others that the report is large.
    fn among(&self, others: usize) -> Config {
        let config =
            Config::default().surface("watched", &format!("http://{}/", self.address), "decisive: true");
        (0..others).fold(config, |config, n| {
            config.surface(&format!("surface-{n}"), "http://127.0.0.1:1/", "interval: 600s")
        })
    }

    fn longest_gap(&self, since: Instant) -> Duration {
        let asked = self.asked.lock().expect("no test has panicked");
        let mut before = since;
        let mut longest = Duration::ZERO;
        for at in asked.iter().filter(|at| **at > since).chain([&Instant::now()]) {
            longest = longest.max(*at - before);
            before = *at;
        }
        longest
    }

    /// That the exporter keeps its promises for so long, while something goes on; `get` is a GET, and its status.
    async fn holds(&self, during: Duration, get: impl AsyncFn(&str) -> u16) {
        let began = Instant::now();
        let mut slowest = [Duration::ZERO; 2];
        while began.elapsed() < during {
            for (path, slowest) in ["/-/ready", "/metrics"].into_iter().zip(&mut slowest) {
                let asked = Instant::now();
                assert_eq!(get(path).await, 200, "{path}");
                *slowest = asked.elapsed().max(*slowest);
            }
            tokio::time::sleep(SECOND / 10).await;
        }
        let gap = self.longest_gap(began);
        // With room for a machine that floods itself: without turns it was 47 s.
        assert!(slowest[0] < 4 * SECOND && slowest[1] < 8 * SECOND, "{slowest:?}");
        assert!(gap < 5 * SECOND, "what is asked every second was not asked for {gap:?}");
    }
}

// === impl Flood ===

impl Flood {
    /// So many clients, each of which does this over and over.
    fn of(clients: usize, again: impl Fn() + Clone + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let client = || {
            let (over, again) = (over.clone(), again.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    again();
                }
            })
        };
        let threads = (0..clients).map(|_| client()).collect();
        Self { over, threads }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            // One panic is enough; a second one would abort the whole suite.
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "a client of the flood has seen what it must not see"
            );
        }
    }
}

/// A connection that takes 4 KiB, as a client does that has stopped reading.
fn small(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&address.into()).expect("connect");
    TcpStream::from(socket)
}

/// Sends bytes and takes what comes until the other side is done with us, or for ten seconds.
fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        drop(stream.set_read_timeout(Some(10 * SECOND)));
        drop(stream.set_write_timeout(Some(10 * SECOND)));
        // It may hang up before it has read everything.
        drop(stream.write_all(request));
        drop(stream.read_to_end(&mut answer));
    }
    answer
}

async fn status(exporter: &Exporter, path: &str) -> u16 {
    exporter.get(path).await.status
}

/// Regression: answers were made on the one task that serves all clients, so `/-/ready` waited for those of everybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_and_a_scrape_storm_delay_nothing_and_the_memory_is_freed() {
    let watched = Watched::start().await;
    let exporter = watched.among(500).start().await;
    let address = exporter.address();
    let size = exporter.get("/api/v1/report").await.body.len();
    assert!(size > 400_000, "{size} bytes");
    // So often, one after the other, that it fits into no buffer of the kernel.
    let asks = "GET /api/v1/report HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
    let stalled = || {
        let mut stream = small(address);
        stream.write_all(asks.as_bytes()).expect("write");
        stream
    };
    let readers: Vec<_> = (0..150).map(|_| stalled()).collect();
    let storm = Flood::of(8, move || {
        drop(exchange(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    });
    watched.holds(8 * SECOND, async |path| status(&exporter, path).await).await;
    drop(storm);
    let most = exporter.memory("VmHWM");
    assert!(most < QUIET + HELD, "{most} MB");
    drop(readers);
    // What they held is there for the next ones.
    let readers: Vec<_> = (0..150).map(|_| stalled()).collect();
    watched.holds(3 * SECOND, async |path| status(&exporter, path).await).await;
    drop(readers);
    let then = exporter.memory("VmHWM");
    assert!(then < most + 16, "{most} MB, then {then} MB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_dropped_without_hanging_up() {
    let watched = Watched::start().await;
    let exporter = watched.among(500).start().await;
    let idle = exporter.sockets();
    let asks = "GET /api/v1/report HTTP/1.1\r\nHost: x\r\n\r\n".repeat(40);
    let stalled = || {
        let mut stream = small(exporter.address());
        stream.write_all(asks.as_bytes()).expect("write");
        stream
    };
    let readers: Vec<_> = (0..8).map(|_| stalled()).collect();
    eventually("all of them are there", 5 * SECOND, async || match exporter.sockets() {
        open if open >= idle + 8 => Ok(()),
        open => Err(format!("{open} sockets are open, {idle} before")),
    })
    .await;
    eventually("all of them are dropped", 25 * SECOND, async || match exporter.sockets() {
        open if open <= idle + 2 => Ok(()),
        open => Err(format!("{open} sockets are open, {idle} before")),
    })
    .await;
    drop(readers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_heads_bodies_and_connections_take_neither_memory_nor_time() {
    let watched = Watched::start().await;
    let exporter = watched.among(1).start().await;
    let address = exporter.address();
    let oversized = [&b"GET /metrics HTTP/1.1\r\nX-Large: "[..], &vec![b'x'; 1 << 20], b"\r\n\r\n"].concat();
    let body = [
        &b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"[..],
        &vec![b'x'; 4 << 20],
    ]
    .concat();
    let floods = [
        Flood::of(2, move || drop(exchange(address, &oversized))),
        Flood::of(2, move || {
            let answer = exchange(address, &body);
            // A reset may overtake the answer, since the body is never read.
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 405"), "{answer:?}");
        }),
        // Nearly a whole head each, and then nothing: all places are taken at all times.
        Flood::of(2, move || {
            let held: Vec<_> = (0..300)
                .filter_map(|_| {
                    let mut stream = TcpStream::connect(address).ok()?;
                    stream.write_all(b"GET /metrics HTTP/1.1\r\nX-Slow: ").ok()?;
                    stream.write_all(&[b'x'; 15 << 10]).ok()?;
                    Some(stream)
                })
                .collect();
            std::thread::sleep(SECOND / 5);
            drop(held);
        }),
    ];
    // A client that was made to make room asks again.
    watched
        .holds(5 * SECOND, async |path| {
            let began = Instant::now();
            while began.elapsed() < 4 * SECOND {
                if let Ok(reply) = exporter.try_get(path, &[]).await {
                    return reply.status;
                }
            }
            0
        })
        .await;
    drop(floods);
    let most = exporter.memory("VmHWM");
    assert!(most < QUIET, "{most} MB");
}

#[tokio::test]
async fn a_head_may_have_16_kib_and_not_one_more() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let sized = |bytes: usize| {
        let frame = "GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: \r\n\r\n";
        frame.replace("X-Long: ", &format!("X-Long: {}", "x".repeat(bytes - frame.len())))
    };
    for (bytes, expected) in
        [(1 << 10, "HTTP/1.1 200"), (16 << 10, "HTTP/1.1 200"), ((16 << 10) + 1, "HTTP/1.1 431")]
    {
        let (address, request) = (exporter.address(), sized(bytes));
        let answer = tokio::task::spawn_blocking(move || exchange(address, request.as_bytes()));
        let answer = String::from_utf8_lossy(&answer.await.expect("an answer")).into_owned();
        assert!(answer.starts_with(expected), "{bytes} bytes: {answer}");
    }
    assert_eq!(client().get(exporter.url("/-/ready")).send().await.expect("an answer").status(), 200);
}
