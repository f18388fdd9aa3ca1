//! Both halves of the cache together.

mod damage;
mod seals;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use tempfile::TempDir;

use super::*;
use crate::sys::durable::rename_durable;
use crate::sys::{Clock as _, SystemClock};

const KIB: usize = 1024;

/// Room for everything in a test.
const AMPLE: CacheLimits = CacheLimits { memory_bytes: 1 << 30, disk_bytes: 1 << 30 };

/// Every lookup reaches the disk.
const DISK_ONLY: CacheLimits = CacheLimits { memory_bytes: 0, disk_bytes: 1 << 30 };

/// Opens a cache of the user whose key the tests have.
fn open(dir: Option<&Path>, limits: CacheLimits) -> ChunkCache {
    ChunkCache::open(dir, Some(SealKey::from([7; 32])), limits)
}

/// A layer of `len` bytes and its digest; here it is its own decompressed chunk.
fn chunk(seed: u32, len: usize) -> (Digest, Bytes) {
    let bytes: Bytes = seed.to_le_bytes().into_iter().cycle().take(len).collect();
    (Digest::of(&bytes), bytes)
}

/// Keeps a chunk in memory and its layer on disk.
fn put(cache: &ChunkCache, digest: &Digest, bytes: &Bytes) {
    cache.put_memory(digest, bytes.clone());
    cache.save_layer(digest, bytes);
}

/// Reads from memory, then from disk, and keeps in memory what came from disk.
fn get_len(cache: &ChunkCache, digest: &Digest, len: u64) -> Option<Bytes> {
    let known = cache.get_memory(digest).filter(|bytes| bytes.len() as u64 == len);
    known.or_else(|| {
        cache.load_layer(digest, len).inspect(|bytes| cache.put_memory(digest, bytes.clone()))
    })
}

fn path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join(&digest.hex()[..2]).join(digest.hex())
}

/// A cache on disk alone that holds one chunk of 10,000 bytes.
fn one_on_disk() -> (TempDir, ChunkCache, Digest, Bytes) {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(Some(dir.path()), DISK_ONLY);
    let (digest, bytes) = chunk(1, 10_000);
    put(&cache, &digest, &bytes);
    (dir, cache, digest, bytes)
}

fn get(cache: &ChunkCache, digest: &Digest) -> Option<Bytes> {
    get_len(cache, digest, 10_000)
}

/// Sets the time by which a restart orders the files: `age` seconds ago.
fn set_age(path: &Path, age: u64) {
    let time = SystemClock.now() - Duration::from_secs(age);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn a_chunk_is_found_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, bytes) = chunk(1, 10_000);
    let cache = open(Some(dir.path()), AMPLE);
    assert_eq!((cache.get_memory(&digest), get(&cache, &digest)), (None, None));
    assert!(!cache.contains(&digest));

    put(&cache, &digest, &bytes);
    let restarted = open(Some(dir.path()), AMPLE);

    assert_eq!(cache.get_memory(&digest), Some(bytes.clone()));
    assert_eq!(restarted.get_memory(&digest), None);
    assert!(restarted.contains(&digest));
    assert_eq!(get(&restarted, &digest), Some(bytes.clone()));
    assert_eq!(restarted.get_memory(&digest), Some(bytes), "promoted");
    let stats = restarted.stats();
    assert_eq!((stats.disk_hit_count, stats.memory_hit_count, stats.miss_count), (1, 1, 0));
    assert_eq!((stats.memory_count, stats.disk_count), (1, 1));
}

#[test]
fn an_empty_chunk_is_kept_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let (digest, bytes) = chunk(1, 0);

    put(&open(Some(dir.path()), DISK_ONLY), &digest, &bytes);

    assert_eq!(get_len(&open(Some(dir.path()), DISK_ONLY), &digest, 0), Some(bytes));
}

#[test]
fn the_cache_is_private() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a/b");
    let (digest, bytes) = chunk(1, 10);

    put(&open(Some(&dir), AMPLE), &digest, &bytes);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = path(&dir, &digest);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no temporary file");
}

#[test]
fn without_a_directory_memory_alone_is_used() {
    let (digest, bytes) = chunk(1, 10);
    let cache = open(None, AMPLE);

    put(&cache, &digest, &bytes);

    assert_eq!(get_len(&cache, &digest, 10), Some(bytes));
    assert_eq!(cache.stats().disk_count, 0);
}

#[test]
fn a_directory_that_cannot_be_used_leaves_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    File::create(&file).unwrap();
    let (digest, bytes) = chunk(1, 10);

    let cache = open(Some(&file.join("below")), AMPLE);
    put(&cache, &digest, &bytes);

    assert_eq!(get_len(&cache, &digest, 10), Some(bytes));
}

