//! `kill -9` of a server, and of a client, at the points of what they share: rings and sockets, sections, bodies that are read
//! out of each other's memory, and files. Whoever survives is told of it, once for each call, goes on with its other connections, and holds
//! in the end what it held before.
//!
//! By default some of the points are tried. All of them:
//! `cargo test -p tests --features crash-points --test crashes -- --ignored --nocapture`
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::time::{Duration, Instant};

use ipc_rpc::{Endpoint, Error, ErrorKind, Outcome};
use tests::errand::{Errand, Way, comes_back};
use tests::fixture::Transport;
use tests::meter::Holdings;
use tests::mode::Mode;
use tests::process::Helper;
use tests::subject::SubjectClient;
use tests::watchdog;

const PROGRAM: &str = env!("CARGO_BIN_EXE_subject");

/// Says at the how manieth point a helper kills itself.
const VARIABLE: &str = "TRANSPORTS_CRASH_POINT";

/// From one point that is tried to the next, in a run that is not to take long: a prime, so that none of the steps of a call
/// is passed over in all calls. Bodies that are lent have few.
fn stride(way: Way) -> usize {
    match way {
        Way::Messages | Way::Sections | Way::Trusting => 7,
        Way::Direct => 3,
    }
}

/// The first points, which are those of connecting, are all tried.
const FIRST: usize = 12;

/// How soon a death has to be noticed. The aim is 50 ms; the machine may be busy.
const SOON: Duration = Duration::from_secs(1);

/// Each with points of its own.
const WAYS: [(Transport, Way); 8] = [
    (Transport::SharedMemory, Way::Messages),
    (Transport::SharedMemory, Way::Sections),
    (Transport::SharedMemory, Way::Direct),
    (Transport::SharedMemory, Way::Trusting),
    (Transport::UnixName, Way::Sections),
    (Transport::UnixName, Way::Trusting),
    (Transport::UnixName, Way::Direct),
    // Sections travel inside of bodies there, and these through files.
    (Transport::Pipe, Way::Sections),
];

#[test]
fn servers() {
    for (transport, way) in WAYS {
        servers_die(transport, way, stride(way));
    }
}

#[test]
#[ignore = "takes minutes"]
fn servers_at_every_point() {
    for (transport, way) in WAYS {
        servers_die(transport, way, 1);
    }
}

#[test]
fn clients() {
    for (transport, way) in WAYS {
        clients_die(transport, way, stride(way));
    }
}

#[test]
#[ignore = "takes minutes"]
fn clients_at_every_point() {
    for (transport, way) in WAYS {
        clients_die(transport, way, 1);
    }
}

fn errand(mode: Mode, way: Way, endpoint: impl ToString) -> Errand {
    Errand {
        mode,
        way,
        endpoint: endpoint.to_string(),
    }
}

/// The points to try, and how each side ends its calls there: both ways at the first points and by turns later.
fn points(stride: usize) -> impl Iterator<Item = (usize, Mode)> {
    let modes = [Mode::Blocking, Mode::Async];
    let first = (1..=FIRST).flat_map(move |point| modes.map(|mode| (point, mode)));
    let later = (FIRST + 1..).step_by(stride).enumerate();
    first.chain(later.map(move |(round, point)| (point, modes[round % 2])))
}

