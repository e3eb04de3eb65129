//! Reads the accounts of clusters' hours: of each hour its latest version, and of days that are over their sums.
//!
//! A month of fifty large clusters is two gigabytes of lines. So days that are over are added up once and kept ([`ledger::day`]), and the
//! day under way in quarters; what came since, and days that are asked for in part, is read hour by hour. What was added up is kept
//! until another line is written.
//!
//! Invariants: only sums are kept, so a year of many clusters needs no more memory than a day; a kept day counts only while no line
//! was written of it since; answers are those of the hours, to the last unit.

use crate::engine::FleetClock;
use anyhow::Context;
use fleet::{ClusterId, Instant, Span};
use ledger::accounts::{Accounts, By, Fold, Question};
use ledger::day::{Day, Kept, Level, day_of};
use ledger::usage::{HourEntry, Latest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use store::{Store, UsageDayRow, UsageHead, UsageRow, Write};
use tokio::sync::Mutex;

/// Lines read at a time: of the longest there may be, 64 MiB.
const PAGE: u32 = 64;
/// Days read at a time: of large clusters some 100 KiB each.
const DAYS_PAGE: u32 = 64;
/// Answers kept: a console and a scraper ask the same few things again and again.
const KEPT: usize = 8;
/// Bytes of answers kept, roughly. Sums by workload of fifty large clusters take twice as many, and are made in less than a second.
const KEPT_BYTES: usize = 48 << 20;
/// How much of the day under way is added up at once: each time all of it so far, which is two and a half days' lines a day.
const QUARTER: Span = Span::from_seconds(6 * 3600);
/// Clusters of a day from which on all lines of the day are read at once: each costs a look through the day's index.
const AT_ONCE: usize = 4;
/// How far back days are added up before anybody asks: this month, the last, and the four weeks that expectations come from.
const PREPARED: Span = Span::from_seconds(62 * 86_400);
/// How often that is looked at: a day ends once a day, but lines are corrected every hour.
const PREPARE_EVERY: Duration = Duration::from_secs(600);

/// Reads the hours that begin in `[from, to)`, each as it is known last.
pub async fn read(
    store: &Store,
    range: (Instant, Instant),
    take: impl FnMut(HourEntry),
) -> anyhow::Result<()> {
    read_of(store, range, None, take).await
}

/// The same, of one cluster or of all.
async fn read_of(
    store: &Store,
    range: (Instant, Instant),
    cluster: Option<&str>,
    mut take: impl FnMut(HourEntry),
) -> anyhow::Result<()> {
    let (mut latest, mut after): (Latest, Option<UsageRow>) = (Latest::default(), None);
    loop {
        let rows = store.usage(range, cluster, after.as_ref(), PAGE).await;
        let rows = rows.context("read the accounts of hours")?;
        for row in &rows {
            let where_ = || format!("read the account of {} in the hour from {}", row.cluster, row.hour);
            let line = serde_json::from_str(&row.body).with_context(where_)?;
            latest.take_in(line).into_iter().for_each(&mut take);
        }
        if rows.len() < PAGE as usize {
            latest.finish().into_iter().for_each(&mut take);
            return Ok(());
        }
        after = rows.into_iter().next_back();
    }
}

/// Hours of clusters that are under way.
type Open = BTreeSet<(String, Instant)>;

/// Sums of closed hours, and what they are sums of.
struct Closed {
    question: Question,
    /// Number of the last line that was written then.
    last: i64,
    /// Hours that were left out.
    open: Open,
    fold: Fold,
}

/// Days of clusters whose sums are not kept, or not any more: with what was written of them last.
type Missing = BTreeMap<Instant, BTreeMap<String, UsageHead>>;

/// Answers questions about accounts.
#[derive(Default)]
pub struct Hours {
    kept: Mutex<VecDeque<Closed>>,
}

impl Hours {
    /// The answer, with the hours under way as they are now.
    pub async fn accounts(
        &self,
        store: &Store,
        question: Question,
        running: Vec<HourEntry>,
    ) -> anyhow::Result<Accounts> {
        let now = question.now;
        let open: Open = running.iter().map(|entry| (entry.cluster.to_string(), entry.hour)).collect();
        let last = store.usage_last().await?;
        // Within an hour of the fleet's time the question is the same.
        let question = Question { now: now.floor_to(Span::HOUR), ..question };
        let mut kept = self.kept.lock().await;
        kept.retain(|closed| closed.last == last);
        let known = kept.iter().find(|closed| closed.question == question && closed.open == open);
        let fold = match known {
            Some(closed) => closed.fold.clone(),
            None => {
                let fold = closed(store, question.clone(), &open).await?;
                if fold.bytes() <= KEPT_BYTES {
                    kept.push_back(Closed { question, last, open, fold: fold.clone() });
                }
                while kept.len() > KEPT || kept.iter().map(|c| c.fold.bytes()).sum::<usize>() > KEPT_BYTES {
                    kept.pop_front();
                }
                fold
            }
        };
        drop(kept);
        let mut fold = fold.at(now);
        running.iter().for_each(|entry| fold.take_in(entry));
        Ok(fold.finish())
    }
}

/// Adds up the days that are over and are not added up yet, as far back as is usually asked for.
pub async fn prepare(store: &Store, now: Instant) -> anyhow::Result<()> {
    let now = now.floor_to(Span::HOUR);
    let question = Question { by: By::Cluster, from: day_of(now - PREPARED), to: now, now };
    closed(store, question, &Open::new()).await.map(drop)
}

/// The same for ever, once every [`PREPARE_EVERY`].
pub async fn keep_days(store: Store, clock: Arc<dyn FleetClock>) {
    loop {
        if let Err(error) = prepare(&store, clock.now()).await {
            tracing::warn!(error = format!("{error:#}"), "add up the accounts of days");
        }
        tokio::time::sleep(PREPARE_EVERY).await;
    }
}

/// Sums of the closed hours a question is about.
async fn closed(store: &Store, question: Question, open: &Open) -> anyhow::Result<Fold> {
    let (from, to) = question.hours();
    // Of the day under way what is added up grows by a quarter at a time.
    let added = question.now.floor_to(QUARTER);
    let until = |day: Instant| (day + Span::DAY).min(added);
    let mut fold = Fold::new(question);
    let heads = store.usage_heads((from, added)).await?;
    let touched: BTreeSet<Instant> =
        open.iter().filter(|(_, hour)| *hour < added).map(|(_, hour)| day_of(*hour)).collect();
    let whole = |day: Instant| day >= from && !touched.contains(&day) && fold.takes_whole(day, until(day));
    let (mut missing, mut parts) = (Missing::new(), BTreeSet::from([(added, to)]));
    for head in heads {
        if whole(head.day) {
            missing.entry(head.day).or_default().insert(head.cluster.clone(), head);
        } else {
            parts.insert((head.day.max(from), until(head.day)));
        }
    }
    take_kept(store, &mut fold, &mut missing).await?;
    for (day, clusters) in &missing {
        for bytes in add_up(store, (*day, until(*day)), clusters, fold.level()).await? {
            fold.take_in_day(&Kept::from_bytes(&bytes)?)?;
        }
    }
    for range in parts {
        // A line of an hour under way is what an earlier process wrote of it: the loop has taken it up.
        let closed = |entry: &HourEntry| !open.contains(&(entry.cluster.to_string(), entry.hour));
        read(store, range, |entry| {
            if closed(&entry) {
                fold.take_in(&entry)
            }
        })
        .await?;
    }
    Ok(fold)
}

/// Takes in the days whose sums are kept, and takes them out of those that are missing.
async fn take_kept(store: &Store, fold: &mut Fold, missing: &mut Missing) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (missing.keys().next(), missing.keys().next_back()) else {
        return Ok(());
    };
    let range = (*first, *last + Span::DAY);
    let mut after: Option<UsageDayRow> = None;
    loop {
        let level = fold.level().as_str();
        let rows = store.usage_days(level, range, after.as_ref(), DAYS_PAGE).await?;
        for row in &rows {
            let Some(clusters) = missing.get_mut(&row.day) else { continue };
            match clusters.get(&row.cluster).filter(|head| head.last == row.last) {
                Some(head) if take_one(fold, row, head) => clusters.remove(&row.cluster),
                _ => continue,
            };
        }
        if rows.len() < DAYS_PAGE as usize {
            missing.retain(|_, clusters| !clusters.is_empty());
            return Ok(());
        }
        after = rows.into_iter().next_back();
    }
}

