//! Evaluation, and what it costs as Kubernetes counts it.
//!
//! All arguments are evaluated, and charged, also after one that is an error; `&&`, `||` and `?:` alone stop early.
//! Invariant: every step is charged or counted by the [`Meter`], and no evaluation is deeper than [`DEPTH_MAX`].

use super::ast::{Expr, Fold, GATHERED, Kind, Literal};
use super::cost;
use super::library::{self, Patterns};
use super::program::Program;
use super::trial::CALL_COST_MAX;
use super::types::{self, Type};
use super::value::{Eval, Fault, Key, Map, Meter, Text, Value};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Deepest evaluation, through expressions that name others.
const DEPTH_MAX: u32 = 250;

/// What the names of expressions stand for.
#[derive(Default)]
pub(crate) struct Bindings<'a> {
    values: BTreeMap<&'static str, Value<'a>>,
    /// Expressions that are named `variables.NAME`: evaluated once, when they are first asked for.
    variables: Vec<(String, &'a Program)>,
    known: RefCell<BTreeMap<String, Eval<'a>>>,
    spent: Cell<u64>,
    depth: Cell<u32>,
    patterns: Patterns,
}

impl<'a> Bindings<'a> {
    /// Lets a name stand for a value.
    pub fn set(&mut self, name: &'static str, value: Value<'a>) {
        self.values.insert(name, value);
    }

    /// Lets `variables.NAME` stand for an expression.
    pub fn name(&mut self, name: &str, program: &'a Program) {
        self.variables.push((name.to_owned(), program));
    }
    /// What named expressions have cost since this was last asked.
    pub fn take_spent(&self) -> u64 {
        self.spent.take()
    }

    fn variable(&self, name: &str) -> Option<Eval<'a>> {
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        let (_, program) = self.variables.iter().find(|(known, _)| known == name)?;
        // Each may cost as much as one evaluation may.
        let meter = Meter::new(CALL_COST_MAX);
        let value = program.evaluate(self, &meter).map_err(|fault| match fault {
            Fault::Error(why) => {
                Fault::error(format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            Fault::Cancelled => Fault::Cancelled,
        });
        self.spent.set(self.spent.get().saturating_add(meter.cost()));
        self.known.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    }
}

/// One evaluation.
pub(super) struct Evaluator<'p, 'a> {
    pub program: &'p Program,
    pub bindings: &'p Bindings<'a>,
    pub meter: &'p Meter,
    /// Variables of macros; what is gathered may be an error that a later element makes good.
    pub locals: Vec<(&'p str, Eval<'a>)>,
}

/// Whether a part is looked into where it stands, and each further field costs one.
fn is_path(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Ident(_) | Kind::Select { .. } => true,
        Kind::Call { target: None, name, .. } => matches!(name.as_str(), "_[_]" | "_?._" | "_[?_]" | "_?_:_"),
        _ => false,
    }
}

impl<'p, 'a> Evaluator<'p, 'a> {
    /// What a part comes to.
    pub fn at(&mut self, expr: &'p Expr) -> Eval<'a> {
        let depth = &self.bindings.depth;
        if depth.get() >= DEPTH_MAX {
            return Err(Fault::error(format!("evaluation is deeper than {DEPTH_MAX} levels")));
        }
        depth.set(depth.get() + 1);
        let value = self.kind(expr);
        let depth = &self.bindings.depth;
        depth.set(depth.get() - 1);
        value
    }

    fn kind(&mut self, expr: &'p Expr) -> Eval<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(literal_value(literal)),
            Kind::Ident(name) => self.ident(name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, name, args } => self.call(expr, target.as_deref(), name, args),
            Kind::List(items) => self.list(expr, items),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { name, fields } => self.structure(name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, name: &str) -> Eval<'a> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(local, _)| *local == name) {
            self.meter.charge(cost::SELECT)?;
            return value.clone();
        }
        if let Some(value) = self.bindings.values.get(name) {
            self.meter.charge(cost::SELECT)?;
            return Ok(value.clone());
        }
        match types::named(name) {
            Some(of) => Ok(Value::Type(of)),
            None => {
                self.meter.charge(cost::SELECT)?;
                Err(Fault::error(format!("no such attribute(s): {name}")))
            }
        }
    }

