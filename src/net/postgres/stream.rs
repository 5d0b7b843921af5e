//! The bytes under the protocol: TCP or a Unix socket, and TLS with channel binding on top.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::net::dial::{self, Fault};
use crate::net::tls::{der, fault_of_handshake};

/// Where a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

/// The plain stream, with a bound on what a peer may make us keep in memory.
pub struct Socket {
    stream: Stream,
    pub(super) budget: Budget,
}

enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// Inside the host.
    Unix(UnixStream),
}

/// How much may still be read before somebody takes a whole message: the driver keeps a message until it is whole, so
/// that without this one long value would fill our memory.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicUsize>);

/// The error of a socket whose budget is used up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {} MiB without an end of the row", ROW_BYTES >> 20)]
pub(super) struct BudgetSpent;

/// The longest row that is read, with what comes before it.
pub(super) const ROW_BYTES: usize = 16 << 20;

/// Makes TLS on a socket and notes how that went, since the driver hides it.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) config: Option<Arc<ClientConfig>>,
    pub(super) name: Option<ServerName<'static>>,
    pub(super) bind: bool,
    pub(super) note: Arc<Mutex<Note>>,
}

/// What happened in the handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    pub(super) took: Option<Duration>,
    pub(super) fault: Option<Fault>,
    pub(super) version: Option<&'static str>,
    pub(super) certificate: Option<Vec<u8>>,
}

/// TLS on a socket.
pub struct Tls {
    stream: tokio_rustls::client::TlsStream<Socket>,
    bind: bool,
}

// === impl Peer ===

impl Peer {
    pub(super) async fn dial(&self) -> Result<Socket, Fault> {
        let stream = match self {
            Self::Tcp(address) => dial::tcp(*address).await.map(Stream::Tcp),
            Self::Unix(path) => {
                let connected = match path.to_str().and_then(|path| path.strip_prefix('@')) {
                    // tokio takes a leading NUL for Linux' abstract namespace.
                    Some(name) => UnixStream::connect(format!("\0{name}")).await,
                    None => UnixStream::connect(path).await,
                };
                let failed =
                    |error: io::Error| Fault::of_io(&error, &format!("connect to {}", path.display()));
                connected.map(Stream::Unix).map_err(failed)
            }
        };
        Ok(Socket { stream: stream?, budget: Budget::default() })
    }

    /// The address, unless it is a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

// === impl Connector ===

impl Connector {
    pub(super) fn noted(&self) -> Note {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TlsConnect<Socket> for Connector {
    type Stream = Tls;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Tls>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let (Some(config), Some(name)) = (self.config, self.name) else {
                return Err(io::Error::from(io::ErrorKind::Unsupported));
            };
            let begun = Instant::now();
            let shaken = tokio_rustls::TlsConnector::from(config).connect(name, socket).await;
            let mut note = self.note.lock().unwrap_or_else(PoisonError::into_inner);
            note.took = Some(begun.elapsed());
            match shaken {
                Ok(stream) => {
                    let (_, session) = stream.get_ref();
                    note.version = session.protocol_version().and_then(|version| version.as_str());
                    note.certificate =
                        session.peer_certificates().and_then(|chain| chain.first()).map(|c| c.to_vec());
                    Ok(Tls { stream, bind: self.bind })
                }
                Err(error) => {
                    note.fault = Some(fault_of_handshake(&error));
                    Err(error)
                }
            }
        })
    }
}

// === impl Tls ===

impl TlsStream for Tls {
    /// RFC 5929, section 4.1: the hash of the signature's algorithm, MD5 and SHA-1 replaced by SHA-256. An algorithm
    /// whose hash we cannot tell gives no binding, as libpq does.
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let hashed = certificate.filter(|_| self.bind).and_then(|certificate| {
            let facts = der::read(certificate)?;
            let hash = end_point_hash(&facts.signature_algorithm)?;
            Some(hash.hash(certificate).as_ref().to_vec())
        });
        hashed.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

fn end_point_hash(algorithm: &[u8]) -> Option<&'static dyn rustls::crypto::hash::Hash> {
    use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
    let sha256 = || TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider);
    let sha384 = || TLS13_AES_256_GCM_SHA384.tls13().map(|suite| suite.common.hash_provider);
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
    let (rsa, ecdsa) = (algorithm.strip_prefix(RSA), algorithm.strip_prefix(ECDSA));
    match (rsa, ecdsa) {
        // md5, sha1, sha256 / sha1, sha256.
        (Some([4 | 5 | 11]), _) | (_, Some([1] | [3, 2])) => sha256(),
        (Some([12]), _) | (_, Some([3, 3])) => sha384(),
        _ => None,
    }
}

// === impl Budget ===

impl Budget {
    /// A row was taken: the next one may be as long again.
    pub fn refill(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn spend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) > ROW_BYTES
    }
}

// === impl AsyncRead, AsyncWrite ===

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, budget } = self.get_mut();
        if budget.is_spent() {
            return Poll::Ready(Err(io::Error::other(BudgetSpent)));
        }
        let before = buf.filled().len();
        let read = match stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        budget.spend(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Tls {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
