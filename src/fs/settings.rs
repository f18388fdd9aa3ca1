//! What is requested from the kernel when a mount begins.

use fuser::{InitFlags, KernelConfig};

/// Largest write in one request: fewer switches for large copies, one megabyte of buffer each.
const WRITE_LEN_MAX: u32 = 1 << 20;

/// Most read-ahead requests that the kernel has in progress.
const BACKGROUND_COUNT_MAX: u16 = 64;

/// What is requested from the kernel; features that it lacks are left out.
const CAPABILITIES: [InitFlags; 5] = [
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    // `cp` over a sent file arrives as one open, not as a truncation of an immutable message.
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    // Without it the kernel requests `security.capability` before every write.
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
];

/// Who checks the permission bits of the mount's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permissions {
    /// The kernel (`default_permissions`).
    Kernel,
    /// No check: their owner is the only user.
    Unchecked,
}

/// Negotiates the protocol features with the kernel; returns whether it keeps readers consistent
/// with writes that bypass its cache.
pub(super) fn negotiate(config: &mut KernelConfig, permissions: Permissions) -> bool {
    for capability in CAPABILITIES {
        // An older kernel answers with what it lacks; every one of them is optional.
        config.add_capabilities(capability).ok();
    }
    // Lets the kernel remember that a file in `outbox/` has no ACL, which `ls -l` queries for each;
    // if it does not check permissions yet, it would start to.
    if permissions == Permissions::Kernel {
        config.add_capabilities(InitFlags::FUSE_POSIX_ACL).ok();
    }
    // Both values are inside the crate's bounds.
    config.set_max_write(WRITE_LEN_MAX).ok();
    config.set_max_background(BACKGROUND_COUNT_MAX).ok();
    // Linux 6.6 introduced both at once: mapping such files, and dropping the pages that others
    // have cached of what is written. The first is not requested here; it indicates the second.
    config.capabilities().contains(InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP)
}
