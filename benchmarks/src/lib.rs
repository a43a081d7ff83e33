//! Placeholder of the package; filled before the first release of the workspace.
