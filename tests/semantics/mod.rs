//! The contract of the file system: one test for each row of the table of operations, each on a
//! real mount over a layout directory, by system calls rather than by programs.

mod arrivals;
mod attributes;
mod empty;
mod inbox;
mod local;
mod names;
mod outbox;
mod recipients;
mod refusals;
mod rewriting;
mod scene;
mod sent;
mod spelling;
mod temporary_directories;
mod tree;
