//! A program as it runs in virtual time: from one wait to the next.
//!
//! Invariants: nothing is executed; between two waits a bounded number of instructions is read. A loop that has come back
//! to the same state is said to idle, with its period, so that waiting for what never comes costs nothing. Times are
//! those of `sleep`; everything else takes none. Assumptions: commands that only arrange things (`chmod`, `sync`…)
//! succeed.

use super::files::View;
use super::script::{Command, Op, Piece, Program, Word};
use super::sum;
use crate::random::Stream;
use fleet::{Instant, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most instructions between two waits; a loop without one takes [`BUSY`] for as many.
const BURST_OPS_MAX: usize = 20_000;
const BUSY: Span = Span::from_seconds(1);
/// Most waits followed of one process; one that has not come to anything by then is taken never to.
const PAUSES_MAX: u32 = 10_000;
/// Deepest calls of functions.
const CALLS_MAX: usize = 32;
/// Most words a command or a loop expands to.
const WORDS_MAX: usize = 1000;
/// Longest value of a variable, and longest line printed, in bytes.
const VALUE_LENGTH_MAX: usize = 4096;
/// Most of what a container printed that is kept, in bytes: the newest.
const LOG_LENGTH_MAX: usize = 4096;

/// Commands whose effect is modelled.
const KNOWN: [&str; 40] = [
    ":", "[", "[[", "basename", "cat", "cd", "chmod", "chown", "cp", "date", "dirname", "echo", "env",
    "exec", "exit", "export", "expr", "false", "hostname", "id", "local", "ls", "mkdir", "mv", "pause",
    "printenv", "printf", "pwd", "return", "rm", "seq", "set", "sleep", "sync", "tail", "test", "touch",
    "trap", "true", "wait",
];

/// Whether a command's effect is modelled.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name.rsplit('/').next().unwrap_or_default()) || KNOWN.contains(&name)
}

/// Why a process stops for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It goes on after this long; at once when it is sent a signal it handles, if `wakes`.
    Sleep { span: Span, wakes: bool },
    /// It does the same over and over, once in this time, until a file changes.
    Idle { period: Span },
    /// It stays.
    Forever,
    /// It has ended.
    End(i32),
}

/// What becomes of a process that is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    Dies,
    Ignores,
    /// It does something first.
    Handles,
}

/// What a process can see and change.
pub(crate) struct Surroundings<'a> {
    pub(crate) view: View<'a>,
    pub(crate) environment: &'a BTreeMap<String, String>,
    pub(crate) now: Instant,
    /// Seed and key of what it draws.
    pub(crate) chance: (u64, &'a str),
    pub(crate) log: &'a mut String,
}

/// Where a process is. Two that are equal do the same from here on, while files stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Core {
    at: usize,
    status: i32,
    variables: BTreeMap<String, String>,
    /// Words of loops, and how many are done.
    loops: BTreeMap<usize, (Vec<String>, usize)>,
    calls: Vec<usize>,
    strict: bool,
    /// Handler of the signal to end: an address, or `None` when the signal is ignored.
    trap: Option<Option<usize>>,
    /// The signal came and its handler has not begun.
    signalled: bool,
    /// It ends as soon as it goes on.
    leaves: bool,
    /// When what it started aside is done.
    aside: Option<Instant>,
    drawn: u32,
}

/// A state a loop may come back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    core: Core,
    at: Instant,
    changes: u64,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    core: Core,
    pauses: u32,
    anchor: Option<Box<Anchor>>,
}

enum Next {
    Go,
    Wait(Pause),
}

