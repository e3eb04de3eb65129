//! An expression's text as tokens.
//!
//! What is no token is told as cel-go's lexer tells it and left out.

use super::ast::{Literal, Mistake};

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    Literal(Literal),
    /// A number that fits no type.
    BadNumber(&'static str),
    Op(&'static str),
    In,
    End,
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Lexeme {
    pub token: Token,
    pub at: usize,
    pub text: String,
}

const OPERATORS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}", "=",
];

struct Lexer<'a> {
    chars: &'a [char],
    at: usize,
    found: Vec<Lexeme>,
    mistakes: Vec<Mistake>,
}

/// The tokens of a text, ended by [`Token::End`].
pub(super) fn lex(chars: &[char]) -> (Vec<Lexeme>, Vec<Mistake>) {
    let mut lexer = Lexer { chars, at: 0, found: Vec::new(), mistakes: Vec::new() };
    while lexer.at < chars.len() {
        lexer.next();
    }
    lexer.found.push(Lexeme { token: Token::End, at: chars.len(), text: "<EOF>".to_owned() });
    (lexer.found, lexer.mistakes)
}

fn starts_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn goes_on_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn push(&mut self, token: Token, start: usize) {
        let text = self.chars[start..self.at].iter().collect();
        self.found.push(Lexeme { token, at: start, text });
    }

    fn unknown(&mut self, start: usize, end: usize) {
        let text: String = self.chars[start..end.min(self.chars.len())].iter().collect();
        let message = format!("Syntax error: token recognition error at: '{text}'");
        self.mistakes.push(Mistake { at: start, message });
        self.at = end.min(self.chars.len()).max(start + 1);
    }

    fn next(&mut self) {
        let (start, c) = (self.at, self.peek(0));
        if c.is_ascii_whitespace() || c == '\u{c}' {
            self.at += 1;
        } else if c == '/' && self.peek(1) == '/' {
            while self.at < self.chars.len() && self.peek(0) != '\n' {
                self.at += 1;
            }
        } else if let Some((quote, raw, bytes)) = self.opens_string() {
            self.string(start, quote, raw, bytes);
        } else if starts_name(c) {
            while goes_on_name(self.peek(0)) {
                self.at += 1;
            }
            let name: String = self.chars[start..self.at].iter().collect();
            let token = match name.as_str() {
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                "in" => Token::In,
                _ => Token::Ident(name),
            };
            self.push(token, start);
        } else if c.is_ascii_digit() || (c == '.' && self.peek(1).is_ascii_digit()) {
            self.number(start);
        } else {
            self.operator(start);
        }
    }

    fn operator(&mut self, start: usize) {
        let is = |op: &&str| op.chars().enumerate().all(|(i, c)| self.peek(i) == c);
        match OPERATORS.into_iter().find(is) {
            // A single `=`, `&` or `|` is read on to the next character before it is no token.
            Some("=") | None if matches!(self.peek(0), '=' | '&' | '|') => self.unknown(start, start + 2),
            Some(op) => {
                self.at += op.len();
                self.push(Token::Op(op), start);
            }
            None => self.unknown(start, start + 1),
        }
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    fn number(&mut self, start: usize) {
        if self.peek(0) == '0' && matches!(self.peek(1), 'x' | 'X') && self.peek(2).is_ascii_hexdigit() {
            self.at += 2;
            while self.peek(0).is_ascii_hexdigit() {
                self.at += 1;
            }
            let text: String = self.chars[start + 2..self.at].iter().collect();
            return self.whole(start, &text, 16);
        }
        self.digits();
        let mut real = false;
        if self.peek(0) == '.' && self.peek(1).is_ascii_digit() {
            real = true;
            self.at += 1;
            self.digits();
        }
        let signed = usize::from(matches!(self.peek(1), '+' | '-'));
        if matches!(self.peek(0), 'e' | 'E') && self.peek(1 + signed).is_ascii_digit() {
            real = true;
            self.at += 1 + signed;
            self.digits();
        }
        let text: String = self.chars[start..self.at].iter().collect();
        if real {
            let token = match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Token::Literal(Literal::Double(value)),
                _ => Token::BadNumber("invalid double literal"),
            };
            return self.push(token, start);
        }
        self.whole(start, &text, 10);
    }

    fn whole(&mut self, start: usize, digits: &str, radix: u32) {
        let value = u64::from_str_radix(digits, radix);
        if matches!(self.peek(0), 'u' | 'U') {
            self.at += 1;
            let token =
                value.map_or(Token::BadNumber("invalid uint literal"), |n| Token::Literal(Literal::Uint(n)));
            return self.push(token, start);
        }
        // The least integer is written with the sign before it, so that one more is let through here.
        let token = match value {
            Ok(n) if n <= i64::MAX as u64 => Token::Literal(Literal::Int(n.cast_signed())),
            Ok(n) if n == 1 << 63 => Token::BadNumber("least"),
            _ => Token::BadNumber("invalid int literal"),
        };
        self.push(token, start);
    }

    /// Whether a string begins here: its quote, and whether it is raw and bytes.
    fn opens_string(&self) -> Option<(char, bool, bool)> {
        let (mut raw, mut bytes, mut ahead) = (false, false, 0);
        loop {
            match self.peek(ahead) {
                'r' | 'R' if !raw => raw = true,
                'b' | 'B' if !bytes => bytes = true,
                quote @ ('"' | '\'') => return Some((quote, raw, bytes)),
                _ => return None,
            }
            ahead += 1;
        }
    }

    fn string(&mut self, start: usize, quote: char, raw: bool, bytes: bool) {
        self.at += usize::from(raw) + usize::from(bytes);
        let triple = self.peek(1) == quote && self.peek(2) == quote;
        let width = if triple { 3 } else { 1 };
        self.at += width;
        let inside = self.at;
        loop {
            let c = self.peek(0);
            let ends = (0..width).all(|i| self.peek(i) == quote);
            if self.at >= self.chars.len() || (!triple && matches!(c, '\n' | '\r')) {
                let end = self.at;
                return self.unknown(start, end);
            }
            if ends {
                break;
            }
            self.at += if c == '\\' && !raw { 2 } else { 1 };
        }
        let inner = &self.chars[inside..self.at.min(self.chars.len())];
        let value =
            if raw { Some(inner.iter().collect::<String>().into_bytes()) } else { unescape(inner, bytes) };
        self.at += width;
        let end = self.at;
        let literal = value.and_then(|value| match bytes {
            true => Some(Literal::Bytes(value)),
            false => String::from_utf8(value).ok().map(Literal::String),
        });
        match literal {
            Some(literal) => self.push(Token::Literal(literal), start),
            None => self.unknown(start, end),
        }
    }
}

