//! The helper program of the tests: a server, or a client, in a process of its own.
//!
//! It is told its role and one argument, prints what its test waits for, and ends when its standard input does.

use std::io::Write;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use ipc_rpc::ServiceClient;
use tests::caller::Caller;
use tests::errand::Errand;
use tests::meter::Counting;
use tests::subject::{Plan, Served, SubjectClient};

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, role, argument] = &arguments[..] else {
        panic!("usage: subject ROLE ARGUMENT")
    };
    let plan = || serde_json::from_str(argument).expect("a plan");
    match role.as_str() {
        "child" => return child(&plan()),
        "family" => return family(argument),
        "activated" => return activated(plan()),
        _ => {}
    }
    let (heard, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // A role that does not listen has no use for it.
            let _ = heard.send(line);
        }
        std::process::exit(0);
    });
    match role.as_str() {
        "serve" => serve(&serde_json::from_str(argument).expect("a plan")),
        "parent" => parent(argument),
        "hold" => hold(argument),
        "errand" => errand(&serde_json::from_str(argument).expect("an errand")),
        "caller" => caller(&serde_json::from_str(argument).expect("a caller"), &lines),
        "crowd" => crowd(argument),
        #[cfg(unix)]
        "visit" => visit(&serde_json::from_str(argument).expect("a visit")),
        #[cfg(unix)]
        "fork" => say(tests::fork::and_call(argument)),
        "list" => list(),
        "large" => large(argument, &lines),
        "bodies" => bodies(argument, &lines),
        #[cfg(target_os = "linux")]
        "lend" => lend(&serde_json::from_str(argument).expect("a loan"), &lines),
        "reconnect" => reconnect(argument, &lines),
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

/// Says what is being served.
fn list() {
    match ipc_rpc::servers() {
        Ok(servers) => {
            for server in servers {
                let since = server
                    .since
                    .map(|since| since.elapsed().unwrap_or_default().as_secs());
                say(format_args!(
                    "{} {} pid {:?} {:?} since {since:?} stale {}",
                    server.name, server.endpoint, server.pid, server.executable, server.stale
                ));
            }
            say("ended");
        }
        Err(error) => say(format_args!("failed: {error}")),
    }
}

/// Says what came of a visit.
#[cfg(unix)]
fn visit(visit: &tests::visit::Visit) {
    say("started");
    say(visit.pay());
}

fn serve(plan: &Plan) {
    #[cfg(unix)]
    if let Some(descriptors) = plan.descriptors {
        tests::visit::limit_descriptors(descriptors);
    }
    #[cfg(unix)]
    if let Some(uid) = plan.uid {
        tests::visit::become_user(uid, &[]);
    }
    #[cfg(target_os = "linux")]
    if plan.bare {
        tests::visit::become_bare();
    }
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

/// As `child`, with a child of its own that lives on and whose process id goes into a file.
fn family(file: &str) {
    let plan = Plan::at("fd:inherited");
    let served = Served::new(&plan).expect("it was started as a child");
    let mut grandchild = std::process::Command::new("sleep")
        .arg("1000")
        .spawn()
        .expect("sleep(1) runs");
    std::fs::write(file, grandchild.id().to_string()).expect("the file can be written");
    served.run(&plan).expect("it serves");
    // The test may have ended it.
    let _ = grandchild.kill();
    grandchild.wait().expect("a child can be waited for");
}

/// Serves at the sockets of a service manager.
fn activated(mut plan: Plan) {
    let sockets = ipc_rpc::activated().expect("the variables are in order");
    let [(endpoint, name)] = &sockets[..] else {
        panic!("one socket is expected: {sockets:?}")
    };
    assert_eq!(name.as_deref(), Some("store"));
    plan.endpoint = endpoint.to_string();
    child(&plan);
}

/// Starts a child, says which, and stays until it is killed.
fn parent(plan: &str) {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program has a file"));
    command.args(["child", plan]);
    let client = SubjectClient::spawn(command).wait().expect("the child serves");
    say(client.as_client().child().expect("it is a child").pid());
    // A call that nobody answers.
    let _ = client.hold(1).wait();
}

/// Is as many clients as it is told, all of which call once at first, and again once a number was noted.
fn crowd(argument: &str) {
    let (count, endpoint) = argument.split_once(' ').expect("a number and an endpoint");
    let count: u64 = count.parse().expect("a number");
    let clients: Vec<SubjectClient> = (0..count)
        .map(|_| {
            SubjectClient::connect(endpoint)
                .timeout(std::time::Duration::from_secs(60))
                .wait()
                .expect("the server takes them all")
        })
        .collect();
    let all_call = || {
        for (number, client) in (0..).zip(&clients) {
            assert_eq!(
                client.number(number).wait().expect("the server serves them all"),
                number
            );
        }
    };
    all_call();
    say(format_args!("open {count}"));
    clients[0]
        .until_notes(1)
        .wait()
        .expect("the server serves them all");
    all_call();
    say(format_args!("again {count}"));
}

/// Makes calls that wait, and says how each ended.
fn hold(endpoint: &str) {
    let client = SubjectClient::connect(endpoint)
        .wait()
        .expect("the server is there");
    say("connected");
    std::thread::scope(|scope| {
        for token in 1000..1008 {
            let client = &client;
            scope.spawn(move || match client.hold(token).wait() {
                Ok(token) => say(format_args!("released {token}")),
                Err(error) => say(format_args!("{:?}: {error}", error.kind())),
            });
        }
    });
}

/// Runs the errand, and says whether it went well.
fn errand(errand: &Errand) {
    let failed = errand.run().into_iter().find_map(Result::err);
    say(failed.map_or_else(|| "done".to_owned(), |error| error.to_string()));
}

/// Calls as each line asks for it, and answers each with one.
fn caller(caller: &Caller, lines: &Receiver<String>) {
    caller.run(lines, say);
}

/// Does something a few times to warm up, and many times when told to.
fn measured(times: u64, lines: &Receiver<String>, mut work: impl FnMut()) {
    (0..20).for_each(|_| work());
    say("warm");
    lines.recv().expect("the test goes on");
    (0..times).for_each(|_| work());
    say("done");
    // To be looked at; the test ends it.
    let _ = lines.recv();
}

/// Calls with arguments of 1 MiB, blocking and async by turns.
fn large(endpoint: &str, lines: &Receiver<String>) {
    let client = SubjectClient::connect(endpoint)
        .wait()
        .expect("the server is there");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let data = vec![7; 1 << 20];
    let expected = data.len() as u64;
    measured(500, lines, || {
        assert_eq!(client.count(&data).wait().expect("a blocking call"), expected);
        assert_eq!(
            runtime
                .block_on(async {
                    let counted = client.count(&data).await;
                    // The connection's driver, which a call in place does without, registers when it first gets its turn.
                    tokio::task::yield_now().await;
                    counted
                })
                .expect("an async call"),
            expected
        );
    });
}

/// So many calls of 1 MiB there and back, and so many of up to 64 MiB, blocking and async by turns; "warm" after small ones.
fn bodies(argument: &str, lines: &Receiver<String>) {
    const MOST: u64 = (64 << 20) - 64;
    let mut words = argument.splitn(3, ' ');
    let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
    let (of_one_mebibyte, of_any_size): (u64, u64) = (number(), number());
    let endpoint = words.next().expect("an endpoint");
    let client = SubjectClient::connect(endpoint)
        .wait()
        .expect("the server is there");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let call = |round: u64, data: &[u8]| {
        let back = if round.is_multiple_of(2) {
            client.bytes(data).wait()
        } else {
            runtime.block_on(async { client.bytes(data).await })
        };
        assert!(back.expect("an answer") == data);
    };
    (0..10).for_each(|round| call(round, &[7; 300_000]));
    // Until what those left is freed.
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(3) {
        call(round, b"warm");
        round += 1;
    }
    say("warm");
    lines.recv().expect("the test goes on");
    let data = vec![7; 1 << 20];
    (0..of_one_mebibyte).for_each(|round| call(round, &data));
    drop(data);
    // A generator that repeats itself late enough.
    let mut state = 1_u64;
    for round in 0..of_any_size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        call(round, &vec![round as u8; (1 + (state >> 33) % MOST) as usize]);
    }
    say("done");
    // A runtime that nobody enters gives nothing back.
    runtime.block_on(async {
        loop {
            if lines.try_recv().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

/// Lends its server a body of so many bytes again and again: five times for each line that it hears. Without `bare`, waits until
/// the server can read its memory.
#[cfg(target_os = "linux")]
fn lend((endpoint, length, bare): &(String, u64, bool), lines: &Receiver<String>) {
    if *bare {
        tests::visit::become_bare();
    }
    let endpoint: ipc_rpc::Endpoint = endpoint.parse().expect("an endpoint");
    let client = SubjectClient::connect(endpoint.direct(true))
        .wait()
        .expect("the server is there");
    let usage = || client.as_client().direct().expect("it was asked for");
    while usage().state == ipc_rpc::DirectState::Open {
        client.nothing().wait().expect("a small call");
    }
    let body = tests::subject::pattern(*length);
    say("agreed");
    for _ in lines {
        for _ in 0..5 {
            assert_eq!(client.count(&body).wait().expect("a large call"), *length);
        }
        let usage = usage();
        say(format_args!(
            "lent {} fetched {} {:?}",
            usage.lent, usage.fetched, usage.state
        ));
    }
}

/// Connects, calls and leaves.
fn reconnect(endpoint: &str, lines: &Receiver<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    measured(100, lines, || {
        let client = SubjectClient::connect(endpoint)
            .wait()
            .expect("the server is there");
        client.nothing().wait().expect("a blocking call");
        let awaited = async { SubjectClient::connect(endpoint).await?.nothing().await };
        runtime.block_on(awaited).expect("an async call");
    });
}
