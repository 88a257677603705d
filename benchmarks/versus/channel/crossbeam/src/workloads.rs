// SPDX-License-Identifier: MIT

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::measure::{run_alone, run_together, sum_of_first, Arguments, Figures, Usage};

/// What travels: 8 or 64 bytes whose first and last word are checked at the other end.
pub trait Value: Copy + Send {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
    fn sum(&self) -> u64;
}

impl<const WORDS: usize> Value for [u64; WORDS] {
    fn of(number: u64) -> Self {
        let mut value = [0; WORDS];
        value[0] = number;
        value[WORDS - 1] = number;
        value
    }
    fn number(&self) -> u64 {
        self[0]
    }
    fn sum(&self) -> u64 {
        self[0] + self[WORDS - 1]
    }
}

pub fn run<T: Value>(arguments: &Arguments) -> Option<Figures> {
    match arguments.workload.as_str() {
        "throughput" => Some(throughput::<T>(arguments)),
        "self" => Some(own::<T>(arguments)),
        "ping_pong" => Some(ping_pong::<T>(arguments)),
        "wake" => Some(wake::<T>(arguments)),
        "idle" => Some(idle::<T>(arguments)),
        _ => None,
    }
}

fn throughput<T: Value>(arguments: &Arguments) -> Figures {
    let (producers, consumers) = (arguments.get("producers"), arguments.get("consumers"));
    let unit = producers * consumers;
    let items = (arguments.get("items") + unit - 1) / unit * unit;
    let (sender, receiver) = bounded::<T>(arguments.get("capacity") as usize);
    let sum = AtomicU64::new(0);
    let mut workers: Vec<Box<dyn FnOnce() + Send + '_>> = Vec::new();
    for _ in 0..consumers {
        workers.push(Box::new(|| {
            let mut own = 0;
            for _ in 0..items / consumers {
                own += receiver.recv().unwrap().sum();
            }
            sum.fetch_add(own, Ordering::Relaxed);
        }));
    }
    for _ in 0..producers {
        workers.push(Box::new(|| {
            for number in 0..items / producers {
                sender.send(T::of(number)).unwrap();
            }
        }));
    }
    let figures = run_together(items, workers);
    assert_eq!(sum.into_inner(), producers * sum_of_first(items / producers));
    figures
}

fn own<T: Value>(arguments: &Arguments) -> Figures {
    let (sender, receiver) = bounded::<T>(arguments.get("capacity") as usize);
    let items = arguments.get("items");
    let mut sum = 0;
    let figures = run_alone(items, || {
        for number in 0..items {
            sender.send(T::of(number)).unwrap();
            sum += receiver.recv().unwrap().sum();
        }
    });
    assert_eq!(sum, sum_of_first(items));
    figures
}

fn ping_pong<T: Value>(arguments: &Arguments) -> Figures {
    let (there, arrives) = bounded::<T>(arguments.get("capacity") as usize);
    let (back, returns) = bounded::<T>(arguments.get("capacity") as usize);
    let items = arguments.get("items");
    let mut sum = 0;
    let figures = run_together(
        items,
        vec![
            Box::new(|| {
                for number in 0..items {
                    there.send(T::of(number)).unwrap();
                    sum += returns.recv().unwrap().sum();
                }
            }),
            Box::new(|| {
                for _ in 0..items {
                    back.send(arrives.recv().unwrap()).unwrap();
                }
            }),
        ],
    );
    assert_eq!(sum, sum_of_first(items));
    figures
}

fn wake<T: Value>(arguments: &Arguments) -> Figures {
    let (sender, receiver) = bounded::<T>(arguments.get("capacity") as usize);
    let items = arguments.get("items");
    let gap = Duration::from_micros(arguments.get("gap_us"));
    let mut latencies = Vec::with_capacity(items as usize);
    let zero = Instant::now();
    let now = || zero.elapsed().as_nanos() as u64;
    let mut figures = run_together(
        items,
        vec![
            Box::new(|| {
                for _ in 0..items {
                    let sent = receiver.recv().unwrap().number();
                    latencies.push(now() - sent);
                }
            }),
            Box::new(|| {
                for _ in 0..items {
                    sleep(gap);
                    sender.send(T::of(now())).unwrap();
                }
            }),
        ],
    );
    figures.add_quantiles(latencies);
    figures
}

fn idle<T: Value>(arguments: &Arguments) -> Figures {
    let (sender, receiver) = bounded::<T>(arguments.get("capacity") as usize);
    let items = arguments.get("items");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| receiver.recv().unwrap().sum());
        sleep(Duration::from_millis(20));
        let (before, begin) = (Usage::now(), Instant::now());
        sleep(Duration::from_millis(items));
        let (wall, after) = (begin.elapsed(), Usage::now());
        sender.send(T::of(1)).unwrap();
        assert_eq!(thread.join().unwrap(), 2);
        Figures::new(items, wall, before, after)
    })
}
