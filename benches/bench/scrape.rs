//! What a scrape costs the one who is scraped.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

use super::cluster::{kube_name, start_kube_state_metrics};
use super::gauge::cpu_of;
use super::lab::eventually;
use super::lab::kube::Kube;
use super::pods::Pods;
use super::programs::{Load, cloudprober, cloudprober_http, cloudprober_name, exporter, surfaces};
use super::table::{Row, Section, show};
use super::target::Target;

pub const TITLE: &str = "Scrapes";

/// How many series are wanted, and how often they are scraped.
const SIZES: [(usize, usize); 3] = [(100, 2_000), (1_000, 800), (10_000, 200)];
/// Nothing is asked a second time while we measure.
const RARELY: Duration = Duration::from_secs(3_600);
/// Until every first answer is there.
const FIRST: Duration = Duration::from_secs(33);

/// What scrapes of one program cost.
struct Cost {
    series: usize,
    bytes: usize,
    cpu: Duration,
    took: Vec<Duration>,
}

/// Each size of each program; with gzip what Prometheus really asks of us.
pub async fn measure(target: &Target) -> Section {
    let mut rows = Vec::new();
    let mut exporters = Vec::new();
    let mut probers = Vec::new();
    for (series, _) in SIZES {
        // A surface has 26 series, there are 40 beside them; a target of cloudprober has 6.
        let load = Load { targets: (series / 26).saturating_sub(1).max(1), every: RARELY };
        exporters.push(exporter(&surfaces(target, load, "/health"), None).await);
        let load = Load { targets: series / 6, every: Duration::from_secs(10) };
        probers.push(cloudprober(&cloudprober_http(target, load), None).await);
    }
    let (kube, since) = (Kube::start().await, Instant::now());
    let mut pods = Pods::new(&kube).await;
    tokio::time::sleep(FIRST.saturating_sub(since.elapsed())).await;
    for (place, (wanted, times)) in SIZES.into_iter().enumerate() {
        let ours = &exporters[place];
        let plain = Cost::of("dr-exporter", ours.pid(), ours.address(), false, times);
        let packed = Cost::of("dr-exporter, gzip", ours.pid(), ours.address(), true, times);
        let prober = &probers[place];
        let prober = Cost::of("cloudprober", prober.daemon.pid(), prober.address, false, times);
        // A pod has 36 series.
        pods.grow_to((wanted / 36).max(1)).await;
        let (daemon, address) = start_kube_state_metrics(&kube);
        let url = format!("http://{address}/metrics");
        eventually("kube-state-metrics knows the pods", Duration::from_secs(20), async || {
            let text = super::lab::http::client().get(&url).send().await.map_err(|e| e.to_string())?;
            let text = text.text().await.map_err(|e| e.to_string())?;
            if text.lines().count() > wanted / 2 {
                Ok(())
            } else {
                Err(format!("{} lines", text.lines().count()))
            }
        })
        .await;
        let others = Cost::of("kube-state-metrics", daemon.pid(), address, false, times);
        let all = [
            ("dr-exporter", &plain),
            ("dr-exporter, gzip", &packed),
            (&*kube_name(), &others),
            (&*cloudprober_name(), &prober),
        ];
        let what = format!("CPU a series, about {wanted} series");
        rows.extend(all.iter().map(|(name, cost)| match *name {
            "dr-exporter" if wanted >= 1_000 => Row::at_most(&what, name, cost.each(), 0.3, "µs"),
            _ => Row::new(&what, name, show(cost.each(), "µs")),
        }));
        if wanted == 10_000 {
            let what = "CPU a scrape, 10,000 series";
            rows.push(Row::at_most(what, "dr-exporter", plain.each() * 10.0, 3.0, "ms"));
        }
        let what = format!("answered within, about {wanted} series: p50 / p99");
        rows.extend(all.iter().map(|(name, cost)| {
            Row::new(
                &what,
                name,
                format!("{} / {}", show(cost.quantile(0.5), "ms"), show(cost.quantile(0.99), "ms")),
            )
        }));
        if wanted == 10_000 {
            let what = "p99, about 10,000 series";
            rows.push(Row::at_most(what, "dr-exporter", plain.quantile(0.99), 8.0, "ms"));
            rows.push(Row::at_most(what, "dr-exporter, gzip", packed.quantile(0.99), 8.0, "ms"));
        }
        let what = format!("body, about {wanted} series");
        rows.extend(all.iter().map(|(name, cost)| {
            let Cost { series, bytes, .. } = cost;
            Row::new(&what, name, format!("{} for {series} series", show(*bytes as f64 / 1000.0, "kB")))
        }));
    }
    Section {
        title: TITLE,
        before: "One client that scrapes as fast as it is answered, over a connection that stays open, text format 0.0.4 \
                 without compression; beside it what Prometheus asks of us by itself, OpenMetrics in gzip."
            .to_owned(),
        rows,
        after: "A series is a line with a sample. CPU is that of the whole process while it was scraped, divided by scrapes \
                and series. Times are those of the client, from the request to the end of the body, and grow when the \
                machine has something else to do. blackbox_exporter remembers nothing and has no series to compare."
            .to_owned(),
    }
}

