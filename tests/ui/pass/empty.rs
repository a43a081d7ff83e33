//! A service of which nothing is left is still one.
#![deny(warnings, unused, unreachable_code)]

#[ipc_rpc::service]
trait Empty {}

#[ipc_rpc::service]
trait Conditional {
    #[cfg(any())]
    async fn never(&self, missing: Missing);
}

impl Empty for () {}
impl Conditional for () {}

fn main() {
    let _ = EmptyServer::new(());
    let _ = ConditionalServer::new(());
}
