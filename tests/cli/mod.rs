//! The command line: help, output, exit codes, JSON.
