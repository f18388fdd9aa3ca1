//! Rules about the code itself: layers, homes of crates, sizes, orphans.
