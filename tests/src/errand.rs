//! A short life of a client, in the course of which a test kills it, or its server.

use ipc_rpc::{Endpoint, Error};

use crate::mode::Mode;
use crate::subject::{SubjectClient, pattern};

/// Calls that fit into one record.
const SMALL: u64 = 50;

/// Bytes of arguments and of a result that travel in pieces.
const LARGE: u64 = 1 << 20;

/// Connects, calls, and leaves: what connecting came to, and then each of the calls, all of which are made.
#[must_use]
pub fn run(mode: Mode, endpoint: Endpoint) -> Vec<Result<(), Error>> {
    mode.run(async move {
        let client: SubjectClient = match mode.end(SubjectClient::connect(endpoint)).await {
            Ok(client) => client,
            Err(error) => return vec![Err(error)],
        };
        let mut ended = vec![Ok(())];
        for number in 0..SMALL {
            let call = mode.end(client.number(number)).await;
            ended.push(call.map(|same| assert_eq!(same, number)));
        }
        let (data, expected) = (pattern(LARGE), pattern(LARGE));
        let taken = mode.end(client.take(&data)).await;
        ended.push(taken.map(|taken| assert!(taken, "the arguments arrive as they were sent")));
        let given = mode.end(client.give(LARGE)).await;
        ended.push(given.map(|given| assert!(given == expected, "the result arrives as it was sent")));
        ended
    })
}