impl Process {
    /// Goes on until it waits or ends.
    pub(crate) fn resume(&mut self, program: &Program, around: &mut Surroundings<'_>) -> Pause {
        if self.core.leaves {
            return Pause::End(self.core.status);
        }
        let pause = self.burst(program, around);
        let Pause::Sleep { .. } = pause else { return pause };
        self.pauses += 1;
        if self.pauses > PAUSES_MAX {
            return Pause::Forever;
        }
        self.repeats(around).map_or(pause, |period| Pause::Idle { period })
    }
    /// The period in which it has come back to where it was; remembers ever later states, as Brent's method does.
    fn repeats(&mut self, around: &Surroundings<'_>) -> Option<Span> {
        let changes = *around.view.changes;
        if let Some(anchor) = &self.anchor
            && anchor.changes == changes
            && anchor.core == self.core
            && around.now > anchor.at
        {
            return Some(around.now - anchor.at);
        }
        if self.pauses.is_power_of_two() || self.anchor.as_ref().is_some_and(|a| a.changes != changes) {
            self.anchor = Some(Box::new(Anchor { core: self.core.clone(), at: around.now, changes }));
        }
        None
    }
    /// It is told to end.
    pub(crate) fn terminate(&mut self) -> Reaction {
        match self.core.trap {
            None => Reaction::Dies,
            Some(None) => Reaction::Ignores,
            Some(Some(_)) => {
                self.core.signalled = true;
                Reaction::Handles
            }
        }
    }
    fn burst(&mut self, program: &Program, around: &mut Surroundings<'_>) -> Pause {
        for _ in 0..BURST_OPS_MAX {
            if self.core.signalled {
                self.core.signalled = false;
                if let Some(Some(handler)) = self.core.trap.take() {
                    self.core.calls.push(self.core.at);
                    self.core.at = handler;
                }
            }
            let Some(op) = program.ops.get(self.core.at) else { return Pause::End(self.core.status) };
            self.core.at += 1;
            match op {
                Op::Run(command) => match self.run(command, program, around) {
                    Next::Go => {}
                    Next::Wait(pause) => return pause,
                },
                Op::Jump(to) => self.core.at = *to,
                Op::IfFailed(to) if self.core.status != 0 => self.core.at = *to,
                Op::IfOk(to) if self.core.status == 0 => self.core.at = *to,
                Op::IfFailed(_) | Op::IfOk(_) => {}
                Op::Clear => self.core.status = 0,
                Op::Not => self.core.status = i32::from(self.core.status == 0),
                Op::Check if self.core.strict && self.core.status != 0 => {
                    return Pause::End(self.core.status);
                }
                Op::Check => {}
                Op::Each(slot, words) => {
                    let words = self.expand(words, around);
                    self.core.loops.insert(*slot, (words, 0));
                }
                Op::Next { slot, name, end } => {
                    let next = self.core.loops.get_mut(slot).and_then(|(words, done)| {
                        *done += 1;
                        words.get(*done - 1).cloned()
                    });
                    match next {
                        Some(word) => self.set(name, word),
                        None => {
                            self.core.loops.remove(slot);
                            self.core.at = *end;
                        }
                    }
                }
                Op::Return => match self.core.calls.pop() {
                    Some(back) => self.core.at = back,
                    None => return Pause::End(self.core.status),
                },
            }
        }
        Pause::Sleep { span: BUSY, wakes: true }
    }
    fn set(&mut self, name: &str, mut value: String) {
        if value.len() > VALUE_LENGTH_MAX {
            value.clear();
        }
        if self.core.variables.len() < WORDS_MAX || self.core.variables.contains_key(name) {
            self.core.variables.insert(name.to_owned(), value);
        }
    }
    fn value(&mut self, name: &str, around: &Surroundings<'_>) -> String {
        match name {
            "?" => self.core.status.to_string(),
            "$" => "1".to_owned(),
            "RANDOM" => {
                self.core.drawn += 1;
                let key = format!("{}/{}", around.chance.1, self.core.drawn);
                Stream::new(around.chance.0, &key).below(32_768).to_string()
            }
            _ => {
                let own = self.core.variables.get(name).or_else(|| around.environment.get(name));
                own.cloned().unwrap_or_default()
            }
        }
    }
    /// Words as the command gets them.
    fn expand(&mut self, words: &[Word], around: &Surroundings<'_>) -> Vec<String> {
        let mut all = Vec::new();
        for word in words {
            let mut last = String::new();
            let mut there = word.0.is_empty();
            for piece in &word.0 {
                let (text, whole) = self.piece(piece, around);
                if whole {
                    last.push_str(&text);
                    there = true;
                    continue;
                }
                let mut parts = text.split_whitespace();
                if let Some(first) = parts.next() {
                    last.push_str(first);
                    there = true;
                }
                for part in parts {
                    all.push(std::mem::replace(&mut last, part.to_owned()));
                }
            }
            if there {
                all.push(last);
            }
            all.truncate(WORDS_MAX);
        }
        all
    }
    /// A piece's text, and whether it is one word whatever is in it.
    fn piece(&mut self, piece: &Piece, around: &Surroundings<'_>) -> (String, bool) {
        match piece {
            Piece::Text(text) => (text.clone(), true),
            Piece::Variable { name, otherwise, quoted } => {
                let value = self.value(name, around);
                let empty = value.is_empty();
                (otherwise.clone().filter(|_| empty).unwrap_or(value), *quoted)
            }
            Piece::Sum(text) => {
                let mut of = |name: &str| self.value(name, around);
                (sum::value(text, &mut of).to_string(), true)
            }
            Piece::Output { command, quoted } => {
                let words = self.expand(command, around);
                (printed(&words, around), *quoted)
            }
        }
    }
    fn run(&mut self, command: &Command, program: &Program, around: &mut Surroundings<'_>) -> Next {
        for (name, value) in &command.sets {
            let value = self.expand(std::slice::from_ref(value), around).join(" ");
            self.set(name, value);
        }
        let words = self.expand(&command.words, around);
        let files = command
            .writes
            .iter()
            .map(|(file, append)| (self.expand(std::slice::from_ref(file), around).join(" "), *append));
        let files: Vec<(String, bool)> = files.collect();
        if command.words.is_empty() || words.is_empty() {
            self.core.status = 0;
            for (file, append) in &files {
                around.view.write(file, "", *append);
            }
            return Next::Go;
        }
        if let Some(function) = program.functions.get(&words[0]) {
            if self.core.calls.len() >= CALLS_MAX {
                return Next::Wait(Pause::End(2));
            }
            self.core.calls.push(self.core.at);
            self.core.at = *function;
            return Next::Go;
        }
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if words[0] == "exec" {
            words.remove(0);
            self.core.leaves = !words.is_empty();
        }
        let next = match words.as_slice() {
            [] => Next::Go,
            [name, arguments @ ..] => {
                let name = name.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(name);
                self.builtin(name, arguments, program, around).unwrap_or_else(|| {
                    let (status, text) = effect(name, arguments, around);
                    self.core.status = status;
                    self.print(&text, &files, around);
                    Next::Go
                })
            }
        };
        match next {
            Next::Go if self.core.leaves => Next::Wait(Pause::End(self.core.status)),
            Next::Wait(Pause::Sleep { span, .. }) if command.background => {
                self.core.aside = Some(around.now.saturating_add(span));
                Next::Go
            }
            Next::Wait(Pause::Forever) if command.background => {
                self.core.aside = Some(Instant::FAR_FUTURE);
                Next::Go
            }
            next => next,
        }
    }
    fn print(&self, text: &str, files: &[(String, bool)], around: &mut Surroundings<'_>) {
        for (file, append) in files {
            around.view.write(file, text, *append);
        }
        if files.is_empty() {
            around.log.push_str(text);
            let over = around.log.len().saturating_sub(LOG_LENGTH_MAX);
            let cut = (over..around.log.len()).find(|at| around.log.is_char_boundary(*at)).unwrap_or(0);
            around.log.drain(..cut);
        }
    }
    /// Sleeps for these times together.
    fn rest(&mut self, times: &[&str]) -> Next {
        let spans: Option<Vec<Option<Span>>> = times.iter().map(|text| sleep(text)).collect();
        let Some(spans) = spans else {
            self.core.status = 1;
            return Next::Go;
        };
        let Some(spans) = spans.into_iter().collect::<Option<Vec<Span>>>() else {
            return Next::Wait(Pause::Forever);
        };
        let all = spans.into_iter().fold(Instant::EPOCH, Instant::saturating_add);
        let span = all - Instant::EPOCH;
        if span.is_zero() { Next::Go } else { Next::Wait(Pause::Sleep { span, wakes: false }) }
    }
    /// What a shell does itself, and what takes time.
    fn builtin(
        &mut self,
        name: &str,
        arguments: &[&str],
        program: &Program,
        around: &Surroundings<'_>,
    ) -> Option<Next> {
        let status = std::mem::take(&mut self.core.status);
        match (name, arguments) {
            ("exit", []) => return Some(Next::Wait(Pause::End(status))),
            ("exit", [code, ..]) => {
                let code = code.parse::<i64>().map_or(2, |code| code.rem_euclid(256) as i32);
                return Some(Next::Wait(Pause::End(code)));
            }
            ("return", arguments) => {
                self.core.status = arguments.first().and_then(|code| code.parse().ok()).unwrap_or(status);
                match self.core.calls.pop() {
                    Some(back) => self.core.at = back,
                    None => return Some(Next::Wait(Pause::End(self.core.status))),
                }
            }
            ("sleep", [_, ..]) => return Some(self.rest(arguments)),
            ("pause", _) => return Some(Next::Wait(Pause::Forever)),
            ("tail", arguments) if arguments.iter().any(|word| matches!(*word, "-f" | "-F")) => {
                return Some(Next::Wait(Pause::Forever));
            }
            ("wait", _) => match self.core.aside.take() {
                Some(Instant::FAR_FUTURE) => {
                    // Only a signal ends this wait.
                    self.core.aside = Some(Instant::FAR_FUTURE);
                    return Some(Next::Wait(Pause::Sleep { span: Span::DAY.scaled(36_500, 1), wakes: true }));
                }
                Some(until) if until > around.now => {
                    return Some(Next::Wait(Pause::Sleep { span: until - around.now, wakes: true }));
                }
                _ => {}
            },
            ("set", flags) => {
                let with = |sign: char| flags.iter().any(|f| f.starts_with(sign) && f.contains('e'));
                self.core.strict = (self.core.strict || with('-')) && !with('+');
            }
            ("export" | "local", pairs) => {
                for (name, value) in pairs.iter().filter_map(|pair| pair.split_once('=')) {
                    self.set(name, value.to_owned());
                }
            }
            ("trap", [handler, signals @ ..]) => {
                let ends = |signal: &&str| matches!(*signal, "TERM" | "SIGTERM" | "15");
                if signals.iter().any(ends) {
                    self.core.trap = match *handler {
                        "-" => None,
                        "" => Some(None),
                        text => program.handlers.get(text).map(|at| Some(*at)),
                    };
                }
            }
            _ => {
                self.core.status = status;
                return None;
            }
        }
        Some(Next::Go)
    }
}

