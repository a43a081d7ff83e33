//! A side that lends bodies and is lent some is killed at each point at which it could be: the other gets whole bodies until the
//! end, hears of it once, and has everything back after it.

use std::collections::VecDeque;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{HEAD, body, busy, header, usage};
use crate::crash::VARIABLE;
use crate::direct::DirectState;
use crate::{
    Accepted, Endpoint, Error, ErrorKind, Header, Listener, Message, Port, Received, Sent, connect, listen,
};

/// Where a child connects; in other processes, that it is the test's own.
const ENDPOINT: &str = "TRANSPORTS_TEST_DIRECT_ENDPOINT";
const ALONE: &str = "TRANSPORTS_TEST_DIRECT_ALONE";

/// Longer than anything here takes, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn deadline() -> Option<Instant> {
    Instant::now().checked_add(PATIENCE)
}

/// Bytes of each body: short, so that all points take seconds.
const LENT: usize = 40_000;

/// In the order in which each side sends its bodies.
const WAYS: [Way; 4] = [Way::Ports, Way::Owners, Way::Left, Way::Refused];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The port has the body.
    Ports,
    /// An owner keeps it until the other side has it.
    Owners,
    /// An owner leaves at once, and the port has a copy.
    Left,
    /// As `Ports`; the child cannot read it.
    Refused,
}

/// One side, and what it has heard.
struct Side {
    port: Port,
    heard: VecDeque<Message>,
    closed: bool,
}

impl Side {
    fn new(port: Port) -> Self {
        Self {
            port,
            heard: VecDeque::new(),
            closed: false,
        }
    }

