//! Reading an endpoint as it is written. What is wrong is said in a sentence, with what to write instead.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Address, Endpoint, PipeMode, Scheme, Sharing};
use crate::{Error, ErrorKind};

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| {
            Err(Error::new(
                ErrorKind::InvalidEndpoint,
                format!("\"{}\" is not an endpoint: {why}", Shown(text)),
            ))
        };
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest)) => (Some(scheme), rest),
            None if text.contains('/') => {
                return invalid(format!("to mean a path, write unix:{}", Shown(text)));
            }
            None => (None, text),
        };
        let Some(scheme) = scheme else {
            return match name(rest) {
                Ok(name) => Ok(Self {
                    sharing: Sharing::Preferred,
                    ..Self::new(Address::Name(name.into()))
                }),
                Err(why) => invalid(why),
            };
        };
        let parsed = match scheme {
            "mem" => name(rest).map(|name| Address::Memory(name.into())),
            "unix" | "shm" if rest.contains('/') => path(Path::new(rest)),
            "unix" | "shm" => match rest.strip_prefix('@') {
                Some(rest) => name(rest).map(|name| Address::Abstract(name.into())),
                None => name(rest).map(|name| Address::Name(name.into())),
            },
            "pipe" => pipe(rest),
            "tcp" => tcp(rest),
            "exec" => exec(rest),
            "fd" => descriptor(rest),
            _ => {
                let known = Scheme::ALL.map(Scheme::as_str).join(":, ");
                Err(format!(
                    "the transport \"{}:\" is not known here; use {known}:, or a plain name",
                    Shown(scheme)
                ))
            }
        };
        match parsed {
            Ok(address) => Ok(Self {
                sharing: match scheme {
                    "shm" => Sharing::Required,
                    _ => Sharing::Declined,
                },
                ..Self::new(address)
            }),
            Err(why) => invalid(why),
        }
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl TryFrom<&String> for Endpoint {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.parse()
    }
}

/// A socket at that path; `store` means `./store` here.
impl TryFrom<&Path> for Endpoint {
    type Error = Error;

    fn try_from(given: &Path) -> Result<Self, Error> {
        let address = path(given).map_err(|why| {
            let shown = given.to_string_lossy();
            Error::new(
                ErrorKind::InvalidEndpoint,
                format!("\"{}\" is not an endpoint: {why}", Shown(&shown)),
            )
        })?;
        Ok(Self::new(address))
    }
}

impl TryFrom<PathBuf> for Endpoint {
    type Error = Error;

    fn try_from(path: PathBuf) -> Result<Self, Error> {
        Self::try_from(path.as_path())
    }
}

/// Text of the user's in a message: escaped, and cut, so that it can be anything.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN) {
            if character.is_control() {
                write!(formatter, "{}", character.escape_default())?;
            } else {
                write!(formatter, "{character}")?;
            }
        }
        if characters.next().is_some() {
            formatter.write_str("...")
        } else {
            Ok(())
        }
    }
}

fn name(text: &str) -> Result<&str, String> {
    let Some(first) = text.chars().next() else {
        return Err("the name is empty".into());
    };
    if text.len() > Endpoint::LONGEST_NAME {
        let longest = Endpoint::LONGEST_NAME;
        return Err(format!(
            "the name has {} bytes, at most {longest} are possible",
            text.len()
        ));
    }
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    if let Some(wrong) = text.chars().find(|&character| !allowed(character)) {
        return Err(format!(
            "a name has no {wrong:?}; use letters, digits, '.', '_' and '-'"
        ));
    }
    if first == '.' || first == '-' {
        return Err(format!("a name does not start with {first:?}"));
    }
    Ok(text)
}

fn pipe(text: &str) -> Result<Address, String> {
    let (text, mode) = match text.split_once('?') {
        None => (text, PipeMode::Byte),
        Some((text, "mode=byte")) => (text, PipeMode::Byte),
        Some((text, "mode=message")) => (text, PipeMode::Message),
        Some((_, setting)) => {
            return Err(format!(
                "\"{}\" is no setting of a pipe; there are mode=byte and mode=message",
                Shown(setting)
            ));
        }
    };
    let name = name(text)?.into();
    Ok(Address::Pipe { name, mode })
}

fn path(path: &Path) -> Result<Address, String> {
    if path.as_os_str().is_empty() {
        return Err("the path is empty".into());
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err("a path has no NUL".into());
    }
    // `file_name` ignores a slash at the end, the system does not.
    let ends_in_slash = path.as_os_str().as_encoded_bytes().last() == Some(&b'/');
    if ends_in_slash || path.file_name().is_none() {
        return Err("the path names a directory; add the name of the socket".into());
    }
    Ok(Address::Path(path.into()))
}

fn exec(text: &str) -> Result<Address, String> {
    if text.contains('\0') {
        return Err("a program's name and arguments have no NUL".into());
    }
    let text = text.trim_ascii();
    if text.is_empty() {
        return Err("the program is missing; write exec:PROGRAM ARGUMENTS".into());
    }
    Ok(Address::Exec(text.into()))
}

fn descriptor(text: &str) -> Result<Address, String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "inherited" => Ok(Address::Inherited),
        "stdio" => Ok(Address::Stdio),
        _ => match text.parse() {
            Ok(number) if is_number => Ok(Address::Descriptor(number)),
            _ => Err("write the number of an open descriptor, \"inherited\" or \"stdio\"".into()),
        },
    }
}

fn tcp(text: &str) -> Result<Address, String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None => ("127.0.0.1", text),
    };
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let Some(port) = port.parse::<u16>().ok().filter(|_| is_number) else {
        return Err(format!(
            "\"{}\" is not a port number from 0 to 65535",
            Shown(port)
        ));
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => inner,
        Some(inner) => return Err(format!("\"{}\" is not an IPv6 address", Shown(inner))),
        None if host.contains(':') => {
            return Err("an IPv6 address stands between brackets: tcp:[::1]:7000".into());
        }
        None => host,
    };
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    // 253 is the longest host name of the DNS.
    if bracketed.is_none() && (host.is_empty() || host.len() > 253 || !host.chars().all(allowed)) {
        return Err(format!("\"{}\" is not a host", Shown(host)));
    }
    Ok(Address::Tcp {
        host: host.into(),
        port,
    })
}
