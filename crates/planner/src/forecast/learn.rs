//! How much each sign weighs, learnt from how the same forecast did before in the same zone.
//!
//! Pure and deterministic: only + − × ÷, sums in a fixed order, sorts by a total order. Errors are relative
//! (to the actual value or the level of the week), so zones of any level weigh signs alike.

use super::past::{DAY, Outlook, Past, SIGNS, State};

/// What a range of leads starts from before a zone has said anything.
struct Range {
    /// First lead; the range ends where the next begins.
    first: usize,
    /// Weights of [`Outlook::signs`], in their order.
    weights: [f64; SIGNS],
    /// 10 % and 90 % quantiles of actual value by forecast.
    spread: (f64, f64),
}

/// Weights: least absolute relative errors over the 71 series that settings were chosen on (see
/// [`super`]), all zones together; but the level weighs nothing, since the −0.01 to −0.02 that relative
/// errors favour there left 45 to 47 % of hours under the expected value instead of 49 %. Spread: under
/// those weights, on the same series. Read: the next hour repeats the last one's distance from its profile
/// (1.21 − 0.25); after a day, the day of the week counts most and distance a quarter; later still, less.
const RANGES: [Range; 8] = [
    range(0, [0.0, 0.01, 0.01, 1.21, 0.01, -0.25, 0.0], (0.96, 1.04)),
    range(1, [0.01, 0.01, 0.03, 1.09, 0.05, -0.22, 0.0], (0.92, 1.09)),
    range(3, [0.07, -0.01, 0.09, 0.74, 0.1, -0.09, 0.0], (0.88, 1.12)),
    range(6, [0.15, -0.07, 0.17, 0.45, 0.09, 0.01, 0.0], (0.85, 1.15)),
    range(12, [0.32, -0.09, 0.18, 0.26, -0.04, 0.06, 0.0], (0.83, 1.16)),
    range(24, [0.01, -0.14, 0.32, 0.26, 0.07, 0.03, 0.0], (0.8, 1.19)),
    range(48, [-0.03, -0.08, 0.34, 0.12, 0.04, 0.02, 0.0], (0.78, 1.21)),
    range(96, [-0.01, 0.07, 0.28, 0.05, 0.08, 0.04, 0.0], (0.78, 1.23)),
];
/// End of the leads that the last range is judged by; it serves all later leads too.
const LEARNT_LEAD_END: usize = 7 * DAY;
/// Leads a range is judged by at each past issue, at most: 12 gave the same errors in more time.
const LEADS_MAX: usize = 8;
/// Hours between the past issues that are judged: with 24, errors were 1 to 2 % larger.
const ISSUE_HOURS: usize = 6;
/// Days of history that an issue needs before it can be judged.
const DAYS_MIN: usize = 7;
/// How much the prior weights hold: in shares of what the past says. Of 0.1, 0.3, 1, 3 and 10, the one
/// with the least relative error on the series that settings were chosen on.
const RIDGE: f64 = 0.3;
/// Share of the level of the week below which a sign's size is taken for chance.
const SIGN_MIN: f64 = 0.005;
/// Relative error below which errors count by their square, so that a single exact hour cannot rule.
const ERROR_MIN: f64 = 0.02;
/// Past issues that the spread common to all zones weighs as much as: more would blur grids that are steadier
/// than most.
const SPREAD_ISSUES: f64 = 1.0;
/// Least share of the level of the week that an error is relative to.
const ACTUAL_MIN: f64 = 0.02;

const fn range(first: usize, weights: [f64; SIGNS], spread: (f64, f64)) -> Range {
    Range { first, weights, spread }
}

/// One past hour as it was foreseen.
struct Case {
    outlook: Outlook,
    actual: f64,
    level: f64,
}

impl Case {
    /// What an error is relative to.
    fn unit(&self) -> f64 {
        self.actual.max(ACTUAL_MIN * self.level)
    }
}

/// What was learnt of a range of leads.
struct Learnt {
    weights: [f64; SIGNS],
    /// Share of the same hour of the last known day in the forecast: near 1 where grids repeat themselves.
    repeating: f64,
    /// 10 % and 90 % quantiles of actual value by forecast.
    spread: (f64, f64),
}