    /// Says and hears what there is, and waits for more if that is nothing, until something is so.
    fn until(&mut self, so: impl Fn(&Self) -> bool) -> Result<(), Error> {
        let until = deadline();
        while !so(self) {
            assert!(Instant::now() < until.unwrap(), "nothing came");
            let mut message = Message::default();
            match self.port.receiver.try_recv(&mut message)? {
                Received::Message => self.heard.push_back(message),
                Received::Begun => {}
                Received::Closed if self.closed => return Err(over()),
                Received::Closed => self.closed = true,
                Received::Empty => {
                    // What has just been heard may want an answer, or be all that there is.
                    let _ = self.port.sender.flush()?;
                    if !so(self) {
                        let space = self.port.sender.waits();
                        self.port.receiver.park(space, until)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, id: u64, way: Way) -> Result<(), Error> {
        // With something on the way, an owner would be asked to send its body.
        self.until(|side| side.closed || !side.port.sender.waits())?;
        if self.closed {
            return Err(over());
        }
        let body = body(id, LENT);
        let (head, rest) = body.split_at(HEAD);
        let header = header(id, Header::UNORDERED);
        if matches!(way, Way::Owners | Way::Left) {
            let number = self.port.sender.try_lend(&header, head, rest.len())?;
            let number = number.expect("nothing else is lent");
            let parts = rest.split_at(rest.len() - 7);
            let parts = [parts.0, parts.1];
            assert_eq!(self.port.sender.push_lent(number, parts)?, 0);
            if way == Way::Owners {
                self.until(|side| side.closed || side.port.sender.takes_lent())?;
                if !self.closed {
                    assert_eq!(self.port.sender.push_lent(number, parts)?, rest.len());
                }
            } else {
                self.port.sender.keep_lent(number, rest.to_vec());
            }
        } else {
            let sent = self
                .port
                .sender
                .try_send_parts(&header, head, &mut rest.to_vec())?;
            assert_eq!(sent, Sent::Accepted, "nothing else is on the way");
        }
        Ok(())
    }

    /// The next message is that one, and whole.
    fn take(&mut self, id: u64) -> Result<(), Error> {
        self.until(|side| side.closed || !side.heard.is_empty())?;
        let Some(message) = self.heard.pop_front() else {
            return Err(over());
        };
        assert_eq!((message.header.id, message.header.extra), (id, !id));
        assert!(message.body == body(id, LENT), "message {id} is another");
        Ok(())
    }

    /// Both sides send a body in each way. How many came is counted.
    fn exchange(&mut self, is_child: bool, came: &mut usize) -> Result<(), Error> {
        self.port.sender.offer_direct();
        self.until(|side| side.closed || usage(&side.port).state != DirectState::Open)?;
        for (id, way) in (0..).zip(WAYS) {
            let busy = (is_child && way == Way::Refused).then(busy);
            // The child's are of other numbers, so that nobody takes its own for one of them.
            let (own, others) = if is_child { (!id, id) } else { (id, !id) };
            if !is_child {
                assert!(self.closed || usage(&self.port).state == DirectState::Agreed);
            }
            if is_child {
                self.take(others)?;
                self.send(own, way)?;
            } else {
                self.send(own, way)?;
                self.take(others)?;
                *came += 1;
            }
            self.until(|side| side.closed || !side.port.sender.waits())?;
            drop(busy);
        }
        Ok(())
    }
}

/// What there is to say when there is nothing to wait for any more.
fn over() -> Error {
    Error::new(ErrorKind::PeerDied, "it was over before")
}

fn endpoint_of(text: &str) -> Endpoint {
    let endpoint: Endpoint = text.parse().unwrap();
    endpoint.direct(true).direct_from(LENT / 2)
}

/// This test once more, in a process of its own.
fn again(test: &str, variable: &str, value: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &format!("direct::tests::crashes::{test}")])
        .args(["--nocapture", "--test-threads=1"])
        .env(variable, value);
    command
}

/// The port of a child, unless it dies before it has connected.
fn accepted(listener: &mut dyn Listener, child: &mut Child) -> Option<Port> {
    let begun = Instant::now();
    loop {
        if let Accepted::Port(port) = listener.try_accept().unwrap() {
            return Some(port);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        assert!(begun.elapsed() < PATIENCE, "the child hangs");
        let soon = Instant::now() + Duration::from_millis(20);
        listener.park(Some(soon)).unwrap();
    }
}

/// How many bodies came from a child that is killed at this point, and how it ended.
fn killed_at(point: u64, endpoint: &Endpoint, test: &str) -> (usize, ExitStatus) {
    let mut listener = listen(endpoint).unwrap();
    let mut child = again(test, ENDPOINT, &endpoint.to_string())
        .env(VARIABLE, point.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut came = 0;
    if let Some(port) = accepted(&mut *listener, &mut child) {
        let mut side = Side::new(port);
        // Who serves hears first what the client wants; beside a ring, that is memory.
        let wanted = endpoint.scheme();
        let ended = side
            .until(|side| side.closed || side.port.carrier.scheme() == wanted)
            .and_then(|()| side.exchange(false, &mut came));
        if let Err(error) = ended {
            assert_eq!(error.kind(), ErrorKind::PeerDied, "point {point}: {error}");
        }
    }
    (came, child.wait().unwrap())
}

/// Descriptors of this process, and what it has mapped of memory that has no name.
fn held() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (
        std::fs::read_dir("/proc/self/fd").unwrap().count(),
        maps.lines().filter(|line| line.contains("memfd:")).count(),
    )
}

/// Tries all points.
fn all_points(scheme: &str, test: &str) {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        let mut side = Side::new(connect(&endpoint_of(&endpoint), deadline()).unwrap());
        side.exchange(true, &mut 0).unwrap();
        return side.until(|side| side.closed).unwrap();
    }
    if std::env::var_os(ALONE).is_none() {
        let ended = again(test, ALONE, "1").output().unwrap();
        let said = [ended.stdout, ended.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(
            ended.status.success() && said[0].contains("1 passed"),
            "{}: {said:?}",
            ended.status
        );
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let endpoint = endpoint_of(&format!("{scheme}:{}/socket", place.path().display()));
    // What is made once in a process and kept.
    let (came, ended) = killed_at(u64::MAX, &endpoint, test);
    assert_eq!((came, ended.success()), (WAYS.len(), true), "{ended}");
    let before = held();
    let mut seen = [false; WAYS.len() + 1];
    for point in 1.. {
        let (came, ended) = killed_at(point, &endpoint, test);
        seen[came] = true;
        let begun = Instant::now();
        while held() != before {
            assert!(
                begun.elapsed() < PATIENCE,
                "point {point}: {before:?} has become {:?}",
                held()
            );
            // What came unasked is closed by another thread, which tells nobody.
            std::thread::sleep(Duration::from_millis(1));
        }
        if ended.success() {
            assert_eq!(came, WAYS.len(), "point {point}");
            assert!(point > 10 * WAYS.len() as u64, "only {point} points were passed");
            break;
        }
    }
    assert!(
        seen.iter().all(|seen| *seen),
        "after each number of bodies some point was hit: {seen:?}"
    );
}

#[test]
fn a_death_over_a_stream_gives_everything_back() {
    all_points("unix", "a_death_over_a_stream_gives_everything_back");
}

#[test]
fn a_death_beside_a_ring_gives_everything_back() {
    all_points("shm", "a_death_beside_a_ring_gives_everything_back");
}
