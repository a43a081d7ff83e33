//! The conformance suite: the same cases over every transport, in every codec, for async and blocking clients. The
//! cases are listed in this package's README.
//!
//! Each combination is a module and each case a test in it: `unix_name::json::waited::panics_at_once`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed case, and clippy knows only functions marked as tests"
)]

#[macro_use]
mod list;

mod bodies;
mod calls;
mod connections;
mod failures;
mod loads;
mod runtimes;
mod sections;
mod times;

use ipc_rpc::Codec;
use tests::fixture::{Fixture, Transport};
use tests::mode::Mode;
use tests::watchdog;

/// Runs one case in one combination.
fn run(name: &str, transport: Transport, codec: Codec, mode: Mode) {
    let fixture = Fixture {
        transport,
        codec,
        mode,
        program: env!("CARGO_BIN_EXE_subject"),
    };
    let (_, case) = list::all()
        .find(|(known, _)| *known == name)
        .expect("the list has all cases");
    let combination = format!("{name} over {transport:?} in {codec:?}, {mode:?}");
    let began = std::time::Instant::now();
    watchdog::guard(&combination, move || mode.run(case(fixture)));
    // Shown with --nocapture: where the time goes.
    println!("{:6} ms  {combination}", began.elapsed().as_millis());
}

macro_rules! test_each {
    ([$transport:ident $codec:ident $mode:ident] $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                crate::run(stringify!($case), crate::Transport::$transport, crate::Codec::$codec, crate::Mode::$mode);
            }
        )*
    };
}

/// All combinations of one transport: the groups of cases for each of its clients, and those for async ones besides.
macro_rules! transport {
    ($name:ident $transport:ident $each:tt $awaited:tt) => {
        mod $name {
            transport!(codec bincode Bincode $transport $each $awaited);
            transport!(codec json Json $transport $each $awaited);
        }
    };
    // Where what carries the bodies is another one only for large ones, whoever wrote them.
    (bincode $name:ident $transport:ident $each:tt $awaited:tt) => {
        mod $name {
            transport!(codec bincode Bincode $transport $each $awaited);
        }
    };
    (codec $name:ident $codec:ident $transport:ident [$($each:ident)*] [$($awaited:ident)*]) => {
        mod $name {
            mod awaited {
                $($each!(test_each [$transport $codec Async]);)*
                $($awaited!(test_each [$transport $codec Async]);)*
            }
            mod waited {
                $($each!(test_each [$transport $codec Blocking]);)*
            }
        }
    };
}

transport!(memory Memory [everywhere shared] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(shared_memory SharedMemory [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(direct_shared_memory DirectSharedMemory [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(bincode direct_unix DirectUnix [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(bincode direct_spawn DirectSpawn [everywhere] [awaiting]);
#[cfg(target_os = "linux")]
transport!(bincode all_shared_memory AllSharedMemory [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(bincode all_shared_unix AllSharedUnix [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(bincode all_shared_spawn AllSharedSpawn [everywhere] [awaiting]);
#[cfg(target_os = "linux")]
transport!(bincode trusting_shared_memory TrustingSharedMemory [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(target_os = "linux")]
transport!(bincode trusting_unix TrustingUnix [everywhere shared processes] [awaiting awaiting_shared]);
transport!(bincode pieces_tcp PiecesTcp [everywhere shared processes] [awaiting awaiting_shared]);
transport!(bincode pieces_pipe PiecesPipe [everywhere shared processes] [awaiting awaiting_shared]);
transport!(bincode pieces_stdio PiecesStdio [everywhere] [awaiting]);
transport!(unix_name UnixName [everywhere shared processes] [awaiting awaiting_shared]);
transport!(unix_path UnixPath [everywhere shared processes] [awaiting awaiting_shared]);
transport!(unix_abstract UnixAbstract [everywhere shared processes] [awaiting awaiting_shared]);
transport!(pipe Pipe [everywhere shared processes] [awaiting awaiting_shared]);
#[cfg(windows)]
transport!(pipe_messages PipeMessages [everywhere shared processes] [awaiting awaiting_shared]);
transport!(tcp Tcp [everywhere shared processes] [awaiting awaiting_shared]);
transport!(spawn Spawn [everywhere] [awaiting]);
transport!(stdio Stdio [everywhere] [awaiting]);
