use std::path::Path;

use super::file::CONFIG_LEN_MAX;
use super::*;

fn places() -> Places {
    let variables =
        HomeVariables { dockercomms_home: Some("/h".into()), ..HomeVariables::default() };
    Places::find(&variables, DEFAULT_PROFILE).unwrap()
}

fn me() -> Identity {
    "alice@host".parse().unwrap()
}

fn profile(settings: &str) -> ProfileFile {
    let text = format!("[profile.default]\n{settings}\n");
    let mut file = ConfigFile::parse(&text, Path::new("config.toml")).unwrap();
    file.profile.remove("default").unwrap()
}

fn resolve(settings: &str) -> Result<Settings, ConfigError> {
    Settings::resolve(&Overrides::default(), &profile(settings), &places(), Some(me()))
}

#[test]
fn nothing_configured_means_a_directory_and_the_documented_defaults() {
    let settings = resolve("").unwrap();

    assert_eq!(settings.me, vec!["alice@host".parse().unwrap()]);
    assert_eq!(settings.registry, "oci:/h/repository");
    assert_eq!(settings.ttl_secs, 604_800);
    assert_eq!(settings.chunk_bytes, 8 << 20);
    assert_eq!(settings.cache_memory, 256 << 20);
    assert_eq!(settings.cache_disk, 5 << 30);
    assert!(settings.automatic_receipts);
    assert!(!settings.insecure);
}

#[test]
fn the_generated_file_states_exactly_the_defaults() {
    let text = render_profile("default", "alice@host", Some("oci:/h/repository"));
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let mut file = ConfigFile::parse(&uncommented, Path::new("config.toml")).unwrap();
    let stated = file.profile.remove("default").unwrap();
    let defaults = resolve("").unwrap();

    let settings = Settings::resolve(&Overrides::default(), &stated, &places(), None).unwrap();

    assert_eq!(settings, defaults);
    let optional = [
        stated.insecure.is_some(),
        stated.loopback_tls.is_some(),
        stated.auth_realms.is_some(),
        stated.deadline.is_some(),
        stated.compression.is_some(),
        stated.chunk_bytes.is_some(),
        stated.ttl.is_some(),
        stated.delivery.is_some(),
        stated.poll.is_some(),
        stated.settle.is_some(),
        stated.queue_pause.is_some(),
        stated.cache_memory.is_some(),
        stated.cache_disk.is_some(),
        stated.temporary_names.is_some(),
        stated.outbox_new.is_some(),
        stated.automatic_receipts.is_some(),
        stated.history.is_some(),
        stated.check_sent.is_some(),
        stated.limit_upload.is_some(),
        stated.limit_download.is_some(),
    ];
    assert!(optional.iter().all(|is_stated| *is_stated), "{optional:?}");
}

#[test]
fn the_generated_file_parses_as_it_is_with_any_identity() {
    for me in ["alice@example.com", "quote\"and\\slash", "caf\u{e9} \u{202e}x"] {
        let text = render_profile("work", me, None);

        let file = ConfigFile::parse(&text, Path::new("config.toml")).unwrap();

        assert_eq!(file.profile["work"].me.as_ref().unwrap().0, vec![me.to_owned()]);
    }
}

