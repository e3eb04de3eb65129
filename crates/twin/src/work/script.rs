//! Shell text read into a program of flat instructions, as far as it is plain.
//!
//! Read are: simple commands the twin knows (see [`super::process`]), `;`, newlines, `&&`, `||`, `!`, `if`, `while`,
//! `until`, `for … in`, `{ … }`, functions, variables, `$(…)` of what prints, `$((…))`, redirections into files, and
//! `… &` of a single command that `wait` waits for. Everything else (pipes, subshells, `case`, here-documents, programs
//! nothing is known of) makes the whole text unreadable: a guess at half a script would be worse than none.
//! Invariants: nothing is ever executed; text, depth and length of a program are bounded.

use super::process::is_known;
use std::collections::BTreeMap;

/// Longest text read, in bytes: what fits into a container's arguments in practice.
const TEXT_LENGTH_MAX: usize = 32_768;
/// Most instructions of a program.
const OPS_MAX: usize = 4000;
/// Deepest nesting of compound commands and substitutions.
const DEPTH_MAX: usize = 32;

/// Part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it stands.
    Text(String),
    /// A variable, with what stands for one that is empty. `quoted`: its value is one word.
    Variable { name: String, otherwise: Option<String>, quoted: bool },
    /// What a command prints.
    Output { command: Vec<Word>, quoted: bool },
    /// `$((…))`.
    Sum(String),
}

/// A word before expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) Vec<Piece>);

impl Word {
    /// Its text if nothing has to be expanded.
    pub(super) fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// A simple command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) sets: Vec<(String, Word)>,
    pub(super) words: Vec<Word>,
    /// Files its output goes to, and whether it is added to what is there.
    pub(super) writes: Vec<(Word, bool)>,
    /// Started, not waited for.
    pub(super) background: bool,
}

/// One instruction. Addresses are indexes into the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Run(Command),
    Jump(usize),
    IfFailed(usize),
    IfOk(usize),
    /// The status turned round.
    Not,
    /// The status of a compound command that did nothing.
    Clear,
    /// Ends a script under `set -e` whose last command failed.
    Check,
    /// Begins to go through words.
    Each(usize, Vec<Word>),
    /// Sets a variable to the next word, or jumps where there is none.
    Next {
        slot: usize,
        name: String,
        end: usize,
    },
    Return,
}

/// A program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    pub(super) ops: Vec<Op>,
    pub(super) functions: BTreeMap<String, usize>,
    /// Handlers of signals, by their text.
    pub(super) handlers: BTreeMap<String, usize>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A word; whether it could be a keyword (nothing of it is quoted).
    Word(Word, bool),
    /// `;`, `&&`, `||`, `&`, newline (as `;`), `(`, `)`.
    Sign(&'static str),
    /// Into a file, adding to it or not; of the standard output or not.
    Write { append: bool, output: bool },
    /// From a file.
    Read,
}

