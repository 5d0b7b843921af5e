//! The incident: a standby site in us-west-2 that claims to be well while its application asks us-east-1.
//!
//! The two regions are two loopback addresses. The database in the east refuses the west's connections, the replica in
//! the west was never created, and nobody but probes has called the application for months. The repairs are those
//! that an engineer would make, in that order.

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Now;
use super::application::Application;
use super::client::{self, CallError};
use super::database::{Database, Role};

/// How the story stands when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// As it was found.
    Incident,
    /// Every repair is made.
    Repaired,
}

/// A repair of the incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// The replica in the west is created, in recovery, with the data.
    ReplicaFinished,
    /// The application is pointed at the database in the west.
    ApplicationPointedWest,
    /// Users reach the application in the west, and go on doing so.
    BusinessRequestThrough,
    /// `/health` and `/ready` ask the database before they claim that it is connected.
    HealthDeepened,
}

/// A repair, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What [`Incident::apply`] takes.
    pub repair: Repair,
    /// What happens, in a few words.
    pub title: &'static str,
    /// What an engineer does in reality.
    pub in_reality: &'static str,
    /// What the exporter shows afterwards, within seconds.
    pub seen: &'static str,
}

/// The stand-ins, wired as the incident was; they answer while [`Incident::serve`] runs.
#[derive(Debug)]
pub struct Incident {
    regions: Regions,
    east: Database,
    west: Database,
    application: Application,
    /// Where the application and the exporter read the connection string.
    dsn: DsnFile,
    /// Whether users call the application.
    users: watch::Sender<bool>,
}

/// Two loopback addresses that stand for two regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    /// us-east-1.
    pub east: IpAddr,
    /// us-west-2.
    pub west: IpAddr,
}

/// Why the story cannot be told on this machine.
#[derive(Debug, Error)]
pub enum IncidentError {
    /// No two loopback addresses.
    #[error(
        "the demo needs two loopback addresses, and this machine has neither 127.0.0.2 nor ::1 beside 127.0.0.1: \
         enable IPv6 on the loopback interface, or run `ifconfig lo0 alias 127.0.0.2`"
    )]
    Loopback,
    /// A stand-in cannot take its port.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// The stand-in.
        what: &'static str,
        /// Where it would listen.
        address: IpAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The application's settings cannot be written.
    #[error("{} cannot be written: {source}: make the directory for temporary files writable (TMPDIR)", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A user's call has no answer.
    #[error("a user's request has no answer: {0}")]
    Call(#[from] CallError),
}

/// The file that is `DATABASE_URL` in the story, in a directory of its own that goes when this goes.
#[derive(Debug)]
struct DsnFile {
    directory: PathBuf,
    path: PathBuf,
}

/// How often the kubelet probes each instance.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How often a user calls, one instance after the other: each is called well within [`WINDOW`].
const USER_EVERY: Duration = Duration::from_secs(2);

/// The window of the traffic check in [`Incident::config_yaml`], in seconds.
const WINDOW: u64 = 10;

/// What users ask for.
const BUSINESS: [&str; 2] = ["/api/v1/orders?limit=20", "/api/v1/users"];

const STEPS: [Step; 4] = [
    Step {
        repair: Repair::ReplicaFinished,
        title: "the replica is finished",
        in_reality: "See why `aws_db_instance.replica_west` hung in `creating`, apply the module again, and wait until \
                     the replica streams from the primary.",
        seen: "A database listens in us-west-2, and nothing else changes: the application still asks us-east-1, so \
               dr_synthetic_query_success stays 0.",
    },
    Step {
        repair: Repair::ApplicationPointedWest,
        title: "the application is pointed at the west database",
        in_reality: "Change DATABASE_URL of the Deployment in dr-west to the replica's endpoint, and roll the pods.",
        seen: "dr_synthetic_query_success 1, dr_db_endpoint_region with db_region=\"us-west-2\", \
               dr_healthy_but_unusable 0.",
    },
    Step {
        repair: Repair::BusinessRequestThrough,
        title: "a business request goes through",
        in_reality: "Send a share of the reads to the standby, or rehearse the failover: a path that nobody takes is a \
                     path that nobody knows.",
        seen: "dr_traffic_zero_business_requests 0.",
    },
    Step {
        repair: Repair::HealthDeepened,
        title: "the health check is deepened",
        in_reality: "Let /health and /ready run a query before they claim that the database is connected, and let the \
                     DNS health check match the body.",
        seen: "The claims are as before, and are now true: stop the database, and they say so.",
    },
];

