//! Types of all parts of an expression, or what is wrong with it, in cel-go's words.
//!
//! Unifies as cel-go's checker does: a type variable takes the first type it meets, and what may be anything is left to
//! evaluation.

use super::ast::{Expr, Fold, Kind, Literal, Mistake};
use super::types::{self, Overload, Type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most parts of a type: maps of maps of maps double with each level.
const TYPE_PARTS_MAX: usize = 500;

/// A checked expression's types.
pub(super) struct Types {
    /// By part.
    pub of: Vec<Type>,
    /// Which overloads a call may come to, by part.
    pub overloads: Vec<Vec<&'static Overload>>,
    /// The functions calls name, with their prefixes: by part, where it differs from the tree's.
    pub names: BTreeMap<usize, String>,
}

/// What an expression may name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Variables and their types.
    pub variables: BTreeMap<String, Type>,
    /// Whether objects may be written out (`Object{…}`, `JSONPatch{…}`).
    pub objects: bool,
}

struct Checker<'a> {
    scope: &'a Scope,
    locals: Vec<(String, Type)>,
    types: Types,
    /// What type variables stand for, and what they stood for before, to go back.
    bound: Vec<Option<Type>>,
    trail: Vec<(usize, Option<Type>)>,
    mistakes: Vec<Mistake>,
}

/// Fields of `JSONPatch{…}`.
const PATCH_FIELDS: [(&str, Type); 4] =
    [("op", Type::String), ("path", Type::String), ("from", Type::String), ("value", Type::Dyn)];

/// The types of an expression of so many parts.
pub(super) fn check(tree: &Expr, parts: usize, scope: &Scope) -> Result<Types, Vec<Mistake>> {
    let types =
        Types { of: vec![Type::Error; parts], overloads: vec![Vec::new(); parts], names: BTreeMap::new() };
    let mut checker = Checker {
        scope,
        locals: Vec::new(),
        types,
        bound: Vec::new(),
        trail: Vec::new(),
        mistakes: Vec::new(),
    };
    checker.at(tree);
    if !checker.mistakes.is_empty() {
        checker.mistakes.sort();
        checker.mistakes.dedup();
        return Err(checker.mistakes);
    }
    for id in 0..parts {
        let known = checker.known(&checker.types.of[id].clone(), true);
        checker.types.of[id] = known;
    }
    Ok(checker.types)
}

/// A dotted name, where a tree is one.
pub(super) fn dotted(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", dotted(operand)?)),
        _ => None,
    }
}

