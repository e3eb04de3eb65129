//! The demo stream: Jobs that arrive by themselves, at random from a seed, under the placement contract.
//!
//! Arrivals are a Poisson process over the whole fleet; each Job goes to a home cluster drawn evenly,
//! through the API as anybody's would. What they are follows the mix of a batch cluster: short reports
//! and checks, transcoding and alignment on several pods, a few long trainings that can be paused. What
//! they really need differs from what they state by −10 to +8 %, and one in thirty fails.

use crate::apiserver::{Body, Options, Request, Verb};
use crate::kind::Kind;
use crate::random::Stream;
use crate::work::{EXIT_CODE, EXPECTED_DURATION, INTERRUPTIBLE, RUN_FOR};
use crate::world::{Priority, Queue, Task};
use fleet::cluster::DemoSpec;
use fleet::{ClusterId, Instant, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

/// Jobs there are at the very start, so that the fleet looks alive at once.
const JOBS_AT_START: u32 = 6;
/// Seconds a finished demo Job is kept: twelve hours.
const TTL_SECONDS: i64 = 43_200;
/// One demo Job in this many fails.
const FAILS_ONE_IN: u64 = 30;

/// A kind of demo Job. Ranges are inclusive.
struct Sort {
    name: &'static str,
    image: &'static str,
    /// How often, against the others.
    weight: u64,
    minutes: (u64, u64),
    cores: (u64, u64),
    gib: (u64, u64),
    parallelism: (u64, u64),
    /// Waves of pods.
    waves: (u64, u64),
    /// Chance in per cent that it may be paused, and that it has input data at home.
    interruptible: u64,
    data: u64,
}

const SORTS: [Sort; 6] = [
    Sort {
        name: "nightly-report",
        image: "registry.example.com/bi/report:2.14.1",
        weight: 5,
        minutes: (20, 60),
        cores: (1, 2),
        gib: (2, 4),
        parallelism: (1, 1),
        waves: (1, 1),
        interruptible: 0,
        data: 30,
    },
    Sort {
        name: "backup-verify",
        image: "registry.example.com/ops/backup-verify:1.8.0",
        weight: 3,
        minutes: (20, 90),
        cores: (1, 1),
        gib: (2, 2),
        parallelism: (1, 2),
        waves: (1, 1),
        interruptible: 20,
        data: 70,
    },
    Sort {
        name: "video-transcode",
        image: "registry.example.com/media/transcode:7.1",
        weight: 4,
        minutes: (30, 120),
        cores: (2, 4),
        gib: (2, 4),
        parallelism: (2, 4),
        waves: (1, 2),
        interruptible: 30,
        data: 60,
    },
    Sort {
        name: "train-embeddings",
        image: "registry.example.com/ml/embeddings:0.31.2",
        weight: 3,
        minutes: (120, 240),
        cores: (3, 4),
        gib: (6, 8),
        parallelism: (1, 2),
        waves: (1, 1),
        interruptible: 90,
        data: 40,
    },
    Sort {
        name: "genome-align",
        image: "registry.example.com/bio/align:4.0.7",
        weight: 2,
        minutes: (90, 240),
        cores: (2, 4),
        gib: (4, 8),
        parallelism: (2, 4),
        waves: (1, 1),
        interruptible: 50,
        data: 80,
    },
    Sort {
        name: "risk-simulation",
        image: "registry.example.com/quant/risk:12.3",
        weight: 3,
        minutes: (30, 150),
        cores: (1, 3),
        gib: (2, 4),
        parallelism: (2, 4),
        waves: (1, 1),
        interruptible: 70,
        data: 10,
    },
];

/// The demo stream of a world.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Demo {
    spec: DemoSpec,
    homes: Vec<ClusterId>,
    stream: Stream,
}

