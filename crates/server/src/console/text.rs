//! Every word of the console, in every language: one table.
//!
//! Invariants: a message has all languages (the compiler sees to it) and the same `{0}`, `{1}` places in
//! each (a test does). Sentences made elsewhere (reasons, limits, the method) stay in English and are
//! marked `lang="en"` where they stand.

/// A language of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Korean.
    Ko,
}

impl Lang {
    /// Every language, in the order of the switch.
    pub const ALL: [Lang; 2] = [Lang::En, Lang::Ko];

    /// BCP 47 tag.
    pub const fn tag(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Ko => "ko",
        }
    }
    /// Its name in itself.
    pub const fn name(self) -> &'static str {
        match self {
            Lang::En => "English",
            Lang::Ko => "한국어",
        }
    }
    /// By its tag, e.g. `ko`, `ko-KR`.
    pub fn of_tag(tag: &str) -> Option<Lang> {
        let primary = tag.trim().split(['-', '_']).next().unwrap_or("");
        Lang::ALL.into_iter().find(|lang| lang.tag().eq_ignore_ascii_case(primary))
    }
    /// The best of an `Accept-Language` header; English if it names none of ours.
    pub fn of_accept(header: &str) -> Lang {
        let mut best = (0.0, Lang::En);
        for part in header.split(',').take(20) {
            let mut fields = part.split(';');
            let lang = fields.next().and_then(Lang::of_tag);
            let weight = fields.find_map(|f| f.trim().strip_prefix("q=")).and_then(|q| q.parse::<f64>().ok());
            let weight = weight.unwrap_or(1.0);
            if let Some(lang) = lang.filter(|_| weight > best.0) {
                best = (weight, lang);
            }
        }
        best.1
    }
    /// The message.
    pub fn say(self, message: M) -> &'static str {
        let (en, ko) = message.texts();
        match self {
            Lang::En => en,
            Lang::Ko => ko,
        }
    }
    /// The message with `{0}`, `{1}`… filled in; `{0|node|nodes}` is the word for so many.
    pub fn fill(self, message: M, values: &[&str]) -> String {
        let mut text = String::new();
        let mut rest = self.say(message);
        while let Some((before, tail)) = rest.split_once('{') {
            text.push_str(before);
            let (index, after) = tail.split_once('}').unwrap_or((tail, ""));
            let (index, words) = index.split_once('|').map_or((index, None), |(i, words)| (i, Some(words)));
            let value = index.parse::<usize>().ok().and_then(|i| values.get(i)).unwrap_or(&"");
            let word = words.and_then(|words| words.split_once('|'));
            text.push_str(word.map_or(value, |(one, many)| if *value == "1" { one } else { many }));
            rest = after;
        }
        text.push_str(rest);
        text
    }
}

macro_rules! messages {
    ($($name:ident: $en:literal, $ko:literal;)*) => {
        /// A message.
        #[allow(missing_docs)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum M { $($name),* }

        impl M {
            /// Every message.
            #[cfg(test)]
            const ALL: &'static [M] = &[$(M::$name),*];

            fn texts(self) -> (&'static str, &'static str) {
                match self { $(M::$name => ($en, $ko)),* }
            }
        }
    };
}

