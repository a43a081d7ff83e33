//! The peers of ipc-rpc, measured by the same loops. `bench` starts this binary; it does nothing by itself.

#[cfg(target_os = "linux")]
mod capnp;
#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod iceoryx2;
#[cfg(target_os = "linux")]
mod ipc_channel;
#[cfg(target_os = "linux")]
mod ipc_rpc_3;
#[cfg(target_os = "linux")]
mod remoc;
#[cfg(target_os = "linux")]
mod tarpc;
#[cfg(target_os = "linux")]
mod tonic;
#[cfg(target_os = "linux")]
mod ttrpc;
#[cfg(target_os = "linux")]
mod zbus;
#[cfg(target_os = "linux")]
mod zeromq;

/// Every peer. A new one is a file and a line.
#[cfg(target_os = "linux")]
const ALL: &[&dyn bench_harness::System] = &[
    &iceoryx2::Iceoryx2,
    &zeromq::Zeromq,
    &tarpc::Tarpc,
    &tonic::Tonic,
    &ttrpc::Ttrpc,
    &zbus::Zbus,
    &capnp::Capnp,
    &remoc::Remoc,
    &ipc_channel::IpcChannel,
    &ipc_rpc_3::IpcRpc3,
];

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    bench_harness::child::run(ALL, &words).unwrap_or_else(|| {
        eprintln!("peers: started by the program `bench`, see benchmarks/README.md");
        std::process::ExitCode::from(2)
    })
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("peers: measured on Linux only");
    std::process::exit(2);
}
