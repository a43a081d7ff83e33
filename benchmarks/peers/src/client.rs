//! What the peers' clients have in common: a call for each of the benchmark's, and the worker that makes them.

use std::future::Future;

use bench_harness::{Answer, Call, Case, Error, Load, Payload, Worker, check_echo};

/// A client of a peer, written once for each.
pub(crate) trait Client: Send + 'static {
    /// Bytes, in the form in which they come back.
    type Bytes: AsRef<[u8]> + Send;

    fn echo(&mut self, data: &[u8]) -> impl Future<Output = Result<Self::Bytes, Error>> + Send;

    fn sum(&mut self, data: &[u8]) -> impl Future<Output = Result<u64, Error>> + Send;

    fn null(&mut self) -> impl Future<Output = Result<(), Error>> + Send;

    fn add(&mut self, a: u64, b: u64) -> impl Future<Output = Result<u64, Error>> + Send;

    fn take(&mut self, data: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;

    /// Sends without waiting for anything.
    fn post(&mut self, _: &[u8]) -> impl Future<Output = Result<(), Error>> + Send {
        async { Err("it has no one-way calls".into()) }
    }

    /// Waits until everything posted has arrived.
    fn settle(&mut self) -> impl Future<Output = Result<(), Error>> + Send {
        self.null()
    }
}

/// A client, and what it sends.
pub(crate) struct Caller<C> {
    client: C,
    call: Call,
    payload: Payload,
}

impl<C: Client + Clone> Caller<C> {
    /// All the callers of one connection.
    pub(crate) fn all(client: C, load: Load) -> impl Iterator<Item = Self> {
        load.workers()
            .into_iter()
            .map(move |size| Self::new(client.clone(), load, size))
    }
}

impl<C: Client> Caller<C> {
    pub(crate) fn new(client: C, load: Load, size: usize) -> Self {
        Self {
            client,
            call: load.call(),
            payload: Payload::new(size),
        }
    }
}

impl<C: Client> Worker for Caller<C> {
    async fn turn(&mut self) -> Result<u32, Error> {
        let Self {
            client,
            call,
            payload,
        } = self;
        let data = payload.next(*call);
        match call {
            Call::Echo | Call::EchoBytes => check_echo(data, client.echo(data).await?.as_ref())?,
            Call::Sum => {
                let sum = client.sum(data).await?;
                payload.check_sum(sum)?;
            }
            Call::Null => client.null().await?,
            Call::Add => match client.add(2, 3).await? {
                5 => {}
                sum => return Err(format!("2 and 3 are {sum}").into()),
            },
            Call::Take => client.take(data).await?,
            Call::Post => client.post(data).await?,
        }
        Ok(1)
    }

    async fn settle(&mut self) -> Result<(), Error> {
        self.client.settle().await
    }
}

/// What a peer answers that does everything, but has no one-way calls, or does: `one_way`.
pub(crate) fn everything(load: &Load, one_way: bool) -> Answer {
    match load.case {
        Case::Post if !one_way => Answer::No("it has no one-way calls"),
        // The cheaper form of bytes is ours to have two of; theirs is the one that echo measures.
        Case::EchoBytes => Answer::Pointless,
        _ => Answer::Yes(""),
    }
}
