//! iceoryx2 0.10, its request-response services over shared memory: polling for answers, or waiting for its events.
//!
//! A client's requests are written straight into the memory that the system lends, and its answers are looked at where
//! they are, as its documentation shows.

use std::mem::ManuallyDrop;
use std::time::Duration;

use ::iceoryx2::node::Node;
use ::iceoryx2::pending_response::PendingResponse;
use ::iceoryx2::port::client::Client as Port;
use ::iceoryx2::port::listener::Listener;
use ::iceoryx2::port::notifier::Notifier;
use ::iceoryx2::prelude::*;
use ::iceoryx2::service::port_factory::request_response::PortFactory as Factory;
use bench_harness::{
    Answer, Call, Case, Error, Job, Load, Measured, Mode, Payload, Ready, System, Variant, Waiting, Worker,
    check_echo, drive, sum,
};
use send_wrapper::SendWrapper;

/// iceoryx2.
pub(crate) struct Iceoryx2;

type Ipc = ipc::Service;
type Bytes = [u8];

impl System for Iceoryx2 {
    fn variants(&self) -> Vec<Variant> {
        ["polling", "event"]
            .map(|transport| Variant {
                system: "iceoryx2".to_owned(),
                transport: transport.to_owned(),
                mode: Mode {
                    client: Waiting::Blocking,
                    server: Waiting::Blocking,
                },
                in_process: false,
            })
            .into()
    }

