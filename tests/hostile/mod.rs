//! What a hostile registry or sender can try, through the real binary.
//!
//! The ids in the names (M, L, N, B, H) are those of the catalogue of hostile inputs: manifest,
//! layer, name, bundle and trust, HTTP. In every test there is a correct letter beside the bad one,
//! and it must arrive.

mod collected;
mod disk;
mod forge;
mod http;
mod lagging;
mod layer;
mod layout;
mod listing;
mod local;
mod manifest;
mod memory;
mod mounted;
mod moved;
mod names;
// Model tests let it fail at random.
pub(crate) mod registry;
mod scene;
mod sending;
mod state;
mod storm;
mod together;
mod trust;
mod writing;