/// Takes in a day, where what is kept of it is all there is of it.
fn take_one(fold: &mut Fold, row: &UsageDayRow, head: &UsageHead) -> bool {
    let taken = Kept::from_bytes(&row.body).and_then(|day| {
        let all = day.last_hour() == Some(head.last_hour);
        if all { fold.take_in_day(&day).map(|()| true) } else { Ok(false) }
    });
    taken.unwrap_or_else(|error| {
        // It is made anew.
        tracing::info!(cluster = row.cluster, day = %row.day, %error, "sums of a day");
        false
    })
}

/// Adds up the hours of a day of some clusters, keeps that, and gives what is kept of a level.
async fn add_up(
    store: &Store,
    range: (Instant, Instant),
    clusters: &BTreeMap<String, UsageHead>,
    level: Level,
) -> anyhow::Result<Vec<Vec<u8>>> {
    let day = range.0;
    let mut days: BTreeMap<(ClusterId, Level), Day> = BTreeMap::new();
    let mut take = |entry: HourEntry| {
        if !clusters.contains_key(entry.cluster.as_str()) {
            return;
        }
        for level in Level::ALL {
            let fresh = || Day::new(entry.cluster.clone(), day);
            days.entry((entry.cluster.clone(), level)).or_insert_with(fresh).take_in(level, &entry);
        }
    };
    if clusters.len() >= AT_ONCE {
        read(store, range, take).await?;
    } else {
        for cluster in clusters.keys() {
            read_of(store, range, Some(cluster), &mut take).await?;
        }
    }
    let (mut receipt, mut asked) = (None, Vec::new());
    for ((cluster, of), sums) in &days {
        let Some(head) = clusters.get(cluster.as_str()) else { continue };
        let body = sums.to_bytes();
        if *of == level {
            asked.push(body.clone());
        }
        let (of, cluster) = (of.as_str().to_owned(), cluster.to_string());
        receipt = Some(store.append(Write::UsageDay { level: of, cluster, day, last: head.last, body }));
    }
    // One that cannot be kept is made anew next time.
    if let Some(receipt) = receipt
        && let Err(error) = receipt.await
    {
        tracing::warn!(%error, "keep the sums of a day");
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{ClusterId, GramsCo2PerKwh, Money, Provenance, SignalKind};
    use ledger::accounts::By;
    use ledger::allocation::{Hour, Stretch};
    use ledger::meter::Amounts;
    use ledger::usage::{Heading, HourLine};

    fn at(hour: i64) -> Instant {
        Instant::parse("2026-11-01T00:00:00Z").unwrap() + Span::HOUR.scaled(hour, 1)
    }
    fn entry(hour: i64, version: u32, cost: i128) -> HourEntry {
        let (cluster, from) = (ClusterId::new("kr").unwrap(), at(hour));
        let heading = Heading {
            cluster,
            hour: from,
            version,
            replaces: None,
            recorded: from + Span::HOUR,
            intensity_from: Provenance { source: "x".to_owned(), kind: SignalKind::Measured, as_of: from },
            use_from: None,
        };
        let hour = Hour {
            seen: vec![Stretch { from, to: from + Span::HOUR }],
            intensity: GramsCo2PerKwh::from_grams_f64(1.0),
            rows: Vec::new(),
            idle: Amounts { cost: Money::from_nanos(cost), ..Amounts::default() },
            nodes: Vec::new(),
        };
        HourEntry::new(heading, hour)
    }
    async fn write(store: &Store, entry: HourEntry) {
        let (id, cluster, hour, recorded) =
            (entry.id.clone(), entry.cluster.to_string(), entry.hour, entry.recorded);
        let body = serde_json::to_string(&HourLine::Whole(Box::new(entry))).unwrap();
        store.append(Write::Usage { id, cluster, hour, recorded, body }).await.unwrap();
    }

    #[tokio::test]
    async fn answers_follow_what_is_written_and_what_runs() {
        let (store, hours) = (Store::memory().await.unwrap(), Hours::default());
        for hour in 0..150 {
            write(&store, entry(hour, 1, 10)).await;
        }
        let ask = |now: i64| Question { by: By::Cluster, from: at(0), to: at(1000), now: at(now) };
        let cost = |accounts: Accounts| accounts.total.amounts.cost.as_nanos();
        let asked = hours.accounts(&store, ask(151), Vec::new()).await.unwrap();
        assert_eq!(cost(asked), 1500, "more than a page");
        assert_eq!(cost(hours.accounts(&store, ask(151), vec![entry(150, 1, 3)]).await.unwrap()), 1503);
        assert_eq!(cost(hours.accounts(&store, ask(151), vec![entry(150, 1, 4)]).await.unwrap()), 1504);
        write(&store, entry(3, 2, 11)).await;
        assert_eq!(
            cost(hours.accounts(&store, ask(151), Vec::new()).await.unwrap()),
            1501,
            "the latest version"
        );
        // An hour that goes on after a restart counts once.
        write(&store, entry(150, 1, 5)).await;
        assert_eq!(cost(hours.accounts(&store, ask(151), vec![entry(150, 2, 9)]).await.unwrap()), 1510);
        assert_eq!(cost(hours.accounts(&store, ask(151), Vec::new()).await.unwrap()), 1506);
    }

    /// What is kept of days: levels and the last line in each.
    async fn kept(store: &Store) -> Vec<(i64, usize)> {
        let rows = store.usage_days("cluster", (at(0), at(10_000)), None, 999).await.unwrap();
        rows.iter().map(|row| (row.last, row.body.len())).collect()
    }

    #[tokio::test]
    async fn days_that_are_over_are_added_up_once_and_anew_when_a_line_was_added() {
        let store = Store::memory().await.unwrap();
        for hour in 0..60 {
            write(&store, entry(hour, 1, 10)).await;
        }
        let ask = |from: i64, to: i64| Question { by: By::Cluster, from: at(from), to: at(to), now: at(59) };
        let cost = async |question: Question| {
            // As if by another process each time: nothing is remembered but what is kept.
            let accounts = Hours::default().accounts(&store, question, Vec::new()).await.unwrap();
            accounts.total.amounts.cost.as_nanos()
        };
        assert_eq!(cost(ask(0, 60)).await, 600);
        let lasts = async || kept(&store).await.iter().map(|row| row.0).collect::<Vec<_>>();
        assert_eq!(lasts().await, [24, 48, 54], "of the day under way a quarter");
        assert_eq!(cost(ask(0, 60)).await, 600, "from what is kept");
        assert_eq!(cost(ask(5, 50)).await, 450, "a part of a day");
        write(&store, entry(30, 2, 17)).await;
        assert_eq!(cost(ask(0, 60)).await, 607, "a later version");
        assert_eq!(lasts().await, [24, 61, 54]);
        // What cannot be read is made anew.
        let broken = Write::UsageDay {
            level: "cluster".to_owned(),
            cluster: "kr".to_owned(),
            day: at(0),
            last: 24,
            body: b"?".to_vec(),
        };
        store.append(broken).await.unwrap();
        assert_eq!(cost(ask(0, 60)).await, 607);
        assert!(kept(&store).await.iter().all(|row| row.1 > 1));
    }

    /// What an earlier process wrote of the seventh hour stands before a correction of the third: no line tells by its number alone
    /// that the second quarter of the day has more than the first.
    #[tokio::test]
    async fn a_quarter_more_of_the_day_under_way_is_noticed() {
        let store = Store::memory().await.unwrap();
        for hour in [0, 1, 2, 3, 4, 5, 7] {
            write(&store, entry(hour, 1, 10)).await;
        }
        write(&store, entry(3, 2, 11)).await;
        let cost = async |now: i64| {
            let question = Question { by: By::Namespace, from: at(0), to: at(now), now: at(now) };
            let accounts = Hours::default().accounts(&store, question, Vec::new()).await.unwrap();
            accounts.total.amounts.cost.as_nanos()
        };
        assert_eq!(cost(6).await, 61);
        let first = kept(&store).await;
        assert_eq!(cost(11).await, 71, "the seventh hour is read by itself");
        assert_eq!(kept(&store).await, first);
        assert_eq!(cost(12).await, 71);
        assert_ne!(kept(&store).await, first, "added up anew");
        assert_eq!(kept(&store).await[0].0, first[0].0, "though the last line is the same");
        assert_eq!(cost(13).await, 71, "from what is kept");
    }

    #[tokio::test]
    async fn no_more_answers_are_kept_than_bounds_allow() {
        let store = Store::memory().await.unwrap();
        for hour in 0..3 {
            write(&store, entry(hour, 1, 10)).await;
        }
        let hours = Hours::default();
        for to in 1..20 {
            let question = Question { by: By::Cluster, from: at(0), to: at(to), now: at(30) };
            hours.accounts(&store, question, Vec::new()).await.unwrap();
        }
        let kept = hours.kept.lock().await;
        assert_eq!(kept.len(), KEPT, "the last ones");
        assert!(kept.iter().all(|closed| closed.fold.bytes() < 100_000));
    }

    #[tokio::test]
    async fn an_hour_under_way_in_a_day_that_is_over_counts_once() {
        let store = Store::memory().await.unwrap();
        for hour in 0..48 {
            write(&store, entry(hour, 1, 10)).await;
        }
        let question = Question { by: By::Namespace, from: at(0), to: at(60), now: at(48) };
        let open = vec![entry(47, 2, 3)];
        let accounts = Hours::default().accounts(&store, question.clone(), open).await.unwrap();
        assert_eq!(accounts.total.amounts.cost.as_nanos(), 473);
        prepare(&store, at(48)).await.unwrap();
        assert_eq!(kept(&store).await.len(), 2);
        let accounts = Hours::default().accounts(&store, question, vec![entry(47, 2, 3)]).await.unwrap();
        assert_eq!(accounts.total.amounts.cost.as_nanos(), 473);
    }

    #[tokio::test]
    async fn a_line_that_cannot_be_read_is_named() {
        let store = Store::memory().await.unwrap();
        let (id, cluster) = ("usage/kr/x".to_owned(), "kr".to_owned());
        let line = Write::Usage { id, cluster, hour: at(0), recorded: at(1), body: "{}".to_owned() };
        store.append(line).await.unwrap();
        let error = read(&store, (at(0), at(9)), |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("the account of kr in the hour from 2026-11-01"), "{error}");
    }
}
