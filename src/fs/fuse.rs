//! The FUSE adapter: kernel requests to [`Fs`] operations and back, nothing else.
//!
//! A request that needs no waiting is answered on the event thread; otherwise its reply moves into
//! a task. Either way every reply is used exactly once: dropping one answers `EIO`. `reply.rs`
//! turns results into replies.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, INodeNo, KernelConfig, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::ops::{Changes, Fs, Read, Written};
use super::reply::{
    GENERATION, Owner, answer_attr, answer_empty, answer_entry, answer_listing,
    answer_listing_plus, answer_open, answer_statfs, answer_xattr, fopen_flags, to_errno,
    to_file_attr,
};
use super::requester::Requester;
use super::settings::{Permissions, negotiate};

/// Translates between the kernel and [`Fs`].
pub(super) struct FuseAdapter {
    fs: Arc<Fs>,
    tasks: TaskTracker,
    runtime: Handle,
    owner: Owner,
    permissions: Permissions,
    /// Whether the kernel keeps readers consistent with writes that bypass its cache.
    may_bypass: bool,
}

impl FuseAdapter {
    /// Makes an adapter whose files belong to `owner`; every task is in `tasks`.
    pub(super) fn new(
        fs: Arc<Fs>,
        tasks: TaskTracker,
        runtime: Handle,
        owner: Owner,
        permissions: Permissions,
    ) -> Self {
        Self { fs, tasks, runtime, owner, permissions, may_bypass: false }
    }

    /// Runs `work` as a task, which owns its reply.
    fn later<W>(&self, work: impl FnOnce(Arc<Fs>) -> W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn_on(work(Arc::clone(&self.fs)), &self.runtime);
    }
}