impl Program {
    /// Reads a script; `None`: it says something the twin cannot read.
    pub(crate) fn of_script(text: &str) -> Option<Program> {
        let mut program = Program::default();
        let mut handlers = Vec::new();
        program.add(text, &mut handlers)?;
        // Handlers stand behind the end of the script; those of handlers are not read.
        let end = program.ops.len();
        program.ops.push(Op::Return);
        for text in handlers {
            let at = program.ops.len();
            let mut none = Vec::new();
            if program.functions.contains_key(text.trim()) {
                let call = Command { words: vec![plain(text.trim())], ..Command::default() };
                program.ops.push(Op::Run(call));
            } else {
                program.add(&text, &mut none)?;
            }
            program.ops.push(Op::Return);
            program.handlers.insert(text, at);
        }
        let known = |op: &Op| match op {
            Op::Run(command) => command.words.first().is_none_or(|first| {
                let last = command.words.last().and_then(Word::literal);
                let closed = |open, close| first.literal() != Some(open) || last == Some(close);
                let named = |name| program.functions.contains_key(name) || is_known(name);
                first.literal().is_some_and(named) && closed("[", "]") && closed("[[", "]]")
            }),
            _ => true,
        };
        (end < OPS_MAX && program.ops.iter().all(known)).then_some(program)
    }
    /// Reads a command given as words, as containers and probes have it: nothing in it is expanded.
    pub(crate) fn of_words(words: &[String]) -> Option<Program> {
        let first = words.first()?;
        let program = first.rsplit('/').next()?;
        if matches!(program, "sh" | "bash" | "ash" | "dash") {
            let flags = words[1..].iter().take_while(|word| word.starts_with('-')).count();
            let script = words.get(1 + flags)?;
            let named = words[1..=flags].last().is_some_and(|flag| flag.ends_with('c'));
            let strict = words[1..=flags].iter().any(|flag| !flag.starts_with("--") && flag.contains('e'));
            let strict = if strict { "set -e\n" } else { "" };
            return if named { Program::of_script(&format!("{strict}{script}")) } else { None };
        }
        if !is_known(program) {
            return None;
        }
        let words = std::iter::once(plain(program)).chain(words[1..].iter().map(|word| plain(word)));
        let command = Command { words: words.collect(), ..Command::default() };
        Some(Program { ops: vec![Op::Run(command), Op::Return], ..Program::default() })
    }
    fn add(&mut self, text: &str, handlers: &mut Vec<String>) -> Option<()> {
        if text.len() > TEXT_LENGTH_MAX {
            return None;
        }
        let tokens = Lexer { rest: text.chars().collect(), at: 0, depth: 0 }.tokens()?;
        let mut parser =
            Parser { tokens, at: 0, program: self, handlers, depth: 0, conditions: 0, loops: Vec::new() };
        parser.list(&[])?;
        (parser.at == parser.tokens.len()).then_some(())
    }
}

