//! Events in asynchronous code: the system's thread pool waits for them.

use std::ffi::c_void;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE,
};

use super::Event;
use super::calls::check;

/// Wakes a task once an event is set.
pub(crate) struct EventWatch {
    event: Arc<Event>,
    news: Arc<News>,
    wait: Mutex<Option<Wait>>,
}

/// What the thread pool tells.
struct News {
    /// The event was set, and nobody has looked since.
    there: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// One wait of the thread pool, which ends when it has told the news, or is dropped.
struct Wait {
    handle: HANDLE,
    /// What the callback is given, for as long as it may run.
    _news: Arc<News>,
}

// SAFETY: the handle may be given back from any thread.
unsafe impl Send for Wait {}

impl EventWatch {
    pub(in crate::sys::windows) fn new(event: &Arc<Event>) -> Self {
        Self {
            event: Arc::clone(event),
            news: Arc::new(News {
                // Whoever begins to wait looks first.
                there: AtomicBool::new(true),
                waker: Mutex::new(None),
            }),
            wait: Mutex::new(None),
        }
    }

    /// Looks if the event may have been set. `look` returns whether it saw all there was, so that the event is not set
    /// any more.
    pub(in crate::sys::windows) fn poll(
        &self,
        cx: &mut Context<'_>,
        look: &mut dyn FnMut() -> bool,
    ) -> Poll<io::Result<()>> {
        if !self.news.there.load(Ordering::Acquire) {
            *self.news.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
            if wait.is_none() {
                *wait = Some(Wait::begin(&self.event, &self.news)?);
            }
            drop(wait);
            // Told between the first look and the registration, when it found nobody to wake.
            if !self.news.there.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        // One that has told its news tells no more.
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.news.there.store(false, Ordering::Release);
        if !look() {
            self.news.there.store(true, Ordering::Release);
        }
        Poll::Ready(Ok(()))
    }
}

impl Wait {
    fn begin(event: &Event, news: &Arc<News>) -> io::Result<Self> {
        let mut handle = ptr::null_mut();
        // SAFETY: the event is open until this wait has ended: `EventWatch` drops it first. The callback takes what it is
        // given for the `News` that it is; that lives until then, too.
        check(unsafe {
            RegisterWaitForSingleObject(
                &mut handle,
                event.handle(),
                Some(told),
                Arc::as_ptr(news).cast(),
                INFINITE,
                WT_EXECUTEONLYONCE,
            )
        })?;
        Ok(Self {
            handle,
            _news: Arc::clone(news),
        })
    }
}

impl Drop for Wait {
    /// Waits for a callback that runs.
    fn drop(&mut self) {
        // SAFETY: the wait was registered, and is given back once.
        let _ = unsafe { UnregisterWaitEx(self.handle, INVALID_HANDLE_VALUE) };
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Runs on a thread of the system's pool.
unsafe extern "system" fn told(news: *mut c_void, _timed_out: bool) {
    // SAFETY: `Wait` keeps it alive until this has returned.
    let news = unsafe { &*news.cast::<News>() };
    news.there.store(true, Ordering::Release);
    let waker = news.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
