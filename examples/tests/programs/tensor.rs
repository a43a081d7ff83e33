//! `tensor`: large memory, in five ways.

use crate::process::{Sandbox, complained, said};

const TENSOR: &str = env!("CARGO_BIN_EXE_tensor");

#[test]
fn exchanges_tensors_with_a_child() {
    let output = Sandbox::new().run(TENSOR, &["1", "3"]);
    assert!(output.status.success(), "{}", complained(&output));
    let said = said(&output);
    let mut lines = said.lines();
    assert_eq!(
        lines.next(),
        Some("tensors of 1 MiB, 3 times, to a child and back")
    );
    for name in ["copied", "section", "trusted", "in place", "sealed"] {
        let line = lines.next().expect("there is a line for each way");
        let figures = line.strip_prefix(name).expect("the ways have an order");
        let words: Vec<&str> = figures.split_whitespace().collect();
        let [rate, "GiB/s", time, "ms", "a", "call"] = words[..] else {
            panic!("{line}");
        };
        assert!(rate.parse::<f64>().is_ok_and(|rate| rate >= 0.0), "{line}");
        assert!(time.parse::<f64>().is_ok_and(|time| time > 0.0), "{line}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn says_how_to_use_it() {
    let sandbox = Sandbox::new();
    for wrong in [&["none"][..], &["0"], &["1", "0"], &["1", "2", "3"]] {
        let output = sandbox.run(TENSOR, wrong);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(complained(&output), "usage: tensor [MEBIBYTES [TIMES]]\n");
    }
}
