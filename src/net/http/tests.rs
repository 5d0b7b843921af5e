//! Against small servers on port 0.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

async fn bound() -> (TcpListener, Url) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/path?token=c4n4ry", listener.local_addr().unwrap())).unwrap();
    (listener, url)
}

/// Serves one connection with those bytes, and gives back what was asked.
async fn serve(listener: TcpListener, answer: Vec<u8>) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 8192];
    let read = stream.read(&mut request).await.unwrap();
    // The client may hang up early on purpose.
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
    String::from_utf8_lossy(&request[..read]).into_owned()
}

fn client() -> HttpClient {
    HttpClient::default()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[tokio::test]
async fn an_answer_is_read_and_the_request_is_what_it_should_be() {
    let (listener, url) = bound().await;
    let address = listener.local_addr().unwrap();
    let mut request = HttpRequest::get(url);
    request.headers.push((HeaderName::from_static("authorization"), Secret::new("Bearer x")));
    let (asked, answer) =
        tokio::join!(serve(listener, ok("x-a: b\r\n", b"fine")), async { client().send(&request).await });
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..], answer.end),
        (200, &b"fine"[..], BodyEnd::Complete)
    );
    assert_eq!((answer.peer, answer.headers["x-a"].to_str().unwrap()), (address, "b"));
    assert!(asked.starts_with("GET /path?token=c4n4ry HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("authorization: Bearer x\r\n") && asked.contains(&format!("host: {address}\r\n")),
        "{asked}"
    );
}

#[tokio::test]
async fn connect_to_changes_the_address_only() {
    let (listener, url) = bound().await;
    let port = url.port().unwrap();
    for named in ["http://api.example:81/x", "http://10.255.255.1/x"] {
        let mut request = HttpRequest::get(Url::parse(named).unwrap());
        request.connect_to = Some(("127.0.0.1".to_owned(), port));
        let accept = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(&ok("", b"")).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        };
        let (asked, answer) = tokio::join!(accept, async { client().send(&request).await });
        assert_eq!(answer.unwrap().status, 200);
        let host = named.trim_start_matches("http://").trim_end_matches("/x");
        assert!(asked.contains(&format!("host: {host}\r\n")), "{asked}");
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let (listener, url) = bound().await;
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let request = HttpRequest::get(url);
    let (_, answer) = tokio::join!(serve(listener, redirect), async { client().send(&request).await });
    assert_eq!(answer.unwrap().status, 302);
}

#[tokio::test]
async fn a_closed_port_is_refused_and_the_query_is_not_shown() {
    let (listener, url) = bound().await;
    drop(listener);
    let fault = client().send(&HttpRequest::get(url)).await.unwrap_err();
    assert_eq!((fault.reason, fault.ours), (Reason::Refused, false));
    assert!(!fault.message.contains("c4n4ry"));
}

#[tokio::test]
async fn a_user_in_the_url_is_refused_without_echo() {
    let url = Url::parse("http://me:c4n4ry@127.0.0.1:1/").unwrap();
    let fault = client().send(&HttpRequest::get(url)).await.unwrap_err();
    assert_eq!((fault.reason, fault.ours), (Reason::Misconfigured, true));
    assert!(!fault.message.contains("c4n4ry") && !fault.message.contains("me:"), "{fault}");
}

