//! Every run feeds the fuzz targets with their corpora and with simple damage to them.
//!
//! The bodies are those that `scripts/fuzz` runs for hours; an input that once broke something is
//! committed below `corpus/` and tried in every run.

mod bodies;

use std::path::Path;

use self::bodies::TARGETS;
use crate::common::{names_in, read};

/// More would make a checkout slow for no gain: libFuzzer finds the rest again by itself.
const FILE_COUNT_MAX: usize = 200;

/// Most bytes of all corpora together.
const LEN_MAX: usize = 300 << 10;

/// Positions at which each file is cut and damaged.
const DAMAGE_COUNT: usize = 64;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    names_in(&dir).iter().map(|name| read(dir.join(name))).collect()
}

/// Returns an input, cut and with flipped bits at places spread over it.
fn damaged(input: &[u8]) -> Vec<Vec<u8>> {
    let step = input.len().div_ceil(DAMAGE_COUNT).max(1);
    let mut variants = vec![input.to_vec()];
    for (count, at) in (0..input.len()).step_by(step).enumerate() {
        variants.push(input[..at].to_vec());
        let mut flipped = input.to_vec();
        flipped[at] ^= 1 << (count % 8);
        variants.push(flipped);
        let mut doubled = input.to_vec();
        doubled.insert(at, input[at]);
        variants.push(doubled);
    }
    variants
}

#[test]
fn every_target_holds_on_its_corpus_and_on_damage_to_it() {
    let mut count = 0;

    for (name, body) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs.iter().flat_map(|input| damaged(input)) {
            body(&input);
            count += 1;
        }
        body(b"");
    }

    println!("fuzz targets replayed: {count} inputs, no findings");
}

#[test]
fn every_target_is_built_and_the_corpus_is_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = String::from_utf8(read(root.join("Cargo.toml"))).unwrap();

    let inputs: Vec<Vec<u8>> = TARGETS.iter().flat_map(|(name, _)| corpus(name)).collect();

    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
        let text = String::from_utf8(read(root.join(format!("targets/{name}.rs")))).unwrap();
        assert!(text.contains(&format!("bodies::{name}(data)")), "{name}");
    }
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names_in(root.join("corpus")), names);
    assert!(inputs.len() <= FILE_COUNT_MAX, "{} files", inputs.len());
    assert!(inputs.iter().map(Vec::len).sum::<usize>() <= LEN_MAX);
}
