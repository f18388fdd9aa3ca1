//! What a hostile registry or sender can try, through the real binary.
