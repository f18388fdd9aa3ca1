//! Rules about the code itself: layers, circles, homes of crates, sizes, orphans, documentation, text,
