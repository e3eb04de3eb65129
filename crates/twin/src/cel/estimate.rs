//! The most an expression may cost, from the sizes its declarations allow: what Kubernetes refuses rules by.
//!
//! Follows cel-go's estimate (`checker/cost.go`) and k8s.io/apiserver's of its library, of which only the upper bounds
//! matter. A bound that is not known is the largest number, and sums stop there.

use super::ast::{Expr, Fold, GATHERED, Kind, Literal};
use super::cost;
use super::decl::Decl;
use super::program::Program;
use super::types::Type;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nobody knows how much.
const UNKNOWN: u64 = u64::MAX;

/// Tenths, rounded up, of what may be unknown.
fn tenths(size: u64) -> u64 {
    factor(size, 0.1)
}

/// A size times a factor, rounded up as floating point says.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // As cel-go does.
fn factor(size: u64, by: f64) -> u64 {
    let product = (size as f64 * by).ceil();
    if product >= 18_446_744_073_709_551_616.0 { UNKNOWN } else { product as u64 }
}

fn square(size: u64) -> u64 {
    size.saturating_mul(size)
}

/// A number that is written out.
fn whole(expr: &Expr) -> Option<u64> {
    match &expr.kind {
        Kind::Literal(Literal::Int(n)) => Some((*n).max(0).cast_unsigned()),
        _ => None,
    }
}

/// Making a list of such a size, at so much an element.
fn allocates(each: f64, size: u64) -> (u64, Option<u64>) {
    (factor(size, each).saturating_add(1 + cost::LIST), Some(size))
}

/// A variable of a macro.
struct Local {
    name: String,
    path: Option<Vec<String>>,
    size: Option<u64>,
    entry: Option<u64>,
}

struct Coster<'a> {
    program: &'a Program,
    /// What `self` is declared as.
    root: Option<&'a Arc<Decl>>,
    paths: BTreeMap<usize, Vec<String>>,
    sizes: BTreeMap<usize, u64>,
    /// Sizes of the elements of what is made, by part.
    entries: BTreeMap<usize, u64>,
    locals: Vec<Local>,
}

/// The most an expression may cost. Sizes of `self` and `oldSelf` are those of their declaration.
pub(super) fn most(program: &Program, root: Option<&Arc<Decl>>) -> u64 {
    let mut coster = Coster {
        program,
        root,
        paths: BTreeMap::new(),
        sizes: BTreeMap::new(),
        entries: BTreeMap::new(),
        locals: Vec::new(),
    };
    coster.at(&program.tree)
}

/// What calls are told by their arguments.
struct Args<'a> {
    target: Option<&'a Expr>,
    args: &'a [Expr],
}

