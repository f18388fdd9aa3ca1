//! Receipts: issued for what I received, collected for what I sent (P20-P23).
//!
//! `giving` makes a receipt durable and pushes it, `collecting` finds and judges those of others,
//! `listing` shows both. Start at `verbs.rs`, then [`Giving`] or [`Collecting`].
//!
//! **Invariant:** a receipt that its author did not sign is listed as a claim and proves nothing
//! (P22).

mod collecting;
mod giving;
mod listing;
mod verbs;

pub(super) use collecting::Collecting;
pub(super) use giving::Giving;
pub(super) use listing::load;
