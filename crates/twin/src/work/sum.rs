//! `$((…))`: whole numbers with `+ - * / %`, comparisons and parentheses.

/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// The value of an expression; what cannot be read counts as 0.
pub(super) fn value(text: &str, variable: &mut dyn FnMut(&str) -> String) -> i64 {
    let mut reader = Reader { text: text.as_bytes(), at: 0, variable };
    reader.binary(0, 0).unwrap_or(0)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    variable: &'a mut dyn FnMut(&str) -> String,
}

/// Operators by how strongly they bind.
const OPERATORS: [(&str, u8); 11] = [
    ("==", 1),
    ("!=", 1),
    ("<=", 2),
    (">=", 2),
    ("=", 1),
    ("<", 2),
    (">", 2),
    ("+", 3),
    ("-", 3),
    ("*", 4),
    ("/", 4),
];

fn apply(a: i64, operator: &str, b: i64) -> Option<i64> {
    Some(match operator {
        "==" | "=" => i64::from(a == b),
        "!=" => i64::from(a != b),
        "<=" => i64::from(a <= b),
        ">=" => i64::from(a >= b),
        "<" => i64::from(a < b),
        ">" => i64::from(a > b),
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" => a.checked_div(b)?,
        _ => a.checked_rem(b)?,
    })
}

impl Reader<'_> {
    fn skip(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
    fn operator(&mut self) -> Option<(&'static str, u8)> {
        self.skip();
        let rest = &self.text[self.at..];
        let all = OPERATORS.iter().chain(&[("%", 4)]);
        all.into_iter().find(|(sign, _)| rest.starts_with(sign.as_bytes())).copied()
    }
    fn binary(&mut self, weakest: u8, depth: usize) -> Option<i64> {
        let mut left = self.single(depth)?;
        while let Some((sign, strength)) = self.operator().filter(|(_, strength)| *strength > weakest) {
            self.at += sign.len();
            let right = self.binary(strength, depth + 1)?;
            left = apply(left, sign, right)?;
        }
        Some(left)
    }
    fn single(&mut self, depth: usize) -> Option<i64> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.skip();
        match self.text.get(self.at)? {
            b'(' => {
                self.at += 1;
                let inner = self.binary(0, depth + 1)?;
                self.skip();
                (self.text.get(self.at) == Some(&b')')).then(|| self.at += 1)?;
                Some(inner)
            }
            b'-' => {
                self.at += 1;
                self.single(depth + 1).map(i64::wrapping_neg)
            }
            _ => {
                let starts = self.at;
                let part = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'{' | b'}');
                while self.text.get(self.at).is_some_and(part) {
                    self.at += 1;
                }
                let word = std::str::from_utf8(&self.text[starts..self.at]).ok()?;
                if let Ok(number) = word.parse() {
                    return Some(number);
                }
                let name = word.trim_matches(['$', '{', '}']);
                (!name.is_empty()).then(|| (self.variable)(name).trim().parse().unwrap_or(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_bind_as_in_c() {
        let of =
            |text: &str| value(text, &mut |name| if name == "n" { "7".to_owned() } else { String::new() });
        assert_eq!(of("1 + 2*3 - 4"), 3);
        assert_eq!(of("(1+2)*3 % 5"), 4);
        assert_eq!(of("n / 2 + $n + ${n}"), 17);
        assert_eq!(of("n >= 7"), 1);
        assert_eq!(of("-n + m"), -7);
        assert_eq!(of("1 / 0"), 0);
        assert_eq!(of("10 - 3 - 2"), 5);
        assert_eq!(of(&"(".repeat(1000)), 0);
    }
}
