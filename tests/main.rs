//! The test suite: one binary, each module a category. See `README.md` beside this file.

mod cli;
mod common;
mod e2e;
mod hostile;
mod interop;
mod semantics;
mod tidy;
