//! Names that programs give to unfinished or private files: such a file stays on this machine.
//!
//! Pure text, without any I/O. A pattern that is too wide loses mail, since what it matches is never
//! sent; one that is too narrow costs little, since a rename to the final name repairs it. So the
//! list has only names that no person gives to a file. Start at [`TEMPORARY_NAMES`].

use super::pattern::matches;

/// Names that programs use for unfinished or private files, in the language of `pattern.rs`; those that
/// end with `/` are about directories.
///
/// Deliberately absent: `.*` (`.bashrc`, `.gitignore`), `*.lock` without another dot (`Cargo.lock`),
/// `*.bak`, `*.old` and `*.orig`: people send such files.
pub const TEMPORARY_NAMES: &[&str] = &[
    // Copying and synchronizing: rsync, Nextcloud, SFTP and mobile clients.
    ".*.XXXXXX",
    ".~tmp~/",
    ".rsync-partial/",
    ".*.~*",
    "*.partial",
    "*.filepart",
    "*.lftp-pget-status",
    // Browsers.
    "*.part",
    "*.crdownload",
    "*.crswap",
    "*.download",
    "*.opdownload",
    "*.wkdownload",
    ".com.google.Chrome.*",
    ".org.chromium.Chromium.*",
    // Programs that download, and their control files.
    "*.aria2",
    "*.aria2__temp",
    "*.ytdl",
    "*.*.st",
    "*.part-Frag*",
    "*.!qB",
    "*.!ut",
    "*.bc!",
    "*.az!",
    ".*.parts",
    "*.part.met",
    "*.fdmdownload",
    "*.downloading",
    // Saving: editors, office programs, desktops.
    "*.tmp",
    "*.TMP",
    "*~",
    "#*#",
    ".#*",
    "~$*",
    "*.swp",
    ".*.sw?",
    "4913",
    "*.kate-swp",
    ".~lock.*#",
    "*.*.lock",
    "*.laccdb",
    "*.dwl",
    "*.dwl2",
    "*.idlk",
    "*.blend@",
    ".*-autosave.kra",
    ".goutputstream-*",
    "*___jb_tmp___",
    "*___jb_old___",
    "*.sb-????????-??????",
    // Databases.
    "*-journal",
    "*-wal",
    "*-shm",
    // Packages.
    "*.dpkg-tmp",
    "*.dpkg-new",
    // What systems keep beside files.
    "._*",
    ".DS_Store",
    ".*.icloud",
    ".directory",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "Desktop.ini",
    // Files that were removed while open: FUSE, NFS, SMB, AFP.
    ".fuse_hidden*",
    ".nfs*",
    ".smbdelete*",
    ".afpDeleted*",
];

/// Files that say how far a download has come; the name in front of the ending is written in place,
/// and is complete once its control file is gone.
const CONTROL_ENDINGS: &[&str] = &[".aria2", ".st", ".ytdl", ".lftp-pget-status"];

/// Returns whether a directory of this name stays local: those of `patterns` that end with `/`.
pub(super) fn matches_any_dir(patterns: &[String], name: &str) -> bool {
    let mut of_dirs = patterns.iter().filter_map(|pattern| pattern.strip_suffix('/'));
    of_dirs.any(|pattern| matches(pattern, name))
}

/// Returns the name whose download `control` describes, if it is such a file.
pub(super) fn controlled_by(control: &str) -> Option<&str> {
    let name = CONTROL_ENDINGS.iter().find_map(|ending| control.strip_suffix(ending))?;
    (!name.is_empty()).then_some(name)
}