#[tokio::test]
async fn a_slow_answer_ends_with_the_caller() {
    let (listener, url) = bound().await;
    let request = HttpRequest::get(url);
    let tarpit = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        for byte in
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".iter().chain(std::iter::repeat(&b'x'))
        {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let asking = timeout(Duration::from_millis(150), async { client().send(&request).await.map(drop) });
    // The server's end comes only when the client's socket is really closed.
    let ((), asked) = tokio::join!(tarpit, asking);
    assert!(asked.is_err());
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap() {
    let (listener, url) = bound().await;
    let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    answer.extend(std::iter::repeat_n(b'x', 300_000));
    let mut request = HttpRequest::get(url);
    request.cap = 1000;
    let (_, got) = tokio::join!(serve(listener, answer), async { client().send(&request).await });
    let got = got.unwrap();
    assert_eq!((got.end, got.body.len()), (BodyEnd::Truncated, 1000));
}

#[tokio::test]
async fn a_body_of_exactly_the_cap_is_complete() {
    for (extra, end) in [(0, BodyEnd::Complete), (1, BodyEnd::Truncated)] {
        for packed in [false, true] {
            let (listener, url) = bound().await;
            let text = vec![b'x'; 1000 + extra];
            let answer = if packed { ok("content-encoding: gzip\r\n", &gzip(&text)) } else { ok("", &text) };
            let mut request = HttpRequest::get(url);
            request.cap = 1000;
            let (_, got) = tokio::join!(serve(listener, answer), async { client().send(&request).await });
            let got = got.unwrap();
            assert_eq!((got.end, got.body.len()), (end, 1000), "{extra} {packed}");
        }
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_cut_by_its_decoded_size() {
    let (listener, url) = bound().await;
    let bomb = gzip(&vec![0; 64 << 20]);
    let request = HttpRequest::get(url);
    let served = serve(listener, ok("content-encoding: gzip\r\n", &bomb));
    let (_, got) = tokio::join!(served, async { client().send(&request).await });
    let got = got.unwrap();
    assert_eq!((got.end, got.body.len()), (BodyEnd::Truncated, SURFACE_CAP));
}

#[tokio::test]
async fn gzip_is_unpacked_whole_under_its_cap_or_is_a_failure() {
    let two_members = [gzip(b"a 1\n"), gzip(b"b 2\n")].concat();
    let unpacked = async |body: &[u8], cap: usize| {
        let (listener, url) = bound().await;
        let request = HttpRequest { cap, ..HttpRequest::get(url) };
        let served = serve(listener, ok("content-encoding: gzip\r\n", body));
        tokio::join!(served, async { client().send(&request).await }).1
    };
    let whole = unpacked(&two_members, 8).await.unwrap();
    assert_eq!((whole.end, &whole.body[..]), (BodyEnd::Complete, &b"a 1\nb 2\n"[..]));
    let cut = unpacked(&two_members, 7).await.unwrap();
    assert_eq!((cut.end, cut.body.len()), (BodyEnd::Truncated, 7));
    for corrupt in [&two_members[..two_members.len() - 3], b"a 1\n"] {
        let fault = unpacked(corrupt, 99).await.unwrap_err();
        assert_eq!((fault.reason, fault.ours), (Reason::Other, false), "{fault}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"",
    ] {
        let (listener, url) = bound().await;
        let request = HttpRequest::get(url);
        let (_, got) =
            tokio::join!(serve(listener, answer.to_vec()), async { client().send(&request).await });
        let fault = got.unwrap_err();
        assert_eq!((fault.reason, fault.ours), (Reason::Other, false), "{fault}");
        assert!(!fault.message.contains("c4n4ry"), "{fault}");
    }
}

/// Asks `https://localhost` of a server whose certificate has that name, trusting it or not.
async fn ask_tls(name: &str, trusted: bool, insecure: bool) -> Result<HttpResponse, Fault> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let (listener, url) = bound().await;
    let mut request =
        HttpRequest::get(Url::parse(&format!("https://localhost:{}/", url.port().unwrap())).unwrap());
    request.connect_to = Some(("127.0.0.1".to_owned(), url.port().unwrap()));
    request.insecure = insecure;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["other".to_owned()]).unwrap();
    if !trusted {
        std::fs::write(file.path(), other.cert.pem()).unwrap();
    }
    request.ca_files.push(file.path().to_owned());
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(stream).await else {
            return;
        };
        let mut asked = [0; 4096];
        if stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
            stream.write_all(&ok("", b"tls")).await.unwrap();
        }
        let _ = stream.shutdown().await;
    };
    let ((), answer) = tokio::join!(serving, async { client().send(&request).await });
    answer
}

#[tokio::test]
async fn l18_certificates_verify_or_say_why() {
    let good = ask_tls("localhost", true, false).await.unwrap();
    assert_eq!(&good.body[..], b"tls");
    assert!(good.certificate.is_some());
    let wrong = ask_tls("elsewhere.example", true, false).await.unwrap_err();
    assert_eq!((wrong.reason, wrong.ours), (Reason::Certificate, false));
    assert!(wrong.message.ends_with("is not for this name"), "{wrong}");
    let unknown = ask_tls("localhost", false, false).await.unwrap_err();
    assert_eq!(unknown.reason, Reason::Certificate, "{unknown}");
    assert_eq!(ask_tls("elsewhere.example", false, true).await.unwrap().status, 200);
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_a_tls_failure() {
    let (listener, url) = bound().await;
    let request =
        HttpRequest::get(Url::parse(&format!("https://127.0.0.1:{}/", url.port().unwrap())).unwrap());
    let served = serve(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let (_, got) = tokio::join!(served, async { client().send(&request).await });
    assert_eq!(got.unwrap_err().reason, Reason::Tls);
}
