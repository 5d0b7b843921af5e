//! One HTTP/1.1 exchange on a connection of its own.
//!
//! hyper's connection is used directly and not a client on top: a client keeps pools, follows redirects, knows proxies
//! and hides the address that it dialled, and its resolver is not asked for an address literal or another port, both
//! of which `connect_to` needs. The connection moves only while [`HttpClient::send`] is awaited: dropping that future
//! closes the socket, however slow or endless the answer is.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::{Host, Url};

use super::dial::{self, Fault};
use super::dsn::Pem;
use super::resolve::Resolver;
use super::tls::{Roots, TlsSettings, Verify, fault_of_handshake};
use crate::model::Reason;
use crate::secret::Secret;

#[cfg(test)]
mod tests;

/// The part of a body that is read of a surface: 256 KiB once decoded.
pub const SURFACE_CAP: usize = 256 * 1024;

/// How many headers an answer may have; more than any proxy lets through.
const HEADERS: usize = 512;

/// How much is read until the head of an answer ends, and of the body until we get to know that it did. hyper passes
/// over any number of `100 Continue` before it, all that the network brings, and no deadline interrupts it meanwhile.
const HEAD_BYTES: usize = 256 * 1024;

/// Sends requests, each on a new connection to a freshly resolved address.
#[derive(Clone, Debug, Default)]
pub struct HttpClient {
    resolver: Resolver,
}

/// What to send, and where to.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: Method,
    /// `http` or `https`. User and password in it are refused: they belong into a header.
    pub url: Url,
    /// Extra headers; their values may be secret.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// Dial this host and port instead; the TLS name and the `Host` header stay those of the URL.
    pub connect_to: Option<(String, u16)>,
    /// Roots beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// A client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the server's certificate is left unchecked.
    pub insecure: bool,
    /// How much of the decoded body is read.
    pub cap: usize,
}

/// What came back; any status is an answer.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers; `content-encoding` says how the body was sent, not how it stands here.
    pub headers: HeaderMap,
    /// The decoded body, up to the cap.
    pub body: Bytes,
    /// Whether that is all of it.
    pub end: BodyEnd,
    /// Where the answer came from.
    pub peer: SocketAddr,
    /// How long it took.
    pub timings: HttpTimings,
    /// The server's certificate (DER), with TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Whether the body was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// To its end.
    Complete,
    /// The cap was reached first.
    Truncated,
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HttpTimings {
    /// Resolving.
    pub dns: Duration,
    /// Opening the connection, over all addresses that were tried.
    pub tcp: Duration,
    /// The handshake; zero without TLS.
    pub tls: Duration,
    /// From the request to the end of the answer's head.
    pub first_byte: Duration,
    /// From the call to the end of the body.
    pub total: Duration,
}

// === impl HttpRequest ===

impl HttpRequest {
    /// A plain `GET` with the cap of a surface.
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
            connect_to: None,
            ca_files: Vec::new(),
            identity: None,
            insecure: false,
            cap: SURFACE_CAP,
        }
    }

    /// The URL as a message may show it: without user, query and fragment.
    pub fn shown(&self) -> String {
        format!("{}://{}{}", self.url.scheme(), host_header(&self.url), self.url.path())
    }

    fn build(&self) -> Result<Request<Full<Bytes>>, Fault> {
        let Self { method, url, headers, body, .. } = self;
        let bad = |what: &str| Fault::ours(Reason::Misconfigured, format!("{}: {what}", self.shown()));
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad(
                "a URL must not hold user and password: put them into an `authorization` header",
            ));
        }
        let target =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let mut request = Request::new(Full::new(body.clone().unwrap_or_default()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = target.parse().map_err(|_| bad("the path or the query cannot be sent"))?;
        let host = HeaderValue::from_str(&host_header(url)).map_err(|_| bad("the host cannot be sent"))?;
        let all = request.headers_mut();
        all.insert(HOST, host);
        all.insert(USER_AGENT, HeaderValue::from_static(concat!("dr-exporter/", env!("CARGO_PKG_VERSION"))));
        all.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| bad(&format!("the value of the header `{name}` cannot be sent")))?;
            value.set_sensitive(true);
            all.insert(name, value);
        }
        Ok(request)
    }
}

// === impl HttpClient ===