impl Filesystem for FuseAdapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        self.may_bypass = negotiate(config, self.permissions);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, self.fs.lookup_by(request.pid(), parent.0, name), self.owner);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, count: u64) {
        self.fs.forget(ino.0, count);
    }

    fn getattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        answer_attr(reply, self.fs.getattr(ino.0), self.owner);
    }

    fn setattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mtime = mtime.map(|time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => self.fs.now(),
        });
        let others = uid.is_some() || gid.is_some() || atime.is_some();
        let changes = Changes { mode, mtime, others };
        let owner = self.owner;
        let Some(size) = size else {
            return answer_attr(reply, self.fs.setattr(ino.0, changes), owner);
        };
        if let Some(handle) = handle.filter(|handle| !self.fs.is_sealed(handle.0)) {
            let _context = self.runtime.enter();
            let resized = self.fs.ftruncate(handle.0, size);
            answer_attr(reply, resized.and_then(|()| self.fs.setattr(ino.0, changes)), owner);
            return;
        }
        self.later(|fs| async move {
            let resized = match handle {
                Some(handle) => fs.unseal(handle.0, size).await,
                None => fs.truncate(ino.0, size).await,
            };
            answer_attr(reply, resized.and_then(|()| fs.setattr(ino.0, changes)), owner);
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        let owner = self.owner;
        if let Some(announced) = self.fs.announced(request.pid(), parent.0, name) {
            return answer_entry(reply, announced, owner);
        }
        let name = name.to_owned();
        if mode & libc::S_IFMT != libc::S_IFREG {
            return answer_entry(reply, Err(self.fs.refuse_special(parent.0)), owner);
        }
        self.later(|fs| async move {
            answer_entry(reply, fs.mknod(parent.0, &name, mode).await, owner);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let owner = self.owner;
        if let Some(announced) = self.fs.announced(request.pid(), parent.0, name) {
            return answer_entry(reply, announced, owner);
        }
        let name = name.to_owned();
        self.later(|fs| async move {
            answer_entry(reply, fs.mkdir(parent.0, &name).await, owner);
        });
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(|fs| async move { answer_empty(reply, fs.unlink(parent.0, &name).await) });
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let name = name.to_owned();
        self.later(|fs| async move { answer_empty(reply, fs.rmdir(parent.0, &name).await) });
    }

    fn symlink(
        &self,
        _request: &Request,
        parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(to_errno(&self.fs.refuse_special(parent.0)));
    }

    fn link(
        &self,
        _request: &Request,
        _ino: INodeNo,
        parent: INodeNo,
        _name: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(to_errno(&self.fs.refuse_special(parent.0)));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.to_owned(), new_name.to_owned());
        let requester = Requester::new(request.pid());
        self.later(|fs| async move {
            let (from, to) = ((parent.0, name.as_os_str()), (new_parent.0, new_name.as_os_str()));
            answer_empty(reply, fs.rename(from, to, flags.bits(), requester).await);
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let _context = self.runtime.enter();
        if let Some(opened) = self.fs.open_now(ino.0, flags.0) {
            return answer_open(reply, opened, self.may_bypass);
        }
        let (requester, may_bypass) = (Requester::new(request.pid()), self.may_bypass);
        self.later(|fs| async move {
            answer_open(reply, fs.open_writer(ino.0, flags.0, requester).await, may_bypass);
        });
    }

    fn read(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _context = self.runtime.enter();
        let len = usize::try_from(size).unwrap_or(usize::MAX);
        match self.fs.read(handle.0, offset, len) {
            Ok(Read::Now(bytes)) => reply.data(&bytes),
            Ok(Read::Later(open)) => {
                let requester = Requester::new(request.pid());
                self.later(|fs| async move {
                    match fs.read_later(open, offset, len, requester).await {
                        Ok(bytes) => reply.data(&bytes),
                        Err(error) => reply.error(to_errno(&error)),
                    }
                });
            }
            Err(error) => reply.error(to_errno(&error)),
        }
    }

    fn write(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let _context = self.runtime.enter();
        let Ok(len) = u32::try_from(data.len()) else { return reply.error(Errno::EINVAL) };
        let requester = Requester::new(request.pid());
        if self.fs.is_sealed(handle.0) {
            let data = data.to_vec();
            self.later(|fs| async move {
                match fs.write_anew(handle.0, offset, &data).await {
                    Ok(Written::Done) => reply.written(len),
                    Ok(Written::FarAhead(file)) => {
                        fs.hold_back(file, requester).await;
                        reply.written(len);
                    }
                    Err(error) => reply.error(to_errno(&error)),
                }
            });
            return;
        }
        match self.fs.write(handle.0, offset, data) {
            Ok(Written::Done) => reply.written(len),
            Ok(Written::FarAhead(file)) => self.later(|fs| async move {
                fs.hold_back(file, requester).await;
                reply.written(len);
            }),
            Err(error) => reply.error(to_errno(&error)),
        }
    }

    fn flush(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        if let Some(flushed) = self.fs.flush_now(handle.0) {
            return answer_empty(reply, flushed);
        }
        let requester = Requester::new(request.pid());
        self.later(|fs| async move {
            answer_empty(reply, fs.flush(handle.0, requester).await);
        });
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _context = self.runtime.enter();
        if let Some(left) = self.fs.release(handle.0) {
            self.later(|fs| async move { fs.give_up_released(left).await });
        }
        reply.ok();
    }

    fn fsync(
        &self,
        request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let requester = Requester::new(request.pid());
        self.later(|fs| async move {
            answer_empty(reply, fs.fsync(handle.0, requester).await);
        });
    }

    fn opendir(&self, _request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        answer_open(reply, self.fs.opendir(ino.0), self.may_bypass);
    }

    fn readdir(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        match self.fs.readdir(ino.0, handle.0, offset) {
            Ok(listing) => answer_listing(reply, &self.fs, &listing, offset),
            Err(error) => reply.error(to_errno(&error)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        match self.fs.readdir(ino.0, handle.0, offset) {
            Ok(listing) => {
                answer_listing_plus(reply, &self.fs, &listing, offset, self.owner);
            }
            Err(error) => reply.error(to_errno(&error)),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.fs.releasedir(handle.0);
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        // Names are durable in the journal before their operation returns.
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        answer_statfs(reply, self.fs.statfs());
    }

    fn setxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        match self.fs.setxattr(ino.0, name, value, flags) {
            Ok(None) => reply.ok(),
            Ok(Some(wanted)) => self.later(|fs| async move {
                answer_empty(reply, fs.carry_out(wanted).await);
            }),
            Err(error) => reply.error(to_errno(&error)),
        }
    }

    fn getxattr(
        &self,
        _request: &Request,
        ino: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        answer_xattr(reply, size, self.fs.getxattr(ino.0, name));
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer_xattr(reply, size, self.fs.listxattr(ino.0));
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(reply, self.fs.removexattr(ino.0, name));
    }

    fn access(&self, _request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (writes, executes) =
            (mask.contains(AccessFlags::W_OK), mask.contains(AccessFlags::X_OK));
        answer_empty(reply, self.fs.access(ino.0, writes, executes));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.to_owned();
        let (owner, may_bypass) = (self.owner, self.may_bypass);
        let requester = Requester::new(request.pid());
        self.later(|fs| async move {
            match fs.create(parent.0, &name, mode, flags, requester).await {
                Ok((attr, opened)) => {
                    let shown = to_file_attr(&attr, owner);
                    let handle = FileHandle(opened.handle);
                    // One time to live for both: a new file changes with every write.
                    let flags = fopen_flags(opened, may_bypass);
                    reply.created(&Duration::ZERO, &shown, GENERATION, handle, flags);
                }
                Err(error) => reply.error(to_errno(&error)),
            }
        });
    }

    fn fallocate(
        &self,
        _request: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let _context = self.runtime.enter();
        answer_empty(reply, self.fs.fallocate(handle.0, offset, length, mode));
    }
}