fn servers_die(transport: Transport, way: Way, stride: usize) {
    let plan = way.plan(transport.endpoint());
    let other = Helper::serve(PROGRAM, &way.plan(transport.endpoint()), |_| {});
    let canary = SubjectClient::connect(other.endpoint()).wait().unwrap();
    canary.number(0).wait().unwrap();
    // What is made once in a process and kept.
    for mode in [Mode::Blocking, Mode::Async] {
        assert!(
            errand(mode, way, other.endpoint())
                .run()
                .iter()
                .all(Result::is_ok)
        );
    }
    canary.until_rundowns(2).wait().unwrap();
    let held = Holdings::own();
    let mut survived = 0;
    let mut deaths = 0;
    let begun = Instant::now();
    for (point, mode) in points(stride) {
        let mut server = Helper::serve(PROGRAM, &plan, |command| {
            command.env(VARIABLE, point.to_string());
        });
        let endpoint = server.endpoint().clone();
        let errand = errand(mode, way, &endpoint);
        let what = format!("{transport:?}, {way:?}, point {point}, {mode:?}");
        let ended = watchdog::guard(&what, move || {
            let begun = Instant::now();
            let ended = errand.run();
            // The others take a while by themselves: whether they end is for the watchdog to say.
            assert!(
                way != Way::Messages || begun.elapsed() < SOON + Duration::from_secs(2),
                "{:?}",
                begun.elapsed()
            );
            ended
        });
        let went_well = ended.iter().all(Result::is_ok);
        judge(&what, &ended);
        assert_eq!(canary.number(point as u64).wait().unwrap(), point as u64);
        if went_well {
            server.kill();
        }
        server.leave_behind();
        drop(server);
        comes_back(&what, &held, Holdings::own);
        leaves_no_file(&what, &endpoint);
        deaths += usize::from(!went_well);
        survived = if went_well { survived + 1 } else { 0 };
        // Once for each mode, whose points need not be as many.
        if survived == 2 {
            println!(
                "{transport:?}, {way:?}: servers died {deaths} times, up to point {point}, in {:?}",
                begun.elapsed()
            );
            assert!(deaths > 2 * FIRST, "too few points to believe it");
            return;
        }
    }
}

/// What the client of a server that died at some time says.
fn judge(what: &str, ended: &[Result<(), Error>]) {
    let mut failed = ended.iter().filter_map(|step| step.as_ref().err());
    let Some(first) = failed.next() else {
        return;
    };
    let at = ended.iter().position(Result::is_err).unwrap();
    assert_eq!(first.kind(), ErrorKind::PeerDied, "{what}, step {at}: {first}");
    assert!(
        ended[at..].iter().all(Result::is_err),
        "{what}: a dead server answers"
    );
    for error in failed {
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::PeerDied, Outcome::NotSent),
            "{what}, after step {at}: {error}"
        );
    }
}

/// Whoever lives on has taken away the name of a file that nobody has opened yet.
fn leaves_no_file(what: &str, endpoint: &Endpoint) {
    let described = endpoint.detail().to_string();
    let Some(path) = described.strip_prefix("pipe:").map(Path::new) else {
        return;
    };
    let (directory, name) = (path.parent().unwrap(), path.file_stem().unwrap());
    let name = name.to_str().unwrap();
    for entry in directory.read_dir().unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let is_left = file.starts_with(&format!("{name}.")) && file.ends_with("-spool");
        assert!(!is_left, "{what}: {file}");
    }
}

fn clients_die(transport: Transport, way: Way, stride: usize) {
    let server = Helper::serve(PROGRAM, &way.plan(transport.endpoint()), |_| {});
    let canary = SubjectClient::connect(server.endpoint()).wait().unwrap();
    let run = |point: usize, mode: Mode| {
        let argument = serde_json::to_string(&errand(mode, way, server.endpoint())).unwrap();
        let mut client = Helper::start(PROGRAM, "errand", &argument, |command| {
            command.env(VARIABLE, point.to_string());
        });
        // Its last word, or the end of its output.
        let said = client.line();
        assert!(
            said.is_empty() || said == "done",
            "{transport:?}, {way:?}, point {point}, {mode:?}: {said}"
        );
        said == "done"
    };
    // What the server makes once and keeps.
    for mode in [Mode::Blocking, Mode::Async] {
        assert!(run(0, mode));
    }
    canary.until_rundowns(2).wait().unwrap();
    let held = Holdings::of(server.pid());
    let mut survived = 0;
    let mut deaths = 0;
    let begun = Instant::now();
    for (point, mode) in points(stride) {
        let went_well = run(point, mode);
        assert_eq!(canary.number(point as u64).wait().unwrap(), point as u64);
        comes_back(
            &format!("{transport:?}, {way:?}, point {point}, {mode:?}"),
            &held,
            || Holdings::of(server.pid()),
        );
        leaves_no_file(&format!("{transport:?}, point {point}"), server.endpoint());
        deaths += usize::from(!went_well);
        survived = if went_well { survived + 1 } else { 0 };
        if survived == 2 {
            println!(
                "{transport:?}, {way:?}: clients died {deaths} times, up to point {point}, in {:?}",
                begun.elapsed()
            );
            assert!(deaths > 2 * FIRST, "too few points to believe it");
            return;
        }
    }
}
