//! Stock tools and ours understand each other, on real registries and on a layout directory.
//!
//! Our own program never supplies the expected result: `cosign` verifies, `oras`, `skopeo` and
//! `crane` show, and a message that they made is read.

mod cosign;
mod foreign;
mod inspect;
mod login;
mod scene;
