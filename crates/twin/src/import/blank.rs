//! What looks like a credential, and text without it.
//!
//! Two rules. By name: whatever a name calls a password, a token and so on ([`NAMES`]). By shape: what is
//! written as credentials are, wherever it stands ([`is_credential`]). Either takes too much rather than too
//! little: a twin needs no value it blanks.

use super::clean::BLANKED;

/// Parts of a name, letters and digits alone and in lower case, that call what it names a credential.
const NAMES: [&str; 22] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "secretkey",
    "signingkey",
    "encryptionkey",
    "auth",
    "bearer",
    "cookie",
    "dsn",
    "connectionstring",
    "databaseurl",
    "saslconfig",
    "pincode",
    "certificate",
];
/// How tokens of well-known issuers begin: AWS, GitHub, GitLab, Slack, Stripe and OpenAI, Google, npm, Vault,
/// DigitalOcean, SendGrid, Hugging Face.
const PREFIXES: [&str; 21] = [
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "sk-",
    "sk_live_",
    "rk_live_",
    "AIza",
    "npm_",
    "hvs.",
    "dop_v1_",
    "SG.",
    "hf_",
];
/// Fewest characters after such a beginning.
const AFTER_PREFIX_MIN: usize = 12;
/// From how many characters on a word that mixes capitals, small letters and digits is taken for a token:
/// names made by people are shorter or do not mix all three.
const MIXED_MIN: usize = 24;
/// From how many hexadecimal digits on a word is taken for a key: 128 bits.
const HEX_MIN: usize = 32;

/// Whether a name calls what it names a credential.
pub(super) fn names_credential(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    NAMES.iter().any(|part| plain.contains(part)) || plain == "key" || plain == "pass" || plain == "pat"
}

/// Whether a word is written as credentials are.
pub(super) fn is_credential(word: &str) -> bool {
    word.contains("-----BEGIN")
        || has_user_and_password(word)
        || is_json_web_token(word)
        || has_known_prefix(word)
        || parts(word).any(is_random)
}

/// `scheme://user:password@host`.
fn has_user_and_password(word: &str) -> bool {
    word.match_indices("://").any(|(at, _)| {
        let authority = word[at + 3..].split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') && !user.ends_with(':'))
    })
}

/// Three parts of base64, the first of which is an object in JSON.
fn is_json_web_token(word: &str) -> bool {
    word.match_indices("eyJ").any(|(at, _)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let token = word[at..].split(|c| !plain(c)).next().unwrap_or_default();
        token.split('.').filter(|part| part.len() >= 8).count() >= 2
    })
}

fn has_known_prefix(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        word.match_indices(prefix).any(|(at, _)| {
            let starts = word[..at].chars().next_back().is_none_or(|c| !c.is_ascii_alphanumeric());
            let rest = word[at + prefix.len()..].chars();
            starts
                && rest.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).count()
                    >= AFTER_PREFIX_MIN
        })
    })
}

/// The parts of a word between the characters that neither base64 nor hexadecimal digits have.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '_')))
}

/// Whether a word looks drawn at random.
fn is_random(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let lower = part.bytes().filter(u8::is_ascii_lowercase).count();
    let upper = part.bytes().filter(u8::is_ascii_uppercase).count();
    let hex = part.len() >= HEX_MIN && digits > 0 && part.bytes().all(|b| b.is_ascii_hexdigit());
    hex || (part.len() >= MIXED_MIN && digits > 1 && lower > 1 && upper > 1)
}

