//! Sockets, connections and their limits: from bytes to requests, and back. What is answered is decided elsewhere.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;

use super::config::{Admission, Armour};
use super::limits::{Parcel, Sending};
use super::seats::{Seat, Seats};
use super::{Answer, House, Site, header, negotiate};
use crate::tasks::Stop;

/// How long a client may take for the handshake of TLS, and to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How large the head of a request may be.
const HEAD_CAP: u32 = 16 * 1024;
/// How many connections are served at a time; the one that has been silent the longest makes room for the next.
const CONNECTIONS: usize = 256;
/// How long an idle or slow client may keep one of them.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// How many requests of one connection are answered at a time (HTTP/2).
const STREAMS: u32 = 16;
/// The first byte of a TLS handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What a client hears that speaks HTTP where HTTPS is spoken.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n\
    this port speaks HTTPS\n";

/// Sockets that are bound and not yet served, so that an address in use is known before anything is spawned.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    armour: Arc<Armour>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    address: SocketAddr,
    error: io::Error,
}

/// What every connection shares.
#[derive(Debug)]
struct Shared {
    house: Arc<House>,
    armour: Arc<Armour>,
    sending: Arc<Sending>,
}

/// Runs the streams of a connection together with it: they end when it ends.
#[derive(Clone)]
struct Together(mpsc::UnboundedSender<Pin<Box<dyn Future<Output = ()> + Send>>>);

// === impl Bound ===

impl Bound {
    /// Binds every address, or none.
    ///
    /// # Errors
    ///
    /// The first address that is not to be had, and why.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(addresses.len());
        for address in addresses {
            let mut listener = TcpListener::bind(address).await;
            // Every interface of a machine without IPv6 is every interface of IPv4.
            if listener.is_err() && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !has_ipv6() {
                listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
            }
            listeners.push(listener.map_err(|error| BindError { address: *address, error })?);
        }
        Ok(Bound { listeners, armour: Arc::default() })
    }

    /// The same behind TLS and a login.
    pub fn behind(self, armour: Arc<Armour>) -> Self {
        Bound { armour, ..self }
    }

    /// The addresses as bound, port 0 replaced by the port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until asked to stop; then lets answers under way end.
    pub async fn serve(self, site: Site, stop: Stop) {
        let Bound { listeners, armour } = self;
        let house = Arc::new(House::new(site, armour.clone()));
        let shared = Arc::new(Shared { house, armour: armour.clone(), sending: Arc::default() });
        tokio::select! {
            () = accept_all(&listeners, shared, stop) => {}
            () = armour.keep_fresh() => {}
        }
    }
}

async fn accept_all(listeners: &[TcpListener], shared: Arc<Shared>, mut stop: Stop) {
    let mut connections = FuturesUnordered::new();
    let mut seats = Seats::default();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = stop.requested() => break,
            now = ticks.tick() => {
                shared.sending.send_slow_away(now);
                shared.house.forget();
            }
            Some(number) = connections.next() => seats.give_back(number),
            stream = accept(listeners), if connections.len() < CONNECTIONS => {
                let (number, seat) = seats.take();
                let connection = connection(stream, shared.clone(), seat, stop.clone());
                connections.push(async move {
                    connection.await;
                    number
                });
                if connections.len() == CONNECTIONS {
                    seats.make_room();
                }
            }
        }
    }
    while connections.next().await.is_some() {}
}

fn has_ipv6() -> bool {
    tokio::net::TcpSocket::new_v6().is_ok_and(|socket| socket.bind((Ipv6Addr::LOCALHOST, 0).into()).is_ok())
}

