//! An expression's text as a tree: operators by precedence, macros written out.
//!
//! Bounds: [`SOURCE_CHARS_MAX`] characters, [`DEPTH_MAX`] levels, [`PARTS_MAX`] parts. The first mistake of the
//! grammar ends it, as a second one is mostly a consequence of the first.

use super::ast::{DEPTH_MAX, Expr, Kind, Literal, Mistake};
use super::lexer::{Lexeme, Token, lex};
use super::macros;

/// Longest expression, in characters: cel-go's bound.
const SOURCE_CHARS_MAX: usize = 100_000;
/// Most parts of an expression, those of its macros included: as many as there may be characters.
const PARTS_MAX: usize = 100_000;

/// Words kept for later, which name nothing.
pub(super) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// What cel-go's grammar would have taken where an operand is missing.
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// Makes parts and numbers them.
pub(super) struct Maker {
    count: usize,
    /// A bound that was crossed.
    pub over: Option<Mistake>,
}

impl Maker {
    /// A part of this kind.
    pub fn make(&mut self, at: usize, kind: Kind) -> Expr {
        let mut made = Expr { id: self.count, at, depth: 0, kind };
        self.count += 1;
        let depth = made.parts().iter().map(|part| part.depth).max().unwrap_or(0) + 1;
        if depth > DEPTH_MAX || self.count > PARTS_MAX {
            let message = format!("expression recursion limit exceeded: {DEPTH_MAX}");
            self.over.get_or_insert(Mistake { at, message });
            // What was made is let go, so that nothing deeper comes to be.
            made.kind = Kind::Literal(Literal::Null);
            made.depth = 1;
            return made;
        }
        made.depth = depth;
        made
    }
    /// A function's call.
    pub fn call(&mut self, at: usize, name: &str, args: Vec<Expr>) -> Expr {
        self.make(at, Kind::Call { target: None, name: name.to_owned(), args })
    }
    /// A variable.
    pub fn ident(&mut self, at: usize, name: &str) -> Expr {
        self.make(at, Kind::Ident(name.to_owned()))
    }
    /// A value.
    pub fn literal(&mut self, at: usize, value: Literal) -> Expr {
        self.make(at, Kind::Literal(value))
    }
    /// The same once more, with numbers of its own.
    pub fn copy(&mut self, of: &Expr) -> Expr {
        let mut copy = of.clone();
        self.renumber(&mut copy);
        copy
    }
    fn renumber(&mut self, of: &mut Expr) {
        of.id = self.count;
        self.count += 1;
        match &mut of.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => self.renumber(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().for_each(|target| self.renumber(target));
                args.iter_mut().for_each(|arg| self.renumber(arg));
            }
            Kind::List(items) => items.iter_mut().for_each(|(item, _)| self.renumber(item)),
            Kind::Map(entries) => entries.iter_mut().for_each(|(key, value, _)| {
                self.renumber(key);
                self.renumber(value);
            }),
            Kind::Struct { fields, .. } => fields.iter_mut().for_each(|(_, value, _)| self.renumber(value)),
            Kind::Fold(fold) => {
                for part in
                    [&mut fold.range, &mut fold.init, &mut fold.goes_on, &mut fold.step, &mut fold.result]
                {
                    self.renumber(part);
                }
            }
        }
    }
}

struct Parser {
    found: Vec<Lexeme>,
    at: usize,
    level: u16,
    maker: Maker,
}

type Parsed = Result<Expr, Mistake>;

/// The tree of an expression and how many parts it has.
pub(super) fn parse(source: &str) -> Result<(Expr, usize), Vec<Mistake>> {
    let chars: Vec<char> = source.chars().collect();
    if chars.len() > SOURCE_CHARS_MAX {
        let message = format!(
            "expression code point size exceeds limit: size: {}, limit {SOURCE_CHARS_MAX}",
            chars.len()
        );
        return Err(vec![Mistake { at: 0, message }]);
    }
    let (found, mut mistakes) = lex(&chars);
    let mut parser = Parser { found, at: 0, level: 0, maker: Maker { count: 0, over: None } };
    let parsed = parser.expr().and_then(|tree| match parser.peek() {
        Token::End => Ok(tree),
        _ => {
            let next = &parser.found[parser.at];
            let single = matches!(parser.found.get(parser.at + 1), Some(after) if after.token == Token::End);
            let how = if single { "extraneous" } else { "mismatched" };
            Err(wrong(next.at, &format!("{how} input '{}' expecting <EOF>", next.text)))
        }
    });
    match parsed {
        Ok(tree) if mistakes.is_empty() && parser.maker.over.is_none() => Ok((tree, parser.maker.count)),
        Ok(_) => {
            mistakes.extend(parser.maker.over);
            Err(mistakes)
        }
        Err(mistake) => {
            mistakes.push(mistake);
            mistakes.sort();
            Err(mistakes)
        }
    }
}

