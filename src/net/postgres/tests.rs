//! Against sockets that speak just enough of the protocol; the real server is the lab's.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn options() -> Options {
    Options { application_name: Some("dr-exporter".into()), ca_files: Vec::new() }
}

async fn dial(dsn: &str, within: Duration) -> Result<Session, ConnectError> {
    let dsn = Dsn::parse(dsn).unwrap();
    connect(&dsn, &Login::default(), &Resolver::default(), &options(), Instant::now() + within).await
}

/// Accepts the login of everybody and then answers each query with one row of that text.
async fn server(listener: TcpListener, value: &'static str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 8);
        // AuthenticationOk, BackendKeyData, ReadyForQuery.
        let mut hello = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'K', 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 2];
        hello.extend([b'Z', 0, 0, 0, 5, b'I']);
        stream.write_all(&hello).await.unwrap();
        while let Ok(1..) = stream.read(&mut buffer).await {
            if buffer[0] != b'Q' {
                break;
            }
            let mut reply =
                b"T\0\0\0\x1a\0\x01x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0".to_vec();
            let length = u32::try_from(value.len()).unwrap();
            reply.push(b'D');
            reply.extend((10 + length).to_be_bytes());
            reply.extend([0, 1]);
            reply.extend(length.to_be_bytes());
            reply.extend(value.as_bytes());
            reply.extend(b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I");
            stream.write_all(&reply).await.unwrap();
        }
    }
}

async fn bound() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_refused_port_and_a_silent_server_are_told_apart() {
    let (listener, port) = bound().await;
    let silent =
        dial(&format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable"), Duration::from_millis(100)).await;
    let silent = silent.err().unwrap();
    assert_eq!((silent.fault.reason, silent.phase), (Reason::Timeout, Phase::Login));
    drop(listener);
    let refused =
        dial(&format!("postgres://u@127.0.0.1:{port}/d"), Duration::from_secs(1)).await.err().unwrap();
    assert_eq!(
        (refused.fault.reason, refused.phase, refused.fault.ours),
        (Reason::Refused, Phase::Tcp, false)
    );
}

#[tokio::test]
async fn a_silent_first_host_leaves_time_for_the_second() {
    let (_silent, first) = bound().await;
    let (listener, second) = bound().await;
    let dsn = format!("postgres://u@127.0.0.1:{first},127.0.0.1:{second}/d?sslmode=disable");
    let session = tokio::select! {
        session = dial(&dsn, Duration::from_millis(600)) => session.ok().unwrap(),
        () = server(listener, "x") => unreachable!(),
    };
    assert_eq!(session.host.port(), second);
    assert_eq!(session.peer.address().unwrap().port(), second);
    assert!(session.tls.is_none());
}

#[tokio::test]
async fn target_session_attrs_chooses_the_server() {
    let (standby, first) = bound().await;
    let (primary, second) = bound().await;
    let hosts =
        format!("postgres://u@127.0.0.1:{first},127.0.0.1:{second}/d?sslmode=disable&target_session_attrs=");
    let both = async { tokio::join!(server(standby, "t"), server(primary, "f")) };
    let work = async {
        for (attrs, port) in
            [("primary", second), ("standby", first), ("prefer-standby", first), ("any", first)]
        {
            let session = dial(&format!("{hosts}{attrs}"), Duration::from_secs(2)).await.ok().unwrap();
            assert_eq!(session.host.port(), port, "{attrs}");
            session.goodbye(Duration::from_secs(1)).await;
        }
        let error = dial(
            &format!("postgres://u@127.0.0.1:{first}/d?sslmode=disable&target_session_attrs=primary"),
            Duration::from_secs(2),
        )
        .await
        .err()
        .unwrap();
        assert_eq!((error.fault.reason, error.phase), (Reason::ReadOnly, Phase::Session));
    };
    tokio::select! {
        () = work => {}
        _ = both => unreachable!(),
    }
}

#[tokio::test]
async fn dropping_the_session_closes_the_socket() {
    let (listener, port) = bound().await;
    let accepted = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 1024];
        let mut total = 0;
        loop {
            let read = stream.read(&mut buffer).await.unwrap();
            if read == 0 {
                return total;
            }
            total += read;
        }
    };
    let dsn = format!("postgres://u@127.0.0.1:{port}/d?sslmode=disable");
    let (ended, failed) = tokio::join!(accepted, dial(&dsn, Duration::from_millis(50)));
    assert!(ended > 0 && failed.is_err());
}

#[tokio::test]
async fn tls_that_is_demanded_and_not_offered() {
    let (listener, port) = bound().await;
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 8]).await.unwrap();
        stream.write_all(b"N").await.unwrap();
        stream.read(&mut [0; 8]).await.unwrap()
    };
    let dsn = format!("postgres://u@127.0.0.1:{port}/d?sslmode=require");
    let (_, error) = tokio::join!(refuse, dial(&dsn, Duration::from_secs(1)));
    let error = error.err().unwrap();
    assert_eq!((error.fault.reason, error.phase), (Reason::Tls, Phase::Tls));
}

#[test]
fn everything_can_run_on_any_thread() {
    fn sendable<T: Send>(_: &T) {}
    let dsn = Dsn::parse("postgres://h/d").unwrap();
    let (login, resolver, options) = (Login::default(), Resolver::default(), options());
    let whole = async {
        let mut session = connect(&dsn, &login, &resolver, &options, Instant::now()).await?;
        let slot = CancelSlot::default();
        slot.arm(session.cancel());
        let done = session.driver.drive(session.client.batch_execute("select 1")).await;
        drop(slot.take());
        session.goodbye(Duration::from_secs(1)).await;
        Ok::<_, ConnectError>(done.is_ok())
    };
    sendable(&whole);
}