// === impl Incident ===

impl Incident {
    /// Binds every stand-in to a free port and writes the application's connection string; nothing is served until
    /// [`Incident::serve`] runs, though the kernel already takes connections.
    ///
    /// # Errors
    /// The machine has no two loopback addresses, no free port, or no writable directory for temporary files.
    pub async fn start(scenario: Scenario, now: Now) -> Result<Self, IncidentError> {
        let regions = Regions::find()?;
        let started = now();
        let reserve = |what, address, role| {
            Database::reserve(address, role, started).map_err(|source| IncidentError::Listen {
                what,
                address,
                source,
            })
        };
        let east = reserve("the database of us-east-1", regions.east, Role::Primary)?;
        let west = reserve("the database of us-west-2", regions.west, Role::Standby)?;
        let dsn = DsnFile::create()?;
        dsn.write(&east.dsn())?;
        let address = regions.west;
        let application = Application::bind(address, dsn.path.clone(), now)
            .await
            .map_err(|source| IncidentError::Listen { what: "the application", address, source })?;
        let incident = Self { regions, east, west, application, dsn, users: watch::Sender::new(false) };
        match scenario {
            Scenario::Incident => {}
            Scenario::Repaired => {
                for step in incident.steps() {
                    incident.mend(step.repair).await?;
                }
            }
        }
        Ok(incident)
    }

    /// Runs every stand-in, the kubelet's probes and the users' calls. Never ends by itself; dropping it cuts every
    /// connection.
    pub async fn serve(&self) {
        futures_util::future::join5(
            self.east.run(),
            self.west.run(),
            self.application.run(),
            self.kubelet(),
            self.users(),
        )
        .await;
    }

