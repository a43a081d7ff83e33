//! The binary that holds the peers: where it is, how it is built, what it offers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bench_harness::{Error, Load, Offer, child};

/// The directory of the peers' workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Builds the peers' binary, and says where it is.
pub(crate) fn build() -> Result<PathBuf, Error> {
    let workspace = workspace();
    let target = workspace.join("target");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .status()?;
    if !status.success() {
        return Err(format!("the peers did not build: {status}").into());
    }
    Ok(target.join("release").join("peers"))
}

/// What the binary offers for `loads`.
pub(crate) fn offers(binary: &Path, loads: &[Load]) -> Result<Vec<Offer>, Error> {
    let output = Command::new(binary)
        .args([child::OFFERS, &serde_json::to_string(loads)?])
        .stderr(Stdio::inherit())
        .output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{} does not understand us: {error}", binary.display()).into())
}