impl HttpClient {
    /// A client that finds addresses that way.
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver }
    }

    /// Sends one request and reads the answer. Has no deadline of its own: bound it and drop it.
    ///
    /// # Errors
    /// [`Fault`] with `dns`, `refused`, `unreachable`, `timeout`, `tls`, `certificate`, `other`, or ours; its message
    /// holds neither the query nor a header's value.
    pub async fn send(&self, request: &HttpRequest) -> Result<HttpResponse, Fault> {
        let begun = Instant::now();
        let prepared = request.build()?;
        let mut timings = HttpTimings::default();
        let tls = match request.url.scheme() {
            "http" => None,
            "https" => Some(tls_of(request)?),
            _ => {
                return Err(Fault::ours(
                    Reason::Misconfigured,
                    format!("{}: only http and https can be asked", request.shown()),
                ));
            }
        };
        let (stream, peer) = self.dial(request, &mut timings).await?;
        let mut answer = match tls {
            None => exchange(stream, prepared, request, timings).await?,
            Some((config, name)) => {
                let shaking = Instant::now();
                let shaken = tokio_rustls::TlsConnector::from(config).connect(name, stream).await;
                let stream = shaken.map_err(|error| {
                    let fault = fault_of_handshake(&error);
                    Fault { message: format!("{}: {}", request.shown(), fault.message), ..fault }
                })?;
                timings.tls = shaking.elapsed();
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(|chain| chain.first())
                    .map(|c| c.to_vec());
                HttpResponse { certificate, ..exchange(stream, prepared, request, timings).await? }
            }
        };
        answer.peer = peer;
        answer.timings.total = begun.elapsed();
        Ok(answer)
    }

    /// Connects to the first address that takes a connection.
    async fn dial(
        &self,
        request: &HttpRequest,
        timings: &mut HttpTimings,
    ) -> Result<(TcpStream, SocketAddr), Fault> {
        let begun = Instant::now();
        let port = request.url.port_or_known_default().unwrap_or(80);
        let (addresses, port) = match (&request.connect_to, request.url.host()) {
            (Some((host, port)), _) => (self.resolver.lookup(host).await?, *port),
            (None, Some(Host::Ipv4(ip))) => (vec![ip.into()], port),
            (None, Some(Host::Ipv6(ip))) => (vec![ip.into()], port),
            (None, Some(Host::Domain(name))) => (self.resolver.lookup(name).await?, port),
            (None, None) => return Err(Fault::ours(Reason::Misconfigured, "the URL names no host")),
        };
        timings.dns = begun.elapsed();
        let begun = Instant::now();
        let addresses: Vec<_> = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let dialled = dial::first_of(&addresses).await?;
        timings.tcp = begun.elapsed();
        Ok(dialled)
    }
}

fn tls_of(request: &HttpRequest) -> Result<(Arc<rustls::ClientConfig>, ServerName<'static>), Fault> {
    let settings = TlsSettings {
        verify: if request.insecure { Verify::Nothing } else { Verify::Full },
        roots: Roots::SystemAnd(request.ca_files.clone()),
        identity: request.identity.clone().map(|(certificate, key)| (Pem::File(certificate), Pem::File(key))),
        sni: true,
        alpn: Some("http/1.1"),
    };
    let name = match request.url.host() {
        Some(Host::Ipv4(ip)) => ServerName::from(std::net::IpAddr::from(ip)),
        Some(Host::Ipv6(ip)) => ServerName::from(std::net::IpAddr::from(ip)),
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.trim_end_matches('.').to_owned()).map_err(|_| {
                Fault::ours(Reason::Misconfigured, "the host of the URL cannot be the name of a certificate")
            })?
        }
        None => return Err(Fault::ours(Reason::Misconfigured, "the URL names no host")),
    };
    Ok((settings.build()?, name))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    prepared: Request<Full<Bytes>>,
    request: &HttpRequest,
    mut timings: HttpTimings,
) -> Result<HttpResponse, Fault> {
    let fault = |error: &hyper::Error| fault_of(error, &request.shown());
    let room = Arc::new(AtomicUsize::new(HEAD_BYTES));
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(HEADERS)
        .handshake(TokioIo::new(Headed { stream, room: room.clone() }))
        .await
        .map_err(|error| fault(&error))?;
    let mut connection = pin!(connection);
    let mut work = pin!(async {
        let begun = Instant::now();
        let response = sender.send_request(prepared).await.map_err(|error| fault(&error))?;
        timings.first_byte = begun.elapsed();
        // A body has a cap of its own.
        room.store(usize::MAX, Ordering::Relaxed);
        let (head, body) = response.into_parts();
        let gzip = head
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"gzip"));
        let (body, end) = read_body(body, gzip, request).await?;
        Ok(HttpResponse {
            status: head.status,
            headers: head.headers,
            body,
            end,
            peer: SocketAddr::from(([0, 0, 0, 0], 0)),
            timings,
            certificate: None,
        })
    });
    let mut open = true;
    // Both move in this task; the connection may end first while the body is still being handed over.
    std::future::poll_fn(|cx| {
        if open && connection.as_mut().poll(cx).is_ready() {
            open = false;
        }
        work.as_mut().poll(cx)
    })
    .await
}