// === impl Cost ===

impl Cost {
    fn of(name: &str, pid: i32, address: SocketAddr, packed: bool, times: usize) -> Self {
        let mut client = Client::new(address, packed);
        let body = client.ask();
        let bytes = body.len();
        let text = if packed {
            let mut text = String::new();
            GzDecoder::new(&*body).read_to_string(&mut text).expect("gzip");
            text
        } else {
            String::from_utf8_lossy(&body).into_owned()
        };
        let series = text.lines().filter(|line| !line.starts_with('#') && line.contains(' ')).count();
        for _ in 0..5 {
            client.ask();
        }
        let before = cpu_of(pid);
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let begun = Instant::now();
            client.ask();
            took.push(begun.elapsed());
        }
        let cpu = (cpu_of(pid) - before) / u32::try_from(times).expect("few");
        took.sort_unstable();
        let cost = Self { series, bytes, cpu, took };
        eprintln!(
            "{name}: {series} series, {bytes} bytes, {cpu:?} of CPU a scrape, {:.3} µs a series, p50 {:.2} ms, p99 {:.2} ms",
            cost.each(),
            cost.quantile(0.5),
            cost.quantile(0.99)
        );
        cost
    }

    /// Microseconds of CPU for a series.
    fn each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.series as f64
    }

    /// In milliseconds.
    fn quantile(&self, q: f64) -> f64 {
        let place = (q * (self.took.len() - 1) as f64).round() as usize;
        self.took[place].as_secs_f64() * 1e3
    }
}

/// A client that costs nothing but copies: it keeps its connection and looks for the end of the answer only.
struct Client {
    stream: TcpStream,
    request: String,
}

// === impl Client ===

impl Client {
    fn new(address: SocketAddr, packed: bool) -> Self {
        let accept = if packed {
            "application/openmetrics-text;version=1.0.0\r\naccept-encoding: gzip"
        } else {
            "text/plain;version=0.0.4"
        };
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time limit");
        Self { stream, request: format!("GET /metrics HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\n\r\n") }
    }

    /// The body as it came.
    fn ask(&mut self) -> Vec<u8> {
        self.stream.write_all(self.request.as_bytes()).expect("to ask");
        let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 18]);
        loop {
            let read = self.stream.read(&mut buffer).expect("an answer in time");
            assert!(read > 0, "the answer ended early");
            all.extend_from_slice(&buffer[..read]);
            let Some(head) = all[..all.len().min(2_048)].windows(4).position(|end| end == b"\r\n\r\n") else {
                continue;
            };
            let said = String::from_utf8_lossy(&all[..head]).to_ascii_lowercase();
            let length = said
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            match length {
                Some(length) if all.len() == head + 4 + length => return all.split_off(head + 4),
                // Chunked; the frames stay in it, a few bytes each.
                None if all.ends_with(b"\r\n0\r\n\r\n") => return all.split_off(head + 4),
                Some(_) | None => {}
            }
        }
    }
}
