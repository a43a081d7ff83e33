//! Puts a load on a system and measures it. The same loops serve every system, blocking or async.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use crate::job::{Case, Job, Measured, Waiting};
use crate::process::{Edge, Used, peak_memory, used};
use crate::system::Error;

/// One caller that makes a call, waits for it, and makes the next. As many of them as calls are to be in flight.
///
/// The futures of a blocking system's worker do their work in the first poll and never wait.
pub trait Worker: Send + 'static {
    /// Makes one call, or one batch of them; says how many calls that was.
    fn turn(&mut self) -> impl Future<Output = Result<u32, Error>> + Send;

    /// Waits until the server has received every one-way message sent so far.
    fn settle(&mut self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Connects workers and measures `job` with them: in the runtime that the client's mode names, each worker in a task
/// of its own; on a thread each, without a runtime, if the mode is blocking.
///
/// # Errors
/// The first error of a connection or a call.
pub fn drive<W, F>(job: &Job, connect: F) -> Result<Measured, Error>
where
    W: Worker,
    F: Future<Output = Result<Vec<W>, Error>> + Send + 'static,
{
    let own = job.clone();
    match job.variant.mode.client {
        Waiting::Blocking => {
            let workers = at_once(connect)?;
            match job.load.case {
                Case::Idle => at_once(idle(job, workers, asleep)),
                Case::Post => at_once(stream(job, workers)),
                _ => on_threads(job, workers),
            }
        }
        // Spawned, not run by `block_on` itself: there, a multi-thread runtime polls on a thread of its own and each
        // completion crosses from a worker to it.
        waiting => runtime(waiting)?.block_on(async move {
            tokio::spawn(async move {
                let workers = connect.await?;
                match own.load.case {
                    Case::Idle => idle(&own, workers, tokio::time::sleep).await,
                    Case::Post => stream(&own, workers).await,
                    _ => in_tasks(&own, workers).await,
                }
            })
            .await?
        }),
    }
}

/// A pause without a runtime.
async fn asleep(time: Duration) {
    thread::sleep(time);
}

/// The runtime of a mode.
///
/// # Errors
/// If it cannot be built, or if the mode has none.
pub fn runtime(waiting: Waiting) -> Result<Runtime, Error> {
    Ok(match waiting {
        Waiting::Blocking => return Err("a blocking mode has no runtime".into()),
        Waiting::CurrentThread => Builder::new_current_thread().enable_all().build()?,
        Waiting::MultiThread => Builder::new_multi_thread().enable_all().build()?,
    })
}

/// The span of time in which calls count.
#[derive(Clone, Copy)]
struct Window {
    opens: Instant,
    closes: Instant,
}

/// What one worker saw. It comes with the worker itself: if its connection closed when it is done, a server's thread
/// might end with it, and take the record of its processor time along.
struct Samples<W> {
    _worker: W,
    /// Its place in the order of connecting.
    place: usize,
    /// Nanoseconds of each turn; all of them, so that percentiles are exact. A turn of over 4 s counts as 4 s.
    turns: Vec<u32>,
    calls: u64,
    /// When the last turn that counts ended.
    end: Instant,
}

impl Window {
    fn of(job: &Job) -> Self {
        let opens = Instant::now() + job.warm_up;
        Self {
            opens,
            closes: opens + job.measure,
        }
    }

    /// The processor time used until the window opens and until it closes. A thread of its own reads it, so that a
    /// busy runtime neither delays the reading nor is disturbed by a timer.
    fn watch(self, job: &Job) -> Watch {
        let job = job.clone();
        thread::spawn(move || {
            thread::sleep(self.opens.saturating_duration_since(Instant::now()));
            let before = used(&job, Edge::Opens)?;
            thread::sleep(self.closes.saturating_duration_since(Instant::now()));
            Ok((before, used(&job, Edge::Closes)?))
        })
    }
}

type Watch = thread::JoinHandle<Result<(Used, Used), Error>>;

/// Makes calls until the window closes; if none of them began and ended inside it, until one has ended that began in it
/// or after it. Each turn starts where the last one ended, or when the silence before it does: one look at the clock a
/// turn, or two.
async fn repeat<W, P>(
    job: &Job,
    window: Window,
    (place, mut worker): (usize, W),
    pause: impl Fn(Duration) -> P,
) -> Result<Samples<W>, Error>
where
    W: Worker,
    P: Future<Output = ()>,
{
    let silence = job.load.case.silence();
    let (mut turns, mut all, mut end) = (Vec::new(), 0, window.closes);
    let mut before = Instant::now();
    while before < window.closes || turns.is_empty() {
        if !silence.is_zero() {
            pause(silence).await;
            before = Instant::now();
        }
        let calls = worker.turn().await?;
        let after = Instant::now();
        if before >= window.opens && (after <= window.closes || turns.is_empty()) {
            turns.push(u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX));
            all += u64::from(calls);
            end = end.max(after);
        }
        before = after;
    }
    Ok(Samples {
        _worker: worker,
        place,
        turns,
        calls: all,
        end,
    })
}