#[test]
fn every_setting_is_read() {
    let settings = resolve(
        r#"
        me = ["a@x", "b@x"]
        registry = "docker://registry.example.org/mail"
        insecure = true
        loopback_tls = true
        ca_file = "/ca.pem"
        auth_realms = ["auth.example.org"]
        deadline = "90s"
        compression = "gzip"
        chunk_bytes = "1MiB"
        ttl = "1h"
        delivery = "queued"
        poll = "2s"
        settle = "0"
        queue_pause = "20ms"
        cache_memory = 1024
        cache_disk = "1GiB"
        temporary_names = ["*.bak"]
        outbox_new = ["ci-*", "team-a"]
        automatic_receipts = false
        history = "30d"
        check_sent = "5m"
        limit_upload = "2MiB"
        limit_download = "10MB"
        recipient_compression = { "c@x" = "zstd" }
        recipient_delivery = { "c@x" = "sync" }
        "#,
    )
    .unwrap();

    let expected = Settings {
        me: vec!["a@x".parse().unwrap(), "b@x".parse().unwrap()],
        registry: "docker://registry.example.org/mail".to_owned(),
        insecure: true,
        loopback_tls: true,
        ca_file: Some("/ca.pem".into()),
        auth_realms: vec!["auth.example.org".to_owned()],
        deadline: Duration::from_secs(90),
        compression: Compression::Gzip,
        recipient_compression: [("c@x".parse().unwrap(), Compression::Zstd)].into(),
        chunk_bytes: 1 << 20,
        ttl_secs: 3600,
        delivery: Delivery::Queued,
        recipient_delivery: [("c@x".parse().unwrap(), Delivery::Sync)].into(),
        poll: Duration::from_secs(2),
        settle: Duration::ZERO,
        queue_pause: Duration::from_millis(20),
        cache_memory: 1024,
        cache_disk: 1 << 30,
        temporary_names: vec!["*.bak".to_owned()],
        outbox_new: vec!["ci-*".to_owned(), "team-a".to_owned()],
        automatic_receipts: false,
        history: Duration::from_hours(30 * 24),
        check_sent: Duration::from_mins(5),
        limit_upload: 2 << 20,
        limit_download: 10_000_000,
    };
    assert_eq!(settings, expected);
}

#[test]
fn flags_win_over_the_file() {
    let overrides = Overrides {
        me: Some("flag@x".to_owned()),
        any_name: false,
        registry: Some("oci:/flag".to_owned()),
        poll: Some(Span(Duration::from_secs(9))),
        compression: Some(Compression::Gzip),
        chunk_bytes: Some(ByteSize(1 << 20)),
        ttl: Some(Span(Duration::ZERO)),
        limit_upload: Some(ByteSize(1 << 20)),
        limit_download: Some(ByteSize(0)),
        delivery: Some("queued".to_owned()),
    };
    let file = profile(
        "me = \"file@x\"\nregistry = \"oci:/file\"\npoll = \"1s\"\nttl = \"1d\"\n\
         limit_upload = \"9MiB\"\nlimit_download = \"9MiB\"\n\
         delivery = \"sync\"\nrecipient_compression = { \"c@x\" = \"zstd\" }\n\
         recipient_delivery = { \"c@x\" = \"sync\" }",
    );

    let settings = Settings::resolve(&overrides, &file, &places(), None).unwrap();

    assert_eq!(settings.me, vec!["flag@x".parse().unwrap()]);
    assert_eq!(settings.registry, "oci:/flag");
    assert_eq!(settings.poll, Duration::from_secs(9));
    assert_eq!(settings.compression, Compression::Gzip);
    assert!(settings.recipient_compression.is_empty());
    assert_eq!(settings.delivery, Delivery::Queued);
    assert!(settings.recipient_delivery.is_empty());
    assert_eq!(settings.chunk_bytes, 1 << 20);
    assert_eq!(settings.ttl_secs, 0);
    assert_eq!((settings.limit_upload, settings.limit_download), (1 << 20, 0));
}

/// What was configured earlier, or by hand, goes on; a flag or a variable is checked.
#[test]
fn my_name_is_an_address_unless_it_was_wanted_otherwise() {
    let with = |me: &str, any_name, file: &str| {
        let overrides = Overrides { me: Some(me.to_owned()), any_name, ..Overrides::default() };
        Settings::resolve(&overrides, &profile(file), &places(), None)
    };
    let no_address =
        ["ci", "Otto <otto@x.org>", " otto@x.org", "a@x,b@y", "mailto:otto@x.org", "*", "../x", ""];

    for me in no_address {
        let refused = with(me, false, "").unwrap_err();
        assert!(matches!(refused, ConfigError::NotAnAddress { .. }), "{me:?}: {refused}");
        assert_eq!(refused.class(), crate::protocol::ErrorClass::Configuration);
        assert!(refused.hint().is_some());
        let other = with(me, false, "me = \"file@x\"");
        assert!(matches!(other, Err(ConfigError::NotAnAddress { .. })), "{me:?}");
    }
    for me in no_address.into_iter().filter(|me| !me.is_empty()) {
        assert_eq!(with(me, true, "").unwrap().me[0].as_str(), me);
        let configured = format!("me = [\"file@x\", \"{me}\"]");
        assert_eq!(with(me, false, &configured).unwrap().me[0].as_str(), me);
        assert_eq!(resolve(&configured).unwrap().me[1].as_str(), me);
    }
    // P1 has the last word.
    for me in ["", "a\nb"] {
        assert!(with(me, true, "").is_err(), "{me:?}");
    }
    let hint = with("Otto <otto@x.org>", false, "").unwrap_err().hint();
    assert_eq!(hint.as_deref(), Some("did you mean `otto@x.org`?"));
    assert_eq!(with("otto@x.org", false, "").unwrap().me[0].as_str(), "otto@x.org");
}

