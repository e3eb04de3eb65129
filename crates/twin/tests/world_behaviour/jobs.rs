//! Jobs from creation to their end.

use crate::fixture::*;
use serde_json::json;
use twin::Kind;

#[test]
fn a_job_runs_its_course() {
    let mut world = world(2);
    create(
        &mut world,
        Kind::Job,
        job("a", "1", &["sleep", "100"], json!({"parallelism": 2, "completions": 3})),
    );
    let job = get(&world, Kind::Job, "a");
    assert_eq!((job["status"]["active"].as_i64(), job["status"]["ready"].as_i64()), (Some(2), Some(0)));
    assert_eq!(phases(&world), ["Pending", "Pending"]);
    // The image is pulled in 8 s, the container starts in 2 s.
    pass(&mut world, 10);
    assert_eq!(phases(&world), ["Running", "Running"]);
    assert_eq!(get(&world, Kind::Job, "a")["status"]["ready"], 2);
    let pod = &pods(&world)[0];
    assert!(pod["status"]["podIP"].as_str().unwrap().starts_with("10.200."), "{pod}");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
        "2026-05-01T00:00:10Z"
    );
    assert_eq!(condition(pod, "Ready"), "True -");
    // The second wave finds the image there.
    pass(&mut world, 100);
    assert_eq!(phases(&world), ["Pending", "Succeeded", "Succeeded"]);
    pass(&mut world, 102);
    let job = get(&world, Kind::Job, "a");
    assert_eq!(condition(&job, "SuccessCriteriaMet"), "True CompletionsReached");
    assert_eq!(condition(&job, "Complete"), "True CompletionsReached");
    assert_eq!((job["status"]["succeeded"].as_i64(), job["status"]["active"].as_i64()), (Some(3), None));
    assert_eq!(job["status"]["startTime"], "2026-05-01T00:00:00Z");
    assert_eq!(job["status"]["completionTime"], "2026-05-01T00:03:32Z");
    let events = events(&world, "a");
    assert_eq!(events.iter().filter(|e| e.starts_with("SuccessfulCreate: Created pod: a-")).count(), 3);
    assert_eq!(events.last().unwrap(), "Completed: Job completed");
}

#[test]
fn failures_are_retried_with_back_off_and_end_at_the_limit() {
    let mut world = world(1);
    create(
        &mut world,
        Kind::Job,
        job("f", "1", &["sh", "-c", "sleep 5; exit 3"], json!({"backoffLimit": 2})),
    );
    pass(&mut world, 15);
    assert_eq!(phases(&world), ["Failed"]);
    let pod = &pods(&world)[0];
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    // 10 s after the first failure, 20 s after the second.
    pass(&mut world, 9);
    assert_eq!(pods(&world).len(), 1);
    pass(&mut world, 1);
    assert_eq!(pods(&world).len(), 2);
    pass(&mut world, 7 + 20);
    assert_eq!(pods(&world).len(), 3);
    assert_eq!(condition(&get(&world, Kind::Job, "f"), "Failed"), "");
    pass(&mut world, 7);
    let job = get(&world, Kind::Job, "f");
    assert_eq!(condition(&job, "FailureTarget"), "True BackoffLimitExceeded");
    assert_eq!(condition(&job, "Failed"), "True BackoffLimitExceeded");
    assert_eq!(job["status"]["failed"], 3);
    assert!(job["status"]["completionTime"].is_null());
    let last = events(&world, "f").pop().unwrap();
    assert_eq!(last, "BackoffLimitExceeded: Job has reached the specified backoff limit");
    pass(&mut world, 3600);
    assert_eq!(pods(&world).len(), 3);
}

#[test]
fn on_failure_restarts_in_place() {
    let mut world = world(1);
    let spec = json!({"backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure"}}});
    create(&mut world, Kind::Job, job("r", "1", &["false"], spec));
    // The first time it is started again at once.
    pass(&mut world, 11);
    let pod = &pods(&world)[0];
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (container["restartCount"].as_i64(), pod["status"]["phase"].as_str()),
        (Some(1), Some("Running"))
    );
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 1);
    pass(&mut world, 60);
    assert_eq!(condition(&get(&world, Kind::Job, "r"), "Failed"), "True BackoffLimitExceeded");
    assert_eq!(pods(&world).len(), 0);
}

