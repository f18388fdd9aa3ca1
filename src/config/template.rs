//! The text of a new profile: every setting, what it does and its default, stated once.

use std::fmt::Write as _;

/// Settings with their defaults, commented out.
///
/// A line that starts with `#` and no space is a setting; the tests remove these marks and compare
/// the result with the defaults of `Settings`, so that the two cannot drift apart.
const OPTIONAL: &str = r##"
# Registries are used over TLS, those on this machine over plain HTTP.
# true: plain HTTP although the registry is elsewhere. Anyone who listens learns your password.
#insecure = false
# true: TLS although the registry is on this machine.
#loopback_tls = false

# A PEM file with certificates to trust for this registry, in addition to the system's.
# ca_file = "/etc/ssl/our-ca.pem"

# Credentials are those of `docker login`, never kept here. They go to the registry's own host, and
# to the token servers named here: ["auth.example.org"].
#auth_realms = []

# Longest time for one operation on the registry, including its retries.
#deadline = "1m"

# How payloads are compressed: "zstd", or "gzip" for peers that need it.
#compression = "zstd"

# Bytes per chunk before compression. Reading one byte of a file that is not cached costs one chunk.
#chunk_bytes = "8MiB"

# How long a message stays listed at the recipient; 0 = permanently.
#ttl = "7d"

# When close() of a file in outbox/ returns: "sync" = when all of it is in the registry, "queued" =
# when it is durable on this disk: it is sent in the background, even after days without a network,
# in the order of the closes for each recipient. A file that the registry refuses waits too, lets
# those behind it pass, and shows why in `dockercomms queue ls`.
#delivery = "sync"

# Time between two polls for new messages.
#poll = "5s"

# Time after the last close in which a rename still belongs to the same file.
#settle = "500ms"

# Pause before a file that could not be sent in the background is tried again. It doubles each time, up
# to five minutes; a change of the login, or a registry that answers again, ends it.
#queue_pause = "1s"

# Verified chunks kept in memory and on disk.
#cache_memory = "256MiB"
#cache_disk = "5GiB"

# Names that stay on this machine, shown as "local": programs use them for unfinished and private
# files, people do not. "*" stands for any run of characters, "?" for one, "XXXXXX" for six random
# letters and digits (rsync writes .NAME.XXXXXX); a pattern that ends with "/" is for directories.
# Every other name is sent, also with a dot in front. A list here replaces this one.
#temporary_names = [".*.XXXXXX", ".~tmp~/", ".rsync-partial/", ".*.~*", "*.partial", "*.filepart", "*.lftp-pget-status", "*.part", "*.crdownload", "*.crswap", "*.download", "*.opdownload", "*.wkdownload", ".com.google.Chrome.*", ".org.chromium.Chromium.*", "*.aria2", "*.aria2__temp", "*.ytdl", "*.*.st", "*.part-Frag*", "*.!qB", "*.!ut", "*.bc!", "*.az!", ".*.parts", "*.part.met", "*.fdmdownload", "*.downloading", "*.tmp", "*.TMP", "*~", "#*#", ".#*", "~$*", "*.swp", ".*.sw?", "4913", "*.kate-swp", ".~lock.*#", "*.*.lock", "*.laccdb", "*.dwl", "*.dwl2", "*.idlk", "*.blend@", ".*-autosave.kra", ".goutputstream-*", "*___jb_tmp___", "*___jb_old___", "*.sb-????????-??????", "*-journal", "*-wal", "*-shm", "*.dpkg-tmp", "*.dpkg-new", "._*", ".DS_Store", ".*.icloud", ".directory", "Thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", ".fuse_hidden*", ".nfs*", ".smbdelete*", ".afpDeleted*"]

# Names that may become recipients, in addition to those in the trust store and to addresses
# ("user@example.org", "user@host"), in the language of temporary_names: ["ci-*", "spiffe://acme/*"].
# A mount reads it when it starts.
#outbox_new = []

# Whether a signed receipt is sent automatically once a whole file was read and verified.
#automatic_receipts = true

# How long `dockercomms gc` keeps what is over on this machine: expired, failed and abandoned
# entries with their staged files, quarantine, errors.
#history = "90d"

# How long after it was sent the registry is asked whether it still has a message that no receipt has
# confirmed; while mounted, and then less and less often. A tag that was removed or moved is put
# back, at most three times. 0 = never.
#check_sent = "2m"

# Most bytes per second to and from a registry, like "2MiB"; 0 = no limit.
#limit_upload = 0
#limit_download = 0

# Compression for individual recipients:
# [profile.PROFILE.recipient_compression]
# "bob@example.com" = "gzip"

# Delivery to individual recipients:
# [profile.PROFILE.recipient_delivery]
# "bob@example.com" = "queued"
"##;

/// Returns the text of `[profile.NAME]`; `registry` absent means the default directory.
pub(crate) fn render_profile(profile: &str, me: &str, registry: Option<&str>) -> String {
    let mut text = format!("[profile.{profile}]\n");
    text.push_str(
        "# Who I am: my name in the outbox/ of those who write to me. An address is best, since\n",
    );
    text.push_str(
        "# others can write to it before they have my card. A list is allowed; the first one signs.\n",
    );
    // Writing to a String cannot fail.
    writeln!(text, "me = {}\n", toml_text(me)).ok();
    text.push_str(
        "# Where messages are kept: an image-layout directory (\"oci:/path\", no server) or a\n",
    );
    text.push_str("# registry (\"docker://host/name\").\n");
    match registry {
        Some(registry) => writeln!(text, "registry = {}", toml_text(registry)).ok(),
        None => writeln!(text, "# Default: a directory beside the other data.").ok(),
    };
    text.push_str(&OPTIONAL.replace("PROFILE", profile));
    text
}

fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
