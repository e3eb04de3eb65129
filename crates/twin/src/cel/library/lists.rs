//! Functions of lists: those of Kubernetes (sums, extremes, order) and cel-go's `lists` (version 3) and `sets`.

use super::super::value::{Eval, Fault, List, Meter, Value};
use super::{arithmetic, compare, no_overload};
use std::cmp::Ordering;

/// Most elements of a list that is made: more than a request of three mebibytes can hold.
const ELEMENTS_MAX: i64 = 2_000_000;
/// Deepest lists that `flatten` looks into.
const FLATTEN_MAX: i64 = 64;

/// Whether no element is greater than the next.
pub(super) fn is_sorted<'a>(list: &List<'a>, meter: &Meter) -> Eval<'a> {
    let all = list.all(meter)?;
    for pair in all.windows(2) {
        if compare(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

/// The sum; `zero` is what none come to.
pub(super) fn sum<'a>(list: &List<'a>, zero: Value<'a>, meter: &Meter) -> Eval<'a> {
    let all = list.all(meter)?;
    let mut all = all.into_iter();
    let Some(first) = all.next() else { return Ok(zero) };
    all.try_fold(first, |sum, next| arithmetic("_+_", &sum, &next, meter))
}

/// The least or the greatest.
pub(super) fn extreme<'a>(list: &List<'a>, name: &str, meter: &Meter) -> Eval<'a> {
    let wanted = if name == "min" { Ordering::Greater } else { Ordering::Less };
    let mut all = list.all(meter)?.into_iter();
    let Some(first) = all.next() else { return Err(Fault::error(format!("{name} called on empty list"))) };
    all.try_fold(first, |so_far, next| Ok(if compare(&so_far, &next)? == wanted { next } else { so_far }))
}

/// Where an element is, first or last; -1 where it is not.
pub(super) fn index_of<'a>(list: &List<'a>, item: &Value<'a>, last: bool, meter: &Meter) -> Eval<'a> {
    let all = list.all(meter)?;
    let mut found = -1;
    for (i, other) in all.iter().enumerate() {
        if other.equals(item, meter)? {
            found = i as i64;
            if !last {
                break;
            }
        }
    }
    Ok(Value::Int(found))
}

/// Part of a list.
pub(super) fn slice<'a>(list: &List<'a>, from: i64, to: i64, meter: &Meter) -> Eval<'a> {
    let count = list.len() as i64;
    if from < 0 || to < 0 {
        return Err(Fault::error(format!("cannot slice({from}, {to}), negative indexes not supported")));
    }
    if from > to {
        return Err(Fault::error(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        )));
    }
    if count < to {
        return Err(Fault::error(format!("cannot slice({from}, {to}), list is length {count}")));
    }
    let place = |n: i64| usize::try_from(n).unwrap_or_default();
    Ok(Value::list(list.all(meter)?[place(from)..place(to)].to_vec()))
}

/// Lists in a list, put one after the other.
pub(super) fn flatten<'a>(list: &List<'a>, depth: i64, meter: &Meter) -> Eval<'a> {
    if depth < 0 {
        return Err(Fault::error("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(&mut out, list, depth.min(FLATTEN_MAX), meter)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(
    out: &mut Vec<Value<'a>>,
    list: &List<'a>,
    depth: i64,
    meter: &Meter,
) -> Result<(), Fault> {
    for item in list.all(meter)? {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(out, &inner, depth - 1, meter)?,
            other => out.push(other),
        }
    }
    Ok(())
}

/// In the order of keys, which are those of the list's elements.
pub(super) fn sort_by<'a>(list: &List<'a>, keys: &List<'a>, meter: &Meter) -> Eval<'a> {
    let (items, keys) = (list.all(meter)?, keys.all(meter)?);
    if items.len() != keys.len() {
        return Err(Fault::error(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        )));
    }
    let first = keys.first().map(Value::kind);
    for key in &keys {
        compare(&keys[0], key).map_err(|_| Fault::error("list elements must be comparable"))?;
        if first.as_ref() != Some(&key.kind()) {
            return Err(Fault::error("list elements must have the same type"));
        }
    }
    meter.work((keys.len() as u64).saturating_mul(u64::from(usize::BITS - keys.len().leading_zeros())))?;
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|i| items[i].clone()).collect()))
}

/// Whole numbers from nought on.
pub(super) fn range<'a>(count: i64, meter: &Meter) -> Eval<'a> {
    if count > ELEMENTS_MAX {
        return Err(Fault::error(format!("range of {count} elements is longer than {ELEMENTS_MAX}")));
    }
    meter.work(count.max(0).cast_unsigned())?;
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

/// Without those that are there already.
pub(super) fn distinct<'a>(list: &List<'a>, meter: &Meter) -> Eval<'a> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in list.all(meter)? {
        if !holds(&out, &item, meter)? {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn holds<'a>(all: &[Value<'a>], item: &Value<'a>, meter: &Meter) -> Result<bool, Fault> {
    for other in all {
        if other.equals(item, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a list holds a value.
pub(super) fn contains<'a>(list: &List<'a>, item: &Value<'a>, meter: &Meter) -> Result<bool, Fault> {
    for at in 0..list.len() {
        let Some(other) = list.get(at) else { break };
        if other?.equals(item, meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `sets.contains`, `sets.equivalent` and `sets.intersects`.
pub(super) fn sets<'a>(name: &str, one: &List<'a>, other: &List<'a>, meter: &Meter) -> Eval<'a> {
    let (one, other) = (one.all(meter)?, other.all(meter)?);
    let covers = |all: &[Value<'a>], parts: &[Value<'a>]| -> Result<bool, Fault> {
        for part in parts {
            if !holds(all, part, meter)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    Ok(Value::Bool(match name {
        "sets.contains" => covers(&one, &other)?,
        "sets.equivalent" => covers(&one, &other)? && covers(&other, &one)?,
        _ => {
            for item in &other {
                if holds(&one, item, meter)? {
                    return Ok(Value::Bool(true));
                }
            }
            false
        }
    }))
}

/// Those of a list of optionals that are there.
pub(super) fn unwrap<'a>(list: &List<'a>, meter: &Meter) -> Eval<'a> {
    let mut out = Vec::new();
    for item in list.all(meter)? {
        match item {
            Value::Optional(Some(inner)) => out.push((*inner).clone()),
            Value::Optional(None) => {}
            _ => return Err(no_overload()),
        }
    }
    Ok(Value::list(out))
}
