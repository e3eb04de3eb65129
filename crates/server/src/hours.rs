//! Reads the accounts of clusters' hours: from the store a page at a time, of each hour its latest version.
//!
//! Invariant: only sums are kept, so a year of many clusters needs no more memory than a day. What was added up of closed hours is
//! kept until another line is written.

use anyhow::Context;
use fleet::{Instant, Span};
use ledger::accounts::{Accounts, Fold, Question};
use ledger::usage::{HourEntry, Latest};
use std::collections::{BTreeSet, VecDeque};
use store::{Store, UsageRow};
use tokio::sync::Mutex;

/// Lines read at a time: of the longest there may be, 64 MiB.
const PAGE: u32 = 64;
/// Answers kept: a console and a scraper ask the same few things again and again.
const KEPT: usize = 8;

/// Reads the hours that begin in `[from, to)`, each as it is known last.
pub async fn read(
    store: &Store,
    range: (Instant, Instant),
    mut take: impl FnMut(HourEntry),
) -> anyhow::Result<()> {
    let (mut latest, mut after): (Latest, Option<UsageRow>) = (Latest::default(), None);
    loop {
        let rows = store.usage(range, after.as_ref(), PAGE).await.context("read the accounts of hours")?;
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

/// Sums of closed hours, and what they are sums of.
struct Closed {
    question: Question,
    /// Number of the last line that was written then.
    last: i64,
    /// Hours of clusters that were under way, and left out.
    open: BTreeSet<(String, Instant)>,
    fold: Fold,
}

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
        let open: BTreeSet<(String, Instant)> =
            running.iter().map(|entry| (entry.cluster.to_string(), entry.hour)).collect();
        let last = store.usage_last().await?;
        // Within an hour of the fleet's time the question is the same.
        let question = Question { now: now.floor_to(Span::HOUR), ..question };
        let mut kept = self.kept.lock().await;
        kept.retain(|closed| closed.last == last);
        let known = kept.iter().find(|closed| closed.question == question && closed.open == open);
        let fold = match known {
            Some(closed) => closed.fold.clone(),
            None => {
                let mut fold = Fold::new(question.clone());
                // A line of an hour under way is what an earlier process wrote of it: the loop has taken it up.
                let closed = |e: &HourEntry| !open.contains(&(e.cluster.to_string(), e.hour));
                let range = question.hours();
                read(store, range, |entry| {
                    if closed(&entry) {
                        fold.take_in(&entry)
                    }
                })
                .await?;
                if kept.len() == KEPT {
                    kept.pop_front();
                }
                kept.push_back(Closed { question, last, open, fold: fold.clone() });
                fold
            }
        };
        drop(kept);
        let mut fold = fold.at(now);
        running.iter().for_each(|entry| fold.take_in(entry));
        Ok(fold.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet::{ClusterId, GramsCo2PerKwh, Money, Provenance, SignalKind};
    use ledger::accounts::By;
    use ledger::allocation::{Hour, Stretch};
    use ledger::meter::Amounts;
    use ledger::usage::{Heading, HourLine};
    use store::Write;

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
