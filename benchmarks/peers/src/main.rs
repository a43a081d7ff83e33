//! The peers of ipc-rpc, measured by the same loops. `bench` starts this binary; it does nothing by itself.

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod iceoryx2;
#[cfg(target_os = "linux")]
mod tarpc;

/// Every peer. A new one is a file and a line.
#[cfg(target_os = "linux")]
const ALL: &[&dyn bench_harness::System] = &[&iceoryx2::Iceoryx2, &tarpc::Tarpc];

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
