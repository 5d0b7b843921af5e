//! The schedule in paused time: nothing here waits for a real second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use tokio::time::sleep;

use super::*;
use crate::model::{Check, CheckKey};
use crate::probe::Question;

/// What a probe does at each of its attempts, the last one for ever.
#[derive(Clone, Copy, Debug)]
enum Does {
    Pass,
    Fail,
    Blind,
    Hang,
    Panic,
    Nothing,
    PassAfter(Duration),
}

struct Scripted {
    question: [Question; 1],
    schedule: Schedule,
    script: Vec<Does>,
    asked: AtomicU32,
    under_way: AtomicU32,
    most: AtomicU32,
    begun: Mutex<Vec<Duration>>,
    abandoned: AtomicU32,
    start: Instant,
}

impl Scripted {
    fn new(name: &str, schedule: Schedule, script: &[Does]) -> Arc<Self> {
        let key = CheckKey { system: Arc::from("s"), check: Check::Surface, target: Arc::from(name) };
        Arc::new(Scripted {
            question: [Question { key, at_first: vec![], promised: vec![] }],
            schedule,
            script: script.to_vec(),
            asked: AtomicU32::new(0),
            under_way: AtomicU32::new(0),
            most: AtomicU32::new(0),
            begun: Mutex::default(),
            abandoned: AtomicU32::new(0),
            start: Instant::now(),
        })
    }

    fn begun(&self) -> Vec<Duration> {
        self.begun.lock().unwrap().clone()
    }
}

#[async_trait]
impl Probe for Scripted {
    fn questions(&self) -> &[Question] {
        &self.question
    }

    fn schedule(&self) -> Schedule {
        self.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        /// Counts the attempt out again, even when it is aborted.
        struct Leave<'a>(&'a AtomicU32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let turn = self.asked.fetch_add(1, Ordering::SeqCst) as usize;
        self.most.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leave = Leave(&self.under_way);
        self.begun.lock().unwrap().push(self.start.elapsed());
        match self.script[turn.min(self.script.len() - 1)] {
            Does::Pass => attempt.answer(0, Answer::pass("fine")),
            Does::Fail => attempt.answer(0, Answer::fail(Reason::Refused, "refused")),
            Does::Blind => attempt.answer(0, Answer::blind(Reason::Internal, "blind")),
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("on purpose"),
            Does::Nothing => {}
            Does::PassAfter(time) => {
                sleep(time).await;
                attempt.answer(0, Answer::pass("late but fine"));
            }
        }
    }

