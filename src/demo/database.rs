//! A stand-in PostgreSQL server: a port that is open, refuses, or is cut, and whom it serves.
//!
//! It speaks the real wire protocol, by `pgwire`: `session` keeps the rules of transactions, `sql` knows what can be
//! asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pgwire::tokio::process_socket;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::session::Server;

/// The one login of the stand-in databases; they listen on loopback only and hold nothing.
pub const USER: &str = "orders_app";
/// The password of [`USER`].
pub const PASSWORD: &str = "demo-only";
/// The one database of a stand-in server.
pub const DATABASE: &str = "orders";

/// What a database is to its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery: every transaction is read-only.
    Standby,
}

/// A stand-in database server at an address that it owns from the start, listening or not.
#[derive(Debug)]
pub struct Database {
    server: Server,
    /// The open port, while there is one.
    door: watch::Sender<Option<Arc<TcpListener>>>,
    /// The port while nothing listens on it: bound, so that nobody else takes it, and refused by the kernel.
    reserved: tokio::sync::Mutex<Option<TcpSocket>>,
}

// === impl Database ===

impl Database {
    /// Takes a free port of `address` without listening on it: who connects is refused, until [`Database::start`].
    /// Databases with the same `started` hold the same: orders up to two minutes before it.
    ///
    /// # Errors
    /// The address is not one of this machine, or has no free port.
    pub fn reserve(address: IpAddr, role: Role, started: Timestamp) -> io::Result<Self> {
        let socket = bind(SocketAddr::new(address, 0))?;
        let server = Server { role, address: socket.local_addr()?, started };
        let reserved = tokio::sync::Mutex::new(Some(socket));
        Ok(Self { server, door: watch::Sender::new(None), reserved })
    }

    /// Where it listens when it does.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// What an application writes to reach it: a URL with [`USER`], [`PASSWORD`] and [`DATABASE`].
    pub fn dsn(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{DATABASE}?sslmode=disable", self.address())
    }

    /// Whether the port is open.
    pub fn is_running(&self) -> bool {
        self.door.borrow().is_some()
    }

    /// Opens the port; clients are served while [`Database::run`] runs. Starting twice is starting once.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn start(&self) -> io::Result<()> {
        let mut reserved = self.reserved.lock().await;
        if self.is_running() {
            return Ok(());
        }
        let socket = match reserved.take() {
            Some(socket) => socket,
            None => bind(self.address())?,
        };
        self.door.send_replace(Some(Arc::new(socket.listen(1024)?)));
        Ok(())
    }

    /// Closes the port, cuts every connection, and returns when the port refuses. The port stays reserved.
    ///
    /// # Errors
    /// The port cannot be reserved again.
    pub async fn stop(&self) -> io::Result<()> {
        let mut reserved = self.reserved.lock().await;
        let Some(door) = self.door.send_replace(None) else { return Ok(()) };
        let gone = Arc::downgrade(&door);
        drop(door);
        // `run` lets go of it at its next turn.
        while gone.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        *reserved = Some(self.bind_again().await?);
        Ok(())
    }

    /// The port is not free while the kernel has not yet forgotten who came last, which takes some milliseconds.
    async fn bind_again(&self) -> io::Result<TcpSocket> {
        for _ in 0..100 {
            match bind(self.address()) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                bound => return bound,
            }
        }
        bind(self.address())
    }

    /// Serves clients whenever the port is open. Never ends by itself; dropping it cuts every connection.
    pub async fn run(&self) {
        let mut door = self.door.subscribe();
        loop {
            let open = door.borrow_and_update().clone();
            if let Some(open) = open {
                tokio::select! {
                    () = self.accept(&open) => {}
                    _ = door.changed() => {}
                }
            } else if door.changed().await.is_err() {
                return;
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => drop(connections.spawn(serve(client, self.server))),
                    // Out of file descriptors, or the client has gone: neither mends faster by spinning.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves one client to its end; how a client goes is no news to anybody.
async fn serve(client: TcpStream, server: Server) {
    let _ = process_socket(client, None, server).await;
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a port that served clients cannot be taken again for a minute.
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
