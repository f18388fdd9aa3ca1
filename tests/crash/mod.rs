//! The program dies at every crash point of its durable code; nothing acknowledged may suffer.
//!
//! `crash::point!` names the points in `src/`. Each scenario first runs undisturbed and notes the
//! points that it passes, then runs again for each of them, dying there; the result of a restart is
//! judged. `DOCKERCOMMS_CRASH_EVERY=1` also dies at the second, third and every later passing of a
//! point, not only at the first and the last. `scripts/crash` runs it all and adds up the figures.

mod dying;
mod mounted;
mod points;
mod power;
mod receiving;
mod sending;
mod setting_up;
mod watching;
mod world;