impl Checker<'_> {
    fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Var(self.bound.len() - 1)
    }

    fn wrong(&mut self, at: usize, message: String) {
        self.mistakes.push(Mistake { at, message });
    }

    /// A type with what is known of its variables; others may be anything where `settled`.
    fn known(&self, of: &Type, settled: bool) -> Type {
        match of {
            Type::Var(n) => match self.bound.get(*n).and_then(Option::as_ref) {
                Some(bound) => self.known(bound, settled),
                None if settled => Type::Dyn,
                None => of.clone(),
            },
            Type::List(inner) => Type::list(self.known(inner, settled)),
            Type::Optional(inner) => Type::optional(self.known(inner, settled)),
            Type::Meta(inner) => Type::Meta(Arc::new(self.known(inner, settled))),
            Type::Map(inner) => Type::map(self.known(&inner.0, settled), self.known(&inner.1, settled)),
            other => other.clone(),
        }
    }

    /// Whether a variable is part of a type.
    fn occurs(&self, var: usize, within: &Type) -> bool {
        match within {
            Type::Var(n) if *n == var => true,
            Type::Var(n) => {
                self.bound.get(*n).and_then(Option::as_ref).is_some_and(|bound| self.occurs(var, bound))
            }
            Type::List(inner) | Type::Optional(inner) | Type::Meta(inner) => self.occurs(var, inner),
            Type::Map(inner) => self.occurs(var, &inner.0) || self.occurs(var, &inner.1),
            _ => false,
        }
    }

    /// Lets a variable stand for a type; whether it may, and whether it stood for one already.
    fn bind(&mut self, var: usize, to: &Type) -> (bool, bool) {
        if *to == Type::Var(var) {
            return (true, true);
        }
        let Some(before) = self.bound.get(var).cloned().flatten() else {
            if self.occurs(var, to) {
                return (false, false);
            }
            self.assign(var, to.clone());
            return (true, false);
        };
        if before == *to {
            return (true, true);
        }
        if !self.fits(to, &before) {
            return (false, true);
        }
        let wider = if self.is_wider(to, &before) { to.clone() } else { before };
        if !self.occurs(var, &wider) {
            self.assign(var, wider);
        }
        (true, true)
    }

    fn assign(&mut self, var: usize, to: Type) {
        let before = self.bound[var].replace(to);
        self.trail.push((var, before));
    }

    /// Whether one type says no more than another.
    fn is_wider(&self, one: &Type, other: &Type) -> bool {
        match (one, other) {
            (Type::Dyn | Type::Error, _) | (Type::Var(_), _) => true,
            (_, Type::Dyn | Type::Error | Type::Var(_)) => false,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.is_wider(a, b),
            (Type::Map(a), Type::Map(b)) => self.is_wider(&a.0, &b.0) && self.is_wider(&a.1, &b.1),
            _ => one == other,
        }
    }

    /// Whether a value of the first type may stand where one of the second is wanted.
    fn fits(&mut self, one: &Type, wanted: &Type) -> bool {
        if let Type::Var(var) = wanted {
            match self.bind(*var, one) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Var(var) = one {
            return self.bind(*var, wanted).0;
        }
        match (one, wanted) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null
                    | Type::Object(_)
                    | Type::Open(_)
                    | Type::Opaque(_)
                    | Type::Optional(_)
                    | Type::Duration
                    | Type::Timestamp
            ),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Meta(_), Type::Meta(_)) => true,
            _ => one == wanted,
        }
    }

    /// Whether all fit; variables are as before where they do not.
    fn all_fit(&mut self, found: &[Type], wanted: &[Type]) -> bool {
        let before = self.trail.len();
        let fit = found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(found, wanted)| self.fits(found, wanted));
        if !fit {
            while self.trail.len() > before {
                if let Some((var, was)) = self.trail.pop() {
                    self.bound[var] = was;
                }
            }
        }
        fit
    }

    /// Takes the parts of a type from what is left; whether there were enough.
    fn affords(&self, of: &Type, left: &mut usize) -> bool {
        if *left == 0 {
            return false;
        }
        *left -= 1;
        match of {
            Type::Var(n) => match self.bound.get(*n).and_then(Option::as_ref) {
                Some(bound) => self.affords(bound, left),
                None => true,
            },
            Type::List(inner) | Type::Optional(inner) | Type::Meta(inner) => self.affords(inner, left),
            Type::Map(inner) => self.affords(&inner.0, left) && self.affords(&inner.1, left),
            _ => true,
        }
    }

    fn set(&mut self, expr: &Expr, of: Type) -> Type {
        if !self.affords(&of, &mut { TYPE_PARTS_MAX }) {
            self.wrong(expr.at, format!("type has more than {TYPE_PARTS_MAX} parts"));
            self.types.of[expr.id] = Type::Error;
            return Type::Error;
        }
        self.types.of[expr.id] = of.clone();
        of
    }

    fn at(&mut self, expr: &Expr) -> Type {
        let of = match &expr.kind {
            Kind::Literal(literal) => match literal {
                Literal::Null => Type::Null,
                Literal::Bool(_) => Type::Bool,
                Literal::Int(_) => Type::Int,
                Literal::Uint(_) => Type::Uint,
                Literal::Double(_) => Type::Double,
                Literal::String(_) => Type::String,
                Literal::Bytes(_) => Type::Bytes,
            },
            Kind::Ident(name) => self.variable(expr, name),
            Kind::Select { operand, field, test } => {
                let selected = self.select(expr, operand, field, false);
                if *test { Type::Bool } else { self.known(&selected, false) }
            }
            Kind::Call { target, name, args } => self.call(expr, target.as_deref(), name, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(expr, name, fields),
            Kind::Fold(fold) => self.fold(fold),
        };
        self.set(expr, of)
    }

    fn variable(&mut self, expr: &Expr, name: &str) -> Type {
        if let Some((_, of)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return of.clone();
        }
        if let Some(of) = self.scope.variables.get(name) {
            return of.clone();
        }
        if let Some(of) = types::named(name) {
            return Type::Meta(Arc::new(of));
        }
        self.wrong(expr.at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, optional: bool) -> Type {
        // Names of types have dots in them.
        let known = |scope: &Scope, first: &str| scope.variables.contains_key(first);
        if let Some(prefix) = dotted(operand).filter(|_| !optional) {
            let first = prefix.split('.').next().unwrap_or_default();
            let taken = known(self.scope, first) || self.locals.iter().any(|(name, _)| name == first);
            if let Some(of) = types::named(&format!("{prefix}.{field}")).filter(|_| !taken) {
                return Type::Meta(Arc::new(of));
            }
        }
        let found = self.at(operand);
        let found = self.known(&found, false);
        let (target, is_optional) = found.unwrapped();
        let result = match target {
            Type::Map(of) => of.1.clone(),
            Type::Object(decl) => match decl.fields.get(field) {
                Some((_, of)) => of.ty(),
                None => {
                    self.wrong(expr.at, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
            Type::Open(_) => Type::Dyn,
            Type::Var(_) => {
                self.fits(&Type::Dyn, target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.wrong(expr.at, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || is_optional { Type::optional(result) } else { result }
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> Type {
        if name == "_?._"
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), id, .. }] = args
        {
            self.types.of[*id] = Type::String;
            let selected = self.select(expr, operand, field, true);
            return self.known(&selected, false);
        }
        let mut found: Vec<Type> = args.iter().map(|arg| self.at(arg)).collect();
        let mut name = name.to_owned();
        let mut member = false;
        if let Some(target) = target {
            let qualified = dotted(target).map(|prefix| format!("{prefix}.{name}"));
            match qualified.filter(|name| types::overloads(name).is_some()) {
                Some(qualified) => {
                    self.types.names.insert(expr.id, qualified.clone());
                    name = qualified;
                }
                None => {
                    member = true;
                    found.insert(0, self.at(target));
                }
            }
        }
        let Some(overloads) = types::overloads(&name) else {
            self.wrong(expr.at, format!("undeclared reference to '{name}' (in container '')"));
            return Type::Error;
        };
        if matches!(name.as_str(), "_&&_" | "_||_") {
            for (arg, found) in args.iter().zip(&found) {
                if !self.fits(found, &Type::Bool) {
                    let found = self.known(found, true);
                    self.wrong(arg.at, format!("expected type 'bool' but found '{found}'"));
                }
            }
            self.types.overloads[expr.id] = overloads.iter().collect();
            return Type::Bool;
        }
        self.resolve(expr, &name, overloads, &found, member)
    }

    fn resolve(
        &mut self,
        expr: &Expr,
        name: &str,
        overloads: &'static [Overload],
        found: &[Type],
        member: bool,
    ) -> Type {
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            // Each use has variables of its own.
            let variables = self.bound.len();
            let mut fresh: BTreeMap<usize, Type> = BTreeMap::new();
            let wanted: Vec<Type> = overload.args.iter().map(|arg| self.instance(arg, &mut fresh)).collect();
            let gives = self.instance(&overload.result, &mut fresh);
            if !self.all_fit(found, &wanted) {
                self.bound.truncate(variables);
                continue;
            }
            self.types.overloads[expr.id].push(overload);
            let gives = self.known(&gives, false);
            result = Some(match result {
                None => gives,
                Some(before) if before == Type::Dyn || before == gives => before,
                Some(_) => Type::Dyn,
            });
        }
        if let Some(result) = result {
            return result;
        }
        let all: Vec<String> = found.iter().map(|found| self.known(found, true).to_string()).collect();
        let signature = match all.split_first() {
            Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
            _ => format!("({})", all.join(", ")),
        };
        self.wrong(expr.at, format!("found no matching overload for '{name}' applied to '{signature}'"));
        Type::Error
    }

    /// A type of the table with variables of its own.
    fn instance(&mut self, of: &Type, fresh: &mut BTreeMap<usize, Type>) -> Type {
        match of {
            Type::Var(letter) => {
                if let Some(known) = fresh.get(letter) {
                    return known.clone();
                }
                let new = self.fresh();
                fresh.insert(*letter, new.clone());
                new
            }
            Type::List(inner) => Type::list(self.instance(inner, fresh)),
            Type::Optional(inner) => Type::optional(self.instance(inner, fresh)),
            Type::Meta(inner) => Type::Meta(Arc::new(self.instance(inner, fresh))),
            Type::Map(inner) => {
                let key = self.instance(&inner.0, fresh);
                Type::map(key, self.instance(&inner.1, fresh))
            }
            other => other.clone(),
        }
    }

    /// The type of a collection with one more in it.
    fn join(&mut self, so_far: Option<Type>, next: Type) -> Type {
        let Some(so_far) = so_far else { return next };
        if self.all_fit(std::slice::from_ref(&so_far), std::slice::from_ref(&next)) {
            return if self.is_wider(&so_far, &next) { so_far } else { next };
        }
        // A second look refuses it, where it is written out and no argument of `format`.
        Type::Dyn
    }

    /// What an entry marked with `?` adds.
    fn optional_entry(&mut self, of: Type, optional: bool, at: usize) -> Type {
        if !optional {
            return of;
        }
        let known = self.known(&of, false);
        let (inner, is_optional) = known.unwrapped();
        if !is_optional && *inner != Type::Dyn {
            self.wrong(at, format!("expected type 'optional_type({inner})' but found '{inner}'"));
        }
        inner.clone()
    }

    fn list(&mut self, items: &[(Expr, bool)]) -> Type {
        let mut all = None;
        for (item, optional) in items {
            let of = self.at(item);
            let of = self.optional_entry(of, *optional, item.at);
            all = Some(self.join(all, of));
        }
        let of = match all {
            Some(of) => of,
            None => self.fresh(),
        };
        Type::list(of)
    }

    fn map(&mut self, entries: &[(Expr, Expr, bool)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (key, value, optional) in entries {
            let of = self.at(key);
            keys = Some(self.join(keys, of));
            let of = self.at(value);
            let of = self.optional_entry(of, *optional, value.at);
            values = Some(self.join(values, of));
        }
        match (keys, values) {
            (Some(key), Some(value)) => Type::map(key, value),
            _ => {
                let key = self.fresh();
                Type::map(key, self.fresh())
            }
        }
    }

    fn structure(&mut self, expr: &Expr, name: &str, fields: &[(String, Expr, bool)]) -> Type {
        let is_object = name == "Object" || name.starts_with("Object.");
        if !self.scope.objects || !(is_object || name == "JSONPatch") {
            fields.iter().for_each(|(_, value, _)| {
                self.at(value);
            });
            self.wrong(expr.at, format!("undeclared reference to '{name}' (in container '')"));
            return Type::Error;
        }
        for (field, value, optional) in fields {
            let of = self.at(value);
            let of = self.optional_entry(of, *optional, value.at);
            if is_object {
                // A part of an object is of the type that is named after its place.
                if let Type::Open(found) = self.known(&of, false)
                    && *found != *format!("{name}.{field}")
                {
                    let message = format!(
                        "expected type of field '{field}' is '{name}.{field}' but provided type is '{found}'"
                    );
                    self.wrong(value.at, message);
                }
                continue;
            }
            match PATCH_FIELDS.iter().find(|(known, _)| known == field) {
                None => self.wrong(expr.at, format!("undefined field '{field}'")),
                Some((_, wanted)) if !self.fits(&of, wanted) => {
                    let found = self.known(&of, true);
                    let message = format!(
                        "expected type of field '{field}' is '{wanted}' but provided type is '{found}'"
                    );
                    self.wrong(value.at, message);
                }
                Some(_) => {}
            }
        }
        Type::Open(name.into())
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.at(&fold.range);
        let gathered = self.at(&fold.init);
        let range = self.known(&range, false);
        let (first, second) = match &range {
            Type::List(of) if fold.var2.is_some() => (Type::Int, (**of).clone()),
            Type::List(of) => ((**of).clone(), Type::Dyn),
            Type::Map(of) => (of.0.clone(), of.1.clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.fits(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.wrong(fold.range.at, message);
                (Type::Error, Type::Error)
            }
        };
        let outside = self.locals.len();
        self.locals.push((fold.gathered.clone(), gathered.clone()));
        self.locals.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.locals.push((var2.clone(), second));
        }
        let goes_on = self.at(&fold.goes_on);
        self.demands(&goes_on, &Type::Bool, fold.goes_on.at);
        let step = self.at(&fold.step);
        self.demands(&step, &gathered, fold.step.at);
        self.locals.truncate(outside + 1);
        let result = self.at(&fold.result);
        self.locals.truncate(outside);
        self.known(&result, false)
    }

    fn demands(&mut self, found: &Type, wanted: &Type, at: usize) {
        if !self.all_fit(std::slice::from_ref(found), std::slice::from_ref(wanted)) {
            let (found, wanted) = (self.known(found, true), self.known(wanted, true));
            self.wrong(at, format!("expected type '{wanted}' but found '{found}'"));
        }
    }
}