messages! {
    Fleet: "Fleet", "클러스터";
    Jobs: "Jobs", "작업";
    Plans: "Plans", "계획";
    Savings: "Savings", "절감";
    Capacity: "Capacity", "용량";
    Signals: "Signals", "신호";
    SkipToContent: "Skip to content", "본문으로 건너뛰기";
    Navigation: "Pages", "페이지";
    Language: "Language", "언어";
    Live: "live", "실시간";
    Offline: "connection lost, trying again", "연결이 끊겨 다시 시도하는 중";
    TwinClock: "Twin clock", "트윈 시계";
    WallClock: "Wall clock", "실제 시계";
    Paused: "paused", "일시 정지";
    AsFast: "as fast as it goes", "최대 속도";
    Pause: "Pause", "정지";
    Resume: "Resume", "재개";
    SpeedLabel: "Speed", "속도";
    Mode: "Mode", "모드";
    ModeObserve: "observe: writes nothing", "observe: 아무것도 바꾸지 않음";
    ModeApprove: "approve: a person says yes", "approve: 사람이 승인";
    ModeAuto: "auto: acts by itself", "auto: 스스로 실행";
    AssumedTop: "some figures are assumed", "가정한 수치 포함";
    AssumedWhy: "The worst source on this page is a stand-in, not a measurement", "이 페이지의 가장 약한 출처는 측정값이 아닌 가정값입니다";
    NoAssumed: "no assumed figures", "가정한 수치 없음";
    Measured: "measured", "측정";
    Forecast: "forecast", "예측";
    Estimated: "estimated", "추정";
    Assumed: "assumed", "가정";
    SavedCarbon: "Carbon saved", "탄소 절감";
    SavedMoney: "Money saved", "비용 절감";
    Against: "against running at once, at home", "즉시, 제자리에서 실행했을 때와 비교";
    OfBaseline: "{0} less than at once, at home", "즉시·제자리 대비 {0} 감소";
    MoreThanBaseline: "{0} more than at once, at home", "즉시·제자리 대비 {0} 증가";
    SameAsBaseline: "as much as at once, at home", "즉시·제자리와 같음";
    JobsFinished: "Jobs finished", "끝난 작업";
    InTimeOf: "{0} of {1} with a deadline in time", "마감 있는 {1}개 중 {0}개 제때";
    NoneWithDeadline: "none with a deadline yet", "마감 있는 작업은 아직 없음";
    HeldAndRunning: "Held · running", "대기 · 실행";
    LateCount: "{0} will be late", "{0}개 늦을 예정";
    NoneLate: "none will be late", "늦을 작업 없음";
    CarbonNow: "Carbon now", "현재 탄소";
    Next24: "Next 24 hours", "앞으로 24시간";
    Now: "now", "현재";
    Cleanest: "cleanest {0}–{1}", "가장 깨끗함 {0}–{1}";
    CurveText: "From {0} to {1}: between {2} and {3} gCO2e/kWh; cleanest three hours {4} to {5}", "{0}부터 {1}까지 {2}~{3} gCO2e/kWh, 가장 깨끗한 세 시간은 {4}~{5}";
    NoSignal: "no carbon signal yet", "탄소 신호가 아직 없음";
    Load: "CPU requested", "CPU 요청";
    Memory: "Memory requested", "메모리 요청";
    Power: "Power", "전력";
    Cost: "Cost", "비용";
    PerHour: "{0}/h", "{0}/시간";
    Nodes: "Nodes ready", "준비된 노드";
    Running: "running", "실행";
    Held: "held", "대기";
    Starting: "starting", "시작 중";
    PausedPhase: "paused", "중단됨";
    Succeeded: "succeeded", "성공";
    Failed: "failed", "실패";
    Deleting: "deleting", "삭제 중";
    Unreachable: "unreachable", "응답 없음";
    UnknownSince: "unknown since {0}", "{0}부터 알 수 없음";
    ActsHere: "Acts here", "실행 주체";
    ThisProcess: "this process", "이 프로세스";
    LedSince: "{0}, since {1}", "{0}, {1}부터";
    NobodySince: "nobody since {0}", "{0}부터 없음";
    OrdersThere: "{0} acts on {1}: approve or start this job there", "{1}은(는) {0}에서 실행합니다. 승인이나 시작은 거기서 하세요";
    Source: "Source", "출처";
    AgeOld: "{0} old", "{0} 전";
    Fresh: "fresh", "최신";
    EmptyFleet: "No cluster yet", "아직 클러스터가 없습니다";
    EmptyFleetHow: "Start a fleet of two twins, or look at real clusters:", "트윈 두 개로 시작하거나 실제 클러스터를 연결하세요:";
    EmptyJobs: "No job under placement yet", "배치할 작업이 아직 없습니다";
    EmptyJobsHow: "Create a Job that may wait, and watch it move to a cleaner hour:", "기다릴 수 있는 Job을 만들고 더 깨끗한 시간으로 옮겨지는 것을 보세요:";
    EmptySavings: "Nothing finished yet", "아직 끝난 작업이 없습니다";
    EmptySavingsHow: "Savings appear when the first job under placement ends. Create one:", "첫 작업이 끝나면 절감량이 나타납니다. 하나 만들어 보세요:";
    EmptyPlans: "Nothing lies ahead", "예정된 일이 없습니다";
    EmptyPlansHow: "A plan appears as soon as a job waits for its slot. See where one would go:", "작업이 차례를 기다리면 계획이 나타납니다. 어디로 갈지 미리 보세요:";
    EmptySignals: "No carbon signal yet", "탄소 신호가 아직 없습니다";
    EmptySignalsHow: "Each grid zone of the fleet gets its signal when its cluster is connected:", "클러스터가 연결되면 전력 구역마다 신호가 나타납니다:";
    SourcesHead: "Sources of each zone, best first", "구역별 출처, 우선순위 순";
    SourceUsed: "in use", "사용 중";
    SourceUnused: "not used", "사용 안 함";
    LeftAlone: "left alone until {0}", "{0}까지 요청하지 않음";
    AskedAgain: "asked again at {0}", "{0}에 다시 요청";
    StateHead: "State", "상태";
    BasisHead: "Counts", "계산 방식";
    Average: "average", "평균";
    Marginal: "marginal", "한계";
    LastFigure: "Last figure", "마지막 수치";
    ErrorHead: "Forecast error {0} h ahead, %", "{0}시간 앞 예측 오차, %";
    ErrorOwn: "its own", "자체 예측";
    ErrorLearnt: "learnt", "학습 예측";
    ErrorWhat: "Forecast error is measured: how far the forecasts in use were from what the same source said afterwards, as a share of that, as a mean over the hours that have passed; 30 days at most.", "예측 오차는 측정값입니다: 실제로 사용한 예측이 같은 출처가 나중에 알린 값과 얼마나 달랐는지를 그 값에 대한 비율로, 지난 시간에 대해 평균한 것으로 최대 30일입니다.";
    OverHours: "over {0} {0|hour|hours}", "{0}시간 기준";
    WhyNotUsed: "Why not, or what is amiss", "사용하지 않는 이유 또는 문제";
    Timeline: "Timeline", "타임라인";
    TimelineText: "Jobs by cluster over time: {0} from {1} to {2}. The table below says the same.", "시간에 따른 클러스터별 작업: {1}부터 {2}까지 {0}개. 아래 표와 같은 내용입니다.";
    Zoom: "Hours ahead", "앞으로";
    Hours: "{0} h", "{0}시간";
    MoreRows: "+{0} more", "외 {0}개";
    LegendHeld: "planned", "예정";
    LegendDeadline: "until its deadline", "마감까지";
    LegendCarbon: "carbon intensity", "탄소 집약도";
    AllJobs: "All jobs", "모든 작업";
    Job: "Job", "작업";
    Phase: "Phase", "상태";
    HomeTarget: "Home → runs in", "원래 → 실행";
    PlannedStart: "Start", "시작";
    Deadline: "Deadline", "마감";
    LatestStart: "Latest start", "최종 시작";
    Duration: "Duration", "소요";
    LearntFrom: "learnt from {0} earlier {0|run|runs}", "지난 실행 {0}회에서 학습";
    Saved: "Saved", "절감";
    Late: "late", "늦음";
    Close: "Close", "닫기";
    WhyHere: "Why here, why then", "왜 여기, 왜 이때";
    WhyKo: "In {0} from {1}: {2}.", "{1}에 {0}에서 시작하면 {2}입니다.";
    WhyLess: "At once, at home it would be {0}", "즉시, 제자리에서 실행하면 {0}입니다";
    NoWhy: "Nothing has been decided for this job now.", "지금은 이 작업에 대한 결정이 없습니다.";
    Options: "Options", "선택지";
    Chosen: "chosen", "선택됨";
    AtOnceHome: "at once, at home", "즉시, 제자리";
    Alternative: "next best", "차선";
    Cluster: "Cluster", "클러스터";
    Start: "Start", "시작";
    End: "End", "끝";
    CarbonUnit: "gCO2e", "gCO2e";
    Energy: "Energy", "에너지";
    InTime: "In time", "제때";
    Yes: "yes", "예";
    No: "no", "아니요";
    Excluded: "Out of the question", "제외됨";
    WouldSave: "What would save more", "더 절감하려면";
    IfSlack: "An hour more of slack, until {0}", "마감이 한 시간 늦어 {0}까지라면";
    IfCluster: "Leave to run in {0}", "{0}에서 실행할 수 있다면";
    IfPods: "Nodes in {0} that its pods fit on", "{0}에 파드가 들어갈 노드가 있다면";
    IfCores: "{0} more {0|core|cores} in {1} from {2} to {3}", "{1}에 {2}부터 {3}까지 코어 {0}개가 더 있다면";
    SavesHere: "saves {0}, in {1} from {2}", "{0} 절감, {1}에서 {2} 시작";
    SavesAll: "saves about {0} over all jobs, to first order: at most that and the plan's gap", "모든 작업을 합쳐 약 {0} 절감(1차 근사, 많아야 이 값과 계획의 차이 상한의 합)";
    Facts: "Facts", "정보";
    Created: "Created", "생성";
    Demand: "Asks for", "요청 자원";
    Cores: "{0} {0|core|cores}", "{0}코어";
    Interruptible: "May pause", "중단 가능";
    Pods: "Pods", "파드";
    PodsAtATime: "Pods at a time, from–to", "동시 파드 수 범위";
    StopsAtDeadline: "Stops at its deadline", "마감에 멈춤";
    ClusterSelector: "Allowed clusters", "허용 클러스터";
    AnyCluster: "any", "모두";
    OnlyHome: "only at home", "제자리만";
    Data: "Input data", "입력 데이터";
    KeptBy: "Kept by", "관리 주체";
    Copy: "Copy", "사본";
    Logs: "Its logs", "로그 보기";
    WhatSaved: "What it saved", "절감한 양";
    ActualVsBaseline: "{0} instead of {1} gCO2e", "{1} 대신 {0} gCO2e";
    ReleaseNow: "Start now", "지금 시작";
    ReleaseHint: "lets it go at home, whatever the carbon", "탄소와 상관없이 제자리에서 바로 시작";
    WaitsForYes: "waits for a yes", "승인 대기";
    WaitForYes: "{0} {0|waits|wait} for a yes", "승인 대기 {0}개";
    Approve: "Approve", "승인";
    ApproveHint: "yes to this plan, and to later moves inside its window", "이 계획과 그 범위 안의 변경을 승인";
    GoneJob: "This job is not here any more.", "이 작업은 더 이상 없습니다.";
    ShownOf: "{0} of {1} shown", "{1}개 중 {0}개 표시";
    NextPage: "Next page", "다음";
    PreviousPage: "Previous page", "이전";
    SavedOverTime: "Saved so far", "누적 절감";
    SavedText: "Carbon saved rises from 0 to {0} between {1} and {2} over {3} {3|job|jobs}", "{1}부터 {2}까지 작업 {3}개로 누적 절감량 {0}";
    ByCluster: "By cluster", "클러스터별";
    ByNamespace: "By namespace", "네임스페이스별";
    Namespace: "Namespace", "네임스페이스";
    Method: "How these figures are come by", "수치 산출 방법";
    MethodBaseline: "Measured against: {0}.", "비교 기준: {0}.";
    WorstSource: "Weakest source among all figures: {0} ({1}).", "모든 수치 가운데 가장 약한 출처: {0} ({1}).";
    Ledger: "Ledger", "원장";
    Finished: "Finished", "끝난 때";
    Ran: "Ran in", "실행";
    Emitted: "Emitted", "배출";
    Baseline: "At once, at home", "즉시, 제자리";
    Wait: "Wait", "대기";
    SavedPerCent: "Saved %", "절감률";
    Total: "Total", "합계";
    Zone: "Grid zone", "전력 구역";
    Feeds: "Feeds", "공급 대상";
    NowUnit: "Now, gCO2e/kWh", "현재, gCO2e/kWh";
    RangeUnit: "Next 24 h, gCO2e/kWh", "앞으로 24시간, gCO2e/kWh";
    PlanForecast: "Forecast of the schedule", "일정 예측";
    PlanBound: "Could be better by at most", "더 나아질 수 있는 최대 폭";
    PlanGap: "proven for the forecast, Jobs thought to come included", "예측과 예상 작업을 포함해 증명됨";
    RoomScarce: "room is scarce: nothing waits for cleaner hours", "자원 부족: 깨끗한 시간을 기다리지 않음";
    PlanMade: "Made", "작성";
    PlanPolicy: "Policy", "정책";
    Steps: "Steps ahead", "예정된 단계";
    Action: "Action", "동작";
    Reason: "Reason", "이유";
    Undo: "Undo", "되돌리기";
    Expect: "Expected", "예상 결과";
    ActionHold: "hold", "대기";
    ActionStart: "start", "시작";
    ActionPause: "pause", "중단";
    ActionResume: "resume", "재개";
    ActionDelete: "delete copy", "사본 삭제";
    NotFound: "Nothing lives at this address", "이 주소에는 아무것도 없습니다";
    NotFoundHow: "The pages are listed above.", "위에서 페이지를 고르세요.";
    Broken: "This page could not be made", "페이지를 만들지 못했습니다";
    BrokenHow: "The server's log has the reason.", "서버 로그에 이유가 있습니다.";
    EmptyCapacity: "Nothing counted yet", "아직 집계된 것이 없습니다";
    EmptyCapacityHow: "Accounts begin as soon as a cluster has been listed and its carbon is known. What flows now:", "클러스터 목록과 탄소 신호를 읽는 대로 집계를 시작합니다. 지금 상태는 다음 명령으로 보세요:";
    Accounts: "Accounts", "사용 내역";
    By: "by", "기준";
    Workload: "Workload", "워크로드";
    Node: "Node", "노드";
    Label: "Label", "레이블";
    Show: "Show", "보기";
    Time: "Time", "기간";
    ThisMonth: "this month", "이번 달";
    Last24h: "24 h", "24시간";
    Last7d: "7 days", "7일";
    Last30d: "30 days", "30일";
    CostSoFar: "Cost", "비용";
    OfThatIdle: "of that idle: {0}", "그중 유휴 {0}";
    ExpectedCost: "Expected cost of the month", "이번 달 예상 비용";
    ExpectedNote: "by {0} UTC, from {1}", "{0}(UTC)까지, {1} 기준";
    DaysSeen: "{0} {0|day|days} seen", "관측 {0}일";
    LessSeen: "{0} seen", "관측 {0}";
    EmittedSoFar: "Emitted", "배출";
    ExpectedCarbonNote: "expected of the month: {0}", "이번 달 예상 {0}";
    WhatFits: "What fits", "들어갈 수 있는 파드";
    WhatFitsHow: "How many more pods of this size would find a node, by the rules of the cluster's scheduler and its state now. Nothing is changed.", "이 크기의 파드가 지금 몇 개 더 노드를 찾을 수 있는지 클러스터 스케줄러의 규칙과 현재 상태로 계산합니다. 아무것도 바꾸지 않습니다.";
    CpuRequest: "CPU request", "CPU 요청";
    MemoryRequest: "Memory request", "메모리 요청";
    Gpus: "GPUs", "GPU 수";
    HowMany: "How many?", "몇 개?";
    FitsCount: "{0} more fit", "{0}개 더 들어갑니다";
    FitsAtLeast: "at least {0} more fit", "적어도 {0}개 더 들어갑니다";
    RunsOutFirst: "runs out first:", "먼저 모자라는 것:";
    OnNodes: "on {0} {0|node|nodes}", "노드 {0}개에서";
    NextIsTold: "the next one would be told:", "다음 파드가 듣게 될 말:";
    NotRead: "not read:", "읽지 못함:";
    WaitForNode: "Pods that wait for a node", "노드를 기다리는 파드";
    Pod: "Pod", "파드";
    WhyWaits: "why?", "왜?";
    PodGone: "There is no such pod in the cluster now.", "지금 클러스터에 그런 파드가 없습니다.";
    SchedulerSaid: "its scheduler said:", "스케줄러의 말:";
    NowItSays: "now it would say:", "지금이라면:";
    RoomByDeleting: "room would be made on {0} by deleting what is less important: {1}", "{0}에서 덜 중요한 {1}을(를) 지우면 자리가 납니다";
    WouldFit: "Each of these would make it fit", "다음 중 하나면 들어갑니다";
    FitsOnNodes: "It would fit on {0} {0|node|nodes}; the highest score wins", "노드 {0}개에 들어갈 수 있습니다. 점수가 가장 높은 곳으로 갑니다";
    FitsNotOn: "Where it does not fit", "들어가지 못하는 곳";
    EmbodiedNote: "embodied in the nodes, beside that: {0}", "노드의 내재 배출 별도 {0}";
    CpuUsed: "CPU used", "CPU 사용";
    CpuRequested: "CPU requested", "CPU 요청";
    CpuThere: "CPU there", "CPU 용량";
    MemoryUsed: "Memory used", "메모리 사용";
    RequestedNote: "requested: {0}", "요청 {0}";
    IdleCost: "Idle cost", "유휴 비용";
    ExpectedCostShort: "Expected", "월 예상";
    ExpectedCarbonShort: "Expected", "월 예상";
    WithoutLabel: "without this label", "레이블 없음";
    SmallOnes: "small ones together", "작은 항목 합계";
    SharedPart: "Shared", "공용";
    SharedWhy: "system namespaces, DaemonSets and static pods: all who use the cluster bear it", "시스템 네임스페이스, DaemonSet, 정적 파드: 클러스터를 쓰는 모두의 몫";
    IdlePart: "Idle", "유휴";
    IdleWhy: "what no pod holds of the nodes, and their power at no load", "파드가 차지하지 않은 노드 용량과 무부하 전력";
    UseMeasured: "{0} of the CPU used was measured, last by {1}; requests stand for the rest", "사용한 CPU의 {0}는 {1}에서 측정했고 나머지는 요청량으로 대신합니다";
    UseAssumed: "use is not measured: requests stand for it", "사용량을 측정하지 않아 요청량으로 대신합니다";
    CarbonFrom: "carbon intensity, at worst from {0}", "탄소 집약도, 가장 약한 출처는 {0}";
    SeenOf: "{0}: from {1} on, {2} of {3} were seen; the rest is not in these figures", "{0}: {1}부터 {3} 가운데 {2}을(를) 관측했고 나머지는 이 수치에 없습니다";
    ExpectedMethod: "Expected: what was counted this month (UTC), and for the rest of it what the same hours of the week came to in the last four weeks ({0} {0|day|days} seen, {1} of the hours of the week; the others like the mean). Time that was not seen is not made up for.", "예상: 이번 달(UTC) 집계에, 남은 기간은 지난 4주 같은 요일·시간의 값을 더합니다(관측 {0}일, 주간 시간대의 {1}; 나머지는 평균). 관측하지 못한 시간은 채우지 않습니다.";
    PriceOf: "nodes' list price, idle or not", "노드 정가, 유휴 포함";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<&str> {
        let mut places: Vec<&str> =
            text.split('{').skip(1).filter_map(|t| t.split(['}', '|']).next()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    #[test]
    fn every_message_is_said_in_every_language() {
        let same = [M::CarbonUnit];
        for message in M::ALL {
            let (en, ko) = message.texts();
            assert!(!en.is_empty() && !ko.is_empty(), "{message:?}");
            assert_eq!(places(en), places(ko), "{message:?}");
            let hangul = ko.chars().any(|c| ('가'..='힣').contains(&c));
            assert!(hangul || same.contains(message), "{message:?}: {ko}");
            assert!(en.is_ascii() || en.contains(['–', '·', '→']), "{message:?}: {en}");
        }
    }

    #[test]
    fn places_are_filled_in_order_of_their_numbers() {
        assert_eq!(Lang::En.fill(M::InTimeOf, &["3", "4"]), "3 of 4 with a deadline in time");
        assert_eq!(Lang::Ko.fill(M::InTimeOf, &["3", "4"]), "마감 있는 4개 중 3개 제때");
        assert_eq!(Lang::En.fill(M::OnNodes, &["1"]), "on 1 node");
        assert_eq!(Lang::En.fill(M::OnNodes, &["12"]), "on 12 nodes");
        assert_eq!(Lang::Ko.fill(M::OnNodes, &["1"]), "노드 1개에서");
        assert_eq!(Lang::En.fill(M::Hours, &["{0}"]), "{0} h", "a value is never read as a place");
    }

    #[test]
    fn the_browser_says_which_language() {
        for (header, lang) in [
            ("ko-KR,ko;q=0.9,en;q=0.8", Lang::Ko),
            ("en-US,en;q=0.9,ko;q=0.8", Lang::En),
            ("de,ko;q=0.5", Lang::Ko),
            ("fr", Lang::En),
            ("", Lang::En),
        ] {
            assert_eq!(Lang::of_accept(header), lang, "{header}");
        }
    }
}
