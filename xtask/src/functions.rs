//! No function grows past [`LINES_MAX`] lines.
//!
//! A function's length is the number of lines from the one with `fn` to the one with its closing
//! brace, blank lines and comments included, functions inside it too. A flat `match` table is
//! excepted: a line that is a whole arm (`pattern => value,`, directly in a `match`) is a row, and a
//! function is a table when the lines that are not rows number at most [`TABLE_REST_MAX`].

use crate::Finding;
use crate::lexer::is_word;

/// Longest function, in lines.
pub const LINES_MAX: usize = 70;
/// Most lines beside the rows of a table; half of [`LINES_MAX`], so that no long function hides
/// behind a handful of arms.
pub const TABLE_REST_MAX: usize = 35;

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both included.
    pub lines: usize,
    /// Of these, whole `match` arms.
    pub rows: usize,
}

/// Checks every function of a blanked source (see [`crate::lexer::blank`]).
pub fn check(file: &str, blanked: &str) -> Vec<Finding> {
    let too_long = |f: &Function| f.lines > LINES_MAX && f.lines - f.rows > TABLE_REST_MAX;
    functions(blanked)
        .into_iter()
        .filter(too_long)
        .map(|f| {
            Finding::new(
                file,
                f.line,
                format!("fn {} has {} lines", f.name, f.lines),
                format!("at most {LINES_MAX}, or a flat match table"),
            )
        })
        .collect()
}

/// What a pair of braces belongs to.
enum Block {
    /// A function's body: index into the functions found.
    Function(usize),
    Match,
    Other,
}

/// What is known while walking through a file.
#[derive(Default)]
struct Walk {
    found: Vec<Function>,
    blocks: Vec<Block>,
    /// Depth of parentheses and brackets.
    inside: usize,
    /// A function whose body has not begun: index, and the depth of parentheses it stands at.
    signature: Option<(usize, usize)>,
    /// `match` seen at this depth of parentheses; its block has not begun.
    matching: Option<usize>,
}

/// All functions with a body, in the order of their beginning.
pub fn functions(blanked: &str) -> Vec<Function> {
    let mut walk = Walk::default();
    for (i, line) in blanked.lines().enumerate() {
        let (blocks, inside) = (walk.blocks.len(), walk.inside);
        let in_match = matches!(walk.blocks.last(), Some(Block::Match));
        walk.take_line(line, i + 1);
        let whole = walk.blocks.len() == blocks && walk.inside == inside;
        let text = line.trim();
        let arm = (text.contains("=>") && text.ends_with([',', '}']))
            || text.starts_with('|')
            || text.ends_with('|');
        if in_match && whole && arm {
            for block in &walk.blocks {
                if let Block::Function(index) = block {
                    walk.found[*index].rows += 1;
                }
            }
        }
    }
    // A body that never closed has no length; the compiler will say so.
    walk.found.retain(|f| f.lines > 0);
    walk.found
}

impl Walk {
    fn take_line(&mut self, line: &str, number: usize) {
        let text: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < text.len() {
            if is_word(text[at]) {
                let end = text[at..].iter().position(|c| !is_word(*c)).map_or(text.len(), |n| at + n);
                let raw = at >= 2 && text[at - 1] == '#' && text[at - 2] == 'r';
                let word: String = text[at..end].iter().collect();
                if !raw {
                    self.take_word(&word, &text[end..], number);
                }
                at = end;
            } else {
                self.take_mark(text[at], number);
                at += 1;
            }
        }
    }

    fn take_word(&mut self, word: &str, rest: &[char], number: usize) {
        match word {
            // `fn(u32)` is a type: no name follows.
            "fn" => {
                let name: String = rest
                    .iter()
                    .skip_while(|c| **c == ' ')
                    .take_while(|c| is_word(**c) || **c == '$')
                    .collect();
                if !name.is_empty() {
                    self.signature = Some((self.found.len(), self.inside));
                    self.found.push(Function { name, line: number, lines: 0, rows: 0 });
                }
            }
            "match" => self.matching = Some(self.inside),
            _ => {}
        }
    }

    fn take_mark(&mut self, mark: char, number: usize) {
        match mark {
            '(' | '[' => self.inside += 1,
            ')' | ']' => self.inside = self.inside.saturating_sub(1),
            // A signature without a body: a trait's method, an extern function.
            ';' if self.signature.is_some_and(|(_, depth)| depth == self.inside) => self.signature = None,
            '{' => {
                let block =
                    if let Some((index, _)) = self.signature.take_if(|(_, depth)| *depth == self.inside) {
                        Block::Function(index)
                    } else if self.matching.take_if(|depth| *depth == self.inside).is_some() {
                        Block::Match
                    } else {
                        Block::Other
                    };
                self.blocks.push(block);
            }
            '}' => {
                if let Some(Block::Function(index)) = self.blocks.pop() {
                    let function = &mut self.found[index];
                    function.lines = number + 1 - function.line;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lexer::blank;

    fn long(name: &str, line: &str, count: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", format!("{line}\n").repeat(count))
    }

    #[test]
    fn length_is_counted_from_fn_to_its_brace() {
        let just = long("just", "    a();", LINES_MAX - 2);
        let over = long("over", "    a();", LINES_MAX - 1);
        let findings = check("x.rs", &blank(&format!("{just}{over}")));
        let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["x.rs:71: fn over has 71 lines: expected at most 70, or a flat match table"]);
    }

    #[test]
    fn braces_in_strings_and_comments_do_not_end_a_function() {
        let over = long("over", "    a(\"}\", '}'); // }", LINES_MAX);
        assert_eq!(functions(&blank(&over))[0].lines, LINES_MAX + 2);
    }

    #[test]
    fn types_and_bodiless_signatures_are_not_functions() {
        let text = "trait T { fn a(x: [u8; 4]); fn b(&self) -> fn(u8) -> u8 { f } }\n\
                    macro_rules! m { () => { fn $name() {\n} } }\n";
        let names: Vec<(String, usize)> =
            functions(&blank(text)).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(names, [("b".to_owned(), 1), ("$name".to_owned(), 2)]);
    }

    #[test]
    fn a_flat_table_may_be_long_and_a_long_function_with_a_match_may_not() {
        let rows = "        1 => \"a\",\n".repeat(100);
        let table = format!("fn table(x: u8) -> &'static str {{\n    match x {{\n{rows}    }}\n}}\n");
        assert!(check("x.rs", &blank(&table)).is_empty());

        let calls = "    a();\n".repeat(40);
        let both = format!("fn both(x: u8) {{\n{calls}    match x {{\n{rows}    }}\n}}\n");
        assert_eq!(check("x.rs", &blank(&both)).len(), 1);

        let blocks = "        1 => {\n            a();\n        }\n".repeat(30);
        let deep = format!("fn deep(x: u8) {{\n    match x {{\n{blocks}    }}\n}}\n");
        assert_eq!(check("x.rs", &blank(&deep)).len(), 1);
    }
}
