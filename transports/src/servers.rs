//! What is being served under this user's names.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::{Endpoint, Error, sys};

/// A name in the user's runtime directory, of a socket or of a pipe, and who serves it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerEntry {
    /// The name by itself.
    pub name: String,
    /// The name as clients connect to it: `unix:store` or `pipe:store`.
    pub endpoint: Endpoint,
    /// The process that serves it or, if the entry is stale, that did. `None` if nobody tells.
    pub pid: Option<u32>,
    /// The program of that process, for people to read.
    pub executable: Option<PathBuf>,
    /// When it began to serve, by the system's clock. `None` if the file system does not tell.
    pub since: Option<SystemTime>,
    /// Its server is gone; the next one replaces what it left.
    pub stale: bool,
}

/// What is being served under names in this user's runtime directory, by name. Sockets at paths of their own, abstract
/// names, `tcp:` and `mem:` are not among it: nothing keeps a list of those.
///
/// Each socket is tried: its server sees a client that connects and leaves. It blocks for as long as the file system takes
/// and waits for no server. What it tells was true when it looked.
///
/// # Errors
/// `Denied` if the runtime directory is not this user's alone, `Unsupported` where names are no files, and those of
/// the system. No directory means that nothing was ever served: that is no error.
pub fn servers() -> Result<Vec<ServerEntry>, Error> {
    let mut servers = sys::servers()?;
    servers.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(servers)
}