fn wrong(at: usize, what: &str) -> Mistake {
    Mistake { at, message: format!("Syntax error: {what}") }
}

/// How tightly an operator between two operands binds.
fn binds(token: &Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Op("||") => (1, "_||_"),
        Token::Op("&&") => (2, "_&&_"),
        Token::Op("==") => (3, "_==_"),
        Token::Op("!=") => (3, "_!=_"),
        Token::Op("<") => (3, "_<_"),
        Token::Op("<=") => (3, "_<=_"),
        Token::Op(">") => (3, "_>_"),
        Token::Op(">=") => (3, "_>=_"),
        Token::In => (3, "@in"),
        Token::Op("+") => (4, "_+_"),
        Token::Op("-") => (4, "_-_"),
        Token::Op("*") => (5, "_*_"),
        Token::Op("/") => (5, "_/_"),
        Token::Op("%") => (5, "_%_"),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.found[self.at].token
    }

    fn place(&self) -> usize {
        self.found[self.at].at
    }

    fn step(&mut self) {
        self.at = (self.at + 1).min(self.found.len() - 1);
    }

    fn takes(&mut self, op: &'static str) -> bool {
        let is = *self.peek() == Token::Op(op);
        if is {
            self.step();
        }
        is
    }

    fn demands(&mut self, op: &'static str) -> Result<(), Mistake> {
        if self.takes(op) {
            return Ok(());
        }
        let found = &self.found[self.at];
        if found.token == Token::End && op != ")" {
            let wanted = if op == ":" { "':'".to_owned() } else { format!("{{'{op}', ','}}") };
            return Err(wrong(found.at, &format!("mismatched input '<EOF>' expecting {wanted}")));
        }
        Err(wrong(found.at, &format!("missing '{op}' at '{}'", found.text)))
    }

    /// One level down, if there is one left.
    fn deeper<T>(&mut self, then: impl FnOnce(&mut Self) -> Result<T, Mistake>) -> Result<T, Mistake> {
        if self.level >= DEPTH_MAX {
            let message = format!("expression recursion limit exceeded: {DEPTH_MAX}");
            return Err(Mistake { at: self.place(), message });
        }
        self.level += 1;
        let parsed = then(self);
        self.level -= 1;
        parsed
    }

    fn expr(&mut self) -> Parsed {
        self.deeper(|parser| {
            let condition = parser.binary(1)?;
            let at = parser.place();
            if !parser.takes("?") {
                return Ok(condition);
            }
            let then = parser.binary(1)?;
            parser.demands(":")?;
            let otherwise = parser.expr()?;
            Ok(parser.maker.call(at, "_?_:_", vec![condition, then, otherwise]))
        })
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        loop {
            let Some((bound, name)) = binds(self.peek()).filter(|(bound, _)| *bound >= least) else {
                return Ok(left);
            };
            if bound <= 2 {
                left = self.logical(left, bound, name)?;
                continue;
            }
            let at = self.place();
            self.step();
            let right = self.binary(bound + 1)?;
            left = self.maker.call(at, name, vec![left, right]);
        }
    }

    /// A chain of `&&` or `||`, as a balanced tree.
    fn logical(&mut self, first: Expr, bound: u8, name: &'static str) -> Parsed {
        let (mut terms, mut places) = (vec![first], Vec::new());
        while binds(self.peek()) == Some((bound, name)) {
            places.push(self.place());
            self.step();
            terms.push(self.binary(bound + 1)?);
        }
        let mut terms = terms.into_iter();
        Ok(self.balance(&mut terms, &places, name))
    }

    fn balance(&mut self, terms: &mut std::vec::IntoIter<Expr>, places: &[usize], name: &str) -> Expr {
        if places.is_empty() {
            return match terms.next() {
                Some(term) => term,
                None => self.maker.literal(0, Literal::Null),
            };
        }
        let middle = places.len() / 2;
        let left = self.balance(terms, &places[..middle], name);
        let right = self.balance(terms, &places[middle + 1..], name);
        self.maker.call(places[middle], name, vec![left, right])
    }

    fn unary(&mut self) -> Parsed {
        let at = self.place();
        for (op, name) in [("!", "!_"), ("-", "-_")] {
            let mut times = 0;
            while self.takes(op) {
                times += 1;
            }
            if times == 0 {
                continue;
            }
            if op == "-"
                && times == 1
                && let Some(number) = self.negative(at)
            {
                return self.member(number);
            }
            let operand = self.primary()?;
            let operand = self.member(operand)?;
            // Twice is not at all.
            return Ok(if times % 2 == 1 { self.maker.call(at, name, vec![operand]) } else { operand });
        }
        let operand = self.primary()?;
        self.member(operand)
    }

    /// A number with its sign.
    fn negative(&mut self, at: usize) -> Option<Expr> {
        let literal = match self.peek() {
            Token::Literal(Literal::Int(n)) => Literal::Int(-n),
            Token::Literal(Literal::Double(n)) => Literal::Double(-n),
            Token::BadNumber("least") => Literal::Int(i64::MIN),
            _ => return None,
        };
        self.step();
        Some(self.maker.literal(at, literal))
    }

    fn primary(&mut self) -> Parsed {
        let at = self.place();
        match self.peek().clone() {
            Token::Literal(literal) => {
                self.step();
                Ok(self.maker.literal(at, literal))
            }
            Token::BadNumber(what) => {
                let what = if what == "least" { "invalid int literal" } else { what };
                Err(Mistake { at, message: what.to_owned() })
            }
            Token::Op("(") => {
                self.step();
                let inner = self.expr()?;
                self.demands(")")?;
                Ok(inner)
            }
            Token::Op("[") => self.list(at),
            Token::Op("{") => self.map(at),
            Token::Op(".") if matches!(self.found[self.at + 1].token, Token::Ident(_)) => {
                self.step();
                self.primary()
            }
            Token::Ident(name) => self.name(at, name),
            _ => {
                let found = &self.found[self.at].text;
                Err(wrong(at, &format!("mismatched input '{found}' expecting {OPERAND}")))
            }
        }
    }

    fn name(&mut self, at: usize, name: String) -> Parsed {
        self.step();
        if RESERVED.contains(&name.as_str()) {
            return Err(Mistake { at, message: format!("reserved identifier: {name}") });
        }
        let open = self.place();
        if self.takes("(") {
            let args = self.args()?;
            return macros::global(&mut self.maker, open, &name, args);
        }
        // `Name{…}` and `a.b.Name{…}`.
        let mut ahead = self.at;
        let mut full = name.clone();
        while self.found[ahead].token == Token::Op(".")
            && let Token::Ident(part) = &self.found[ahead + 1].token
        {
            full = format!("{full}.{part}");
            ahead += 2;
        }
        if self.found[ahead].token == Token::Op("{") {
            self.at = ahead;
            return self.structure(full);
        }
        Ok(self.maker.ident(at, &name))
    }

    fn args(&mut self) -> Result<Vec<Expr>, Mistake> {
        let mut args = Vec::new();
        if self.takes(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expr()?);
            if !self.takes(",") {
                self.demands(")")?;
                return Ok(args);
            }
        }
    }

    fn list(&mut self, at: usize) -> Parsed {
        self.step();
        let mut items = Vec::new();
        while !self.takes("]") {
            let optional = self.takes("?");
            items.push((self.expr()?, optional));
            if !self.takes(",") {
                self.demands("]")?;
                break;
            }
        }
        Ok(self.maker.make(at, Kind::List(items)))
    }

    fn map(&mut self, at: usize) -> Parsed {
        self.step();
        let mut entries = Vec::new();
        while !self.takes("}") {
            let optional = self.takes("?");
            let key = self.expr()?;
            self.demands(":")?;
            entries.push((key, self.expr()?, optional));
            if !self.takes(",") {
                self.demands("}")?;
                break;
            }
        }
        Ok(self.maker.make(at, Kind::Map(entries)))
    }

    fn structure(&mut self, name: String) -> Parsed {
        let at = self.place();
        self.step();
        let mut fields = Vec::new();
        while !self.takes("}") {
            let optional = self.takes("?");
            let field = self.field()?;
            self.demands(":")?;
            fields.push((field, self.expr()?, optional));
            if !self.takes(",") {
                self.demands("}")?;
                break;
            }
        }
        Ok(self.maker.make(at, Kind::Struct { name, fields }))
    }

    fn field(&mut self) -> Result<String, Mistake> {
        match self.peek().clone() {
            Token::Ident(name) => {
                self.step();
                Ok(name)
            }
            _ => {
                let found = &self.found[self.at];
                let text = if found.token == Token::End { "" } else { &found.text };
                Err(wrong(found.at, &format!("no viable alternative at input '.{text}'")))
            }
        }
    }

    /// What follows an operand: fields, calls and places in lists.
    fn member(&mut self, mut operand: Expr) -> Parsed {
        loop {
            let at = self.place();
            if self.takes(".") {
                let optional = self.takes("?");
                let field = self.field()?;
                let open = self.place();
                operand = if !optional && self.takes("(") {
                    let args = self.args()?;
                    macros::member(&mut self.maker, open, &field, operand, args)?
                } else if optional {
                    let field = self.maker.literal(at, Literal::String(field));
                    self.maker.call(at, "_?._", vec![operand, field])
                } else {
                    self.maker.make(at, Kind::Select { operand: Box::new(operand), field, test: false })
                };
            } else if self.takes("[") {
                let optional = self.takes("?");
                let place = self.expr()?;
                self.demands("]")?;
                operand = self.maker.call(at, if optional { "_[?_]" } else { "_[_]" }, vec![operand, place]);
            } else {
                return Ok(operand);
            }
        }
    }
}
