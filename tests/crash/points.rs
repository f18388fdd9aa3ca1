//! Every crash point is tested: the source names them, the scenarios reach them.

use std::collections::BTreeSet;
use std::path::Path;

/// Fewer would mean that the search below no longer finds anything.
const COUNT_MIN: usize = 60;

/// Returns the names of all points in the source, each as often as it occurs there.
pub(super) fn in_source() -> Vec<String> {
    let mut names = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let after = text.split("crash::point!(\"").skip(1);
                names.extend(after.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
            }
        }
    }
    names.sort();
    names.retain(|name| name != "name"); // the example in the documentation
    names
}

#[test]
fn every_place_has_a_name_of_its_own() {
    let names = in_source();

    assert!(names.len() >= COUNT_MIN, "{names:?}");
    let unique: BTreeSet<&String> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "{names:?}");
}
