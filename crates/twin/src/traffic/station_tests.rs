//! Stations against closed forms, and against a simulation of every single request.

use super::*;

fn station(workers: u32, mean: f64, scv: f64, rate: f64) -> Station {
    let service = ServiceTime::new(mean, scv);
    Station { workers, service, variability: f64::midpoint(1.0, scv), rate, wait_max: f64::INFINITY }
}

fn close(found: f64, expected: f64, relative: f64) {
    assert!((found - expected).abs() <= relative * expected.abs().max(1e-12), "{found}, expected {expected}");
}

/// Erlang's C by its textbook formula.
fn erlang_c(workers: u32, offered: f64) -> f64 {
    let c = f64::from(workers);
    let term = |j: u32| (1..=j).fold(1.0, |t, i| t * offered / f64::from(i));
    let last = term(workers) * c / (c - offered);
    last / ((0..workers).map(term).sum::<f64>() + last)
}

#[test]
fn m_m_c_is_erlangs() {
    for (workers, rate) in [(1, 5.0), (1, 9.9), (2, 15.0), (8, 60.0), (50, 480.0)] {
        let own = station(workers, 0.1, 1.0, rate);
        let waits = own.waits().unwrap();
        let wait = erlang_c(workers, rate * 0.1);
        close(1.0 - waits.at_once, wait, 1e-9);
        let spare = f64::from(workers) / 0.1 - rate;
        close(waits.mean_wait(), wait / spare, 1e-9);
        assert_eq!(waits.lost, 0.0);
    }
    // M/M/1: the time until an answer is exponential with rate μ − λ.
    let waits = station(1, 0.1, 1.0, 8.0).waits().unwrap();
    for t in [0.01, 0.1, 1.0, 3.0] {
        close(waits.tail(t), (-2.0 * t).exp(), 1e-9);
    }
    close(quantile(|t| waits.tail(t), 0.05).unwrap(), 20f64.ln() / 2.0, 1e-9);
    assert_eq!(station(2, 0.1, 1.0, 20.0).waits(), None, "no equilibrium");
}

#[test]
fn m_g_1_is_pollaczeks_and_khinchines() {
    for scv in [0.0, 0.25, 1.0, 4.0] {
        for rate in [1.0, 5.0, 9.0] {
            let rho = rate * 0.1;
            let expected = rho * 0.1 * (1.0 + scv) / (2.0 * (1.0 - rho));
            close(station(1, 0.1, scv, rate).waits().unwrap().mean_wait(), expected, 1e-9);
        }
    }
    // Allen and Cunneen: Erlang's wait times the variability.
    let (poisson, other) = (station(4, 0.1, 1.0, 30.0), station(4, 0.1, 0.5, 30.0));
    close(other.waits().unwrap().mean_wait(), 0.75 * poisson.waits().unwrap().mean_wait(), 1e-9);
}

#[test]
fn service_times_have_the_moments_stated() {
    for scv in [0.0, 0.3, 1.0, 2.5, 10.0] {
        let service = ServiceTime::new(2.0, scv);
        close(service.mean(), 2.0, 1e-12);
        // E S² = 2 ∫ t P(S > t) dt, and E S = ∫ P(S > t) dt.
        let (step, mut first, mut second) = (1e-3, 0.0, 0.0);
        for i in 0..400_000 {
            let t = (f64::from(i) + 0.5) * step;
            first += service.tail(t) * step;
            second += 2.0 * t * service.tail(t) * step;
        }
        close(first, 2.0, 1e-3);
        close(second / 4.0 - 1.0, scv, 2e-2);
        assert!(service.residual(0.0) == 1.0 && service.residual(1e3) < 1e-3);
        // E e^(−sS) = 1 − s ∫ e^(−st) P(S > t) dt.
        let middle = |i: u32| (f64::from(i) + 0.5) * step;
        let sum: f64 = (0..400_000).map(|i| (-middle(i)).exp() * service.tail(middle(i)) * step).sum();
        close(service.transform(1.0), 1.0 - sum, 1e-3);
        // The residual falls as P(S > t) / E S.
        let slope = (service.residual(0.5) - service.residual(0.5 + 1e-6)) / 1e-6;
        close(slope, service.tail(0.5) / 2.0, 1e-3);
    }
}

