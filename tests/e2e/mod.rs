//! The real binary on a real mount: the story, programs, kills.

mod children;
mod crash;
mod delivery;
mod disks;
mod downloads;
mod empty;
mod errors;
mod exchange;
mod faults;
mod interrupt;
mod kills;
mod lifecycle;
mod offline;
mod presence;
mod programs;
mod readers;
mod rsync;
mod servers;
mod story;
mod unmount;
mod unprivileged;
mod xattrs;