#[test]
fn suspension_ends_pods_and_resuming_runs_only_the_rest() {
    let mut world = world(1);
    let mut body = job("s", "1", &["sleep", "1000"], json!({"backoffLimit": 0}));
    body["metadata"]["annotations"] = json!({"kubercarbon.io/interruptible": "true"});
    create(&mut world, Kind::Job, body);
    pass(&mut world, 10 + 400);
    edit(&mut world, Kind::Job, "s", |job| job["spec"]["suspend"] = json!(true));
    let job = get(&world, Kind::Job, "s");
    assert_eq!(condition(&job, "Suspended"), "True JobSuspended");
    assert_eq!(job["status"]["terminating"], 1);
    assert!(job["status"]["startTime"].is_null());
    pass(&mut world, 1);
    assert_eq!(pods(&world).len(), 0);
    pass(&mut world, 5000);
    edit(&mut world, Kind::Job, "s", |job| job["spec"]["suspend"] = json!(false));
    let job = get(&world, Kind::Job, "s");
    assert_eq!(condition(&job, "Suspended"), "False JobResumed");
    assert_eq!(job["status"]["startTime"], "2026-05-01T01:30:11Z");
    // 2 s to start (the image is there), 5 s to read the checkpoint, 600 s of work left.
    pass(&mut world, 2 + 5 + 599);
    assert_eq!(phases(&world), ["Running"]);
    pass(&mut world, 1);
    let job = get(&world, Kind::Job, "s");
    assert_eq!(condition(&job, "Complete"), "True CompletionsReached");
    assert!(job["status"]["failed"].is_null(), "{}", job["status"]);
    let told: Vec<String> =
        events(&world, "s").into_iter().filter(|e| !e.starts_with("Successful")).collect();
    assert_eq!(told, ["Suspended: Job suspended", "Resumed: Job resumed", "Completed: Job completed"]);
}

#[test]
fn without_the_annotation_nothing_is_saved() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("s", "1", &["sleep", "1000"], json!({})));
    pass(&mut world, 900);
    edit(&mut world, Kind::Job, "s", |job| job["spec"]["suspend"] = json!(true));
    pass(&mut world, 10);
    edit(&mut world, Kind::Job, "s", |job| job["spec"]["suspend"] = json!(false));
    pass(&mut world, 1000);
    assert_eq!(phases(&world), ["Running"]);
    pass(&mut world, 2);
    assert_eq!(phases(&world), ["Succeeded"]);
}

#[test]
fn a_deadline_ends_a_job() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("d", "1", &["sleep", "1000"], json!({"activeDeadlineSeconds": 60})));
    pass(&mut world, 60);
    let job = get(&world, Kind::Job, "d");
    assert_eq!(condition(&job, "FailureTarget"), "True DeadlineExceeded");
    assert_eq!(condition(&job, "Failed"), "");
    pass(&mut world, 1);
    assert_eq!(condition(&get(&world, Kind::Job, "d"), "Failed"), "True DeadlineExceeded");
    assert_eq!(pods(&world).len(), 0);
}

#[test]
fn indexed_jobs_complete_each_index_once() {
    let mut world = world(1);
    let spec = json!({"completionMode": "Indexed", "parallelism": 3, "completions": 5});
    create(&mut world, Kind::Job, job("i", "1", &["sleep", "10"], spec));
    let index = |pod: &serde_json::Value| {
        pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"].as_str().unwrap().to_owned()
    };
    let mut first: Vec<String> = pods(&world).iter().map(index).collect();
    first.sort();
    assert_eq!(first, ["0", "1", "2"]);
    assert_eq!(pods(&world)[0]["spec"]["hostname"], "i-0");
    pass(&mut world, 60);
    let job = get(&world, Kind::Job, "i");
    assert_eq!(job["status"]["completedIndexes"], "0-4");
    assert_eq!(condition(&job, "Complete"), "True CompletionsReached");
    assert_eq!(pods(&world).len(), 5);
}

#[test]
fn a_job_managed_by_somebody_else_is_left_alone() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("m", "1", &["true"], json!({"managedBy": "kubercarbon.io/fleet"})));
    pass(&mut world, 3600);
    assert_eq!(pods(&world).len(), 0);
    let status = get(&world, Kind::Job, "m")["status"].clone();
    assert!(status.is_null() || status == json!({}), "{status}");
    assert_eq!(events(&world, "m"), Vec::<String>::new());
}

#[test]
fn a_finished_job_goes_after_its_time_and_its_pods_with_it() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("t", "1", &["true"], json!({"ttlSecondsAfterFinished": 100})));
    pass(&mut world, 10 + 99);
    assert_eq!((pods(&world).len(), find(&world, Kind::Job, "t").is_some()), (1, true));
    pass(&mut world, 1);
    assert_eq!((pods(&world).len(), find(&world, Kind::Job, "t").is_some()), (0, false));
}

#[test]
fn a_deleted_job_takes_its_running_pods_with_it() {
    let mut world = world(1);
    create(
        &mut world,
        Kind::Job,
        job("d", "1", &["sleep", "1000"], json!({"parallelism": 3, "completions": 3})),
    );
    pass(&mut world, 60);
    delete(&mut world, Kind::Job, "d");
    assert!(pods(&world).iter().all(|p| p["metadata"]["deletionTimestamp"] == "2026-05-01T00:01:30Z"));
    pass(&mut world, 1);
    assert_eq!(pods(&world).len(), 0);
}

#[test]
fn a_pod_deleted_by_hand_is_replaced_and_counts_as_failed() {
    let mut world = world(1);
    create(&mut world, Kind::Job, job("d", "1", &["sleep", "100"], json!({})));
    pass(&mut world, 20);
    let name = pods(&world)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    delete(&mut world, Kind::Pod, &name);
    pass(&mut world, 1);
    assert!(find(&world, Kind::Pod, &name).is_none());
    assert_eq!(get(&world, Kind::Job, "d")["status"]["failed"], 1);
    pass(&mut world, 200);
    assert_eq!(condition(&get(&world, Kind::Job, "d"), "Complete"), "True CompletionsReached");
}
