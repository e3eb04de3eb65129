//! Rust source with everything that is not code blanked out.
//!
//! Comments, strings of every kind and character literals become spaces; line breaks stay, so line
//! numbers and columns hold. What is left can be searched for words and braces without being fooled.
//! Left out: doc comments are comments; macros' tokens are code.

/// Blanks comments and literals. Works on unfinished source too: an open literal ends with the text.
pub fn blank(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let end = match text[at] {
            '/' if text.get(at + 1) == Some(&'/') => line_end(&text, at),
            '/' if text.get(at + 1) == Some(&'*') => block_comment_end(&text, at),
            '"' => string_end(&text, at + 1),
            '\'' => char_end(&text, at).unwrap_or(at),
            'r' => raw_string_end(&text, at).unwrap_or(at),
            _ => at,
        };
        if end == at {
            out.push(text[at]);
            at += 1;
        } else {
            out.extend(text[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out.into_iter().collect()
}

/// Whether a character can be part of a word.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_end(text: &[char], at: usize) -> usize {
    text[at..].iter().position(|c| *c == '\n').map_or(text.len(), |n| at + n)
}

/// Block comments nest.
fn block_comment_end(text: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of a string whose opening quote is just before `at`.
fn string_end(text: &[char], mut at: usize) -> usize {
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of a character literal, or `None` when the quote begins a lifetime or label.
fn char_end(text: &[char], at: usize) -> Option<usize> {
    if text.get(at + 1) == Some(&'\\') {
        // The escaped character may itself be a quote.
        let close = text.get(at + 3..)?.iter().position(|c| *c == '\'')?;
        return Some(at + 3 + close + 1);
    }
    (text.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

/// The end of a raw string whose `r` is at `at`, or `None` when that is not one.
fn raw_string_end(text: &[char], at: usize) -> Option<usize> {
    let before = |n: usize| at.checked_sub(n).map(|i| text[i]);
    let prefixed = matches!(before(1), Some('b' | 'c')) && !before(2).is_some_and(is_word);
    if before(1).is_some_and(is_word) && !prefixed {
        return None;
    }
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if text.get(open) != Some(&'"') {
        return None;
    }
    let mut close = open + 1;
    while close < text.len() {
        let rest = &text[close + 1..];
        if text[close] == '"' && rest.len() >= hashes && rest[..hashes].iter().all(|c| *c == '#') {
            return Some(close + 1 + hashes);
        }
        close += 1;
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_vanish_and_code_stays() {
        let cases = [
            ("a /* { /* } */ */ b", "ab"),
            ("x // {\ny", "x\ny"),
            (r#"f("{ \" }", '{')"#, "f(,)"),
            (r##"f(r#"{ " }"#)"##, "f()"),
            (r#"f(br"\", 'a', '\'', b'}')"#, "f(b,,,b)"),
            ("fn f<'a>(x: &'a str) {}", "fnf<'a>(x:&'astr){}"),
            ("'outer: loop { break 'outer }", "'outer:loop{break'outer}"),
            ("'\\u{7b}' r#fn", "r#fn"),
            ("for_r\"x\"", "for_r"),
            ("\"open {", ""),
        ];
        for (source, expected) in cases {
            let blanked = blank(source);
            let left: String = blanked.chars().filter(|c| *c != ' ').collect();
            assert_eq!(left, expected, "{source}");
            assert_eq!(blanked.chars().count(), source.chars().count(), "{source}");
        }
    }

    #[test]
    fn line_numbers_hold() {
        let source = "a\n\"b\nc\"\n/* d\n*/ e";
        assert_eq!(blank(source).lines().count(), source.lines().count());
        assert!(blank(source).lines().nth(4).unwrap().ends_with('e'));
    }
}
