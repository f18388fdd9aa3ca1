//! The real binary on a real mount: the story, programs, kills.

mod story;