/// What a string without its quotes stands for; `None` when an escape is none.
fn unescape(inner: &[char], bytes: bool) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut at = 0;
    let put = |out: &mut Vec<u8>, c: char| out.extend(c.encode_utf8(&mut [0; 4]).bytes());
    while at < inner.len() {
        if inner[at] != '\\' {
            put(&mut out, inner[at]);
            at += 1;
            continue;
        }
        let kind = *inner.get(at + 1)?;
        let (digits, radix, skip) = match kind {
            'x' | 'X' => (2, 16, 2),
            'u' => (4, 16, 2),
            'U' => (8, 16, 2),
            '0'..='3' => (3, 8, 1),
            _ => (0, 0, 2),
        };
        if digits == 0 {
            put(
                &mut out,
                match kind {
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    '\\' | '\'' | '"' | '`' | '?' => kind,
                    _ => return None,
                },
            );
        } else {
            let text: String = inner.get(at + skip..at + skip + digits)?.iter().collect();
            let code = u32::from_str_radix(&text, radix).ok()?;
            if bytes && matches!(kind, 'x' | 'X' | '0'..='3') {
                out.push(u8::try_from(code).ok()?);
            } else {
                put(&mut out, char::from_u32(code)?);
            }
        }
        at += skip + digits;
    }
    Some(out)
}
