//! A client that connects and calls when it is told to, and says what it made of the answer: for servers that send what no
//! server should.

use std::sync::mpsc::Receiver;

use ipc_rpc::ServiceClient;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::samples::{SamplesClient, looks};
use crate::subject::SubjectClient;

/// Such a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Caller {
    /// How it ends its calls.
    pub mode: Mode,
    /// Where it connects to.
    pub endpoint: String,
}

impl Caller {
    /// What has it connect once more; it says "connected" then, or why not.
    pub const CONNECT: &str = "connect";

    /// What has it ask for sections on a connection, counted from the first. It says the [`looks`] at what came, as JSON, or
    /// why nothing did.
    #[must_use]
    pub fn call(connection: usize) -> String {
        format!("call {connection}")
    }

    /// What has it give up a connection; it says "left".
    #[must_use]
    pub fn leave(connection: usize) -> String {
        format!("leave {connection}")
    }

    /// Does what the lines say until there are no more.
    ///
    /// # Panics
    /// If one says anything else.
    pub fn run(&self, lines: &Receiver<String>, say: fn(String)) {
        let mode = self.mode;
        mode.run(async {
            let mut clients: Vec<Option<SubjectClient>> = Vec::new();
            for line in lines {
                if line == Self::CONNECT {
                    let client = mode.end(SubjectClient::connect(self.endpoint.as_str())).await;
                    say(client
                        .as_ref()
                        .map_or_else(ToString::to_string, |_| "connected".to_owned()));
                    clients.extend(client.map(Some));
                    continue;
                }
                let (what, number) = line.split_once(' ').expect("what to do, and where");
                let place = &mut clients[number.parse::<usize>().expect("a number")];
                match (what, place.as_ref()) {
                    ("call", Some(client)) => {
                        let samples: SamplesClient = client.service();
                        let came = mode.end(samples.several(Vec::new())).await;
                        say(came.map_or_else(
                            |error| error.to_string(),
                            |all| serde_json::to_string(&looks(&all)).expect("numbers are JSON"),
                        ));
                    }
                    ("leave", Some(_)) => {
                        *place = None;
                        say("left".to_owned());
                    }
                    _ => panic!("{line:?} cannot be done"),
                }
            }
        });
    }
}
