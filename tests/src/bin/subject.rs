//! The helper program of the tests: a server, or a client, in a process of its own.
//!
//! It is told its role and one argument, prints what its test waits for, and ends when its standard input does.

use std::io::{Read, Write};

use tests::meter::Counting;
use tests::subject::{Plan, Served, SubjectClient};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, argument] = &arguments[..] else {
        panic!("usage: subject ROLE ARGUMENT")
    };
    if role == "child" {
        return child(&serde_json::from_str(argument).expect("a plan"));
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    match role.as_str() {
        "serve" => serve(&serde_json::from_str(argument).expect("a plan")),
        "hold" => hold(argument),
        _ => panic!("no role is called {role}"),
    }
}

/// Says what the test waits for.
fn say(what: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{what}")
        .and_then(|()| stdout.flush())
        .expect("the test listens");
}

fn serve(plan: &Plan) {
    match Served::new(plan) {
        Ok(served) => {
            say(format_args!("ready {}", served.endpoint()));
            match served.run(plan) {
                Ok(()) => say("ended"),
                Err(error) => say(format_args!("failed: {error}")),
            }
        }
        Err(error) => say(format_args!("failed: {error}")),
    }
}

/// Serves whoever started it; all that it says goes to standard error.
fn child(plan: &Plan) {
    if let Err(error) = Served::new(plan).and_then(|served| served.run(plan)) {
        eprintln!("subject: {error}");
        std::process::exit(1);
    }
}

/// Makes calls that nobody answers, until it is killed.
fn hold(endpoint: &str) {
    let client = SubjectClient::connect(endpoint)
        .wait()
        .expect("the server is there");
    say("connected");
    std::thread::scope(|scope| {
        for token in 1000..1008 {
            let client = &client;
            scope.spawn(move || client.hold(token).wait());
        }
    });
}