async fn in_tasks<W: Worker>(job: &Job, workers: Vec<W>) -> Result<Measured, Error> {
    let window = Window::of(job);
    let watch = window.watch(job);
    let mut tasks = JoinSet::new();
    for worker in workers.into_iter().enumerate() {
        let job = job.clone();
        tasks.spawn(async move { repeat(&job, window, worker, tokio::time::sleep).await });
    }
    let mut all = Vec::new();
    while let Some(samples) = tasks.join_next().await {
        all.push(samples??);
    }
    closed_loop(job, window, watch, all)
}

fn on_threads<W: Worker>(job: &Job, workers: Vec<W>) -> Result<Measured, Error> {
    let window = Window::of(job);
    let watch = window.watch(job);
    let threads: Vec<_> = workers
        .into_iter()
        .enumerate()
        .map(|worker| {
            let job = job.clone();
            thread::spawn(move || at_once(repeat(&job, window, worker, asleep)))
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.push(thread.join().map_err(|_| "a worker panicked")??);
    }
    closed_loop(job, window, watch, all)
}

fn closed_loop<W>(
    job: &Job,
    window: Window,
    watch: Watch,
    mut all: Vec<Samples<W>>,
) -> Result<Measured, Error> {
    let (before, after) = watch
        .join()
        .map_err(|_| "the reader of the processor time panicked")??;
    let end = all.iter().map(|samples| samples.end).max();
    let wall = end.unwrap_or(window.closes) - window.opens;
    let mut measured = measured(job, wall, before, after)?;
    all.sort_unstable_by_key(|samples| samples.place);
    if job.load.case == Case::Beside {
        let large = all.split_off(1.min(all.len()));
        measured.beside = Some(large.iter().map(|samples| samples.calls).sum());
    }
    measured.calls = all.iter().map(|samples| samples.calls).sum();
    measured.share = share(job, &all);
    let mut turns: Vec<u32> = all.into_iter().flat_map(|samples| samples.turns).collect();
    turns.sort_unstable();
    let percentile = |hundredths| turns.get(turns.len() * hundredths / 100).map(|&ns| u64::from(ns));
    measured.p50_ns = percentile(50);
    measured.p99_ns = percentile(99);
    Ok(measured)
}

/// What the slowest connection did for each call of the fastest; `None` of one connection.
fn share<W>(job: &Job, all: &[Samples<W>]) -> Option<f64> {
    let connections = all.chunks(job.load.workers().len());
    let calls: Vec<u64> = connections
        .map(|workers| workers.iter().map(|samples| samples.calls).sum())
        .collect();
    let (least, most) = (calls.iter().min()?, calls.iter().max()?);
    (calls.len() > 1 && *most > 0).then(|| *least as f64 / *most as f64)
}

/// How many messages are sent for each look at the clock, which would be a tenth of the work of the quickest.
const TURNS_A_LOOK: u32 = 16;

/// One-way messages: the time counts until the server has received them all, whatever was buffered on the way.
async fn stream<W: Worker>(job: &Job, mut workers: Vec<W>) -> Result<Measured, Error> {
    let worker = workers.first_mut().ok_or("no worker")?;
    let window = Window::of(job);
    while Instant::now() < window.opens {
        worker.turn().await?;
    }
    worker.settle().await?;
    let before = used(job, Edge::Opens)?;
    let begin = Instant::now();
    let mut calls = 0;
    while begin.elapsed() < job.measure {
        for _ in 0..TURNS_A_LOOK {
            calls += u64::from(worker.turn().await?);
        }
    }
    worker.settle().await?;
    Ok(Measured {
        calls,
        ..measured(job, begin.elapsed(), before, used(job, Edge::Closes)?)?
    })
}

/// Nothing happens on connections that worked a moment ago.
async fn idle<W, P>(job: &Job, mut workers: Vec<W>, pause: impl Fn(Duration) -> P) -> Result<Measured, Error>
where
    W: Worker,
    P: Future<Output = ()>,
{
    for worker in &mut workers {
        worker.turn().await?;
    }
    // Whatever the last call left to be done is done within the warm-up.
    pause(job.warm_up).await;
    let before = used(job, Edge::Opens)?;
    let begin = Instant::now();
    pause(job.measure).await;
    measured(job, begin.elapsed(), before, used(job, Edge::Closes)?)
}

/// What is measured besides calls.
fn measured(job: &Job, wall: Duration, before: Used, after: Used) -> Result<Measured, Error> {
    let cpu_ns = after.own.saturating_sub(before.own);
    let (own_rss_kb, server_rss_kb) = peak_memory(job)?;
    Ok(Measured {
        p50_ns: None,
        p99_ns: None,
        calls: 0,
        wall_ns: u64::try_from(wall.as_nanos())?,
        cpu_ns,
        others_ns: after
            .machine
            .saturating_sub(before.machine)
            .saturating_sub(cpu_ns),
        rss_kb: own_rss_kb + server_rss_kb,
        server_rss_kb,
        share: None,
        beside: None,
    })
}

/// The output of a future that never waits.
fn at_once<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => Err("a blocking worker waited for a runtime".into()),
    }
}
