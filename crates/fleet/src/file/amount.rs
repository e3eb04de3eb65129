//! Amounts of CPU and memory as fleet files write them.

/// A whole number with one of these suffixes, times its factor; not less than none.
fn with_suffix(text: &str, suffixes: &[(&str, i64)]) -> Option<i64> {
    let (suffix, factor) = suffixes.iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let number: i64 = text.strip_suffix(suffix)?.parse().ok()?;
    number.checked_mul(*factor).filter(|amount| *amount >= 0)
}

/// Thousandths of a core: `16`, `1500m`.
pub(super) fn millis(text: &str) -> Option<i64> {
    with_suffix(text, &[("m", 1), ("", 1000)])
}

/// Bytes: `64Gi`, `512Mi`.
pub(super) fn bytes(text: &str) -> Option<i64> {
    with_suffix(text, &[("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40), ("", 1)])
}