fn plain(text: &str) -> Word {
    Word(if text.is_empty() { Vec::new() } else { vec![Piece::Text(text.to_owned())] })
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }
    fn eat(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
        if found {
            self.at += text.chars().count();
        }
        found
    }
    fn tokens(mut self) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        while let Some(c) = self.peek(0) {
            if self.eat("\\\n") || (c != '\n' && c.is_whitespace() && self.eat(&c.to_string())) {
                continue;
            }
            if c == '#' {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
                continue;
            }
            tokens.push(self.token(c)?);
        }
        Some(tokens)
    }
    fn token(&mut self, c: char) -> Option<Token> {
        const SIGNS: [(&str, &str); 7] =
            [("&&", "&&"), ("||", "||"), ("&", "&"), (";", ";"), ("\n", ";"), ("(", "("), (")", ")")];
        for (text, output) in [("2>&1", true), (">&2", true), ("1>&2", true)] {
            if self.eat(text) {
                // Nothing of where output goes between streams is kept; an empty word is taken out again.
                return Some(Token::Write { append: output, output: false });
            }
        }
        for (text, append, output) in [
            ("&>", false, true),
            ("2>>", true, false),
            ("2>", false, false),
            (">>", true, true),
            (">", false, true),
        ] {
            if self.eat(text) {
                return Some(Token::Write { append: append && output, output });
            }
        }
        if c == '<' {
            self.at += 1;
            return (self.peek(0) != Some('<') && self.peek(0) != Some('(')).then_some(Token::Read);
        }
        if c == '|' && self.peek(1) != Some('|') {
            return None;
        }
        if let Some((_, sign)) = SIGNS.iter().find(|(text, _)| self.eat(text)) {
            // `;;` belongs to `case`.
            return (!(*sign == ";" && c == ';' && self.peek(0) == Some(';'))).then_some(Token::Sign(sign));
        }
        self.word()
    }
    fn word(&mut self) -> Option<Token> {
        let mut word = Word::default();
        let mut bare = true;
        while let Some(c) = self.peek(0) {
            match c {
                '\'' => {
                    bare = false;
                    self.at += 1;
                    let end = self.rest[self.at..].iter().position(|c| *c == '\'')?;
                    let text: String = self.rest[self.at..self.at + end].iter().collect();
                    self.at += end + 1;
                    push(&mut word, &text);
                }
                '"' => {
                    bare = false;
                    self.at += 1;
                    self.quoted(&mut word)?;
                }
                '\\' => {
                    bare = false;
                    self.at += 1;
                    let next = self.peek(0)?;
                    self.at += 1;
                    if next != '\n' {
                        push(&mut word, &next.to_string());
                    }
                }
                '$' | '`' => {
                    bare = false;
                    self.dollar(&mut word, false)?;
                }
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | '(' | ')' | '<' | '>' => break,
                c => {
                    self.at += 1;
                    push(&mut word, &c.to_string());
                }
            }
        }
        Some(Token::Word(word, bare))
    }
    /// Up to the closing quotation mark.
    fn quoted(&mut self, word: &mut Word) -> Option<()> {
        loop {
            match self.peek(0)? {
                '"' => {
                    self.at += 1;
                    return Some(());
                }
                '\\' if self.peek(1).is_some_and(|c| "\"\\$`\n".contains(c)) => {
                    let next = self.peek(1)?;
                    self.at += 2;
                    if next != '\n' {
                        push(word, &next.to_string());
                    }
                }
                '$' | '`' => self.dollar(word, true)?,
                c => {
                    self.at += 1;
                    push(word, &c.to_string());
                }
            }
        }
    }
    /// What begins with `$` or a grave accent.
    fn dollar(&mut self, word: &mut Word, quoted: bool) -> Option<()> {
        if self.eat("`") {
            let end = self.rest[self.at..].iter().position(|c| *c == '`')?;
            return self.output(word, end, 1, quoted);
        }
        self.at += 1;
        if self.eat("((") {
            let text: String = self.rest[self.at..].iter().collect();
            let end = text.find("))")?;
            self.at += text[..end].chars().count() + 2;
            word.0.push(Piece::Sum(text[..end].to_owned()));
            return Some(());
        }
        if self.eat("(") {
            let end = self.closing()?;
            return self.output(word, end, 1, quoted);
        }
        let (name, otherwise) = if self.eat("{") {
            let text: String = self.rest[self.at..].iter().collect();
            let end = text.find('}')?;
            self.at += text[..end].chars().count() + 1;
            match text[..end].split_once(":-") {
                Some((name, otherwise)) => (name.to_owned(), Some(otherwise.to_owned())),
                None => (text[..end].to_owned(), None),
            }
        } else if self.peek(0).is_some_and(|c| "?!$#@*0123456789".contains(c)) {
            self.at += 1;
            (self.rest[self.at - 1].to_string(), None)
        } else {
            let is_part = |c: &&char| c.is_ascii_alphanumeric() || **c == '_';
            let name: String = self.rest[self.at..].iter().take_while(is_part).collect();
            self.at += name.len();
            if name.is_empty() {
                push(word, "$");
                return Some(());
            }
            (name, None)
        };
        let named = name.chars().all(|c| c.is_ascii_alphanumeric() || "_?!$#@*".contains(c));
        named.then(|| word.0.push(Piece::Variable { name, otherwise, quoted }))
    }
    /// How far away the parenthesis is that closes the one before.
    fn closing(&self) -> Option<usize> {
        let mut open = 1;
        self.rest[self.at..].iter().position(|c| {
            open += i32::from(*c == '(') - i32::from(*c == ')');
            open == 0
        })
    }
    /// A command whose output stands for it, `end` characters long.
    fn output(&mut self, word: &mut Word, end: usize, close: usize, quoted: bool) -> Option<()> {
        let rest = self.rest[self.at..self.at + end].to_vec();
        self.at += end + close;
        if self.depth >= DEPTH_MAX {
            return None;
        }
        let tokens = Lexer { rest, at: 0, depth: self.depth + 1 }.tokens()?;
        let words = tokens.into_iter().map(|t| if let Token::Word(word, _) = t { Some(word) } else { None });
        let command: Vec<Word> = words.collect::<Option<_>>()?;
        let prints =
            ["expr", "seq", "cat", "echo", "printf", "hostname", "date", "pwd", "basename", "dirname"];
        let known = command.first()?.literal().is_some_and(|name| prints.contains(&name));
        known.then(|| word.0.push(Piece::Output { command, quoted }))
    }
}

