//! Named points at which a test makes the process die, as a crash would.
//!
//! Code that makes something durable names the moments between its steps: `crash::point!("name")`.
//! Without the feature `testing` this compiles to nothing, not even the name. With it the process
//! kills itself at the point that `DOCKERCOMMS_CRASH_AT` names, and adds every point that it passes
//! to the file that `DOCKERCOMMS_CRASH_LOG` names. `tests/crash` dies at every one of them.

/// Marks a moment between two durable steps; does nothing in a release build.
macro_rules! point {
    ($name:literal) => {{
        #[cfg(feature = "testing")]
        $crate::sys::crash::pass($name);
    }};
}
pub(crate) use point;

#[cfg(feature = "testing")]
pub(crate) use armed::pass;

#[cfg(feature = "testing")]
mod armed {
    use std::env::var_os;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Where to die: `name`, or `name:3` for the third pass.
    const CRASH_AT: &str = "DOCKERCOMMS_CRASH_AT";
    /// A file that collects the name of every point that is passed, one per line.
    const CRASH_LOG: &str = "DOCKERCOMMS_CRASH_LOG";

    static TARGET: LazyLock<Option<Target>> = LazyLock::new(|| {
        var_os(CRASH_AT).and_then(|text| text.into_string().ok()).map(|text| Target::parse(&text))
    });
    static LOG: LazyLock<Option<PathBuf>> = LazyLock::new(|| var_os(CRASH_LOG).map(PathBuf::from));

    #[derive(Debug)]
    struct Target {
        name: String,
        passes_left: AtomicU64,
    }

    impl Target {
        fn parse(text: &str) -> Self {
            let (name, count) = text.split_once(':').unwrap_or((text, "1"));
            let count = count.parse().unwrap_or(1);
            Self { name: name.to_owned(), passes_left: AtomicU64::new(count) }
        }

        /// Returns whether this is the requested pass.
        fn is_reached(&self, name: &str) -> bool {
            self.name == name && self.passes_left.fetch_sub(1, Ordering::SeqCst) == 1
        }
    }

    /// Passes the point `name`, or dies there.
    pub(crate) fn pass(name: &str) {
        if let Some(path) = LOG.as_ref() {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            // One write, so that lines of several threads do not mix. A test notices a missing one.
            opened.and_then(|mut file| file.write_all(format!("{name}\n").as_bytes())).ok();
        }
        if TARGET.as_ref().is_some_and(|target| target.is_reached(name)) {
            // Nothing is flushed, unlocked or dropped: that is the point.
            kill(Pid::this(), Signal::SIGKILL).ok();
            // The signal may reach another thread first; this one must not continue.
            loop {
                std::thread::park();
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_target_is_reached_once_at_the_passing_that_it_names() {
            let target = Target::parse("b:2");

            let reached = ["b", "a", "b", "b"].map(|name| target.is_reached(name));

            assert_eq!(reached, [false, false, true, false]);
            assert!(Target::parse("a").is_reached("a"));
        }
    }
}
