//! Our own port: any bytes that a client may send, to a running exporter over a real connection.
#![no_main]

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use dr_exporter::app::{App, Running};
use dr_exporter::config;
use dr_exporter::web::Bound;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Longer than any answer takes, shorter than libFuzzer waits.
const PATIENCE: Duration = Duration::from_secs(5);
const SITE: &str = "site: {name: dr-west, region: us-west-2, role: standby}
kubernetes: {mode: disabled}
systems:
  - name: orders
    surfaces: [{name: health, url: \"http://127.0.0.1:1/health\", decisive: true}]
";

struct Served {
    runtime: Runtime,
    address: SocketAddr,
    _running: Running,
}

fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let (address, running) = runtime.block_on(async {
            let loaded = config::parse("fuzz.yaml", SITE, jiff::Timestamp::now()).expect("a configuration");
            let bound = Bound::bind(&[([127, 0, 0, 1], 0).into()]).await.expect("a free port");
            let address = bound.addresses()[0];
            (address, App::new(&loaded).start(bound, "/metrics".to_owned()))
        });
        Served { runtime, address, _running: running }
    })
}

fuzz_target!(|request: &[u8]| {
    let Served { runtime, address, _running } = served();
    runtime.block_on(async {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        // It may hang up in the middle of what it refuses.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "it neither answers nor hangs up");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
    });
});
