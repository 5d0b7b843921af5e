//! What holding the Lease means for those who work, and the Lease itself at an API server that is not the real one:
//! it keeps one object and refuses what comes too late. The real one is in `tests/it`.

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::*;
use crate::config;
use crate::secret::{KubernetesAccess, Secrets};
use crate::tasks::Tasks;

const NOBODY: Seen<'_> = Seen { holder: None, obstacle: None };

fn candidate() -> Leadership {
    Leadership::candidate(Arc::from("a"), Timestamp::UNIX_EPOCH)
}

fn step_down(leadership: &Leadership) {
    let change = Change::SteppedDown("on purpose".to_owned());
    leadership.note(Timestamp::UNIX_EPOCH, vec![change], None, NOBODY);
}

#[tokio::test(start_paused = true)]
async fn one_alone_leads_for_ever() {
    let alone = Leadership::alone();
    assert!(alone.is_leading() && alone.is_alone());
    alone.leads().await;
    assert_eq!(alone.while_leading(sleep(Duration::from_secs(1_000_000))).await, Some(()));
}

#[tokio::test(start_paused = true)]
async fn work_ends_when_the_time_is_over_unless_it_is_renewed() {
    let leadership = candidate();
    assert!(!leadership.is_leading());
    assert_eq!(leadership.while_leading(async { panic!("begun without leading") }).await, None::<()>);
    leadership.lead_for(Duration::from_secs(6));
    leadership.leads().await;
    let begun = Instant::now();
    let renewed = async {
        sleep(Duration::from_secs(4)).await;
        leadership.note(Timestamp::UNIX_EPOCH, vec![], Some(Instant::now() + Duration::from_secs(6)), NOBODY);
    };
    let (end, ()) = tokio::join!(leadership.while_leading(std::future::pending::<()>()), renewed);
    assert_eq!((end, begun.elapsed()), (None, Duration::from_secs(10)));
    let standing = leadership.standing();
    assert!(
        matches!(standing, Standing::StandingBy { obstacle: Some(_), .. }),
        "nobody wrote it down: {standing:?}"
    );
}