#[test]
fn an_unknown_setting_is_refused_with_its_line() {
    let error = ConfigFile::parse("[profile.default]\n\nregistri = \"x\"\n", Path::new("c.toml"))
        .unwrap_err();

    assert!(matches!(error, ConfigError::Syntax { line: 3, .. }), "{error}");
    assert!(error.to_string().contains("registri"), "{error}");
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let cases = [
        ("chunk_bytes = 1", "chunk_bytes"),
        ("limit_upload = 1000", "limit_upload"),
        ("limit_download = \"63KiB\"", "limit_download"),
        ("chunk_bytes = \"1GiB\"", "chunk_bytes"),
        ("ttl = \"11years\"", "ttl"),
        ("poll = \"1ms\"", "poll"),
        ("deadline = \"0\"", "deadline"),
        ("queue_pause = \"0\"", "queue_pause"),
        ("compression = \"lzma\"", "compression"),
        ("recipient_compression = { \"a@x\" = \"none\" }", "recipient_compression"),
        ("me = []", "me"),
        ("me = \"a\\nb\"", "me"),
        ("delivery = \"eventually\"", "delivery"),
        ("recipient_delivery = { \"a@x\" = \"never\" }", "recipient_delivery"),
    ];

    for (text, name) in cases {
        let error = resolve(text).unwrap_err();
        assert!(
            matches!(error, ConfigError::BadSetting { setting, .. } if setting == name),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_missing_file_is_no_error_and_a_huge_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.toml");
    std::fs::File::create(&huge).unwrap().set_len(CONFIG_LEN_MAX + 1).unwrap();

    assert!(ConfigFile::load(&dir.path().join("absent.toml")).unwrap().is_none());
    assert!(matches!(ConfigFile::load(&huge), Err(ConfigError::Read { .. })));
}

#[test]
fn a_relative_layout_directory_is_made_absolute_in_a_flag_and_refused_in_the_file() {
    let here = std::env::current_dir().unwrap();
    let flag = Overrides { registry: Some("oci:mail".to_owned()), ..Overrides::default() };

    let by_flag = Settings::resolve(&flag, &ProfileFile::default(), &places(), Some(me())).unwrap();
    let by_file = resolve("registry = \"oci:mail\"").unwrap_err();

    assert_eq!(by_flag.registry, format!("oci:{}", here.join("mail").display()));
    assert!(matches!(by_file, ConfigError::BadSetting { setting: "registry", .. }), "{by_file}");
    assert_eq!(absolute_reference("docker://h/mail").unwrap(), "docker://h/mail");
}

#[test]
fn a_reference_that_is_none_is_refused_before_anybody_keeps_it() {
    for reference in ["/srv/mail", "https://r/x", "r/x:latest", "docker://me:secret@r/x", ""] {
        let flag = Overrides { registry: Some(reference.to_owned()), ..Overrides::default() };

        let by_flag = Settings::resolve(&flag, &ProfileFile::default(), &places(), Some(me()));
        let by_file = resolve(&format!("registry = \"{reference}\""));

        for result in [by_flag, by_file] {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with("registry is not valid") && !error.contains("secret"));
        }
    }
}

#[test]
fn a_value_that_is_not_understood_is_named_with_its_line() {
    let parse = |line: &str| {
        let text = format!("[profile.default]\n{line}\n");
        ConfigFile::parse(&text, Path::new("config.toml")).unwrap_err().to_string()
    };

    for line in ["poll = \"soon\"", "  cache_disk = \"much\"", "insecure = 1"] {
        let error = parse(line);

        let name = line.split('=').next().unwrap().trim();
        assert!(error.contains("line 2") && error.contains(name), "{error}");
    }
}
