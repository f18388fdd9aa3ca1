//! The table of inodes that the kernel knows, with its lookup counts.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::node::{Dir, Node, ROOT_INO, preferred_ino};

/// Inode numbers by identity: stable across restarts, checked for collisions, never reused for
/// something else while the kernel may still use them.
#[derive(Debug)]
pub(crate) struct Inodes(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    /// The number of an identity that is not at its preferred one: after a collision, or when a new
    /// message took over the inode of the sent file that it replaced.
    moved: HashMap<String, u64>,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    identity: String,
    lookup_count: u64,
}

impl Inodes {
    /// Returns the table with the root, which is never forgotten.
    pub(crate) fn new() -> Self {
        let table = Self(RwLock::default());
        table.acquire(&Node::Dir(Dir::Root));
        table
    }

    /// Returns the inode of `node` and counts one lookup, which `forget` must return.
    pub(crate) fn acquire(&self, node: &Node) -> u64 {
        let mut table = self.0.write();
        let identity = node.identity();
        let ino = table.place_of(&identity);
        let entry = table.entries.entry(ino).or_insert_with(|| Entry {
            node: node.clone(),
            identity,
            lookup_count: 0,
        });
        entry.node = node.clone();
        entry.lookup_count += 1;
        ino
    }

    /// Returns the inode number of `node` without counting, for listings.
    pub(crate) fn number_of(&self, node: &Node) -> u64 {
        let identity = node.identity();
        self.0.read().find(&identity).unwrap_or_else(|| preferred_ino(&identity))
    }

    /// Returns the inode number of `node` if the kernel knows it.
    pub(crate) fn known(&self, node: &Node) -> Option<u64> {
        let identity = node.identity();
        let table = self.0.read();
        table.find(&identity).filter(|ino| table.entries.contains_key(ino))
    }

    /// Returns what an inode shows.
    pub(crate) fn get(&self, ino: u64) -> Option<Node> {
        self.0.read().entries.get(&ino).map(|entry| entry.node.clone())
    }

    /// Makes an inode show another node from now on, as truncating a file does: the kernel's inode
    /// stays, its content is new.
    pub(crate) fn replace(&self, ino: u64, node: &Node) {
        let mut table = self.0.write();
        let identity = node.identity();
        let Some(entry) = table.entries.get_mut(&ino) else { return };
        entry.node = node.clone();
        let before = std::mem::replace(&mut entry.identity, identity.clone());
        table.moved.remove(&before);
        table.moved.insert(identity, ino);
    }

    /// Returns `count` lookups; the inode leaves the table with the last one.
    pub(crate) fn forget(&self, ino: u64, count: u64) {
        if ino == ROOT_INO {
            return;
        }
        let mut table = self.0.write();
        let Some(entry) = table.entries.get_mut(&ino) else { return };
        entry.lookup_count = entry.lookup_count.saturating_sub(count);
        if entry.lookup_count == 0
            && let Some(entry) = table.entries.remove(&ino)
        {
            table.moved.remove(&entry.identity);
        }
    }

    /// Returns how many inodes the kernel knows.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.read().entries.len()
    }
}

impl Default for Inodes {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    fn find(&self, identity: &str) -> Option<u64> {
        if let Some(&ino) = self.moved.get(identity) {
            return Some(ino);
        }
        let ino = preferred_ino(identity);
        self.entries.get(&ino).filter(|entry| entry.identity == identity).map(|_entry| ino)
    }

    fn place_of(&mut self, identity: &str) -> u64 {
        if let Some(ino) = self.find(identity) {
            return ino;
        }
        let preferred = preferred_ino(identity);
        let mut ino = preferred;
        while self.entries.contains_key(&ino) {
            ino = (ino + 1).max(ROOT_INO + 1);
        }
        if ino != preferred {
            self.moved.insert(identity.to_owned(), ino);
        }
        ino
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(name: &str) -> Node {
        Node::Dir(Dir::Sender(name.into()))
    }

    #[test]
    fn an_inode_is_stable_over_forgetting_and_restarts() {
        let inodes = Inodes::new();
        let first = inodes.acquire(&sender("alice"));
        inodes.forget(first, 1);

        assert_eq!(inodes.acquire(&sender("alice")), first);
        assert_eq!(Inodes::new().acquire(&sender("alice")), first);
        assert_ne!(inodes.acquire(&sender("bob")), first);
    }

    #[test]
    fn an_inode_stays_until_the_last_lookup_is_given_back() {
        let inodes = Inodes::new();
        let ino = inodes.acquire(&sender("alice"));
        inodes.acquire(&sender("alice"));

        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_some());
        inodes.forget(ino, 1);
        assert!(inodes.get(ino).is_none());
        assert_eq!(inodes.count(), 1);
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let inodes = Inodes::new();

        inodes.forget(ROOT_INO, u64::MAX);

        assert!(matches!(inodes.get(ROOT_INO), Some(Node::Dir(Dir::Root))));
    }

    #[test]
    fn a_taken_number_moves_the_second_identity_and_keeps_it_there() {
        let inodes = Inodes::new();
        let bob = inodes.acquire(&sender("bob"));
        // Alice takes over bob's number, as a replaced file would; bob must get another one.
        inodes.replace(bob, &sender("alice"));

        let moved = inodes.acquire(&sender("bob"));

        assert_ne!(moved, bob);
        assert_eq!(inodes.acquire(&sender("bob")), moved);
        assert_eq!(inodes.acquire(&sender("alice")), bob);
        assert_eq!(inodes.number_of(&sender("alice")), bob);
    }

    #[test]
    fn a_replacement_is_found_under_its_own_identity() {
        let inodes = Inodes::new();
        let ino = inodes.acquire(&sender("old"));

        inodes.replace(ino, &sender("new"));

        assert_eq!(inodes.known(&sender("new")), Some(ino));
        assert_eq!(inodes.known(&sender("old")), None);
        inodes.forget(ino, 1);
        assert_eq!(inodes.known(&sender("new")), None);
        assert_ne!(inodes.acquire(&sender("new")), ino);
    }

    #[test]
    fn numbers_fit_signed_integers_and_spare_the_root() {
        for index in 0..1000 {
            let ino = preferred_ino(&format!("message {index}"));
            assert!(ino > ROOT_INO && i64::try_from(ino).is_ok());
        }
    }
}
