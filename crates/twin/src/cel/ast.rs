//! An expression as a tree, after macros are written out.
//!
//! Invariant: no tree is deeper than [`DEPTH_MAX`], so that walking one never runs out of stack. Positions are counted in
//! characters of the source.

/// Deepest tree. cel-go's parser stops at 250 levels of its grammar; nobody writes a hundred.
pub(super) const DEPTH_MAX: u16 = 120;

/// Name of what a macro gathers; no expression can name it.
pub(super) const GATHERED: &str = "@result";

/// A part of an expression.
#[derive(Clone, Debug)]
pub(super) struct Expr {
    /// Which part of its expression; types and costs are kept by it.
    pub id: usize,
    /// Where it stands, in characters from the start.
    pub at: usize,
    /// Levels in it.
    pub depth: u16,
    /// What it is.
    pub kind: Kind,
}

/// A value written out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// What a part of an expression is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Literal(Literal),
    Ident(String),
    /// `operand.field`, or (`test`) whether it is there.
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        name: String,
        args: Vec<Expr>,
    },
    /// Each with whether it is optional.
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    Struct {
        name: String,
        fields: Vec<(String, Expr, bool)>,
    },
    Fold(Box<Fold>),
}

/// A loop over a list or a map, as macros make it.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    pub range: Expr,
    pub var: String,
    /// The second variable, of macros that have one.
    pub var2: Option<String>,
    pub gathered: String,
    pub init: Expr,
    pub goes_on: Expr,
    pub step: Expr,
    pub result: Expr,
}

impl Fold {
    /// Whether it only gives a name to a value (`optMap`).
    pub fn binds(&self) -> bool {
        self.gathered != GATHERED
    }
}

impl Expr {
    /// The parts right below, in the order they are evaluated in.
    pub fn parts(&self) -> Vec<&Expr> {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => Vec::new(),
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call { target, args, .. } => target.iter().map(|t| &**t).chain(args).collect(),
            Kind::List(items) => items.iter().map(|(item, _)| item).collect(),
            Kind::Map(entries) => entries.iter().flat_map(|(key, value, _)| [key, value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|(_, value, _)| value).collect(),
            Kind::Fold(fold) => vec![&fold.range, &fold.init, &fold.goes_on, &fold.step, &fold.result],
        }
    }
}

/// A mistake in an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mistake {
    pub at: usize,
    pub message: String,
}

/// Whether a character takes two columns: those of East Asian scripts.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
}

/// Mistakes as cel-go prints them: each with its line and a mark below.
pub(super) fn report(source: &str, mistakes: &[Mistake]) -> String {
    let chars: Vec<char> = source.chars().collect();
    let one = |mistake: &Mistake| {
        let at = mistake.at.min(chars.len());
        let before = &chars[..at];
        let line = before.iter().filter(|c| **c == '\n').count() + 1;
        let start = before.iter().rposition(|c| *c == '\n').map_or(0, |i| i + 1);
        let text: String = chars[start..].iter().take_while(|c| **c != '\n').collect();
        let column = at - start;
        // Below a character of two columns stands a wide dot.
        let dots: String = chars[start..at].iter().map(|c| if is_wide(*c) { '．' } else { '.' }).collect();
        format!(
            "ERROR: <input>:{line}:{}: {}\n | {text}\n | {dots}^",
            column + 1,
            mistake.message.replace('\n', " ")
        )
    };
    mistakes.iter().map(one).collect::<Vec<_>>().join("\n")
}
