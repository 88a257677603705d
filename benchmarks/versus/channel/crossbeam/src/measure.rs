// SPDX-License-Identifier: MIT

//! Arguments, clocks, and the line that is printed.

use std::collections::HashMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub struct Arguments {
    pub workload: String,
    numbers: HashMap<&'static str, u64>,
}

impl Arguments {
    pub fn parse() -> Self {
        let mut workload = String::new();
        let mut numbers = HashMap::from([
            ("batch", 64),
            ("bytes", 8),
            ("capacity", 100),
            ("channels", 2),
            ("consumers", 1),
            ("gap_us", 50),
            ("items", 100000),
            ("pinned", 0),
            ("processors", 2),
            ("producers", 1),
        ]);
        for argument in std::env::args().skip(1) {
            let (name, text) = argument.split_once('=').unwrap_or((&argument, ""));
            if name == "workload" {
                workload = text.to_string();
            } else if let Some(number) = numbers.get_mut(name) {
                *number = text.parse().unwrap_or(0);
            } else {
                eprintln!("unknown argument '{argument}'");
                std::process::exit(64);
            }
        }
        Arguments { workload, numbers }
    }

    pub fn get(&self, name: &str) -> u64 {
        self.numbers[name]
    }
}

/// struct rusage of Linux, of which three fields are read.
#[repr(C)]
#[derive(Default)]
struct Rusage {
    user: [i64; 2],
    system: [i64; 2],
    others: [i64; 12],
    voluntary_switches: i64,
    involuntary_switches: i64,
}

extern "C" {
    fn getrusage(who: i32, usage: *mut Rusage) -> i32;
}

#[derive(Clone, Copy)]
pub struct Usage {
    cpu_ns: f64,
    switches: f64,
}

impl Usage {
    pub fn now() -> Self {
        let mut usage = Rusage::default();
        // SAFETY: the structure has the layout of the system's.
        assert!(unsafe { getrusage(0, &mut usage) } == 0, "getrusage failed");
        let ns = |time: [i64; 2]| time[0] as f64 * 1e9 + time[1] as f64 * 1e3;
        Usage { cpu_ns: ns(usage.user) + ns(usage.system), switches: usage.voluntary_switches as f64 }
    }
}

/// What a workload came to; the times are of all items.
pub struct Figures {
    pub items: u64,
    wall_ns: f64,
    cpu_ns: f64,
    switches: f64,
    more: String,
}

impl Figures {
    pub fn new(items: u64, wall: Duration, before: Usage, after: Usage) -> Self {
        Figures {
            items,
            wall_ns: wall.as_nanos() as f64,
            cpu_ns: after.cpu_ns - before.cpu_ns,
            switches: after.switches - before.switches,
            more: String::new(),
        }
    }

    pub fn add_quantiles(&mut self, mut latencies: Vec<u64>) {
        latencies.sort_unstable();
        let count = latencies.len();
        self.more += &format!(" p50_ns={} p99_ns={}", latencies[count / 2], latencies[count * 99 / 100]);
    }

    pub fn print(&self) {
        let count = self.items as f64;
        println!(
            "items={} wall_ns={:.2} cpu_ns={:.2} switches={:.5}{}",
            self.items,
            self.wall_ns / count,
            self.cpu_ns / count,
            self.switches / count,
            self.more
        );
    }
}

/// Runs each of `workers` in a thread of its own, all from the same moment on; from the first begin to the last end.
pub fn run_together<'a>(items: u64, workers: Vec<Box<dyn FnOnce() + Send + 'a>>) -> Figures {
    let start = Barrier::new(workers.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .map(|worker| {
                scope.spawn(|| {
                    start.wait();
                    let begin = Instant::now();
                    worker();
                    (begin, Instant::now())
                })
            })
            .collect();
        let before = Usage::now();
        start.wait();
        let spans: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let after = Usage::now();
        let begin = spans.iter().map(|span| span.0).min().unwrap();
        let end = spans.iter().map(|span| span.1).max().unwrap();
        Figures::new(items, end - begin, before, after)
    })
}

/// Runs `work` on this thread, beside an idle one.
pub fn run_alone(items: u64, work: impl FnOnce()) -> Figures {
    let end = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| end.wait());
        let before = Usage::now();
        let begin = Instant::now();
        work();
        let wall = begin.elapsed();
        let after = Usage::now();
        end.wait();
        Figures::new(items, wall, before, after)
    })
}

/// What `number(value)`, doubled, comes to over 0, 1, ... `count` - 1.
pub fn sum_of_first(count: u64) -> u64 {
    count * (count - 1)
}
