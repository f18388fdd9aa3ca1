//! What seals are worth: everything with this user's key, nothing with any other.

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::*;

const ATTRIBUTE: &str = "user.dockercomms.seal";

fn mine() -> SealKey {
    SealKey::from([7; 32])
}

fn theirs() -> SealKey {
    SealKey::from([8; 32])
}

/// Opens `dir` as a user with another key, or with none.
fn open_as(dir: &Path, key: Option<SealKey>) -> ChunkCache {
    ChunkCache::open(Some(dir), key, DISK_ONLY)
}

fn seal_of(file: &Path) -> Option<Vec<u8>> {
    let mut seal = [0; 64];
    getxattr(file, ATTRIBUTE, &mut seal).ok().map(|len| seal[..len].to_vec())
}

fn set_seal(file: &Path, seal: &[u8]) {
    setxattr(file, ATTRIBUTE, seal, XattrFlags::empty()).unwrap();
}

fn fill(file: &Path, content: &[u8]) {
    File::create(file).unwrap().write_all(content).unwrap();
}

/// Replaces a layer's bytes by `content`, as if `key` had checked it.
fn forge(file: &Path, digest: &Digest, content: &[u8], key: &SealKey) {
    fill(file, content);
    key.seal(&File::open(file).unwrap(), digest, content);
}

#[test]
fn a_seal_of_this_key_is_believed_and_one_of_another_is_not() {
    let content = vec![9; 10_000];
    for (key, is_believed) in [(mine(), true), (theirs(), false)] {
        let (dir, cache, digest, _bytes) = one_on_disk();
        let file = path(dir.path(), &digest);
        forge(&file, &digest, &content, &key);

        let found = get(&cache, &digest);

        assert_eq!(found.is_some_and(|found| found == content), is_believed);
        assert_eq!(file.exists(), is_believed);
        assert_eq!(cache.stats().removed_count, u64::from(!is_believed));
    }
}

#[test]
fn every_flipped_bit_of_a_forged_seal_is_a_miss() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let content = vec![9; 10_000];

    for bit in 0..256 {
        forge(&file, &digest, &content, &mine());
        let mut seal = seal_of(&file).unwrap();
        seal[bit / 8] ^= 1 << (bit % 8);
        set_seal(&file, &seal);

        assert_eq!(get(&cache, &digest), None, "{bit}");
        assert!(!file.exists(), "{bit}");
        put(&cache, &digest, &bytes);
    }
}

#[test]
fn a_file_without_its_seal_is_checked_and_sealed_again() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let seal = seal_of(&file).unwrap();
    let mut flipped = seal.clone();
    flipped[31] ^= 1;

    let wrong = [&seal[..31], &seal[..16], &[], &[&seal[..], &[0]].concat(), &flipped, &[0; 32]];
    for seal_on_disk in wrong {
        set_seal(&file, seal_on_disk);

        assert_eq!(get(&cache, &digest), Some(bytes.clone()), "{seal_on_disk:?}");
        assert_eq!(seal_of(&file).as_ref(), Some(&seal), "{seal_on_disk:?}");
    }
    // As a version without seals wrote it.
    fs::remove_file(&file).unwrap();
    fill(&file, &bytes);
    assert_eq!(get(&cache, &digest), Some(bytes));
    assert_eq!(seal_of(&file), Some(seal));
    assert_eq!(cache.stats().removed_count, 0);
}

#[test]
fn a_sealed_file_under_the_name_of_another_is_a_miss() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let (other, other_bytes) = chunk(2, 10_000);
    put(&cache, &other, &other_bytes);
    let (one, two) = (path(dir.path(), &digest), path(dir.path(), &other));
    let aside = dir.path().join("aside");

    for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
        rename_durable(from, to).unwrap();
    }

    assert_eq!((get(&cache, &digest), get(&cache, &other)), (None, None));
    put(&cache, &digest, &bytes);
    assert_eq!(get(&cache, &digest), Some(bytes));
}

#[test]
fn users_of_one_directory_check_what_the_others_have_sealed() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let (other, none) = (open_as(dir.path(), Some(theirs())), open_as(dir.path(), None));
    let mut seals = vec![seal_of(&file)];

    for reader in [&other, &none, &cache] {
        assert_eq!(get(reader, &digest), Some(bytes.clone()));
        seals.push(seal_of(&file));
    }

    assert!(seals[0].is_some() && seals[0] != seals[1]);
    assert_eq!(seals[1], seals[2], "without a key nothing is sealed");
    assert_eq!(seals[0], seals[3]);
}

#[test]
fn nothing_is_sealed_without_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, bytes) = chunk(1, 10_000);
    let cache = open_as(dir.path(), None);

    put(&cache, &digest, &bytes);

    assert_eq!(get(&cache, &digest), Some(bytes));
    assert_eq!(seal_of(&path(dir.path(), &digest)), None);
}

#[test]
fn a_key_is_made_once_and_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seal.key");
    let (digest, bytes) = chunk(1, 10_000);

    let key = SealKey::load_or_create(&file).unwrap();
    let other = SealKey::load_or_create(&dir.path().join("other.key")).unwrap();
    forge(&dir.path().join("layer"), &digest, &bytes, &key);

    let layer = File::open(dir.path().join("layer")).unwrap();
    assert!(SealKey::load_or_create(&file).unwrap().vouches(&layer, &digest, &bytes));
    assert!(!other.vouches(&layer, &digest, &bytes));
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (32, 0o600));
    assert!(!format!("{key:?}").contains(char::is_numeric), "{key:?}");
}

#[test]
fn a_key_that_is_gone_or_damaged_is_replaced_and_the_cache_stays() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("gone", |file| fs::remove_file(file).unwrap()),
        ("empty", |file| fill(file, &[])),
        ("cut", |file| fill(file, &[1; 31])),
        ("longer", |file| fill(file, &[1; 33])),
        ("open to others", |file| {
            fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap();
        }),
        ("a link", |file| {
            let target = file.with_extension("target");
            rename_durable(file, &target).unwrap();
            symlink(target, file).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seal.key");
        let (digest, bytes) = chunk(1, 10_000);
        let cache_dir = dir.path().join("cache");
        let key = SealKey::load_or_create(&file).unwrap();
        put(&open_as(&cache_dir, Some(key.clone())), &digest, &bytes);
        damage(&file);
        // As a crash leaves it.
        fill(&file.with_extension("new"), b"half a key");

        let new = SealKey::load_or_create(&file).unwrap();

        let layer = File::open(path(&cache_dir, &digest)).unwrap();
        assert!(!new.vouches(&layer, &digest, &bytes), "{name}");
        assert_eq!(get(&open_as(&cache_dir, Some(new.clone())), &digest), Some(bytes.clone()));
        assert!(new.vouches(&layer, &digest, &bytes), "{name}: sealed anew");
        assert!(SealKey::load_or_create(&file).unwrap().vouches(&layer, &digest, &bytes), "{name}");
        assert!(!file.with_extension("new").exists(), "{name}");
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (32, 0o600), "{name}");
    }
}

#[test]
fn a_key_that_cannot_be_kept_is_an_error() {
    let dir = tempfile::tempdir().unwrap();

    assert!(SealKey::load_or_create(&dir.path().join("absent/seal.key")).is_err());
}
