//! How the rest of the story calls the application: the kubelet that probes it, the users once they are back.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

/// How long a caller waits for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Nobody listens, or the connection broke.
    #[error("{address} cannot be reached: {source}")]
    Connect {
        /// Who was called.
        address: SocketAddr,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The answer is not HTTP, or ends early.
    #[error("{address} does not answer as an HTTP server does: {source}")]
    Http {
        /// Who was called.
        address: SocketAddr,
        /// What the HTTP library says.
        source: hyper::Error,
    },
    /// No answer within a second.
    #[error("{address} did not answer within {PATIENCE:?}")]
    Timeout {
        /// Who was called.
        address: SocketAddr,
    },
}

/// An answer, read to its end. The kubelet and the users care only that there is one; the tests look into it.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "looked into by tests alone"))]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Calls `path` over a new connection, as `agent`.
///
/// # Errors
/// No answer within a second, for the reason named.
pub(super) async fn get(address: SocketAddr, path: &str, agent: &str) -> Result<Answer, CallError> {
    tokio::time::timeout(PATIENCE, call(address, path, agent))
        .await
        .unwrap_or(Err(CallError::Timeout { address }))
}

async fn call(address: SocketAddr, path: &str, agent: &str) -> Result<Answer, CallError> {
    // Not `net`: these are the patients' visitors and none of the exporter's own questions.
    #[allow(clippy::disallowed_methods)]
    let stream =
        TcpStream::connect(address).await.map_err(|source| CallError::Connect { address, source })?;
    let http = |source| CallError::Http { address, source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    let headers =
        [(HOST, address.to_string()), (USER_AGENT, agent.to_owned()), (CONNECTION, "close".to_owned())];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
    };
    // The connection is driven beside the call, and ends with it.
    let (answer, _) = futures_util::future::join(answer, connection).await;
    answer.map_err(http)
}
