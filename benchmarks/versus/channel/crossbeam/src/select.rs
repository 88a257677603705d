// SPDX-License-Identifier: MIT

//! One `Select` is made in advance and used for every operation: the fastest way that crossbeam offers.

use crossbeam_channel::{bounded, Receiver, Select, Sender};

use crate::measure::{run_alone, run_together, sum_of_first, Arguments, Figures};

pub fn run(arguments: &Arguments) -> Option<Figures> {
    match arguments.workload.as_str() {
        "select_one_ready" => Some(one_ready(arguments)),
        "select_all_ready" => Some(all_ready(arguments)),
        "select_none_ready" => Some(none_ready(arguments)),
        "select_throughput" => Some(throughput(arguments)),
        _ => None,
    }
}

fn channels(count: u64, capacity: u64) -> (Vec<Sender<u64>>, Vec<Receiver<u64>>) {
    (0..count).map(|_| bounded(capacity as usize)).unzip()
}

fn select_of(receivers: &[Receiver<u64>]) -> Select<'_> {
    let mut select = Select::new();
    for receiver in receivers {
        select.recv(receiver);
    }
    select
}

fn receive(select: &mut Select<'_>, receivers: &[Receiver<u64>]) -> (usize, u64) {
    let operation = select.select();
    let index = operation.index();
    (index, operation.recv(&receivers[index]).unwrap())
}

fn one_ready(arguments: &Arguments) -> Figures {
    let count = arguments.get("channels");
    let (senders, receivers) = channels(count, 1);
    let mut select = select_of(&receivers);
    let items = arguments.get("items");
    let mut sum = 0;
    let figures = run_alone(items, || {
        for number in 0..items {
            senders[(number % count) as usize].send(number).unwrap();
            sum += 2 * receive(&mut select, &receivers).1;
        }
    });
    assert_eq!(sum, sum_of_first(items));
    figures
}

fn all_ready(arguments: &Arguments) -> Figures {
    let (senders, receivers) = channels(arguments.get("channels"), 1);
    for (index, sender) in senders.iter().enumerate() {
        sender.send(index as u64).unwrap();
    }
    let mut select = select_of(&receivers);
    let items = arguments.get("items");
    let mut wrong = 0;
    let figures = run_alone(items, || {
        for _ in 0..items {
            let (index, value) = receive(&mut select, &receivers);
            wrong += u64::from(index as u64 != value);
            senders[index].send(value).unwrap();
        }
    });
    assert_eq!(wrong, 0);
    figures
}

fn none_ready(arguments: &Arguments) -> Figures {
    let (_senders, receivers) = channels(arguments.get("channels"), 1);
    let mut select = select_of(&receivers);
    let items = arguments.get("items");
    let mut ready = 0;
    let figures = run_alone(items, || {
        for _ in 0..items {
            ready += u64::from(select.try_select().is_ok());
        }
    });
    assert_eq!(ready, 0);
    figures
}

fn throughput(arguments: &Arguments) -> Figures {
    let count = arguments.get("channels");
    let (senders, receivers) = channels(count, arguments.get("capacity"));
    let items = arguments.get("items");
    let mut sum = 0;
    let figures = run_together(
        items,
        vec![
            Box::new(|| {
                let mut select = select_of(&receivers);
                for _ in 0..items {
                    sum += 2 * receive(&mut select, &receivers).1;
                }
            }),
            Box::new(|| {
                for number in 0..items {
                    senders[(number % count) as usize].send(number).unwrap();
                }
            }),
        ],
    );
    assert_eq!(sum, sum_of_first(items));
    figures
}
