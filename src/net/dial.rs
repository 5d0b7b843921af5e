//! One TCP connection to one address, and what its failure means.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::model::Reason;

/// Why no bytes could be exchanged: the reason, whose fault, and our own sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// One of the closed list.
    pub reason: Reason,
    /// Whether it is the exporter's own blindness and says nothing about the target.
    pub ours: bool,
    /// What happened, without any text of a driver.
    pub message: String,
}

// === impl Fault ===

impl Fault {
    /// The target's fault.
    pub fn theirs(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, ours: false, message: message.into() }
    }

    /// The exporter's own.
    pub fn ours(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, ours: true, message: message.into() }
    }

    /// What an operating system's error means; `doing` begins the sentence.
    pub fn of_io(error: &io::Error, doing: &str) -> Self {
        use io::ErrorKind as K;
        // EMFILE and ENFILE have the same numbers on Linux and macOS and no stable kind.
        if matches!(error.raw_os_error(), Some(23 | 24)) {
            return Self::ours(Reason::Internal, "the exporter has no file descriptor left");
        }
        let (reason, what) = match error.kind() {
            K::ConnectionRefused => (Reason::Refused, "connection refused"),
            K::HostUnreachable => (Reason::Unreachable, "no route to the host"),
            K::NetworkUnreachable => (Reason::Unreachable, "no route to the network"),
            // An IPv6 address where we have none, or no local port left.
            K::AddrNotAvailable => (Reason::Unreachable, "no local address leads there"),
            K::PermissionDenied => (Reason::Unreachable, "a local rule forbids it"),
            K::NotFound => (Reason::Refused, "there is no such socket"),
            K::TimedOut => (Reason::Timeout, "no answer"),
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe => {
                (Reason::Other, "the connection was reset")
            }
            K::UnexpectedEof => (Reason::Other, "the other side closed the connection"),
            K::OutOfMemory => return Self::ours(Reason::Internal, "the exporter has no memory left"),
            _ => (Reason::Other, "the connection failed"),
        };
        Self::theirs(reason, format!("{doing}: {what}"))
    }
}

/// Opens one TCP connection; bound it with a deadline outside.
///
/// # Errors
/// [`Fault`] with `refused`, `unreachable`, `timeout` or our own blindness.
pub async fn tcp(address: SocketAddr) -> Result<TcpStream, Fault> {
    let failed = |error: &io::Error| Fault::of_io(error, &format!("connect to {address}"));
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let stream = match socket {
        Ok(socket) => socket.connect(address).await.map_err(|error| failed(&error))?,
        // A host without IPv6 refuses the socket itself; it is the same as no route.
        Err(error) if address.is_ipv6() && !matches!(error.raw_os_error(), Some(23 | 24)) => {
            return Err(Fault::theirs(
                Reason::Unreachable,
                format!("connect to {address}: this host has no IPv6"),
            ));
        }
        Err(error) => return Err(failed(&error)),
    };
    // The latency of small requests is what we measure; a failure to set it changes nothing else.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// How long one address may stay silent before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Opens a TCP connection to the first address that takes one: the next is tried when one fails, or beside it when it
/// stays silent. Bound it with a deadline outside.
///
/// # Errors
/// The [`Fault`] of the address that failed last.
pub async fn first_of(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Fault> {
    let mut waiting = addresses.iter().copied();
    let mut trying = FuturesUnordered::new();
    let mut last = Fault::ours(Reason::Internal, "no address was tried");
    loop {
        let next = waiting.next();
        trying.extend(next.map(|address| async move { (tcp(address).await, address) }));
        let ended = match next {
            Some(_) => timeout(HEAD_START, trying.next()).await.unwrap_or_default(),
            None => match trying.next().await {
                None => return Err(last),
                ended => ended,
            },
        };
        match ended {
            Some((Ok(stream), address)) => return Ok((stream, address)),
            Some((Err(fault), _)) => last = fault,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_address_does_not_hold_up_the_others() {
        // A full queue of connections that nobody accepts: further ones are neither taken nor refused.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let full = silent.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), tcp(full)).await {
            held.push(stream);
        }
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = open.local_addr().map(|address| (address, open)).unwrap();
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let found = timeout(Duration::from_secs(5), first_of(&[full, closed, open.0])).await.unwrap();
        assert_eq!(found.unwrap().1, open.0);
        let nobody = first_of(&[closed]).await.unwrap_err();
        assert_eq!(nobody.reason, Reason::Refused);
        assert!(first_of(&[]).await.unwrap_err().ours);
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fault = tcp(closed).await.unwrap_err();
        assert_eq!((fault.reason, fault.ours), (Reason::Refused, false));
        assert_eq!(fault.message, format!("connect to {closed}: connection refused"));
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        for (number, reason, ours) in [
            (24, Reason::Internal, true),
            (23, Reason::Internal, true),
            (libc_number("EHOSTUNREACH"), Reason::Unreachable, false),
            (libc_number("ENETUNREACH"), Reason::Unreachable, false),
        ] {
            let fault = Fault::of_io(&io::Error::from_raw_os_error(number), "x");
            assert_eq!((fault.reason, fault.ours), (reason, ours), "{number}");
        }
    }

    /// The two differ between the systems that we run on.
    fn libc_number(name: &str) -> i32 {
        match (name, cfg!(target_os = "macos")) {
            ("EHOSTUNREACH", true) => 65,
            ("EHOSTUNREACH", false) => 113,
            (_, true) => 51,
            (_, false) => 101,
        }
    }
}
