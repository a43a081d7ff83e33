//! Ending another thread's wait.

use std::fmt;
use std::sync::Arc;

use crate::memory::Doorbell;
use crate::sys;

/// Ends a [`Receiver::park`](crate::Receiver::park) or a [`Listener::park`](crate::Listener::park) from any thread.
#[derive(Clone)]
pub struct Interrupt(Kind);

#[derive(Clone)]
enum Kind {
    Doorbell(Arc<Doorbell>),
    Bell(Arc<sys::Bell>),
    /// The bell before the two sides have agreed what to wait on, or where that is the socket.
    #[allow(dead_code, reason = "only where memory is shared")]
    Meeting(Arc<sys::shm::Meeting>, Arc<sys::Bell>),
}

impl Interrupt {
    /// Ends the present park, or else the next one. Never blocks. Raising it twice is like raising it once.
    pub fn raise(&self) {
        match &self.0 {
            Kind::Doorbell(doorbell) => doorbell.interrupt(),
            Kind::Bell(bell) => bell.ring(),
            Kind::Meeting(meeting, bell) => {
                bell.ring();
                meeting.interrupt();
            }
        }
    }

    pub(crate) fn doorbell(doorbell: Arc<Doorbell>) -> Self {
        Self(Kind::Doorbell(doorbell))
    }

    #[allow(dead_code, reason = "only where memory is shared")]
    pub(crate) fn meeting(meeting: Arc<sys::shm::Meeting>, bell: Arc<sys::Bell>) -> Self {
        Self(Kind::Meeting(meeting, bell))
    }

    pub(crate) fn bell(bell: Arc<sys::Bell>) -> Self {
        Self(Kind::Bell(bell))
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interrupt")
    }
}