impl Learnt {
    fn expected(&self, outlook: &Outlook) -> f64 {
        let moved = outlook.profile + dot(&self.weights, &outlook.signs);
        let repeated = outlook.profile + outlook.signs[0];
        ((1.0 - self.repeating) * moved + self.repeating * repeated).max(0.0)
    }
}

fn dot(a: &[f64; SIGNS], b: &[f64; SIGNS]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A zone's forecaster as of the end of its past.
pub(super) struct Forecaster<'a> {
    past: &'a Past,
    state: State,
    ranges: Vec<Learnt>,
}

impl<'a> Forecaster<'a> {
    /// Learns from a past; `None` when it is shorter than a day.
    pub fn new(past: &'a Past) -> Option<Forecaster<'a>> {
        let state = past.state(past.values.len())?;
        let earlier = (DAYS_MIN * DAY..past.values.len()).rev().step_by(ISSUE_HOURS);
        let states: Vec<State> = earlier.filter_map(|issue| past.state(issue)).collect();
        let ends = RANGES.iter().skip(1).map(|next| next.first).chain([LEARNT_LEAD_END]);
        let ranges = RANGES.iter().zip(ends).map(|(range, end)| learn(past, &states, range, end)).collect();
        Some(Forecaster { past, state, ranges })
    }

    /// Where each range of leads begins, and half of what lies between its quantiles as a share of what is expected.
    pub fn spreads(&self) -> impl Iterator<Item = (usize, f64)> {
        let half = |learnt: &Learnt| (learnt.spread.1.max(1.0) - learnt.spread.0.min(1.0)) * 0.5;
        RANGES.iter().map(|range| range.first).zip(self.ranges.iter().map(half))
    }

    /// Expected value and its 10 % and 90 % quantiles `lead` hours after the end of the past.
    pub fn expect(&self, lead: usize) -> (f64, f64, f64) {
        let range = RANGES.iter().rposition(|range| range.first <= lead).unwrap_or(0);
        let learnt = &self.ranges[range];
        let expected = learnt.expected(&self.past.outlook(&self.state, lead));
        // What no hour of the past was, no hour ahead is thought to be.
        let expected = expected.clamp(self.past.least, self.past.most);
        (expected, expected * learnt.spread.0.min(1.0), expected * learnt.spread.1.max(1.0))
    }
}

/// Judges the leads of a range up to `end` at past issues whose hours all ended since.
fn learn(past: &Past, states: &[State], range: &Range, end: usize) -> Learnt {
    let stride = (end - range.first).div_ceil(LEADS_MAX);
    let leads = (range.first..end).skip(stride / 2).step_by(stride);
    let mut cases = Vec::with_capacity(states.len() * LEADS_MAX);
    let mut issues = 0.0;
    for state in states.iter().filter(|state| state.issue + end <= past.values.len()) {
        issues += 1.0;
        cases.extend(leads.clone().map(|lead| Case {
            outlook: past.outlook(state, lead),
            actual: past.values[state.issue + lead],
            level: state.level,
        }));
    }
    let mut learnt =
        Learnt { weights: weights(&cases, &range.weights), repeating: 0.0, spread: range.spread };
    learnt.repeating = repeating(&cases, &learnt);
    if let Some(seen) = spread(&cases, &learnt) {
        let share = SPREAD_ISSUES / (SPREAD_ISSUES + issues);
        let mix = |seen: f64, prior: f64| (1.0 - share) * seen + share * prior;
        learnt.spread = (mix(seen.0, range.spread.0), mix(seen.1, range.spread.1));
    }
    learnt
}

/// Ridge regression about the prior weights, each case weighted by one over its error under them: a step
/// towards least absolute errors.
fn weights(cases: &[Case], prior: &[f64; SIGNS]) -> [f64; SIGNS] {
    let mut matrix = [[0.0; SIGNS]; SIGNS];
    let mut right = [0.0; SIGNS];
    let mut chance = 0.0;
    for case in cases {
        let signs = &case.outlook.signs;
        let off = case.actual - case.outlook.profile - dot(prior, signs);
        let weight = 1.0 / (case.unit() * (off.abs() + ERROR_MIN * case.level));
        chance += weight * (SIGN_MIN * case.level) * (SIGN_MIN * case.level);
        for (row, sign) in signs.iter().enumerate() {
            let scaled = weight * sign;
            right[row] += scaled * off;
            for (cell, other) in matrix[row].iter_mut().zip(signs) {
                *cell += scaled * other;
            }
        }
    }
    for (row, line) in matrix.iter_mut().enumerate() {
        line[row] += RIDGE * line[row] + chance;
    }
    let learnt = solve(matrix, right);
    std::array::from_fn(|sign| prior[sign] + learnt[sign])
}

/// Solves a symmetric positive system by elimination without pivoting, which such a system does not need;
/// a sign that never showed gets 0.
fn solve(mut matrix: [[f64; SIGNS]; SIGNS], mut right: [f64; SIGNS]) -> [f64; SIGNS] {
    for pivot in 0..SIGNS {
        let (line, value) = (matrix[pivot], right[pivot]);
        let scale = line[pivot];
        for row in pivot + 1..SIGNS {
            let factor = if scale > 0.0 { matrix[row][pivot] / scale } else { 0.0 };
            for (cell, above) in matrix[row].iter_mut().zip(line) {
                *cell -= factor * above;
            }
            right[row] -= factor * value;
        }
    }
    for row in (0..SIGNS).rev() {
        let line = matrix[row];
        let rest: f64 = line.iter().zip(&right).skip(row + 1).map(|(factor, value)| factor * value).sum();
        right[row] = if line[row] > 0.0 { (right[row] - rest) / line[row] } else { 0.0 };
    }
    right
}

/// How much the same hour of the last known day should count: by the eighth power of the ratio of mean
/// errors, so that only a clearly better rule counts. Grids that were modelled, not measured, repeat.
fn repeating(cases: &[Case], learnt: &Learnt) -> f64 {
    let (mut ours, mut theirs) = (0.0, 0.0);
    for case in cases {
        let repeated = case.outlook.profile + case.outlook.signs[0];
        ours += (learnt.expected(&case.outlook) - case.actual).abs() / case.unit();
        theirs += (repeated - case.actual).abs() / case.unit();
    }
    let most = ours.max(theirs);
    if most <= 0.0 {
        return 0.0;
    }
    let eighth = |x: f64| (0..3).fold(x / most, |power, _| power * power);
    let (ours, theirs) = (eighth(ours), eighth(theirs));
    ours / (ours + theirs)
}

/// The 10 % and 90 % quantiles of actual value by forecast in the past.
fn spread(cases: &[Case], learnt: &Learnt) -> Option<(f64, f64)> {
    let ratio = |case: &Case| {
        let least = ACTUAL_MIN * case.level;
        case.actual.max(least) / learnt.expected(&case.outlook).max(least)
    };
    let mut ratios: Vec<f64> = cases.iter().map(ratio).collect();
    let last = ratios.len().checked_sub(1)?;
    let mut quantile = |tenths: usize| *ratios.select_nth_unstable_by(last * tenths / 10, f64::total_cmp).1;
    Some((quantile(1), quantile(9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved_and_what_never_showed_is_nothing() {
        let wanted = [1.0, -2.0, 0.5, 3.0, 0.0, 0.25, -1.0];
        // Symmetric, with a heavy diagonal; the fifth sign never showed.
        let entry = |row: usize, column: usize| match (row, column) {
            (4, _) | (_, 4) => 0.0,
            _ if row == column => 10.0 + row as f64,
            _ => ((row + column) % 3) as f64,
        };
        let matrix = std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column)));
        let right =
            std::array::from_fn(|row| (0..SIGNS).map(|column| entry(row, column) * wanted[column]).sum());
        for (found, wanted) in solve(matrix, right).into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-12, "{found} for {wanted}");
        }
    }
}
