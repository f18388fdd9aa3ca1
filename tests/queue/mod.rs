//! Queued delivery: closes that return before the registry has anything, and how they turn out.

mod balancer;
mod end;
mod failover;
mod healed;
mod load;
mod offline;
mod refused;
mod scene;
mod verbs;
