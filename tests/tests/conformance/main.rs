//! The conformance suite: the same cases over every transport, in every codec, for async and blocking clients. The
//! cases are listed in this package's README.
//!
//! Each combination is a module and each case a test in it: `unix_name::json::waited::panics_at_once`.

#[macro_use]
mod list;

mod bodies;
mod calls;
mod connections;
mod failures;
mod loads;
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
    watchdog::guard(&combination, move || mode.run(case(fixture)));
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

/// All combinations of one transport. The last word: whether its servers are processes, which can be killed.
macro_rules! transport {
    ($name:ident $transport:ident $($processes:ident)?) => {
        mod $name {
            transport!(codec bincode Bincode $transport $($processes)?);
            transport!(codec json Json $transport $($processes)?);
        }
    };
    (codec $name:ident $codec:ident $transport:ident $($processes:ident)?) => {
        mod $name {
            mod awaited {
                everywhere!(test_each [$transport $codec Async]);
                awaiting!(test_each [$transport $codec Async]);
                $($processes!(test_each [$transport $codec Async]);)?
            }
            mod waited {
                everywhere!(test_each [$transport $codec Blocking]);
                $($processes!(test_each [$transport $codec Blocking]);)?
            }
        }
    };
}

transport!(memory Memory);
transport!(unix_name UnixName processes);
transport!(unix_path UnixPath processes);
transport!(unix_abstract UnixAbstract processes);
transport!(tcp Tcp processes);
