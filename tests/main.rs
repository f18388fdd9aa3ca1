//! The test suite: one binary, each module a category. How to run it is in
//! .github/CONTRIBUTING.md.

#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod cli;
mod common;
mod crash;
mod e2e;
mod fuzz;
mod hostile;
mod interop;
mod model;
mod queue;
mod semantics;
mod tidy;