/// Status and output of a command that takes no time.
fn effect(name: &str, arguments: &[&str], around: &mut Surroundings<'_>) -> (i32, String) {
    let plain = || arguments.iter().filter(|word| !word.starts_with('-'));
    match name {
        "false" => (1, String::new()),
        "test" => (i32::from(!holds(arguments, around)), String::new()),
        "[" | "[[" => {
            let inner = &arguments[..arguments.len().saturating_sub(1)];
            (i32::from(!holds(inner, around)), String::new())
        }
        "touch" => {
            plain().for_each(|path| around.view.write(path, "", true));
            (0, String::new())
        }
        "mkdir" => {
            plain().for_each(|path| around.view.make_directory(path));
            (0, String::new())
        }
        "rm" => {
            let forced = arguments.iter().any(|word| word.starts_with('-') && word.contains('f'));
            let missing = plain().filter(|path| !around.view.remove(path)).count();
            (i32::from(missing > 0 && !forced), String::new())
        }
        "cat" | "tail" => {
            let all: Option<Vec<String>> = plain().map(|path| around.view.read(path)).collect();
            all.map_or((1, String::new()), |all| (0, all.concat()))
        }
        "ls" => (i32::from(!plain().all(|path| around.view.exists(path))), String::new()),
        "cd" => (i32::from(!plain().all(|path| around.view.is_directory(path))), String::new()),
        "cp" | "mv" => {
            let paths: Vec<&&str> = plain().collect();
            let [from, to] = paths.as_slice() else { return (1, String::new()) };
            let Some(text) = around.view.read(from) else { return (1, String::new()) };
            let file = from.rsplit('/').next().unwrap_or_default();
            let to = if around.view.is_directory(to) { format!("{to}/{file}") } else { (**to).to_owned() };
            around.view.write(&to, &text, false);
            if name == "mv" {
                around.view.remove(from);
            }
            (0, String::new())
        }
        "env" => {
            let lines = around.environment.iter().map(|(name, value)| format!("{name}={value}\n"));
            (0, lines.collect())
        }
        "printenv" => {
            let values = arguments.iter().map(|name| around.environment.get(*name));
            let values: Option<Vec<&String>> = values.collect();
            values.map_or((1, String::new()), |all| (0, all.iter().map(|v| format!("{v}\n")).collect()))
        }
        "expr" => {
            let text = printed(
                &[&["expr"], arguments].concat().iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(),
                around,
            );
            (i32::from(matches!(text.as_str(), "" | "0")), text + "\n")
        }
        "echo" | "printf" | "hostname" | "date" | "pwd" | "seq" | "basename" | "dirname" => {
            let words: Vec<String> =
                std::iter::once(&name).chain(arguments).map(|w| (*w).to_owned()).collect();
            let newline = if name == "printf" || arguments.first() == Some(&"-n") { "" } else { "\n" };
            (0, printed(&words, around) + newline)
        }
        _ => (0, String::new()),
    }
}

