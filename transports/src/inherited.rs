//! What this process was started with: a connection to its parent, or sockets of a service manager.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::endpoint::Address;
use crate::{Endpoint, Error, ErrorKind, Identity, Listener, Port, socket, sys};

/// Tells a child where its connection is: `5:81123` for the socket with descriptor 5 and inode 81123,
/// `stdio:81124:81125` for standard input and output. The inodes keep a grandchild, which inherits the variable but not
/// the connection, from taking something else for it; a number alone, without an inode, is believed.
pub(crate) const VARIABLE: &str = "IPC_RPC_FD";

/// What [`inherit`] found behind a descriptor.
pub enum Inherited {
    /// A connection.
    Port(Port),
    /// A socket where clients connect.
    Listener(Box<dyn Listener>),
}

/// A listening socket that a service manager has passed to this process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activated {
    /// What to listen on: `fd:3`, say.
    pub endpoint: Endpoint,
    /// What the manager calls it (`FileDescriptorName=` of systemd), if it says.
    pub name: Option<String>,
}

/// Takes what an `fd:` endpoint names.
///
/// The descriptor must be a stream socket, connected or listening, or the two standard streams for `fd:stdio`, which
/// may not be terminals: from then on this process's standard input is empty and its standard output goes to standard
/// error. A descriptor is no longer inherited by children, and does not block, for other code of this process either.
/// A connection to the parent can be taken once.
///
/// # Errors
/// `NotConnected` if this process was not started with it, or it was taken before; `InvalidEndpoint` if it is something else, or for a
/// socket that other machines reach without [`Endpoint::allow_remote`]; `Unsupported` where the platform lacks
/// it, `Resource`, `Io`.
pub fn inherit(endpoint: &Endpoint) -> Result<Inherited, Error> {
    let place = match endpoint.address() {
        Address::Descriptor(number) => Place::Socket(*number, None),
        Address::Stdio => Place::Stdio(None),
        Address::Inherited => {
            let place = told(endpoint)?;
            static TAKEN: AtomicBool = AtomicBool::new(false);
            if TAKEN.swap(true, Ordering::SeqCst) {
                let message = "this process has taken the connection to its parent already";
                return Err(Error::new(ErrorKind::NotConnected, message));
            }
            place
        }
        _ => {
            let message = format!("\"{endpoint}\" is nothing that a process is started with");
            return Err(Error::new(ErrorKind::InvalidEndpoint, message));
        }
    };
    let taken = match place {
        Place::Socket(number, inode) => sys::adopt(number, inode),
        Place::Stdio(inodes) => {
            sys::adopt_stdio(inodes).map(|stream| sys::Adopted::Connected(stream, Identity::Anonymous))
        }
    };
    match taken.map_err(|error| unfit(endpoint, error))? {
        sys::Adopted::Connected(stream, identity) => {
            Ok(Inherited::Port(socket::port(stream, identity, endpoint.clone())))
        }
        sys::Adopted::Listening(acceptor, bound) => Ok(Inherited::Listener(socket::adopted(
            acceptor,
            listening(endpoint, bound)?,
        ))),
    }
}

/// The listening sockets that a service manager has passed to this process by socket activation: the environment's
/// `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`, as sd_listen_fds(3) has them. Empty if there are none, or if they
/// are meant for another process.
///
/// # Errors
/// `InvalidEndpoint` if the variables are garbled.
pub fn activated() -> Result<Vec<Activated>, Error> {
    let variable = |name| std::env::var(name).ok();
    let (Some(pid), Some(count)) = (variable("LISTEN_PID"), variable("LISTEN_FDS")) else {
        return Ok(Vec::new());
    };
    let sockets = passed(
        &pid,
        &count,
        variable("LISTEN_FDNAMES").as_deref(),
        std::process::id(),
    );
    sockets.ok_or_else(|| {
        let message =
            format!("LISTEN_PID={pid:?} and LISTEN_FDS={count:?} are not as a service manager sets them");
        Error::new(ErrorKind::InvalidEndpoint, message)
    })
}

pub(crate) fn connect(endpoint: &Endpoint) -> Result<Port, Error> {
    match inherit(endpoint)? {
        Inherited::Port(port) => Ok(port),
        Inherited::Listener(_) => {
            let message =
                format!("cannot connect to \"{endpoint}\": that socket listens, it is for a server");
            Err(Error::new(ErrorKind::InvalidEndpoint, message))
        }
    }
}

pub(crate) fn listen(endpoint: &Endpoint) -> Result<Box<dyn Listener>, Error> {
    match inherit(endpoint)? {
        Inherited::Listener(listener) => Ok(listener),
        Inherited::Port(_) => {
            let message = format!("cannot listen on \"{endpoint}\": that is a connection already");
            Err(Error::new(ErrorKind::InvalidEndpoint, message))
        }
    }
}

pub(crate) fn tell_socket(number: i32, inode: u64) -> String {
    format!("{number}:{inode}")
}

pub(crate) fn tell_stdio(input: u64, output: u64) -> String {
    format!("stdio:{input}:{output}")
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    Socket(i32, Option<u64>),
    Stdio(Option<[u64; 2]>),
}