#[test]
fn what_cannot_wait_for_long_leaves() {
    // M/M/1 with a bound of almost nothing is Erlang's loss formula.
    for workers in [1, 3] {
        let own = Station { wait_max: 1e-12, ..station(workers, 0.1, 1.0, 25.0) };
        let term = |j: u32| (1..=j).fold(1.0, |t, i| t * 2.5 / f64::from(i));
        let blocked = term(workers) / (0..=workers).map(term).sum::<f64>();
        close(own.waits().unwrap().lost, blocked, 1e-9);
    }
    // At more than can be served, what is served is what can be, nearly.
    let waits = Station { wait_max: 10.0, ..station(2, 0.1, 1.0, 30.0) }.waits().unwrap();
    close(waits.lost, 1.0 / 3.0, 1e-3);
    assert!(waits.mean_wait() > 9.0 && waits.mean_wait() < 10.0, "{}", waits.mean_wait());
}

/// Draws as tests need them.
struct Draws(u64);

impl Draws {
    fn exponential(&mut self, mean: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -mean * share.ln()
    }
    fn service(&mut self, mean: f64, scv: f64) -> f64 {
        let own = ServiceTime::new(mean, scv);
        let first = self.exponential(1.0) < -(1.0 - own.branches[0].0).max(1e-300).ln();
        let branch = own.branches[usize::from(!first)].1;
        own.offset + self.exponential(branch)
    }
}

/// Times until an answer of every request of an FCFS queue, one by one, and how many left.
fn simulate(own: &Station, (mean, scv): (f64, f64), many: usize) -> (Vec<f64>, usize) {
    let mut draws = Draws(42);
    let mut free = vec![0.0f64; own.workers as usize];
    let (mut now, mut responses, mut left) = (0.0, Vec::with_capacity(many), 0);
    for _ in 0..many {
        now += draws.exponential(1.0 / own.rate);
        let first = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        let wait = (*first - now).max(0.0);
        if wait > own.wait_max {
            left += 1;
            continue;
        }
        let takes = draws.service(mean, scv);
        *first = now + wait + takes;
        responses.push(wait + takes);
    }
    responses.sort_by(f64::total_cmp);
    (responses, left)
}

#[test]
fn a_simulation_of_every_request_agrees() {
    // How far off each may be: exact ones by the simulation's own noise, the others by what the approximation is worth.
    for (workers, scv, rate, bound, tolerance) in [
        (1, 1.0, 7.0, f64::INFINITY, 0.03),
        (4, 1.0, 34.0, f64::INFINITY, 0.03),
        (1, 1.0, 12.0, 0.5, 0.03),
        (3, 1.0, 29.0, 0.4, 0.03),
        (1, 0.0, 7.0, f64::INFINITY, 0.10),
        (1, 3.0, 6.0, f64::INFINITY, 0.15),
        (4, 0.25, 34.0, f64::INFINITY, 0.10),
    ] {
        let own = Station { wait_max: bound, ..station(workers, 0.1, scv, rate) };
        let waits = own.waits().unwrap();
        let many = 400_000;
        let (responses, left) = simulate(&own, (0.1, scv), many);
        let name = format!("c {workers}, scv {scv}, rate {rate}");
        let mean = responses.iter().sum::<f64>() / responses.len() as f64;
        assert!((waits.mean_response() / mean - 1.0).abs() < tolerance, "{name}: {mean}");
        for share in [0.5, 0.95, 0.99] {
            let simulated = responses[(responses.len() as f64 * share) as usize];
            let stated = quantile(|t| waits.tail(t), 1.0 - share).unwrap();
            let off = (stated / simulated - 1.0).abs();
            assert!(off < tolerance * 2.0, "{name}: {share}: {stated}, simulated {simulated}");
        }
        let left = left as f64 / many as f64;
        assert!((waits.lost - left).abs() < 0.005, "{name}: lost {}, simulated {left}", waits.lost);
    }
}
