//! A short life of a client, in the course of which a test kills it, or its server.

use std::time::{Duration, Instant};

use ipc_rpc::{DirectState, Endpoint, Error, Section, ServiceClient, View};
use serde::{Deserialize, Serialize};

use crate::meter::Holdings;
use crate::mode::Mode;
use crate::samples::SamplesClient;
use crate::subject::{Plan, SubjectClient, pattern};
use crate::trust::trusting;

/// Calls that fit into one record.
const SMALL: u64 = 50;

/// As many, where others matter more.
const FEW: u64 = 3;

/// Bytes of arguments and of a result that travel in pieces.
const LARGE: u64 = 1 << 20;

/// Bytes of those that the other side copies in several steps.
const LENT: u64 = (2 << 20) + 1000;

/// Bytes of sections: some have a memory in common, and one has a memory of its own.
const SECTIONS: [u64; 3] = [20_000, 20_001, 600_000];

/// How what is large travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// In messages; most calls are small.
    Messages,
    /// Beside messages: sections of either side, sealed or not.
    Sections,
    /// Beside messages, between sides that trust each other: some are answered where they are.
    Trusting,
    /// Read out of its sender's memory.
    Direct,
}

impl Way {
    /// A server that large things can be sent to in this way.
    pub fn plan(self, endpoint: impl Into<String>) -> Plan {
        Plan {
            direct_if_large: self == Self::Direct,
            trusts: self == Self::Trusting,
            ..Plan::at(endpoint)
        }
    }
}

/// What a client is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// How it ends its calls.
    pub mode: Mode,
    /// What calls those are.
    pub way: Way,
    /// Where the server is.
    pub endpoint: String,
}

/// What connecting came to, and then each of the calls.
type Steps = Vec<Result<(), Error>>;

impl Errand {
    /// Connects, calls, and leaves: what connecting came to, and then each of the calls, all of which are made.
    #[must_use]
    pub fn run(&self) -> Steps {
        let Self { mode, way, .. } = *self;
        mode.run(async {
            let connected = match self.endpoint() {
                Ok(endpoint) => mode.end(SubjectClient::connect(endpoint)).await,
                Err(error) => Err(error),
            };
            let client = match connected {
                Ok(client) => client,
                Err(error) => return vec![Err(error)],
            };
            let mut steps = vec![Ok(())];
            let small = if way == Way::Messages { SMALL } else { FEW };
            for number in 0..small {
                let call = mode.end(client.number(number)).await;
                steps.push(call.map(|same| assert_eq!(same, number)));
            }
            match way {
                Way::Messages => large(mode, &client, LARGE, &mut steps).await,
                Way::Sections => {
                    large(mode, &client, LARGE, &mut steps).await;
                    sections(mode, &client.service(), &mut steps).await;
                }
                Way::Trusting => turned(mode, &client.service(), &mut steps).await,
                Way::Direct => lent(mode, &client, &mut steps).await,
            }
            steps
        })
    }

    /// Where the server is, with this side's settings.
    fn endpoint(&self) -> Result<Endpoint, Error> {
        let endpoint: Endpoint = self.endpoint.parse()?;
        Ok(match self.way {
            Way::Messages | Way::Sections => endpoint,
            Way::Trusting => trusting(endpoint),
            Way::Direct => endpoint.direct(true),
        })
    }
}

/// Bodies of that many bytes, there and back.
async fn large(mode: Mode, client: &SubjectClient, bytes: u64, steps: &mut Steps) {
    let (data, expected) = (pattern(bytes), pattern(bytes));
    let taken = mode.end(client.take(&data)).await;
    steps.push(taken.map(|taken| assert!(taken, "the arguments arrive as they were sent")));
    let given = mode.end(client.give(bytes)).await;
    steps.push(given.map(|given| assert!(given == expected, "the result arrives as it was sent")));
}

/// Large bodies until both sides have lent some.
async fn lent(mode: Mode, client: &SubjectClient, steps: &mut Steps) {
    loop {
        large(mode, client, LENT, steps).await;
        let usage = client.as_client().direct().expect("it was asked for");
        let is_told = usage.state != DirectState::Open;
        if steps.iter().any(Result::is_err) || is_told && usage.lent > 0 && usage.fetched > 0 {
            return;
        }
    }
}

/// Sections of this side's, which come back, and some of the other side's, of which one is kept while the next is made.
async fn sections(mode: Mode, client: &SamplesClient, steps: &mut Steps) {
    let mut kept = None;
    for length in SECTIONS {
        for sealed in [false, true] {
            let expected = pattern(length);
            let section = filled(client, &expected, sealed).map(View::from);
            let echo = match section {
                Ok(section) => mode.end(client.echo(section)).await,
                Err(error) => Err(error),
            };
            steps.push(echo.map(|same| assert!(same[..] == expected, "what went comes back")));
            let made = mode.end(client.make(length, sealed)).await;
            steps.push(made.map(|made| {
                assert!(made[..] == expected, "it is what was asked for");
                kept = Some(made);
            }));
        }
    }
    drop(kept);
}

/// Sections of either side that go and come back, until that fails.
async fn turned(mode: Mode, client: &SamplesClient, steps: &mut Steps) {
    for length in SECTIONS {
        steps.push(turn(mode, client, length).await);
        if steps.last().is_some_and(Result::is_err) {
            return;
        }
    }
}

/// A section of this side's, twice, and one of the other side's.
async fn turn(mode: Mode, client: &SamplesClient, length: u64) -> Result<(), Error> {
    let bytes = pattern(length);
    let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
    let own = filled(client, &bytes, false)?;
    let own = mode.end(client.turn(own)).await?;
    assert!(own[..] == backwards, "what went comes back turned around");
    let own = mode.end(client.turn(own)).await?;
    assert!(own[..] == bytes, "and back again");
    let theirs = mode.end(client.make(length, false)).await?;
    let theirs = mode.end(client.turn(theirs)).await?;
    assert!(
        theirs[..] == backwards,
        "what was made there is turned around there"
    );
    Ok(())
}

/// Memory of this side with these bytes in it.
fn filled(client: &SamplesClient, bytes: &[u8], sealed: bool) -> Result<Section<u8>, Error> {
    let mut section = if sealed {
        client.alloc_sealed(bytes.len())?
    } else {
        client.alloc(bytes.len())?
    };
    section.copy_from_slice(bytes);
    Ok(section)
}

/// Waits until a process holds what it held before. What a dead process leaves behind is released when its task has run, of
/// which nobody is told.
///
/// # Panics
/// If it goes on holding more.
pub fn comes_back(what: &str, before: &Holdings, now: impl Fn() -> Holdings) {
    let begun = Instant::now();
    loop {
        let after = now();
        if after.descriptors <= before.descriptors && after.shared <= before.shared {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{what}: {before:?} has become {after:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