/// What a command prints, without the newline at its end.
fn printed(words: &[String], around: &Surroundings<'_>) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["echo", rest @ ..] => {
            let flags = rest.iter().take_while(|word| matches!(**word, "-n" | "-e" | "-ne")).count();
            rest[flags..].join(" ")
        }
        ["printf", form, rest @ ..] => {
            let mut rest = rest.iter();
            let mut parts = form.split("%s");
            let mut text = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                text.push_str(rest.next().unwrap_or(&""));
                text.push_str(part);
            }
            text.replace("\\n", "\n")
        }
        ["cat", paths @ ..] => {
            let all: String = paths.iter().filter_map(|path| around.view.read(path)).collect();
            all.trim_end().to_owned()
        }
        ["expr", a, op, b] => sum::value(&format!("({a}) {op} ({b})"), &mut |_| String::new()).to_string(),
        ["hostname", ..] => around.environment.get("HOSTNAME").cloned().unwrap_or_default(),
        ["date", "+%s"] => around.now.as_unix_seconds().to_string(),
        ["date", ..] => around.now.to_rfc3339_seconds(),
        ["pwd", ..] => "/".to_owned(),
        ["basename", path, ..] => {
            path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
        }
        ["dirname", path, ..] => path.rsplit_once('/').map_or(".", |(head, _)| head).to_owned(),
        ["seq", numbers @ ..] => {
            let all: Option<Vec<i64>> = numbers.iter().map(|n| n.parse().ok()).collect();
            let (from, step, to) = match all.as_deref() {
                Some([to]) => (1, 1, *to),
                Some([from, to]) => (*from, 1, *to),
                Some([from, step, to]) if *step > 0 => (*from, *step, *to),
                _ => return String::new(),
            };
            let count = WORDS_MAX as i64;
            let numbers =
                (0..count).map(|n| from.saturating_add(n.saturating_mul(step))).take_while(|n| *n <= to);
            numbers.map(|n| n.to_string()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Whether a condition of `test` holds; one that cannot be read does not.
fn holds(words: &[&str], around: &Surroundings<'_>) -> bool {
    let number = |text: &str| text.trim().parse::<i64>();
    match words {
        ["!", rest @ ..] => !holds(rest, around),
        ["-z", text] => text.is_empty(),
        ["-n", text] => !text.is_empty(),
        ["-f", path] => around.view.exists(path) && !around.view.is_directory(path),
        ["-d", path] => around.view.is_directory(path),
        ["-e" | "-r" | "-w" | "-x" | "-a", path] => around.view.exists(path),
        ["-s", path] => {
            around.view.is_directory(path) || around.view.read(path).is_some_and(|text| !text.is_empty())
        }
        [text] => !text.is_empty(),
        [a, "=" | "==", b] => a == b,
        [a, "!=", b] => a != b,
        [a, op, b] => match (number(a), *op, number(b)) {
            (Ok(a), "-eq", Ok(b)) => a == b,
            (Ok(a), "-ne", Ok(b)) => a != b,
            (Ok(a), "-lt", Ok(b)) => a < b,
            (Ok(a), "-le", Ok(b)) => a <= b,
            (Ok(a), "-gt", Ok(b)) => a > b,
            (Ok(a), "-ge", Ok(b)) => a >= b,
            _ => false,
        },
        _ => false,
    }
}

/// `5`, `0.5`, `2m`, `infinity` (an inner `None`) as sleep(1) reads them; `None`: not a time.
fn sleep(text: &str) -> Option<Option<Span>> {
    if matches!(text, "infinity" | "inf") {
        return Some(None);
    }
    let (number, seconds) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        b'd' => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    if !number.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let nanos = crate::apiserver::quantity::Quantity::parse(number).ok()?.nanos();
    if nanos < 0 {
        return None;
    }
    let limit = i128::from(Span::DAY.as_nanos()) * 36_500;
    Some(Some(Span::from_nanos(nanos.saturating_mul(seconds).min(limit) as i64)))
}

/// What a program comes to when it is alone: how long it lasts, and its exit code. `None`: it stays, or is not over within
/// [`ALONE_PAUSES_MAX`] waits.
fn lasts(program: &Program) -> Option<(Span, i32)> {
    let (mut own, mut pod, mut cluster, mut changes) = Default::default();
    let (mut process, mut log, mut now) = (Process::default(), String::new(), Instant::EPOCH);
    for _ in 0..ALONE_PAUSES_MAX {
        let view =
            View { own: &mut own, pod: &mut pod, cluster: &mut cluster, mounts: &[], changes: &mut changes };
        let environment = &BTreeMap::new();
        let mut around = Surroundings { view, environment, now, chance: (0, ""), log: &mut log };
        match process.resume(program, &mut around) {
            Pause::Sleep { span, .. } => now = now.saturating_add(span),
            Pause::End(code) => return Some((now - Instant::EPOCH, code)),
            Pause::Idle { .. } | Pause::Forever => return None,
        }
    }
    None
}

/// Waits followed to know how long a program lasts by itself.
const ALONE_PAUSES_MAX: usize = 1000;

/// How long a program lasts by itself.
pub(super) fn duration(program: &Program) -> Option<Span> {
    lasts(program).map(|(span, _)| span)
}

/// The exit code of a program by itself.
pub(super) fn exit_code(program: &Program) -> Option<i32> {
    lasts(program).map(|(_, code)| code)
}
