//! What ipc-rpc wants to reach, beside what a run measured. Figures only: whether a goal is met is for the reader to
//! say, who knows how quiet the machine was.

use crate::pick::{Figure, in_run, runs};
use crate::plan::matches;
use crate::row::Row;
use crate::statistics::{Spread, number, spread, time};
use crate::table::markdown;

/// A line of the table.
struct Goal {
    what: &'static str,
    /// What is looked at, of our fastest transport.
    ours: &'static str,
    figure: Figure,
    than: Than,
    wanted: Wanted,
}

/// What our figure is set against.
enum Than {
    /// The ratio of ours to it.
    Ratio(&'static str),
    /// What ours is above it, in nanoseconds.
    Above(&'static str),
    /// Our figure itself.
    Itself,
    /// Our rate or time on a machine whose ring answers in the time given.
    WhereRingTakes(f64),
    /// Our server's memory for each connection beyond the one of this.
    EachBeyond(&'static str, f64),
}

enum Wanted {
    AtMost(f64),
    AtLeast(f64),
    /// For orientation.
    Open,
}

use Than::{Above, EachBeyond, Itself, Ratio, WhereRingTakes};
use Wanted::{AtLeast, AtMost, Open};

/// The median of a spinning ring's call: what the small calls are measured by.
const RING: &str = "system=ring transport=spin case=echo size=32 in_flight=1 placement=free";
const POLLING: &str =
    "system=iceoryx2 transport=polling case=echo size=32 in_flight=1 connections=1 placement=free";
const SLEEPING: &str = "system=ring transport=futex-epoll case=echo size=32 in_flight=1 placement=same";

const BLOCKING: &str = "mode=blocking/mt case=echo size=32 in_flight=1 connections=1 placement=free";
const ASYNC: &str = "mode=ct/ct case=echo size=32 in_flight=1 connections=1 placement=free";
const MANY: &str = "mode=ct/ct,mt/mt case=echo size=32 in_flight=64 connections=1 placement=free";
const EIGHT: &str = "mode=ct/ct,mt/mt case=echo size=32 in_flight=1 connections=8 placement=free";

const GOALS: &[Goal] = &[
    goal(
        "32 B, blocking: p50 above the ring's",
        BLOCKING,
        Figure::Median,
        Above(RING),
        AtMost(300.0),
    ),
    goal(
        "the same: of iceoryx2 polling",
        BLOCKING,
        Figure::Median,
        Ratio(POLLING),
        AtMost(0.6),
    ),
    goal(
        "the same: p99 above the ring's p50",
        BLOCKING,
        Figure::Tail,
        Above(RING),
        AtMost(600.0),
    ),
    goal(
        "32 B, async: p50 above the ring's",
        ASYNC,
        Figure::Median,
        Above(RING),
        AtMost(400.0),
    ),
    goal(
        "the same: of iceoryx2 polling",
        ASYNC,
        Figure::Median,
        Ratio(POLLING),
        AtMost(1.0),
    ),
    goal(
        "1 KiB, blocking: p50 above the ring's at 32 B",
        "mode=blocking/mt case=echo size=1024 in_flight=1 placement=free",
        Figure::Median,
        Above(RING),
        AtMost(400.0),
    ),
    goal(
        "null: p50 above its ring's",
        "mode=blocking/mt case=null",
        Figure::Median,
        Above("system=ring transport=spin case=null"),
        Open,
    ),
    goal(
        "add: p50 above its ring's",
        "mode=blocking/mt case=add",
        Figure::Median,
        Above("system=ring transport=spin case=add"),
        Open,
    ),
    goal(
        "big_in, 200 B: p50 above its ring's",
        "mode=blocking/mt case=big_in",
        Figure::Median,
        Above("system=ring transport=spin case=big_in"),
        Open,
    ),
    goal(
        "big_in_out, 200 B: p50 above its ring's",
        "mode=blocking/mt case=big_in_out",
        Figure::Median,
        Above("system=ring transport=spin case=big_in_out"),
        Open,
    ),
    goal(
        "one processor, 32 B: of the sleeping ring",
        "mode=blocking/mt,blocking/ct case=echo size=32 in_flight=1 connections=1 placement=same",
        Figure::Median,
        Ratio(SLEEPING),
        AtMost(1.2),
    ),
    goal(
        "after 10 ms of silence: of the sleeping ring",
        "mode=blocking/mt,blocking/ct case=after_10ms placement=free",
        Figure::Median,
        Ratio("system=ring transport=futex-epoll case=after_10ms placement=free"),
        AtMost(1.25),
    ),
    goal(
        "the same on one processor",
        "mode=blocking/mt,blocking/ct case=after_10ms placement=same",
        Figure::Median,
        Ratio("system=ring transport=futex-epoll case=after_10ms placement=same"),
        AtMost(1.25),
    ),
    goal(
        "one idle connection, 5 s: processor time",
        "mode=blocking/mt case=idle connections=1",
        Figure::Idle,
        Itself,
        AtMost(1e6),
    ),
    goal(
        "1,000 idle connections, 5 s: processor time",
        "mode=blocking/mt case=idle connections=1000",
        Figure::Idle,
        Itself,
        AtMost(20e6),
    ),
    goal(
        "the same: KiB resident in the server for each",
        "mode=blocking/mt case=idle connections=1000",
        Figure::ServerMemory,
        EachBeyond("mode=blocking/mt case=idle connections=1", 999.0),
        AtMost(64.0),
    ),
    goal(
        "64 in flight: of iceoryx2 polling's calls/s",
        MANY,
        Figure::Rate,
        Ratio("system=iceoryx2 transport=polling case=echo size=32 in_flight=64 placement=free"),
        AtLeast(1.5),
    ),
    goal(
        "the same: of the best RPC peer's over sockets",
        MANY,
        Figure::Rate,
        Ratio(
            "system=tarpc,tonic,ttrpc,zbus,capnp-rpc,remoc,ipc-rpc-3 case=echo size=32 in_flight=64 placement=free",
        ),
        AtLeast(6.0),
    ),
    goal(
        "the same: of messages over sockets, in batches",
        MANY,
        Figure::Rate,
        Ratio("system=zeromq,ipc-channel case=echo size=32 in_flight=64 placement=free"),
        Open,
    ),
    goal(
        "512 in flight: of our own with 64",
        "mode=ct/ct,mt/mt case=echo size=32 in_flight=512 placement=free",
        Figure::Rate,
        Ratio("system=ipc-rpc transport=OURS mode=ct/ct,mt/mt case=echo size=32 in_flight=64 placement=free"),
        AtLeast(1.0),
    ),
    goal("8 connections: calls/s", EIGHT, Figure::Rate, Itself, Open),
    goal(
        "the same, where the ring takes 0.12 µs",
        EIGHT,
        Figure::Rate,
        WhereRingTakes(120.0),
        AtLeast(1.5e6),
    ),
    goal(
        "the same: slowest share of the fastest",
        EIGHT,
        Figure::Share,
        Itself,
        AtLeast(0.6),
    ),
    goal("the same: p99", EIGHT, Figure::Tail, Itself, AtMost(40e3)),
    goal(
        "one-way: of zeromq's messages/s",
        "mode=blocking/mt,ct/ct,mt/mt case=post placement=free",
        Figure::Rate,
        Ratio("system=zeromq case=post placement=free"),
        AtLeast(2.0),
    ),
    goal(
        "1 MiB there and back: of the conveyor",
        "mode=blocking/mt,ct/ct,mt/mt case=echo_bytes size=1048576",
        Figure::Median,
        Ratio("system=conveyor case=echo size=1048576"),
        AtMost(1.6),
    ),
    goal(
        "the same: of the best peer over sockets",
        "mode=blocking/mt,ct/ct,mt/mt case=echo_bytes size=1048576",
        Figure::Median,
        Ratio(
            "system=tarpc,tonic,ttrpc,zbus,capnp-rpc,remoc,ipc-rpc-3,zeromq,ipc-channel case=echo size=1048576",
        ),
        AtMost(0.2),
    ),
    goal(
        "64 MiB there, a number back: of the conveyor",
        "mode=blocking/mt,ct/ct,mt/mt case=sum size=67108864",
        Figure::Median,
        Ratio("system=conveyor case=sum size=67108864"),
        AtMost(1.5),
    ),
    goal(
        "the same, read out of the client's memory: of that read alone",
        "DIRECT mode=blocking/mt,ct/ct,mt/mt case=sum size=67108864",
        Figure::Median,
        Ratio("system=vm-readv case=sum size=67108864"),
        AtMost(1.3),
    ),
    goal(
        "the same, a view of a trusted peer's section: of the ring",
        "VIEW mode=blocking/mt,ct/ct,mt/mt case=sum size=67108864",
        Figure::Median,
        Ratio("system=ring transport=spin case=sum size=67108864"),
        AtMost(1.1),
    ),
    goal(
        "1 MiB, such a view: of iceoryx2 polling",
        "VIEW mode=blocking/mt,ct/ct,mt/mt case=sum size=1048576",
        Figure::Median,
        Ratio("system=iceoryx2 transport=polling case=sum size=1048576"),
        AtMost(1.2),
    ),
    goal(
        "64 MiB, a sealed section that was sent before: of the ring",
        "AGAIN mode=blocking/mt,ct/ct,mt/mt case=sum size=67108864",
        Figure::Median,
        Ratio("system=ring transport=spin case=sum size=67108864"),
        AtMost(1.1),
    ),
    goal(
        "1 MiB, such a section: of iceoryx2 polling",
        "AGAIN mode=blocking/mt,ct/ct,mt/mt case=sum size=1048576",
        Figure::Median,
        Ratio("system=iceoryx2 transport=polling case=sum size=1048576"),
        AtMost(1.2),
    ),
    goal(
        "64 MiB, a section sealed for the call: of sealing, passing and mapping alone",
        "SEALED mode=blocking/mt,ct/ct,mt/mt case=sum size=67108864",
        Figure::Median,
        Ratio("system=sealed transport=memfd case=sum size=67108864"),
        AtMost(1.3),
    ),
    goal(
        "1 MiB, such a section: of the same",
        "SEALED mode=blocking/mt,ct/ct,mt/mt case=sum size=1048576",
        Figure::Median,
        Ratio("system=sealed transport=memfd case=sum size=1048576"),
        AtMost(1.3),
    ),
    goal(
        "beside 1 MiB bodies: p99, where the ring takes 0.12 µs",
        "mode=blocking/mt,ct/ct,mt/mt case=beside size=1048576",
        Figure::Tail,
        WhereRingTakes(120.0),
        AtMost(15e3),
    ),
    goal(
        "beside 64 MiB bodies: p99, where the ring takes 0.12 µs",
        "mode=blocking/mt,ct/ct,mt/mt case=beside size=67108864",
        Figure::Tail,
        WhereRingTakes(120.0),
        AtMost(60e3),
    ),
];

const fn goal(what: &'static str, ours: &'static str, figure: Figure, than: Than, wanted: Wanted) -> Goal {
    Goal {
        what,
        ours,
        figure,
        than,
        wanted,
    }
}

/// The patterns of `--only` that measure what the goals need and no more.
pub(crate) fn patterns() -> Vec<String> {
    let mut all = Vec::new();
    for goal in GOALS {
        all.extend(FASTEST.map(|transport| own(transport, goal.ours)));
        match goal.than {
            Ratio(other) | Above(other) if !other.contains("OURS") => all.push(other.to_owned()),
            Ratio(_) | Above(_) | Itself | WhereRingTakes(_) => {}
            EachBeyond(other, _) => {
                all.extend(FASTEST.map(|transport| own(transport, other)));
            }
        }
    }
    all
}

/// What a goal looks at, over this transport of ours, or in the way that it names itself.
fn own(transport: &str, pattern: &str) -> String {
    match pattern.split_once(' ') {
        // "VIEW" is of `shm-view`.
        Some((way, rest)) if way.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            let way = way.to_ascii_lowercase();
            format!("system=ipc-rpc transport={transport}-{way} {rest}")
        }
        _ => format!("system=ipc-rpc transport={transport} {pattern}"),
    }
}

/// Our transports between two processes, the fastest first: the goals are those of the first that a run has.
const FASTEST: [&str; 2] = ["shm", "unix"];

fn ours(rows: &[Row]) -> &'static str {
    let has = |transport: &&&str| {
        let pattern = format!("system=ipc-rpc transport={transport}");
        rows.iter().any(|row| matches(&pattern, row.words()))
    };
    FASTEST.iter().find(has).copied().unwrap_or(FASTEST[0])
}

/// What the table is of.
pub(crate) fn title(rows: &[Row]) -> String {
    let runs = runs(rows);
    format!(
        "ipc-rpc over `{}:` beside its goals, medians of {runs} run(s)",
        ours(rows)
    )
}

/// The table: a line for each goal, also where the run has no figures for it.
pub(crate) fn table(rows: &[Row]) -> String {
    let ours = ours(rows);
    let ring = spread((0..runs(rows)).filter_map(|run| in_run(rows, run, RING, Figure::Median)));
    let mut lines = vec![["", "measured [least–most]", "goal"].map(str::to_owned).to_vec()];
    lines.push(vec![
        "the spinning ring itself, 32 B: p50".to_owned(),
        ring.map_or_else(absent, |ring| written(ring, time)),
        String::new(),
    ]);
    for goal in GOALS {
        let values = (0..runs(rows)).filter_map(|run| value(goal, ours, rows, run));
        let write = writer(goal);
        lines.push(vec![
            goal.what.to_owned(),
            spread(values).map_or_else(absent, |spread| written(spread, write)),
            match goal.wanted {
                AtMost(most) => format!("≤ {}", write(most)),
                AtLeast(least) => format!("≥ {}", write(least)),
                Open => String::new(),
            },
        ]);
    }
    markdown(&lines)
}

fn value(goal: &Goal, ours: &str, rows: &[Row], run: usize) -> Option<f64> {
    let value = in_run(rows, run, &own(ours, goal.ours), goal.figure)?;
    let other = |pattern: &str, figure| in_run(rows, run, &pattern.replace("OURS", ours), figure);
    Some(match goal.than {
        Ratio(pattern) => value / other(pattern, goal.figure)?,
        // A tail, too, is set against the other's median: the floor's own tail is the machine's noise.
        Above(pattern) => value - other(pattern, Figure::Median)?,
        Itself => value,
        WhereRingTakes(ns) => {
            let slower = other(RING, Figure::Median)? / ns;
            match goal.figure {
                Figure::Rate | Figure::Beside => value * slower,
                _ => value / slower,
            }
        }
        EachBeyond(pattern, more) => (value - other(&own(ours, pattern), goal.figure)?) / more,
    })
}

fn writer(goal: &Goal) -> fn(f64) -> String {
    match (&goal.than, goal.figure) {
        (Ratio(_), _) | (_, Figure::Share) => |ratio| format!("{ratio:.2} ×"),
        (_, Figure::Median | Figure::Tail | Figure::Processor | Figure::Idle) => signed_time,
        (_, Figure::Memory | Figure::ServerMemory) => |kib| format!("{kib:.1} KiB"),
        (_, Figure::Rate | Figure::Beside) => number,
    }
}

fn signed_time(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "" };
    format!("{sign}{}", time(ns.abs()))
}

fn written(spread: Spread, write: fn(f64) -> String) -> String {
    format!(
        "{} [{}–{}]",
        write(spread.median),
        write(spread.least),
        write(spread.most)
    )
}

fn absent() -> String {
    "not in this run".to_owned()
}
