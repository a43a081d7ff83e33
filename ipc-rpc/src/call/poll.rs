//! Awaiting a call, in a Tokio runtime.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::method::Method;
use super::{Call, How, State, Step};
use crate::Error;

impl<M: Method> Future for Call<'_, M> {
    type Output = M::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_inner(cx)
            .map(|result| M::finish(result.map_err(|error| error.with_method(M::INFO.name))))
    }
}

impl<M: Method> Call<'_, M> {
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Returns, Error>> {
        self.client.link().check_ours()?;
        if let State::Fresh = self.state {
            self.encode()?;
        }
        let client = self.client;
        let link = client.shared_link();
        let in_place = crate::in_place::pays(link);
        let stepped = {
            let mut out = link.out();
            crate::driver::ensure(link, &mut out)?;
            self.step(
                &mut out,
                cx.waker(),
                if in_place { How::InPlace } else { How::Async },
            )?
        };
        if let Step::Ended = stepped {
            self.flight = None;
            return Poll::Ready(self.conclude());
        }
        if in_place && matches!(self.state, State::Sent(_) | State::Lending(_)) {
            let flight = self.flight.take().unwrap_or_else(crate::in_place::Flight::begin);
            // Calls that never wait would keep their thread to themselves.
            match tokio::task::coop::poll_proceed(cx) {
                Poll::Ready(progress) => {
                    let look = |out: &mut _| match self.step(out, cx.waker(), How::InPlace) {
                        Ok(Step::Ended) => Some(Ok(())),
                        Ok(Step::Waiting) => None,
                        Err(error) => Some(Err(error)),
                    };
                    if let Some(looked) = crate::in_place::wait(link, &flight, look) {
                        progress.made_progress();
                        drop(flight);
                        looked?;
                        return Poll::Ready(self.conclude());
                    }
                }
                // It has woken this task, which will look in a moment.
                Poll::Pending => {}
            }
            self.flight = Some(flight);
            if let State::Lending(_) = self.state {
                // From now on the driver looks for room.
                let stepped = self.step(&mut link.out(), cx.waker(), How::Async)?;
                if let Step::Ended = stepped {
                    self.flight = None;
                    return Poll::Ready(self.conclude());
                }
            }
        }
        if let (State::Sent(_), Some(_)) = (&self.state, self.timeout) {
            link.out().look_after_deadlines();
        }
        if let Some(deadline) = self.deadline() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(self.timed_out(None)));
            }
        }
        Poll::Pending
    }
}