    fn offers(&self, variant: &Variant, load: &Load) -> Answer {
        let polls = variant.transport == "polling";
        match load.case {
            Case::EchoBytes => Answer::Pointless,
            Case::Post => Answer::No(
                "its one-way messages are a pattern of their own, which drops what a reader has no room for",
            ),
            Case::Beside => Answer::No("a client belongs to one thread: nothing passes beside its call"),
            Case::Idle if load.connections > 100 => {
                Answer::No("the number of a service's clients is fixed when it is made")
            }
            _ if load.in_flight > 1 => Answer::Yes("times of a batch: all requests, then all replies"),
            Case::Idle | Case::After1Ms | Case::After10Ms if polls => {
                Answer::Yes("burns a processor for ever")
            }
            Case::Sum => Answer::Yes("in place, not copied"),
            _ => Answer::Yes(""),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<(), Error> {
        let load = job.load;
        let name = format!("bench-{}", std::process::id());
        let node = node()?;
        let service = service(&node, &name, load)?;
        let server = service
            .server_builder()
            .initial_max_slice_len(reply(&load))
            .max_loaned_responses_per_request(1)
            .create()?;
        let requests = listener(&node, &format!("{name}-requests"))?;
        let mut clients = Vec::new();
        if job.variant.transport == "event" {
            for place in 0..load.connections {
                clients.push(notifier(&node, &format!("{name}-replies-{place}"))?);
            }
        }
        ready.announce(&name)?;
        loop {
            let mut answered = [false; 64];
            while let Some(request) = server.receive()? {
                let data = request.payload();
                let Some((&place, data)) = data.split_last() else {
                    return Err("a request of no bytes came".into());
                };
                match load.call() {
                    Call::Echo | Call::EchoBytes => {
                        request
                            .loan_slice_uninit(data.len())?
                            .write_from_slice(data)
                            .send()?;
                    }
                    Call::Sum => {
                        let sum = sum(data).to_le_bytes();
                        request.loan_slice_uninit(8)?.write_from_slice(&sum).send()?;
                    }
                    Call::Add => {
                        let word = |at: usize| {
                            data[at..]
                                .first_chunk()
                                .map_or(0, |word| u64::from_le_bytes(*word))
                        };
                        let sum = word(0).wrapping_add(word(8)).to_le_bytes();
                        request.loan_slice_uninit(8)?.write_from_slice(&sum).send()?;
                    }
                    Call::Null | Call::Take | Call::Post => {
                        request.loan_slice_uninit(1)?.write_from_slice(&[0]).send()?;
                    }
                }
                answered[usize::from(place) % 64] = true;
            }
            for (client, _) in clients.iter().zip(answered).filter(|(_, answered)| *answered) {
                client.notify()?;
            }
            if clients.is_empty() {
                std::hint::spin_loop();
            } else if !server.has_requests()? {
                requests.blocking_wait(|_| {})?;
            }
        }
    }

    fn drive(&self, job: &Job) -> Result<Measured, Error> {
        let workers: Vec<_> = (0..job.load.connections)
            .map(|place| Requester {
                job: job.clone(),
                place: place as u8,
                connection: None,
            })
            .collect();
        drive(job, async move { Ok(workers) })
    }
}

/// Bytes of a request; the last one says which client it is from.
fn request(load: &Load) -> usize {
    1 + match load.call() {
        Call::Null => 0,
        Call::Add => 16,
        _ => load.size,
    }
}

/// Bytes of a reply.
fn reply(load: &Load) -> usize {
    match load.call() {
        Call::Echo | Call::EchoBytes => load.size,
        _ => 8,
    }
}

fn node() -> Result<Node<Ipc>, Error> {
    // It would tell in each process that it found no configuration file.
    set_log_level(LogLevel::Error);
    // Signals are the coordinator's way to end a process.
    Ok(NodeBuilder::new()
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Ipc>()?)
}

fn service(node: &Node<Ipc>, name: &str, load: Load) -> Result<Factory<Ipc, Bytes, (), Bytes, ()>, Error> {
    Ok(node
        .service_builder(&name.try_into()?)
        .request_response::<Bytes, Bytes>()
        .max_clients(load.connections)
        .max_nodes(load.connections + 1)
        .max_servers(1)
        .max_active_requests_per_client(load.in_flight)
        .max_loaned_requests(1)
        .max_response_buffer_size(1)
        .max_borrowed_responses_per_pending_response(1)
        .open_or_create()?)
}

fn listener(node: &Node<Ipc>, name: &str) -> Result<Listener<Ipc>, Error> {
    let service = node.service_builder(&name.try_into()?).event().open_or_create()?;
    Ok(service.listener_builder().create()?)
}

fn notifier(node: &Node<Ipc>, name: &str) -> Result<Notifier<Ipc>, Error> {
    let service = node.service_builder(&name.try_into()?).event().open_or_create()?;
    Ok(service.notifier_builder().create()?)
}

/// A client that is made in the thread that uses it, where its ports have to stay.
struct Requester {
    job: Job,
    place: u8,
    /// Left behind when the process ends, as what belongs to a thread that has ended cannot be dropped elsewhere. The
    /// next node cleans up after it.
    connection: Option<ManuallyDrop<SendWrapper<Connection>>>,
}

struct Connection {
    _node: Node<Ipc>,
    client: Port<Ipc, Bytes, (), Bytes, ()>,
    events: Option<(Notifier<Ipc>, Listener<Ipc>)>,
    call: Call,
    payload: Payload,
    length: usize,
    batch: usize,
    place: u8,
    pending: Vec<PendingResponse<Ipc, Bytes, (), Bytes, ()>>,
}

impl Connection {
    fn new(job: &Job, place: u8) -> Result<Self, Error> {
        let load = job.load;
        let node = node()?;
        let service = service(&node, &job.address, load)?;
        let client = service
            .client_builder()
            .initial_max_slice_len(request(&load))
            .create()?;
        let events = if job.variant.transport == "event" {
            let listener = listener(&node, &format!("{}-replies-{place}", job.address))?;
            Some((notifier(&node, &format!("{}-requests", job.address))?, listener))
        } else {
            None
        };
        Ok(Self {
            _node: node,
            client,
            events,
            call: load.call(),
            payload: Payload::new(load.size),
            length: request(&load),
            batch: load.in_flight,
            place,
            pending: Vec::new(),
        })
    }

    fn send(&mut self) -> Result<(), Error> {
        let request = self.client.loan_slice_uninit(self.length)?;
        // SAFETY: the memory comes from the system, which handed it out initialised, and every byte is a `u8`.
        let mut request = unsafe { request.assume_init() };
        let Some((place, data)) = request.payload_mut().split_last_mut() else {
            return Err("a request of no bytes was lent".into());
        };
        *place = self.place;
        match self.call {
            Call::Sum => self.payload.fill(data),
            Call::Null => {}
            Call::Add => {
                data[..8].copy_from_slice(&2_u64.to_le_bytes());
                data[8..].copy_from_slice(&3_u64.to_le_bytes());
            }
            _ => data.copy_from_slice(self.payload.bytes()),
        }
        self.pending.push(request.send()?);
        Ok(())
    }

    fn turn(&mut self) -> Result<u32, Error> {
        for _ in 0..self.batch {
            self.send()?;
        }
        if let Some((server, _)) = &self.events {
            server.notify()?;
        }
        for pending in self.pending.drain(..) {
            let reply = loop {
                if let Some(reply) = pending.receive()? {
                    break reply;
                }
                match &self.events {
                    None => std::hint::spin_loop(),
                    Some((_, replies)) => {
                        replies.timed_wait(|_| {}, Duration::from_secs(1))?;
                    }
                }
            };
            match self.call {
                Call::Echo | Call::EchoBytes => check_echo(self.payload.bytes(), reply.payload())?,
                Call::Sum => {
                    let sum = reply.payload().first_chunk().ok_or("no sum came")?;
                    self.payload.check_sum(u64::from_le_bytes(*sum))?;
                }
                Call::Null | Call::Add | Call::Take | Call::Post => {}
            }
        }
        Ok(self.batch as u32)
    }
}

impl Worker for Requester {
    async fn turn(&mut self) -> Result<u32, Error> {
        if self.connection.is_none() {
            let connection = Connection::new(&self.job, self.place)?;
            self.connection = Some(ManuallyDrop::new(SendWrapper::new(connection)));
        }
        match &mut self.connection {
            Some(connection) => connection.turn(),
            None => Err("not connected".into()),
        }
    }

    async fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }
}