    /// A named expression: `variables.NAME`.
    fn named(&mut self, operand: &Expr, field: &str) -> Option<Eval<'a>> {
        let Kind::Ident(name) = &operand.kind else { return None };
        if name != "variables" || self.locals.iter().any(|(local, _)| local == name) {
            return None;
        }
        let value = self.bindings.variable(field)?;
        Some(self.meter.charge(2 * cost::SELECT).and(value))
    }

    /// A step along a path: what is not on one already is charged for once more.
    fn charge_step(&self, operand: &Expr) -> Result<(), Fault> {
        self.meter.charge(if is_path(operand) { cost::SELECT } else { 2 * cost::SELECT })
    }

    fn select(&mut self, expr: &Expr, operand: &'p Expr, field: &str, test: bool) -> Eval<'a> {
        if let Some(of) = super::check::dotted(expr).and_then(|name| types::named(&name)) {
            return Ok(Value::Type(of));
        }
        if let Some(value) = self.named(operand, field) {
            return if test { value.map(|_| Value::Bool(true)) } else { value };
        }
        let of = self.at(operand);
        if test {
            // The field itself costs nothing.
            if !is_path(operand) {
                self.meter.charge(cost::SELECT)?;
            }
            let (of, is_optional) = match of? {
                Value::Optional(None) => return Ok(Value::Bool(false)),
                Value::Optional(Some(inner)) => ((*inner).clone(), true),
                other => (other, false),
            };
            let Value::Map(map) = &of else {
                return if is_optional { Ok(Value::Bool(false)) } else { Err(library::no_overload()) };
            };
            return Ok(Value::Bool(map.get(&Key::String(field.into())).is_some()));
        }
        self.charge_step(operand)?;
        let of = of?;
        let name = Value::String(Text::Shared(field.into()));
        match (&of, library::index(&of, &name)?) {
            (Value::Optional(_), found) => Ok(Value::Optional(found.map(Rc::new))),
            (_, Some(found)) => Ok(found),
            (_, None) => Err(library::missing(&of, &name)),
        }
    }

    fn call(
        &mut self,
        expr: &'p Expr,
        target: Option<&'p Expr>,
        name: &'p str,
        args: &'p [Expr],
    ) -> Eval<'a> {
        match (name, args) {
            ("_&&_", [a, b]) => return self.logical(a, b, false),
            ("_||_", [a, b]) => return self.logical(a, b, true),
            ("_?_:_", [condition, then, otherwise]) => {
                let branch = match self.at(condition)? {
                    Value::Bool(true) => then,
                    Value::Bool(false) => otherwise,
                    _ => return Err(library::no_overload()),
                };
                return self.within_path(branch);
            }
            ("@not_strictly_false", [arg]) => {
                let value = self.at(arg);
                self.meter.charge(1)?;
                return match value {
                    Err(Fault::Cancelled) => Err(Fault::Cancelled),
                    Ok(Value::Bool(b)) => Ok(Value::Bool(b)),
                    _ => Ok(Value::Bool(true)),
                };
            }
            ("_[_]", [of, at]) => return self.index(of, at),
            ("_?._", [of, field]) => return self.optional(of, field),
            ("_[?_]", [of, at]) => return self.optional(of, at),
            ("optional.none", _) => {}
            ("or" | "orValue", [other]) if target.is_some() => {
                return self.or(name, target.unwrap_or(other), other);
            }
            _ => {}
        }
        let program = self.program;
        let qualified = program.types.names.get(&expr.id).map(String::as_str);
        let member = target.filter(|_| qualified.is_none());
        self.function(expr, qualified.unwrap_or(name), member, args)
    }

    /// A function of the table.
    fn function(
        &mut self,
        expr: &Expr,
        name: &'p str,
        target: Option<&'p Expr>,
        args: &'p [Expr],
    ) -> Eval<'a> {
        // What was worked out when it was compiled costs nothing.
        let free = self.program.constants[expr.id];
        let mut values = Vec::with_capacity(args.len() + 1);
        let mut fault = None;
        for (i, part) in target.into_iter().chain(args).enumerate() {
            match self.argument(part, i == 0 && matches!(name, "_+_" | "cel.@mapInsert")) {
                Ok(value) => values.push(value),
                Err(Fault::Cancelled) => return Err(Fault::Cancelled),
                Err(error) => {
                    fault.get_or_insert(error);
                    values.push(Value::Bool(false));
                }
            }
        }
        let set = name == "@in" && args.get(1).is_some_and(|list| self.program.is_set(list));
        if !set && !free {
            self.meter.charge(cost::before(name, target.is_some(), &values, self.meter)?)?;
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let context = (self.meter, &self.bindings.patterns);
        let value = match (name, &values[..]) {
            // What no elements come to is of the type the list was checked to be of.
            ("sum", [Value::List(list)]) if list.len() == 0 => Ok(match self.program.types.of[expr.id] {
                Type::Double => Value::Double(0.0),
                Type::Uint => Value::Uint(0),
                Type::Duration => Value::Duration(0),
                _ => Value::Int(0),
            }),
            _ => library::call(name, &mut values, target.is_some(), context),
        };
        // An error counts as one element.
        self.meter.charge(cost::after(name, value.as_ref().map_or(1, Value::size)))?;
        value
    }

    /// An argument; what a macro has gathered so far is moved where it is only added to.
    fn argument(&mut self, part: &'p Expr, gathers: bool) -> Eval<'a> {
        if gathers
            && let Kind::Ident(name) = &part.kind
            && name == GATHERED
            && let Some((_, gathered)) = self.locals.iter_mut().rev().find(|(local, _)| *local == GATHERED)
        {
            let value = std::mem::replace(gathered, Ok(Value::Null));
            self.meter.charge(cost::SELECT)?;
            return value;
        }
        self.at(part)
    }

    /// A path that is part of another one, or a choice of two: its own beginning costs nothing.
    fn within_path(&mut self, expr: &'p Expr) -> Eval<'a> {
        let is_own = match &expr.kind {
            Kind::Ident(name) => types::named(name).is_none(),
            Kind::Select { test, .. } => !test,
            Kind::Call { target: None, name, .. } => matches!(name.as_str(), "_[_]" | "_?._" | "_[?_]"),
            _ => false,
        };
        let value = self.at(expr);
        if is_own {
            self.meter.refund(cost::SELECT);
        }
        value
    }

    fn index(&mut self, of: &'p Expr, at: &'p Expr) -> Eval<'a> {
        let (from, place) = (self.at(of), self.within_path(at));
        let cancelled = |eval: &Eval<'a>| matches!(eval, Err(Fault::Cancelled));
        if cancelled(&from) || cancelled(&place) {
            return Err(Fault::Cancelled);
        }
        self.charge_step(of)?;
        let (from, place) = (from?, place?);
        match (&from, library::index(&from, &place)?) {
            (Value::Optional(_), found) => Ok(Value::Optional(found.map(Rc::new))),
            (_, Some(found)) => Ok(found),
            (_, None) => Err(library::missing(&from, &place)),
        }
    }

    /// `a.?b` and `a[?b]`.
    fn optional(&mut self, of: &'p Expr, at: &'p Expr) -> Eval<'a> {
        let (from, place) = (self.at(of)?, self.within_path(at)?);
        self.charge_step(of)?;
        let found = library::index(&from, &place)?;
        if found.is_none() {
            self.meter.refund(cost::SELECT);
        }
        Ok(Value::Optional(found.map(Rc::new)))
    }

    /// `a.or(b)` and `a.orValue(b)`, of which the second is evaluated where the first is not there.
    fn or(&mut self, name: &str, first: &'p Expr, second: &'p Expr) -> Eval<'a> {
        match (self.at(first)?, name) {
            (Value::Optional(None), _) => self.at(second),
            (Value::Optional(Some(inner)), "orValue") => Ok((*inner).clone()),
            (found @ Value::Optional(_), _) => Ok(found),
            _ => Err(library::no_overload()),
        }
    }

    /// `&&` (until something is false) and `||` (until something is true).
    fn logical(&mut self, a: &'p Expr, b: &'p Expr, until: bool) -> Eval<'a> {
        let strict = |value: Eval<'a>| match value {
            Ok(Value::Bool(b)) => Ok(b),
            Ok(_) => Err(library::no_overload()),
            Err(fault) => Err(fault),
        };
        let first = strict(self.at(a));
        match first {
            Err(Fault::Cancelled) => return Err(Fault::Cancelled),
            Ok(found) if found == until => return Ok(Value::Bool(until)),
            _ => {}
        }
        match (first, strict(self.at(b))) {
            (_, Err(Fault::Cancelled)) => Err(Fault::Cancelled),
            (_, Ok(found)) if found == until => Ok(Value::Bool(until)),
            (Err(fault), _) | (Ok(_), Err(fault)) => Err(fault),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!until)),
        }
    }

    fn list(&mut self, expr: &Expr, items: &'p [(Expr, bool)]) -> Eval<'a> {
        let mut all = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.at(item)?, optional) {
                (Value::Optional(None), true) => {}
                (Value::Optional(Some(inner)), true) => all.push((*inner).clone()),
                (_, true) => return Err(library::no_overload()),
                (value, false) => all.push(value),
            }
        }
        self.meter.charge(if self.program.constants[expr.id] { 0 } else { cost::LIST })?;
        Ok(Value::list(all))
    }

    fn map(&mut self, expr: &Expr, entries: &'p [(Expr, Expr, bool)]) -> Eval<'a> {
        let mut all = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.at(key)?.key()?;
            let value = match (self.at(value)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (_, true) => return Err(library::no_overload()),
                (value, false) => value,
            };
            all.insert(key, value);
        }
        self.meter.charge(if self.program.constants[expr.id] { 0 } else { cost::MAP })?;
        Ok(Value::Map(Map::Made(Rc::new(all))))
    }

    fn structure(&mut self, name: &str, fields: &'p [(String, Expr, bool)]) -> Eval<'a> {
        let mut all = BTreeMap::new();
        for (field, value, optional) in fields {
            let value = match (self.at(value)?, optional) {
                (Value::Optional(None), true) => continue,
                (Value::Optional(Some(inner)), true) => (*inner).clone(),
                (_, true) => return Err(library::no_overload()),
                (value, false) => value,
            };
            all.insert(Key::String(field.as_str().into()), value);
        }
        self.meter.charge(cost::OBJECT)?;
        Ok(Value::Map(Map::Object(name.into(), Rc::new(all))))
    }

    fn fold(&mut self, fold: &'p Fold) -> Eval<'a> {
        let range = self.at(&fold.range)?;
        let gathered = self.at(&fold.init)?;
        let outside = self.locals.len();
        self.locals.push((&fold.gathered, Ok(gathered)));
        let value = self.loops(fold, &range, outside);
        self.locals.truncate(outside);
        value
    }

    fn loops(&mut self, fold: &'p Fold, range: &Value<'a>, outside: usize) -> Eval<'a> {
        if !fold.binds() {
            match range {
                Value::List(list) => {
                    for at in 0..list.len() {
                        let Some(item) = list.get(at) else { break };
                        let first = match fold.var2 {
                            Some(_) => Value::Int(at as i64),
                            None => item.clone()?,
                        };
                        if !self.once(fold, first, item?, outside)? {
                            break;
                        }
                    }
                }
                Value::Map(map) if !map.is_object() => {
                    for key in map.keys(self.meter)? {
                        let item = if fold.var2.is_some() {
                            map.get(&key).ok_or_else(library::no_overload)??
                        } else {
                            Value::Null
                        };
                        if !self.once(fold, key.value(), item, outside)? {
                            break;
                        }
                    }
                }
                _ => return Err(library::no_overload()),
            }
        }
        self.at(&fold.result)
    }

    /// Once through a loop; whether it goes on.
    fn once(
        &mut self,
        fold: &'p Fold,
        first: Value<'a>,
        second: Value<'a>,
        outside: usize,
    ) -> Result<bool, Fault> {
        self.meter.work(1)?;
        self.locals.push((&fold.var, Ok(first)));
        if let Some(var2) = &fold.var2 {
            self.locals.push((var2, Ok(second)));
        }
        let goes_on = match self.at(&fold.goes_on) {
            Err(fault) => return Err(fault),
            Ok(value) => !matches!(value, Value::Bool(false)),
        };
        if goes_on {
            // An error is what there is so far: `all` and `exists` may pass over it.
            let step = match self.at(&fold.step) {
                Err(Fault::Cancelled) => return Err(Fault::Cancelled),
                step => step,
            };
            self.locals.truncate(outside + 1);
            self.locals[outside].1 = step;
        }
        self.locals.truncate(outside + 1);
        Ok(goes_on)
    }
}

/// The value of a literal.
pub(super) fn literal_value<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(n) => Value::Int(*n),
        Literal::Uint(n) => Value::Uint(*n),
        Literal::Double(n) => Value::Double(*n),
        Literal::String(text) => Value::text(text.as_str()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}