#[test]
fn a_directory_of_another_user_is_not_used_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::metadata(dir.path()).unwrap().uid() == 0;
    let theirs = if root {
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::set_permissions(&theirs, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
        theirs
    } else {
        PathBuf::from("/")
    };
    let (digest, bytes) = chunk(1, 10);

    put(&open(Some(&theirs), AMPLE), &digest, &bytes);

    assert!(!path(&theirs, &digest).exists());
    assert_eq!(fs::metadata(&theirs).unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn a_disk_that_takes_nothing_leaves_memory() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("cache");
    let cache = open(Some(&dir), AMPLE);
    fs::remove_dir_all(&dir).unwrap();
    File::create(&dir).unwrap();

    for seed in 0..3 {
        let (digest, bytes) = chunk(seed, 10_000);
        put(&cache, &digest, &bytes);
        assert_eq!(get(&cache, &digest), Some(bytes));
    }

    assert_eq!((cache.stats().disk_count, cache.stats().memory_count), (0, 3));
}

#[test]
fn a_nearly_full_disk_is_left_to_others() {
    let dir = tempfile::tempdir().unwrap();

    let room = disk::require_room(dir.path(), u64::MAX);

    assert_eq!(room.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    disk::require_room(dir.path(), 0).unwrap();
}

#[test]
fn memory_stays_within_its_bound_and_drops_the_least_recently_used() {
    let limits = CacheLimits { memory_bytes: 3 * 1024 + 3 * 256, disk_bytes: 0 };
    let cache = open(None, limits);
    let chunks: Vec<_> = (0..4).map(|seed| chunk(seed, KIB)).collect();
    for (digest, bytes) in &chunks[..3] {
        put(&cache, digest, bytes);
    }

    cache.get_memory(&chunks[0].0).unwrap();
    put(&cache, &chunks[3].0, &chunks[3].1);

    let kept: Vec<_> = chunks.iter().map(|(digest, _)| cache.contains(digest)).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!(cache.stats().memory_bytes, limits.memory_bytes);
}

#[test]
fn a_chunk_that_was_read_to_its_last_byte_gives_way_to_others_first() {
    let limits = CacheLimits { memory_bytes: 16 * (1024 + 256), disk_bytes: 0 };
    let cache = open(None, limits);
    let chunks: Vec<_> = (0..18).map(|seed| chunk(seed, KIB)).collect();
    for (digest, bytes) in &chunks[..16] {
        put(&cache, digest, bytes);
    }

    cache.note_read(&chunks[3].0, KIB);
    cache.note_read(&chunks[4].0, KIB - 1);
    cache.get_memory(&chunks[3].0).unwrap();
    put(&cache, &chunks[16].0, &chunks[16].1);
    cache.note_read(&chunks[4].0, 1);
    put(&cache, &chunks[17].0, &chunks[17].1);

    let gone: Vec<_> = (0..18).filter(|&at| !cache.contains(&chunks[at].0)).collect();
    assert_eq!(gone, [3, 4]);
    assert_eq!(cache.stats().memory_bytes, limits.memory_bytes);
}

#[test]
fn chunks_that_were_read_whole_take_an_eighth_of_the_room() {
    let limits = CacheLimits { memory_bytes: 16 * (1024 + 256), disk_bytes: 0 };
    let cache = open(None, limits);
    let chunks: Vec<_> = (0..5).map(|seed| chunk(seed, KIB)).collect();

    for (digest, bytes) in &chunks {
        put(&cache, digest, bytes);
        cache.note_read(digest, bytes.len());
    }

    let kept: Vec<_> = chunks.iter().map(|(digest, _)| cache.contains(digest)).collect();
    assert_eq!(kept, [false, false, false, true, true]);
    assert_eq!(cache.stats().memory_bytes, limits.memory_bytes / 8);
    cache.remove(&chunks[4].0);
    put(&cache, &chunks[3].0, &chunks[3].1);
    assert_eq!((cache.stats().memory_count, cache.stats().memory_bytes), (1, 1024 + 256));
}

#[test]
fn a_chunk_larger_than_the_bound_pushes_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let limits = CacheLimits { memory_bytes: 2_000, disk_bytes: 8_192 };
    let cache = open(Some(dir.path()), limits);
    let (small, small_bytes) = chunk(1, 1_000);
    let (large, large_bytes) = chunk(2, 10_000);
    put(&cache, &small, &small_bytes);

    put(&cache, &large, &large_bytes);

    assert!(cache.contains(&small));
    assert!(!cache.contains(&large));
    assert_eq!((cache.stats().memory_count, cache.stats().disk_count), (1, 1));
}

#[test]
fn putting_a_chunk_twice_counts_it_once() {
    let (_dir, cache, digest, bytes) = one_on_disk();
    let memory = open(None, AMPLE);

    for cache in [&cache, &memory] {
        put(cache, &digest, &bytes);
        let before = cache.stats();
        put(cache, &digest, &bytes);
        assert_eq!(cache.stats(), before);
    }
}

#[test]
fn tiny_chunks_are_not_free() {
    let limits = CacheLimits { memory_bytes: 10 * 260, disk_bytes: 10 * 4096 };
    let dir = tempfile::tempdir().unwrap();
    let cache = open(Some(dir.path()), limits);

    for seed in 0..100 {
        let (digest, bytes) = chunk(seed, 4);
        put(&cache, &digest, &bytes);
    }

    assert_eq!((cache.stats().memory_count, cache.stats().disk_count), (10, 10));
}

#[test]
fn the_disk_stays_within_its_bound_and_drops_the_least_recently_used() {
    let dir = tempfile::tempdir().unwrap();
    // Room for three files of three blocks; large enough that no listing happens in between.
    let limits = CacheLimits { memory_bytes: 0, disk_bytes: 9 * 4096 };
    let cache = open(Some(dir.path()), limits);
    let chunks: Vec<_> = (0..4).map(|seed| chunk(seed, 10_000)).collect();
    for (age, (digest, bytes)) in [30, 20, 10].into_iter().zip(&chunks) {
        put(&cache, digest, bytes);
        set_age(&path(dir.path(), digest), age);
    }

    get(&cache, &chunks[0].0).unwrap();
    put(&cache, &chunks[3].0, &chunks[3].1);

    let kept: Vec<_> = chunks.iter().map(|(digest, _)| cache.contains(digest)).collect();
    assert_eq!(kept, [true, false, true, true]);
    assert_eq!((cache.stats().disk_count, cache.stats().disk_bytes), (3, 9 * 4096));
}

#[test]
fn a_restart_keeps_the_order_and_applies_a_smaller_bound() {
    let (dir, cache, first, first_bytes) = one_on_disk();
    let (second, second_bytes) = chunk(2, 10_000);
    let (third, third_bytes) = chunk(3, 10_000);
    put(&cache, &second, &second_bytes);
    put(&cache, &third, &third_bytes);
    set_age(&path(dir.path(), &first), 300);
    set_age(&path(dir.path(), &second), 200);
    set_age(&path(dir.path(), &third), 100);
    // Reading makes the oldest file the newest, for the next process too.
    get(&cache, &first).unwrap();

    let limits = CacheLimits { memory_bytes: 0, disk_bytes: 6 * 4096 };
    let restarted = open(Some(dir.path()), limits);

    assert_eq!(get(&restarted, &first), Some(first_bytes));
    assert_eq!(get(&restarted, &second), None);
    assert_eq!(get(&restarted, &third), Some(third_bytes));
}

#[test]
fn a_restart_removes_what_a_crash_left_and_nothing_else() {
    let (dir, cache, digest, bytes) = one_on_disk();
    drop(cache);
    let shard = path(dir.path(), &digest).parent().unwrap().to_owned();
    for name in [".tmp-old", ".tmp-new", "notes.txt"] {
        File::create(shard.join(name)).unwrap();
    }
    set_age(&shard.join(".tmp-old"), 2 * 3600);
    set_age(&shard.join("notes.txt"), 2 * 3600);

    let cache = open(Some(dir.path()), DISK_ONLY);

    assert!(!shard.join(".tmp-old").exists());
    assert!(shard.join(".tmp-new").exists(), "another process may be writing it");
    assert!(shard.join("notes.txt").exists(), "not ours");
    assert_eq!(get(&cache, &digest), Some(bytes));
}

/// Returns how many bytes all chunk files take, in blocks.
fn disk_usage(dir: &Path) -> u64 {
    let mut used = 0;
    for shard in fs::read_dir(dir).unwrap() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            used += file.unwrap().metadata().unwrap().len().div_ceil(4096) * 4096;
        }
    }
    used
}

