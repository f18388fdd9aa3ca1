//! The lock of a staged file, and its rank among the others.
//!
//! **Lock order:** the outbox's delivery lock of a file (async) comes first, then the listing or the
//! lanes of the queue, then one staged file. While a staged file is locked, no other lock is taken,
//! not even that of another staged file: what concerns two files reads the one, releases it, and
//! then locks the other. Debug builds check this at every lock.

use std::ops::{Deref, DerefMut};

use parking_lot::{Mutex, MutexGuard};

#[cfg(debug_assertions)]
thread_local! {
    static IS_HELD: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Panics in debug builds when this thread holds a staged file locked; for those locks that come
/// before it.
pub(in crate::mailbox) fn assert_no_file_locked() {
    #[cfg(debug_assertions)]
    IS_HELD.with(|held| assert!(!held.get(), "a lock was taken while a staged file is locked"));
}

/// A mutex that is the last one in the lock order.
pub(super) struct LastMutex<T>(Mutex<T>);

/// Holds a [`LastMutex`].
pub(super) struct LastGuard<'a, T>(MutexGuard<'a, T>);

impl<T> LastMutex<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(super) fn lock(&self) -> LastGuard<'_, T> {
        assert_no_file_locked();
        let guard = self.0.lock();
        #[cfg(debug_assertions)]
        IS_HELD.with(|held| held.set(true));
        LastGuard(guard)
    }
}

impl<T> Deref for LastGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for LastGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for LastGuard<'_, T> {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        IS_HELD.with(|held| held.set(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lock_after_the_other_is_in_order() {
        let (first, second) = (LastMutex::new(1), LastMutex::new(2));

        *first.lock() += 1;
        let sum = { *first.lock() } + { *second.lock() };

        assert_eq!(sum, 4);
        assert_no_file_locked();
    }

    #[test]
    #[should_panic(expected = "a lock was taken while a staged file is locked")]
    fn a_second_file_is_not_locked_beside_the_first() {
        let (first, second) = (LastMutex::new(1), LastMutex::new(2));

        let _first = first.lock();
        let _second = second.lock();
    }
}
