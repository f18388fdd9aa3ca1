//! `WWW-Authenticate`: what a registry requires.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// Longest challenge that is parsed, in bytes.
const CHALLENGE_LEN_MAX: usize = 8 << 10;

/// The parameters of a bearer challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) realm: String,
    pub(super) service: Option<String>,
    pub(super) scope: String,
}

/// One supported way to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Bearer(Bearer),
    Basic,
}

/// Returns the challenge to answer: a bearer token if one is offered, otherwise a password.
pub(super) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter();
    let mut all: Vec<Challenge> = texts
        .filter_map(|value| value.to_str().ok())
        .filter(|text| text.len() <= CHALLENGE_LEN_MAX)
        .flat_map(parse)
        .collect();
    let bearer = all.iter().position(|challenge| matches!(challenge, Challenge::Bearer(_)));
    let best = bearer.or(if all.is_empty() { None } else { Some(0) })?;
    Some(all.swap_remove(best))
}

/// Parses the challenges of one header line; anything not understood is skipped.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges = Vec::new();
    let mut scheme = String::new();
    let mut parameters: Vec<(String, String)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            if rest.is_empty() {
                break;
            }
            // A stray `=`: this line follows no grammar.
            return challenges;
        }
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, tail) = take_value(value.trim_start());
            parameters.push((word.to_ascii_lowercase(), value));
            rest = tail;
        } else {
            challenges.extend(build(&scheme, &mut parameters));
            scheme = word.to_ascii_lowercase();
            rest = after;
        }
    }
    challenges.extend(build(&scheme, &mut parameters));
    challenges
}

fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, tail) = text.split_at(end);
        return (value.to_owned(), tail);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, quoted.split_at(at + 1).1),
            '\\' => value.extend(chars.next().map(|(_at, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn build(scheme: &str, parameters: &mut Vec<(String, String)>) -> Option<Challenge> {
    let mut parameters = std::mem::take(parameters);
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(key, _value)| key == name)?;
        Some(parameters.swap_remove(at).1)
    };
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer(Bearer {
            realm: take("realm")?,
            service: take("service"),
            scope: take("scope").unwrap_or_default(),
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choose_from(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        choose(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: &str) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.into(),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;

        assert_eq!(
            choose_from(&[hub]),
            Some(bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                "repository:a/b:pull,push"
            ))
        );
        assert_eq!(choose_from(&["Basic realm=\"Registry\""]), Some(Challenge::Basic));
        assert_eq!(
            choose_from(&["Basic realm=x, bearer Realm = \"https://t/\\\"q\""]),
            Some(bearer("https://t/\"q", None, ""))
        );
        assert_eq!(choose_from(&["Basic", "Bearer realm=r"]), Some(bearer("r", None, "")));
    }

    #[test]
    fn unknown_and_broken_challenges_are_none() {
        let long = format!("Basic {}", "x".repeat(CHALLENGE_LEN_MAX));
        for line in ["", "Negotiate abc", "Bearer", "Bearer service=\"x\"", "= = =", ",,,", &long] {
            assert_eq!(choose_from(&[line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_loops(text in "[ -~]{0,200}") {
            parse(&text);
        }
    }
}
