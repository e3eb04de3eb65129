//! The ways one Job may run: with more or fewer pods at a time, and where it is stopped at its deadline
//! with part of its work left undone.
//!
//! Only what may wait and has not been started has a choice of pods; however fast it then is, it starts by the
//! latest start of the Job as it is, where that can be in time. What is left undone counts as that
//! part of the Job's weight: never taken to save grams, and before ending late.

use super::Assignment;
use super::limit::{Limit, committed, limit, nowhere};
use super::model::{LENGTH_MIN, Model};
use super::problem::{Job, Place, Site};
use fleet::{Bytes, ClusterId, Instant, Policy, Resources, Shape, Span, Workload};
use std::borrow::Cow;
use std::rc::Rc;

/// Other shapes of a Job looked at, at most.
const SHAPES_MAX: usize = 8;
/// What is left undone is weighed in so many parts of the whole.
pub(crate) const PARTS: i64 = 64;
/// Where there is no room for all there is time for, work is left undone in so many parts of the whole.
const CUTS: i64 = 8;

/// One way to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Pods at a time, and how long it is planned for.
    pub shape: Shape,
    /// How much longer it would have to run to do all its work, in parts of `PARTS`.
    pub undone_parts: i64,
    /// The same in time.
    pub undone: Span,
}

/// The ways a Job may run that can start from `now` on, the way it is first.
pub(crate) fn modes(workload: &Workload, now: Instant) -> Vec<Mode> {
    let whole = |shape: Shape| {
        let duration = shape.duration.max(LENGTH_MIN);
        Mode { shape: Shape { duration, ..shape }, undone_parts: 0, undone: Span::ZERO }
    };
    let asked = Shape { parallelism: workload.parallelism.max(1), duration: workload.duration };
    let mut modes = vec![whole(asked)];
    if workload.running || workload.prompt || workload.deadline.is_none() {
        return modes;
    }
    if committed(workload).is_none() {
        let others = workload.shapes.iter().filter(|shape| shape.parallelism != asked.parallelism);
        modes.extend(others.take(SHAPES_MAX).map(|shape| whole(*shape)));
    }
    if workload.may_be_cut {
        let fastest = modes.iter().min_by_key(|mode| mode.shape.duration).copied();
        let first = modes[0];
        for mode in std::iter::once(first).chain(fastest.filter(|fastest| *fastest != first)) {
            let window = workload.deadline.map(|deadline| deadline - workload.release.max(now));
            modes.extend(window.and_then(|window| filling(mode, window)));
            let cuts = (1..CUTS).map(|cut| cut * PARTS / CUTS);
            modes.extend(cuts.map(|parts| cut(mode, parts)).filter(|m| m.shape.duration >= LENGTH_MIN));
        }
    }
    modes
}

/// The mode with as much of its work as there is time for, where that is not all.
fn filling(mode: Mode, window: Span) -> Option<Mode> {
    let whole = mode.shape.duration;
    let undone = whole - window;
    if window < LENGTH_MIN || undone <= Span::ZERO {
        return None;
    }
    let whole = i128::from(whole.as_nanos());
    let parts = (i128::from(undone.as_nanos()) * i128::from(PARTS) + whole - 1) / whole;
    let undone_parts = i64::try_from(parts).unwrap_or(PARTS).min(PARTS - 1);
    Some(Mode { shape: Shape { duration: window, ..mode.shape }, undone_parts, undone })
}

/// The mode with so many parts of its work left undone.
fn cut(mode: Mode, parts: i64) -> Mode {
    let undone = mode.shape.duration.scaled(parts, PARTS);
    let duration = mode.shape.duration - undone;
    Mode { shape: Shape { duration, ..mode.shape }, undone_parts: parts, undone }
}

/// What a Job costs in each cluster, shared by all that are alike.
pub(crate) type Sites = Rc<[Option<Site>]>;

/// What the costs of a Job hang on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Like {
    pod: Resources,
    parallelism: i64,
    duration: Span,
    data: Option<(Bytes, ClusterId)>,
    allowed: Option<Vec<ClusterId>>,
    committed: Option<ClusterId>,
    running: bool,
}

impl Like {
    fn of(workload: &Workload) -> Like {
        Like {
            pod: workload.pod,
            parallelism: workload.parallelism,
            duration: workload.duration,
            data: workload.data.as_ref().map(|data| (data.size, data.at.clone())),
            allowed: workload.allowed.clone(),
            committed: committed(workload).cloned(),
            running: workload.running,
        }
    }
}

