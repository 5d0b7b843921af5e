//! The HTTP ends of the lab: a server for the application, a server of fixed bodies, and the test's own client.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::{AbortHandle, JoinSet};

/// A response body: whole, or a stream that may never end.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A task that ends with its owner.
pub struct Task(AbortHandle);

/// Answers configured paths with fixed bodies and everything else with 404; bodies can be changed while it runs.
pub struct FixedServer {
    address: SocketAddr,
    pages: Arc<Mutex<BTreeMap<String, (String, Bytes)>>>,
    _task: Task,
}

// === impl Task ===

impl Task {
    /// Runs a future until its end or until this handle is dropped.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl FixedServer ===

impl FixedServer {
    /// Starts with no pages on a free port of `ip`.
    pub async fn start(ip: IpAddr) -> Self {
        let pages: Arc<Mutex<BTreeMap<String, (String, Bytes)>>> = Arc::default();
        let served = Arc::clone(&pages);
        let (address, task) = serve(ip, move |request: Request<Incoming>| {
            let page = served.lock().unwrap().get(request.uri().path()).cloned();
            async move {
                match page {
                    Some((kind, body)) => respond(StatusCode::OK, &kind, body),
                    None => respond(StatusCode::NOT_FOUND, "text/plain", "no such page"),
                }
            }
        })
        .await;
        Self { address, pages, _task: task }
    }

    /// Sets what a path answers from now on.
    pub fn page(&self, path: &str, content_type: &str, body: impl Into<Bytes>) {
        self.pages.lock().unwrap().insert(path.to_owned(), (content_type.to_owned(), body.into()));
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves HTTP/1.1 on a free port of `ip` until the task is dropped; open connections end with it.
pub async fn serve<F, Fut>(ip: IpAddr, handler: F) -> (SocketAddr, Task)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    serve_at(SocketAddr::new(ip, 0), handler).await
}

/// The same on exactly this address.
pub async fn serve_at<F, Fut>(address: SocketAddr, handler: F) -> (SocketAddr, Task)
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
    let address = listener.local_addr().expect("a bound address");
    let task = Task::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            while connections.try_join_next().is_some() {}
            let handler = handler.clone();
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                // A client that hangs up in the middle is what some tests are about.
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    (address, task)
}

/// A whole response.
pub fn respond(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(whole(body))
        .expect("a valid response")
}

/// A whole body.
pub fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The client of the tests: no proxy, no redirects, no connection kept, nothing decompressed behind the test's back.
pub fn client() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // Another part of the test binary may have installed the same provider before.
        drop(rustls::crypto::ring::default_provider().install_default());
        reqwest::Client::builder()
            .no_proxy()
            .no_gzip()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(30))
            .build()
            .expect("an HTTP client")
    })
}