impl Demo {
    /// A stream over `homes` (at least one) whose first Jobs arrive at `start`.
    pub(crate) fn new(
        spec: &DemoSpec,
        homes: Vec<ClusterId>,
        start: Instant,
        seed: u64,
        queue: &mut Queue,
    ) -> Demo {
        let mut demo = Demo { spec: spec.clone(), homes, stream: Stream::new(seed, "demo") };
        for _ in 0..JOBS_AT_START {
            let home = demo.home();
            let request = demo.job(&home);
            queue.push(start, Priority::Input, &home, Task::Input(Box::new(request)));
        }
        demo.next(start, queue);
        demo
    }
    /// The Job that arrives at `home` now; draws the next arrival.
    pub(crate) fn arrive(&mut self, home: &ClusterId, now: Instant, queue: &mut Queue) -> Request {
        let request = self.job(home);
        self.next(now, queue);
        request
    }
    fn next(&mut self, now: Instant, queue: &mut Queue) {
        if self.spec.jobs_per_hour <= 0.0 {
            return;
        }
        // The gaps of a Poisson process are exponential; whole seconds keep the last bits of `ln` out.
        let hours = -(1.0 - self.stream.unit()).ln() / self.spec.jobs_per_hour;
        let Some(gap) = Span::from_hours_f64(hours) else { return };
        let home = self.home();
        let at = now + Span::from_seconds(gap.as_seconds().max(1));
        queue.push(at, Priority::Input, &home, Task::Demo);
    }
    fn home(&mut self) -> ClusterId {
        let at = self.stream.below(self.homes.len() as u64) as usize;
        self.homes.get(at).expect("a fleet has at least one cluster").clone()
    }
    fn within(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.stream.below(high - low + 1)
    }
    fn chance(&mut self, per_cent: u64) -> bool {
        self.stream.below(100) < per_cent
    }
    fn sort(&mut self) -> &'static Sort {
        let mut at = self.stream.below(SORTS.iter().map(|s| s.weight).sum());
        for sort in &SORTS {
            if at < sort.weight {
                return sort;
            }
            at -= sort.weight;
        }
        &SORTS[0]
    }
    /// How long after its creation a Job must be done: half of them within the day, some tight.
    fn finish_within(&mut self, minutes: u64) -> u64 {
        if self.chance(20) {
            minutes * 3 / 2 + 10
        } else {
            minutes + self.within((60, 20 * 60)).max(minutes.div_ceil(2))
        }
    }
    fn job(&mut self, home: &ClusterId) -> Request {
        let sort = self.sort();
        let name = format!("{}-{}", sort.name, self.stream.suffix(5));
        let minutes = self.within(sort.minutes) / 5 * 5;
        let parallelism = self.within(sort.parallelism);
        let waves = self.within(sort.waves);
        // What a pod really runs: its share of the stated time, −10 to +8 %.
        let actual = Span::MINUTE.scaled(minutes as i64, 1).scaled(900 + self.within((0, 180)) as i64, 1000);
        let mut annotations = Map::new();
        annotations.insert(EXPECTED_DURATION.to_owned(), json!(format!("{minutes}m")));
        let finish_within = self.finish_within(minutes);
        annotations.insert("kubercarbon.io/finish-within".to_owned(), json!(format!("{finish_within}m")));
        if self.chance(sort.interruptible) {
            annotations.insert(INTERRUPTIBLE.to_owned(), json!("true"));
        }
        if self.chance(sort.data) {
            let gib = self.within((5, 60));
            annotations.insert("kubercarbon.io/data".to_owned(), json!(format!("{gib}Gi@{home}")));
        }
        let fails = self.stream.below(FAILS_ONE_IN) == 0;
        let mut run = Map::new();
        run.insert(RUN_FOR.to_owned(), json!(format!("{}s", actual.scaled(1, waves as i64).as_seconds())));
        if fails {
            run.insert(EXIT_CODE.to_owned(), json!("1"));
        }
        let (cores, gib) = (self.within(sort.cores), self.within(sort.gib));
        let body = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": name,
                "namespace": self.spec.namespace,
                "labels": {"app": sort.name, "kubercarbon.io/placement": "managed"},
                "annotations": annotations,
            },
            "spec": {
                "suspend": true,
                "managedBy": "kubercarbon.io/fleet",
                "parallelism": parallelism,
                "completions": parallelism * waves,
                "backoffLimit": 0,
                "ttlSecondsAfterFinished": TTL_SECONDS,
                "template": {
                    "metadata": {"labels": {"app": sort.name}, "annotations": run},
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{
                            "name": "main",
                            "image": sort.image,
                            "resources": {"requests": {"cpu": cores.to_string(), "memory": format!("{gib}Gi")}},
                        }],
                    },
                },
            },
        });
        self.request(body)
    }
    fn request(&self, body: Body) -> Request {
        Request {
            verb: Verb::Create,
            kind: Kind::Job,
            namespace: self.spec.namespace.clone(),
            name: String::new(),
            subresource: None,
            body,
            options: Options { field_manager: Some("demo".to_owned()), ..Options::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_keep_to_the_contract() {
        let homes = vec![ClusterId::new("kr").unwrap(), ClusterId::new("jp").unwrap()];
        let mut queue = Queue::default();
        let mut demo = Demo::new(&DemoSpec::default(), homes.clone(), Instant::EPOCH, 7, &mut queue);
        let (mut failing, mut interruptible) = (0, 0);
        for _ in 0..1000 {
            let home = demo.home();
            let request = demo.job(&home);
            let annotations = &request.body["metadata"]["annotations"];
            let span = |key: &str| Span::parse(annotations[key].as_str().unwrap()).unwrap();
            let expected = span(EXPECTED_DURATION);
            assert!((20 * 60..=4 * 3600).contains(&expected.as_seconds()), "{expected}");
            assert!(span("kubercarbon.io/finish-within") >= expected.scaled(3, 2));
            let pod = &request.body["spec"]["template"]["metadata"]["annotations"];
            let run = Span::parse(pod[RUN_FOR].as_str().unwrap()).unwrap();
            let waves = request.body["spec"]["completions"].as_i64().unwrap()
                / request.body["spec"]["parallelism"].as_i64().unwrap();
            let ratio = run.as_hours_f64() * waves as f64 / expected.as_hours_f64();
            assert!((0.899..=1.081).contains(&ratio), "{ratio}");
            failing += usize::from(pod.get(EXIT_CODE).is_some());
            interruptible += usize::from(annotations.get(INTERRUPTIBLE).is_some());
        }
        assert!(
            (10..80).contains(&failing) && (200..700).contains(&interruptible),
            "{failing} {interruptible}"
        );
    }

    #[test]
    fn arrivals_come_at_the_stated_rate() {
        let spec = DemoSpec { jobs_per_hour: 12.0, ..DemoSpec::default() };
        let mut queue = Queue::default();
        let mut demo = Demo::new(&spec, vec![ClusterId::new("kr").unwrap()], Instant::EPOCH, 3, &mut queue);
        let end = Instant::EPOCH + Span::from_seconds(500 * 3600);
        let mut arrivals = 0;
        while let Some(at) = queue.next_at().filter(|at| *at <= end) {
            let (home, task) = queue.pop(at).unwrap();
            if matches!(task, Task::Demo) {
                arrivals += 1;
                demo.arrive(&home, at, &mut queue);
            }
        }
        assert!((5700..6300).contains(&arrivals), "{arrivals} in 500 hours at 12 an hour");
    }
}
