//! The ways in which mount(8) calls us, and the options of fstab.
//!
//! `mount -t fuse.dockercomms REG DIR -o OPTS` runs `dockercomms REG DIR -o OPTS`; a link to the
//! program named `mount.dockercomms` is called the same way. Both become the verb `mount`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::protocol::ErrorClass;

use super::failure::Failure;

/// Options of mount(8) and fstab that change nothing for us; the tree is `nosuid,nodev,noexec`
/// in any case (mount.fuse adds `dev,suid` by itself for root).
const IGNORED: [&str; 24] = [
    "rw",
    "auto",
    "noauto",
    "defaults",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "nosuid",
    "nodev",
    "noexec",
    "noatime",
    "relatime",
    "nodiratime",
    "async",
    "default_permissions",
    "nonempty",
    "sync",
    "dev",
    "suid",
    "exec",
];

/// The options of `-o` that we use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HelperOptions {
    /// `home=DIR`, as `--home`; fstab has no environment.
    pub(crate) home: Option<String>,
    /// `profile=NAME`.
    pub(crate) profile: Option<String>,
    /// `me=ID`.
    pub(crate) me: Option<String>,
    /// `registry=REF`.
    pub(crate) registry: Option<String>,
    /// `poll=TIME`.
    pub(crate) poll: Option<String>,
    /// `delivery=sync` or `delivery=queued`.
    pub(crate) delivery: Option<String>,
    /// `allow_other`.
    pub(crate) allow_other: bool,
}

impl HelperOptions {
    /// Reads one `-o` list.
    ///
    /// # Errors
    /// When it has an option that ought to change something and cannot.
    pub(crate) fn parse(list: &str) -> Result<Self, Failure> {
        let mut options = Self::default();
        for option in list.split(',').filter(|option| !option.is_empty()) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            match (name, value) {
                ("home", Some(value)) => options.home = Some(value),
                ("profile", Some(value)) => options.profile = Some(value),
                ("me", Some(value)) => options.me = Some(value),
                ("registry", Some(value)) => options.registry = Some(value),
                ("poll", Some(value)) => options.poll = Some(value),
                ("delivery", Some(value)) => options.delivery = Some(value),
                ("allow_other", None) => options.allow_other = true,
                (name, None) if IGNORED.contains(&name) => {}
                // Options for systemd and comments, by mount(8)'s own convention.
                (name, _) if name.starts_with("x-") || name == "comment" => {}
                ("user", Some(_)) => {}
                _ => {
                    let what = format!("unknown mount option `{option}`");
                    return Err(Failure::new(ErrorClass::Configuration, what).hint(
                        "use home=, profile=, me=, registry=, poll=, delivery=, allow_other",
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// Turns a call by mount(8) into the verb `mount`; leaves everything else alone.
pub(crate) fn rewrite(arguments: Vec<OsString>) -> Vec<OsString> {
    let is_helper = arguments
        .first()
        .and_then(|program| Path::new(program).file_name())
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"mount."));
    match arguments.as_slice() {
        [program, source, dir, rest @ ..] if is_helper || is_mount_call(source, dir) => {
            helper_arguments(program, source, dir, rest)
        }
        _ => arguments,
    }
}

fn is_mount_call(source: &OsStr, dir: &OsStr) -> bool {
    // Verbs have neither a slash nor a colon, and a registry reference always has one.
    let text = source.to_string_lossy();
    !text.starts_with('-') && text.contains(['/', ':']) && Path::new(dir).is_absolute()
}

fn helper_arguments(
    program: &OsString,
    source: &OsStr,
    dir: &OsStr,
    rest: &[OsString],
) -> Vec<OsString> {
    let mut global = Vec::new();
    let mut local = Vec::new();
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => {
                let list = rest.next().and_then(|list| list.to_str()).unwrap_or_default();
                // A bad list is reported by the verb, which parses it again.
                let options = HelperOptions::parse(list).unwrap_or_default();
                let flags = [("--home", options.home), ("--profile", options.profile)];
                for (flag, value) in flags {
                    global.extend(value.into_iter().flat_map(|value| [flag.into(), value.into()]));
                }
                local.extend([OsString::from("-o"), OsString::from(list)]);
            }
            Some("-v") => global.push("-v".into()),
            // mount(8): `-t TYPE`, `-s` sloppy, `-n` no mtab.
            Some("-t") => drop(rest.next()),
            Some("-s" | "-n") => {}
            _ => local.push(argument.clone()),
        }
    }
    let mut arguments = vec![program.clone()];
    arguments.extend(global);
    arguments.extend(["mount".into(), "--registry".into(), source.to_owned()]);
    arguments.extend(local);
    arguments.extend(["--".into(), dir.to_owned()]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        rewrite(arguments).join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn the_call_of_mount_becomes_the_verb() {
        let cases = [
            (
                "dockercomms oci:/srv/mail /mnt -o rw,nosuid,home=/h,poll=2",
                "dockercomms --home /h mount --registry oci:/srv/mail -o \
                 rw,nosuid,home=/h,poll=2 -- /mnt",
            ),
            (
                "/sbin/mount.dockercomms docker://r/x /mnt -v -o profile=work",
                "/sbin/mount.dockercomms -v --profile work mount --registry docker://r/x -o \
                 profile=work -- /mnt",
            ),
            (
                "dockercomms docker://r/x /dev/fd/5 -o rw -t fuse.dockercomms",
                "dockercomms mount --registry docker://r/x -o rw -- /dev/fd/5",
            ),
        ];

        for (given, expected) in cases {
            assert_eq!(rewritten(given), expected);
        }
    }

    #[test]
    fn ordinary_command_lines_are_left_alone() {
        for line in [
            "dockercomms",
            "dockercomms mount /mnt",
            "dockercomms --home /h mount /mnt",
            "dockercomms umount /mnt",
            "dockercomms send /a/b /c --to bob",
        ] {
            assert_eq!(rewritten(line), line);
        }
    }

    #[test]
    fn options_of_fstab_are_known_ignored_or_refused() {
        let options =
            HelperOptions::parse("rw,_netdev,x-systemd.automount,me=a@x,allow_other").unwrap();

        assert_eq!(options.me.as_deref(), Some("a@x"));
        assert!(options.allow_other);
        for list in ["ro", "frobnicate=1", "home"] {
            assert_eq!(HelperOptions::parse(list).unwrap_err().exit, 9, "{list}");
        }
    }
}