/// Text without the words that look like credentials, and how many there were; `None`: there is none.
///
/// Words end at white space, quotes and the shell's separators. After a word that names a credential (`--password`,
/// `token:`, `Bearer`) the next one is one; in `NAME=VALUE` and `NAME:VALUE` the value is.
pub(super) fn text(text: &str) -> Option<(String, u64)> {
    let ends = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ';' | ',' | '|' | '(' | ')' | '{' | '}')
    };
    if text.contains("-----BEGIN") {
        return Some((BLANKED.to_owned(), 1));
    }
    let (mut out, mut blanked) = (String::with_capacity(text.len()), 0);
    // Whether the word before names a credential, and whether this one is it.
    let (mut name, mut named) = (false, false);
    for piece in text.split_inclusive(ends) {
        let end = piece.chars().next_back().filter(|c| ends(*c));
        let word = &piece[..piece.len() - end.map_or(0, char::len_utf8)];
        let clean = clean_word(word, named);
        if !word.is_empty() {
            named = clean.is_none() && (announces(word) || (name && matches!(word, "=" | ":" | "=>")));
            name = names_credential(word);
        }
        // Between a name and its value there may be quotes and spaces, but no end of a command.
        named &= end != Some(';');
        blanked += u64::from(clean.is_some());
        out.push_str(clean.as_deref().unwrap_or(word));
        out.extend(end);
    }
    (blanked > 0).then_some((out, blanked))
}

/// Whether the word after this one is a credential.
fn announces(word: &str) -> bool {
    let bare = word.trim_end_matches([':', '=']);
    let flag = word.starts_with('-') || bare.len() < word.len();
    (flag && names_credential(bare)) || matches!(word, "Bearer" | "Basic" | "Token" | "bearer" | "basic")
}

/// A word without its credential; `None`: it has none.
fn clean_word(word: &str, named: bool) -> Option<String> {
    if word.is_empty() || word == BLANKED {
        return None;
    }
    // A flag that follows a flag is no value.
    if named && !word.starts_with('-') && !matches!(word, "Bearer" | "Basic" | "Token" | "=" | ":" | "=>") {
        return Some(BLANKED.to_owned());
    }
    for separator in ['=', ':'] {
        if let Some((name, value)) = word.split_once(separator)
            && names_credential(name)
            && !value.is_empty()
            && !value.starts_with("//")
        {
            if value == BLANKED {
                return None;
            }
            return Some(format!("{name}{separator}{BLANKED}"));
        }
    }
    is_credential(word).then(|| BLANKED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_call_something_a_credential() {
        for name in [
            "DB_PASSWORD",
            "apiKey",
            "AWS_SECRET_ACCESS_KEY",
            "X-Auth-Token",
            "DATABASE_URL",
            "--token",
            "PWD",
        ] {
            assert!(names_credential(name), "{name}");
        }
        for name in ["LOG_LEVEL", "KEYBOARD", "REPLICAS", "PATH", "--port", "MONKEY"] {
            assert!(!names_credential(name), "{name}");
        }
    }

    #[test]
    fn shapes_of_credentials() {
        for word in [
            "postgres://app:hunter2@db:5432/app",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijk",
            "wJalrXUtnFEMI7K7MDENGbPxRfiCYEXAMPLEKEY01",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ] {
            assert!(is_credential(word), "{word}");
        }
        for word in [
            "https://example.com/path@2x",
            "registry.example.com/team/app:v1.2.3",
            "http://db:5432",
            "sk-",
            "--max-old-space-size=4096",
            "com.example.application.MainClass",
            "my-deployment-7d4b9c6f5d-x2x4z",
        ] {
            assert!(!is_credential(word), "{word}");
        }
    }

    #[test]
    fn words_of_commands() {
        let check = |from: &str, to: &str| {
            assert_eq!(text(from).map_or(from.to_owned(), |(out, _)| out), to, "{from}");
        };
        check("serve --port 8080 --verbose", "serve --port 8080 --verbose");
        check("sleep 5; exit 3", "sleep 5; exit 3");
        check("--password=hunter2", &format!("--password={BLANKED}"));
        check("psql --password hunter2 -h db", &format!("psql --password {BLANKED} -h db"));
        check(
            "curl -H 'Authorization: Bearer abc' http://x",
            &format!("curl -H 'Authorization: Bearer {BLANKED}' http://x"),
        );
        check("export PGPASSWORD=hunter2; psql", &format!("export PGPASSWORD={BLANKED}; psql"));
        check("password: \"hunter2\"\nlevel: info", &format!("password: \"{BLANKED}\"\nlevel: info"));
        check("go --token --dry-run", "go --token --dry-run");
    }

    #[test]
    fn blanking_again_changes_nothing() {
        let once = text("a --token x b=postgres://u:p@h c").unwrap().0;
        assert_eq!(text(&once), None, "{once}");
    }
}
