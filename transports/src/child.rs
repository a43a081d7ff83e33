//! Children: processes that this one starts, each connected to it from birth.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::{ChildStderr, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::endpoint::Address;
use crate::inherited::{self, VARIABLE};
use crate::{Endpoint, Error, ErrorKind, Port, socket, sys};

/// What connects a child to the one who starts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// A socket of its own. The child's standard streams are what its command says.
    #[default]
    Socket,
    /// Its standard input and output, as two pipes: for a child that inherits nothing else, such as one behind another
    /// program. What its command says of these two is overruled; standard error stays what it says.
    Stdio,
}

/// A process that this one started. Clones are the same one. Dropping it neither ends the process nor collects its
/// status.
#[derive(Clone)]
pub struct Child(Arc<Inner>);

struct Inner {
    /// The file's name of the program, for messages.
    program: String,
    id: u32,
    channel: Channel,
    process: Mutex<std::process::Child>,
    watch: sys::Watch,
}

/// Starts a child that is connected to this process, and to nobody else; it serves
/// [`Endpoint::inherited`]. The environment variable `IPC_RPC_FD` tells it where its connection is.
///
/// No other child of this process inherits either end, however many threads start children at once. The port's peer
/// gives the [`Child`]; it is up to the caller to end it and to [`Child::wait`] for it.
///
/// # Errors
/// `NotConnected` if there is no such program, `Denied` if the system does not let us run it, `Resource`, `Io`;
/// `Unsupported` where the platform lacks it.
pub fn spawn(command: Command, channel: Channel, max_message: usize) -> Result<Port, Error> {
    spawn_with(command, channel, |endpoint| endpoint.max_message(max_message))
}

/// [`spawn`] with settings of this side's end: `settings` changes those of an endpoint that stands for the child.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(
    command: Command,
    channel: Channel,
    settings: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Port, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let endpoint = settings(Endpoint::new(Address::Exec(program.as_str().into())));
    start(&endpoint, command, &program, channel)
}

/// The command that an `exec:` endpoint names, so that more can be said of it before it is started; `None` for any
/// other endpoint.
#[must_use]
pub fn exec_command(endpoint: &Endpoint) -> Option<Command> {
    match endpoint.address() {
        Address::Exec(text) => Some(split(text)),
        _ => None,
    }
}

pub(crate) fn exec(endpoint: &Endpoint, text: &str) -> Result<Port, Error> {
    let command = split(text);
    let program = command.get_program().to_string_lossy().into_owned();
    start(endpoint, command, &program, Channel::Socket)
}

impl Child {
    /// The process id. It stays this child's own until [`Child::try_wait`] or [`Child::wait`] have told of its end.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// What connects it to us.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.0.channel
    }

    /// What its program's file is called.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.0.program
    }

    /// How it ended, if it has, without blocking.
    ///
    /// # Errors
    /// The system does not tell: somebody else waited for it, say.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, Error> {
        self.process().try_wait().map_err(|error| self.untold(error))
    }

    /// Blocks the thread until it has ended, and tells how; `None` if it has not when the deadline passes.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn wait(&self, deadline: Option<Instant>) -> Result<Option<ExitStatus>, Error> {
        /// Between two looks, on systems that have no better way to wait with a deadline.
        const PAUSE: Duration = Duration::from_millis(2);
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            // Not under the lock: others may want to know meanwhile.
            if !self.0.watch.wait(deadline).map_err(|error| self.untold(error))? {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Ends it at once, as `kill -9` does. Nothing happens if it has ended.
    ///
    /// # Errors
    /// `Denied` if it runs as somebody else.
    pub fn kill(&self) -> Result<(), Error> {
        self.process()
            .kill()
            .map_err(|error| Error::system(format!("cannot end {self}"), error))
    }

    /// The reading end of its standard error, once, if its command said `Stdio::piped()`.
    #[must_use]
    pub fn take_stderr(&self) -> Option<ChildStderr> {
        self.process().stderr.take()
    }

    /// A sentence about how it ended: `the decoder process (pid 4712) was killed by SIGSEGV`. Waits a moment for a
    /// process that is just ending; `None` if it lives on.
    #[must_use]
    pub fn fate(&self, moment: Duration) -> Option<String> {
        let status = self.wait(Instant::now().checked_add(moment)).ok()??;
        Some(format!("{self} {}", sys::fate(status)))
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn watch(&self) -> &sys::Watch {
        &self.0.watch
    }

    fn process(&self) -> MutexGuard<'_, std::process::Child> {
        self.0.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self, error: io::Error) -> Error {
        Error::system(format!("the system does not tell of {self}"), error)
    }
}

/// For example `the decoder process (pid 4712)`.
impl fmt::Display for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the {} process (pid {})", self.0.program, self.0.id)
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Child")
            .field("program", &self.0.program)
            .field("id", &self.0.id)
            .field("channel", &self.0.channel)
            .finish_non_exhaustive()
    }
}

/// No quotes, no shell: blanks end words.
fn split(text: &str) -> Command {
    let mut words = text.split_ascii_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

fn start(endpoint: &Endpoint, command: Command, program: &str, channel: Channel) -> Result<Port, Error> {
    let spawned = match channel {
        Channel::Socket => sys::spawn_on_socket(command, VARIABLE, inherited::tell_socket),
        Channel::Stdio => sys::spawn_on_stdio(command, VARIABLE, inherited::tell_stdio),
    };
    let sys::Spawned {
        process,
        stream,
        identity,
        watch,
    } = spawned.map_err(|error| not_started(program, error))?;
    let file = Path::new(program).file_name();
    let child = Child(Arc::new(Inner {
        program: file.map_or(program.to_owned(), |file| file.to_string_lossy().into_owned()),
        id: process.id(),
        channel,
        process: Mutex::new(process),
        watch,
    }));
    Ok(socket::port_of_child(stream, identity, endpoint.clone(), child))
}

fn not_started(program: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let place = match program.contains(std::path::MAIN_SEPARATOR) {
                true => "at this path",
                false => "in the directories of PATH",
            };
            let message = format!(
                "cannot start {program:?}: there is no such program {place}, or its interpreter is missing"
            );
            Error::new(ErrorKind::NotConnected, message).with_source(error)
        }
        io::ErrorKind::Unsupported => Error::new(
            ErrorKind::Unsupported,
            format!("cannot start {program:?}: children are not supported on this platform yet"),
        ),
        _ => Error::system(format!("cannot start {program:?}"), error),
    }
}
