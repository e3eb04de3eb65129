//! An expression that was compiled: parsed, checked, and what of it never changes found.

use super::ast::{Expr, Kind, Literal, Mistake, report};
use super::check::{self, Scope, Types};
use super::decl::Decl;
use super::estimate;
use super::eval::{Bindings, Evaluator, literal_value};
use super::library::{self, strings, time};
use super::parser;
use super::types::Type;
use super::value::{Eval, Meter};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A compiled expression.
pub(crate) struct Program {
    pub(super) tree: Expr,
    pub(super) types: Types,
    /// Which parts never change and so cost nothing.
    pub(super) constants: Vec<bool>,
    names: BTreeSet<String>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("tree", &self.tree).finish_non_exhaustive()
    }
}

impl Program {
    /// Compiles an expression.
    pub fn compile(source: &str, scope: &Scope) -> Result<Program, Refusal> {
        let refused = |mistakes: Vec<Mistake>| Refusal::Compilation(report(source, &mistakes));
        let (tree, parts) = parser::parse(source).map_err(refused)?;
        let types = check::check(&tree, parts, scope).map_err(refused)?;
        let mut program = Program { tree, types, constants: vec![false; parts], names: BTreeSet::new() };
        let mut found =
            Found { types: &program.types, mistakes: Vec::new(), names: BTreeSet::new(), fault: None };
        let mut constants = std::mem::take(&mut program.constants);
        found.look(&program.tree, &mut constants, false);
        found.mistakes.sort();
        let Found { mistakes, names, fault, .. } = found;
        if !mistakes.is_empty() {
            return Err(refused(mistakes));
        }
        program.constants = constants;
        program.names = names;
        match fault {
            Some(fault) => Err(Refusal::Instantiation(fault)),
            None => Ok(program),
        }
    }

    /// The type of what it comes to.
    pub fn result(&self) -> &Type {
        &self.types.of[self.tree.id]
    }
    /// Whether it names a variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }
    /// The most it may cost, in Kubernetes' units, by what `self` is declared as.
    pub fn cost_max(&self, root: Option<&Arc<Decl>>) -> u64 {
        estimate::most(self, root)
    }
    /// What it comes to.
    pub fn evaluate<'a>(&self, bindings: &Bindings<'a>, meter: &Meter) -> Eval<'a> {
        Evaluator { program: self, bindings, meter, locals: Vec::new() }.at(&self.tree)
    }
    /// Whether looking into a list costs nothing: one written out, of simple values.
    pub(super) fn is_set(&self, list: &Expr) -> bool {
        let Kind::List(items) = &list.kind else { return false };
        let simple = |item: &Expr| matches!(&item.kind, Kind::Literal(literal) if *literal != Literal::Null);
        !items.is_empty() && items.iter().all(|(item, _)| simple(item)) && self.constants[list.id]
    }
}

/// Why an expression is no program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Each mistake with its place, as cel-go prints them.
    Compilation(String),
    /// Something that is worked out beforehand is an error.
    Instantiation(String),
}

/// What is found while looking through a tree.
struct Found<'t> {
    types: &'t Types,
    mistakes: Vec<Mistake>,
    names: BTreeSet<String>,
    fault: Option<String>,
}

/// Functions that are carried out when an expression is compiled, if what they are given is written out.
const CONVERSIONS: [&str; 9] =
    ["bool", "bytes", "double", "duration", "int", "string", "timestamp", "type", "uint"];