/// Timers of a frozen process fire late and in any order: the clock itself is asked before anything is done.
#[tokio::test(start_paused = true)]
async fn work_is_not_polled_once_the_time_is_over() {
    let leadership = candidate();
    leadership.lead_for(Duration::from_secs(6));
    let polls = AtomicU32::new(0);
    let work = std::future::poll_fn(|_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::<()>::Pending
    });
    let mut gated = pin!(leadership.while_leading(work));
    assert!(futures_util::poll!(gated.as_mut()).is_pending());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(futures_util::poll!(gated.as_mut()), Poll::Ready(None));
    assert_eq!(polls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_in_one_term_does_not_go_on_in_the_next() {
    let leadership = candidate();
    leadership.lead_for(Duration::from_secs(6));
    let mut gated = pin!(leadership.while_leading(std::future::pending::<()>()));
    assert!(futures_util::poll!(gated.as_mut()).is_pending());
    step_down(&leadership);
    leadership.lead_for(Duration::from_secs(6));
    assert_eq!(futures_util::poll!(gated.as_mut()), Poll::Ready(None));
}

#[tokio::test(start_paused = true)]
async fn the_newest_changes_are_remembered_in_words() {
    let leadership = candidate();
    for _ in 0..15 {
        leadership.lead_for(Duration::from_secs(6));
        step_down(&leadership);
    }
    let expired = TookOver::Expired { after: Duration::from_secs(11) };
    let change = Change::TookOver { previous: Some(Arc::from("b")), how: expired };
    leadership.note(Timestamp::UNIX_EPOCH, vec![change], None, NOBODY);
    let history = leadership.history();
    assert_eq!(history.len(), REMEMBERED);
    assert_eq!(history[19].1, "took over from b: its Lease was not renewed for 11 s");
    assert_eq!(history[18].1, "stepped down: on purpose");
}

#[test]
fn identities_on_one_host_differ() {
    let (one, other) = (identity("dr-exporter-0"), identity("dr-exporter-0"));
    assert!(one.starts_with("dr-exporter-0-") && one != other, "{one} {other}");
}

/// An API server with one Lease.
struct Api {
    kubeconfig: tempfile::NamedTempFile,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    requests: Vec<String>,
    /// Answers every request with this status.
    refuses: Option<u16>,
    /// Answers nothing.
    frozen: bool,
}

impl Api {
    async fn start(tasks: &mut Tasks) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        let address = listener.local_addr().unwrap();
        write!(
            kubeconfig,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        )
        .unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        tasks.spawn("api", async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, shared.clone()));
            }
        });
        Api { kubeconfig, state }
    }

    fn election(&self) -> (Leadership, Election) {
        let access = KubernetesAccess::Kubeconfig { path: self.kubeconfig.path().into(), context: None };
        let now = crate::clock::now;
        let leadership = Leadership::candidate(identity("host"), now());
        let lease = config::Lease { namespace: "dr".to_owned(), name: "dr-exporter".to_owned() };
        (leadership.clone(), Election { leadership, lease, secrets: Secrets::new(access), now })
    }
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if stream.read_line(&mut first).await.unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.unwrap();
            if let Some((_, value)) = header.to_lowercase().split_once("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if header.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let answer = state.lock().unwrap().answer(first.trim(), &body);
        let Some((status, body)) = answer else { return std::future::pending().await };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

impl State {
    fn answer(&mut self, line: &str, body: &[u8]) -> Option<(u16, String)> {
        let (method, path) = line.split_once(' ').unwrap();
        self.requests.push(line.trim_end_matches(" HTTP/1.1").to_owned());
        let failure = |code: u16| {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "m", "reason": "R", "code": code});
            Some((code, status.to_string()))
        };
        if self.frozen {
            return None;
        }
        if let Some(code) = self.refuses {
            return failure(code);
        }
        let all = "/apis/coordination.k8s.io/v1/namespaces/dr/leases";
        let path = path.split([' ', '?']).next().unwrap();
        match (method, path.strip_prefix(all).unwrap()) {
            ("GET", "/dr-exporter") if self.lease.is_none() => return failure(404),
            ("GET", "/dr-exporter") => {}
            ("POST", "") if self.lease.is_some() => return failure(409),
            ("PUT", "/dr-exporter") if self.lease.is_none() => return failure(404),
            ("PUT", "/dr-exporter") | ("POST", "") => {
                let mut lease: Value = serde_json::from_slice(body).unwrap();
                if let Some(held) = &self.lease
                    && held["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]
                {
                    return failure(409);
                }
                self.version += 1;
                lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
                self.lease = Some(lease);
            }
            other => panic!("{other:?}"),
        }
        Some((200, self.lease.as_ref().unwrap().to_string()))
    }

    /// What `kubectl annotate` does.
    fn annotate(&mut self) {
        self.version += 1;
        let metadata = &mut self.lease.as_mut().unwrap()["metadata"];
        metadata["annotations"] = json!({"note": "ours"});
        metadata["resourceVersion"] = json!(self.version.to_string());
    }

    fn holder(&self) -> Option<&str> {
        self.lease.as_ref()?["spec"]["holderIdentity"].as_str()
    }
}

async fn within<T>(seconds: u64, what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(seconds), what).await.expect("in time")
}

