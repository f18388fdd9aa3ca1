//! What can happen to the files on disk: every change is a miss, and nothing is followed.

use super::*;

#[test]
fn every_flipped_byte_of_a_file_is_a_miss_and_the_file_goes() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let len = fs::metadata(&file).unwrap().len();

    for at in (0..100).chain([len / 2, len - 1]) {
        let mut content = fs::read(&file).unwrap();
        content[usize::try_from(at).unwrap()] ^= 1;
        File::create(&file).unwrap().write_all(&content).unwrap();

        assert_eq!(get(&cache, &digest), None, "byte {at}");
        assert!(!file.exists(), "byte {at}");
        put(&cache, &digest, &bytes);
        assert_eq!(get(&cache, &digest), Some(bytes.clone()), "refetched");
    }
    assert_eq!(cache.stats().removed_count, 102);
}

#[test]
fn a_file_of_another_length_is_a_miss_and_goes() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let whole = fs::metadata(&file).unwrap().len();

    for len in [0, 1, 79, 80, whole - 1, whole + 1, whole + 4096] {
        OpenOptions::new().write(true).open(&file).unwrap().set_len(len).unwrap();

        assert_eq!(get(&cache, &digest), None, "{len}");
        assert!(!file.exists(), "{len}");
        put(&cache, &digest, &bytes);
    }
    assert_eq!(get(&cache, &digest), Some(bytes));
}

#[test]
fn a_large_file_that_is_altered_cut_or_longer_is_a_miss_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(Some(dir.path()), DISK_ONLY);
    // Written past the page cache, except for the last bytes, which do not fill a block.
    let len = (3 << 20) + 5;
    let (digest, bytes) = chunk(1, len);
    let file = path(dir.path(), &digest);
    let lens = [0, 1, 1 << 20, 3 << 20, len - 1, len + 1, len + 4096];

    for (at, to_len) in [0, 4096, len / 2, 3 << 20, len - 1]
        .map(|at| (Some(at), len))
        .into_iter()
        .chain(lens.map(|to_len| (None, to_len)))
    {
        put(&cache, &digest, &bytes);
        assert_eq!(get_len(&cache, &digest, len as u64), Some(bytes.clone()));
        let opened = OpenOptions::new().write(true).open(&file).unwrap();
        if let Some(at) = at {
            opened.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        }
        opened.set_len(to_len as u64).unwrap();

        assert_eq!(get_len(&cache, &digest, len as u64), None, "{at:?} {to_len}");
        assert!(!file.exists(), "{at:?} {to_len}");
    }
}

#[test]
fn a_zeroed_file_is_a_miss() {
    let (dir, cache, digest, _bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let len = fs::metadata(&file).unwrap().len();

    let mut open = OpenOptions::new().write(true).open(&file).unwrap();
    open.seek(SeekFrom::Start(0)).unwrap();
    open.write_all(&vec![0; usize::try_from(len).unwrap()]).unwrap();

    assert_eq!(get(&cache, &digest), None);
}

#[test]
fn a_chunk_under_the_name_of_another_is_a_miss() {
    let (dir, cache, digest, _bytes) = one_on_disk();
    let (other, other_bytes) = chunk(2, 10_000);
    put(&cache, &other, &other_bytes);

    fs::copy(path(dir.path(), &other), path(dir.path(), &digest)).unwrap();

    assert_eq!(get(&cache, &digest), None);
    assert_eq!(get(&cache, &other), Some(other_bytes));
}

#[test]
fn a_length_that_the_caller_does_not_expect_is_a_miss_but_the_chunk_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, bytes) = chunk(1, 10_000);
    let cache = open(Some(dir.path()), AMPLE);
    put(&cache, &digest, &bytes);

    // A manifest with a false size must not make others fetch again.
    assert_eq!(get_len(&cache, &digest, 9_999), None);
    assert_eq!(get_len(&cache, &digest, u64::MAX), None);

    assert_eq!(get(&open(Some(dir.path()), DISK_ONLY), &digest), Some(bytes));
}

#[test]
fn what_is_no_regular_file_is_a_miss_and_replaced() {
    type Replace = fn(&Path, &Path);
    let cases: [(&str, Replace); 4] = [
        ("link to a chunk", |file, dir| {
            fs::copy(file, dir.join("target")).unwrap();
            fs::remove_file(file).unwrap();
            symlink(dir.join("target"), file).unwrap();
        }),
        ("dangling link", |file, _| {
            fs::remove_file(file).unwrap();
            symlink("/nonexistent", file).unwrap();
        }),
        ("fifo", |file, _| {
            fs::remove_file(file).unwrap();
            nix::unistd::mkfifo(file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }),
        ("directory", |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];

    for (name, replace) in cases {
        let (dir, cache, digest, bytes) = one_on_disk();
        let file = path(dir.path(), &digest);
        replace(&file, dir.path());

        assert!(!cache.contains(&digest), "{name}");
        assert_eq!(get(&cache, &digest), None, "{name}");
        put(&cache, &digest, &bytes);

        assert_eq!(get(&cache, &digest), Some(bytes), "{name}");
        assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{name}");
    }
}

#[test]
fn a_link_is_not_written_through() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    let target = dir.path().join("precious");
    File::create(&target).unwrap().write_all(b"precious").unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&target, &file).unwrap();

    put(&cache, &digest, &bytes);

    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(get(&cache, &digest), Some(bytes));
}

#[test]
fn a_directory_of_the_cache_that_became_a_link_is_not_followed() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let shard = path(dir.path(), &digest).parent().unwrap().to_owned();
    let elsewhere = dir.path().join("elsewhere");
    rename_durable(&shard, &elsewhere).unwrap();
    symlink(&elsewhere, &shard).unwrap();

    assert_eq!(get(&cache, &digest), None);
    put(&cache, &digest, &bytes);

    assert_eq!(get(&cache, &digest), Some(bytes));
    assert!(fs::symlink_metadata(&shard).unwrap().is_dir());
}

#[test]
fn a_file_that_is_not_ours_or_not_readable_is_a_miss() {
    let (dir, cache, digest, bytes) = one_on_disk();
    let file = path(dir.path(), &digest);
    // Root reads every file but can give one away; for other users it is the other way round.
    if fs::metadata(&file).unwrap().uid() == 0 {
        std::os::unix::fs::chown(&file, Some(65_534), None).unwrap();
    } else {
        fs::set_permissions(&file, Permissions::from_mode(0o000)).unwrap();
    }

    assert_eq!(get(&cache, &digest), None);
    assert!(!file.exists());
    put(&cache, &digest, &bytes);

    assert_eq!(get(&cache, &digest), Some(bytes));
}

#[test]
fn a_cache_deleted_while_in_use_comes_back() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let cache = open(Some(&dir), DISK_ONLY);
    let (digest, bytes) = chunk(1, 10_000);
    put(&cache, &digest, &bytes);

    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(get(&cache, &digest), None);
    assert_eq!(cache.stats().disk_count, 0);
    put(&cache, &digest, &bytes);

    assert_eq!(get(&cache, &digest), Some(bytes));
}