impl Found<'_> {
    /// `formats`: within arguments of `format`, which may be of any types.
    fn look(&mut self, expr: &Expr, constants: &mut [bool], formats: bool) {
        let formats = formats || matches!(&expr.kind, Kind::Call { name, .. } if name == "format");
        for part in expr.parts() {
            self.look(part, constants, formats);
        }
        let all = |parts: Vec<&Expr>| parts.iter().all(|part| constants[part.id]);
        constants[expr.id] = match &expr.kind {
            Kind::Literal(_) => true,
            Kind::List(items) => {
                let each: Vec<_> = items.iter().map(|(item, optional)| (item, *optional)).collect();
                self.alike(&each, formats);
                all(expr.parts()) && items.iter().all(|(_, optional)| !optional)
            }
            Kind::Map(entries) => {
                let keys: Vec<_> = entries.iter().map(|(key, _, _)| (key, false)).collect();
                let values: Vec<_> = entries.iter().map(|(_, value, optional)| (value, *optional)).collect();
                self.alike(&keys, formats);
                self.alike(&values, formats);
                all(expr.parts()) && entries.iter().all(|(_, _, optional)| !optional)
            }
            Kind::Ident(name) => {
                self.names.insert(name.clone());
                false
            }
            Kind::Call { target: None, name, args } => {
                self.arguments(name, args);
                let converts = CONVERSIONS.contains(&name.as_str());
                let typed = name == "type" && matches!(args[..], [Expr { kind: Kind::Call { .. }, .. }]);
                (typed && all(expr.parts()))
                    || (converts
                        && matches!(args[..], [Expr { kind: Kind::Literal(_), .. }])
                        && self.converts(name, args))
            }
            Kind::Call { target: Some(target), name, args } => {
                self.arguments(name, args);
                self.patterns(name, args);
                if name == "format" {
                    self.format(expr.at, target, args);
                }
                false
            }
            _ => false,
        };
    }

    /// Whether a conversion gives something.
    fn converts(&mut self, name: &str, args: &[Expr]) -> bool {
        let mut args: Vec<_> = args.iter().filter_map(constant).collect();
        let context = (&Meter::new(u64::MAX), &library::Patterns::default());
        match library::call(name, &mut args, false, context) {
            Ok(_) => true,
            Err(fault) => {
                self.fault.get_or_insert(fault.to_string());
                false
            }
        }
    }

    /// Whether what is in a list or a map that is written out is all of one type.
    fn alike(&mut self, parts: &[(&Expr, bool)], formats: bool) {
        let of = |(part, optional): &(&Expr, bool)| {
            let of = &self.types.of[part.id];
            if *optional { of.unwrapped().0.clone() } else { of.clone() }
        };
        let Some(first) = parts.first().map(of).filter(|_| !formats) else { return };
        if let Some(other) = parts.iter().find(|part| of(part) != first) {
            let message = format!("expected type '{first}' but found '{}'", of(other));
            self.mistakes.push(Mistake { at: other.0.at, message });
        }
    }

    /// Patterns that are written out are compiled beforehand.
    fn patterns(&mut self, name: &str, args: &[Expr]) {
        if let ("find" | "findAll", Some(Expr { kind: Kind::Literal(Literal::String(text)), .. })) =
            (name, args.first())
            && let Err(why) = library::pattern(text)
        {
            self.fault.get_or_insert(why);
        }
    }

    /// What a format that is written out makes of its arguments.
    fn format(&mut self, call: usize, target: &Expr, args: &[Expr]) {
        let (Kind::Literal(Literal::String(text)), [Expr { kind: Kind::List(items), .. }]) =
            (&target.kind, args)
        else {
            return;
        };
        for (i, clause) in strings::clauses(text).into_iter().enumerate() {
            let Some((item, _)) = items.get(i) else {
                self.mistakes.push(Mistake { at: call, message: format!("index {i} out of range") });
                return;
            };
            if let Some(message) = strings::unfit(clause, &self.types.of[item.id]) {
                let unknown = message.starts_with("could not");
                self.mistakes.push(Mistake { at: if unknown { call } else { item.at }, message });
                return;
            }
        }
    }

    /// Durations, instants and patterns that are written out are judged at once.
    fn arguments(&mut self, name: &str, args: &[Expr]) {
        let Some(Expr { at, kind: Kind::Literal(Literal::String(text)), .. }) = args.first() else { return };
        let wrong = match name {
            "duration" => time::duration_of(text).is_none(),
            "timestamp" => time::timestamp_of(text).is_none(),
            "matches" => library::pattern(text).is_err(),
            _ => false,
        };
        if wrong {
            self.mistakes.push(Mistake { at: *at, message: format!("invalid {name} argument") });
        }
    }
}

fn constant<'a>(expr: &Expr) -> Option<super::value::Value<'a>> {
    match &expr.kind {
        Kind::Literal(literal) => Some(literal_value(literal)),
        _ => None,
    }
}
