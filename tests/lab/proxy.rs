//! TCP faults on demand: a proxy whose behaviour a test switches, and an address where even the handshake hangs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::http::Task;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// Forwards both ways.
    Pass,
    /// Listens no more: new connections are refused. Open ones go on.
    Refuse,
    /// Accepts and never answers; open connections stall, and go on after the next `Pass`.
    Blackhole,
    /// Ends new and open connections with RST.
    Reset,
    /// Holds every chunk back for this long, each way.
    Delay(Duration),
    /// Lets this many bytes a second through, each way.
    Trickle(u32),
    /// Resets the next connection, then passes.
    DropOnce,
}

/// A TCP proxy in front of `upstream`.
pub struct Proxy {
    address: SocketAddr,
    control: mpsc::Sender<(ProxyMode, oneshot::Sender<()>)>,
    _task: Task,
}

/// An address where connect hangs: a listener that never accepts and whose queue is full, so the kernel drops the SYN.
pub struct SynBlackhole {
    address: SocketAddr,
    _listener: Socket,
    _fillers: Vec<Socket>,
}

// === impl Proxy ===

impl Proxy {
    /// Listens on a free port of `ip` and forwards to `upstream`, which is dialled once per connection.
    pub async fn start(ip: IpAddr, upstream: SocketAddr) -> Self {
        Self::start_at(SocketAddr::new(ip, 0), upstream).await
    }

    /// The same on a given port: one name, one port, another address.
    pub async fn start_at(address: SocketAddr, upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (control, commands) = mpsc::channel(1);
        let task = Task::spawn(manage(listener, address, upstream, commands));
        Self { address, control, _task: task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Switches; when it returns, the next connection meets the new mode.
    pub async fn set(&self, mode: ProxyMode) {
        let (done, applied) = oneshot::channel();
        self.control.send((mode, done)).await.expect("the proxy's task runs");
        applied.await.expect("the proxy's task runs");
    }
}

async fn manage(
    listener: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut commands: mpsc::Receiver<(ProxyMode, oneshot::Sender<()>)>,
) {
    let mut listener = Some(listener);
    let (mode, watched) = watch::channel(ProxyMode::Pass);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => {
                let Some((next, done)) = command else { return };
                listener = match (next, listener) {
                    (ProxyMode::Refuse, _) => None,
                    (_, Some(listener)) => Some(listener),
                    (_, None) => Some(TcpListener::bind(address).await.expect("the proxy's port is still free")),
                };
                mode.send_replace(next);
                let _ = done.send(());
            }
            accepted = accept(listener.as_ref()) => {
                let Ok((stream, _)) = accepted else { continue };
                while connections.try_join_next().is_some() {}
                if mode.send_if_modified(|mode| {
                    let once = *mode == ProxyMode::DropOnce;
                    if once {
                        *mode = ProxyMode::Pass;
                    }
                    once
                }) {
                    reset(&stream);
                } else {
                    connections.spawn(carry(stream, upstream, watched.clone()));
                }
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, mut mode: watch::Receiver<ProxyMode>) {
    if !flowing(&mut mode).await {
        return reset(&client);
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return reset(&client) };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let torn = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = pump(&mut from_client, &mut to_server, mode.clone());
        let down = pump(&mut from_server, &mut to_client, mode.clone());
        tokio::select! {
            // Each direction ends by itself (half-close is passed on); the connection ends when both have.
            (up, down) = async { tokio::join!(up, down) } => up.is_err() || down.is_err(),
            _ = mode.wait_for(|mode| *mode == ProxyMode::Reset) => true,
        }
    };
    if torn {
        reset(&client);
        reset(&server);
    }
}

async fn pump(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut mode: watch::Receiver<ProxyMode>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            flowing(&mut mode).await;
            return to.shutdown().await;
        }
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            flowing(&mut mode).await;
            let now = *mode.borrow();
            let (part, pause) = match now {
                ProxyMode::Delay(pause) => (rest.len(), pause),
                ProxyMode::Trickle(rate) => (1, Duration::from_secs(1) / rate.max(1)),
                ProxyMode::Pass
                | ProxyMode::Refuse
                | ProxyMode::Blackhole
                | ProxyMode::Reset
                | ProxyMode::DropOnce => (rest.len(), Duration::ZERO),
            };
            tokio::time::sleep(pause).await;
            to.write_all(&rest[..part]).await?;
            rest = &rest[part..];
        }
    }
}

/// Waits while the mode is `Blackhole`; false when the connection has to be reset.
async fn flowing(mode: &mut watch::Receiver<ProxyMode>) -> bool {
    mode.wait_for(|mode| *mode != ProxyMode::Blackhole).await.is_ok_and(|mode| *mode != ProxyMode::Reset)
}

/// Makes the coming close send RST (socket(7), SO_LINGER with a timeout of 0).
fn reset(stream: &TcpStream) {
    drop(socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}

// === impl SynBlackhole ===

impl SynBlackhole {
    /// Fills the queue of a listener on a free port of `ip`.
    pub fn start(ip: IpAddr) -> Self {
        let listener =
            Socket::new(Domain::for_address(SocketAddr::new(ip, 0)), Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::new(ip, 0).into()).expect("a free port");
        listener.listen(0).expect("a listener");
        let address = listener.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound address");
        let fillers = (0..4)
            .map(|_| {
                let filler = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
                filler.set_nonblocking(true).expect("a non-blocking socket");
                // In progress is what a non-blocking connect answers.
                drop(filler.connect(&address.into()));
                filler
            })
            .collect();
        Self { address, _listener: listener, _fillers: fillers }
    }

    /// Where connect hangs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