impl Mode {
    /// Whether it is the Job as it is.
    fn is(&self, workload: &Workload) -> bool {
        let Shape { parallelism, duration } = self.shape;
        (parallelism, duration) == (workload.parallelism, workload.duration)
    }

    /// The Job as it is in this mode.
    pub fn of(&self, workload: &Workload) -> Workload {
        let Shape { parallelism, duration } = self.shape;
        Workload { parallelism, duration, shapes: Vec::new(), ..workload.clone() }
    }
}

impl Model<'_> {
    /// A Job as the solver has it, in every mode that has room somewhere, and those modes (none where
    /// there is but one); else why it fits nowhere.
    pub(crate) fn item(&self, workload: &Workload, policy: &Policy) -> Result<(Job, Vec<Mode>), String> {
        let (mut jobs, mut kept, mut why) = (Vec::new(), Vec::new(), None);
        for mode in modes(workload, self.snapshot.at) {
            let shaped =
                if mode.is(workload) { Cow::Borrowed(workload) } else { Cow::Owned(mode.of(workload)) };
            match self.sites(&shaped, policy) {
                Ok(sites) => {
                    jobs.push(Job { mode: kept.len() as u8, ..self.job(&shaped, sites) });
                    kept.push(mode);
                }
                Err(text) => why = why.or(Some(text)),
            }
        }
        let mut jobs = jobs.into_iter();
        let Some(first) = jobs.next() else { return Err(why.unwrap_or_default()) };
        let mut others: Vec<Job> = jobs.collect();
        let wall = first.deadline.saturating_sub(first.length);
        for (other, mode) in others.iter_mut().zip(kept.iter().skip(1)) {
            // What is faster still starts while there is time for it as it is: room for more pods may be wanting.
            if mode.undone_parts == 0 && other.length < first.length && wall >= first.from {
                other.deadline = wall.saturating_add(other.length);
                other.extra_starts = vec![first.from, wall];
            }
        }
        let as_it_is = kept.len() == 1 && kept[0].shape.parallelism == workload.parallelism.max(1);
        let kept = if as_it_is { Vec::new() } else { kept };
        Ok((Job { others, ..first }, kept))
    }

    /// What a Job costs where it may run; else why it fits nowhere.
    pub(crate) fn sites(&self, workload: &Workload, policy: &Policy) -> Result<Sites, String> {
        let like = Like::of(workload);
        if let Some(known) = self.known.borrow().get(&like) {
            return Ok(known.clone());
        }
        let mut limits = Vec::new();
        let mut sites = Vec::with_capacity(self.snapshot.clusters.len());
        for (c, cluster) in self.snapshot.clusters.iter().enumerate() {
            match limit(cluster, &self.sizes[c], workload) {
                // What runs already has its place, however small the room looks now.
                Some(why) if !workload.running || matches!(why, Limit::Committed(_)) => {
                    limits.push((&cluster.id, why));
                    sites.push(None);
                }
                _ => sites.push(Some(self.site(c, workload, policy))),
            }
        }
        if sites.iter().all(Option::is_none) {
            return Err(nowhere(&limits));
        }
        let sites: Sites = sites.into();
        self.known.borrow_mut().insert(like, sites.clone());
        Ok(sites)
    }

    /// A Job of the problem, which may run in these modes, at a place, as people read it.
    pub(crate) fn placed(&self, modes: &[Mode], workload: &Workload, place: &Place) -> Assignment {
        let runs = self.intervals(place);
        match modes.get(usize::from(place.mode)) {
            Some(mode) => {
                let assignment = self.assignment(&mode.of(workload), place.cluster, runs);
                Assignment { undone: mode.undone, ..assignment }
            }
            None => self.assignment(workload, place.cluster, runs),
        }
    }

    /// The mode of a Job of the problem that an assignment is in; `None` when it has no such mode now.
    pub(crate) fn mode_of(&self, modes: &[Mode], workload: &Workload, held: &Assignment) -> Option<u8> {
        if modes.is_empty() {
            let same = held.parallelism == workload.parallelism.max(1) && held.undone == Span::ZERO;
            return same.then_some(0);
        }
        let same = |mode: &Mode| mode.shape.parallelism == held.parallelism && mode.undone == held.undone;
        modes.iter().position(same).map(|mode| mode as u8)
    }
}