    /// The repairs, in the order in which they are made.
    pub fn steps(&self) -> &'static [Step; 4] {
        &STEPS
    }

    /// Makes a repair. It is in effect when this returns; making it twice is making it once.
    ///
    /// # Errors
    /// A port or the application's settings cannot be taken; or, for [`Repair::BusinessRequestThrough`], the
    /// application does not answer at all, as when [`Incident::serve`] does not run.
    pub async fn apply(&self, repair: Repair) -> Result<(), IncidentError> {
        self.mend(repair).await?;
        match repair {
            Repair::BusinessRequestThrough => {
                let calls = self.application.instances().iter();
                let calls = calls.map(|instance| client::get(instance.address, BUSINESS[0], "user"));
                join_all(calls).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            }
            Repair::ReplicaFinished | Repair::ApplicationPointedWest | Repair::HealthDeepened => {}
        }
        Ok(())
    }

    /// The part of a repair that needs nobody to answer.
    async fn mend(&self, repair: Repair) -> Result<(), IncidentError> {
        match repair {
            Repair::ReplicaFinished => self.west.start().await.map_err(|source| IncidentError::Listen {
                what: "the database of us-west-2",
                address: self.regions.west,
                source,
            }),
            Repair::ApplicationPointedWest => self.dsn.write(&self.west.dsn()),
            Repair::BusinessRequestThrough => {
                self.users.send_replace(true);
                Ok(())
            }
            Repair::HealthDeepened => {
                self.application.deepen_health();
                Ok(())
            }
        }
    }

    /// The addresses that stand for the regions.
    pub fn regions(&self) -> Regions {
        self.regions
    }

    /// The primary in us-east-1, which refuses the west.
    pub fn east(&self) -> &Database {
        &self.east
    }

    /// The replica in us-west-2, which does not exist until [`Repair::ReplicaFinished`].
    pub fn west(&self) -> &Database {
        &self.west
    }

    /// The application in us-west-2.
    pub fn application(&self) -> &Application {
        &self.application
    }

    /// The exporter's configuration for this site: a file as any user writes it.
    pub fn config_yaml(&self) -> String {
        let Regions { east, west } = self.regions;
        let (east, west) = (IpNet::from(east), IpNet::from(west));
        let mut instances = String::new();
        for instance in self.application.instances() {
            // Writing to a String cannot fail.
            let _ = write!(
                instances,
                "\n          - {{name: {}, url: \"http://{}\"}}",
                instance.name, instance.address
            );
        }
        let orders = self.application.instances()[0].address;
        // JSON's strings are YAML's: a path may hold anything.
        let dsn = serde_json::Value::from(self.dsn.path.to_string_lossy());
        format!(
            r#"# The incident of `dr-exporter demo`, told to the exporter as any site is.
site: {{name: dr-west, region: us-west-2, role: standby}}

regions:                     # two loopback addresses stand for two regions
  us-east-1: {{cidrs: ["{east}"]}}
  us-west-2: {{cidrs: ["{west}"]}}

defaults: {{interval: 1s, timeout: 800ms}}

kubernetes: {{mode: disabled}}

systems:
  - name: orders
    strategy: hot

    workloads:
      - name: api-server
        metrics: {{path: /metrics}}
        instances:{instances}

    surfaces:
      - {{name: health, workload: api-server, path: /health, decisive: true,
         expect: {{status: [200], json: {{/database: connected}}}}}}
      - {{name: ready, workload: api-server, path: /ready, decisive: false,
         expect: {{status: [200], json: {{/checks/database: true}}}}}}

    databases:
      - name: orders
        kind: postgres
        endpoint: {{url: {{file: {dsn}}}}}     # what DATABASE_URL is for the application
        expected_regions: [us-west-2]
        queries:
          - {{name: select_orders, sql: "select id, created_at from orders order by created_at desc limit 1", min_rows: 1}}

    requests:
      - {{name: list_orders, url: "http://{orders}/api/v1/orders?limit=1", method: GET,
         expect: {{status: [200], json_exists: [/items/0/id]}}}}

    traffic:
      - workload: api-server
        expected: false
        counter: http_requests_total
        business: {{handler: "/api/.+"}}
        probes: {{handler: "/health|/ready|/metrics"}}
        window: {WINDOW}s
"#
        )
    }

    /// Probes every instance as a kubelet does, which keeps the probes' counters moving.
    async fn kubelet(&self) {
        let mut ticks = interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let probes = self.application.instances().iter().flat_map(|instance| {
                ["/health", "/ready"].map(|path| client::get(instance.address, path, "kube-probe/1.31"))
            });
            // A kubelet would restart a pod that fails for long; the story needs its counters alone.
            join_all(probes).await;
        }
    }

    /// Calls the application as users do, from [`Repair::BusinessRequestThrough`] on.
    async fn users(&self) {
        let mut wanted = self.users.subscribe();
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let mut ticks = interval(USER_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let instances = self.application.instances();
        for (instance, path) in instances.iter().cycle().zip(BUSINESS.iter().cycle()) {
            ticks.tick().await;
            // A user who gets no answer comes again.
            let _ = client::get(instance.address, path, "user").await;
        }
    }
}

// === impl Regions ===

impl Regions {
    /// 127.0.0.1 and 127.0.0.2, which Linux has always; else 127.0.0.1 and ::1, which macOS has.
    fn find() -> Result<Self, IncidentError> {
        let east = IpAddr::V4(Ipv4Addr::LOCALHOST);
        [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .find(|west| TcpListener::bind(SocketAddr::new(*west, 0)).is_ok())
            .map(|west| Self { east, west })
            .ok_or(IncidentError::Loopback)
    }
}

// === impl DsnFile ===

impl DsnFile {
    fn create() -> Result<Self, IncidentError> {
        let directory = std::env::temp_dir().join(format!("dr-exporter-demo-{:016x}", rand::random::<u64>()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|source| IncidentError::Write { path: directory.clone(), source })?;
        let path = directory.join("DATABASE_URL");
        Ok(Self { directory, path })
    }

    /// Puts a connection string in place of the last one, whole: a reader sees the one or the other.
    fn write(&self, dsn: &str) -> Result<(), IncidentError> {
        let next = self.directory.join("DATABASE_URL.next");
        write_private(&next, dsn)
            .and_then(|()| std::fs::rename(&next, &self.path))
            .map_err(|source| IncidentError::Write { path: self.path.clone(), source })
    }
}

impl Drop for DsnFile {
    fn drop(&mut self) {
        // The process is about to end, and a directory that stays behind holds no secret.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}

#[cfg(test)]
mod tests;
