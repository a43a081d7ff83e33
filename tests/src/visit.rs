//! Clients in processes of their own: as another user, or waiting for a server.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipc_rpc::{Connect, Endpoint};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use serde::{Deserialize, Serialize};

use crate::subject::SubjectClient;

/// A client that connects, makes one call, and tells what came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Visit {
    /// Where it connects.
    pub endpoint: String,
    /// The user that it becomes before; only root can.
    pub uid: Option<u32>,
    /// The groups that it has then, beside its own.
    pub groups: Vec<u32>,
    /// `Endpoint::expect_server`.
    pub expect_server: Option<u32>,
    /// `Connect::retry`, in milliseconds.
    pub retry: u64,
    /// It awaits.
    pub is_async: bool,
    /// It says nothing, and tells how many bytes the server sends and whether `sentence` is among them.
    pub mute: Option<String>,
}

impl Visit {
    /// One with nothing special.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            ..Self::default()
        }
    }

    /// Pays the visit: `ok`, or the kind of the error and its sentence.
    ///
    /// # Panics
    /// If the process may not become that user, or the endpoint is none.
    #[must_use]
    pub fn pay(&self) -> String {
        if let Some(uid) = self.uid {
            become_user(uid, &self.groups);
        }
        if let Some(sentence) = &self.mute {
            return listen(&self.endpoint, sentence);
        }
        let mut endpoint: Endpoint = self.endpoint.parse().expect("an endpoint");
        if let Some(uid) = self.expect_server {
            endpoint = endpoint.expect_server(uid);
        }
        let connect: Connect<SubjectClient> = SubjectClient::connect(endpoint);
        let connect = connect.retry(Duration::from_millis(self.retry));
        let called = if self.is_async {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made")
                .block_on(async { connect.await?.number(7).await })
        } else {
            connect.wait().and_then(|client| client.number(7).wait())
        };
        match called {
            Ok(number) => {
                assert_eq!(number, 7);
                "ok".to_owned()
            }
            Err(error) => format!("{:?}: {error}", error.kind()),
        }
    }
}

/// What a server says to somebody who says nothing.
fn listen(endpoint: &str, sentence: &str) -> String {
    let path = endpoint.strip_prefix("unix:").expect("a path");
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => return format!("{:?}", error.kind()),
    };
    let mut said = Vec::new();
    // The end of the connection, if the server waits for no word before it hangs up.
    let ended = stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .and_then(|()| stream.read_to_end(&mut said));
    let found = said
        .windows(sentence.len())
        .any(|part| part == sentence.as_bytes());
    format!("ended {} found {found}", ended.is_ok())
}

/// Has nobody look into this process who has no special rights, and gives up its own, if it has any.
///
/// # Panics
/// If the system does not let it.
#[cfg(target_os = "linux")]
pub fn become_bare() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).expect("rights can be given up");
    set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("one can hide");
}

/// Makes this thread, and those that it starts, run as a user, with the group of the same number and these beside it.
///
/// # Panics
/// If the process is not root's.
pub fn become_user(uid: u32, groups: &[u32]) {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(uid));
    rustix::thread::set_thread_groups(&groups).expect("root sets groups");
    rustix::thread::set_thread_res_gid(gid, gid, gid).expect("root becomes any group");
    rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root becomes any user");
}

/// Where every user may enter: the directory for temporary files, unless `TMPDIR` has put that into a closed one.
#[must_use]
pub fn open_to_all() -> PathBuf {
    let may_enter = |directory: &Path| {
        std::fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    };
    let temporary = std::env::temp_dir();
    if temporary.ancestors().all(may_enter) {
        temporary
    } else {
        PathBuf::from("/tmp")
    }
}

/// Sets how many descriptors this process may have open.
///
/// # Panics
/// If the system does not let it.
pub fn limit_descriptors(descriptors: u64) {
    let known = rustix::process::getrlimit(Resource::Nofile);
    let maximum = known.maximum.map(|maximum| maximum.max(descriptors));
    let limit = Rlimit {
        current: Some(descriptors),
        maximum,
    };
    rustix::process::setrlimit(Resource::Nofile, limit).expect("the limit can be set");
}