fn told(endpoint: &Endpoint) -> Result<Place, Error> {
    let Ok(text) = std::env::var(VARIABLE) else {
        let message = format!(
            "\"{endpoint}\" is not there: {VARIABLE} is not set. This program serves the one who starts it \
             with spawn(..) or exec:"
        );
        return Err(Error::new(ErrorKind::NotConnected, message));
    };
    place(&text).ok_or_else(|| {
        let message = format!("{VARIABLE}={text:?} is not as spawn(..) sets it");
        Error::new(ErrorKind::InvalidEndpoint, message)
    })
}

fn place(text: &str) -> Option<Place> {
    let mut words = text.split(':');
    let first = words.next()?;
    let mut inode = || words.next().map(|word| word.parse().ok());
    let place = match first {
        "stdio" => match (inode(), inode()) {
            (None, _) => Place::Stdio(None),
            (Some(input), Some(output)) => Place::Stdio(Some([input?, output?])),
            _ => return None,
        },
        number => {
            let number = number.parse().ok().filter(|number| *number >= 0)?;
            match inode() {
                None => Place::Socket(number, None),
                Some(inode) => Place::Socket(number, Some(inode?)),
            }
        }
    };
    words.next().is_none().then_some(place)
}

/// The sockets that were passed to process `own`; `None` for variables that make no sense.
fn passed(pid: &str, count: &str, names: Option<&str>, own: u32) -> Option<Vec<Activated>> {
    /// The first number; the others follow. SD_LISTEN_FDS_START.
    const FIRST: i32 = 3;
    /// More than any manager passes.
    const MOST: i32 = 4096;
    if pid.parse::<u32>().ok()? != own {
        return Some(Vec::new());
    }
    let last = FIRST + count.parse().ok().filter(|count| (0..=MOST).contains(count))?;
    let mut names = names.map(|names| names.split(':'));
    let sockets = (FIRST..last).map(|number| Activated {
        endpoint: Endpoint::new(Address::Descriptor(number)),
        name: names.as_mut().and_then(Iterator::next).map(str::to_owned),
    });
    Some(sockets.collect())
}

/// Where an inherited socket listens, as clients connect to it.
fn listening(endpoint: &Endpoint, bound: sys::Bound) -> Result<Endpoint, Error> {
    Ok(match bound {
        sys::Bound::Path(path) => endpoint.at(Address::Path(path.into())).prefer_sharing(),
        sys::Bound::Abstract(name) => match String::from_utf8(name) {
            Ok(name) => endpoint.at(Address::Abstract(name.into())).prefer_sharing(),
            Err(_) => endpoint.clone(),
        },
        sys::Bound::Inet(address) => {
            if !address.ip().to_canonical().is_loopback() && !endpoint.is_remote_allowed() {
                let message = format!(
                    "\"{endpoint}\" listens on {address}: other machines may reach it. \
                     Use 127.0.0.1, or Endpoint::allow_remote if that is meant"
                );
                return Err(Error::new(ErrorKind::InvalidEndpoint, message));
            }
            endpoint.at(Address::Tcp {
                host: address.ip().to_string().into(),
                port: address.port(),
            })
        }
    })
}

fn unfit(endpoint: &Endpoint, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::Other => ErrorKind::InvalidEndpoint,
        // Most likely EBADF.
        _ if sys::is_exhaustion(&error) => ErrorKind::Resource,
        _ => ErrorKind::NotConnected,
    };
    Error::new(
        kind,
        format!("cannot use \"{endpoint}\", which this process should have been started with"),
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_tells() {
        assert_eq!(place(&tell_socket(5, 81123)), Some(Place::Socket(5, Some(81123))));
        assert_eq!(place(&tell_stdio(1, 2)), Some(Place::Stdio(Some([1, 2]))));
        assert_eq!(place("7"), Some(Place::Socket(7, None)));
        assert_eq!(place("stdio"), Some(Place::Stdio(None)));
        for garbled in [
            "",
            "x",
            "-1",
            "5:",
            "5:x",
            "5:1:2",
            "stdio:1",
            "stdio:1:x",
            "stdio:1:2:3",
        ] {
            assert_eq!(place(garbled), None, "{garbled:?}");
        }
    }

    #[test]
    fn reads_what_a_service_manager_sets() {
        let numbers = |passed: Option<Vec<Activated>>| {
            let told = |socket: Activated| (socket.endpoint.to_string(), socket.name);
            passed.map(|sockets| sockets.into_iter().map(told).collect::<Vec<_>>())
        };
        assert_eq!(
            numbers(passed("7", "2", Some("store:admin"), 7)),
            Some(vec![
                ("fd:3".to_owned(), Some("store".to_owned())),
                ("fd:4".to_owned(), Some("admin".to_owned()))
            ])
        );
        assert_eq!(
            numbers(passed("7", "1", None, 7)),
            Some(vec![("fd:3".to_owned(), None)])
        );
        // A grandchild inherits the variables.
        assert_eq!(passed("7", "1", None, 8), Some(Vec::new()));
        for (pid, count) in [
            ("x", "1"),
            ("7", "x"),
            ("7", "-1"),
            ("7", "4294967295"),
            ("7", "4097"),
        ] {
            assert_eq!(passed(pid, count, None, 7), None, "{pid} {count}");
        }
    }
}
