//! Async and blocking clients under one roof: a case is written once, as an `async fn`, and ends its calls with
//! [`Mode::end`].

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use ipc_rpc::__private::Method;
use ipc_rpc::bytemuck::Pod;
use ipc_rpc::{Allocation, Call, Connect, Error, Ping, ServiceClient};
use serde::{Deserialize, Serialize};

/// How calls are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// With `.await`, in a runtime.
    Async,
    /// With `.wait()`, without one.
    Blocking,
}

/// What can be ended either way.
pub trait Ending: Future {
    /// Ends it by blocking the thread.
    fn wait(self) -> Self::Output;
}

impl<M: Method> Ending for Call<'_, M> {
    fn wait(self) -> Self::Output {
        Call::wait(self)
    }
}

impl<C: ServiceClient> Ending for Connect<C> {
    fn wait(self) -> Result<C, Error> {
        Connect::wait(self)
    }
}

impl<T: Pod> Ending for Allocation<'_, T> {
    fn wait(self) -> Self::Output {
        Allocation::wait(self)
    }
}

impl Ending for Ping<'_> {
    fn wait(self) -> Self::Output {
        Ping::wait(self)
    }
}

/// Work that was started beside the case.
#[derive(Debug)]
pub enum Running<T> {
    /// A task of the case's runtime.
    Task(tokio::task::JoinHandle<T>),
    /// A thread.
    Thread(thread::JoinHandle<T>),
}

impl Mode {
    /// Ends a call, a connection attempt or a ping.
    pub async fn end<E: Ending>(self, ending: E) -> E::Output {
        match self {
            Self::Async => ending.await,
            Self::Blocking => ending.wait(),
        }
    }

    /// Runs a case.
    ///
    /// # Panics
    /// If the case does, or if a blocking one awaits something that is not there.
    pub fn run<T>(self, case: impl Future<Output = T>) -> T {
        match self {
            Self::Async => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime can be made")
                .block_on(case),
            Self::Blocking => at_once(case),
        }
    }

    /// Starts work beside the case: a task, or a thread.
    ///
    /// # Panics
    /// If the system has no thread to spare.
    pub fn start<T: Send + 'static>(self, work: impl Future<Output = T> + Send + 'static) -> Running<T> {
        match self {
            Self::Async => Running::Task(tokio::spawn(work)),
            Self::Blocking => {
                // A test may start a thousand.
                let builder = thread::Builder::new().stack_size(512 << 10);
                Running::Thread(
                    builder
                        .spawn(move || at_once(work))
                        .expect("the system has a thread to spare"),
                )
            }
        }
    }

    /// Starts `count` pieces of work and gives their results in order.
    pub async fn together<T, F>(self, count: u64, work: impl Fn(u64) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let running: Vec<_> = (0..count).map(|index| self.start(work(index))).collect();
        let mut results = Vec::new();
        for one in running {
            results.push(one.join().await);
        }
        results
    }
}

impl<T> Running<T> {
    /// Waits for its result.
    ///
    /// # Panics
    /// If it did.
    pub async fn join(self) -> T {
        let joined = match self {
            Self::Task(task) => task.await.map_err(tokio::task::JoinError::into_panic),
            Self::Thread(thread) => thread.join(),
        };
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Runs a future that never waits: everything in it blocks.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a blocking case awaited something"),
    }
}
