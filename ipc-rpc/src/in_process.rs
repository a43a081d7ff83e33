//! A service in the caller's own process, through the whole machinery: for tests, and for programs that may or may not
//! run their services elsewhere.

use std::sync::OnceLock;

use tokio::runtime::{Handle, Runtime};
use transports::{Endpoint, Port};

use crate::server::Server;
use crate::{Connect, Error, ErrorKind, Service, ServiceClient};

/// A client of `service` over the `mem:` transport: values are encoded and decoded as they would be between processes.
///
/// The service runs in the current Tokio runtime, or where there is none, on a thread that all such services of the
/// process share. It ends when its last client is dropped.
pub fn in_process<C: ServiceClient, S: Service>(service: S) -> Connect<C> {
    Connect::in_process(move || serve_one(service))
}

fn serve_one(service: impl Service) -> Result<Port, Error> {
    let endpoint: Endpoint = "mem:in-process".parse()?;
    let (ours, theirs) = transports::memory::pair(endpoint.message_limit());
    let hub = Server::bind(endpoint).service(service).into_hub()?;
    let runtime = match Handle::try_current() {
        Ok(current) => current,
        Err(_) => background()?,
    };
    let _entered = runtime.enter();
    hub.admit(theirs);
    Ok(ours)
}

/// The runtime of services whose clients have none.
pub(crate) fn background() -> Result<Handle, Error> {
    static BACKGROUND: OnceLock<Result<Runtime, std::io::Error>> = OnceLock::new();
    let runtime = BACKGROUND.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ipc-rpc in-process")
            .enable_all()
            .build()
    });
    match runtime {
        Ok(runtime) => Ok(runtime.handle().clone()),
        Err(error) => Err(Error::new(
            ErrorKind::Resource,
            format!("cannot make a runtime: {error}"),
        )),
    }
}
