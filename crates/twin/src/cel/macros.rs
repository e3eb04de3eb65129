//! Macros, written out as cel-go writes them: `has`, `all`, `exists`, `existsOne`, `map`, `filter`, `optMap`,
//! `optFlatMap`, `sortBy`, and those of two variables with `transformList`, `transformMap`, `transformMapEntry`.

use super::ast::{Expr, Fold, GATHERED, Kind, Literal, Mistake};
use super::parser::Maker;

/// A function's call, or the macro of that name.
pub(super) fn global(maker: &mut Maker, at: usize, name: &str, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
    if name == "has" && args.len() == 1 {
        let Some(arg) = args.pop() else { return Ok(maker.call(at, name, args)) };
        let Kind::Select { operand, field, .. } = arg.kind else {
            return Err(Mistake { at: arg.at, message: "invalid argument to has() macro".to_owned() });
        };
        return Ok(maker.make(at, Kind::Select { operand, field, test: true }));
    }
    Ok(maker.call(at, name, args))
}

/// The name a macro's argument gives to a variable.
fn variable(arg: &Expr) -> Result<String, Mistake> {
    let refuse = |message: &str| Err(Mistake { at: arg.at, message: message.to_owned() });
    match &arg.kind {
        Kind::Ident(name) if name == "__result__" => {
            refuse("iteration variable overwrites accumulator variable")
        }
        Kind::Ident(name) => Ok(name.clone()),
        _ => refuse("argument must be a simple name"),
    }
}

/// A method's call, or the macro of that name.
pub(super) fn member(
    maker: &mut Maker,
    at: usize,
    name: &str,
    target: Expr,
    args: Vec<Expr>,
) -> Result<Expr, Mistake> {
    let mut build = Build { maker, at };
    match (name, args.len()) {
        ("all" | "exists" | "exists_one" | "map" | "filter", 2) | ("map", 3) => build.one(name, target, args),
        (
            "all" | "exists" | "exists_one" | "existsOne" | "transformList" | "transformMap"
            | "transformMapEntry",
            3,
        )
        | ("transformList" | "transformMap" | "transformMapEntry", 4) => build.two(name, target, args),
        ("optMap" | "optFlatMap", 2) => build.optional(name, target, args),
        ("sortBy", 2) => build.sort_by(target, args),
        _ => {
            let target = Some(Box::new(target));
            Ok(build.maker.make(at, Kind::Call { target, name: name.to_owned(), args }))
        }
    }
}

/// The parts of a loop that differ by macro.
struct Loop {
    init: Expr,
    goes_on: Expr,
    step: Expr,
    result: Expr,
}

struct Build<'a> {
    maker: &'a mut Maker,
    at: usize,
}