/// The real clock: sockets do not live in paused time.
#[tokio::test]
async fn one_of_two_leads_and_gives_the_lease_back_when_it_ends() {
    let (mut server, mut first, mut second) = (Tasks::default(), Tasks::default(), Tasks::default());
    let api = Api::start(&mut server).await;
    let (one, election) = api.election();
    first.spawn("lease", keep_leading(election, first.stop()));
    within(3, one.leads()).await;
    assert!(matches!(one.standing(), Standing::Leading { previous: None, how: TookOver::First, .. }));
    // What others wrote into the object stays.
    api.state.lock().unwrap().annotate();
    let (other, election) = api.election();
    second.spawn("lease", keep_leading(election, second.stop()));
    within(3, other.changed()).await;
    let Standing::StandingBy { holder, obstacle: None, .. } = other.standing() else {
        panic!("{:?}", other.standing());
    };
    assert_eq!(holder, Some(one.me()));
    let begun = Instant::now();
    first.shut_down(Duration::from_secs(3)).await;
    assert!(!one.is_leading());
    within(3, other.leads()).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let Standing::Leading { previous, how: TookOver::Released, .. } = other.standing() else {
        panic!("{:?}", other.standing());
    };
    assert_eq!(previous, Some(one.me()));
    assert_eq!(one.history().last().unwrap().1, "stepped down: this process ends");
    assert_eq!(
        other.history().last().unwrap().1,
        format!("took over from {}: it had given the Lease back", one.me())
    );
    {
        let state = api.state.lock().unwrap();
        assert_eq!(state.holder(), Some(&*other.me()));
        let lease = state.lease.as_ref().unwrap();
        assert_eq!(lease["metadata"]["annotations"]["note"], "ours");
        assert_eq!(
            (&lease["spec"]["leaseTransitions"], &lease["spec"]["leaseDurationSeconds"]),
            (&json!(1), &json!(10))
        );
    }
    second.shut_down(Duration::from_secs(3)).await;
    assert_eq!(api.state.lock().unwrap().holder(), None);
    server.shut_down(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_frozen_api_server_ends_the_time_of_the_holder() {
    let (mut server, mut tasks) = (Tasks::default(), Tasks::default());
    let api = Api::start(&mut server).await;
    let (leadership, election) = api.election();
    tasks.spawn("lease", keep_leading(election, tasks.stop()));
    within(3, leadership.leads()).await;
    api.state.lock().unwrap().frozen = true;
    let begun = Instant::now();
    let work = leadership.while_leading(std::future::pending::<()>());
    assert_eq!(within(8, work).await, None);
    assert!(begun.elapsed() <= machine::DEADLINE + Duration::from_millis(200), "{:?}", begun.elapsed());
    sleep(Duration::from_millis(300)).await;
    let history = leadership.history();
    let why =
        "stepped down: the Lease could not be renewed for 6 s (the Kubernetes API did not answer in time)";
    assert!(history.iter().any(|(_, sentence)| sentence == why), "{history:?}");
    api.state.lock().unwrap().frozen = false;
    within(4, leadership.leads()).await;
    assert!(matches!(leadership.standing(), Standing::Leading { how: TookOver::Again, .. }));
    tasks.shut_down(Duration::from_secs(3)).await;
    server.shut_down(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn without_the_right_or_the_server_it_stands_by_and_says_why() {
    let (mut server, mut tasks) = (Tasks::default(), Tasks::default());
    let api = Api::start(&mut server).await;
    api.state.lock().unwrap().refuses = Some(403);
    let (leadership, election) = api.election();
    tasks.spawn("lease", keep_leading(election, tasks.stop()));
    within(3, leadership.changed()).await;
    let obstacle = |leadership: &Leadership| match leadership.standing() {
        Standing::StandingBy { obstacle: Some(why), .. } => why,
        other => panic!("{other:?}"),
    };
    let rule = "forbidden: our account needs the rule `get` on `leases` with resourceNames [dr-exporter] in namespace dr";
    assert_eq!(obstacle(&leadership), rule);
    tasks.shut_down(Duration::from_secs(3)).await;

    let nowhere = Api { kubeconfig: tempfile::NamedTempFile::new().unwrap(), state: api.state.clone() };
    let (leadership, election) = nowhere.election();
    let mut tasks = Tasks::default();
    tasks.spawn("lease", keep_leading(election, tasks.stop()));
    within(3, leadership.changed()).await;
    assert!(obstacle(&leadership).contains("kubeconfig"), "{}", obstacle(&leadership));
    tasks.shut_down(Duration::from_secs(3)).await;
    server.shut_down(Duration::from_millis(1)).await;
}