    async fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

const fn every(interval: u64, timeout: u64, pass: u32, of: u32) -> Schedule {
    Schedule {
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(timeout),
        attempts: Attempts { pass, of },
    }
}

fn scheduler(in_flight: usize) -> (Scheduler, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    (Scheduler::new(ledger.clone(), crate::clock::now, in_flight, Leadership::alone()), ledger)
}

/// Places are shared by all of them, as they are by the probes of one system. Whoever drops what is returned ends them.
fn start(scheduler: &Scheduler, probes: &[&Arc<Scripted>], tasks: &mut Tasks) -> Vec<Retire> {
    let places = scheduler.places();
    let each = probes.iter().map(|probe| {
        scheduler.begin(Arc::clone(probe) as Arc<dyn Probe>, places.clone(), FIRST_WITHIN, tasks)
    });
    each.collect()
}

async fn outcome_of(script: &[Does], pass: u32, of: u32) -> (Outcome, u64) {
    let (scheduler, ledger) = scheduler(4);
    let probe = Scripted::new("a", every(30, 5, pass, of), script);
    scheduler.once(&[probe.clone() as Arc<dyn Probe>]).await;
    let pages = ledger.read();
    let record = &pages.records[&probe.question[0].key];
    (record.last.as_ref().unwrap().outcome, record.attempts)
}

#[tokio::test(start_paused = true)]
async fn each_end_of_an_attempt_is_told_apart() {
    use Does::{Blind, Fail, Hang, Nothing, Panic, Pass};
    for (does, expected) in [
        (Pass, Outcome::Pass),
        (Fail, Outcome::Fail(Reason::Refused)),
        (Blind, Outcome::Blind(Reason::Internal)),
        (Hang, Outcome::Fail(Reason::Timeout)),
        (Panic, Outcome::Blind(Reason::Internal)),
        (Nothing, Outcome::Blind(Reason::Internal)),
    ] {
        assert_eq!(outcome_of(&[does], 1, 1).await, (expected, 1), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn n_of_m_attempts_decide_and_blindness_never_accuses() {
    use Does::{Blind, Fail, Hang, Panic, Pass};
    let refused = Outcome::Fail(Reason::Refused);
    let table: &[(&[Does], (u32, u32), (Outcome, u64))] = &[
        (&[Pass], (1, 3), (Outcome::Pass, 1)),
        (&[Fail, Pass], (1, 3), (Outcome::Pass, 2)),
        (&[Hang, Pass], (1, 3), (Outcome::Pass, 2)),
        (&[Fail, Fail, Fail], (1, 3), (refused, 3)),
        (&[Pass, Fail, Pass], (2, 3), (Outcome::Pass, 3)),
        // Two of three can no longer pass: the third attempt is not made.
        (&[Fail, Fail, Pass], (2, 3), (refused, 2)),
        // Had the blind one passed, it would have been enough: nobody is accused.
        (&[Fail, Blind, Fail], (1, 3), (Outcome::Blind(Reason::Refused), 3)),
        (&[Panic, Fail, Fail], (2, 3), (refused, 3)),
        (&[Blind, Blind, Blind], (1, 3), (Outcome::Blind(Reason::Internal), 3)),
    ];
    for (script, (pass, of), expected) in table {
        assert_eq!(outcome_of(script, *pass, *of).await, *expected, "{script:?} {pass} of {of}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_aborts_the_work_and_tells_the_other_side() {
    let (scheduler, _) = scheduler(4);
    let probe = Scripted::new("a", every(30, 5, 1, 1), &[Does::Hang]);
    let begun = Instant::now();
    scheduler.once(&[probe.clone() as Arc<dyn Probe>]).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!(probe.under_way.load(Ordering::SeqCst), 0, "the work was dropped, not detached");
    assert_eq!(probe.abandoned.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn starts_are_spread_and_then_keep_their_interval() {
    let (scheduler, _) = scheduler(64);
    let mut tasks = Tasks::default();
    let probes: Vec<_> =
        (0..60).map(|n| Scripted::new(&format!("p{n}"), every(10, 2, 1, 1), &[Does::Pass])).collect();
    let _kept = start(&scheduler, &probes.iter().collect::<Vec<_>>(), &mut tasks);
    sleep(Duration::from_secs(31)).await;
    let mut per_second = [0; 10];
    for probe in &probes {
        let begun = probe.begun();
        assert!(begun.len() >= 3, "{begun:?}");
        assert!(begun[0] < Duration::from_secs(10));
        for pair in begun.windows(2) {
            let apart = (pair[1] - pair[0]).as_millis();
            assert!((9_990..=10_010).contains(&apart), "{begun:?}");
        }
        per_second[begun[0].as_secs() as usize] += 1;
    }
    assert!(per_second.iter().all(|count| (1..=15).contains(count)), "evenly: {per_second:?}");
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_target_delays_nobody_and_missed_turns_are_not_made_up_for() {
    let (scheduler, _) = scheduler(4);
    let mut tasks = Tasks::default();
    let dead = Scripted::new("dead", every(10, 10, 1, 1), &[Does::Hang]);
    let slow =
        Scripted::new("slow", every(2, 60, 1, 1), &[Does::PassAfter(Duration::from_secs(5)), Does::Pass]);
    let alive = Scripted::new("alive", every(10, 2, 1, 1), &[Does::Pass]);
    let _kept = start(&scheduler, &[&dead, &slow, &alive], &mut tasks);
    sleep(Duration::from_secs(100)).await;
    assert!(alive.begun().len() >= 9, "{:?}", alive.begun());
    assert_eq!(dead.most.load(Ordering::SeqCst), 1, "a run never overlaps the one before");
    let slow = slow.begun();
    let pause = (slow[1] - slow[0]).as_millis();
    assert!(
        (5_990..=6_010).contains(&pause),
        "the turns at 2 and 4 were missed, the one at 6 is kept: {slow:?}"
    );
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_not_to_be_had_is_our_own_fault() {
    let (scheduler, ledger) = scheduler(1);
    let hanging = Scripted::new("a", every(30, 20, 1, 1), &[Does::Hang]);
    let waiting = Scripted::new("b", every(30, 5, 1, 1), &[Does::Pass]);
    let probes = [&hanging, &waiting].map(|probe| probe.clone() as Arc<dyn Probe>);
    scheduler.once(&probes).await;
    let pages = ledger.read();
    let outcome = |probe: &Scripted| pages.records[&probe.question[0].key].last.as_ref().unwrap().outcome;
    assert_eq!(outcome(&hanging), Outcome::Fail(Reason::Timeout));
    assert_eq!(outcome(&waiting), Outcome::Blind(Reason::Limit));
}

#[tokio::test(start_paused = true)]
async fn l91_a_wedged_scheduler_shows() {
    let (scheduler, ledger) = scheduler(4);
    let mut tasks = Tasks::default();
    let probe = Scripted::new("a", every(10, 2, 1, 1), &[Does::Pass]);
    let _kept = start(&scheduler, &[&probe], &mut tasks);
    sleep(Duration::from_secs(25)).await;
    assert!(ledger.lag(Instant::now()) < Duration::from_secs(1));
    assert!(ledger.wedged(Instant::now()).is_none());
    // The loops die; what they had planned stays due for ever.
    tasks.shut_down(Duration::from_secs(1)).await;
    sleep(Duration::from_secs(60)).await;
    assert!(ledger.lag(Instant::now()) > Duration::from_secs(45));
    assert_eq!(ledger.wedged(Instant::now()).unwrap().worst, probe.question[0].key);
    let later = crate::clock::now() + Duration::from_secs(31);
    let pages = ledger.read();
    assert!(!pages.records[&probe.question[0].key].is_fresh(later));
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_asks_and_the_other_knows_nothing() {
    let leadership = Leadership::candidate(Arc::from("a"), crate::clock::now());
    let ledger = Arc::new(Ledger::default());
    let scheduler = Scheduler::new(ledger.clone(), crate::clock::now, 4, leadership.clone());
    let mut tasks = Tasks::default();
    let quick = Scripted::new("quick", every(10, 2, 1, 1), &[Does::Pass]);
    let slow = Scripted::new("slow", every(600, 300, 1, 1), &[Does::Hang]);
    let _kept = start(&scheduler, &[&quick, &slow], &mut tasks);
    sleep(Duration::from_secs(100)).await;
    assert!(quick.begun().is_empty() && slow.begun().is_empty(), "standing by");
    assert_eq!(ledger.lag(Instant::now()), Duration::ZERO, "and not late");

    leadership.lead_for(Duration::from_secs(60));
    sleep(Duration::from_secs(5)).await;
    assert_eq!((quick.begun().len(), slow.begun().len()), (1, 1), "soon after the take-over");
    let last = |probe: &Scripted| ledger.read().records[&probe.question[0].key].last.clone();
    assert!(last(&quick).is_some());
    sleep(Duration::from_secs(50)).await;
    assert_eq!(slow.under_way.load(Ordering::SeqCst), 1);

    // The time runs out.
    sleep(Duration::from_secs(6)).await;
    let asked = quick.begun().len();
    assert_eq!(slow.under_way.load(Ordering::SeqCst), 0, "the run in flight was dropped");
    assert_eq!(slow.abandoned.load(Ordering::SeqCst), 1, "and the other side was told");
    assert!(last(&quick).is_none() && last(&slow).is_none(), "what was known is the next leader's to say");
    assert_eq!(ledger.read().records[&slow.question[0].key].attempts, 0, "the attempt was not recorded");
    sleep(Duration::from_secs(100)).await;
    assert_eq!(quick.begun().len(), asked);
    assert!(ledger.wedged(Instant::now()).is_none());

    leadership.lead_for(Duration::from_secs(60));
    sleep(Duration::from_secs(5)).await;
    assert_eq!(quick.begun().len(), asked + 1);
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_retired_is_aborted_and_the_others_keep_their_schedule() {
    let (scheduler, ledger) = scheduler(4);
    let mut tasks = Tasks::default();
    let removed = Scripted::new("removed", every(10, 8, 1, 1), &[Does::Hang]);
    let stays = Scripted::new("stays", every(10, 2, 1, 1), &[Does::Pass]);
    let retire = start(&scheduler, &[&removed], &mut tasks);
    let _kept = start(&scheduler, &[&stays], &mut tasks);
    while removed.under_way.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    Retire::all(retire, Duration::from_secs(1)).await;
    assert_eq!(
        removed.under_way.load(Ordering::SeqCst),
        0,
        "what was in flight is dropped before anything else"
    );
    ledger.close([&removed.question[0].key]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(removed.abandoned.load(Ordering::SeqCst), 1, "and the other side was told");
    assert_eq!(removed.begun().len(), 1);
    assert!(!ledger.read().records.contains_key(&removed.question[0].key));
    assert!(ledger.wedged(Instant::now()).is_none() && ledger.lag(Instant::now()) < Duration::from_secs(1));
    for pair in stays.begun().windows(2) {
        assert!((9_990..=10_010).contains(&(pair[1] - pair[0]).as_millis()), "{:?}", stays.begun());
    }
    // A new one under the old name starts at the beginning, and soon.
    let again = Scripted::new("removed", every(600, 2, 1, 1), &[Does::Pass]);
    let _again = scheduler.begin(again.clone() as Arc<dyn Probe>, scheduler.places(), SOON, &mut tasks);
    sleep(SOON + Duration::from_millis(100)).await;
    assert_eq!(ledger.read().records[&again.question[0].key].attempts, 1);
    tasks.shut_down(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn l91_work_that_outlives_its_deadline_is_overdue() {
    let (scheduler, ledger) = scheduler(4);
    let mut tasks = Tasks::default();
    let probe = Scripted::new("a", every(10, 8, 1, 1), &[Does::Hang]);
    let _kept = start(&scheduler, &[&probe], &mut tasks);
    while probe.under_way.load(Ordering::SeqCst) == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    // As seen by somebody else while its thread is held: the deadline passes, and nothing is dropped.
    let begun = Instant::now();
    assert_eq!(ledger.lag(begun + Duration::from_secs(8)), Duration::ZERO, "it may take its time");
    assert!(ledger.wedged(begun + Duration::from_secs(30)).is_none());
    assert!(ledger.wedged(begun + Duration::from_secs(39)).is_some());
    tasks.shut_down(Duration::from_secs(1)).await;
}