impl Build<'_> {
    fn gathered(&mut self) -> Expr {
        self.maker.ident(self.at, GATHERED)
    }
    fn literal(&mut self, value: Literal) -> Expr {
        self.maker.literal(self.at, value)
    }
    fn call(&mut self, name: &str, args: Vec<Expr>) -> Expr {
        self.maker.call(self.at, name, args)
    }

    /// `all`, `exists` and `existsOne` of a predicate.
    fn quantifier(&mut self, name: &str, predicate: Expr) -> Loop {
        let gathered = self.gathered();
        match name {
            "all" => {
                let goes_on = self.call("@not_strictly_false", vec![gathered]);
                let so_far = self.gathered();
                let step = self.call("_&&_", vec![so_far, predicate]);
                let (init, result) = (self.literal(Literal::Bool(true)), self.gathered());
                Loop { init, goes_on, step, result }
            }
            "exists" => {
                let not = self.call("!_", vec![gathered]);
                let goes_on = self.call("@not_strictly_false", vec![not]);
                let so_far = self.gathered();
                let step = self.call("_||_", vec![so_far, predicate]);
                let (init, result) = (self.literal(Literal::Bool(false)), self.gathered());
                Loop { init, goes_on, step, result }
            }
            _ => {
                let one = self.literal(Literal::Int(1));
                let more = self.call("_+_", vec![gathered, one]);
                let same = self.gathered();
                let step = self.call("_?_:_", vec![predicate, more, same]);
                let (so_far, one) = (self.gathered(), self.literal(Literal::Int(1)));
                let result = self.call("_==_", vec![so_far, one]);
                let (init, goes_on) = (self.literal(Literal::Int(0)), self.literal(Literal::Bool(true)));
                Loop { init, goes_on, step, result }
            }
        }
    }

    /// Gathers what `more` makes of what there is so far, where the filter holds.
    fn gathers(&mut self, init: Expr, more: Expr, filter: Option<Expr>) -> Loop {
        let step = match filter {
            Some(filter) => {
                let same = self.gathered();
                self.call("_?_:_", vec![filter, more, same])
            }
            None => more,
        };
        let goes_on = self.literal(Literal::Bool(true));
        let result = self.gathered();
        Loop { init, goes_on, step, result }
    }

    /// `so far + [item]`.
    fn with_item(&mut self, item: Expr) -> Expr {
        let so_far = self.gathered();
        let list = self.maker.make(self.at, Kind::List(vec![(item, false)]));
        self.call("_+_", vec![so_far, list])
    }

    fn fold(&mut self, range: Expr, var: String, var2: Option<String>, of: Loop) -> Expr {
        let Loop { init, goes_on, step, result } = of;
        let fold = Fold { range, var, var2, gathered: GATHERED.to_owned(), init, goes_on, step, result };
        self.maker.make(self.at, Kind::Fold(Box::new(fold)))
    }

    /// Macros of one variable.
    fn one(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Mistake> {
        let var = variable(&args[0])?;
        let mut args = args.into_iter().skip(1);
        let (first, second) = (args.next(), args.next());
        let Some(first) = first else { return Ok(target) };
        let of = match (name, second) {
            ("map", second) => {
                let (filter, item) = match second {
                    Some(item) => (Some(first), item),
                    None => (None, first),
                };
                let init = self.maker.make(self.at, Kind::List(Vec::new()));
                let more = self.with_item(item);
                self.gathers(init, more, filter)
            }
            ("filter", _) => {
                let init = self.maker.make(self.at, Kind::List(Vec::new()));
                let item = self.maker.ident(self.at, &var);
                let more = self.with_item(item);
                self.gathers(init, more, Some(first))
            }
            _ => self.quantifier(name, first),
        };
        Ok(self.fold(target, var, None, of))
    }

    /// Macros of two variables.
    fn two(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Result<Expr, Mistake> {
        let (var, var2) = (variable(&args[0])?, variable(&args[1])?);
        if var == var2 {
            return Err(Mistake { at: args[1].at, message: format!("duplicate variable name: {var}") });
        }
        let mut rest: Vec<Expr> = args.into_iter().skip(2).collect();
        let Some(last) = rest.pop() else { return Ok(target) };
        let filter = rest.pop();
        let of = match name {
            "transformList" => {
                let init = self.maker.make(self.at, Kind::List(Vec::new()));
                let more = self.with_item(last);
                self.gathers(init, more, filter)
            }
            "transformMap" | "transformMapEntry" => {
                let init = self.maker.make(self.at, Kind::Map(Vec::new()));
                let mut parts = vec![self.gathered()];
                if name == "transformMap" {
                    parts.push(self.maker.ident(self.at, &var));
                }
                parts.push(last);
                let more = self.call("cel.@mapInsert", parts);
                self.gathers(init, more, filter)
            }
            _ => self.quantifier(name, last),
        };
        Ok(self.fold(target, var, Some(var2), of))
    }

    /// A name for a value.
    fn bind(&mut self, var: String, value: Expr, then: Expr) -> Expr {
        let range = self.maker.make(self.at, Kind::List(Vec::new()));
        let goes_on = self.literal(Literal::Bool(false));
        let step = self.maker.ident(self.at, &var);
        let fold = Fold {
            range,
            var: "#unused".to_owned(),
            var2: None,
            gathered: var,
            init: value,
            goes_on,
            step,
            result: then,
        };
        self.maker.make(self.at, Kind::Fold(Box::new(fold)))
    }

    fn method(&mut self, target: Expr, name: &str, args: Vec<Expr>) -> Expr {
        self.maker.make(self.at, Kind::Call { target: Some(Box::new(target)), name: name.to_owned(), args })
    }

    fn optional(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
        let Kind::Ident(var) = args[0].kind.clone() else {
            let message = format!("{name}() variable name must be a simple identifier");
            return Err(Mistake { at: args[0].at, message });
        };
        let Some(then) = args.pop() else { return Ok(target) };
        let again = self.maker.copy(&target);
        let there = self.method(target, "hasValue", Vec::new());
        let value = self.method(again, "value", Vec::new());
        let mut bound = self.bind(var, value, then);
        if name == "optMap" {
            bound = self.call("optional.of", vec![bound]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![there, bound, none]))
    }

    fn sort_by(&mut self, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Mistake> {
        let var = variable(&args[0])?;
        let Some(key) = args.pop() else { return Ok(target) };
        let named = "@__sortBy_input__";
        let (range, sorted) = (self.maker.ident(self.at, named), self.maker.ident(self.at, named));
        let init = self.maker.make(self.at, Kind::List(Vec::new()));
        let more = self.with_item(key);
        let of = self.gathers(init, more, None);
        let keys = self.fold(range, var, None, of);
        let by_keys = self.method(sorted, "@sortByAssociatedKeys", vec![keys]);
        Ok(self.bind(named.to_owned(), target, by_keys))
    }
}
