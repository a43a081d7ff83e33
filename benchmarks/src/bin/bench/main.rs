//! The benchmark program: ipc-rpc, its floors and its peers, measured by the same loops in one run.
//!
//! `benchmarks/README.md` says what each case is and how to read the tables.

#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod charts;
#[cfg(target_os = "linux")]
mod goals;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod pick;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod ratios;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod row;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod statistics;
#[cfg(target_os = "linux")]
mod systems;
#[cfg(target_os = "linux")]
mod table;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // Started by itself as one of the measured processes?
    if let Some(code) = bench_harness::child::run(systems::ALL, &words) {
        return code;
    }
    match arguments::Arguments::parse().and_then(|arguments| run::run(&arguments)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("bench: pinning and processor time are read the way Linux tells them; run it there");
    std::process::exit(2);
}
