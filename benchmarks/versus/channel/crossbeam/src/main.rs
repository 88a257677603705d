// SPDX-License-Identifier: MIT

//! crossbeam-channel. The workloads are those of ../../../cpp/thread_workloads.hpp and ../../penstock_select.cpp.

mod measure;
mod select;
mod workloads;

use measure::Arguments;

fn main() {
    let arguments = Arguments::parse();
    let large = arguments.get("bytes") == 64;
    let figures = if arguments.get("pinned") != 0 {
        None
    } else if arguments.workload.starts_with("select_") {
        select::run(&arguments)
    } else if large {
        workloads::run::<[u64; 8]>(&arguments)
    } else {
        workloads::run::<[u64; 1]>(&arguments)
    };
    match figures {
        Some(figures) => figures.print(),
        None => println!("unsupported"),
    }
}