impl Coster<'_> {
    fn ty(&self, expr: &Expr) -> &Type {
        &self.program.types.of[expr.id]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone().unwrap_or_default();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    /// The size that a declaration allows.
    fn declared(&self, path: &[String]) -> Option<u64> {
        let (first, rest) = path.split_first()?;
        if first == GATHERED {
            return None;
        }
        let mut decl = self.root?;
        for step in rest {
            decl = match step.as_str() {
                "@items" | "@values" => decl.element.as_ref()?,
                // Keys are strings, of any length.
                "@keys" => return decl.element.as_ref().map(|_| 0),
                field => &decl.fields.get(field)?.1,
            };
        }
        Some(decl.elements_max)
    }

    fn size(&self, expr: &Expr) -> Option<u64> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(Literal::String(text)) => return Some(text.chars().count() as u64),
            Kind::Literal(Literal::Bytes(bytes)) => return Some(bytes.len() as u64),
            Kind::Literal(_) => return Some(1),
            Kind::List(items) => return Some(items.len() as u64),
            Kind::Map(entries) => return Some(entries.len() as u64),
            _ => {}
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(1);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&self, expr: &Expr) -> u64 {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn entry(&self, expr: &Expr) -> Option<u64> {
        if let Some(size) = self.entries.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entry),
            _ => None,
        }
    }

    fn at(&mut self, expr: &Expr) -> u64 {
        match &expr.kind {
            Kind::Literal(_) => 0,
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone().unwrap_or_default(),
                    None => vec![name.clone()],
                };
                self.paths.insert(expr.id, path);
                cost::SELECT
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { target, name, args } => self.call(expr, target.as_deref(), name, args),
            Kind::List(items) => {
                let mut entry = 0;
                let mut sum = cost::LIST;
                for (item, _) in items {
                    sum = sum.saturating_add(self.at(item));
                    entry = entry.max(self.size_or_unknown(item));
                }
                self.entries.insert(expr.id, entry);
                sum
            }
            Kind::Map(all) => {
                let mut entry = 0;
                let mut sum = cost::MAP;
                for (key, value, _) in all {
                    sum = sum.saturating_add(self.at(key)).saturating_add(self.at(value));
                    entry = entry.max(self.size_or_unknown(value));
                }
                self.entries.insert(expr.id, entry);
                sum
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(cost::OBJECT, |sum, (_, value, _)| sum.saturating_add(self.at(value)))
            }
            Kind::Fold(fold) if fold.binds() => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> u64 {
        if matches!(self.ty(expr), Type::Meta(_)) {
            return cost::SELECT;
        }
        let mut sum = self.at(operand);
        if test {
            return sum;
        }
        if matches!(self.ty(operand), Type::Map(_) | Type::Object(_) | Type::Open(_)) {
            sum = sum.saturating_add(cost::SELECT);
        }
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        sum
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> u64 {
        let sum = self.at(&fold.range).saturating_add(self.at(&fold.init));
        let outside = self.locals.len();
        let local = |name: &str, path, size, entry| Local { name: name.to_owned(), path, size, entry };
        let gathered =
            local(&fold.gathered, Some(self.path(&fold.init)), self.size(&fold.init), self.entry(&fold.init));
        self.locals.push(gathered);
        let is_list =
            matches!(self.ty(&fold.range), Type::List(_)) || matches!(fold.range.kind, Kind::List(_));
        let below = |coster: &Self, step: &str| {
            let mut path = coster.path(&fold.range);
            path.push(step.to_owned());
            Some(path)
        };
        let entry = self.entry(&fold.range);
        let second = if is_list { "@items" } else { "@values" };
        if let Some(var2) = &fold.var2 {
            let first = if is_list { "@indices" } else { "@keys" };
            let (first, second) = (below(self, first), below(self, second));
            self.locals.push(local(&fold.var, first, entry.map(|_| 1), None));
            self.locals.push(local(var2, second, entry, None));
        } else {
            let only = below(self, if is_list { "@items" } else { "@keys" });
            self.locals.push(local(&fold.var, only, entry, None));
        }
        let goes_on = self.at(&fold.goes_on);
        let step = self.at(&fold.step);
        self.locals.truncate(outside + 1);
        let result = self.at(&fold.result);
        self.locals.truncate(outside);
        let count = self.size_or_unknown(&fold.range);
        let size = match fold.init.kind {
            Kind::Literal(_) => self.size(&fold.init),
            _ => Some(count),
        };
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        if let (Kind::List(_) | Kind::Map(_), Some(entry)) = (&fold.init.kind, self.entry(&fold.step)) {
            self.entries.insert(expr.id, entry);
        }
        sum.saturating_add(result).saturating_add(count.saturating_mul(goes_on.saturating_add(step)))
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> u64 {
        let sum = self.at(&fold.range).saturating_add(self.at(&fold.init));
        let local = Local {
            name: fold.gathered.clone(),
            path: Some(self.path(&fold.init)),
            size: self.size(&fold.init),
            entry: self.entry(&fold.init),
        };
        self.locals.push(local);
        let result = self.at(&fold.result);
        if let Some(size) = self.size(&fold.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entry) = self.entry(&fold.result) {
            self.entries.insert(expr.id, entry);
        }
        self.locals.pop();
        sum.saturating_add(result)
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> u64 {
        let program = self.program;
        let qualified = program.types.names.get(&expr.id);
        let target = target.filter(|_| qualified.is_none());
        let name = qualified.map_or(name, String::as_str);
        if let ("dyn", [arg]) = (name, args) {
            let sum = self.at(arg).saturating_add(1);
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entry) = self.entry(arg) {
                self.entries.insert(expr.id, entry);
            }
            return sum;
        }
        let costs: Vec<u64> = args.iter().map(|arg| self.at(arg)).collect();
        let of_args = costs.iter().fold(0_u64, |sum, cost| sum.saturating_add(*cost));
        let of_target = target.map_or(0, |target| self.at(target));
        let args = Args { target, args };
        let (own, size) = match (name, args.args) {
            ("_?_:_", [_, then, otherwise]) => {
                let size = self.size_or_unknown(then).max(self.size_or_unknown(otherwise));
                if let (Some(a), Some(b)) = (self.entry(then), self.entry(otherwise)) {
                    self.entries.insert(expr.id, a.max(b));
                }
                self.sizes.insert(expr.id, size);
                return costs[0].saturating_add(costs[1].max(costs[2]));
            }
            ("_&&_" | "_||_", _) => (0, None),
            _ => match self.of_library(name, &args) {
                Some(found) => found,
                None => self.of_standard(expr, name, &args),
            },
        };
        let size = self.indexed(expr, name, args.args).or(size).or_else(|| self.size(expr));
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        of_target.saturating_add(of_args).saturating_add(own)
    }

    /// Keeps the way to an element; its size, if it is known.
    fn indexed(&mut self, expr: &Expr, name: &str, args: &[Expr]) -> Option<u64> {
        let [of, _] = args else { return None };
        let step = match self.ty(of) {
            Type::List(_) => "@items",
            Type::Map(_) => "@values",
            _ => return None,
        };
        if name != "_[_]" {
            return None;
        }
        let mut path = self.path(of);
        path.push(step.to_owned());
        self.paths.insert(expr.id, path);
        self.entry(of)
    }

    /// The size as the library reckons it.
    fn of(&self, expr: &Expr) -> u64 {
        self.size_or_unknown(expr)
    }

    /// The size of a list's elements, where it is a list; none is known but by its declaration.
    fn element(&self, list: &Expr) -> Option<(Type, u64)> {
        let Type::List(of) = self.ty(list) else { return None };
        let mut path = self.path(list);
        let size = if path.is_empty() {
            None
        } else {
            path.push("@items".to_owned());
            self.declared(&path)
        };
        Some(((**of).clone(), size.unwrap_or(UNKNOWN)))
    }

    /// Functions of Kubernetes' library: what they cost beside their arguments, and the size they give.
    fn of_library(&self, name: &str, args: &Args<'_>) -> Option<(u64, Option<u64>)> {
        let first = args.args.first();
        let target = args.target;
        Some(match (name, target, first) {
            ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf", Some(target), _) => {
                let Some((of, size)) = self.element(target) else {
                    return Some((tenths(self.of(target)), None));
                };
                let each = match of {
                    Type::String | Type::Bytes => tenths(size).saturating_add(1),
                    _ => 1,
                };
                (self.of(target).saturating_mul(each), None)
            }
            ("url" | "jsonpatch.escapeKey", None, Some(text)) => (tenths(self.of(text)), Some(self.of(text))),
            ("lowerAscii" | "upperAscii" | "substring" | "trim", Some(target), _) => {
                (tenths(self.of(target)), Some(self.of(target)))
            }
            ("replace", Some(target), Some(_)) => {
                (factor(self.of(target), 0.2), Some(self.replaced(target, args.args)))
            }
            ("split", Some(target), _) => {
                let size = self.of(target);
                let most = match args.args.get(1).map(|arg| &arg.kind) {
                    Some(Kind::Literal(Literal::Int(n))) => n.cast_unsigned(),
                    _ => size,
                };
                (factor(size, 0.2), Some(most))
            }
            ("join", Some(target), between) => {
                let count = self.of(target);
                let mut size = self.element(target).map_or(0, |(_, each)| count.saturating_mul(each));
                if let Some(between) = between {
                    size = size.saturating_add(self.of(between).saturating_mul(count.saturating_sub(1)));
                }
                (tenths(size), Some(size))
            }
            ("find" | "findAll", Some(target), Some(pattern)) => {
                let size = self.of(target);
                let regex = factor(self.of(pattern), 0.25);
                (tenths(size.saturating_add(1)).saturating_mul(regex), Some(size))
            }
            (
                "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver",
                _,
                Some(text),
            ) => (tenths(self.of(text)), None),
            ("ip", None, Some(text)) => (tenths(self.of(text)), None),
            ("ip.isCanonical", _, Some(text)) => (factor(self.of(text), 0.2), None),
            ("containsIP" | "containsCIDR", Some(_), Some(other)) => {
                let is_text = *self.ty(other) == Type::String;
                let read = if is_text { tenths(self.of(other)) } else { 0 };
                let more = if name == "containsCIDR" { tenths(16) + 1 } else { 0 };
                (tenths(32).saturating_add(more).saturating_add(read), None)
            }
            ("validate", Some(_), Some(text)) => (factor(tenths(self.of(text)), 128.0 * 0.25), None),
            _ => return self.of_lists(name, args),
        })
    }

    /// The same of functions of lists and sets, which cel-go's extensions have.
    fn of_lists(&self, name: &str, args: &Args<'_>) -> Option<(u64, Option<u64>)> {
        Some(match (name, args.target, args.args.first()) {
            ("sets.contains" | "sets.intersects", None, Some(one)) => {
                let pairs = self.of(one).saturating_mul(self.of(args.args.get(1)?));
                (pairs.saturating_add(1), None)
            }
            ("sets.equivalent", None, Some(one)) => {
                let pairs = self.of(one).saturating_mul(self.of(args.args.get(1)?));
                (factor(pairs, 2.0).saturating_add(1), None)
            }
            ("slice", Some(target), Some(from)) => {
                let to = whole(args.args.get(1)?).unwrap_or(self.of(target));
                allocates(1.0, to.wrapping_sub(whole(from).unwrap_or(0)))
            }
            ("lists.range", None, Some(count)) => allocates(1.0, whole(count).unwrap_or(UNKNOWN)),
            ("reverse", Some(target), None) => allocates(1.0, self.of(target)),
            #[expect(clippy::cast_precision_loss)] // As cel-go does.
            ("flatten", Some(target), depth) => {
                let depth = depth.map_or(1, |depth| whole(depth).unwrap_or(UNKNOWN));
                allocates(depth as f64, self.of(target))
            }
            ("distinct", Some(target), None) => allocates(2.0, square(self.of(target))),
            ("sort", Some(target), None) => allocates(self.comparing(target), square(self.of(target))),
            ("@sortByAssociatedKeys", Some(_), Some(keys)) => {
                allocates(self.comparing(keys), square(self.of(keys)))
            }
            _ => return None,
        })
    }

    /// What comparing two elements of a list costs.
    fn comparing(&self, list: &Expr) -> f64 {
        match self.ty(list) {
            Type::List(of) if matches!(**of, Type::String | Type::Bytes) => 2.1,
            _ => 2.0,
        }
    }

    /// The longest text that replacing may give.
    fn replaced(&self, target: &Expr, args: &[Expr]) -> u64 {
        let [old, new, ..] = args else { return UNKNOWN };
        let (size, new) = (self.of(target), self.of(new));
        // The shortest text replaced is known where it is written out.
        let shortest = match &old.kind {
            Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
            _ => 0,
        };
        if shortest == 0 {
            return size.saturating_add(1).saturating_mul(new).saturating_add(size);
        }
        if new <= shortest { size } else { size.div_ceil(shortest).saturating_mul(new) }
    }

    /// Functions of CEL itself.
    fn of_standard(&mut self, expr: &Expr, name: &str, args: &Args<'_>) -> (u64, Option<u64>) {
        let Args { target, args } = *args;
        let overloads = &self.program.types.overloads[expr.id];
        // A call that may be of several kinds costs what the dearest of them does.
        let takes = |kinds: &[Type]| {
            let known = |of: &Type| kinds.iter().any(|kind| kind == of);
            overloads.iter().any(|overload| overload.args.iter().all(known))
        };
        match (name, target, args) {
            ("format", Some(target), _) => (tenths(self.of(target)), None),
            ("bytes", None, [text]) if takes(&[Type::String]) => {
                let size = self.of(text);
                (tenths(size).max(1), Some(size.saturating_mul(4)))
            }
            ("string", None, [bytes]) if takes(&[Type::Bytes]) => {
                let size = self.of(bytes);
                (tenths(size).max(1), Some(size))
            }
            ("strings.quote", None, [text]) => {
                let size = self.of(text);
                (tenths(size), Some(size.saturating_mul(2).saturating_add(2)))
            }
            ("startsWith" | "endsWith", _, [part]) => (tenths(self.of(part)), None),
            ("@in", None, [_, of]) => match self.ty(of) {
                Type::Map(_) => (1, None),
                _ => (self.of(of), None),
            },
            ("matches", Some(text), [pattern]) => {
                let regex = factor(self.of(pattern), 0.25);
                (tenths(self.of(text).saturating_add(1)).saturating_mul(regex), None)
            }
            ("contains", Some(text), [part]) => {
                (tenths(self.of(text)).saturating_mul(tenths(self.of(part))), None)
            }
            ("_+_", None, [a, b]) => {
                let size = self.of(a).saturating_add(self.of(b));
                if let (Some(one), Some(other)) = (self.entry(a), self.entry(b)) {
                    self.entries.insert(expr.id, one.max(other));
                }
                let sized = takes(&[Type::String]) || takes(&[Type::Bytes]);
                let listed = overloads.iter().any(|o| matches!(o.result, Type::List(_)));
                match (sized, listed) {
                    (true, _) => (tenths(size).max(1), Some(size)),
                    (false, true) => (1, Some(size)),
                    _ => (1, None),
                }
            }
            ("_==_", None, [a, b]) if self.ty(a) == self.ty(b) && is_opaque(self.ty(a)) => (1, None),
            ("_==_" | "_!=_", None, [a, b]) => (tenths(self.of(a).min(self.of(b))), None),
            ("_<_" | "_<=_" | "_>_" | "_>=_", None, [a, b]) => {
                let sized = takes(&[Type::String]) || takes(&[Type::Bytes]);
                let by_size = tenths(self.of(a).min(self.of(b)));
                (if sized { by_size.max(1) } else { 1 }, None)
            }
            _ => (1, None),
        }
    }
}

fn is_opaque(of: &Type) -> bool {
    matches!(of, Type::Opaque(_))
}
