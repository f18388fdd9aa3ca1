//! The program dies at every named place of its durable code; nothing acknowledged may suffer.
//!
//! `crash::point!` names the places in `src/`. Each scenario first runs undisturbed and notes the
//! places that it passes, then once more for each of them, dying there; what a restart makes of it
//! is judged. `DOCKERCOMMS_CRASH_EVERY=1` also dies at the second, third and every later passing of
//! a place, not only at the first and the last. `scripts/crash` runs it all and adds up the figures.

mod dying;
mod mounted;
mod points;
mod power;
mod receiving;
mod sending;
mod setting_up;
mod world;
