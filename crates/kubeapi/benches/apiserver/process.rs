//! What processes use, as `/proc` says.

/// Clock ticks a second in `/proc/PID/stat`, on every Linux there is.
const TICKS: f64 = 100.0;

/// The processes of a server.
pub struct Processes(Vec<u32>);

impl Processes {
    /// From their numbers, by commas; empty: none.
    pub fn of(text: &str) -> Processes {
        Processes(text.split(',').filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect())
    }

    /// Processor time they have used together, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let of = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // Behind the name, which may hold spaces: state is the first field, utime and stime the 12th and 13th.
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
        };
        self.0.iter().map(of).sum()
    }

    /// Prints their resident memory, now and at most so far, in megabytes.
    pub fn report(&self, when: &str) {
        let megabytes = |name: &str| {
            let of = |pid: &u32| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim_end_matches("kB").trim_matches([':', ' ', '\t']).parse::<f64>().unwrap() * 1024.0
                    / 1e6
            };
            self.0.iter().map(of).map(|mb| format!("{mb:.1}")).collect::<Vec<_>>().join(" + ")
        };
        if !self.0.is_empty() {
            println!("{:<24} memory {} MB, at most {} MB", when, megabytes("VmRSS"), megabytes("VmHWM"));
        }
    }
}