/// Returns the names of the files that would describe the download of `name`.
pub(super) fn controls_of(name: &str) -> impl Iterator<Item = String> {
    CONTROL_ENDINGS.iter().map(move |ending| format!("{name}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::pattern::matches_any;

    fn defaults() -> Vec<String> {
        TEMPORARY_NAMES.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_names_that_programs_use_for_unfinished_files_stay_local() {
        for name in [
            ".report.pdf.Xy12ab",
            "..bashrc.aB3dE6",
            ".~lock.report.odt#",
            ".goutputstream-7X2Q81",
            ".notes.txt.swp",
            ".notes.txt.swo",
            "a.swp",
            ".notes.txt.kate-swp",
            "4913",
            "._report.pdf",
            ".DS_Store",
            ".fuse_hidden0000001a00000002",
            ".nfs000000000123456700000001",
            ".smbdeleteAAA1b2c3",
            "a.part",
            "a.b.part",
            "video.f137.mp4.part-Frag12",
            "video.mp4.part-Frag12.part",
            "a.partial",
            "a.filepart",
            "Unconfirmed 123456.crdownload",
            "a.crswap",
            "a.download",
            "a.opdownload",
            ".com.google.Chrome.a1b2c3",
            ".org.chromium.Chromium.Zzzzzz",
            "a.iso.aria2",
            "a.iso.aria2__temp",
            "a.mp4.ytdl",
            "a.iso.st",
            "a.!qB",
            "a.!ut",
            "a.tmp",
            "~WRD0001.tmp",
            "notes~RF1a2b3c.TMP",
            ".syncthing.a.pdf.tmp",
            "notes.txt~",
            "#notes#",
            ".#notes.txt",
            "~$doc.docx",
            "report.odt.lock",
            "base.laccdb",
            "plan.dwl2",
            "state.db-journal",
            "state.db-wal",
            "Cookies-shm",
            "Main.java___jb_tmp___",
            "Main.java___jb_old___",
            "text.rtf.sb-1a2b3c4d-AbCdEf",
            "hosts.dpkg-new",
            ".report.pdf.~2a3b4c",
            ".report.pdf.icloud",
            ".directory",
            "Thumbs.db",
            "desktop.ini",
            "Desktop.ini",
        ] {
            assert!(matches_any(&defaults(), name), "{name}");
        }
    }

    #[test]
    fn what_people_send_is_sent() {
        for name in [
            ".bashrc",
            ".profile",
            ".vimrc",
            ".env",
            ".env.sample",
            ".env.SAMPLE",
            ".env.Sample",
            ".env.local",
            ".config.backup",
            ".gitignore",
            ".gitlab-ci.yml",
            ".eslintrc.json",
            ".travis.yml",
            ".htaccess",
            ".npmrc",
            ".log.202401",
            ".log.2024q1",
            ".log.v1beta",
            ".vimrc.README",
            ".notes.DRAFT2",
            ".notes.Draft1",
            ".a.\u{e9}\u{e9}\u{e9}",
            "report.pdf",
            "plc.st",
            "part",
            "a.partx",
            "a.part1.rar",
            "4913.txt",
            "sedkCq4zb",
            "a~b",
            "tmp",
            "report.tmpl",
            "swp",
            "Cargo.lock",
            "yarn.lock",
            "package-lock.json",
            "Gemfile.lock",
            "poetry.lock",
            "thumbs.db.txt",
            "downloads",
            "aria2",
            "#1 song.mp3",
            "$5.txt",
        ] {
            assert!(!matches_any(&defaults(), name), "{name}");
        }
    }

    #[test]
    fn directories_have_patterns_of_their_own() {
        for name in [".~tmp~", ".rsync-partial"] {
            assert!(matches_any_dir(&defaults(), name), "{name}");
        }
        assert!(!matches_any(&defaults(), ".rsync-partial"));
        for name in ["photos", "a.part", ".git", "", "/"] {
            assert!(!matches_any_dir(&defaults(), name), "{name}");
        }
    }

    #[test]
    fn a_control_file_is_a_temporary_name_and_knows_its_download() {
        for control in controls_of("report.pdf") {
            assert!(matches_any(&defaults(), &control), "{control}");
            assert_eq!(controlled_by(&control), Some("report.pdf"));
        }
        for other in ["report.pdf", ".aria2", "aria2", "a.part", ""] {
            assert_eq!(controlled_by(other), None, "{other}");
        }
    }
}