/// Reads up to the cap, which counts decoded bytes: a small gzip can stand for gigabytes.
async fn read_body(mut body: Incoming, gzip: bool, request: &HttpRequest) -> Result<(Bytes, BodyEnd), Fault> {
    let broken = |what: &str| Fault::theirs(Reason::Other, format!("{}: {what}", request.shown()));
    let mut decoder = gzip.then(|| flate2::write::MultiGzDecoder::new(Capped::new(request.cap)));
    let mut plain = Capped::new(request.cap);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| fault_of(&error, &request.shown()))?;
        let Ok(data) = frame.into_data() else { continue };
        let (written, full) = match &mut decoder {
            Some(decoder) => {
                let written = decoder.write_all(&data);
                (written, decoder.get_ref().full)
            }
            None => {
                let written = plain.write_all(&data);
                (written, plain.full)
            }
        };
        if full {
            plain = decoder.map_or(plain, |mut decoder| std::mem::replace(decoder.get_mut(), Capped::new(0)));
            return Ok((plain.bytes.into(), BodyEnd::Truncated));
        }
        written.map_err(|_| broken("the gzip of the body is broken"))?;
    }
    let plain = match decoder {
        None => plain,
        Some(mut decoder) => {
            // The last bytes may come out only now, and with them the cap may be reached.
            let finished = decoder.try_finish();
            let inner = std::mem::replace(decoder.get_mut(), Capped::new(0));
            if !inner.full {
                finished.map_err(|_| broken("the gzip of the body is broken"))?;
            }
            inner
        }
    };
    let end = if plain.full { BodyEnd::Truncated } else { BodyEnd::Complete };
    Ok((plain.bytes.into(), end))
}

/// Takes bytes up to the cap, then fails, so that a decoder stops there.
struct Capped {
    bytes: Vec<u8>,
    cap: usize,
    full: bool,
}

// === impl Capped ===

impl Capped {
    fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), cap, full: false }
    }
}

impl std::io::Write for Capped {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let room = self.cap - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            self.full = true;
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull));
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A stream that fails once this much was read of it.
struct Headed<S> {
    stream: S,
    room: Arc<AtomicUsize>,
}

/// The error of such a stream.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the head of the answer has no end")]
struct HeadTooLong;

// === impl Headed ===

impl<S: AsyncRead + Unpin> AsyncRead for Headed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let Self { stream, room } = self.get_mut();
        let left = room.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(std::io::Error::other(HeadTooLong)));
        }
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        room.store(left.saturating_sub(buf.filled().len() - before), Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Headed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

fn fault_of(error: &hyper::Error, shown: &str) -> Fault {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            // TLS 1.3 tells of a refused client certificate only after the handshake.
            if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
                return fault_of_handshake(io);
            }
            if io.get_ref().is_some_and(|inner| inner.is::<HeadTooLong>()) {
                return Fault::theirs(Reason::Other, format!("{shown}: {HeadTooLong}"));
            }
            return Fault::of_io(io, shown);
        }
        source = inner.source();
    }
    let what = match error {
        error if error.is_incomplete_message() => "the connection was closed before the answer was complete",
        error if error.is_parse_too_large() => "the head of the answer has no end",
        error if error.is_parse() => "the answer is not HTTP/1.1",
        _ => "the exchange broke off",
    };
    Fault::theirs(Reason::Other, format!("{shown}: {what}"))
}

/// The host, and the port where it is not the scheme's own.
fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
