//! A client for the interfaces of our helpers, such as a Prometheus server: asked again and again, so its connections
//! are kept. Targets of checks are never asked through it: a kept connection hides a failover
//! (see [`super::http`] for those).

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use url::Url;

use super::dial::Fault;
use super::resolve::Resolver;
use super::tls::{Roots, TlsSettings, Verify};
use crate::model::Reason;
use crate::secret::Secret;

/// Asks one helper.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: reqwest::Client,
    /// How sentences begin.
    who: &'static str,
}

/// Names are resolved as everywhere else here.
struct Names(Resolver);

// === impl ApiClient ===

impl ApiClient {
    /// A client that trusts the system's certificates and these.
    ///
    /// # Errors
    ///
    /// A file of certificates that cannot be used: our own fault.
    pub fn new(who: &'static str, resolver: &Resolver, ca_files: Vec<PathBuf>) -> Result<Self, Fault> {
        let roots = Roots::SystemAnd(ca_files);
        let tls =
            TlsSettings { verify: Verify::Full, roots, identity: None, sni: true, alpn: None }.build()?;
        let client = reqwest::Client::builder()
            .use_preconfigured_tls((*tls).clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Names(resolver.clone())))
            .user_agent(concat!("dr-exporter/", env!("CARGO_PKG_VERSION")))
            .build();
        let client =
            client.map_err(|_| Fault::ours(Reason::Internal, format!("{who}: no client could be made")))?;
        Ok(ApiClient { client, who })
    }

    /// The body of an answer with status 200, unpacked and at most `cap` bytes long.
    ///
    /// # Errors
    ///
    /// Everything else. The URL and the body are never repeated.
    pub async fn get(&self, url: Url, authorization: Option<&Secret>, cap: usize) -> Result<Vec<u8>, Fault> {
        let who = self.who;
        let mut request = self.client.get(url);
        if let Some(secret) = authorization {
            let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
                Fault::ours(
                    Reason::Misconfigured,
                    format!("{who}: the authorization is not a header's value"),
                )
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.map_err(|error| fault_of(who, &error))?;
        if answer.status() != http::StatusCode::OK {
            let status = answer.status().as_u16();
            return Err(Fault::theirs(Reason::HttpStatus, format!("{who} answered with status {status}")));
        }
        let (mut body, mut pieces) = (Vec::new(), answer.bytes_stream());
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| fault_of(who, &error))?;
            if body.len() + piece.len() > cap {
                let words = format!("the answer of {who} is larger than {cap} bytes");
                return Err(Fault::theirs(Reason::Limit, words));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

fn fault_of(who: &str, error: &reqwest::Error) -> Fault {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Fault::of_io(io, who);
        }
        if let Some(fault) = inner.downcast_ref::<Fault>() {
            return fault.clone();
        }
        cause = inner.source();
    }
    Fault::theirs(Reason::Other, format!("{who} broke the exchange off"))
}

// === impl Names ===

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let found = resolver.lookup(name.as_str()).await?;
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(answer: &'static str, cap: usize) -> (Result<Vec<u8>, Fault>, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/x?secret=1", listener.local_addr().unwrap());
        let client = ApiClient::new("the helper", &Resolver::default(), vec![]).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&head[..read]).into_owned()
        };
        let token = Secret::new("Bearer abc");
        tokio::join!(client.get(url.parse().unwrap(), Some(&token), cap), server)
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_cap() {
        let (body, head) = answered("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 5).await;
        assert_eq!(body.unwrap(), b"hello");
        assert!(head.contains("authorization: Bearer abc"), "{head}");
        let (body, _) = answered("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 4).await;
        assert_eq!(body.unwrap_err().reason, Reason::Limit);
    }

    #[tokio::test]
    async fn faults_name_the_helper_and_repeat_nothing() {
        let (body, _) = answered("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", 5).await;
        let fault = body.unwrap_err();
        assert_eq!(
            (fault.reason, fault.message.as_str()),
            (Reason::HttpStatus, "the helper answered with status 503")
        );
        let client = ApiClient::new("the helper", &Resolver::default(), vec![]).unwrap();
        let fault = client.get("http://127.0.0.1:1/x?secret=1".parse().unwrap(), None, 5).await.unwrap_err();
        assert_eq!(fault.reason, Reason::Refused);
        assert!(!fault.message.contains("secret"), "{fault}");
    }
}
