//! Queued delivery: closes that return before the registry has anything, and what comes of them.

mod balancer;
mod end;
mod failover;
mod load;
mod offline;
mod refused;
mod scene;
mod verbs;