async fn accept(listeners: &[TcpListener]) -> TcpStream {
    let mut accepting: FuturesUnordered<_> = listeners.iter().map(TcpListener::accept).collect();
    loop {
        match accepting.next().await {
            Some(Ok((stream, _))) => return stream,
            // Out of file descriptors, or the client is gone already: not a reason to stop serving, but one to
            // breathe before trying again.
            Some(Err(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            None => {
                accepting = listeners.iter().map(TcpListener::accept).collect();
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, seat: Arc<Seat>, mut stop: Stop) {
    let mut leaving = stop.clone();
    let talk = async {
        let Some(tls) = shared.armour.policy().tls() else {
            return http_1(stream, &shared, &seat, &mut stop).await;
        };
        // Nobody has asked for anything yet: the handshake need not be waited for.
        let stream = tokio::select! {
            shaken = timeout(HEAD_TIMEOUT, handshake(stream, tls)) => match shaken {
                Ok(Ok(Some(stream))) => stream,
                Ok(Ok(None)) => return,
                Ok(Err(error)) => return tracing::debug!(%error, "a client's TLS handshake failed"),
                Err(_elapsed) => return tracing::debug!("a client's TLS handshake took too long"),
            },
            () = leaving.requested() => return,
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            http_2(stream, &shared, &seat, &mut stop).await;
        } else {
            http_1(stream, &shared, &seat, &mut stop).await;
        }
    };
    tokio::select! {
        ended = timeout(CONNECTION_LIFE, talk) => if ended.is_err() {
            tracing::debug!("a client's connection was closed: it lasted too long");
        },
        () = seat.must_leave() => tracing::debug!("a client's connection was closed: it made room, or read too slowly"),
    }
}

/// `None` if the client speaks HTTP, which it has been told then.
async fn handshake(
    mut stream: TcpStream,
    tls: Arc<ServerConfig>,
) -> io::Result<Option<tokio_rustls::server::TlsStream<TcpStream>>> {
    let mut first = [HANDSHAKE];
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        stream.write_all(SPEAK_TLS).await?;
        stream.shutdown().await?;
        return Ok(None);
    }
    TlsAcceptor::from(tls).accept(stream).await.map(Some)
}

async fn http_1<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    shared: &Arc<Shared>,
    seat: &Arc<Seat>,
    stop: &mut Stop,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_CAP as usize)
        .half_close(false);
    let service = service_fn(|request| handle(request, shared.clone(), seat.clone()));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    note(ended);
}

async fn http_2<S>(stream: S, shared: &Arc<Shared>, seat: &Arc<Seat>, stop: &mut Stop)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, mut begun) = mpsc::unbounded_channel();
    let mut builder = http2::Builder::new(Together(sender));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_CAP)
        .max_send_buf_size(HEAD_CAP as usize)
        .keep_alive_interval(HEAD_TIMEOUT)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let (shared, seat) = (shared.clone(), seat.clone());
    let service = service_fn(move |request| handle(request, shared.clone(), seat.clone()));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut streams = FuturesUnordered::new();
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            Some(stream) = begun.recv() => streams.push(stream),
            Some(()) = streams.next() => {}
            () = stop.requested(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    note(ended);
}

fn note(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended badly");
    }
}

/// Answers a request, whose body nobody reads.
async fn handle(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    seat: Arc<Seat>,
) -> Result<Response<Parcel>, Infallible> {
    seat.heard();
    let request = request.map(drop);
    let Shared { house, armour, sending } = &*shared;
    let policy = armour.policy();
    let unauthenticated = house.site.view.unauthenticated();
    let (path, authorization) = (request.uri().path(), header(&request, AUTHORIZATION));
    let admission = armour.admit(&policy, &unauthenticated, path, authorization, Instant::now()).await;
    let gzip = negotiate::accepts_gzip(header(&request, ACCEPT_ENCODING));
    let mut response = match admission {
        Admission::Granted => house.answer(&request).await,
        Admission::LoginNeeded => Answer::login_needed().respond(gzip),
        Admission::TooMany => Answer::too_many().respond(gzip),
    };
    for (name, value) in policy.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    Ok(response.map(|body| sending.send(body, seat, Instant::now())))
}

// === impl Together ===

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Together {
    fn execute(&self, future: F) {
        // The connection that would run it is gone: so is whoever asked.
        let _ = self.0.send(Box::pin(future));
    }
}