fn push(word: &mut Word, text: &str) {
    if let Some(Piece::Text(last)) = word.0.last_mut() {
        last.push_str(text);
    } else if !text.is_empty() {
        word.0.push(Piece::Text(text.to_owned()));
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    program: &'a mut Program,
    handlers: &'a mut Vec<String>,
    depth: usize,
    /// How many conditions what is read is part of.
    conditions: usize,
    /// Where the loops around begin anew, and the jumps out of them.
    loops: Vec<(usize, Vec<usize>)>,
}

impl Parser<'_> {
    fn keyword(&self) -> Option<&str> {
        match self.tokens.get(self.at)? {
            Token::Word(word, true) => word.literal(),
            _ => None,
        }
    }
    fn eat(&mut self, keyword: &str) -> Option<()> {
        (self.keyword() == Some(keyword)).then(|| self.at += 1)
    }
    fn eat_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }
    fn here(&self) -> usize {
        self.program.ops.len()
    }
    fn push(&mut self, op: Op) -> Option<usize> {
        self.program.ops.push(op);
        (self.here() <= OPS_MAX).then(|| self.here() - 1)
    }
    fn land(&mut self, at: usize) {
        let here = self.here();
        match &mut self.program.ops[at] {
            Op::Jump(to) | Op::IfFailed(to) | Op::IfOk(to) | Op::Next { end: to, .. } => *to = here,
            _ => {}
        }
    }
    /// Commands up to one of these keywords, or the end.
    fn list(&mut self, ends: &[&str]) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        loop {
            while self.eat_sign(";") {}
            if self.at == self.tokens.len() || self.keyword().is_some_and(|word| ends.contains(&word)) {
                self.depth -= 1;
                return Some(());
            }
            self.chain()?;
            if !self.eat_sign(";") && self.at < self.tokens.len() && self.keyword().is_none() {
                return None;
            }
        }
    }
    /// Commands joined by `&&` and `||`. Of these `set -e` heeds the last alone, and none of a condition.
    fn chain(&mut self) -> Option<()> {
        let mut heeded = self.negated()?;
        let mut skip = None;
        loop {
            let joined = if self.eat_sign("&&") {
                Some(Op::IfFailed(0))
            } else if self.eat_sign("||") {
                Some(Op::IfOk(0))
            } else {
                None
            };
            if joined.is_none() && heeded && self.conditions == 0 {
                self.push(Op::Check)?;
            }
            if let Some(skip) = skip {
                self.land(skip);
            }
            let Some(joined) = joined else { return Some(()) };
            while self.eat_sign(";") {}
            skip = Some(self.push(joined)?);
            heeded = self.negated()?;
        }
    }
    /// Commands up to a keyword whose status decides what follows.
    fn condition(&mut self, end: &str) -> Option<()> {
        self.conditions += 1;
        self.list(&[end])?;
        self.conditions -= 1;
        self.eat(end)
    }
    /// One command; whether `set -e` heeds it.
    fn negated(&mut self) -> Option<bool> {
        if self.eat("!").is_some() {
            self.command()?;
            self.push(Op::Not)?;
            return Some(false);
        }
        self.command()
    }
    fn command(&mut self) -> Option<bool> {
        match self.keyword() {
            Some("if") => self.branches().map(|()| false),
            Some("while") => self.repeated(false).map(|()| false),
            Some("until") => self.repeated(true).map(|()| false),
            Some("for") => self.each().map(|()| false),
            Some("{") => {
                self.eat("{")?;
                self.list(&["}"])?;
                self.eat("}").map(|()| false)
            }
            Some("case" | "function" | "select" | "time" | "then" | "do" | "done" | "fi" | "esac") => None,
            _ => self.simple(),
        }
    }
    fn branches(&mut self) -> Option<()> {
        self.eat("if")?;
        let mut ends = Vec::new();
        loop {
            self.condition("then")?;
            let skip = self.push(Op::IfFailed(0))?;
            self.list(&["elif", "else", "fi"])?;
            ends.push(self.push(Op::Jump(0))?);
            self.land(skip);
            if self.eat("elif").is_none() {
                break;
            }
        }
        if self.eat("else").is_some() {
            self.list(&["fi"])?;
        } else {
            self.push(Op::Clear)?;
        }
        self.eat("fi")?;
        for end in ends {
            self.land(end);
        }
        Some(())
    }
    fn repeated(&mut self, until: bool) -> Option<()> {
        self.at += 1;
        let begin = self.here();
        self.condition("do")?;
        let leave = self.push(if until { Op::IfOk(0) } else { Op::IfFailed(0) })?;
        self.body(begin)?;
        self.land(leave);
        self.push(Op::Clear)?;
        Some(())
    }
    /// What a loop does, up to its end.
    fn body(&mut self, begin: usize) -> Option<()> {
        self.loops.push((begin, Vec::new()));
        self.list(&["done"])?;
        self.eat("done")?;
        self.push(Op::Jump(begin))?;
        let (_, leaves) = self.loops.pop()?;
        for leave in leaves {
            self.land(leave);
        }
        Some(())
    }
    fn each(&mut self) -> Option<()> {
        self.eat("for")?;
        let name = self.keyword()?.to_owned();
        self.at += 1;
        while self.eat_sign(";") {}
        self.eat("in")?;
        let mut words = Vec::new();
        while let Some(Token::Word(word, _)) = self.tokens.get(self.at) {
            words.extend(braces(word.clone()));
            self.at += 1;
        }
        while self.eat_sign(";") {}
        self.eat("do")?;
        let slot = self.push(Op::Each(0, words))?;
        if let Op::Each(own, _) = &mut self.program.ops[slot] {
            *own = slot;
        }
        let next = self.push(Op::Next { slot, name, end: 0 })?;
        self.body(next)?;
        self.land(next);
        Some(())
    }
    fn simple(&mut self) -> Option<bool> {
        let mut command = Command::default();
        while let Some(token) = self.tokens.get(self.at).cloned() {
            match token {
                Token::Word(word, _) => {
                    self.at += 1;
                    match assignment(&word).filter(|_| command.words.is_empty()) {
                        Some(set) => command.sets.push(set),
                        None => command.words.push(word),
                    }
                }
                Token::Write { append, output } => {
                    self.at += 1;
                    // `2>&1` names no file.
                    if !append || output {
                        let Some(Token::Word(file, _)) = self.tokens.get(self.at).cloned() else {
                            return None;
                        };
                        self.at += 1;
                        if output {
                            command.writes.push((file, append));
                        }
                    }
                }
                Token::Read => {
                    self.at += 2;
                }
                Token::Sign("(") => return self.function(&command).map(|()| false),
                Token::Sign(")") => return None,
                Token::Sign("&") => {
                    self.at += 1;
                    command.background = true;
                    break;
                }
                Token::Sign(_) => break,
            }
        }
        if command.words.is_empty() && command.sets.is_empty() && command.writes.is_empty() {
            return None;
        }
        let only = if let [only] = command.words.as_slice() { only.literal() } else { None };
        if matches!(only, Some("break" | "continue")) {
            let begin = self.loops.last()?.0;
            let jump = self.push(Op::Jump(begin))?;
            if only == Some("break") {
                self.loops.last_mut()?.1.push(jump);
            }
            return Some(true);
        }
        if let [first, handler, ..] = command.words.as_slice()
            && first.literal() == Some("trap")
            && let Some(text) = handler.literal()
            && !matches!(text, "" | "-")
        {
            self.handlers.push(text.to_owned());
        }
        self.push(Op::Run(command))?;
        Some(true)
    }
    /// `name() { … }`, of which the name has been read.
    fn function(&mut self, command: &Command) -> Option<()> {
        let [name] = command.words.as_slice() else { return None };
        let name = name.literal()?.to_owned();
        if !self.eat_sign("(") || !self.eat_sign(")") {
            return None;
        }
        while self.eat_sign(";") {}
        let over = self.push(Op::Jump(0))?;
        self.program.functions.insert(name, self.program.ops.len());
        self.eat("{")?;
        self.list(&["}"])?;
        self.eat("}")?;
        self.push(Op::Return)?;
        self.land(over);
        Some(())
    }
}

/// `name=value`.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Piece::Text(text)) = word.0.first() else { return None };
    let (name, rest) = text.split_once('=')?;
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    let mut value = Word(word.0[1..].to_vec());
    if !rest.is_empty() {
        value.0.insert(0, Piece::Text(rest.to_owned()));
    }
    Some((name.to_owned(), value))
}

/// `{1..5}` as words.
fn braces(word: Word) -> Vec<Word> {
    let range = word.literal().and_then(|text| {
        let (from, to) = text.strip_prefix('{')?.strip_suffix('}')?.split_once("..")?;
        let (from, to): (i64, i64) = (from.parse().ok()?, to.parse().ok()?);
        (0..=1000).contains(&(to - from)).then(|| (from..=to).map(|n| plain(&n.to_string())).collect())
    });
    range.unwrap_or_else(|| vec![word])
}
