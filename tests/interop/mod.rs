//! Stock tools and we understand each other, on real registries and on a layout directory.
//!
//! Nothing here is told by our own program what it should see: `cosign` verifies, `oras`, `skopeo`
//! and `crane` show, and a message that they made is read.

mod cosign;
mod foreign;
mod inspect;
mod login;
mod scene;