#[test]
fn processes_that_share_a_directory_stay_near_the_bound_together() {
    let dir = tempfile::tempdir().unwrap();
    let limits = CacheLimits { memory_bytes: 0, disk_bytes: 96 * 4096 };
    let caches: Vec<_> = (0..3).map(|_| open(Some(dir.path()), limits)).collect();

    for seed in 0..300 {
        let (digest, bytes) = chunk(seed, 10_000);
        put(&caches[seed as usize % 3], &digest, &bytes);
    }

    // Each may have written an eighth of the limit since its last listing.
    let used = disk_usage(dir.path());
    assert!(used <= limits.disk_bytes / 8 * 11, "{used}");
    let (last, last_bytes) = chunk(299, 10_000);
    assert_eq!(get(&caches[0], &last), Some(last_bytes), "one process reads what another wrote");
}

#[test]
fn many_threads_see_right_bytes_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let limits = CacheLimits { memory_bytes: 60_000, disk_bytes: 40 * 4096 };
    let cache = open(Some(dir.path()), limits);

    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let cache = &cache;
            let dir = dir.path();
            scope.spawn(move || {
                for round in 0..300_u32 {
                    let (digest, bytes) = chunk((round * 7 + thread * 3) % 40, 10_000);
                    match get(cache, &digest) {
                        Some(found) => assert_eq!(found, bytes),
                        None => put(cache, &digest, &bytes),
                    }
                    if round % 50 == 49 {
                        // Another program tidies up in the middle of it.
                        fs::remove_file(path(dir, &digest)).ok();
                    }
                }
            });
        }
    });

    let stats = cache.stats();
    assert!(stats.memory_bytes <= limits.memory_bytes, "{stats:?}");
    assert!(stats.disk_bytes <= limits.disk_bytes, "{stats:?}");
    assert!(disk_usage(dir.path()) <= limits.disk_bytes);
    assert_eq!(stats.removed_count, 0);
}
